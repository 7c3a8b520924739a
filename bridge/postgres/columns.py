"""Decode PostgreSQL's text values, found as cells inside one buffer, to Arrow columns.

Every value comes out exact, or null with a mark that keeps its bytes: never rounded, never silently null (I5). A value
that cannot be read never fails its batch.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.cells import FEW_ROWS, Decoded, Text, gather
from bridge.model import Mark, Marks
from bridge.postgres.arrays import split_plain
from bridge.postgres.tuples import NULL, TEXT, UNCHANGED, Cells, walk_copy, walk_tuples
from bridge.postgres.types import PgType
from bridge.postgres.values import Value, read_value
from bridge.postgres.vectors import decode_text

_FEW_BYTES = 1 << 16  # above this, even one row is decoded without making Python values of it

__all__ = ["Cells", "decode", "walk_copy", "walk_tuples"]


def decode(
    cells: Sequence[Cells], types: Sequence[PgType], names: Sequence[str], buffer: NDArray[np.uint8]
) -> tuple[pa.RecordBatch, dict[str, Marks]]:
    """Decode n rows.

    Args:
        cells: one per column, n rows each, offsets into `buffer`.
        types: one per column.
        names: one per column.
        buffer: the bytes, contiguous; text is the server's, under PINNED_SETTINGS.
    Returns: a batch of n rows with the types' Arrow types, and the marks of each column that has any; a marked cell is
        null in the batch.
    """
    arrays: list[pa.Array] = []
    marks: dict[str, Marks] = {}
    for column, type_, name in zip(cells, types, names, strict=True):
        array, marked = _decode_column(column, type_, buffer)
        arrays.append(array)
        if marked is not None:
            marks[name] = marked
    return pa.RecordBatch.from_arrays(arrays, list(names)), marks


def decode_text_column(
    text: Text, type_: PgType, *, is_unchanged: NDArray[np.bool_] | None = None
) -> tuple[pa.Array, Marks | None]:
    """Decode one column.

    Args:
        text: n rows.
        type_: of the column.
        is_unchanged: n, of the rows without text those that have a value all the same; None: they are null.
    Returns: as `decode`.
    """
    array, is_odd = decode_text(text, type_) if type_.element is None else _decode_lists(text, type_.element)
    is_open = is_unchanged
    if is_odd is not None:
        is_open = is_odd if is_open is None else is_open | is_odd
    if is_open is None or not is_open.any():
        return array, None
    row_count = len(text.is_text)
    rows = np.flatnonzero(is_open)
    kinds = np.where(text.is_text, np.uint8(TEXT), np.uint8(NULL))
    if is_unchanged is not None:
        kinds[is_unchanged] = UNCHANGED
    cells = Cells(kinds, text.offsets[:-1], np.diff(text.offsets))
    values, marks = _read(cells, rows.tolist(), type_, text.data)
    if any(value is not None for value in values):
        order = np.arange(row_count)
        order[rows] = np.arange(row_count, row_count + len(rows))
        array = pa.concat_arrays([array, pa.array(values, type_.arrow)]).take(pa.array(order))
    return array, marks


def _decode_column(cells: Cells, type_: PgType, buffer: NDArray[np.uint8]) -> tuple[pa.Array, Marks | None]:
    """Decode one column."""
    row_count = len(cells.kinds)
    if row_count < FEW_ROWS and buffer.size < _FEW_BYTES:
        values, marks = _read(cells, range(row_count), type_, buffer)
        return pa.array(values, type_.arrow), marks
    is_text = cells.kinds == TEXT
    text = Text(*gather(buffer, cells.starts, cells.lengths), is_text)
    return decode_text_column(text, type_, is_unchanged=None if is_text.all() else cells.kinds == UNCHANGED)


def _read(
    cells: Cells, rows: Iterable[int], type_: PgType, buffer: NDArray[np.uint8]
) -> tuple[list[Value | None], Marks | None]:
    """Read the cells of some rows one by one; a marked cell's value is None."""
    view = buffer.data
    kinds, starts, lengths = cells.kinds, cells.starts, cells.lengths
    values: list[Value | None] = []
    marked: list[tuple[int, Mark, bytes | None]] = []
    for row in rows:
        value: Value | None = None
        kind = kinds[row]
        if kind == TEXT:
            start = int(starts[row])
            raw = bytes(view[start : start + int(lengths[row])])
            value = read_value(raw, type_)
            if isinstance(value, Mark):
                marked.append((row, value, raw))
                value = None
        elif kind != NULL:
            marked.append((row, Mark.UNCHANGED, None))
        values.append(value)
    if not marked:
        return values, None
    marked_rows, marks, raws = zip(*marked, strict=True)
    return values, Marks(np.array(marked_rows, np.int64), np.array(marks, np.uint8), raws)


def _decode_lists(text: Text, element: PgType) -> Decoded:
    """Decode plain arrays through their elements' column; a row with a marked element is left over."""
    elements = split_plain(text.data, text.offsets, text.is_text)
    values, marks = _decode_column(elements.cells, element, elements.data)
    is_odd = elements.is_odd
    if marks is not None:
        is_odd[np.repeat(np.arange(len(is_odd)), elements.counts)[marks.rows]] = True
    offsets = np.concatenate(([0], np.cumsum(elements.counts)))
    lists = pa.ListArray.from_arrays(pa.array(offsets).cast(pa.int32()), values, mask=pa.array(~text.is_text | is_odd))
    return lists, is_odd if is_odd.any() else None
