"""Numbers of COBOL as columns: zoned, packed, binary and floating-point, without a loop over rows.

Exact: a value is an integer or a decimal of 38 digits, scaled by its picture. What is no number by the letter of its
form (a digit above 9, a sign that is none, a negative unsigned number) is null and said to be bad. Sources: IBM,
Enterprise COBOL Language Reference, "USAGE"; z/Architecture Principles of Operation, chapters 8 and 18.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.sources.file.fields import Form, Kind

Bytes = NDArray[np.uint8]
Rows = NDArray[np.bool_]
_HALF = 9  # digits that are summed up at a time: two halves fit an int64
_BAD = 255
_MASK = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def column(cells: Bytes, form: Form, *, is_ebcdic: bool, arrow: pa.DataType) -> tuple[pa.Array, Rows]:
    """A column of numbers.

    Args:
        cells: n rows of k bytes.
        form: how they are read.
        is_ebcdic: whether characters are EBCDIC; they are ASCII otherwise.
        arrow: the type of the values.
    Returns: n values, and which of them could not be read; those are null.
    """
    if form.kind in (Kind.FLOAT, Kind.HEXFLOAT):
        return _floats(cells, form)
    if form.kind is Kind.BINARY:
        return _binary(cells, form, arrow)
    read = (_packed if form.kind is Kind.PACKED else _zoned)(cells, form, is_ebcdic)
    return _exact(read, form.scale, arrow), read[2]


# -- digits


def _zoned(cells: Bytes, form: Form, is_ebcdic: bool) -> tuple[Bytes, Rows, Rows]:  # noqa: FBT001  called by kind
    """Digits as rows (digit by digit), signs, and what is no number."""
    count = len(cells)
    places = np.ascontiguousarray(cells.T)
    bad = np.zeros(count, np.bool_)
    negative = np.zeros(count, np.bool_)
    zone = np.uint8(0xF0 if is_ebcdic else 0x30)  # what is no digit in it is more than 9 without it
    if form.separate:
        sign = places[0 if form.leading else -1]
        places = places[1:] if form.leading else places[:-1]
        plus, minus = (0x4E, 0x60) if is_ebcdic else (0x2B, 0x2D)
        negative = sign == minus
        bad = ~negative & (sign != plus)
        digits = places ^ zone
    else:
        digits = places ^ zone
        if form.signed:
            over = places[0 if form.leading else -1]
            values, minuses = _OVERPUNCHED[is_ebcdic]
            digits[0 if form.leading else -1] = values[over]
            negative = minuses[over]
    bad |= digits.max(axis=0) > 9  # noqa: PLR2004  the largest digit
    if form.blank_zero and bad.any():
        blank = (cells == (0x40 if is_ebcdic else 0x20)).all(axis=1)
        digits[:, blank] = 0
        bad &= ~blank
    return digits, negative, bad


def _packed(cells: Bytes, form: Form, is_ebcdic: bool) -> tuple[Bytes, Rows, Rows]:  # noqa: ARG001, FBT001  as above
    places = np.ascontiguousarray(cells.T)
    halves = np.empty((2 * len(places), len(cells)), np.uint8)
    halves[0::2] = places >> 4
    halves[1::2] = places & 0x0F
    sign, digits = halves[-1], halves[:-1]
    negative = (sign == 0xD) | (sign == 0xB)  # noqa: PLR2004  the halves that mean minus
    bad = (digits.max(axis=0) > 9) | (sign < 0xA)  # noqa: PLR2004
    if not form.signed:
        bad |= negative
    if len(digits) > form.digits:  # an even number of digits leaves a half over
        bad |= digits[0] != 0
    return digits, negative, bad


def _exact(read: tuple[Bytes, Rows, Rows], scale: int, arrow: pa.DataType) -> pa.Array:
    """The numbers that digits stand for, the most significant first."""
    digits, negative, bad = read
    if bad.any():
        digits = np.where(bad, 0, digits)
    limbs = _limbs(digits)
    if len(limbs) <= 2:  # noqa: PLR2004  eighteen digits fit an int64
        value = limbs[0] if len(limbs) == 1 else limbs[0] * 10**_HALF + limbs[1]
        return scaled(np.where(negative, -value, value), bad, scale, arrow)
    low, high = np.zeros(len(bad), np.uint64), np.zeros(len(bad), np.uint64)
    for limb in limbs:
        low, high = _times(low, high, np.uint64(10**_HALF), limb.astype(np.uint64))
    for _ in range(-scale):
        low, high = _times(low, high, np.uint64(10), np.uint64(0))
    flipped = ~low + np.uint64(1)
    carry = (low == 0).astype(np.uint64)
    return _decimals(np.where(negative, flipped, low), np.where(negative, ~high + carry, high), bad, arrow)


def _limbs(digits: Bytes) -> list[NDArray[np.int64]]:
    """Groups of nine digits as numbers, the most significant first."""
    first = len(digits) % _HALF
    bounds = [*([0] if first else []), *range(first, len(digits) + 1, _HALF)]
    return [_sum(digits[start:end]) for start, end in pairwise(bounds)]


def _sum(digits: Bytes) -> NDArray[np.int64]:
    value: NDArray[np.int32] = digits[0].astype(np.int32)
    for place in digits[1:]:
        value *= 10
        value += place
    return value.astype(np.int64)


def _times(
    low: NDArray[np.uint64], high: NDArray[np.uint64], factor: np.uint64, more: NDArray[np.uint64] | np.uint64
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """128-bit value x factor + more; factor and more are below 2^32."""
    part = (low & _MASK) * factor + more
    rest = (low >> _SHIFT) * factor + (part >> _SHIFT)
    return (rest << _SHIFT) | (part & _MASK), high * factor + (rest >> _SHIFT)


# -- values


def scaled(value: NDArray[np.int64], bad: Rows, scale: int, arrow: pa.DataType) -> pa.Array:
    """Whole numbers as a column of `arrow`, which says where the point stands."""
    if pa.types.is_decimal(arrow):
        if scale < 0:
            low, high = value.astype(np.uint64), (value >> 63).astype(np.uint64)
            for _ in range(-scale):
                low, high = _times(low, high, np.uint64(10), np.uint64(0))
            return _decimals(low, high, bad, arrow)
        return _decimals(value.astype(np.uint64), (value >> 63).astype(np.uint64), bad, arrow)
    return pa.array(value * 10**-scale if scale < 0 else value, pa.int64(), mask=bad if bad.any() else None)


def _decimals(low: NDArray[np.uint64], high: NDArray[np.uint64], bad: Rows, arrow: pa.DataType) -> pa.Array:
    words = np.empty((len(low), 2), np.uint64)
    words[:, 0], words[:, 1] = low, high
    valid = pa.py_buffer(np.packbits(~bad, bitorder="little")) if bad.any() else None
    return pa.Array.from_buffers(arrow, len(low), [valid, pa.py_buffer(words)])


def _binary(cells: Bytes, form: Form, arrow: pa.DataType) -> tuple[pa.Array, Rows]:
    size = cells.shape[1]
    order = "<" if form.little else ">"
    given = np.ascontiguousarray(cells).view(f"{order}{'i' if form.signed else 'u'}{size}").reshape(-1)
    bad = np.zeros(len(given), np.bool_)
    if form.signed or size < 8:  # noqa: PLR2004  an unsigned one of 8 bytes passes an int64
        return scaled(given.astype(np.int64), bad, form.scale, arrow), bad
    low, high = given.astype(np.uint64), np.zeros(len(given), np.uint64)
    for _ in range(-form.scale):
        low, high = _times(low, high, np.uint64(10), np.uint64(0))
    if pa.types.is_decimal(arrow):
        return _decimals(low, high, bad, arrow), bad
    return pa.array(low.astype(np.int64), arrow), bad


def _floats(cells: Bytes, form: Form) -> tuple[pa.Array, Rows]:
    size = cells.shape[1]
    order = "<" if form.little else ">"
    whole = np.ascontiguousarray(cells)
    bad = np.zeros(len(cells), np.bool_)
    if form.kind is Kind.FLOAT:
        with np.errstate(invalid="ignore"):  # of a NaN that signals, which is one like any other
            return pa.array(whole.view(f"{order}f{size}").reshape(-1).astype(np.float64)), bad
    bits = whole.view(f"{order}u{size}").reshape(-1).astype(np.uint64)
    digits = np.uint64(8 * size - 8)
    fraction = (bits & ((np.uint64(1) << digits) - np.uint64(1))).astype(np.float64)
    power = ((bits >> digits) & np.uint64(0x7F)).astype(np.int64)
    value = np.ldexp(fraction, (4 * (power - 64) - int(digits)).astype(np.int32))
    return pa.array(np.where(bits >> np.uint64(8 * size - 1), -value, value)), bad


# -- tables by byte


def _table(fill: Callable[[Bytes, Rows], None]) -> tuple[Bytes, Rows]:
    values, minuses = np.full(256, _BAD, np.uint8), np.zeros(256, np.bool_)
    fill(values, minuses)
    return values, minuses


def _ebcdic_signs(values: Bytes, minuses: Rows) -> None:
    for zone in (0xA, 0xB, 0xC, 0xD, 0xE, 0xF):
        for digit in range(10):
            values[zone << 4 | digit] = digit
            minuses[zone << 4 | digit] = zone in (0xB, 0xD)


def _ascii_signs(values: Bytes, minuses: Rows) -> None:
    """Both habits: IBM's characters carried over ({, A to I and }, J to R), and p to y for minus."""
    for text, is_minus in (("0123456789", False), ("{ABCDEFGHI", False), ("}JKLMNOPQR", True), ("pqrstuvwxy", True)):
        for digit, character in enumerate(text):
            values[ord(character)] = digit
            minuses[ord(character)] = is_minus


_OVERPUNCHED = {True: _table(_ebcdic_signs), False: _table(_ascii_signs)}
