"""Read a table in chunks while its changes stream on, without a lock and without writing anything.

Each chunk is one short read-only transaction in key order. Its snapshot tells exactly which transactions its rows
include; `high_lsn`, taken right after it, is behind all of them. The reader of the change log hands a chunk on once it
has streamed past `high_lsn`, less the rows whose keys a streamed transaction touched that the snapshot did not include:
those rows are older than what was streamed. So an older state never follows a newer one (I5), whatever is written
meanwhile, and no chunk is ever read twice because of it. Source of the idea: Andreakis, Papapanagiotou, "DBLog: A
Watermark Based Change-Data-Capture Framework" (2020); transaction visibility takes the place of its watermark table.
"""

import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql

from bridge.model import CHANGE_COLUMNS, Column, Marks, Op, RawBatch, Shape
from bridge.sources.postgres import lsn
from bridge.sources.postgres.assembly import take_marks
from bridge.sources.postgres.columns import decode
from bridge.sources.postgres.copytext import walk_text
from bridge.sources.postgres.relation import Lookup
from bridge.sources.postgres.session import Connection, read_only, translated
from bridge.sources.postgres.types import PgType, builtin
from bridge.sources.postgres.wire import Received, Wire

_REMEMBERED_TRANSACTIONS = 65_536

# Columns in table order; generated ones are not streamed either.
_DESCRIBE = """
SELECT a.attname, a.atttypid::bigint, a.atttypmod, coalesce(k.place, 0)
FROM pg_attribute a
LEFT JOIN (SELECT i.indrelid, u.attnum, u.place
           FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY u(attnum, place)
           WHERE i.indisprimary) k ON k.indrelid = a.attrelid AND k.attnum = a.attnum
WHERE a.attrelid = to_regclass(%(table)s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum
"""
_ESTIMATE = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(%(table)s)"
_WATERMARK = """
SELECT pg_current_snapshot()::text,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END)::text,
       (extract(epoch FROM statement_timestamp()) * 1000000)::bigint
"""
_WAL_PAGE, _WAL_PAGE_HEADER = 8192, 40


@dataclass(frozen=True, slots=True)
class Visibility:
    """Which transactions a snapshot includes. Source: PostgreSQL manual, "Transaction ID and Snapshot Information"."""

    xmin: int  # every transaction below has ended
    xmax: int  # none from here on had ended
    running: frozenset[int]  # in between, the ones that had not

    @classmethod
    def parse(cls, text: str) -> "Visibility":
        """The form of pg_current_snapshot(): `xmin:xmax:xip,xip`, 64-bit transaction ids."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(int(xid) for xid in running.split(",") if xid))

    def sees(self, xids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether each transaction is included, given the 32-bit ids the replication stream carries."""
        distance = (xids.astype(np.int64) - self.xmax + (1 << 31)) % (1 << 32) - (1 << 31)
        full = self.xmax + distance  # the 64-bit id nearest to xmax
        return (full < self.xmin) | ((full < self.xmax) & ~np.isin(full, list(self.running)))


@dataclass(frozen=True, slots=True)
class Table:
    """A table as a chunk query needs it."""

    stream: str
    name: str  # schema.table
    shape: Shape
    types: tuple[PgType, ...]
    key: tuple[int, ...]  # columns in key order


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of one key range as one snapshot saw them."""

    table: Table
    number: int  # of the re-read
    visibility: Visibility
    high_lsn: int  # all transactions the snapshot includes are streamed before this
    read_us: int  # when, microseconds since 1970 UTC
    columns: pa.RecordBatch
    marks: dict[str, Marks]
    last: tuple[str, ...] | None  # key of the last row, where the next chunk starts; None: no row
    is_final: bool

    def key_columns(self) -> pa.RecordBatch:
        """The rows' keys."""
        return self.columns.select([self.table.shape.columns[number].name for number in self.table.key])


@dataclass(slots=True)
class Touched:
    """Keys that streamed transactions touched, as long as a chunk may be waiting that does not include them.

    Used by the thread that reads the change log; `is_blind` by the one that reads chunks.
    """

    _recent: deque[NDArray[np.uint64]] = field(default_factory=deque)
    _recent_count: int = 0
    _before: dict[str, NDArray[np.uint64]] = field(default_factory=dict)
    _keys: dict[str, list[tuple[NDArray[np.uint64], pa.RecordBatch]]] = field(default_factory=dict)
    _truncated: dict[str, list[int]] = field(default_factory=dict)

    def watch(self, stream: str) -> None:
        """Remember keys of this stream from now on."""
        self._before[stream] = np.concatenate([np.empty(0, np.uint64), *self._recent])
        self._keys[stream] = []
        self._truncated[stream] = []

    def watches(self, stream: str) -> bool:
        """Whether keys of this stream are remembered."""
        return stream in self._keys

    def forget(self, stream: str) -> None:
        """Its re-read is over."""
        for kept in (self._before, self._keys, self._truncated):
            kept.pop(stream, None)

    def record(self, raw: RawBatch, key: Sequence[str]) -> None:
        """Remember a streamed batch; called before it is handed on."""
        xids = raw.changes.column("_tx").to_numpy()
        distinct = np.unique(xids)
        self._recent.append(distinct)
        self._recent_count += distinct.size
        while self._recent_count - self._recent[0].size > _REMEMBERED_TRANSACTIONS:
            self._recent_count -= self._recent.popleft().size
        if raw.stream not in self._keys:
            return
        self._keys[raw.stream].append((xids, raw.columns.select(list(key))))
        truncated = raw.changes.column("_op").to_numpy() == Op.TRUNCATE
        self._truncated[raw.stream] += np.unique(xids[truncated]).tolist()

    def is_blind(self, stream: str, visibility: Visibility) -> bool:
        """Whether a snapshot misses a transaction that was streamed before this stream's keys were watched.

        True only for an instant: a transaction is streamed once its commit is on disk, and visible right after.
        """
        if not visibility.sees(self._before[stream]).all():
            return True
        self._before[stream] = np.empty(0, np.uint64)
        return False

    def stale_rows(self, chunk: Chunk) -> NDArray[np.bool_]:
        """Which rows of a chunk are older than what was streamed; forgets what all later chunks will include."""
        stream, visibility = chunk.table.stream, chunk.visibility
        self._truncated[stream] = [
            xid for xid in self._truncated[stream] if not visibility.sees(np.array([xid], np.uint64))[0]
        ]
        unseen = []
        for xids, keys in self._keys[stream]:
            mask = ~visibility.sees(xids)
            if mask.any():
                unseen.append((xids[mask], keys.filter(pa.array(mask))))
        self._keys[stream] = unseen
        row_count = chunk.columns.num_rows
        if self._truncated[stream]:
            return np.ones(row_count, np.bool_)
        if not unseen or not row_count:
            return np.zeros(row_count, np.bool_)
        touched = pl.DataFrame(pl.from_arrow(pa.Table.from_batches([keys for _, keys in unseen]))).unique()
        rows = pl.DataFrame(pl.from_arrow(chunk.key_columns())).with_row_index("row")
        stale = rows.join(touched, on=touched.columns, how="semi")["row"].to_numpy()
        mask = np.zeros(row_count, np.bool_)
        mask[stale] = True
        return mask


