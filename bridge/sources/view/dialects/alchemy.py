"""A guarded session on anything that SQLAlchemy reaches: the floor for databases without a faster way.

What a database needs besides SQLAlchemy's own comes as `Ways`: how its session is pinned, how a read-only transaction
begins, what asks for the login's rights, how a statement is limited and cancelled. The login is refused when any of the
checks answers with a row (I9). Every statement runs alone and is rolled back.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from datetime import time as clock
from decimal import Decimal
from functools import partial
from typing import Any

import pyarrow as pa
import sqlalchemy
from sqlalchemy import exc
from sqlalchemy.engine import URL, Connection
from sqlalchemy.pool import NullPool

from bridge.errors import BridgeError, ConfigError, InternalError, SourceRefused, SourceUnavailable
from bridge.extraction.extractor import Load
from bridge.findings import Finding, Level
from bridge.model import Column
from bridge.sources.view.dialects.blocks import (
    Gathered,
    Kind,
    blocks,
    convert,
    decimal_of,
    decimal_within,
    kept,
    plain,
    restored,
)
from bridge.sources.view.paging import Grammar, describe_sql
from bridge.sources.view.session import MOST_BYTES, Answer, Prepared
from bridge.sources.view.statement import Sql, Value, rendered

_MAX_DIGITS = 38
_FIX = "REVOKE it, or make a login of our own that may SELECT what we read and nothing else"


@dataclass(frozen=True, slots=True)
class Check:
    """One look at the login's rights: each row is one right beyond reading."""

    code: str  # of the finding
    query: str  # answers with subject and detail
    waiver: str = "can_write"
    level: Level = Level.REFUSE


@dataclass(frozen=True, slots=True)
class Ways:
    """What one kind of database needs."""

    grammar: Grammar
    pins: Sequence[str] = ()  # once a session
    begins: Sequence[str] = ()  # first in each transaction
    clock: str | None = None  # answers with the server's time in UTC; None: ours is taken
    checks: Sequence[Check] = ()
    limit: Callable[[Any, float], None] | None = None  # of the driver's connection: seconds for the next statement
    cancel: Callable[[Any], None] | None = None  # of the driver's connection, from another thread
    package: str = ""  # that brings the driver
    connected: Callable[[Any], None] | None = None  # sets up the driver's connection
    types: Mapping[str, type] = field(default_factory=dict)  # Python's, by the name of the driver's type code


