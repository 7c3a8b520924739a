"""What each type of MySQL and MariaDB becomes, and the decoding of its text to Arrow.

Every value comes out exact, or null with a mark that keeps its bytes: a zero date, a time beyond a day, text that is
not in its column's own character set (I5). Text comes in that character set: the server converts nothing for us, since
it would put `?` for what it cannot convert.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pymysql.constants import FIELD_TYPE, FLAG

from bridge.cells import Decoded, Text, cast, cast_ordinary, gather, left_over, utf8, validity
from bridge.model import Column, Mark, Marks
from bridge.sources.view.dialects.mysql.wire import Field, Rows

BINARY = 63  # collation of columns that are bytes
_ZERO, _MINUS, _COLON = b"0-:"
_MAX_DIGITS, _MAX_SCALE = 76, 38  # of decimal256; the server knows 65 and 38
_SHORT_DIGITS = 38
_UNSIGNED_INTS = {1: pa.uint8(), 2: pa.uint16(), 3: pa.uint32(), 8: pa.uint64(), 9: pa.uint32()}
_INTS = {1: pa.int8(), 2: pa.int16(), 3: pa.int32(), 8: pa.int64(), 9: pa.int32()}
_INT_NAMES = {1: "tinyint", 2: "smallint", 3: "int", 8: "bigint", 9: "mediumint"}
_BLOBS = {FIELD_TYPE.TINY_BLOB, FIELD_TYPE.MEDIUM_BLOB, FIELD_TYPE.LONG_BLOB, FIELD_TYPE.BLOB}
_TEXTS = {FIELD_TYPE.VARCHAR, FIELD_TYPE.VAR_STRING, FIELD_TYPE.STRING, FIELD_TYPE.ENUM, FIELD_TYPE.SET}
_DECIMALS = {FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL}
_EPOCH, _BLANK = pa.scalar("1970-01-01", pa.large_string()), pa.scalar(" ", pa.large_string())

# Python's name of each character set that differs from the server's; latin1 is Windows' there.
_CODECS: Mapping[str, str] = {
    "utf8mb3": "utf-8", "utf8mb4": "utf-8", "utf8": "utf-8", "latin1": "cp1252", "latin2": "iso8859-2",
    "latin5": "iso8859-9", "latin7": "iso8859-13", "greek": "iso8859-7", "hebrew": "iso8859-8", "ucs2": "utf-16-be",
    "utf16": "utf-16-be", "utf16le": "utf-16-le", "utf32": "utf-32-be", "koi8r": "koi8-r", "koi8u": "koi8-u",
    "sjis": "shift_jis", "ujis": "euc_jp", "eucjpms": "euc_jp", "euckr": "euc_kr", "gb2312": "gb2312", "gbk": "gbk",
    "gb18030": "gb18030", "big5": "big5", "cp932": "cp932", "tis620": "tis-620", "macroman": "mac-roman",
    "macce": "mac-latin2", "ascii": "ascii", "cp850": "cp850", "cp852": "cp852", "cp866": "cp866", "cp1250": "cp1250",
    "cp1251": "cp1251", "cp1256": "cp1256", "cp1257": "cp1257",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Type:
    """How one column is decoded."""

    column: Column
    decode: Callable[[Text, "Type"], Decoded]
    codec: str = "utf-8"  # of text
    literal: str = "text"  # how a value is written in SQL: number, text, bytes, time
    charset: str = "utf8mb4"  # of text, as the server calls it


def type_of(field: Field, charsets: Mapping[int, str]) -> Type:
    """The type of a column.

    Args:
        field: as the server describes it.
        charsets: character set by number of the collation.
    """
    name, kind = field.name, field.type
    if kind in _INTS:
        is_unsigned = bool(field.flags & FLAG.UNSIGNED)
        arrow = (_UNSIGNED_INTS if is_unsigned else _INTS)[kind]
        said = _INT_NAMES[kind] + (" unsigned" if is_unsigned else "")
        return Type(Column(name, said, arrow), _digits, literal="number")
    if kind in _DECIMALS:
        return _decimal(field)
    if kind in _TEXTS or kind in _BLOBS or kind == FIELD_TYPE.GEOMETRY:
        return _characters(field, charsets)
    said, arrow, decode, literal = _OTHERS.get(kind, ("text", pa.large_string(), _text, "text"))
    return Type(Column(name, said, arrow), decode, literal=literal)


def decode(
    rows: Rows, types: tuple[Type, ...], wanted: tuple[str, ...] = ()
) -> tuple[pa.RecordBatch, dict[str, Marks], dict[str, Any]]:
    """The columns of an answer.

    Args:
        rows: as they came.
        types: one per column.
        wanted: columns whose last value is asked for as JSON can keep it: text as it came, bytes as hexadecimal digits,
            text that is not in its character set as an object with these.
    Returns: a batch whose marked cells are null, the marks, and the last values; none of these without rows.
    Raises: MalformedRecord.
    """
    arrays, marks, last = [], {}, {}
    for cells, type_ in zip(rows.cells(), types, strict=True):
        name = type_.column.name
        text = Text(*gather(rows.buffer, cells.starts, cells.lengths), cells.is_value)
        array, is_odd = type_.decode(text, type_)
        if is_odd is not None and is_odd.any():
            array, marked = _settle(array, text, np.flatnonzero(is_odd), type_)
            if marked is not None:
                marks[name] = marked
        arrays.append(array)
        if name in wanted and len(array):
            last[name] = _kept(text, type_)
    schema = pa.schema([pa.field(type_.column.name, type_.column.arrow) for type_ in types])
    ordered = {name: last[name] for name in wanted} if len(rows.starts) else {}
    return pa.RecordBatch.from_arrays(arrays, schema=schema), marks, ordered


def _kept(text: Text, type_: Type) -> Any:  # noqa: ANN401  what JSON can keep
    if not text.is_text[-1]:
        return None
    raw = text.data[text.offsets[-2] :].tobytes()
    if type_.literal == "bytes":
        return raw.hex()
    if type_.decode is _bits:
        return str(int.from_bytes(raw, "big"))
    try:
        return raw.decode(type_.codec)
    except UnicodeDecodeError:
        return {"raw": raw.hex()}


def _settle(array: pa.Array, text: Text, rows: NDArray[np.int64], type_: Type) -> tuple[pa.Array, Marks | None]:
    """Read the rows left over one by one; what stays unreadable is marked."""
    raws = [text.data[text.offsets[row] : text.offsets[row + 1]] for row in rows.tolist()]
    values = pa.concat_arrays([_read(raw, type_) for raw in raws])
    if values.null_count < len(values):
        order = np.arange(len(array))
        order[rows] = np.arange(len(array), len(array) + len(rows))
        array = pa.concat_arrays([array, values]).take(pa.array(order))
    bad = np.flatnonzero(np.asarray(values.is_null()))
    if not bad.size:
        return array, None
    kinds = np.full(len(bad), Mark.UNREADABLE, np.uint8)
    return array, Marks(rows[bad], kinds, tuple(raws[number].tobytes() for number in bad.tolist()))


def _read(raw: NDArray[np.uint8], type_: Type) -> pa.Array:
    """One value as an array; null where it is none of its type."""
    if type_.literal == "text":
        try:
            return pa.array([raw.tobytes().decode(type_.codec)], type_.column.arrow)
        except UnicodeError:  # or a lone surrogate, that Arrow refuses
            return pa.nulls(1, type_.column.arrow)
    one = Text(raw, np.array([0, len(raw)], np.int64), np.ones(1, np.bool_))
    return type_.decode(one, type_)[0]


def _decimal(field: Field) -> Type:
    scale = min(field.decimals, _MAX_SCALE)
    digits = field.length - (0 if field.flags & FLAG.UNSIGNED else 1) - (1 if scale else 0)
    digits = min(max(digits, scale, 1), _MAX_DIGITS)
    make = pa.decimal128 if digits <= _SHORT_DIGITS else pa.decimal256
    return Type(Column(field.name, f"decimal({digits},{scale})", make(digits, scale)), _digits, literal="number")


def _characters(field: Field, charsets: Mapping[int, str]) -> Type:
    if field.charset == BINARY or field.type == FIELD_TYPE.GEOMETRY:
        said = "geometry" if field.type == FIELD_TYPE.GEOMETRY else "blob" if field.type in _BLOBS else "binary"
        return Type(Column(field.name, said, pa.large_binary()), _bytes, literal="bytes")
    charset = charsets.get(field.charset, "utf8mb4")
    said = "enum" if field.flags & FLAG.ENUM else "set" if field.flags & FLAG.SET else "text"
    codec = _CODECS.get(charset, "utf-8")
    return Type(Column(field.name, f"{said} {charset}", pa.large_string()), _text, codec=codec, charset=charset)


def _digits(text: Text, type_: Type) -> Decoded:
    return cast(text.strings(text.is_text), type_.column.arrow)


def _double(text: Text, type_: Type) -> Decoded:
    return cast_ordinary(text, type_.column.arrow, text.data > ord("e"))


def _dates(text: Text, type_: Type) -> Decoded:
    """A date of which a part is zero is none: 0000-00-00 stands for "not given", and 2026-02-00 for a month."""
    arrow = type_.column.arrow
    is_zero = _is_zero(text, 0, 4) | _is_zero(text, 5, 7) | _is_zero(text, 8, 10)
    plain = pa.timestamp("us") if pa.types.is_timestamp(arrow) else arrow
    array, is_odd = cast(text.strings(text.is_text & ~is_zero), plain)
    return array.view(arrow), is_zero if is_odd is None else is_odd | is_zero


def _is_zero(text: Text, begin: int, end: int) -> NDArray[np.bool_]:
    """The rows whose text is zeros from one place to another."""
    long_enough = np.diff(text.offsets) >= end
    found: NDArray[np.bool_] = text.is_text & long_enough
    if text.data.size:
        last = len(text.data) - 1
        for place in range(begin, end):
            found &= text.data[np.minimum(text.offsets[:-1] + place, last)] == _ZERO
    return found


def _clock(text: Text, type_: Type) -> Decoded:
    """A time of day. TIME also holds spans of up to 838 hours either way; those are left over."""
    is_strange = np.diff(text.offsets) > 0
    if text.data.size:
        first = text.data[np.minimum(text.offsets[:-1], len(text.data) - 1)]
        third = text.data[np.minimum(text.offsets[:-1] + 2, len(text.data) - 1)]
        is_strange &= (first == _MINUS) | (third != _COLON)
    kept = text.is_text & ~is_strange
    moments = pc.binary_join_element_wise(_EPOCH, text.strings(kept), _BLANK)
    array, is_odd = cast(moments, pa.timestamp("us"))
    array = array.view(pa.int64()).view(type_.column.arrow)
    return array, is_strange if is_odd is None else is_strange | is_odd


def _text(text: Text, type_: Type) -> Decoded:
    if type_.codec in ("utf-8", "ascii"):
        return utf8(text)
    if type_.codec.startswith("utf-"):
        return left_over(text, text.is_text.copy())
    if text.data.max(initial=0) < 0x80 and not _is_shifted(type_.codec):  # noqa: PLR2004  ASCII in nearly all
        return text.strings(text.is_text), None
    is_high = text.rows_at(np.flatnonzero(text.data >= 0x80)) if text.data.size else np.zeros(0, np.bool_)  # noqa: PLR2004
    return left_over(text, text.is_text.copy() if _is_shifted(type_.codec) else is_high)


def _is_shifted(codec: str) -> bool:
    """Whether a byte below 0x80 may stand for something else than in ASCII."""
    return codec in ("shift_jis", "cp932", "gbk", "gb18030", "big5")


def _bytes(text: Text, _: Type) -> Decoded:
    buffers = [validity(text.is_text), pa.py_buffer(text.offsets), pa.py_buffer(text.data)]
    return pa.Array.from_buffers(pa.large_binary(), len(text.is_text), buffers), None


def _bits(text: Text, _: Type) -> Decoded:
    """Up to eight bytes, the highest first; as many in each row."""
    lengths = np.diff(text.offsets)
    values = np.zeros(len(lengths), np.uint64)
    last = max(len(text.data) - 1, 0)
    for place in range(int(lengths.max(initial=0))):
        has_byte = place < lengths
        if text.data.size:
            byte = text.data[np.minimum(text.offsets[:-1] + place, last)].astype(np.uint64)
            values = np.where(has_byte, values << np.uint64(8) | byte, values)
    return pa.array(values, mask=~text.is_text), None


_Other = tuple[str, pa.DataType, Callable[[Text, Type], Decoded], str]
_OTHERS: Mapping[int, _Other] = {
    FIELD_TYPE.FLOAT: ("float", pa.float64(), _double, "number"),
    FIELD_TYPE.DOUBLE: ("double", pa.float64(), _double, "number"),
    FIELD_TYPE.BIT: ("bit", pa.uint64(), _bits, "number"),
    FIELD_TYPE.YEAR: ("year", pa.int16(), _digits, "number"),
    FIELD_TYPE.DATE: ("date", pa.date32(), _dates, "time"),
    FIELD_TYPE.NEWDATE: ("date", pa.date32(), _dates, "time"),
    FIELD_TYPE.DATETIME: ("datetime", pa.timestamp("us"), _dates, "time"),
    FIELD_TYPE.TIMESTAMP: ("timestamp", pa.timestamp("us", "UTC"), _dates, "time"),
    FIELD_TYPE.TIME: ("time", pa.time64("us"), _clock, "time"),
    FIELD_TYPE.JSON: ("json", pa.large_string(), _text, "text"),
}
