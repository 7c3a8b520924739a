"""Read a table in chunks while its changes stream on, without a lock of its own and without writing anything.

Each chunk is one short read-only transaction in key order. What is visible is noted before its rows are read, and
`high_lsn` after them. The reader of the change log hands a chunk on once it has streamed past `high_lsn`, less the rows
whose keys were touched by a streamed transaction that was not visible yet: those may be older than what was streamed.
So an older state never follows a newer one (I5), whatever is written meanwhile, and no chunk is ever read twice because
of it. Source of the idea: Andreakis, Papapanagiotou, "DBLog: A Watermark Based Change-Data-Capture Framework" (2020);
transaction visibility takes the place of its watermark table.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
import pyarrow as pa
from psycopg import sql

from bridge.model import CHANGE_COLUMNS, Op, RawBatch
from bridge.postgres.copying import Copying, Received, Run
from bridge.postgres.copyrows import decode_rows
from bridge.postgres.copytext import row_of
from bridge.postgres.session import Connection, read_only, translated
from bridge.sources.postgres import lsn
from bridge.sources.postgres.completion import concat
from bridge.sources.postgres.plan import Reread
from bridge.sources.postgres.tables import Capture, Table, Tables, quoted
from bridge.sources.postgres.touched import Watch
from bridge.sources.postgres.visibility import Visibility

CHUNK_BYTES = 16 << 20  # a chunk ends here whatever its row limit: rows may be of any size

# A standby does not list the transactions that run on its primary: any from xmin on may be running.
_VISIBLE = """
SELECT CASE WHEN pg_is_in_recovery() THEN format('%1$s:%1$s:', pg_snapshot_xmin(pg_current_snapshot()))
            ELSE pg_current_snapshot()::text END,
       (extract(epoch FROM statement_timestamp()) * 1000000)::bigint
"""
_HIGH = """
SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END)::text
"""
_ON_DISK = """
SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END)::text,
       3 * setting::int / 1000.0 FROM pg_settings WHERE name = 'wal_writer_delay'
"""
_POLL_S = 0.01
_WAL_PAGE, _WAL_PAGE_HEADER = 8192, 40


class Obstacle(Enum):
    """Why a chunk could not be read now."""

    BLIND = auto()  # for an instant: its snapshot would be older than what is remembered of the change log
    REKEYED = auto()  # the table goes by other columns than when the re-read began


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of one key range as one short transaction read them."""

    table: Table
    number: int  # of the re-read
    visibility: Visibility  # the rows include at least these transactions
    high_lsn: int  # all transactions the rows include are streamed before this
    read_us: int  # when, microseconds since 1970 UTC
    run: Run  # the rows in COPY's text format; decoded by whoever hands them on
    row_count: int
    last: tuple[str, ...] | None  # key of the last row, where the next chunk starts; None: no row
    is_final: bool


def read_chunk(tables: Tables, capture: Capture, reread: Reread, *, row_limit: int, watch: Watch) -> Chunk | Obstacle:
    """Up to `row_limit` rows behind the last one, in key order.

    The table is locked as by any SELECT before anything is noted of it: a chunk has the shape its table has, and a
    rewrite of the table, which would empty older snapshots, is over or waits.

    Raises: SourceUnavailable; SourceRefused when the table may not be read.
    """
    connection, name = tables.connection, capture.table
    with translated(f"reading {name}"), read_only(connection, per_statement=True):
        connection.execute(sql.SQL("SELECT FROM {} LIMIT 0").format(quoted(name)))
        row = connection.execute(_VISIBLE).fetchone()
        assert row is not None  # noqa: S101  a SELECT without FROM has one row
        visibility = Visibility.parse(row[0])
        if watch.is_blind(visibility):
            return Obstacle.BLIND
        table = tables.describe(capture)
        if reread.last is not None and table.key_names != reread.key:
            return Obstacle.REKEYED
        run, is_cut = _copy(connection, _query(table, reread.last, row_limit), name)
    with translated(f"reading {name}"):
        high = connection.execute(_HIGH).fetchone()
    assert high is not None  # noqa: S101  the same
    row_count = int(run.starts.size)
    return Chunk(
        table,
        reread.number,
        visibility,
        _reachable(lsn.parse(high[0])),
        int(row[1]),
        run,
        row_count,
        _key_of_last(run, table) if row_count else None,
        is_final=not is_cut and row_count < row_limit,
    )


