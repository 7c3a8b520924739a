"""The block table and its catalogue: rows of events under sequence numbers.

Every statement here runs inside a transaction the caller opened. A block row is checked whenever it is read; a stream's
catalogue row says which numbers must be there, so that a block that vanished is noticed too.
"""

from dataclasses import dataclass, replace
from typing import Any

import apsw
import pyarrow as pa

from bridge.errors import JournalCorrupt
from bridge.journal.block import Packed, unpack, unpack_schema
from bridge.journal.rows import checksum, is_sound, moment
from bridge.model import Block

_CATALOGUE = """
SELECT name, first, last, blocks, bytes, last_commit_at, last_journalled_at, merged, crc FROM stream
"""
_PUT_STREAM = "INSERT OR REPLACE INTO stream VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FIND_SCHEMA = "SELECT id FROM arrow_schema WHERE message = ?"
_PUT_SCHEMA = "INSERT INTO arrow_schema (crc, message) VALUES (?, ?) RETURNING id"
_GET_SCHEMA = "SELECT crc, message FROM arrow_schema WHERE id = ?"
_PUT_BLOCK = """
INSERT INTO block (stream, first, last, epoch, contract, schema, journalled_at, min_commit_at, max_commit_at, size, crc,
  data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_FROM = """
SELECT stream, first, last, epoch, contract, schema, journalled_at, min_commit_at, max_commit_at, size, crc, data
FROM block
WHERE stream = ?1 AND first >= coalesce((SELECT max(first) FROM block WHERE stream = ?1 AND first <= ?2), 0)
ORDER BY first
"""
_HEADS_FROM = """
SELECT first, last, epoch, contract, schema, journalled_at, length(data) FROM block
WHERE stream = ? AND first > ? ORDER BY first LIMIT ?
"""
_JOURNALLED_AT = """
SELECT journalled_at FROM block
WHERE stream = ?1 AND first >= coalesce((SELECT max(first) FROM block WHERE stream = ?1 AND first <= ?2), 0)
  AND last >= ?2
ORDER BY first LIMIT 1
"""
_OTHER_SCHEMA = """
SELECT min(first) FROM block WHERE stream = ?1 AND first > ?2 AND first <= ?3 AND schema <>
  (SELECT schema FROM block WHERE stream = ?1 AND last >= ?2 AND first <= ?2 ORDER BY first DESC LIMIT 1)
"""
_DROP = "DELETE FROM block WHERE stream = ? AND first >= ? AND last <= ?"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is held of one stream."""

    stream: str
    first: int = 1  # first sequence number kept; last + 1 when none is
    last: int = 0  # last ever given
    blocks: int = 0
    bytes: int = 0
    last_commit_at: int | None = None
    last_journalled_at: int = 0
    merged: int = 0  # nothing is left to merge up to this number


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """One row of the block table."""

    stream: str
    first: int
    last: int
    epoch: int
    contract: str
    schema: int
    journalled_at: int
    min_commit_at: int | None
    max_commit_at: int | None
    packed: Packed

    def columns(self) -> tuple[str | int | None, ...]:
        """Every column but checksum and data."""
        return (
            self.stream,
            self.first,
            self.last,
            self.epoch,
            self.contract,
            self.schema,
            self.journalled_at,
            self.min_commit_at,
            self.max_commit_at,
            self.packed.size,
        )

    def __str__(self) -> str:
        return f"block {self.first}-{self.last} of stream {self.stream}"


@dataclass(frozen=True, slots=True)
class Head:
    """A block without its data."""

    first: int
    last: int
    epoch: int
    contract: str
    schema: int
    journalled_at: int
    bytes: int

    @property
    def row_count(self) -> int:
        """Number of events."""
        return self.last - self.first + 1


def catalogue(connection: apsw.Connection) -> dict[str, Catalogue]:
    """Every stream's row, in order of name. Raises: JournalCorrupt."""
    rows = (_checked(row) for row in connection.execute(_CATALOGUE))
    return {row.stream: row for row in rows}


def find(connection: apsw.Connection, stream: str) -> Catalogue | None:
    """One stream's row. Raises: JournalCorrupt."""
    row = connection.execute(_CATALOGUE + "WHERE name = ?", (stream,)).fetchone()
    if row is None:
        catalogue(connection)  # a damaged name must not pass for a new stream
        return None
    return _checked(row)


def put(connection: apsw.Connection, row: Catalogue) -> None:
    """Store a stream's row."""
    values = (
        row.stream,
        row.first,
        row.last,
        row.blocks,
        row.bytes,
        row.last_commit_at,
        row.last_journalled_at,
        row.merged,
    )
    connection.execute(_PUT_STREAM, (*values, checksum(*values)))


