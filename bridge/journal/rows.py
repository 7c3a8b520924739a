"""How values stand in the journal's rows: times, JSON and checksums.

Every stored row that decides what is read or resumed carries a CRC-32 of its other columns, so that a flipped bit is
found and named instead of believed.
"""

import zlib
from datetime import UTC, datetime, timedelta

import msgspec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC of an aware time; exact."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(micros: int) -> datetime:
    """The aware UTC time of a count of microseconds; exact."""
    return _EPOCH + timedelta(microseconds=micros)


def maybe_moment(micros: int | None) -> datetime | None:
    """`moment`, where there is one."""
    return None if micros is None else moment(micros)


def checksum(*values: object, data: bytes = b"") -> int:
    """CRC-32 over the columns of a row and, after them, its blob."""
    return zlib.crc32(data, zlib.crc32(msgspec.msgpack.encode(values)))


def is_sound(crc: object, *values: object, data: object = b"") -> bool:
    """Whether columns and blob are those the checksum was taken of; damage may have changed their types too."""
    return isinstance(data, bytes) and crc == checksum(*values, data=data)


def to_json(value: object) -> str:
    """Compact JSON text."""
    return msgspec.json.encode(value).decode()
