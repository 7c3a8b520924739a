"""PostgreSQL's text output the plain way, one value at a time: what the column decoders are held to."""

import re
import struct
from collections.abc import Sequence
from decimal import Decimal
from types import EllipsisType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.model import Mark, Marks
from bridge.postgres.columns import decode, walk_tuples
from bridge.postgres.copying import Run
from bridge.postgres.copyrows import decode_rows
from bridge.postgres.types import Kind, PgType

Raw = bytes | None | EllipsisType  # a value, null, or (...) unchanged
TOKENS = {
    b"NaN": Mark.NAN,
    b"Infinity": Mark.PLUS_INFINITY,
    b"-Infinity": Mark.MINUS_INFINITY,
    b"infinity": Mark.PLUS_INFINITY,
    b"-infinity": Mark.MINUS_INFINITY,
}
ESCAPES = {
    b"\b": b"b",
    b"\f": b"f",
    b"\n": b"n",
    b"\r": b"r",
    b"\t": b"t",
    b"\v": b"v",
    b"\\": b"\\",
}  # of COPY's text format
MARKED_KINDS = (Kind.NUMERAL, Kind.FLOAT, Kind.DECIMAL, Kind.DATE, Kind.TIMESTAMP)


def tuple_data(row: Sequence[Raw]) -> bytes:
    """One row as pgoutput's TupleData."""
    cells = [
        b"n" if v is None else b"u" if isinstance(v, EllipsisType) else b"t" + struct.pack(">i", len(v)) + v
        for v in row
    ]
    return struct.pack(">h", len(row)) + b"".join(cells)


def copy_tuple(row: Sequence[bytes | None]) -> bytes:
    """One row as a COPY BINARY tuple."""
    cells = [struct.pack(">i", -1) if v is None else struct.pack(">i", len(v)) + v for v in row]
    return struct.pack(">h", len(row)) + b"".join(cells)


def copy_text(rows: Sequence[Sequence[bytes | None]]) -> bytes:
    """Rows as COPY writes them in its text format."""
    return b"".join(b"\t".join(rb"\N" if value is None else _escaped(value) for value in row) + b"\n" for row in rows)


def copy_run(rows: Sequence[Sequence[bytes | None]]) -> Run:
    """Rows as COPY sends them, a message each."""
    sent = [copy_text([row]) for row in rows]
    return Run.join(sent or (b"",), [len(row) for row in sent])


def _escaped(value: bytes) -> bytes:
    return b"".join(rb"\%b" % ESCAPES[byte] if (byte := bytes([code])) in ESCAPES else byte for code in value)