class AlchemySession:
    """See `Session`."""

    def __init__(
        self,
        url: Callable[[], URL],
        ways: Ways,
        *,
        waivers: frozenset[str] = frozenset(),
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """Connect nowhere yet.

        Args:
            url: where and as whom; asked at each connect, so that a new password counts.
            ways: what the database needs.
            waivers: rights of the login that the operator signed for.
            most_bytes: an answer is cut when it is larger.
        """
        self.grammar = ways.grammar
        self._url = url
        self._ways = ways
        self._waivers = waivers
        self._most_bytes = most_bytes
        self._connection: Connection | None = None
        # By view: its columns settled by values, where the driver gives no type: the same for every page.
        self._settled: dict[Sql, dict[str, Kind]] = {}
        self._is_cancelled = False

    def open(self) -> None:
        """Connect, unless connected, pin the session and prove the login harmless."""
        if self._connection is not None:
            return
        self._is_cancelled = False
        with self._translated("connecting"):
            self._connection, self._settled = self._connect(), {}
            try:
                for statement in self._ways.pins:
                    self._connection.exec_driver_sql(statement)
                self._connection.rollback()
                found = self.inspect()
            except BaseException:
                self.close()
                raise
        if refused := [f"{one.subject}: {one.detail} [{one.fix}]" for one in found if one.level is Level.REFUSE]:
            self.close()
            hint = "Make a login that may SELECT alone: see docs/views-databases.md."
            raise SourceRefused("\n  ".join(["the login is not read-only:", *refused]), hint=hint)

    def inspect(self) -> list[Finding]:
        """What the login could do besides reading."""
        found = []
        for check in self._ways.checks:
            level = check.level
            if check.waiver in self._waivers and level is Level.REFUSE:
                level = Level.WARN
            with self._transaction() as connection:
                rows = connection.exec_driver_sql(check.query).fetchall()
            found += [Finding(level, check.code, str(subject), str(detail), _FIX) for subject, detail in rows]
        return found or [Finding(Level.OK, "right.read_only", "login", "may read, and nothing else")]

    def prepare(self, body: Sql, *, order: frozenset[str], timeout_s: float) -> Prepared:  # noqa: ARG002  sorts as it compares
        """Learn the view's columns; what the driver does not say of them shows in the first rows."""
        with self._translated("preparing a view"), self._running(describe_sql(body), timeout_s) as result:
            settled = self._settled.setdefault(body, {})
            kinds = _settle(settled, _fields(result), [], self._ways)
        return Prepared(body, {kind.column.name: _known(kind.column) for kind in kinds}, settled)

    def ask(self, sql: Sql, prepared: Prepared, *, last: tuple[str, ...], timeout_s: float) -> Answer:
        """Run one statement."""
        with self._translated("reading a view"):
            read_at, began = self._now(), time.monotonic()
            with self._running(sql, timeout_s) as result:
                gathered, final, is_cut = self._read(result, prepared.handle)
        names = [kind.column.name for kind in gathered.kinds]
        return Answer(
            columns=tuple(kind.column for kind in gathered.kinds),
            batch=gathered.batch(),
            last={name: kept(final[names.index(name)]) for name in last} if final is not None else {},
            read_at=read_at,
            marks=gathered.marks(),
            seconds=time.monotonic() - began,
            size_bytes=gathered.size_bytes,
            queries=1 if self._ways.clock is None else 2,
            is_cut=is_cut,
        )

    def probe(self) -> Load:
        """Nothing that every database would tell."""
        return Load()

    def cancel(self) -> None:
        """Cancel what runs."""
        self._is_cancelled = True
        self._stop()

    def close(self) -> None:
        """End the session."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(exc.SQLAlchemyError, OSError):
                connection.invalidate()
            connection.close()

    def _connect(self) -> Connection:
        try:
            engine = sqlalchemy.create_engine(self._url(), poolclass=NullPool, hide_parameters=True)
        except (ImportError, exc.NoSuchModuleError) as error:
            hint = f"Install it beside the bridge: pip install {self._ways.package}."
            raise ConfigError(f"the driver of this database is not installed: {error}", hint=hint) from error
        connection = engine.connect().execution_options(stream_results=True)
        if self._ways.connected is not None:
            self._ways.connected(_driver_of(connection))
        return connection

    def _read(self, result: Any, settled: dict[str, Kind]) -> tuple[Gathered, Sequence[Any] | None, bool]:  # noqa: ANN401  SQLAlchemy's
        fields = _fields(result)
        final: Sequence[Any] | None = None
        gathered: Gathered | None = None
        for block in blocks(map(tuple, result)):
            gathered = gathered or Gathered(_settle(settled, fields, block, self._ways))
            gathered.add(*convert(block, gathered.kinds))
            final = block[-1]
            if gathered.size_bytes > self._most_bytes:
                return gathered, final, True
        return gathered or Gathered(_settle(settled, fields, [], self._ways)), final, False

    def _now(self) -> datetime:
        if self._ways.clock is None:
            return datetime.now(UTC)
        with self._transaction() as connection:
            told: datetime = connection.exec_driver_sql(self._ways.clock).scalar_one()
        return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)

    @contextmanager
    def _running(self, sql: Sql, timeout_s: float) -> Iterator[Any]:
        def hold(_: Value, number: int) -> str:
            return f":value_{number}"

        text, values = rendered(sql, hold, escape=lambda words: words.replace("\\", "\\\\").replace(":", "\\:"))
        bound = {f"value_{number}": restored(value.value) for number, value in enumerate(values)}
        timer = threading.Timer(timeout_s, self._stop)
        timer.daemon = True
        with self._transaction() as connection:
            if self._ways.limit is not None:
                self._ways.limit(_driver_of(connection), timeout_s)
            timer.start()
            try:
                result = connection.execute(sqlalchemy.text(text), bound)
                if not result.returns_rows:
                    raise SourceRefused("a statement answered without rows", hint="A view file holds one SELECT.")
                yield result
                result.close()
            finally:
                timer.cancel()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """One look, rolled back."""
        if self._connection is None:
            self.open()
        connection = self._connection
        if connection is None:
            raise InternalError("the session is closed")
        try:
            for statement in self._ways.begins:
                connection.exec_driver_sql(statement)
            yield connection
        except BaseException:
            self.close()
            raise
        connection.rollback()

    def _stop(self) -> None:
        connection = self._connection
        if connection is not None and self._ways.cancel is not None:
            with contextlib.suppress(Exception):  # whatever a driver raises: the session is ended by whoever reads
                self._ways.cancel(_driver_of(connection))

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (exc.SQLAlchemyError, OSError) as error:
            was_cancelled = self._is_cancelled
            self.close()
            if was_cancelled:
                raise SourceUnavailable(f"{doing}: cancelled", hint="It is asked again when it may be.") from error
            raise translate(error, doing) from error


def translate(error: Exception, doing: str) -> BridgeError:
    """The bridge's error for one of SQLAlchemy's or a driver's; total. Values are never shown."""
    original = getattr(error, "orig", None)
    said = " ".join(str(original if original is not None else error).split())[:500]
    if isinstance(error, (exc.ProgrammingError, exc.NotSupportedError, exc.ArgumentError, exc.NoSuchColumnError)):
        return SourceRefused(f"{doing}: {said}", hint="Run the view's SQL by hand with the same login.")
    if isinstance(error, (exc.DataError, exc.IntegrityError)):  # such a text may quote a row's value
        return SourceRefused(f"{doing}: the database answered {type(original).__name__}")
    return SourceUnavailable(f"{doing}: {said}")


def kind_of(name: str, type_: type | None, described: Sequence[Any] = ()) -> Kind:
    """How a column of one of Python's types is read.

    Args:
        name: of the column.
        type_: of its values; None where neither the driver nor a value says.
        described: the driver's description of it, whose fifth and sixth entries are digits and scale.
    """
    digits, scale = (described[4], described[5]) if len(described) > 5 else (None, None)  # noqa: PLR2004  as DB-API says
    if type_ is Decimal or (type_ is int and isinstance(digits, int) and digits > 18):  # noqa: PLR2004  digits of int64
        if isinstance(digits, int) and isinstance(scale, int) and 0 <= scale <= digits <= _MAX_DIGITS and digits:
            return Kind(Column(name, f"decimal({digits},{scale})", pa.decimal128(digits, scale)), decimal_within(scale))
        return Kind(Column(name, "number", pa.large_string()), lambda value: format(decimal_of(value), "f"))
    arrow = _ARROW.get(type_) if type_ is not None else None
    if arrow is None:
        return Kind(Column(name, "text", pa.large_string()), str)
    assert type_ is not None  # noqa: S101  it has an Arrow type
    column = Column(name, type_.__name__, arrow)
    return Kind(column, _moment, None) if type_ is datetime else Kind(column, partial(_own, type_), plain(arrow, type_))


def _known(column: Column) -> Column:
    """A column as a view is told to have it: of no type while nothing says which."""
    return replace(column, arrow=pa.null()) if column.type == "text" else column


def _driver_of(connection: Connection) -> Any:  # noqa: ANN401  whatever the driver's connection is
    return connection.connection.driver_connection


def _own(type_: type, value: Any) -> Any:  # noqa: ANN401  whatever a driver gives
    if not isinstance(value, type_) or (isinstance(value, bool) and type_ is not bool):
        raise TypeError("of another type than its column")
    return value


def _moment(value: Any) -> datetime:  # noqa: ANN401  as above
    if not isinstance(value, datetime) or value.tzinfo is not None:
        raise TypeError("no local time")
    return value


_ARROW: Mapping[type | None, pa.DataType] = {
    bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.large_string(), bytes: pa.large_binary(),
    bytearray: pa.large_binary(), datetime: pa.timestamp("us"), date: pa.date32(), clock: pa.time64("us"),
}  # fmt: skip


def _fields(result: Any) -> list[tuple[str, Any]]:  # noqa: ANN401  SQLAlchemy's
    """The names of an answer's columns, and what the driver says of each."""
    return list(zip(result.keys(), result.cursor.description, strict=True))


def _settle(
    settled: dict[str, Kind], fields: Sequence[tuple[str, Any]], rows: Sequence[Sequence[Any]], ways: Ways
) -> list[Kind]:
    """How a view's columns are read: by the driver's type; else as they were; else by the first value there is."""
    found = []
    for number, (name, described) in enumerate(fields):
        code = described[1]
        told = code if isinstance(code, type) else ways.types.get(getattr(code, "name", ""))
        kind = settled.get(name) if told is None else kind_of(name, told, described)
        if kind is None:
            sample = next((row[number] for row in rows if row[number] is not None), None)
            kind = kind_of(name, None if sample is None else type(sample), described)
            if sample is not None:
                settled[name] = kind
        found.append(kind)
    return found
