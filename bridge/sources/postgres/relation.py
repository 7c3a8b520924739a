"""Tables as the replication stream describes them, and the types behind their columns.

Relation messages carry type oids; names of user-defined types come from one catalogue query, asked once per new type.
"""

import struct
from dataclasses import dataclass

from bridge.errors import MalformedRecord
from bridge.model import Shape
from bridge.postgres.lookup import Lookup, shape_of, types_of
from bridge.postgres.types import PgType


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """One column of a Relation message."""

    name: str
    oid: int
    modifier: int
    is_identity: bool  # part of the replica identity


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as a Relation message describes it."""

    oid: int
    schema: str
    name: str
    identity: str  # d default (primary key), n nothing, f full, i index
    columns: tuple[RelationColumn, ...]

    @property
    def qualified(self) -> str:
        """`schema.table`; the protocol sends an empty schema for pg_catalog."""
        return f"{self.schema or 'pg_catalog'}.{self.name}"


@dataclass(frozen=True, slots=True)
class Captured:
    """A relation that feeds a stream, ready to decode."""

    relation: Relation
    stream: str
    shape: Shape
    types: tuple[PgType, ...]
    key: tuple[int, ...]  # columns that identify a row: the ones a key change is noticed by


def parse(message: bytes) -> Relation:
    """A Relation message, from its type byte on.

    Raises: MalformedRecord when it is cut short.
    Source: PostgreSQL manual, "Logical Replication Message Formats", Relation.
    """
    try:
        oid = struct.unpack_from(">I", message, 1)[0]
        schema, at = _text(message, 5)
        name, at = _text(message, at)
        identity, count = struct.unpack_from(">cH", message, at)
        at += 3
        columns = []
        for _ in range(count):
            flags = message[at]
            column, at = _text(message, at + 1)
            type_oid, modifier = struct.unpack_from(">Ii", message, at)
            at += 8
            columns.append(RelationColumn(column, type_oid, modifier, bool(flags & 1)))
    except (struct.error, IndexError, ValueError) as error:
        raise MalformedRecord(f"a Relation message of {len(message)} bytes is cut short") from error
    return Relation(oid, schema, name, identity.decode(), tuple(columns))


def capture(relation: Relation, *, stream: str, key_columns: tuple[str, ...], lookup: Lookup) -> Captured:
    """Find the types of a relation's columns; asks the server only for types that are not built in.

    Args:
        key_columns: what identifies a row of the stream; where empty, the replica identity is taken.
    """
    types = types_of([(column.oid, column.modifier) for column in relation.columns], lookup)
    names = [column.name for column in relation.columns]
    key = tuple(
        number
        for number, column in enumerate(relation.columns)
        if (column.name in key_columns if key_columns else column.is_identity)
    )
    return Captured(relation, stream, shape_of(relation.qualified, names, types), types, key)


def _text(message: bytes, at: int) -> tuple[str, int]:
    """The zero-terminated string at `at` and the offset behind it."""
    end = message.index(0, at)
    return message[at:end].decode(), end + 1
