"""A PostgreSQL source read by hand: what it returns, kept row by row, as a journal would hold it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg
import pyarrow as pa

from bridge.errors import SourceUnavailable
from bridge.journal.rows import to_json
from bridge.model import Column, Op, Position, RawBatch, Window
from bridge.postgres.session import ConnectSettings
from bridge.postgres.types import PINNED_SETTINGS, Kind, PgType, builtin
from bridge.sources.postgres import lsn
from bridge.sources.postgres.plan import Phase
from bridge.sources.postgres.reader import PostgresSource, Settings
from bridge.sources.postgres.tables import Capture
from demo.server import Database
from tests.postgres_text import Raw, printed, same_float

DEADLINE_S = 60.0
FLOATS = {oid: of for oid in (700, 701) if (of := builtin(oid, -1)) is not None}
TextRow = tuple[Raw, ...]


@dataclass(frozen=True)
class Change:
    """One change with its values as the server's own text."""

    op: Op
    row: dict[str, Raw]
    position: int
    tx_index: int
    moved: bool
    snapshot: int | None

    @property
    def id(self) -> tuple[int, int, Op | None]:
        """What the id of its event is made of, within an epoch."""
        return self.position, self.tx_index, self.op if self.moved else None


class Reading:
    """One source over a database, with the journal's part played by two variables."""

    def __init__(self, database: Database, *captures: Capture, **settings: Any) -> None:  # noqa: ANN401 # of Settings
        server = database.server
        place = ConnectSettings("test", server.host, server.port, database.name, "postgres")
        self.database = database
        chosen: dict[str, Any] = {"slot": f"slot_{database.name}", "heartbeat_s": 0.0, "publications": ("bridge",)}
        self.source = PostgresSource(Settings("erp", place, captures, **chosen | settings))
        self.position: Position | None = None
        self.state: dict[str, Any] = {}
        self.windows: list[Window] = []

    def open(self) -> None:
        """Resume where the last window ended, as after a restart."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                return self.source.open(self.position, self.state)
            except SourceUnavailable:  # the server has not noticed yet that the last session is over
                assert time.monotonic() < deadline

    def read(self, *, confirm: bool = True) -> Window | None:
        """One window, stored."""
        window = self.source.read(0.2)
        if window is not None:
            assert self.position is None or window.position >= self.position
            self.position, self.state = window.position, to_json_and_back(window.state)
            self.windows.append(window)
            if confirm:
                self.source.confirm(window.position)
        return window

    def read_until(self, done: Callable[[], bool], read: Callable[[], object] | None = None) -> None:
        """Windows until something is so."""
        deadline = time.monotonic() + DEADLINE_S
        while not done():
            (read or self.read)()
            assert time.monotonic() < deadline, (self.source.findings(), self.state)

    def catch_up(self, read: Callable[[], object] | None = None) -> None:
        """Windows until everything committed so far was streamed and no re-read is under way."""
        end = lsn.parse(self.database.sql("SELECT pg_current_wal_insert_lsn()")[0][0])
        self.database.sql("SELECT pg_logical_emit_message(true, 'test', '')")  # the WAL goes on, and is flushed
        opened = self.source._open
        assert opened is not None
        self.read_until(lambda: not self.source._controls, read)
        self.read_until(lambda: opened.log.streamed >= end - 64 and not opened.pending and not self.running(), read)

    def running(self) -> list[str]:
        """Streams whose re-read is under way."""
        opened = self.source._open
        assert opened is not None
        return [stream for stream, reread in opened.rereads.state.rereads.items() if reread.phase is Phase.RUNNING]

    def batches(self, stream: str) -> list[RawBatch]:
        """All batches of a stream."""
        return [batch for window in self.windows for batch in window.batches if batch.stream == stream]

    def changes(self, stream: str) -> list[Change]:
        """All changes of a stream in order."""
        return [change for batch in self.batches(stream) for change in changes_of(batch)]

    def ops(self, stream: str) -> str:
        """The ops' letters in order."""
        return "".join(chr(change.op) for change in self.changes(stream))

    def replayed(self, stream: str, *key: str) -> dict[TextRow, dict[str, Raw]]:
        """What the table must hold by the changes alone; an unchanged value is the one before."""
        return replay(self.changes(stream), *key)

    def close(self) -> None:
        """End the sessions."""
        self.source.close()


