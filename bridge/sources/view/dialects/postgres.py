"""PostgreSQL: each page is one COPY in a read-only transaction that is rolled back, decoded column by column.

The values are decoded as those of a change log are: a view and a log give the same Arrow types for the same column.
COPY takes no parameters, so values become literals that the driver makes, each with its type.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import pq, sql

from bridge.errors import InternalError, MalformedRecord, SourceRefused, SourceUnavailable
from bridge.extraction.extractor import Load
from bridge.findings import Finding, refuse
from bridge.model import Column
from bridge.postgres.copying import Copying, Received
from bridge.postgres.copyrows import Rows
from bridge.postgres.lookup import TypeLookup, types_of
from bridge.postgres.rights import inspect_rights
from bridge.postgres.session import Connection, ConnectSettings, connect, read_only, translate, translated
from bridge.postgres.types import PgType
from bridge.sources.view.dialects import plans
from bridge.sources.view.paging import Grammar, describe_sql
from bridge.sources.view.plan import Plan
from bridge.sources.view.session import Answer, Prepared
from bridge.sources.view.statement import Sql, Value

PAGE_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 20  # decoded at once: few enough for the processor's cache, and enough to be worth the call
_LOOK_S = 0.2  # how often a page looks whether it was cancelled
_CANCEL_S = 1.0
# Strings mean what lint read, whatever the database's default. One core of the server at most, and no time spent on
# compiling what runs for a moment.
_SETTINGS = """
SELECT set_config('standard_conforming_strings', 'on', false),
       set_config('max_parallel_workers_per_gather', '0', false), set_config('jit', 'off', false)
"""
_BEGIN = "SELECT set_config('statement_timeout', %s, true), clock_timestamp()"
_PROBE = """
SELECT CASE WHEN pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') THEN
         (SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND backend_type = 'client backend'
            AND pid <> pg_backend_pid() AND application_name NOT LIKE 'legacy-bridge/%') END,
       CASE WHEN NOT pg_is_in_recovery() THEN
              CASE WHEN pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') THEN
                (SELECT coalesce(max(extract(epoch FROM replay_lag)), 0) FROM pg_stat_replication) END
            WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
              AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
            ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END::float8
