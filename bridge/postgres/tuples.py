"""Find the cells of many tuples inside one buffer, column by column.

Says where each value lies and never looks inside it. All rows advance together, one column a step, so the cost per cell
is a few vector instructions however wide the rows are.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.cells import FEW_ROWS
from bridge.errors import MalformedRecord

TEXT, NULL, UNCHANGED = ord("t"), ord("n"), ord("u")
_KINDS = (TEXT, NULL, UNCHANGED)
_WORD = 4  # bytes of a length


@dataclass(frozen=True, slots=True)
class Cells:
    """One column's cells of n rows inside a buffer."""

    kinds: NDArray[np.uint8]  # n: TEXT, NULL or UNCHANGED
    starts: NDArray[np.int64]  # n: offset of the first value byte; where there is none, an offset within the buffer
    lengths: NDArray[np.int64]  # n: 0 unless TEXT

    def take(self, rows: NDArray[np.int64]) -> "Cells":
        """The cells of these rows."""
        return Cells(self.kinds[rows], self.starts[rows], self.lengths[rows])


def walk_tuples(
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    column_count: int,
    *,
    limits: NDArray[np.int64] | None = None,
) -> tuple[list[Cells], NDArray[np.int64]]:
    """Find the cells of pgoutput's TupleData.

    Args:
        buffer: the bytes, contiguous.
        starts: n offsets, each of the Int16 column count that begins a TupleData.
        column_count: how many columns the relation has.
        limits: n offsets that no tuple may pass; the buffer's end when None.
    Returns: the cells per column, and the offset after each tuple.
    Raises: MalformedRecord naming the first row whose column count differs, which passes its limit, or which has a
        value that is not text.
    Source: PostgreSQL manual, "Logical Replication Message Formats", TupleData, protocol version 1.
    """
    return _walk(buffer, starts, column_count, limits=limits, is_tagged=True)


def walk_copy(
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    column_count: int,
    *,
    limits: NDArray[np.int64] | None = None,
) -> tuple[list[Cells], NDArray[np.int64]]:
    """Find the cells of COPY BINARY tuples whose fields are text; otherwise as `walk_tuples`.

    Source: PostgreSQL manual, "COPY", Binary Format: Int16 field count, per field an Int32 length, -1 for null.
    """
    return _walk(buffer, starts, column_count, limits=limits, is_tagged=False)


def _walk(
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    column_count: int,
    *,
    limits: NDArray[np.int64] | None,
    is_tagged: bool,
) -> tuple[list[Cells], NDArray[np.int64]]:
    row_count = len(starts)
    if row_count == 0:
        empty = Cells(np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, np.int64))
        return [empty] * column_count, np.empty(0, np.int64)
    if limits is None:
        limits = np.full(row_count, len(buffer), np.int64)
    _refuse(starts < 0, "begins before its buffer")
    _refuse(starts + 2 > limits, "is cut short")
    counts = buffer[starts].astype(np.int64) << 8 | buffer[starts + 1]
    _refuse(counts != column_count, f"does not have {column_count} columns")
    shape = column_count, row_count
    planes = _Planes(np.empty(shape, np.uint8), np.empty(shape, np.int64), np.empty(shape, np.int64))
    walk = _walk_few if row_count < FEW_ROWS else _walk_many
    ends = walk(buffer, starts + 2, limits, planes=planes, is_tagged=is_tagged)
    return [Cells(*column) for column in zip(planes.kinds, planes.starts, planes.lengths, strict=True)], ends


@dataclass(frozen=True, slots=True)
class _Planes:
    """What the walks fill, columns by rows; each column's Cells are views of it."""

    kinds: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]


def _walk_many(
    buffer: NDArray[np.uint8],
    cursor: NDArray[np.int64],
    limits: NDArray[np.int64],
    *,
    planes: _Planes,
    is_tagged: bool,
) -> NDArray[np.int64]:
    """Fill the planes; returns the offset after each tuple.

    Reads are clipped to the buffer instead of checked first: a row that needed the clip fails its limit right after.
    """
    if len(buffer) < _WORD:
        buffer = np.concatenate((buffer, np.zeros(_WORD, np.uint8)))
    last = len(buffer) - 1
    # Every offset seen as the start of a big-endian Int32: one gather reads a length.
    words = np.ndarray(len(buffer) - _WORD + 1, ">i4", buffer, strides=(1,))
    for column in range(len(planes.kinds)):
        if is_tagged:
            kind = buffer[np.minimum(cursor, last)]
            length = words[np.minimum(cursor + 1, len(words) - 1)].astype(np.int64)
        else:
            length = words[np.minimum(cursor, len(words) - 1)].astype(np.int64)
            kind = np.where(length == -1, np.uint8(NULL), np.uint8(TEXT))
        is_text = kind == TEXT
        start = cursor + (1 + _WORD if is_tagged else _WORD)
        if not is_text.all():
            _refuse(~is_text & (kind != NULL) & (kind != UNCHANGED), "has a value that is not text")
            length[~is_text] = 0
            if is_tagged:
                start[~is_text] -= _WORD
        _refuse(length < 0, "has a negative length")
        cursor = start + length
        _refuse(cursor > limits, "is cut short")
        planes.kinds[column], planes.lengths[column] = kind, length
        np.minimum(start, last, out=planes.starts[column])
    return cursor


def _walk_few(
    buffer: NDArray[np.uint8],
    cursors: NDArray[np.int64],
    limits: NDArray[np.int64],
    *,
    planes: _Planes,
    is_tagged: bool,
) -> NDArray[np.int64]:
    """`_walk_many`, a row at a time."""
    view = buffer.data
    last = len(buffer) - 1
    ends = []
    for row, (begin, limit) in enumerate(zip(cursors.tolist(), limits.tolist(), strict=True)):
        at = begin
        for column in range(len(planes.kinds)):
            kind, length = TEXT, 0
            if is_tagged:
                kind = view[min(at, last)]
                at += 1
            if kind == TEXT:
                length = int.from_bytes(view[at : at + _WORD], "big", signed=True)
                at += _WORD
                if length == -1 and not is_tagged:
                    kind, length = NULL, 0
            if kind not in _KINDS:
                raise _malformed(row, "has a value that is not text")
            if length < 0:
                raise _malformed(row, "has a negative length")
            planes.kinds[column, row] = kind
            planes.starts[column, row] = min(at, last)
            planes.lengths[column, row] = length
            at += length
            if at > limit:
                raise _malformed(row, "is cut short")
        ends.append(at)
    return np.array(ends, np.int64)


def _refuse(is_bad: NDArray[np.bool_], complaint: str) -> None:
    if is_bad.any():
        raise _malformed(int(is_bad.argmax()), complaint)


def _malformed(row: int, complaint: str) -> MalformedRecord:
    return MalformedRecord(f"the tuple of row {row} of the batch {complaint}")
