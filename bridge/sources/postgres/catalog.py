"""What the legacy server's catalog says about itself, the captured tables and our publications, as values.

Read in one read-only transaction; judged in preflight. Newer columns of catalog views are read through to_jsonb, so one
query serves every version.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import sql

from bridge.errors import InternalError
from bridge.postgres.session import Connection, translated
from bridge.sources.postgres.setup import Setup

_SCHEMA_PUBLICATIONS_SINCE = 150000  # server_version_num

_SERVER: LiteralString = """
SELECT jsonb_object_agg(name, setting), current_database()::text,
       pg_encoding_to_char((SELECT encoding FROM pg_database WHERE datname = current_database())),
       (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_stat_replication),
       (SELECT to_jsonb(s) FROM pg_replication_slots s WHERE slot_name = %s),
       EXISTS (SELECT FROM pg_proc WHERE proname = 'pg_logical_emit_message' AND has_function_privilege(oid, 'EXECUTE'))
FROM pg_settings
WHERE name IN ('wal_level', 'server_version_num', 'server_version', 'max_replication_slots', 'max_wal_senders',
               'max_slot_wal_keep_size', 'idle_replication_slot_timeout')
"""

# PostgreSQL checks the replica identity of the relation that holds the row: of a partitioned table, its leaves.
IDENTITY: LiteralString = """
WITH RECURSIVE part(root, oid) AS (
    SELECT oid, oid FROM pg_class WHERE relkind IN ('r', 'p')
    UNION ALL
    SELECT root, inhrelid FROM part JOIN pg_inherits ON inhparent = part.oid JOIN pg_class c ON c.oid = inhrelid
    WHERE c.relispartition
), identity AS (
    SELECT root, bool_and(CASE relreplident WHEN 'f' THEN true WHEN 'n' THEN false ELSE EXISTS (
        SELECT FROM pg_index WHERE indrelid = c.oid AND indisvalid AND indimmediate
        AND CASE c.relreplident WHEN 'i' THEN indisreplident ELSE indisprimary END) END) AS has_identity
    FROM part JOIN pg_class c USING (oid) WHERE relkind = 'r' OR root = part.oid GROUP BY root
)
"""

_TABLES: LiteralString = """
SELECT nspname || '.' || relname, relkind::text, relpersistence::text, relispartition, row_security_active(c.oid),
       has_schema_privilege(n.oid, 'USAGE'), coalesce(has_identity, false), array_agg(attname::text ORDER BY attnum),
       coalesce(array_agg(attname::text ORDER BY attnum)
                FILTER (WHERE NOT has_column_privilege(c.oid, attnum, 'SELECT')), '{}')
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_attribute ON attrelid = c.oid
LEFT JOIN identity ON root = c.oid
WHERE nspname || '.' || relname = ANY(%s) AND relkind IN ('r', 'p', 'v', 'm', 'f') AND attnum > 0 AND NOT attisdropped
GROUP BY c.oid, n.oid, nspname, has_identity
"""

_PUBLICATIONS: LiteralString = """
SELECT pubname::text, puballtables, pubinsert, pubupdate, pubdelete, pubtruncate,
       coalesce((to_jsonb(p) ->> 'pubviaroot')::bool, false)
FROM pg_publication p WHERE pubname = ANY(%s)
"""
_SCHEMAS: LiteralString = """
SELECT pubname::text, array_agg(nspname::text ORDER BY 1) FROM pg_publication p
JOIN pg_publication_namespace ON pnpubid = p.oid JOIN pg_namespace n ON n.oid = pnnspid
WHERE pubname = ANY(%s) GROUP BY pubname
"""
_MEMBERS: LiteralString = """
SELECT t.pubname::text, schemaname || '.' || tablename, coalesce(has_identity, false), to_jsonb(t) -> 'attnames',
       to_jsonb(r) ->> 'prattrs' IS NOT NULL, to_jsonb(r) ->> 'prqual' IS NOT NULL
