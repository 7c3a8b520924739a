"""Arrow batches as stored bytes, and back.

A block stores one IPC record batch message, compressed whole (for a single row most of the message is metadata, which
compressing column by column would leave as it is); its schema message is stored once, elsewhere. A raw batch (dead
letters, parked rows) is stored with everything needed to read it again: shape, schemas, marks.

Nothing here checks checksums or does I/O. Whatever cannot be decoded raises JournalCorrupt.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np
import pyarrow as pa

from bridge.errors import InternalError, JournalCorrupt
from bridge.model import Column, Marks, RawBatch, Shape

# Level 1: twice the time of lz4, half its bytes; higher levels cost time and save under 5 %.
_ZSTD = pa.Codec("zstd", 1)

_MARKED_CELLS = pa.schema(
    [
        pa.field("column", pa.uint32(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("kind", pa.uint8(), nullable=False),
        pa.field("raw", pa.binary()),
    ]
)


@dataclass(frozen=True, slots=True)
class Packed:
    """Compressed bytes and what they expand to."""

    data: bytes
    size: int  # bytes before compression


class _RawParts(msgspec.Struct, array_like=True, frozen=True):
    """The stored form of a raw batch."""

    stream: str
    shape: bytes
    changes_schema: bytes
    changes: bytes
    columns_schema: bytes
    columns: bytes
    marked: list[str]  # names of the columns that have marks
    marks: bytes  # batch of _MARKED_CELLS; `column` counts in `marked`


class _ShapeParts(msgspec.Struct, array_like=True, frozen=True):
    """The stored form of a shape."""

    table: str
    types: list[str]  # the source's own names
    schema: bytes  # names and Arrow types


def pack_schema(schema: pa.Schema) -> bytes:
    """The IPC schema message.

    Raises: InternalError for dictionary-encoded fields, whose dictionaries a single message cannot hold.
    """
    if any(pa.types.is_dictionary(field.type) for field in schema):
        raise InternalError("a batch for the journal has dictionary-encoded columns")
    message: bytes = schema.serialize().to_pybytes()
    return message


@lru_cache(maxsize=256)
def unpack_schema(message: bytes) -> pa.Schema:
    """The schema of an IPC schema message."""
    with _decoding():
        return pa.ipc.read_schema(pa.py_buffer(message))


def pack(batch: pa.RecordBatch) -> Packed:
    """The batch without its schema."""
    return _compress(batch.serialize())


def unpack(packed: Packed, schema: pa.Schema) -> pa.RecordBatch:
    """The batch again; its columns share one buffer."""
    with _decoding():
        return pa.ipc.read_record_batch(_expand(packed), schema)


def pack_shape(shape: Shape) -> bytes:
    """A shape with its Arrow types, uncompressed."""
    schema = pa.schema([pa.field(column.name, column.arrow) for column in shape.columns])
    types = [column.type for column in shape.columns]
    return msgspec.msgpack.encode(_ShapeParts(shape.table, types, schema.serialize().to_pybytes()))


def unpack_shape(stored: bytes) -> Shape:
    """The shape again."""
    with _decoding():
        parts = msgspec.msgpack.decode(stored, type=_ShapeParts)
    fields = zip(unpack_schema(parts.schema), parts.types, strict=True)
    return Shape(parts.table, tuple(Column(field.name, type_name, field.type) for field, type_name in fields))


def pack_raw(raw: RawBatch) -> Packed:
    """A raw batch whole."""
    parts = _RawParts(
        stream=raw.stream,
        shape=pack_shape(raw.shape),
        changes_schema=pack_schema(raw.changes.schema),
        changes=raw.changes.serialize().to_pybytes(),
        columns_schema=pack_schema(raw.columns.schema),
        columns=raw.columns.serialize().to_pybytes(),
        marked=list(raw.marks),
        marks=_marked_cells(raw.marks).serialize().to_pybytes(),
    )
    return _compress(pa.py_buffer(msgspec.msgpack.encode(parts)))


def unpack_raw(packed: Packed) -> RawBatch:
    """The raw batch again."""
    with _decoding():
        parts = msgspec.msgpack.decode(memoryview(_expand(packed)), type=_RawParts)
        cells = pa.ipc.read_record_batch(pa.py_buffer(parts.marks), _MARKED_CELLS)
        changes = pa.ipc.read_record_batch(pa.py_buffer(parts.changes), unpack_schema(parts.changes_schema))
        columns = pa.ipc.read_record_batch(pa.py_buffer(parts.columns), unpack_schema(parts.columns_schema))
    return RawBatch(parts.stream, unpack_shape(parts.shape), changes, columns, _marks(parts.marked, cells))


def one_row(raw: RawBatch, row: int) -> RawBatch:
    """A raw batch of a single row of another."""
    marks = {
        name: Marks(np.zeros(1, np.int64), mark.kinds[at : at + 1], mark.raw[at : at + 1])
        for name, mark in raw.marks.items()
        for at in np.flatnonzero(mark.rows == row).tolist()
    }
    return RawBatch(raw.stream, raw.shape, raw.changes.slice(row, 1), raw.columns.slice(row, 1), marks)


def _compress(message: pa.Buffer) -> Packed:
    return Packed(_ZSTD.compress(message, asbytes=True), message.size)


def _expand(packed: Packed) -> pa.Buffer:
    return _ZSTD.decompress(packed.data, packed.size)


def _marked_cells(marks: Mapping[str, Marks]) -> pa.RecordBatch:
    counts = [len(mark.rows) for mark in marks.values()]
    nothing = [np.empty(0, np.int64)]
    return pa.record_batch(
        [
            pa.array(np.repeat(np.arange(len(counts), dtype=np.uint32), counts)),
            pa.array(np.concatenate([mark.rows for mark in marks.values()] or nothing), pa.int64()),
            pa.array(np.concatenate([mark.kinds for mark in marks.values()] or nothing).astype(np.uint8)),
            pa.array([cell for mark in marks.values() for cell in mark.raw], pa.binary()),
        ],
        schema=_MARKED_CELLS,
    )


def _marks(marked: list[str], cells: pa.RecordBatch) -> dict[str, Marks]:
    columns, rows, kinds = (cells.column(at).to_numpy() for at in range(3))
    raw = cells.column(3).to_pylist()
    edges = np.searchsorted(columns, np.arange(len(marked) + 1)).tolist()
    spans = zip(marked, edges, edges[1:], strict=False)
    return {name: Marks(rows[start:end], kinds[start:end], tuple(raw[start:end])) for name, start, end in spans}


@contextmanager
def _decoding() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, msgspec.MsgspecError) as error:
        raise JournalCorrupt(f"stored bytes cannot be decoded: {type(error).__name__}") from error
