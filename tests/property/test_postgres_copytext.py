"""COPY's text format found by vectors is what a reader of one byte at a time finds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import MalformedRecord
from bridge.postgres.copytext import walk_text
from bridge.postgres.tuples import NULL

ESCAPES = {b"\b": b"b", b"\f": b"f", b"\n": b"n", b"\r": b"r", b"\t": b"t", b"\v": b"v", b"\\": b"\\"}
Value = bytes | None
values = st.none() | st.binary(max_size=8) | st.text("\b\f\n\r\t\v\\Nx0.a", max_size=6).map(str.encode)
tables = st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(values, min_size=width, max_size=width), max_size=9))


def written(rows: list[list[Value]]) -> bytes:
    """Rows as the server writes them."""
    return b"".join(b"\t".join(rb"\N" if value is None else escaped(value) for value in row) + b"\n" for row in rows)


def escaped(value: bytes) -> bytes:
    return b"".join(rb"\%b" % ESCAPES[byte] if (byte := bytes([code])) in ESCAPES else byte for code in value)


def found(text: bytes, width: int) -> list[list[Value]]:
    """The rows that walk_text finds."""
    cells, buffer, row_count = walk_text(np.frombuffer(text, np.uint8), width)
    columns = [
        [
            None if kind == NULL else buffer[start : start + length].tobytes()
            for kind, start, length in zip(column.kinds, column.starts, column.lengths, strict=True)
        ]
        for column in cells
    ]
    assert all(len(column) == row_count for column in columns)
    return [list(row) for row in zip(*columns, strict=True)]


@given(tables)
def test_every_value_comes_out_as_it_went_in(rows: list[list[Value]]) -> None:
    """Nulls, empty values, the two letters of a null, and every byte there is."""
    assert found(written(rows), len(rows[0]) if rows else 1) == rows


@given(tables.filter(bool), st.integers(1, 40))
def test_rows_cut_short_are_named_and_never_read(rows: list[list[Value]], cut: int) -> None:
    """Unless the cut is between two rows."""
    text = written(rows)[:-cut]
    whole = [rows[:count] for count in range(len(rows)) if written(rows[:count]) == text]
    if whole:
        assert found(text, len(rows[0])) == whole[0]
    else:
        with pytest.raises(MalformedRecord):
            found(text, len(rows[0]))


@pytest.mark.parametrize("text", [b"\\x41\n", b"\\101\n", b"\\q\n"])
def test_an_escape_no_server_sends_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedRecord):
        found(text, 1)
