"""Read the text of one PostgreSQL value: the meaning that the vector decoders must agree with.

Used for the few values that those leave over (infinities, BC dates, quoted array elements) and for very small batches.
Never raises for a value: what cannot be held is a Mark.
"""

import re
from collections.abc import Callable
from decimal import Decimal

import pyarrow as pa

from bridge.model import Mark
from bridge.postgres.arrays import parse_array
from bridge.postgres.types import Kind, PgType

# What a cell is read to: what pa.array takes for its Arrow type (days and microseconds as plain integers), or a Mark.
Value = str | bytes | bool | int | float | Decimal | list["Value | None"] | Mark

_TOKENS = {
    b"NaN": Mark.NAN,
    b"Infinity": Mark.PLUS_INFINITY,
    b"-Infinity": Mark.MINUS_INFINITY,
    b"infinity": Mark.PLUS_INFINITY,
    b"-infinity": Mark.MINUS_INFINITY,
}
_INTEGER = re.compile(rb"-?[0-9]+")
_NUMBER = re.compile(rb"-?[0-9]+(\.[0-9]+)?")
_FLOAT = re.compile(rb"-?[0-9]+(\.[0-9]+)?(e[+-][0-9]+)?")
_MONEY = re.compile(rb"-?\$[0-9,]+\.[0-9][0-9]")
_DATE = re.compile(rb"([0-9]{4,})-([0-9]{2})-([0-9]{2})( BC)?")
_CLOCK = re.compile(rb"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?")
_TIMESTAMP = re.compile(rb"(\S+) ([0-9:.]+)(\+00)?( BC)?")
_DAY_US = 86_400_000_000
_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def read_value(raw: bytes, type_: PgType) -> Value:
    """The value of a cell, or the Mark that says why it has none."""
    value = _READERS[type_.kind](raw, type_)
    return Mark.UNREADABLE if value is None else value


def _text(raw: bytes, _: PgType) -> Value | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _numeral(raw: bytes, _: PgType) -> Value | None:
    return raw.decode() if _NUMBER.fullmatch(raw) else _TOKENS.get(raw)


def _boolean(raw: bytes, _: PgType) -> Value | None:
    return {b"t": True, b"f": False}.get(raw)


def _integer(raw: bytes, type_: PgType) -> Value | None:
    if not _INTEGER.fullmatch(raw) or len(raw) > 20:  # noqa: PLR2004 # longer than any 64-bit integer
        return None
    value = int(raw)
    width: int = type_.arrow.bit_width
    low, high = (-1 << width - 1, 1 << width - 1) if pa.types.is_signed_integer(type_.arrow) else (0, 1 << width)
    return value if low <= value < high else None


def _float(raw: bytes, type_: PgType) -> Value | None:
    if not _FLOAT.fullmatch(raw):
        return _TOKENS.get(raw)
    value = float(raw)
    is_held = abs(value) <= (3.4028235677973366e38 if type_.arrow.bit_width == 32 else 1.7976931348623157e308)  # noqa: PLR2004
    return value if is_held else None


def _decimal(raw: bytes, type_: PgType) -> Value | None:
    if not _NUMBER.fullmatch(raw):
        return _TOKENS.get(raw)
    whole, _, fraction = raw.lstrip(b"-").partition(b".")
    arrow = type_.arrow
    is_held = len(fraction) <= arrow.scale and len(whole.lstrip(b"0")) <= arrow.precision - arrow.scale
    return Decimal(raw.decode()) if is_held else None


def _money(raw: bytes, type_: PgType) -> Value | None:
    return _decimal(raw.replace(b"$", b"").replace(b",", b""), type_) if _MONEY.fullmatch(raw) else None


def _bytes(raw: bytes, _: PgType) -> Value | None:
    try:
        return bytes.fromhex(raw[2:].decode("ascii")) if raw.startswith(b"\\x") else None
    except ValueError:
        return None


def _date(raw: bytes, _: PgType) -> Value | None:
    return _days(raw) if raw[:1].isdigit() else _TOKENS.get(raw)


def _timestamp(raw: bytes, _: PgType) -> Value | None:
    if not raw[:1].isdigit():
        return _TOKENS.get(raw)
    match = _TIMESTAMP.fullmatch(raw)
    if match is None:
        return None
    days, clock = _days(match[1] + (match[4] or b"")), _microseconds(match[2])
    if days is None or clock is None:
        return None
    value = days * _DAY_US + clock
    return value if -1 << 63 <= value < 1 << 63 else None


def _time(raw: bytes, _: PgType) -> Value | None:
    return _microseconds(raw)


def _list(raw: bytes, type_: PgType) -> Value | None:
    """An array with a marked element is unreadable as a whole: a list has no place for an element's mark."""
    elements = parse_array(raw)
    if elements is None or type_.element is None:
        return None
    values: list[Value | None] = []
    for element in elements:
        value = None if element is None else read_value(element, type_.element)
        if isinstance(value, Mark):
            return None
        values.append(value)
    return values


def _days(raw: bytes) -> int | None:
    """Days since 1970-01-01 in the proleptic Gregorian calendar; the year before 1 is 1 BC.

    Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
    """
    match = _DATE.fullmatch(raw)
    if match is None:
        return None
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    if match[4]:
        year = 1 - year
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= month <= 12 or not 1 <= day <= _MONTH_DAYS[month - 1] + (is_leap and month == 2):  # noqa: PLR2004
        return None
    year -= month <= 2  # noqa: PLR2004
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468
    return days if -1 << 31 <= days < 1 << 31 else None


def _microseconds(raw: bytes) -> int | None:
    """Microseconds since midnight; None for 24:00:00, which a time of day cannot hold."""
    match = _CLOCK.fullmatch(raw)
    if match is None:
        return None
    hour, minute, second = int(match[1]), int(match[2]), int(match[3])
    if hour > 23 or minute > 59 or second > 59:  # noqa: PLR2004
        return None
    return (hour * 3600 + minute * 60 + second) * 1_000_000 + int((match[4] or b"").ljust(6, b"0"))


_READERS: dict[Kind, Callable[[bytes, PgType], Value | None]] = {
    Kind.TEXT: _text,
    Kind.NUMERAL: _numeral,
    Kind.BOOLEAN: _boolean,
    Kind.INTEGER: _integer,
    Kind.FLOAT: _float,
    Kind.DECIMAL: _decimal,
    Kind.MONEY: _money,
    Kind.BYTES: _bytes,
    Kind.DATE: _date,
    Kind.TIMESTAMP: _timestamp,
    Kind.TIME: _time,
    Kind.LIST: _list,
}
