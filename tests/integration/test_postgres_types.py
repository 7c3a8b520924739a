"""Types and values as a real server names and prints them, whatever its databases' own settings are."""

import os
from collections.abc import Sequence

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from psycopg import pq

from bridge.model import Mark
from bridge.postgres.columns import decode, walk_copy, walk_tuples
from bridge.postgres.oids import LISTABLE, UNLISTED
from bridge.postgres.types import LOOKUP_SQL, PINNED_SETTINGS, Kind, PgType, builtin, described
from demo.server import Database, PostgresServer
from tests.postgres_text import Raw, decode_one, joined, printed, same_float

OPTIONS = " ".join(f"-c {name}={value}" for name, value in PINNED_SETTINGS.items())
HOSTILE = {
    "datestyle": "SQL, DMY",
    "intervalstyle": "postgres_verbose",
    "timezone": "America/St_Johns",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
}
COLUMNS = {
    "id": "int PRIMARY KEY",
    "amount": "numeric(12,2)",
    "anything": "numeric",
    "price": "money",
    "weight": "double precision",
    "small": "real",
    "code": "character(6)",
    "note": "text",
    "flag": "boolean",
    "data": "bytea",
    "day": "date",
    "at": "timestamp",
    "seen": "timestamptz(3)",
    "clock": "time",
    "took": "interval",
    "numbers": "bigint[]",
    "names": "text[]",
    "mood": "mood",
    "net": "net",
    "period": "tstzrange",
}
ROWS = r"""
(1, 1234.50, 1e40, 12345.67, 0.1, 0.1, 'ab', 'grüße', true, '\xff00', '2024-02-29', '2024-02-29 12:34:56.789',
 '2024-06-01 00:00+02', '23:59', '1 mon 2 days', '{1,NULL}', '{"a,b",NULL}', 'sad', 1.5, '[2024-01-01,)'),
(2, 'NaN', '-Infinity', -1, 'Infinity', 'NaN', '', '', false, '', '0044-03-15 BC', 'infinity',
 '-infinity', '24:00', '-1 day', '{{1}}', '{}', NULL, NULL, 'empty'),
(3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
 NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
"""
INSERT = f"INSERT INTO things VALUES {ROWS}"  # a text of this file
COPY = """
COPY (SELECT textin(int4out(id)), textin(bpcharout(code)), textin(boolout(flag)), textin(byteaout(data)),
             textin(timestamptz_out(seen))
        FROM things ORDER BY id) TO STDOUT (FORMAT binary)
"""


def pinned(dsn: str) -> psycopg.Connection:
    return psycopg.connect(dsn, options=OPTIONS, autocommit=True)


def types_of(connection: psycopg.Connection, table: str) -> list[PgType]:
    query = "SELECT atttypid, atttypmod FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum"
    keys = connection.execute(query, [table]).fetchall()
    oids, modifiers = zip(*keys, strict=True)
    rows = connection.execute(LOOKUP_SQL, {"oids": list(oids), "modifiers": list(modifiers)}).fetchall()
    custom = described(rows)
    return [builtin(*key) or custom[key] for key in keys]


def output(connection: psycopg.Connection, query: str) -> list[list[Raw]]:
    """The server's own text of a result, row by row."""
    result = connection.pgconn.exec_(query.encode())
    assert result.status == pq.ExecStatus.TUPLES_OK, result.error_message
    return [[result.get_value(row, column) for column in range(result.nfields)] for row in range(result.ntuples)]


@pytest.fixture
def hostile(database: Database) -> Database:
    """A database with its own ideas of printing, and a table of many types."""
    for name, value in HOSTILE.items():
        database.sql(f"ALTER DATABASE {database.name} SET {name} = '{value}'")
    database.sql("CREATE TYPE mood AS ENUM ('sad', 'ok')")
    database.sql("CREATE DOMAIN gross AS numeric(12,2)")
    database.sql("CREATE DOMAIN net AS gross CHECK (value >= 0)")
    database.sql(f"CREATE TABLE things ({', '.join(f'{name} {type_}' for name, type_ in COLUMNS.items())})")
    return database


def check(
    sent: Sequence[Sequence[Raw]], came: pa.RecordBatch, marks: dict[str, list[Raw]] | None, types: list[PgType]
) -> None:
    """Every decoded column prints as the server did."""
    assert marks is not None
    for column, (name, type_) in enumerate(zip(came.schema.names, types, strict=True)):
        expected = [row[column] for row in sent]
        back = marks[name]
        if type_.kind is Kind.FLOAT:
            expected, back = [
                [same_float(raw, type_) if isinstance(raw, bytes) else raw for raw in raws] for raws in (expected, back)
            ]
        assert back == expected, name


def test_logical_decoding_gives_what_a_pinned_session_prints(hostile: Database) -> None:
    """Insert messages of pgoutput, made in a session on a hostile database."""
    with pinned(hostile.dsn) as connection:
        connection.execute("CREATE PUBLICATION p FOR TABLE things")
        connection.execute("SELECT pg_create_logical_replication_slot('types', 'pgoutput', true)")
        connection.execute(INSERT)
        messages = connection.execute(
            "SELECT data FROM pg_logical_slot_get_binary_changes('types', NULL, NULL,"
            " 'proto_version', '1', 'publication_names', 'p')"
        ).fetchall()
        inserts = [bytes(data) for (data,) in messages if data[:1] == b"I"]
        types = types_of(connection, "things")
        sent = output(connection, "SELECT * FROM things ORDER BY id")
    names = list(COLUMNS)
    for copies in (1, 20):  # row by row, and by column
        buffer, starts, limits = joined(inserts * copies)
        cells, ends = walk_tuples(buffer, starts + 6, len(names), limits=limits)
        batch, marks = decode(cells, types, names, buffer)
        assert (ends == limits).all()
        back = {name: printed(batch.column(name), marks.get(name), t) for name, t in zip(names, types, strict=True)}
        check(sent * copies, batch, back, types)


