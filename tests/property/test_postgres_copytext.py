"""COPY's text format found by vectors is what a reader of one byte at a time finds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import MalformedRecord
from bridge.postgres.copying import Run
from bridge.postgres.copyrows import decode_rows
from bridge.postgres.copytext import row_of, walk_text
from bridge.postgres.tuples import NULL
from bridge.postgres.types import builtin
from tests.postgres_text import copy_run, copy_text

Value = bytes | None
values = st.none() | st.binary(max_size=8) | st.text("\b\f\n\r\t\v\\Nx0.a", max_size=6).map(str.encode)
TEXT = next(one for one in [builtin(25, -1)] if one)
tables = st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(values, min_size=width, max_size=width), max_size=9))


def found(text: bytes, width: int) -> list[list[Value]]:
    """The rows that are found where they lie."""
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


def decoded(run: Run, width: int) -> list[list[Value]]:
    """The rows that come out as columns of text; what is none is marked with its bytes."""
    batch, marks = decode_rows(run, [TEXT] * width, [str(number) for number in range(width)])
    batch.validate(full=True)
    columns = []
    for name in batch.schema.names:
        column = [None if value is None else value.encode() for value in batch.column(name).to_pylist()]
        for row, raw in zip(marks[name].rows, marks[name].raw, strict=True) if name in marks else ():
            assert column[row] is None
            column[row] = raw
        columns.append(column)
    return [list(row) for row in zip(*columns, strict=True)]


@given(tables)
def test_every_value_comes_out_as_it_went_in(rows: list[list[Value]]) -> None:
    """Nulls, empty values, the two letters of a null, and every byte there is."""
    width = len(rows[0]) if rows else 1
    assert found(copy_text(rows), width) == rows
    assert decoded(copy_run(rows), width) == rows


@given(tables.filter(bool), st.integers(1, 40))
def test_rows_cut_short_are_named_and_never_read(rows: list[list[Value]], cut: int) -> None:
    """Unless the cut is between two rows."""
    text = copy_text(rows)[:-cut]
    whole = [rows[:count] for count in range(len(rows)) if copy_text(rows[:count]) == text]
    if whole:
        assert found(text, len(rows[0])) == whole[0]
    else:
        with pytest.raises(MalformedRecord):
            found(text, len(rows[0]))
        with pytest.raises(MalformedRecord):
            decoded(Run.join([text], [len(text)]), len(rows[0]))


@pytest.mark.parametrize("text", [b"\\x41\n", b"\\101\n", b"\\q\n", b"a\\\nb\n"])
def test_an_escape_no_server_sends_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedRecord):
        found(text, 1)
    with pytest.raises(MalformedRecord):
        decoded(Run.join([text], [len(text)]), 1)


def test_a_mark_of_byte_order_at_the_beginning_is_part_of_its_value() -> None:
    rows: list[list[Value]] = [["\ufeffa".encode(), b"1"], ["\ufeff".encode(), b"2"]]
    assert decoded(copy_run(rows), 2) == rows


def test_a_row_alone_is_given_as_it_was_written() -> None:
    text = copy_text([["é\t".encode(), None, b"\\x00", b"", b"\xff"]])
    assert row_of(np.frombuffer(text, np.uint8), 5, [4, 0, 1, 2]) == ("\udcff", "é\t", "", "\\x00")


@pytest.mark.parametrize("odd", [b"NaN", b"Infinity", b"-Infinity"])
def test_one_value_that_no_float_is_leaves_the_others_as_they_are(odd: bytes) -> None:
    """Arrow's reader would take it for a float: it is marked all the same."""
    types = [one for oid in (20, 701) if (one := builtin(oid, -1)) is not None]
    rows: list[list[Value]] = [[b"1", b"1.5"], [b"2", odd], [b"3", None]]
    batch, marks = decode_rows(copy_run(rows), types, ["n", "x"])
    assert batch.to_pydict() == {"n": [1, 2, 3], "x": [1.5, None, None]}
    assert marks["x"].raw == (odd,)


def test_a_huge_row_and_its_neighbours_come_out_as_they_went_in() -> None:
    rows: list[list[Value]] = [[b"a", None], [b"x\t" * (1 << 20), b"\\"], [b"", b"c"]]
    assert decoded(copy_run(rows), 2) == rows
