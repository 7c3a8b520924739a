"""Text as it came from a database: many cells inside one buffer, to Arrow columns with a few vector instructions.

Each decoder does the ordinary values and says which rows it left over; whoever called reads those one by one. Knows no
database.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

FEW_ROWS = 12  # below this, one row at a time costs less than starting a vector instruction per step
_NARROW = 64  # bytes up to which values of many lengths are copied as if all were as wide as the widest
_ASCII_END = 0x80


@dataclass(frozen=True, slots=True)
class Text:
    """A column's text, end to end."""

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]  # n + 1
    is_text: NDArray[np.bool_]  # n; False for a row without a value, which is empty here

    def strings(self, is_kept: NDArray[np.bool_]) -> pa.LargeStringArray:
        """The rows kept as an Arrow array, null elsewhere; shares memory, checks nothing."""
        return pa.LargeStringArray.from_buffers(
            len(is_kept), pa.py_buffer(self.offsets), pa.py_buffer(self.data), validity(is_kept)
        )

    def rows_at(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows hold the bytes at these positions in `data`."""
        is_hit = np.zeros(len(self.is_text), np.bool_)
        is_hit[np.searchsorted(self.offsets, positions, "right") - 1] = True
        return is_hit


Decoded = tuple[pa.Array, NDArray[np.bool_] | None]
"""An array, null where there is no value, and which rows were left over (None: not one)."""


def gather(
    buffer: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Copy n slices of a buffer end to end.

    Args:
        buffer: contiguous.
        starts: n offsets.
        lengths: n, 0 for nothing.
    Returns: the bytes, and n + 1 offsets.
    """
    row_count = len(starts)
    offsets = np.zeros(row_count + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    total, widest = int(offsets[-1]), int(lengths.max(initial=0))
    if total == 0:
        return np.empty(0, np.uint8), offsets
    if row_count == 1:  # not copied: it may be huge
        return buffer[starts[0] : starts[0] + total], offsets
    if total == widest * row_count:
        return windows(buffer, widest)[starts].view(np.uint8), offsets
    if widest <= _NARROW and row_count * widest <= 4 * total:
        return _wide(buffer, starts, widest)[np.arange(widest) < lengths[:, None]], offsets
    # Long or very uneven values: one slice a row is cheaper than an index a byte.
    view = buffer.data
    ends = (starts + lengths).tolist()
    pieces = [view[start:end] for start, end in zip(starts.tolist(), ends, strict=True)]
    return np.frombuffer(b"".join(pieces), np.uint8), offsets


def utf8(text: Text) -> Decoded:
    """Text that is UTF-8; any other is left over."""
    array = text.strings(text.is_text)
    if text.data.max(initial=0) < _ASCII_END:
        return array, None
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return left_over(text, text.rows_at(np.flatnonzero(text.data >= _ASCII_END)))
    return array, None


def left_over(text: Text, is_odd: NDArray[np.bool_]) -> Decoded:
    """The text as it is, but for the rows left over."""
    return text.strings(text.is_text & ~is_odd), is_odd


def cast_ordinary(text: Text, arrow: pa.DataType, is_strange: NDArray[np.bool_]) -> Decoded:
    """Cast the rows without a strange byte."""
    if not is_strange.any():
        return cast(text.strings(text.is_text), arrow)
    is_odd = text.rows_at(np.flatnonzero(is_strange))
    array, is_refused = cast(text.strings(text.is_text & ~is_odd), arrow)
    return array, is_odd if is_refused is None else is_odd | is_refused


def cast(strings: pa.LargeStringArray, arrow: pa.DataType) -> Decoded:
    """Cast, and find the rows that do not parse by halving: k of n cost k log n casts."""
    try:
        return pc.cast(strings, arrow), None
    except pa.ArrowInvalid:
        if len(strings) < FEW_ROWS:
            return pa.nulls(len(strings), arrow), np.asarray(strings.is_valid())
    middle = len(strings) // 2
    halves = [cast(half, arrow) for half in (strings[:middle], strings[middle:])]
    is_odd = [np.zeros(len(array), np.bool_) if odd is None else odd for array, odd in halves]
    return pa.concat_arrays([array for array, _ in halves]), np.concatenate(is_odd)


def _wide(buffer: NDArray[np.uint8], starts: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    """The `width` bytes at each start, a row each; zeros behind the end of the buffer."""
    is_late = starts > len(buffer) - width
    if not is_late.any():
        return windows(buffer, width)[starts].view(np.uint8).reshape(len(starts), width)
    wide = np.empty((len(starts), width), np.uint8)
    wide[~is_late] = _wide(buffer, starts[~is_late], width)
    late = starts[is_late]
    wide[is_late] = _wide(np.concatenate((buffer[late.min() :], np.zeros(width, np.uint8))), late - late.min(), width)
    return wide


def windows(buffer: NDArray[np.uint8], width: int) -> NDArray[np.void]:
    """Every offset seen as the start of a value of one width: a gather copies it whole."""
    return np.ndarray(len(buffer) - width + 1, f"V{width}", buffer, strides=(1,))


def validity(is_valid: NDArray[np.bool_]) -> pa.Buffer | None:
    """Arrow's bitmap of the rows that have a value."""
    return None if is_valid.all() else pa.py_buffer(np.packbits(is_valid, bitorder="little"))