def schema_id(connection: apsw.Connection, message: bytes) -> int:
    """The number of a schema message, given on first sight."""
    known = connection.execute(_FIND_SCHEMA, (message,)).get
    return int(known if known is not None else connection.execute(_PUT_SCHEMA, (checksum(data=message), message)).get)


def schema(connection: apsw.Connection, schema_id: int) -> pa.Schema:
    """The schema of a number. Raises: JournalCorrupt."""
    row = connection.execute(_GET_SCHEMA, (schema_id,)).fetchone()
    if row is None:
        raise JournalCorrupt(f"table arrow_schema: schema {schema_id} is missing")
    crc, message = row
    if not is_sound(crc, data=message):
        raise JournalCorrupt(f"table arrow_schema: the checksum of schema {schema_id} is wrong")
    return unpack_schema(message)


def insert(connection: apsw.Connection, block: StoredBlock) -> None:
    """Store a block row; the catalogue is the caller's."""
    columns = block.columns()
    data = block.packed.data
    connection.execute(_PUT_BLOCK, (*columns, checksum(*columns, data=data), data))


def fetch(connection: apsw.Connection, catalogued: Catalogue, *, after: int, budget_bytes: int) -> list[StoredBlock]:
    """The blocks from the one that holds number `after` + 1 on, at least one, until `budget_bytes` are reached.

    Raises: JournalCorrupt when a block is damaged or one that the catalogue promises is not there.
    """
    wanted = max(after + 1, catalogued.first)
    found: list[StoredBlock] = []
    for row in connection.execute(_FROM, (catalogued.stream, wanted)):
        block = _stored(row)
        if not block.first <= wanted <= block.last:
            break
        found.append(block)
        wanted = block.last + 1
        budget_bytes -= len(block.packed.data)
        if budget_bytes <= 0:
            return found
    if wanted <= catalogued.last:
        raise JournalCorrupt(f"table block: number {wanted} of stream {catalogued.stream} is missing")
    return found


def heads(connection: apsw.Connection, stream: str, *, after: int, limit: int) -> list[Head]:
    """Blocks that begin above `after`, without their data."""
    return [Head(*row) for row in connection.execute(_HEADS_FROM, (stream, after, limit))]


def journalled_at(connection: apsw.Connection, stream: str, number: int) -> int | None:
    """When the block that holds a number, or else the next one, was journalled."""
    row = connection.execute(_JOURNALLED_AT, (stream, number)).fetchone()
    return None if row is None else int(row[0])


def alike_to(connection: apsw.Connection, stream: str, first: int, last: int) -> int:
    """The last number, at most `last`, before a block of another schema than that of number `first`."""
    other = connection.execute(_OTHER_SCHEMA, (stream, first, last)).get
    return last if other is None else int(other) - 1


def drop(connection: apsw.Connection, stream: str, first: int, last: int) -> None:
    """Delete the blocks within a range; the catalogue is the caller's."""
    connection.execute(_DROP, (stream, first, last))


def decode(block: StoredBlock, schema: pa.Schema) -> Block:
    """The events of a block. Raises: JournalCorrupt naming it."""
    try:
        batch = unpack(block.packed, schema)
    except JournalCorrupt as error:
        raise JournalCorrupt(f"table block: {block}: {error.detail}") from error
    if batch.num_rows != block.last - block.first + 1:
        raise JournalCorrupt(f"table block: {block} holds {batch.num_rows} rows")
    return Block(block.stream, block.first, block.epoch, block.contract, moment(block.journalled_at), batch)


def commit_span(batch: pa.RecordBatch) -> tuple[int | None, int | None]:
    """Oldest and newest commit time at the source, in microseconds."""
    column = batch.column("_commit_at")
    times = (column.drop_null() if column.null_count else column).view(pa.int64()).to_numpy()
    return (int(times.min()), int(times.max())) if times.size else (None, None)


def appended(row: Catalogue, block: StoredBlock) -> Catalogue:
    """The catalogue row after a block was appended."""
    return replace(
        row,
        last=block.last,
        blocks=row.blocks + 1,
        bytes=row.bytes + len(block.packed.data),
        last_commit_at=row.last_commit_at if block.max_commit_at is None else block.max_commit_at,
        last_journalled_at=block.journalled_at,
    )


def _stored(row: tuple[Any, ...]) -> StoredBlock:
    *columns, size, crc, data = row
    values: list[Any] = [*columns, Packed(data, size)]
    block = StoredBlock(*values)
    if not is_sound(crc, *block.columns(), data=data):
        raise JournalCorrupt(f"table block: the checksum of {block} is wrong")
    return block


def _checked(row: tuple[Any, ...]) -> Catalogue:
    *values, crc = row
    if not is_sound(crc, *values):
        raise JournalCorrupt(f"table stream: the checksum of stream {values[0]} is wrong")
    return Catalogue(*values)
