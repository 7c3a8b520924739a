"""Which tables a source reads, as configured and as the catalogue describes them."""

from dataclasses import dataclass

from psycopg import sql

from bridge.errors import SourceRefused
from bridge.model import Shape
from bridge.postgres.lookup import TypeLookup, shape_of, types_of
from bridge.postgres.session import Connection, translated
from bridge.postgres.types import PgType

# The columns the change log sends, in table order, with their place in the index to page by: the primary key, else the
# replica identity, else any whole unique index over columns that are never null.
_DESCRIBE = """
SELECT a.attname, a.atttypid::bigint, a.atttypmod, coalesce(array_position(k.columns, a.attnum::text), 0)
FROM pg_attribute a
LEFT JOIN (SELECT i.indrelid, (string_to_array(i.indkey::text, ' '))[:i.indnkeyatts] AS columns FROM pg_index i
           WHERE i.indrelid = to_regclass(%(table)s) AND i.indisvalid AND i.indisunique AND i.indimmediate
             AND i.indpred IS NULL AND i.indexprs IS NULL
             AND NOT EXISTS (SELECT FROM pg_attribute n WHERE n.attrelid = i.indrelid AND NOT n.attnotnull
                             AND n.attnum = ANY ((i.indkey::int2[])[:i.indnkeyatts - 1]))
           ORDER BY i.indisprimary DESC, i.indisreplident DESC, i.indexrelid LIMIT 1) k ON k.indrelid = a.attrelid
LEFT JOIN (SELECT to_jsonb(t) -> 'attnames' AS names FROM pg_publication_tables t
           WHERE t.pubname = ANY(%(publications)s)
             AND t.schemaname || '.' || t.tablename = %(name)s LIMIT 1) p ON true
WHERE a.attrelid = to_regclass(%(table)s) AND a.attnum > 0 AND NOT a.attisdropped
  AND CASE WHEN p.names IS NULL THEN a.attgenerated = '' ELSE p.names ? a.attname::text END
ORDER BY a.attnum
"""
_ESTIMATE = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(%(table)s)"


@dataclass(frozen=True, slots=True)
class Capture:
    """One table to read, as configured."""

    stream: str
    table: str  # schema.table
    key_columns: tuple[str, ...] = ()  # legacy columns the contract's key reads; empty: the replica identity
    is_keyless: bool = False  # in the insert-only publication
    reads_initially: bool = True  # snapshot: initial
    reselects: bool = False  # fill_unchanged: reselect


@dataclass(frozen=True, slots=True)
class Table:
    """A captured table as the catalogue describes it now."""

    stream: str
    shape: Shape
    types: tuple[PgType, ...]
    key: tuple[int, ...]  # columns it is read by, in the order of the index over them

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names of the columns it is read by."""
        return tuple(self.shape.columns[number].name for number in self.key)


class Tables:
    """The captured tables as one session sees them; for one thread."""

    def __init__(self, connection: Connection, captures: tuple[Capture, ...], publications: tuple[str, ...]) -> None:
        self.captures = captures
        self.connection = connection
        self._publications = publications
        self._by_table = {capture.table: capture for capture in captures}
        self._by_stream = {capture.stream: capture for capture in captures}
        self.lookup = TypeLookup(connection)

    def capture_of(self, table: str) -> Capture | None:
        """The capture of `schema.table`; None when it is not ours."""
        return self._by_table.get(table)

    def capture_for(self, stream: str) -> Capture:
        """The capture of a stream."""
        return self._by_stream[stream]

    def describe(self, capture: Capture) -> Table:
        """The table's columns, types and the key to read it by.

        Raises: SourceRefused when the table is gone or has nothing to read it by.
        """
        asked = {
            "table": quoted(capture.table).as_string(self.connection),
            "name": capture.table,
            "publications": list(self._publications),
        }
        with translated(f"looking up {capture.table}"):
            rows = self.connection.execute(_DESCRIBE, asked).fetchall()
        if not rows:
            raise SourceRefused(f"table {capture.table} has no column to read", hint="Was it renamed or dropped?")
        types = types_of([(int(oid), int(modifier)) for _, oid, modifier, _ in rows], self.lookup)
        names = [str(row[0]) for row in rows]
        places = sorted((int(place), number) for number, (*_, place) in enumerate(rows) if place)
        key = tuple(number for _, number in places)
        if not key:
            raise SourceRefused(
                f"{capture.table} has no unique index over columns that are never null to read it by",
                hint="Its changes are followed; the rows that were there are not read.",
            )
        return Table(capture.stream, shape_of(capture.table, names, types), types, key)

    def estimate(self, capture: Capture) -> int:
        """About how many rows a table has, by the server's own statistics; 0 when it does not know."""
        asked = {"table": quoted(capture.table).as_string(self.connection)}
        with translated(f"estimating {capture.table}"):
            row = self.connection.execute(_ESTIMATE, asked).fetchone()
        return int(row[0]) if row else 0


def quoted(name: str) -> sql.Identifier:
    """`schema.table` as an identifier."""
    schema, _, table = name.partition(".")
    return sql.Identifier(schema, table)