def describe(connection: Connection, stream: str, name: str, *, key_columns: Sequence[str], lookup: Lookup) -> Table:
    """Look a table up in the catalogue; `key_columns` overrule its primary key where given."""
    quoted = _qualified(connection, name)
    with translated(f"looking up {name}"):
        rows = connection.execute(_DESCRIBE, {"table": quoted}).fetchall()
    wanted = [(int(oid), int(modifier)) for _, oid, modifier, _ in rows]
    types = {pair: known for pair in wanted if (known := builtin(*pair)) is not None}
    missing = sorted(set(wanted) - types.keys())
    if missing:
        types.update(lookup(missing))
    shape = Shape(
        name,
        tuple(Column(row[0], types[pair].name, types[pair].arrow) for row, pair in zip(rows, wanted, strict=True)),
    )
    if key_columns:
        key = tuple(shape.names().index(column) for column in key_columns)
    else:
        places = sorted((int(place), number) for number, (*_, place) in enumerate(rows) if place)
        key = tuple(number for _, number in places)
    return Table(stream, name, shape, tuple(types[pair] for pair in wanted), key)


def estimate(connection: Connection, name: str) -> int:
    """About how many rows a table has, by the server's own statistics; 0 when it does not know."""
    with translated(f"estimating {name}"):
        row = connection.execute(_ESTIMATE, {"table": _qualified(connection, name)}).fetchone()
    return int(row[0]) if row else 0


def read_chunk(
    connection: Connection, table: Table, *, number: int, last: Sequence[str] | None, row_limit: int, touched: Touched
) -> Chunk | None:
    """Up to `row_limit` rows behind the key `last`, in key order; None to be asked again in a moment.

    Raises: SourceUnavailable, SourceRefused when the table may not be read.
    """
    with translated(f"reading {table.name}"), read_only(connection):
        row = connection.execute(_WATERMARK).fetchone()
        assert row is not None  # noqa: S101  a SELECT without FROM has one row
        visibility = Visibility.parse(row[0])
        if touched.is_blind(table.stream, visibility):
            return None
        buffer = _copy(connection, _query(connection, table, last, row_limit), table.name)
    cells, buffer, row_count = walk_text(buffer, len(table.types))
    columns, marks = decode(cells, table.types, table.shape.names(), buffer)
    end = None
    if row_count:
        end = tuple(
            buffer[cells[i].starts[-1] : cells[i].starts[-1] + cells[i].lengths[-1]]
            .tobytes()
            .decode("utf-8", "surrogateescape")
            for i in table.key
        )
    return Chunk(
        table,
        number,
        visibility,
        _reachable(lsn.parse(row[1])),
        int(row[2]),
        columns,
        marks,
        end,
        is_final=row_count < row_limit,
    )


def merge(chunk: Chunk, stale: NDArray[np.bool_]) -> RawBatch:
    """The chunk as read events, less its stale rows."""
    rows = np.flatnonzero(~stale)
    count = rows.size
    columns = chunk.columns if count == stale.size else chunk.columns.take(pa.array(rows))
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
    return RawBatch(chunk.table.stream, chunk.table.shape, changes, columns, take_marks(chunk.marks, rows, stale.size))


def _query(connection: Connection, table: Table, last: Sequence[str] | None, row_limit: int) -> sql.Composed:
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
        sql.SQL(", ").join(names), sql.SQL(_qualified(connection, table.name)), where, key, sql.Literal(row_limit)
    )


def _copy(connection: Connection, query: sql.Composable, name: str) -> NDArray[np.uint8]:
    wire = Wire(connection)
    wire.copy_out(query, f"reading {name}")
    received = Received()
    while wire.drain(received, sys.maxsize):
        wire.wait(1.0)
    run = received.run()
    return run.buffer if run else np.empty(0, np.uint8)


def _reachable(position: int) -> int:
    """The insert position as a reader of the WAL can reach it: a page's header follows only with the next record."""
    into_page = position % _WAL_PAGE
    return position - into_page if into_page <= _WAL_PAGE_HEADER else position


def _qualified(connection: Connection, name: str) -> str:
    schema, _, table = name.partition(".")
    return sql.Identifier(schema, table).as_string(connection)
