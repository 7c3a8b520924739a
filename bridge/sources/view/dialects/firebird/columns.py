"""Firebird's messages to Arrow columns.

The client library puts a row into memory as one message of fixed length whose layout the statement describes. Many
messages lie one behind the other, so that a column is a slice of a matrix. Every value comes out exact, or null with a
mark that keeps its bytes (I5). CHAR comes padded to its declared length, as the server gives it.
Source: Firebird 3 language reference, "Data Types"; `ibase.h`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from firebird.driver.types import SQLDataType
from numpy.typing import NDArray

from bridge.cells import Text, gather, utf8, validity
from bridge.errors import SourceRefused
from bridge.model import Column, Mark, Marks

Bytes = NDArray[np.uint8]
ReadBlob = Callable[[bytes], bytes]
"""The contents of a BLOB by its id."""

_NONE, _OCTETS, _UNICODE_FSS, _UTF8 = 0, 1, 3, 4  # character sets
_BYTES_PER_LETTER = {_UNICODE_FSS: 3, _UTF8: 4}
_EPOCH = 40_587  # days from 1858-11-17 to 1970-01-01
_DAY_US = 86_400_000_000
_TICK_US = 100  # of a time
_TEXT_BLOB = 1
# By type: numpy's type, Arrow's, digits that any value fits into, SQL's name.
_WHOLE: Mapping[SQLDataType, tuple[str, pa.DataType, int, str]] = {
    SQLDataType.SHORT: ("<i2", pa.int16(), 5, "smallint"),
    SQLDataType.LONG: ("<i4", pa.int32(), 10, "integer"),
    SQLDataType.INT64: ("<i8", pa.int64(), 19, "bigint"),
}
_FLOATS = {SQLDataType.FLOAT: ("<f4", "float"), SQLDataType.DOUBLE: ("<f8", "double precision")}
_TIMES = {
    SQLDataType.DATE: (pa.date32(), "date"),
    SQLDataType.TIME: (pa.time64("us"), "time"),
    SQLDataType.TIMESTAMP: (pa.timestamp("us"), "timestamp"),
}


@dataclass(frozen=True, slots=True)
class Item:
    """One column and where it lies in a message."""

    column: Column
    type: SQLDataType
    offset: int
    null_offset: int
    length: int
    codec: str | None = None  # of text; None: bytes
    letters: int = 0  # of CHAR


def item_of(described: Any, codec: str) -> Item:  # noqa: ANN401  the driver's ItemMetadata
    """A column as a statement describes it.

    Args:
        described: its metadata.
        codec: Python's name of what text is in where the database declares no character set.
    Raises: SourceRefused for a type that is not read.
    """
    name, kind = described.alias or described.field, SQLDataType(described.datatype & ~1)
    place: tuple[SQLDataType, int, int, int] = (
        kind,
        described.offset,
        described.null_offset,
        described.length,
    )
    if kind in _WHOLE:
        _, arrow, digits, said = _WHOLE[kind]
        scale = -described.scale
        if scale:
            said, arrow = f"numeric({digits},{scale})", pa.decimal128(max(digits, scale), scale)
        return Item(Column(name, said, arrow), *place)
    if kind in _FLOATS:
        return Item(Column(name, _FLOATS[kind][1], pa.float64()), *place)
    if kind in _TIMES:
        arrow, said = _TIMES[kind]
        return Item(Column(name, said, arrow), *place)
    if kind is SQLDataType.BOOLEAN:
        return Item(Column(name, "boolean", pa.bool_()), *place)
    if kind in (SQLDataType.TEXT, SQLDataType.VARYING):
        return _characters(name, described, place, codec)
    if kind is SQLDataType.BLOB:
        is_text = described.subtype == _TEXT_BLOB
        arrow, said = (pa.large_string(), "blob text") if is_text else (pa.large_binary(), "blob")
        return Item(Column(name, said, arrow), *place, codec="utf-8" if is_text else None)
    hint = "CAST it in the view to a type that docs/views-databases.md names."
    raise SourceRefused(f"column {name} is of a type that is not read: {kind.name}", hint=hint)


def decode(messages: Bytes, items: Sequence[Item], read_blob: ReadBlob) -> tuple[pa.RecordBatch, dict[str, Marks]]:
    """The columns of n messages.

    Args:
        messages: n by the length of one.
        items: the columns.
        read_blob: gives the contents of a BLOB, asked for while the answer is open.
    """
    arrays, marks = [], {}
    for item in items:
        flags = messages[:, item.null_offset : item.null_offset + 2]
        is_value: NDArray[np.bool_] = ~np.asarray(flags.any(axis=1))
        array, marked = _column(messages, item, is_value, read_blob)
        arrays.append(array)
        if marked is not None:
            marks[item.column.name] = marked
    schema = pa.schema([pa.field(item.column.name, item.column.arrow) for item in items])
    return pa.RecordBatch.from_arrays(arrays, schema=schema), marks


def _column(
    messages: Bytes, item: Item, is_value: NDArray[np.bool_], read_blob: ReadBlob
) -> tuple[pa.Array, Marks | None]:
    if item.type in (SQLDataType.TEXT, SQLDataType.VARYING):
        return _text(_cells(messages, item, is_value), item)
    if item.type is SQLDataType.BLOB:
        return _text(_blobs(messages, item, is_value, read_blob), item)
    if item.type is SQLDataType.BOOLEAN:
        return pa.array(messages[:, item.offset] != 0, mask=~is_value), None
    return _FIXED[item.type](messages, item, is_value), None


def _characters(name: str, described: Any, place: tuple[SQLDataType, int, int, int], codec: str) -> Item:  # noqa: ANN401  as above
    charset = described.charset & 0xFF  # the rest is the collation
    width = described.length // _BYTES_PER_LETTER.get(charset, 1)
    said = f"{'char' if place[0] is SQLDataType.TEXT else 'varchar'}({width})"
    if charset == _OCTETS:
        return Item(Column(name, f"{said} octets", pa.large_binary()), *place, letters=width)
    return Item(
        Column(name, said, pa.large_string()), *place, codec=codec if charset == _NONE else "utf-8", letters=width
    )


def _numbers(messages: Bytes, item: Item, dtype: str, offset: int = 0) -> NDArray[Any]:
    width, begin = np.dtype(dtype).itemsize, item.offset + offset
    return np.ascontiguousarray(messages[:, begin : begin + width]).view(dtype)[:, 0]


def _whole(messages: Bytes, item: Item, is_value: NDArray[np.bool_]) -> pa.Array:
    dtype, arrow, _, _ = _WHOLE[item.type]
    values = _numbers(messages, item, dtype)
    if item.column.arrow == arrow:
        return pa.array(values, arrow, mask=~is_value)
    wide = np.empty((len(values), 2), np.int64)  # a decimal's 128 bits: low word and sign
    wide[:, 0] = values
    wide[:, 1] = wide[:, 0] >> 63
    return pa.Array.from_buffers(item.column.arrow, len(values), [validity(is_value), pa.py_buffer(wide)])


def _float(messages: Bytes, item: Item, is_value: NDArray[np.bool_]) -> pa.Array:
    return pa.array(_numbers(messages, item, _FLOATS[item.type][0]).astype(np.float64), mask=~is_value)


def _date(messages: Bytes, item: Item, is_value: NDArray[np.bool_]) -> pa.Array:
    days = _numbers(messages, item, "<i4") - np.int32(_EPOCH)
    return pa.Array.from_buffers(pa.date32(), len(days), [validity(is_value), pa.py_buffer(days)])


def _time(messages: Bytes, item: Item, is_value: NDArray[np.bool_]) -> pa.Array:
    micros = _numbers(messages, item, "<u4").astype(np.int64) * _TICK_US
    return pa.Array.from_buffers(pa.time64("us"), len(micros), [validity(is_value), pa.py_buffer(micros)])


def _timestamp(messages: Bytes, item: Item, is_value: NDArray[np.bool_]) -> pa.Array:
    days = _numbers(messages, item, "<i4").astype(np.int64) - _EPOCH
    micros = days * _DAY_US + _numbers(messages, item, "<u4", 4).astype(np.int64) * _TICK_US
    return pa.Array.from_buffers(pa.timestamp("us"), len(micros), [validity(is_value), pa.py_buffer(micros)])


def _cells(messages: Bytes, item: Item, is_value: NDArray[np.bool_]) -> Text:
    """The column's bytes end to end: of CHAR as many as it has letters, more only where a letter takes several."""
    count, stride = messages.shape
    starts = np.arange(count, dtype=np.int64) * stride + item.offset
    if item.type is SQLDataType.VARYING:
        lengths = _numbers(messages, item, "<u2").astype(np.int64)
        starts += 2
    else:
        lengths = np.full(count, item.letters, np.int64)
        if item.letters < item.length:
            has_long = (messages[:, item.offset : item.offset + item.length] >= 0x80).any(axis=1)  # noqa: PLR2004
            lengths[has_long] = item.length
    lengths = np.where(is_value, lengths, 0)
    return Text(*gather(messages.reshape(-1), starts, lengths), is_value)