@contextmanager
def reading(database: Database, *captures: Capture, **settings: Any) -> Iterator[Reading]:  # noqa: ANN401 # of Settings
    """An open source, closed at the end."""
    made = Reading(database, *captures, **settings)
    made.open()
    try:
        yield made
    finally:
        made.close()


def publish(database: Database, *tables: str) -> None:
    """The DBA's part."""
    options = "WITH (publish_via_partition_root = true)"
    database.sql(f"CREATE PUBLICATION bridge FOR TABLE {', '.join(tables)} {options}")


def replay(changes: list[Change], *key: str) -> dict[TextRow, dict[str, Raw]]:
    """Changes applied one by one. An assertion fails where a change cannot follow what came before."""
    rows: dict[TextRow, dict[str, Raw]] = {}
    leaving: dict[str, Raw] = {}
    for change in changes:
        at = tuple(change.row[name] for name in key)
        if change.op is Op.TRUNCATE:
            rows.clear()
        elif change.op is Op.DELETE:
            leaving = rows.pop(at, {})
        elif change.op is not Op.GAP:
            before = leaving if change.moved else rows.get(at, {})
            rows[at] = {name: before.get(name, ...) if value is ... else value for name, value in change.row.items()}
    return rows


def changes_of(batch: RawBatch) -> Iterator[Change]:
    """The changes of a batch with their values as the server's own text."""
    texts = {
        column.name: printed(batch.columns.column(number), batch.marks.get(column.name), type_of(column))
        for number, column in enumerate(batch.shape.columns)
    }
    for row, meta in enumerate(batch.changes.to_pylist()):
        yield Change(
            Op(meta["_op"]),
            {name: values[row] for name, values in texts.items()},
            meta["_position"],
            meta["_tx_index"],
            meta["_moved"],
            meta["_snapshot"],
        )


def type_of(column: Column) -> PgType:
    """How to print a column's values."""
    return _type(column.arrow, column.type)


def _type(arrow: pa.DataType, name: str) -> PgType:
    if pa.types.is_list(arrow):
        return PgType(name, arrow, Kind.LIST, _type(arrow.value_type, name.removesuffix("[]")))
    if pa.types.is_decimal(arrow):
        return PgType(name, arrow, Kind.MONEY if name == "money" else Kind.DECIMAL)
    kinds = {
        pa.large_string(): Kind.TEXT,
        pa.bool_(): Kind.BOOLEAN,
        pa.large_binary(): Kind.BYTES,
        pa.float32(): Kind.FLOAT,
        pa.float64(): Kind.FLOAT,
        pa.date32(): Kind.DATE,
        pa.time64("us"): Kind.TIME,
        pa.timestamp("us"): Kind.TIMESTAMP,
        pa.timestamp("us", "UTC"): Kind.TIMESTAMP,
    }
    return PgType(name, arrow, kinds.get(arrow, Kind.INTEGER))


def held(database: Database, table: str, *key: str) -> dict[TextRow, dict[str, Raw]]:
    """What a table holds, by an independent reader, as the server's own text."""
    options = " ".join(f"-c {name}={value}" for name, value in PINNED_SETTINGS.items())
    with psycopg.connect(database.dsn, options=options, autocommit=True) as connection:
        result = connection.execute(f"SELECT * FROM {table}").pgresult
        assert result is not None
        names = [(result.fname(i) or b"").decode() for i in range(result.nfields)]
        floats = {i: of for i in range(result.nfields) if (of := FLOATS.get(result.ftype(i))) is not None}
        rows: list[dict[str, Raw]] = []
        for row in range(result.ntuples):
            values = [result.get_value(row, i) for i in range(result.nfields)]
            texts = [same_float(v, floats[i]) if i in floats and v is not None else v for i, v in enumerate(values)]
            rows.append(dict(zip(names, texts, strict=True)))
    return {tuple(row[name] for name in key): row for row in rows}


def to_json_and_back(state: Any) -> dict[str, Any]:  # noqa: ANN401 # a source's own state
    """A state as the journal returns it."""
    return dict(msgspec.json.decode(to_json(state)))
