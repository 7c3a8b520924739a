"""Turn the text of a whole column into an Arrow array with a few vector instructions.

Each decoder does the ordinary values and says which rows it left over; `values` reads those one by one. The two agree
on whatever a server prints: a property test says so.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bridge.sources.postgres.tuples import FEW_ROWS
from bridge.sources.postgres.types import Kind, PgType

_NARROW = 64  # bytes up to which values of many lengths are copied as if all were as wide as the widest

_ZERO, _COLON, _POINT, _EXPONENT = b"0:.e"
_CLOCK_WIDTH = len("HH:MM:SS.ffffff")
_CLOCK_WEIGHTS = np.zeros(_CLOCK_WIDTH, np.int64)
_CLOCK_WEIGHTS[[0, 1, 3, 4, 6, 7]] = np.array([36_000, 3_600, 600, 60, 10, 1], np.int64) * 1_000_000
_CLOCK_WEIGHTS[9:] = 10 ** np.arange(5, -1, -1)
_CLOCK_MOST = np.array([2, 9, 0, 5, 9, 0, 5, 9, 0, 9, 9, 9, 9, 9, 9], np.uint8)
_NO_NIBBLE = 16
_NIBBLES = np.full(256, _NO_NIBBLE, np.uint8)
for _digit in range(16):
    _NIBBLES[ord(f"{_digit:x}")] = _digit


@dataclass(frozen=True, slots=True)
class Text:
    """A column's text, end to end."""

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]  # n + 1
    is_text: NDArray[np.bool_]  # n; False for a row without a value, which is empty here

    def strings(self, is_kept: NDArray[np.bool_]) -> pa.LargeStringArray:
        """The rows kept as an Arrow array, null elsewhere; shares memory, checks nothing."""
        return pa.LargeStringArray.from_buffers(
            len(is_kept), pa.py_buffer(self.offsets), pa.py_buffer(self.data), _validity(is_kept)
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
        return _windows(buffer, widest)[starts].view(np.uint8), offsets
    if widest <= _NARROW and row_count * widest <= 4 * total:
        return _wide(buffer, starts, widest)[np.arange(widest) < lengths[:, None]], offsets
    # Long or very uneven values: one slice a row is cheaper than an index a byte.
    view = buffer.data
    ends = (starts + lengths).tolist()
    pieces = [view[start:end] for start, end in zip(starts.tolist(), ends, strict=True)]
    return np.frombuffer(b"".join(pieces), np.uint8), offsets


def decode_text(text: Text, type_: PgType) -> Decoded:
    """Decode a column of any kind but LIST."""
    return _DECODERS[type_.kind](text, type_)


def _wide(buffer: NDArray[np.uint8], starts: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    """The `width` bytes at each start, a row each; zeros behind the end of the buffer."""
    is_late = starts > len(buffer) - width
    if not is_late.any():
        return _windows(buffer, width)[starts].view(np.uint8).reshape(len(starts), width)
    wide = np.empty((len(starts), width), np.uint8)
    wide[~is_late] = _wide(buffer, starts[~is_late], width)
    late = starts[is_late]
    wide[is_late] = _wide(np.concatenate((buffer[late.min() :], np.zeros(width, np.uint8))), late - late.min(), width)
    return wide


def _windows(buffer: NDArray[np.uint8], width: int) -> NDArray[np.void]:
    """Every offset seen as the start of a value of one width: a gather copies it whole."""
    return np.ndarray(len(buffer) - width + 1, f"V{width}", buffer, strides=(1,))


def _validity(is_valid: NDArray[np.bool_]) -> pa.Buffer | None:
    return None if is_valid.all() else pa.py_buffer(np.packbits(is_valid, bitorder="little"))


def _utf8(text: Text, _: PgType) -> Decoded:
    array = text.strings(text.is_text)
    if text.data.max(initial=0) < 0x80:  # noqa: PLR2004
        return array, None
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return _left_over(text, text.rows_at(np.flatnonzero(text.data >= 0x80)))  # noqa: PLR2004
    return array, None


def _numeral(text: Text, _: PgType) -> Decoded:
    if text.data.max(initial=0) <= _COLON:
        return text.strings(text.is_text), None
    return _left_over(text, text.rows_at(np.flatnonzero(text.data > _COLON)))


def _left_over(text: Text, is_odd: NDArray[np.bool_]) -> Decoded:
    return text.strings(text.is_text & ~is_odd), is_odd


def _digits(text: Text, type_: PgType) -> Decoded:
    """Numbers, dates and timestamps; a letter means a special token or an era and is left over."""
    if text.data.max(initial=0) <= _COLON:
        return _cast(text.strings(text.is_text), type_.arrow)
    return _cast_ordinary(text, type_, text.data > _COLON)


def _float(text: Text, type_: PgType) -> Decoded:
    array, is_odd = _cast_ordinary(text, type_, (text.data > _COLON) & (text.data != _EXPONENT))
    values = np.frombuffer(array.buffers()[1], f"f{type_.arrow.bit_width // 8}", len(array))
    is_beyond = np.isinf(values) & text.is_text
    if not is_beyond.any():
        return array, is_odd
    array = pc.if_else(pa.array(is_beyond), pa.scalar(None, type_.arrow), array)
    return array, is_beyond if is_odd is None else is_odd | is_beyond


def _cast_ordinary(text: Text, type_: PgType, is_strange: NDArray[np.bool_]) -> Decoded:
    """Cast the rows without a strange byte."""
    if not is_strange.any():
        return _cast(text.strings(text.is_text), type_.arrow)
    is_odd = text.rows_at(np.flatnonzero(is_strange))
    array, is_refused = _cast(text.strings(text.is_text & ~is_odd), type_.arrow)
    return array, is_odd if is_refused is None else is_odd | is_refused


def _cast(strings: pa.LargeStringArray, arrow: pa.DataType) -> Decoded:
    """Cast, and find the rows that do not parse by halving: k of n cost k log n casts."""
    try:
        return pc.cast(strings, arrow), None
    except pa.ArrowInvalid:
        if len(strings) < FEW_ROWS:
            return pa.nulls(len(strings), arrow), np.asarray(strings.is_valid())
    middle = len(strings) // 2
    halves = [_cast(half, arrow) for half in (strings[:middle], strings[middle:])]
    is_odd = [np.zeros(len(array), np.bool_) if odd is None else odd for array, odd in halves]
    return pa.concat_arrays([array for array, _ in halves]), np.concatenate(is_odd)


def _money(text: Text, type_: PgType) -> Decoded:
    """Drop the currency sign and the thousands separators of the C locale."""
    is_kept = (text.data != ord("$")) & (text.data != ord(","))
    kept_before = np.concatenate(([0], np.cumsum(is_kept)))
    return _digits(Text(text.data[is_kept], kept_before[text.offsets], text.is_text), type_)


def _boolean(text: Text, _: PgType) -> Decoded:
    is_true = np.zeros(len(text.is_text), np.bool_)
    is_one = np.diff(text.offsets) == 1
    if text.data.size:
        first = text.data[np.minimum(text.offsets[:-1], len(text.data) - 1)]
        is_true = is_one & (first == ord("t"))
        is_one &= is_true | (first == ord("f"))
    is_odd = text.is_text & ~is_one
    return pa.array(is_true, mask=~is_one), is_odd if is_odd.any() else None


def _bytes(text: Text, _: PgType) -> Decoded:
    r"""``\x`` and two hexadecimal digits a byte; were any value not so, all are left over."""
    begins, lengths = text.offsets[:-1][text.is_text], np.diff(text.offsets)
    short = lengths[text.is_text]
    is_digit = np.ones(len(text.data), np.bool_)
    if (short < 2).any() or (short % 2).any():  # noqa: PLR2004
        return _all_left_over(text, pa.large_binary())
    is_digit[begins] = is_digit[begins + 1] = False
    nibbles = _NIBBLES[text.data[is_digit]]
    has_prefixes = (text.data[begins] == ord("\\")).all() and (text.data[begins + 1] == ord("x")).all()
    if not has_prefixes or nibbles.max(initial=0) == _NO_NIBBLE:
        return _all_left_over(text, pa.large_binary())
    data = nibbles[::2] << 4 | nibbles[1::2]
    offsets = np.zeros(len(text.offsets), np.int64)
    np.cumsum(np.where(text.is_text, lengths // 2 - 1, 0), out=offsets[1:])
    buffers = [_validity(text.is_text), pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(text.is_text), buffers), None


def _all_left_over(text: Text, arrow: pa.DataType) -> Decoded:
    return pa.nulls(len(text.is_text), arrow), text.is_text


def _time(text: Text, type_: PgType) -> Decoded:
    """HH:MM:SS and up to six more digits, as one product of digits and weights."""
    row_count = len(text.is_text)
    lengths = np.diff(text.offsets)
    padded = np.concatenate((text.data, np.zeros(_CLOCK_WIDTH, np.uint8)))
    wide = _windows(padded, _CLOCK_WIDTH)[text.offsets[:-1]].view(np.uint8).reshape(row_count, _CLOCK_WIDTH)
    is_inside = np.arange(_CLOCK_WIDTH) < lengths[:, None]
    is_held = (wide[:, 2] == _COLON) & (wide[:, 5] == _COLON) & (lengths >= 8) & (lengths <= _CLOCK_WIDTH)  # noqa: PLR2004
    is_held &= (lengths == 8) | ((wide[:, 8] == _POINT) & (lengths > 9))  # noqa: PLR2004
    digits = (wide - np.uint8(_ZERO)) * is_inside
    digits[:, [2, 5, 8]] = 0
    is_held &= (digits <= _CLOCK_MOST).all(axis=1) & (digits[:, 0] * 10 + digits[:, 1] <= 23) & text.is_text  # noqa: PLR2004
    values = digits @ _CLOCK_WEIGHTS
    is_odd = text.is_text & ~is_held
    array = pa.Array.from_buffers(type_.arrow, row_count, [_validity(is_held), pa.py_buffer(values)])
    return array, is_odd if is_odd.any() else None


_DECODERS: dict[Kind, Callable[[Text, PgType], Decoded]] = {
    Kind.TEXT: _utf8,
    Kind.NUMERAL: _numeral,
    Kind.BOOLEAN: _boolean,
    Kind.INTEGER: _digits,
    Kind.FLOAT: _float,
    Kind.DECIMAL: _digits,
    Kind.MONEY: _money,
    Kind.BYTES: _bytes,
    Kind.DATE: _digits,
    Kind.TIMESTAMP: _digits,
    Kind.TIME: _time,
}