def joined(
    parts: Sequence[bytes], header: bytes = b""
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Tuples end to end behind headers: the buffer, where each begins, where each ends."""
    buffer = np.frombuffer(b"".join(header + part for part in parts), np.uint8)
    ends = np.cumsum([len(header) + len(part) for part in parts], dtype=np.int64)
    return buffer, ends - np.array([len(part) for part in parts], np.int64), ends


def decode_one(raws: Sequence[Raw], type_: PgType) -> tuple[pa.Array, Marks | None]:
    """Decode one column that came as tuples of one value."""
    buffer, starts, limits = joined([tuple_data([raw]) for raw in raws], header=b"\xff\x80header")
    cells, _ = walk_tuples(buffer, starts, 1, limits=limits)
    batch, marks = decode(cells, [type_], ["value"], buffer)
    batch.validate(full=True)
    return batch.column(0), marks.get("value")


def decode_copied(raws: Sequence[Raw], type_: PgType) -> tuple[pa.Array, Marks | None]:
    """Decode one column that came by COPY; what is unchanged in a log is null in a table."""
    rows = [[None if isinstance(raw, EllipsisType) else raw] for raw in raws]
    batch, marks = decode_rows(copy_run(rows), [type_], ["value"])
    batch.validate(full=True)
    return batch.column(0), marks.get("value")


def printed(array: pa.Array, marks: Marks | None, type_: PgType) -> list[Raw]:
    """What the server must have sent for a decoded column: the way back."""
    values: list[Raw] = [None if value is None else print_value(value, type_) for value in physical(array)]
    if marks is not None:
        for row, kind, raw in zip(marks.rows.tolist(), marks.kinds.tolist(), marks.raw, strict=True):
            assert values[row] is None
            assert (raw is None) == (kind == Mark.UNCHANGED)
            values[row] = ... if raw is None else raw
    return values


def physical(array: pa.Array) -> list[Any]:
    """Values with dates and times as plain integers, which hold every year."""
    if pa.types.is_list(array.type):
        elements = physical(array.values)
        bounds = array.offsets.to_pylist()
        return [elements[bounds[i] : bounds[i + 1]] if array[i].is_valid else None for i in range(len(array))]
    if pa.types.is_date(array.type):
        return list(array.cast(pa.int32()).to_pylist())
    if pa.types.is_timestamp(array.type) or pa.types.is_time(array.type):
        return list(array.cast(pa.int64()).to_pylist())
    if pa.types.is_float32(array.type):
        return [None if value is None else np.float32(value) for value in array.to_pylist()]
    return list(array.to_pylist())


def print_value(value: Any, type_: PgType) -> bytes:  # noqa: ANN401, PLR0911 # a value of any column type, one way each
    """The server's text of a value; of a float, `same_float`."""
    match type_.kind:
        case Kind.BOOLEAN:
            return b"t" if value else b"f"
        case Kind.BYTES:
            return b"\\x" + bytes(value).hex().encode()
        case Kind.FLOAT:
            return same_float(str(value).encode(), type_)
        case Kind.MONEY:
            return f"{'-' if value < 0 else ''}${abs(value):,.2f}".encode()
        case Kind.DATE:
            return _print_era(str(np.datetime64(value, "D")))
        case Kind.TIMESTAMP:
            day, _, clock = str(np.datetime64(value, "us")).partition("T")
            zone = "+00" if type_.arrow.tz else ""
            return _print_era(day, f" {_print_clock(clock)}{zone}")
        case Kind.TIME:
            return _print_clock(str(np.datetime64(value, "us")).partition("T")[2]).encode()
        case Kind.LIST:
            assert type_.element is not None
            element = type_.element
            return b"{" + b",".join(b"NULL" if v is None else _quoted(print_value(v, element)) for v in value) + b"}"
        case Kind.DECIMAL:
            return format(value, "f").encode()
        case _:
            return str(value).encode()


def same_float(raw: bytes, type_: PgType) -> bytes:
    """A float's text without choice of form: the server may print 1e+16 with all its digits."""
    if raw in TOKENS:
        return raw
    return str(np.float32(raw.decode()) if type_.arrow.bit_width == 32 else float(raw)).encode()


def twin(raw: Raw, type_: PgType) -> tuple[Any, Mark | None]:
    """Decode one cell with the standard library: the physical value, or a mark."""
    if raw is None or isinstance(raw, EllipsisType):
        return None, None if raw is None else Mark.UNCHANGED
    if raw in TOKENS and type_.kind in MARKED_KINDS:
        return None, TOKENS[raw]
    try:
        return _READ[type_.kind](raw, type_), None
    except (ValueError, OverflowError, ArithmeticError):
        return None, Mark.UNREADABLE


def _print_era(day: str, rest: str = "") -> bytes:
    year, month, date = day.removeprefix("-").split("-")
    number = -int(year) if day.startswith("-") else int(year)
    return f"{number if number > 0 else 1 - number:04d}-{month}-{date}{rest}{'' if number > 0 else ' BC'}".encode()


def _print_clock(clock: str) -> str:
    return clock.rstrip("0").rstrip(".") if clock.partition(".")[2] else clock[:8]


def _quoted(text: bytes) -> bytes:
    if text and not re.search(rb'[{},"\\\s]', text) and text.upper() != b"NULL":
        return text
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _read_decimal(raw: bytes, type_: PgType) -> Decimal:
    number = Decimal(raw.decode())
    scale, precision = type_.arrow.scale, type_.arrow.precision
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > scale or (number and number.adjusted() >= precision - scale):
        raise ValueError
    return number


def _read_days(raw: bytes, _: PgType) -> int:
    match = re.fullmatch(r"(\d{4,})-(\d\d)-(\d\d)( BC)?", raw.decode())
    if match is None:
        raise ValueError
    year = 1 - int(match[1]) if match[4] else int(match[1])
    sign, digits = ("-" if year < 0 else "+"), f"{abs(year):04d}"
    return int(np.datetime64(f"{sign}{digits}-{match[2]}-{match[3]}", "D").astype(np.int64))


def _read_clock(raw: bytes, _: PgType) -> int:
    match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,6}))?", raw.decode())
    if match is None:
        raise ValueError
    seconds = int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])
    return seconds * 10**6 + int((match[4] or "").ljust(6, "0"))


