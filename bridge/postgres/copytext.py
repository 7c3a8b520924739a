"""Find the cells of rows in COPY's text format, all at once, and copy none.

The format separates columns by tabs and rows by line feeds and escapes both inside values, so two comparisons over the
buffer find every cell, and one more every escape. `copyrows` is quicker for many small rows.
Source: PostgreSQL manual, "COPY", Text Format.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bridge.errors import MalformedRecord
from bridge.postgres.tuples import NULL, TEXT, Cells

_TAB, _LINE_FEED, _BACKSLASH = ord("\t"), ord("\n"), ord("\\")
_NULL = rb"\N"
_BLOCK_BYTES = 1 << 18
# What COPY TO sends behind a backslash, and what it stands for.
_PLAIN = np.zeros(256, np.uint8)
for _letter, _byte in zip(b"bfnrtv\\", b"\b\f\n\r\t\v\\", strict=True):
    _PLAIN[_letter] = _byte
_IS_ESCAPED = _PLAIN > 0


def walk_text(buffer: NDArray[np.uint8], column_count: int) -> tuple[list[Cells], NDArray[np.uint8], int]:
    """The cells of all rows in `buffer`.

    Args:
        buffer: whole rows, each ended by a line feed.
        column_count: columns a row has.
    Returns: the cells per column, the buffer they point into (without escapes), and the row count.
    Raises: MalformedRecord when the bytes are not whole rows of that many columns, or hold an unknown escape.
    """
    ends = _find(buffer, _TAB, _LINE_FEED)
    row_count, rest = divmod(ends.size, column_count)
    row_ends = ends[column_count - 1 :: column_count]
    stop = ends[-1] + 1 if ends.size else 0
    if rest or stop != buffer.size or (buffer[row_ends] != _LINE_FEED).any():
        raise MalformedRecord(f"COPY text of {buffer.size} bytes is not whole rows of {column_count} columns")
    starts = np.empty_like(ends)
    starts[:1] = 0
    starts[1:] = ends[:-1] + 1
    lengths = ends - starts
    first = buffer[np.minimum(starts, buffer.size - 1)]
    kinds = np.full(ends.size, TEXT, np.uint8)
    is_null = (lengths == len(_NULL)) & (first == _BACKSLASH)
    if is_null.any():
        is_null[is_null] = buffer[starts[is_null] + 1] == _NULL[1]
        kinds[is_null] = NULL
        lengths[is_null] = 0
    buffer = unescape(buffer, starts, lengths, is_null)
    return [
        Cells(kinds[column::column_count].copy(), starts[column::column_count].copy(),
              lengths[column::column_count].copy())
        for column in range(column_count)
    ], buffer, row_count  # fmt: skip


def row_of(buffer: NDArray[np.uint8], column_count: int, wanted: Sequence[int]) -> tuple[str, ...]:
    """Some columns of a single row as the server wrote them, by number; a null is empty. Raises: as `walk_text`."""
    cells, buffer, _ = walk_text(buffer, column_count)
    ends = [(int(cells[number].starts[0]), int(cells[number].lengths[0])) for number in wanted]
    return tuple(buffer[start : start + length].tobytes().decode("utf-8", "surrogateescape") for start, length in ends)


def _find(buffer: NDArray[np.uint8], *wanted: int) -> NDArray[np.int64]:
    """Where these bytes are, block by block: a mask of the whole would be as large as the rows."""
    found = [np.empty(0, np.int64)]
    for start in range(0, buffer.size, _BLOCK_BYTES):
        block = buffer[start : start + _BLOCK_BYTES]
        is_wanted = block == wanted[0]
        for byte in wanted[1:]:
            is_wanted |= block == byte
        found.append(np.flatnonzero(is_wanted) + start)
    return np.concatenate(found)


def unescape(
    buffer: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], is_null: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """The buffer with every escape as the byte it stands for; the cells' offsets are moved along.

    Raises: MalformedRecord for an escape that no server sends, or whose letter would be another cell's.
    """
    backslashes = _find(buffer, _BACKSLASH)
    nulls = starts[is_null]
    backslashes = backslashes[~np.isin(backslashes, nulls, assume_unique=True)] if nulls.size else backslashes
    if not backslashes.size:
        return buffer
    # Of backslashes in a row every other one begins an escape.
    run_starts = np.flatnonzero(np.diff(backslashes, prepend=-2) != 1)
    in_run = np.arange(backslashes.size) - np.repeat(run_starts, np.diff(np.append(run_starts, backslashes.size)))
    escapes = backslashes[in_run % 2 == 0]
    if np.isin(escapes + 1, starts + lengths).any():
        raise MalformedRecord("COPY text has a cell that ends within an escape")
    letters = buffer[escapes + 1]
    if not _IS_ESCAPED[letters].all():
        raise MalformedRecord("COPY text has an escape that no server sends")
    plain = np.delete(buffer, escapes)
    plain[escapes - np.arange(escapes.size)] = _PLAIN[letters]
    before = np.searchsorted(escapes, starts)
    lengths -= np.searchsorted(escapes, starts + lengths) - before
    starts -= before
    return plain
