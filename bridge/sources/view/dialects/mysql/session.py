"""A guarded session on MySQL or MariaDB.

The login's grants are looked up first and a login that could write is refused. Every statement runs alone, in a
READ ONLY transaction that begins with a read of the clock and is rolled back, under a time limit of the server's; the
protocol takes one statement a call. A cancel comes over a second, short connection.
"""

import contextlib
import json
import math
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pymysql
from pymysql import err
from pymysql.cursors import DictCursor

from bridge.errors import BridgeError, InternalError, SourceRefused, SourceUnavailable
from bridge.extraction.extractor import Load
from bridge.findings import Finding, Level
from bridge.sources.view.dialects import plans
from bridge.sources.view.dialects.mysql import rights
from bridge.sources.view.dialects.mysql.literals import literal
from bridge.sources.view.dialects.mysql.types import Type, decode, type_of
from bridge.sources.view.dialects.mysql.wire import Rows, ask
from bridge.sources.view.paging import Grammar, describe_sql
from bridge.sources.view.plan import Plan
from bridge.sources.view.session import MOST_BYTES, Answer, Prepared
from bridge.sources.view.statement import Sql, Value, rendered

_KILL_TIMEOUT_S = 2
_GRACE_S = 3.0  # beyond the server's own limit until we end the session ourselves
_LOCK_WAIT_S = 2
_IDLE_S = 600  # after which the server ends a session of ours that asks nothing
_RENEWED_S = 300  # after which such a session is not relied on any more

_PINNED = (
    "SET SESSION sql_mode = '', time_zone = '+00:00', autocommit = 1, character_set_results = NULL",
    f"SET SESSION lock_wait_timeout = {_LOCK_WAIT_S}, innodb_lock_wait_timeout = {_LOCK_WAIT_S}",
    f"SET SESSION wait_timeout = {_IDLE_S}, group_concat_max_len = 1048576",
    "SET SESSION TRANSACTION READ ONLY",
)
_BEGIN = "START TRANSACTION READ ONLY"
_CLOCK = "SELECT UTC_TIMESTAMP(6)"
_CHARSETS = "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS WHERE ID > 0"
_COST = "SHOW SESSION STATUS LIKE 'Last_query_cost'"
_BUSY = "SHOW GLOBAL STATUS LIKE 'Threads_running'"
_REPLICA = "SHOW SLAVE STATUS"  # also known to MySQL before 8.4
_LIMITS = {True: "SET SESSION max_statement_time = %f", False: "SET SESSION max_execution_time = %f * 1000"}