FROM pg_publication_tables t JOIN pg_publication p USING (pubname)
JOIN pg_namespace n ON nspname = schemaname JOIN pg_class c ON relnamespace = n.oid AND relname = tablename
LEFT JOIN pg_publication_rel r ON prpubid = p.oid AND prrelid = c.oid
LEFT JOIN identity ON root = c.oid
WHERE t.pubname = ANY(%s) ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Server:
    """Settings of the server and what is left of its replication slots."""

    settings: Mapping[str, str]  # by name, in pg_settings' units; absent where the version has none
    database: str
    encoding: str
    slot_count: int
    sender_count: int
    slot: Mapping[str, Any] | None  # our slot's row of pg_replication_slots
    can_emit: bool  # may call pg_logical_emit_message, the heartbeat

    @property
    def version(self) -> int:
        """server_version_num."""
        return int(self.settings["server_version_num"])


@dataclass(frozen=True, slots=True)
class Table:
    """One captured table as the catalog and the login's rights describe it."""

    name: str  # "schema.table"
    kind: str  # pg_class.relkind
    persistence: str  # pg_class.relpersistence
    is_partition: bool
    hides_rows: bool  # row-level security applies to the login
    can_enter_schema: bool
    has_identity: bool  # every relation that holds its rows has a usable replica identity
    columns: list[str]
    unreadable: list[str]  # columns the login may not select


@dataclass(frozen=True, slots=True)
class Member:
    """One table in a publication, as subscribers see it."""

    table: str
    has_identity: bool
    columns: list[str] | None  # None: the version does not say, all of them
    has_column_list: bool
    has_row_filter: bool


@dataclass(frozen=True, slots=True)
class Publication:
    """One of our publications."""

    name: str
    all_tables: bool
    schemas: tuple[str, ...]  # FOR TABLES IN SCHEMA
    publishes: frozenset[str]  # of insert, update, delete, truncate
    via_root: bool
    members: Mapping[str, Member]  # by table


def read_server(connection: Connection, slot: str) -> Server:
    """Settings, slots and rights of the whole server. Raises: what `translated` says."""
    with translated("looking at the server's settings"):
        row = connection.execute(sql.SQL(_SERVER), (slot,)).fetchone()
    if row is None:
        raise InternalError("the server's settings are empty")
    return Server(*row)


def read_tables(connection: Connection, setup: Setup) -> dict[str, Table]:
    """The captured tables that exist, by name. Raises: what `translated` says."""
    names = [capture.table for capture in setup.captures]
    with translated("looking at the captured tables"):
        rows = connection.execute(sql.SQL(IDENTITY + _TABLES), (names,)).fetchall()
    return {name: Table(name, *facts) for name, *facts in rows}


def read_publications(connection: Connection, setup: Setup) -> dict[str, Publication]:
    """Those of our two publications that exist, by name. Raises: what `translated` says."""
    names = ([setup.publication, setup.insert_publication],)
    with translated("looking at the publications"):
        rows = connection.execute(sql.SQL(_PUBLICATIONS), names).fetchall()
        members = connection.execute(sql.SQL(IDENTITY + _MEMBERS), names).fetchall()
        has_schemas = connection.info.server_version >= _SCHEMA_PUBLICATIONS_SINCE
        schemas: dict[str, list[str]] = (
            dict(connection.execute(sql.SQL(_SCHEMAS), names).fetchall()) if has_schemas else {}
        )
    found = {}
    for name, all_tables, *published, via_root in rows:
        words = zip(("insert", "update", "delete", "truncate"), published, strict=True)
        found[name] = Publication(
            name,
            all_tables,
            tuple(schemas.get(name, ())),
            frozenset(word for word, is_published in words if is_published),
            via_root,
            {member[0]: Member(*member) for owner, *member in members if owner == name},
        )
    return found