"""
_CASTS = {"text": "text", "integer": "bigint", "number": "numeric", "boolean": "boolean", "date": "date"}


@dataclass(frozen=True, slots=True)
class _Fields:
    """The columns of an answer."""

    names: tuple[str, ...]
    types: tuple[PgType, ...]

    def columns(self) -> tuple[Column, ...]:
        return tuple(Column(name, of.name, of.arrow) for name, of in zip(self.names, self.types, strict=True))


class PostgresSession:
    """One guarded session on one database; see `Session`."""

    def __init__(
        self, settings: ConnectSettings, *, waivers: frozenset[str] = frozenset(), page_bytes: int = PAGE_BYTES
    ) -> None:
        """Connect nowhere yet.

        Args:
            settings: where and as whom.
            waivers: rights of the login that the operator signed for.
            page_bytes: an answer is cut when it is larger.
        """
        # A composite value with one null in it IS NULL as little as it IS NOT NULL; an index serves these as well.
        self.grammar = Grammar(
            _quoted, has_row_values=True, is_null="IS NOT DISTINCT FROM NULL", is_there="IS DISTINCT FROM NULL"
        )
        self.findings: list[Finding] = []  # of the last look at the login's rights
        self._settings = settings
        self._waivers = waivers
        self._page_bytes = page_bytes
        self._connection: Connection | None = None
        self._lookup: TypeLookup | None = None
        self._is_cancelled = False
        self._in_use = threading.Lock()  # held by whoever works on the session
        self._ending = threading.Lock()  # held while a cancellation is sent and while the session is closed

    def open(self) -> None:
        """Connect, unless connected, and prove the login harmless."""
        with self._in_use:
            if self._connection is not None and not self._connection.closed:
                return
            self._is_cancelled = False
            connection = connect(self._settings, purpose="views")
            try:
                with translated("looking up the login's own rights"), read_only(connection):
                    self.findings = inspect_rights(connection, self._waivers, replicates=False)
                refuse(self.findings)
                with translated("setting up the session"):
                    connection.execute(_SETTINGS)
            except BaseException:
                connection.close()
                raise
            self._connection, self._lookup = connection, TypeLookup(connection)

    def prepare(self, body: Sql, *, order: frozenset[str], timeout_s: float) -> Prepared:  # noqa: ARG002  no use here
        """Learn what a view answers with; it is learnt again with each answer, since a view may be redefined."""
        with self._reading(timeout_s) as (connection, _):
            fields = self._describe(connection, _composed(describe_sql(body), {}))
        return Prepared(body, {column.name: column for column in fields.columns()})

    def ask(self, sql: Sql, prepared: Prepared, *, last: tuple[str, ...], timeout_s: float) -> Answer:
        """Run one statement over a prepared view."""
        started = time.monotonic()
        with self._reading(timeout_s) as (connection, read_at):
            # Both also lock the tables before COPY takes its snapshot: none is rewritten in between, and seen empty.
            known = self._describe(connection, _composed(describe_sql(prepared.body), {}))
            query = _composed(sql, dict(zip(known.names, known.types, strict=True)))
            fields = self._describe(connection, query)
            rows, is_cut = self._copy(connection, query, fields)
        seconds = time.monotonic() - started
        batch, marks = rows.columns()
        return Answer(
            fields.columns(),
            batch,
            rows.last(last),
            read_at,
            marks,
            seconds,
            size_bytes=rows.size_bytes,
            queries=3,
            is_cut=is_cut,
        )

    def plan(self, sql: Sql, prepared: Prepared, *, timeout_s: float) -> Plan:
        """How the server would run a statement: its EXPLAIN (FORMAT JSON); nothing is run."""
        with self._reading(timeout_s) as (connection, _):
            known = self._describe(connection, _composed(describe_sql(prepared.body), {}))
            query = _composed(sql, dict(zip(known.names, known.types, strict=True)))
            row = connection.execute(_joined("EXPLAIN (FORMAT JSON) ", query)).fetchone()
        assert row is not None  # noqa: S101  EXPLAIN has one row
        return plans.of_postgres(row[0][0]["Plan"])

    def probe(self) -> Load:
        """How busy the server says it is."""
        with self._reading(_CANCEL_S) as (connection, _):
            row = connection.execute(_PROBE).fetchone()
        assert row is not None  # noqa: S101  a SELECT without FROM has one row
        return Load(busy_sessions=row[0], replica_lag_s=None if row[1] is None else float(row[1]))

    def cancel(self) -> None:
        """End what runs on the server, and the session with it; callable from any thread."""
        self._is_cancelled = True
        if self._in_use.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._in_use.release()
            return
        with self._ending:
            if self._connection is not None and not self._connection.closed:
                with suppress(psycopg.Error):  # it has ended by itself
                    self._connection.cancel_safe(timeout=_CANCEL_S)

    def close(self) -> None:
        """End the session; callable twice. `open` connects again."""
        with self._in_use:
            self._end()

    def _end(self) -> None:
        with self._ending:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._lookup = None

    @contextmanager
    def _reading(self, timeout_s: float) -> Iterator[tuple[Connection, datetime]]:
        """A read-only transaction with a time limit, rolled back; and the server's clock at its beginning."""
        with self._in_use:
            connection = self._connection
            if connection is None:
                raise SourceUnavailable("reading views: the session was ended")
            try:
                with _telling("reading a view"), read_only(connection, per_statement=True):
                    row = connection.execute(_BEGIN, (f"{max(1, round(timeout_s * 1000))}ms",)).fetchone()
                    assert row is not None  # noqa: S101  a SELECT without FROM has one row
                    yield connection, row[1].astimezone(UTC)
            finally:
                if self._is_cancelled or connection.closed:
                    self._end()

    def _describe(self, connection: Connection, query: sql.Composable) -> _Fields:
        """The columns of a statement, which is parsed and not run."""
        for result in (
            connection.pgconn.prepare(b"", query.as_bytes(connection)),
            connection.pgconn.describe_prepared(b""),
        ):
            if result.status != pq.ExecStatus.COMMAND_OK:
                raise psycopg.errors.error_from_result(result, encoding="utf-8")
        names = tuple((result.fname(number) or b"").decode() for number in range(result.nfields))
        wanted = [(result.ftype(number), result.fmod(number)) for number in range(result.nfields)]
        assert self._lookup is not None  # noqa: S101  made with the connection
        return _Fields(names, types_of(wanted, self._lookup))

    def _copy(self, connection: Connection, query: sql.Composable, fields: _Fields) -> tuple[Rows, bool]:
        """The rows of a query in COPY's text format, and whether it was cut short."""
        copying = Copying(connection, _telling)
        copying.copy_out(_joined("COPY (", query, ") TO STDOUT"), "reading a view")
        rows, received, goes_on = Rows(fields.types, fields.names), Received(), True
        while goes_on and (room := self._page_bytes - rows.size_bytes) > received.size_bytes:
            block_bytes = min(room, _BLOCK_BYTES)
            goes_on = copying.drain(received, block_bytes)
            if received.size_bytes >= block_bytes:
                self._decode(copying, rows, received)
                received = Received()
            elif goes_on:
                copying.wait(_LOOK_S)
            if self._is_cancelled and goes_on:
                copying.abandon()
                raise SourceUnavailable("reading a view: it was cancelled")
        if goes_on:
            copying.abandon()
        rows.add(received.run())
        return rows, goes_on

    @staticmethod
    def _decode(copying: Copying, rows: Rows, received: Received) -> None:
        try:
            rows.add(received.run())
        except MalformedRecord:
            copying.abandon()
            raise