_NOT_OURS = 1959  # a role that the login was not granted itself
_UNSAID = frozenset({1064, 1142, 1227})  # no such statement, no such right
_LOST = frozenset({0, 2006, 2013, 2014, 2027, 2055})  # of PyMySQL's own: the server said nothing
_ASK = "Run the view's SQL by hand with the same login."
_GONE = "Mend the view file, or have the DBA restore what it reads."
_INSIDE = "Plans of a database's own views are told to whoever has SHOW VIEW and SELECT on what is below them."
_TLS = "Check `sslmode`, `sslrootcert` and the server's certificate, and that `host` is the name in it."
_LOGIN = "Check user, password, database and what the login may read."
# By number. Source: MariaDB knowledge base, "MariaDB Error Codes"; MySQL manual, "Server Error Message Reference".
_UNAVAILABLE = frozenset({
    *_LOST, 1021, 1028, 1037, 1038, 1040, 1041, 1053, 1077, 1079, 1080, 1129, 1152, 1158, 1159, 1160, 1161, 1184, 1203,
    1205, 1213, 1226, 1290, 1317, 1412, 1615, 1836, 1927, 1969, 2002, 2003, 3024, 4031,
})  # fmt: skip
_REFUSED = {
    1044: _LOGIN, 1045: _LOGIN, 1049: _LOGIN, 1142: _LOGIN, 1143: _LOGIN, 1227: _LOGIN, 1370: _LOGIN, 1698: _LOGIN,
    1820: _LOGIN, 1862: _LOGIN, 2026: _TLS, 1051: _GONE, 1052: _GONE, 1054: _GONE, 1060: _GONE, 1146: _GONE,
    1305: _GONE, 1356: _GONE, 1792: _ASK, 1345: _INSIDE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MysqlSettings:
    """How to reach one server."""

    instance: str  # the bridge's own name, shown to the DBA as program_name
    host: str
    port: int
    database: str
    user: str
    password: Callable[[], str] | None = field(default=None, repr=False)  # asked at each connect: rotation
    sslmode: str = "disable"
    sslrootcert: str | None = None
    connect_timeout_s: int = 10
    waivers: frozenset[str] = frozenset()

    @property
    def place(self) -> str:
        """Where this leads, for messages."""
        return f"{self.host}:{self.port}/{self.database}"


class MysqlSession:
    """See `Session`."""

    # To this server 0000-00-00 in a column that takes no null IS NULL as well as IS NOT NULL.
    grammar = Grammar(quote=lambda name: "`" + name.replace("`", "``") + "`", limit="limit", is_null="<=> NULL")

    def __init__(self, settings: MysqlSettings, *, most_bytes: int = MOST_BYTES) -> None:
        self._settings = settings
        self._most_bytes = most_bytes
        self._connection: pymysql.Connection[Any] | None = None
        self._charsets: Mapping[int, str] = {}
        self._is_mariadb = False
        self._role = "NONE"  # that the login begins with, as MariaDB is told
        self._thread: int | None = None  # number of the session on the server, while there is one
        self._used_at = 0.0  # when it last asked something
        self._is_cancelled = False

    def open(self) -> None:
        """Connect, unless connected, pin the session and prove the login harmless."""
        if self._connection is not None and time.monotonic() - self._used_at > _RENEWED_S:
            self.close()
        self._used_at = time.monotonic()
        if self._connection is not None:
            return
        self._is_cancelled = False
        with self._translated(f"connecting to {self._settings.place}"):
            connection = _connect(self._settings)
            link: Any = connection  # its stub lacks what it says of itself
            self._connection, self._thread = connection, link.thread_id()
            try:
                self._is_mariadb = "mariadb" in link.get_server_info().lower()
                self._role = _role(connection) if self._is_mariadb else "NONE"
                for statement in _PINNED:
                    _run(connection, statement)
                found = self.inspect()
                self._charsets = {int(number): str(name) for number, name in _rows(connection, _CHARSETS)}
            except BaseException:
                self.close()
                raise
        refused = [f"{one.detail} [{one.fix}]" for one in found if one.level is Level.REFUSE]
        if refused:
            self.close()
            hint = f"Make a login that has SELECT alone: see docs/views-databases.md. {rights.FIX}."
            raise SourceRefused(
                "\n  ".join([f"the login {self._settings.user} is not read-only:", *refused]), hint=hint
            )

    def inspect(self) -> list[Finding]:
        """What the login could do besides reading; the session must be open."""
        connection = self._connection
        if connection is None:
            raise InternalError("the session is closed")

        def show(role: str | None) -> list[str]:
            if role is not None and self._is_mariadb:
                return _shown_as(connection, role)
            statement = "SHOW GRANTS" + (f" FOR CURRENT_USER() USING {role}" if role is not None else "")
            return [str(row[0]) for row in _rows(connection, statement)]

        found = rights.inspect(show, self._settings.user, self._settings.waivers)
        if self._is_mariadb:
            _run(connection, f"SET ROLE {self._role}")
        return found

    def prepare(self, body: Sql, *, order: frozenset[str], timeout_s: float) -> Prepared:
        """Learn the view's columns.

        FLOAT is asked for as DOUBLE, since the server prints six digits of it; ENUM and SET in an order as text, since
        they sort by number.
        """
        rows = self._statement(describe_sql(body), {}, timeout_s)[0]
        quote = self.grammar.quote
        types = [type_of(one, self._charsets) for one in rows.fields]
        forms = [_form(one, quote(one.column.name), one.column.name in order) for one in types]
        if any(form != quote(one.column.name) for form, one in zip(forms, types, strict=True)):
            wanted = ", ".join(f"{form} AS {quote(one.column.name)}" for form, one in zip(forms, types, strict=True))
            body = (f"SELECT {wanted} FROM (", *body, "\n) u")  # noqa: S608  names are quoted
            rows = self._statement(describe_sql(body), {}, timeout_s)[0]
            types = [type_of(one, self._charsets) for one in rows.fields]
        by_name = {one.column.name: one for one in types}
        return Prepared(body, {name: one.column for name, one in by_name.items()}, by_name)

    def ask(self, sql: Sql, prepared: Prepared, *, last: tuple[str, ...], timeout_s: float) -> Answer:
        """Run one statement."""
        rows, read_at, seconds = self._statement(sql, prepared.handle, timeout_s)
        types = tuple(type_of(one, self._charsets) for one in rows.fields)
        if any(prepared.columns.get(one.column.name) != one.column for one in types):  # each type is asked for its way
            raise SourceUnavailable("reading a view: its columns have changed", hint="It is asked anew.")
        batch, marks, kept = decode(rows, types, last)
        return Answer(
            columns=tuple(one.column for one in types),
            batch=batch,
            last=kept,
            read_at=read_at,
            marks=marks,
            seconds=seconds,
            size_bytes=rows.size_bytes,
            is_cut=rows.is_cut,
        )

    def plan(self, sql: Sql, prepared: Prepared, *, timeout_s: float) -> Plan:
        """How the server would run a statement: its EXPLAIN FORMAT=JSON, and the cost that the session tells of it."""
        rows, _, _ = self._statement(("EXPLAIN FORMAT=JSON ", *sql), prepared.handle, timeout_s)
        batch, _, _ = decode(rows, tuple(type_of(one, self._charsets) for one in rows.fields), ())
        with self._translated("asking for a plan"):
            cost = _rows(self._connected(), _COST)
        return plans.of_mysql(json.loads(batch.column(0)[0].as_py()), float(cost[0][1]) or None if cost else None)

    def probe(self) -> Load:
        """Sessions at work besides ours, and how far the replica that is read lags where the login may ask."""
        with self._translated("asking for the load"):
            self.open()
            connection = self._connected()
            busy = _rows(connection, _BUSY)
            try:
                with connection.cursor(DictCursor) as cursor:
                    cursor.execute(_REPLICA)
                    lags = [row.get("Seconds_Behind_Master") for row in cursor.fetchall()]
            except err.MySQLError as error:
                if _code(error) not in _UNSAID:
                    raise
                lags = []
        lag = max((math.inf if one is None else float(one) for one in lags), default=None)  # null: it stands still
        return Load(max(0, int(busy[0][1]) - 1) if busy else None, lag)

    def cancel(self) -> None:
        """KILL the session from a second one."""
        self._is_cancelled = True
        self._kill()

    def close(self) -> None:
        """End the session."""
        connection, self._connection, self._thread = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(err.MySQLError, OSError):
                connection.close()

    def _statement(self, sql: Sql, types: Mapping[str, Type], timeout_s: float) -> tuple[Rows, datetime, float]:
        """One statement in a transaction of its own, rolled back: its rows, the server's clock, how long it took."""

        def hold(value: Value, _: int) -> str:
            return literal(value, types.get(value.column) if value.column else None)

        text = rendered(sql, hold)[0]
        with self._translated("reading a view"):
            self.open()
            connection = self._connected()
            try:
                return self._transact(connection, text, timeout_s)
            except BaseException as error:
                if not isinstance(error, err.MySQLError) or _code(error) in _LOST:
                    self._kill()  # it may still be at work for us
                self.close()
                raise

    def _transact(
        self, connection: "pymysql.Connection[Any]", text: str, timeout_s: float
    ) -> tuple[Rows, datetime, float]:
        limit = _LIMITS[self._is_mariadb] % timeout_s
        link: Any = connection
        link._read_timeout = timeout_s + _GRACE_S  # noqa: SLF001  PyMySQL takes it at connect only
        for statement in (limit, _BEGIN):
            _run(connection, statement)
        read_at: datetime = _rows(connection, _CLOCK)[0][0]
        began = time.monotonic()
        rows = ask(connection, text, most_bytes=self._most_bytes)
        seconds = time.monotonic() - began
        if rows.is_cut:
            self._kill()
            self.close()
        else:
            _run(connection, "ROLLBACK")
        return rows, read_at.replace(tzinfo=UTC), seconds

    def _connected(self) -> "pymysql.Connection[Any]":
        if self._connection is None:
            raise InternalError("the session is closed")
        return self._connection

    def _kill(self) -> None:
        """End the session on the server, with whatever it runs; it may be gone already."""
        thread = self._thread
        if thread is None:
            return
        with contextlib.suppress(err.MySQLError, OSError):
            second = _connect(self._settings, timeout_s=_KILL_TIMEOUT_S)
            try:
                _run(second, f"KILL {int(thread)}")
            finally:
                second.close()

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (err.MySQLError, OSError) as error:
            if self._is_cancelled:
                raise SourceUnavailable(f"{doing}: cancelled", hint="It is asked again when it may be.") from error
            raise translate(error, doing) from error


def translate(error: Exception, doing: str) -> BridgeError:
    """The bridge's error for one of PyMySQL's; total. Messages that may quote a row's value are left out."""
    code = _code(error)
    said = " ".join(str(error.args[1] if len(error.args) > 1 else error).split())
    if isinstance(
        getattr(error, "original_exception", None), ssl.SSLCertVerificationError
    ):  # it answers: waiting does not help
        return SourceRefused(f"{doing}: {said} ({code})", hint=_TLS)
    if code in _UNAVAILABLE or not isinstance(error, err.MySQLError) or isinstance(error, err.InterfaceError):
        return SourceUnavailable(f"{doing}: {said} ({code})" if code else f"{doing}: {said}")
    if code in _REFUSED:
        return SourceRefused(f"{doing}: {said} ({code})", hint=_REFUSED[code])
    return SourceRefused(f"{doing}: the server answered with error {code}", hint=_ASK)


def _code(error: BaseException) -> int:
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def _connect(settings: MysqlSettings, *, timeout_s: int | None = None) -> "pymysql.Connection[Any]":
    context = _tls(settings)
    connection: pymysql.Connection[Any] = pymysql.connect(
        host=settings.host,
        port=settings.port,
        database=settings.database,
        user=settings.user,
        password=settings.password() if settings.password else "",
        charset="utf8mb4",
        connect_timeout=timeout_s or settings.connect_timeout_s,
        read_timeout=timeout_s or settings.connect_timeout_s,
        write_timeout=timeout_s or settings.connect_timeout_s,
        program_name=f"legacy-bridge/{settings.instance}",
        local_infile=False,
        ssl=context,
        ssl_disabled=context is None,
        autocommit=None,
    )
    link: Any = connection
    if context is not None and not isinstance(link._sock, ssl.SSLSocket):  # noqa: SLF001  it goes on in clear text
        connection.close()
        raise SourceRefused("the server offers no TLS", hint="Have it set up, or set `sslmode: disable`.")
    return connection


def _tls(settings: MysqlSettings) -> ssl.SSLContext | None:
    if settings.sslmode == "disable":
        return None
    context = ssl.create_default_context(cafile=settings.sslrootcert)
    context.check_hostname = settings.sslmode == "verify-full"
    if settings.sslmode == "require":
        context.verify_mode = ssl.CERT_NONE
    return context


def _role(connection: "pymysql.Connection[Any]") -> str:
    (found,) = _rows(connection, "SELECT CURRENT_ROLE()")[0]
    return "`" + str(found).replace("`", "``") + "`" if found else "NONE"


def _shown_as(connection: "pymysql.Connection[Any]", role: str) -> list[str]:
    """The grants of a role: MariaDB shows them, with those of the roles in it, to whoever has taken it."""
    try:
        _run(connection, f"SET ROLE {role}")
    except err.MySQLError as error:
        if _code(error) == _NOT_OURS:
            return []  # it came with a role that was taken, and what it grants has been shown
        raise
    return [str(row[0]) for row in _rows(connection, "SHOW GRANTS")]


def _run(connection: "pymysql.Connection[Any]", statement: str) -> None:
    connection.query(statement)


def _rows(connection: "pymysql.Connection[Any]", statement: str) -> tuple[tuple[Any, ...], ...]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return tuple(cursor.fetchall())


def _form(type_: Type, name: str, is_ordering: bool) -> str:  # noqa: FBT001  one private caller
    if type_.column.type == "float":
        return f"{name} + 0e0"
    is_numbered = type_.column.type.startswith(("enum ", "set "))
    return f"CAST({name} AS CHAR)" if is_ordering and is_numbered else name