def _blobs(messages: Bytes, item: Item, is_value: NDArray[np.bool_], read_blob: ReadBlob) -> Text:
    contents = [
        read_blob(messages[row, item.offset : item.offset + item.length].tobytes()) if has_value else b""
        for row, has_value in enumerate(is_value.tolist())
    ]
    offsets = np.zeros(len(contents) + 1, np.int64)
    np.cumsum([len(content) for content in contents], out=offsets[1:])
    return Text(np.frombuffer(b"".join(contents), np.uint8), offsets, is_value)


def _text(text: Text, item: Item) -> tuple[pa.Array, Marks | None]:
    if item.codec is None:
        buffers = [validity(text.is_text), pa.py_buffer(text.offsets), pa.py_buffer(text.data)]
        return pa.Array.from_buffers(pa.large_binary(), len(text.is_text), buffers), None
    is_plain = item.codec == "utf-8" and item.type is not SQLDataType.TEXT
    array, is_odd = utf8(text)
    if not is_plain and text.data.size:  # CHAR is cut to its letters; another character set is decoded
        is_odd = text.rows_at(np.flatnonzero(text.data >= 0x80))  # noqa: PLR2004
    if is_odd is None or not is_odd.any():
        return array, None
    return _settle(text, np.flatnonzero(is_odd), item, is_odd)