def test_copy_of_output_text_gives_the_same(hostile: Database) -> None:
    names = ["id", "code", "flag", "data", "seen"]
    with pinned(hostile.dsn) as connection:
        connection.execute(INSERT)
        by_name = dict(zip(COLUMNS, types_of(connection, "things"), strict=True))
        with connection.cursor().copy(COPY) as copy:
            data = b"".join(bytes(block) for block in copy)
        sent = output(connection, "SELECT id, code, flag, data, seen FROM things ORDER BY id")
    buffer = np.frombuffer(data, np.uint8)
    at, batches = 19, []  # behind the signature, flags and extension length
    for _ in sent:
        cells, ends = walk_copy(buffer, np.array([at]), len(names))
        batches.append(decode(cells, [by_name[name] for name in names], names, buffer))
        at = int(ends[0])
    assert data[at:] == b"\xff\xff"
    for row, (batch, marks) in enumerate(batches):
        back = [printed(batch.column(name), marks.get(name), by_name[name])[0] for name in names]
        assert back == sent[row]


def test_every_type_has_the_name_that_format_type_prints(postgres_server: PostgresServer) -> None:
    interval = [0x7FFF << 16 | 3, (1 << 3 | 1 << 10 | 1 << 11 | 1 << 12) << 16 | 3, (1 << 2) << 16 | 0xFFFF]
    numeric = [(12 << 16 | 2) + 4, (3 << 16 | -2 & 0x7FF) + 4, (1000 << 16 | 1000) + 4]
    modifiers = {1186: interval, 1700: numeric, 1042: [5, 104], 1043: [14], 1560: [1, 9], 1562: [9]}
    modifiers |= {oid: [0, 3] for oid in (1083, 1114, 1184, 1266)}
    pairs = []
    for oid, array, _ in LISTABLE + UNLISTED:
        for modifier in [-1, *modifiers.get(oid, [])]:
            pairs += [(oid, modifier), *([(array, modifier)] if array else [])]
    with psycopg.connect(postgres_server.dsn()) as connection:
        named = connection.execute(
            "SELECT oid, modifier, format_type(oid, modifier) FROM unnest(%s::oid[], %s::int[]) AS _ (oid, modifier)",
            [[oid for oid, _ in pairs], [modifier for _, modifier in pairs]],
        ).fetchall()
    found = [builtin(oid, modifier) for oid, modifier in pairs]
    assert [(*pair, type_.name) for pair, type_ in zip(pairs, found, strict=True) if type_ is not None] == named


def test_no_built_in_type_of_the_server_is_unknown(postgres_server: PostgresServer) -> None:
    oids = postgres_server.sql(
        "SELECT oid FROM pg_type WHERE oid < 10000 AND typtype IN ('b', 'r', 'm') AND typrelid = 0"
        " AND NOT EXISTS (SELECT FROM pg_type e WHERE e.oid = pg_type.typelem AND e.typtype IN ('c', 'p'))"
    )
    assert [oid for (oid,) in oids if builtin(oid, -1) is None] == []


def test_user_defined_types_are_what_they_are_made_of(hostile: Database) -> None:
    hostile.sql("CREATE DOMAIN nets AS net[]")
    hostile.sql("CREATE TYPE pair AS (a int, b net)")
    hostile.sql("CREATE TYPE span AS RANGE (subtype = net)")
    hostile.sql("CREATE TABLE made (a net, b nets, c net[], d mood[], e pair, f pair[], g span, h span[], i things)")
    with pinned(hostile.dsn) as connection:
        types = types_of(connection, "made")
    decimal, text = pa.decimal128(12, 2), pa.large_string()
    lists = [pa.list_(decimal)] * 2 + [pa.list_(text)]
    assert [type_.arrow for type_ in types] == [decimal, *lists, *[text] * 5]
    assert " ".join(type_.name for type_ in types) == "net nets net[] mood[] pair pair[] span span[] things"


def test_text_of_a_database_without_encoding_is_marked_where_it_is_not_utf8(postgres_server: PostgresServer) -> None:
    """Such a database is read under client_encoding SQL_ASCII: under UTF8 the server refuses to send the row."""
    name = f"without_encoding_{os.getpid()}"
    postgres_server.sql(f"CREATE DATABASE {name} ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
    query = r"SELECT convert_from('\x4dfc6c6c6572', 'SQL_ASCII') UNION ALL SELECT 'ok'"
    try:
        with pinned(postgres_server.dsn(name)) as connection:
            refused = connection.pgconn.exec_(query.encode())
            connection.execute("SET client_encoding = SQL_ASCII")
            raws = [row[0] for row in output(connection, query)]
    finally:
        postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)")
    assert b"invalid byte sequence" in refused.error_message
    array, marks = decode_one(raws, builtin(25, -1) or pytest.fail("text is built in"))
    assert array.to_pylist() == [None, "ok"]
    assert marks is not None
    assert (marks.kinds.tolist(), marks.raw) == ([Mark.UNREADABLE], (b"M\xfcller",))