def settled(connection: Connection, high_lsn: int) -> int:
    """The watermark as far as the server can send it: no more than is on disk, where nothing behind holds a commit.

    A server that is otherwise idle may leave the last bytes of its WAL unwritten for long, and sends none of them.
    Every commit that was visible is written after three times wal_writer_delay at the latest.

    Source: PostgreSQL manual, "Asynchronous Commit".
    """
    started = time.monotonic()
    while True:
        with translated("looking at the end of the WAL"):
            row = connection.execute(_ON_DISK).fetchone()
        assert row is not None  # noqa: S101  every server has this setting
        on_disk = _reachable(lsn.parse(row[0]))
        if on_disk >= high_lsn or time.monotonic() - started > row[1]:
            return min(on_disk, high_lsn)
        time.sleep(_POLL_S)


def end_of_log(connection: Connection) -> int:
    """Where a reader of the log stands once it has everything that can be seen now. Raises: SourceUnavailable."""
    with translated("looking at the end of the WAL"):
        row = connection.execute(_HIGH).fetchone()
    assert row is not None  # noqa: S101  a SELECT without FROM has one row
    return settled(connection, _reachable(lsn.parse(row[0])))


def merge(chunk: Chunk, watch: Watch) -> RawBatch:
    """The chunk as read events, less its stale rows, but for values that no change has."""
    batch = _events(chunk)
    stale = watch.stale_rows(batch.columns, chunk.visibility)
    if not stale.any():
        return batch
    needed = watch.left_out(batch.take(np.flatnonzero(stale)))
    return concat([batch.take(np.flatnonzero(~stale)), *needed])


def _events(chunk: Chunk) -> RawBatch:
    columns, marks = decode_rows(chunk.run, chunk.table.types, chunk.table.shape.names())
    count = columns.num_rows
    changes = pa.RecordBatch.from_arrays(
        [
            pa.array(np.full(count, Op.READ, np.uint8)),
            pa.array(np.full(count, chunk.read_us, np.int64)).view(CHANGE_COLUMNS.field("_commit_at").type),
            pa.array(np.full(count, chunk.high_lsn, np.uint64)),
            pa.nulls(count, pa.uint64()),
            pa.array(np.arange(count, dtype=np.uint32)),
            pa.array(np.zeros(count, np.bool_)),
            pa.array(np.full(count, chunk.number, np.uint32)),
            pa.nulls(count, pa.large_string()),
        ],
        schema=CHANGE_COLUMNS,
    )
    return RawBatch(chunk.table.stream, chunk.table.shape, changes, columns, marks)


def _query(table: Table, last: Sequence[str] | None, row_limit: int) -> sql.Composed:
    """COPY takes no parameters: the key's literals are composed by the driver."""
    names = [sql.Identifier(column.name) for column in table.shape.columns]
    key = sql.SQL(", ").join(names[number] for number in table.key)
    where: sql.Composable = sql.SQL("")
    if last is not None:
        literals = sql.SQL(", ").join(
            sql.SQL("{}::{}").format(sql.Literal(value), sql.SQL(table.types[number].name))
            for value, number in zip(last, table.key, strict=True)
        )
        where = sql.SQL("WHERE ({}) > ({})").format(key, literals)
    return sql.SQL("COPY (SELECT {} FROM {} {} ORDER BY {} LIMIT {}) TO STDOUT").format(
        sql.SQL(", ").join(names), quoted(table.shape.table), where, key, sql.Literal(row_limit)
    )


def _copy(connection: Connection, query: sql.Composable, name: str) -> tuple[Run, bool]:
    """The rows of a COPY, and whether it was cut short at CHUNK_BYTES; the server sends one message a row."""
    wire = Copying(connection)
    wire.copy_out(query, f"reading {name}")
    received = Received()
    while (goes_on := wire.drain(received, CHUNK_BYTES)) and received.size_bytes < CHUNK_BYTES:
        wire.wait(1.0)
    if goes_on:
        wire.abandon()
    return received.run() or Run.join((b"",), ()), goes_on


def _key_of_last(run: Run, table: Table) -> tuple[str, ...]:
    """The key of the last row as text, where the next chunk starts."""
    return row_of(run.buffer[run.starts[-1] :], len(table.types), table.key)


def _reachable(position: int) -> int:
    """The insert position as a reader of the WAL can reach it: a page's header follows only with the next record."""
    into_page = position % _WAL_PAGE
    return position - into_page if into_page <= _WAL_PAGE_HEADER else position
