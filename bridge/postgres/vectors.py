"""Turn the text of a whole column into an Arrow array with a few vector instructions.

Each decoder does the ordinary values and says which rows it left over; `values` reads those one by one. The two agree
on whatever a server prints: a property test says so.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bridge.cells import Decoded, Text, cast, cast_ordinary, left_over, utf8, validity, windows
from bridge.postgres.types import Kind, PgType

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


def decode_text(text: Text, type_: PgType) -> Decoded:
    """Decode a column of any kind but LIST."""
    return _DECODERS[type_.kind](text, type_)


def _numeral(text: Text, _: PgType) -> Decoded:
    if text.data.max(initial=0) <= _COLON:
        return text.strings(text.is_text), None
    return left_over(text, text.rows_at(np.flatnonzero(text.data > _COLON)))


def _digits(text: Text, type_: PgType) -> Decoded:
    """Numbers, dates and timestamps; a letter means a special token or an era and is left over."""
    if text.data.max(initial=0) <= _COLON:
        return cast(text.strings(text.is_text), type_.arrow)
    return cast_ordinary(text, type_.arrow, text.data > _COLON)


def _float(text: Text, type_: PgType) -> Decoded:
    array, is_odd = cast_ordinary(text, type_.arrow, (text.data > _COLON) & (text.data != _EXPONENT))
    values = np.frombuffer(array.buffers()[1], f"f{type_.arrow.bit_width // 8}", len(array))
    is_beyond = np.isinf(values) & text.is_text
    if not is_beyond.any():
        return array, is_odd
    array = pc.if_else(pa.array(is_beyond), pa.scalar(None, type_.arrow), array)
    return array, is_beyond if is_odd is None else is_odd | is_beyond


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
    buffers = [validity(text.is_text), pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(text.is_text), buffers), None


def _all_left_over(text: Text, arrow: pa.DataType) -> Decoded:
    return pa.nulls(len(text.is_text), arrow), text.is_text


def _time(text: Text, type_: PgType) -> Decoded:
    """HH:MM:SS and up to six more digits, as one product of digits and weights."""
    row_count = len(text.is_text)
    lengths = np.diff(text.offsets)
    padded = np.concatenate((text.data, np.zeros(_CLOCK_WIDTH, np.uint8)))
    wide = windows(padded, _CLOCK_WIDTH)[text.offsets[:-1]].view(np.uint8).reshape(row_count, _CLOCK_WIDTH)
    is_inside = np.arange(_CLOCK_WIDTH) < lengths[:, None]
    is_held = (wide[:, 2] == _COLON) & (wide[:, 5] == _COLON) & (lengths >= 8) & (lengths <= _CLOCK_WIDTH)  # noqa: PLR2004
    is_held &= (lengths == 8) | ((wide[:, 8] == _POINT) & (lengths > 9))  # noqa: PLR2004
    digits = (wide - np.uint8(_ZERO)) * is_inside
    digits[:, [2, 5, 8]] = 0
    is_held &= (digits <= _CLOCK_MOST).all(axis=1) & (digits[:, 0] * 10 + digits[:, 1] <= 23) & text.is_text  # noqa: PLR2004
    values = digits @ _CLOCK_WEIGHTS
    is_odd = text.is_text & ~is_held
    array = pa.Array.from_buffers(type_.arrow, row_count, [validity(is_held), pa.py_buffer(values)])
    return array, is_odd if is_odd.any() else None


_DECODERS: dict[Kind, Callable[[Text, PgType], Decoded]] = {
    Kind.TEXT: lambda text, _: utf8(text),
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