def _read_timestamp(raw: bytes, type_: PgType) -> int:
    match = re.fullmatch(r"(\S+) ([\d:.]+)(\+00)?( BC)?", raw.decode())
    if match is None:
        raise ValueError
    days = _read_days((match[1] + (match[4] or "")).encode(), type_)
    value = days * 86_400 * 10**6 + _read_clock(match[2].encode(), type_)
    if not -(2**63) <= value < 2**63:
        raise OverflowError
    return value


def _read_integer(raw: bytes, type_: PgType) -> int:
    return int(pa.scalar(int(raw), type_.arrow).as_py())


def _read_float(raw: bytes, type_: PgType) -> Any:  # noqa: ANN401 # float32 has no Python type
    if not re.fullmatch(rb"-?\d+(\.\d+)?(e[+-]\d+)?", raw):
        raise ValueError
    return np.float32(raw.decode()) if type_.arrow.bit_width == 32 else float(raw)


def _read_list(raw: bytes, type_: PgType) -> list[Any]:
    assert type_.element is not None
    if not (raw.startswith(b"{") and raw.endswith(b"}")):
        raise ValueError
    values: list[Any] = []
    body, i = raw[1:-1], 0
    while i < len(body):
        text, is_quoted = bytearray(), body[i : i + 1] == b'"'
        i += is_quoted
        while i < len(body) and body[i : i + 1] != (b'"' if is_quoted else b","):
            if not is_quoted and body[i] in b"{}":
                raise ValueError
            i += body[i : i + 1] == b"\\"
            text.append(body[i])
            i += 1
        i += 1 + is_quoted
        value, mark = (None, None) if text == b"NULL" and not is_quoted else twin(bytes(text), type_.element)
        if mark is not None:
            raise ValueError
        values.append(value)
    return values


def _read_numeral(raw: bytes, _: PgType) -> str:
    if not re.fullmatch(rb"-?\d+(\.\d+)?", raw):
        raise ValueError
    return raw.decode()


def _read_boolean(raw: bytes, _: PgType) -> bool:
    if raw not in {b"t", b"f"}:
        raise ValueError
    return raw == b"t"


def _read_bytes(raw: bytes, _: PgType) -> bytes:
    if not raw.startswith(b"\\x"):
        raise ValueError
    return bytes.fromhex(raw[2:].decode())


_READ = {
    Kind.TEXT: lambda raw, _: raw.decode(),
    Kind.NUMERAL: _read_numeral,
    Kind.BOOLEAN: _read_boolean,
    Kind.INTEGER: _read_integer,
    Kind.FLOAT: _read_float,
    Kind.DECIMAL: _read_decimal,
    Kind.MONEY: lambda raw, type_: _read_decimal(raw.replace(b"$", b"").replace(b",", b""), type_),
    Kind.BYTES: _read_bytes,
    Kind.DATE: _read_days,
    Kind.TIMESTAMP: _read_timestamp,
    Kind.TIME: _read_clock,
    Kind.LIST: _read_list,
}