def _settle(
    text: Text, rows: NDArray[np.int64], item: Item, is_odd: NDArray[np.bool_]
) -> tuple[pa.Array, Marks | None]:
    """Decode the rows left over one by one; what is no text is marked."""
    raws = [text.data[text.offsets[row] : text.offsets[row + 1]].tobytes() for row in rows.tolist()]
    values: list[str | None] = []
    for raw in raws:
        try:
            value = raw.decode(item.codec or "")
        except UnicodeDecodeError:
            values.append(None)
        else:
            values.append(value[: item.letters] if item.type is SQLDataType.TEXT else value)
    array = text.strings(text.is_text & ~is_odd)
    order = np.arange(len(array))
    order[rows] = np.arange(len(array), len(array) + len(rows))
    array = pa.concat_arrays([array, pa.array(values, array.type)]).take(pa.array(order))
    bad = [number for number, value in enumerate(values) if value is None]
    if not bad:
        return array, None
    kinds = np.full(len(bad), Mark.UNREADABLE, np.uint8)
    return array, Marks(rows[bad], kinds, tuple(raws[number] for number in bad))


_FIXED: Mapping[SQLDataType, Callable[[Bytes, Item, NDArray[np.bool_]], pa.Array]] = {
    SQLDataType.SHORT: _whole,
    SQLDataType.LONG: _whole,
    SQLDataType.INT64: _whole,
    SQLDataType.FLOAT: _float,
    SQLDataType.DOUBLE: _float,
    SQLDataType.DATE: _date,
    SQLDataType.TIME: _time,
    SQLDataType.TIMESTAMP: _timestamp,
}