@contextmanager
def _telling(doing: str) -> Iterator[None]:
    """The bridge's error for one of psycopg's; what a view's SQL or the data under it brings about is the author's."""
    try:
        yield
    except psycopg.Error as error:
        state = error.sqlstate or ""
        hint = "Mend the view, and try it with `legacy-bridge view sample`."
        if state[:2] in ("21", "22"):  # the text may quote a row's value
            raise SourceRefused(f"{doing}: {type(error).__name__} ({state})", hint=hint) from error
        if state[:2] in ("42", "0A") and state != "42501":
            said = " ".join((error.diag.message_primary or "").split())
            raise SourceRefused(f"{doing}: {said} ({state})", hint=hint) from error
        found = translate(error, doing)
        if state and isinstance(found, InternalError):  # raised by a function or a foreign table behind the view
            raise SourceRefused(f"{doing}: {type(error).__name__} ({state})", hint=hint) from error
        raise found from error


def _composed(statement: Sql, types: dict[str, PgType]) -> sql.Composed:
    """The statement with its values as literals that the driver makes."""
    return _joined(*(piece if isinstance(piece, str) else _literal(piece, types) for piece in statement))


def _joined(*pieces: str | sql.Composable) -> sql.Composed:
    # The texts are a view's own words and names quoted by the driver.
    return sql.Composed([sql.SQL(piece) if isinstance(piece, str) else piece for piece in pieces])


def _literal(value: Value, types: dict[str, PgType]) -> sql.Composable:
    if value.column is not None:
        of = types.get(value.column)
        if of is None:
            raise SourceRefused(
                f"reading a view: it has no column {value.column} any more",
                hint=f"Its columns are: {', '.join(types)}. Mend the view or its header.",
            )
        return _joined(sql.Literal(_text(value.value)), f"::{of.name}")
    cast_to = _CASTS.get(value.type or "") or (
        "timestamp" if value.value is None or value.value.tzinfo is None else "timestamptz"
    )
    given = value.value.isoformat() if isinstance(value.value, (date, datetime)) else value.value
    return _joined("(", sql.Literal(given), f"::{cast_to})")


def _text(value: Any) -> str | None:  # noqa: ANN401  a scalar, or text as the server sent it
    """A value as the server reads it."""
    if isinstance(value, pa.Scalar):
        if not value.is_valid:
            return None
        if pa.types.is_large_binary(value.type):
            return rf"\x{value.as_py().hex()}"
        if pa.types.is_date(value.type) or pa.types.is_timestamp(value.type):
            return _moment(value)
        if pa.types.is_nested(value.type):
            raise SourceRefused(
                f"reading a view: a range of keys of type {value.type} cannot be asked for",
                hint="Choose a key of plain values, or have the view cast it to text.",
            )
        value = value.cast(pa.large_string()).as_py()
    return None if value is None else str(value)


def _moment(value: pa.Scalar) -> str:
    """A date or time of any year, which the server reads otherwise than Arrow writes it: 0 is 1 BC."""
    is_date, has_zone = pa.types.is_date(value.type), getattr(value.type, "tz", None) is not None
    year, month, rest = str(np.datetime64(value.value, "D" if is_date else "us")).rsplit("-", 2)
    number, zone, era = int(year), "+00" if has_zone else "", ""
    if number < 1:
        number, era = 1 - number, " BC"
    return f"{number:04d}-{month}-{rest.replace('T', ' ')}{zone}{era}"


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string()
