"""Text from columns of numbers and times, a whole column at once. Pure; knows nothing of events."""

from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

TEXT = pa.large_string()
FEW = 16  # values that are quicker written one by one: a live event often comes alone
Texts: TypeAlias = pa.LargeStringArray | list[str]  # a list where they are few

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  its text has no zone
_PAIRS = {  # every two digits of a base, as one number of two bytes
    base: np.frombuffer(b"".join(b"%c%c" % (high, low) for high in digits for low in digits), np.uint16)
    for base, digits in ((10, b"0123456789"), (16, b"0123456789ABCDEF"))
}
_DAY_US = 86_400_000_000
_YEAR_1, _YEAR_10000 = -62_135_596_800_000_000, 253_402_300_800_000_000  # microseconds since 1970
_TIME = np.frombuffer(b"0000-00-00T00:00:00.000000Z", np.uint8)
# Where each digit of the time of day stands, and how many microseconds it counts in units of its modulus.
_CLOCK = ((11, 36_000_000_000, 10), (12, 3_600_000_000, 10), (14, 600_000_000, 6), (15, 60_000_000, 10),
          (17, 10_000_000, 6), (18, 1_000_000, 10), (20, 100_000, 10), (21, 10_000, 10), (22, 1_000, 10),
          (23, 100, 10), (24, 10, 10), (25, 1, 10))  # fmt: skip


def decimal(values: NDArray[np.int64] | NDArray[np.uint64], *, width: int = 0) -> Texts:
    """Numbers from 0 on in decimal, with zeros in front up to `width` characters."""
    return _digits(values.astype(np.uint64, copy=False), base=10, width=width)


def hexadecimal(values: NDArray[np.uint64]) -> Texts:
    """Numbers in upper-case hexadecimal without zeros in front."""
    return _digits(values, base=16, width=0)


def _digits(values: NDArray[Any], *, base: Literal[10, 16], width: int) -> Texts:
    form = f"0{width}{'d' if base == 10 else 'X'}"  # noqa: PLR2004  decimal
    if values.size <= FEW:
        return [format(value, form) for value in values.tolist()]
    least, most = int(values.min()), int(values.max())
    if least == most:
        return pa.repeat(pa.scalar(format(most, form), TEXT), values.size)
    shortest, places = len(format(least, form)), len(format(most, form))
    left = values if most >= 2**32 else values.astype(np.uint32)  # division of short numbers is twice as fast
    text = _written(left, base, places)
    if shortest == places:
        return fixed(text)
    lengths = np.full(values.size, shortest, np.int64)
    for place in range(shortest, places):
        lengths += left >= base**place
    shown = np.tri(places + 1, places, -1, dtype=np.bool_)[:, ::-1]  # by length: its last so many places
    data = text[shown.take(lengths, axis=0)]
    return _strings(data, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))


def _written(left: NDArray[Any], base: Literal[10, 16], places: int) -> NDArray[np.uint8]:
    """The digits of numbers, zeros in front included: two at a time."""
    pairs, unit, steps = _PAIRS[base], left.dtype.type(base**2), -(-places // 2)
    text = np.empty((left.size, steps), np.uint16)
    for step in range(steps - 1, -1, -1):
        rest = left // unit
        text[:, step] = pairs[left - rest * unit]
        left = rest
    return text.view(np.uint8)[:, 2 * steps - places :]


def rfc3339(micros: NDArray[np.int64]) -> pa.LargeStringArray | None:
    """Microseconds since 1970 as ``2026-03-01T08:00:00.000000Z``; None where a year has not four digits."""
    if micros.size and (micros.min() < _YEAR_1 or micros.max() >= _YEAR_10000):
        return None
    days, rest = np.divmod(micros, _DAY_US)
    text = np.tile(_TIME, (micros.size, 1))
    known, place = np.unique(days, return_inverse=True)
    dates = np.datetime_as_string(known.astype("datetime64[D]")).astype("S10")
    text[:, :10] = dates.view(np.uint8).reshape(-1, 10)[place]
    for column, unit, modulus in _CLOCK:
        text[:, column] += (rest // unit % modulus).astype(np.uint8)
    return fixed(text)


def moment(micros: int) -> str:
    """Microseconds since 1970 as ``2026-03-01T08:00:00.000000``. Raises: OverflowError beyond the years 1 to 9999."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat(timespec="microseconds")


def fixed(matrix: NDArray[np.uint8]) -> pa.LargeStringArray:
    """One text a row of the matrix, all of one length."""
    count, length = matrix.shape
    return _strings(np.ascontiguousarray(matrix).reshape(-1), np.arange(count + 1, dtype=np.int64) * length)


def _strings(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> pa.LargeStringArray:
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))


def contents(texts: pa.LargeStringArray) -> memoryview:
    """The texts of an array one after another, without a copy; of null ones nothing."""
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = texts.buffers()[2]
    return memoryview(data)[offsets[0] : offsets[-1]] if len(texts) and data is not None else memoryview(b"")


def is_plain(texts: pa.LargeStringArray) -> bool:
    """Whether no text holds a character that JSON escapes."""
    data = np.frombuffer(contents(texts), np.uint8)
    return not ((data < 0x20) | (data == 0x22) | (data == 0x5C)).any()  # noqa: PLR2004  control, quote, backslash
