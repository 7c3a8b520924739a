"""Sessions on a legacy PostgreSQL: how they are opened, pinned, kept from writing, and how their errors read.

Every way libpq knows to find a server and a password works (PG* variables, .pgpass, service files, TLS, client
certificates): what is not set here is not passed. The settings that shape values are pinned by a statement and not at
start-up, since libpq lets PGDATESTYLE and PGTZ overrule start-up options. Knows nothing of tables or slots.
"""

import os
import re
import select
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.adapt import Buffer, Dumper, Loader

from bridge.errors import BridgeError, ConfigError, InternalError, PositionLost, SourceRefused, SourceUnavailable
from bridge.postgres.types import PINNED_SETTINGS

Connection = psycopg.Connection[tuple[Any, ...]]

# A SQL session waits for nobody's lock, and neither a lost query nor a lost session lingers on the legacy server.
GUARDED_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "default_transaction_read_only": "on",
        "statement_timeout": "60s",
        "lock_timeout": "2s",
        "idle_in_transaction_session_timeout": "60s",
    }
)
# No search path: a name in our SQL never means an object that somebody put in front of it.
_SEARCH_PATH = {"search_path": "pg_catalog"}
# A dead peer is noticed within about 30 s, also while we only receive.
_KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4, "tcp_user_timeout": 30_000}
_CONNECT_TIMEOUT_S = 10
_CANCEL_S = 1.0
_IDLE_TIMEOUT_SINCE = 140000  # server_version_num


@dataclass(frozen=True, slots=True)
class ConnectSettings:
    """How to reach one system; None means: as libpq finds it."""

    instance: str  # the bridge's own name, shown to the DBA in pg_stat_activity
    host: str | None = None
    port: int | None = None
    database: str | None = None
    user: str | None = None
    password: Callable[[], str] | None = field(default=None, repr=False)  # asked at each connect: rotation
    sslmode: str | None = None
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None
    passfile: str | None = None
    service: str | None = None
    connect_timeout_s: int | None = None

    @property
    def place(self) -> str:
        """Where this leads, for messages; never the password."""
        return f"{self.host or self.service or 'PGHOST'}:{self.port or 'default'}/{self.database or 'default'}"


def connect(settings: ConnectSettings, *, purpose: str, replication: bool = False) -> Connection:
    """Open one session, autocommit, pinned, and named legacy-bridge/<instance>/<purpose>.

    Args:
        settings: where and as whom.
        purpose: what the session is for, e.g. "stream", "guard"; seen by the DBA.
        replication: a logical replication session: replication commands and simple queries only; its `pgconn` streams.
            Without it the session is a SQL session, read-only by default and limited in time.
    Raises: SourceUnavailable, SourceRefused, ConfigError for a libpq parameter that does not exist.
    """
    values = {**PINNED_SETTINGS, **_SEARCH_PATH} | ({} if replication else dict(GUARDED_SETTINGS))
    with translated(f"connecting to {settings.place}"):
        connection = psycopg.connect(**_parameters(settings, purpose, replication=replication))
        try:
            connection.prepare_threshold = None
            if connection.info.server_version >= _IDLE_TIMEOUT_SINCE:
                values["idle_session_timeout"] = "0"  # ours sit idle while nothing happens
            if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
                values["client_encoding"] = "SQL_ASCII"
                _take_any_bytes(connection)
            calls = [
                sql.SQL("pg_catalog.set_config({}, {}, false)").format(sql.Literal(name), sql.Literal(value))
                for name, value in values.items()
            ]
            connection.execute(sql.SQL("SELECT ") + sql.SQL(", ").join(calls))
        except BaseException:
            connection.close()
            raise
    return connection


def cancel(connection: Connection) -> None:
    """End what runs on a session, if anything does; callable from any thread."""
    with suppress(psycopg.Error):
        connection.cancel_safe(timeout=_CANCEL_S)


def hear_of_shutdown(idle: Connection) -> None:
    """A server that stops ends its idle sessions first, and then waits until a streaming one has confirmed all.

    That may be long when the journal takes nothing, so we hang up as soon as the idle session ends (I10).
    """
    if select.select([idle.fileno()], [], [], 0)[0]:
        with translated("listening for a shutdown"):
            idle.pgconn.consume_input()


class _AnyTextLoader(Loader):
    """Text of no known encoding as str; `encode("utf-8", "surrogateescape")` gives its bytes back."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "surrogateescape")


class _AnyTextDumper(Dumper):
    """The way back."""

    def dump(self, obj: str) -> bytes:
        return obj.encode("utf-8", "surrogateescape")


def _take_any_bytes(connection: Connection) -> None:
    """Read and write text as UTF-8 where it is, on a session whose encoding is SQL_ASCII: psycopg gives bytes there."""
    for name in ("text", "varchar", "bpchar", "name", "pg_lsn"):
        connection.adapters.register_loader(name, _AnyTextLoader)
    connection.adapters.register_dumper(str, _AnyTextDumper)


@contextmanager
def read_only(connection: Connection, *, per_statement: bool = False) -> Iterator[None]:
    """One consistent, read-only look at the database, always rolled back.

    The first query in the same batch takes the snapshot, and after it PostgreSQL refuses to make the transaction
    writable again. It does not stop notifications and advisory locks; missing grants do the rest (I9).

    Args:
        per_statement: every statement looks at the database anew.
    """
    isolation: LiteralString = "READ COMMITTED" if per_statement else "REPEATABLE READ"
    connection.execute("BEGIN ISOLATION LEVEL " + isolation + " READ ONLY; SELECT 1")
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("ROLLBACK")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn what psycopg raises into the bridge's own errors; the one place that does.

    Args:
        doing: what was tried, for the message: "reading the catalog of erp".
    """
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, doing) from error


def translate(error: psycopg.Error, doing: str) -> BridgeError:
    """The bridge's error for one of psycopg's; total: what is not listed is an InternalError.

    By SQLSTATE, from the whole code to its class. libpq gives no SQLSTATE for a connection that fails, only text in
    the server's language: English reasons for a refusal are known, anything else is taken as "not available now".
    """
    state = error.sqlstate
    if state is None:
        return _translate_stateless(error, doing)
    if _history_is_gone(error, state):
        return PositionLost(f"{doing}: {_said(error)} ({state})")
    kind = _STATES.get(state) or _STATES.get(state[:2]) or InternalError
    if kind is InternalError:  # such a text may quote a row's value
        return InternalError(f"{doing}: the server answered {type(error).__name__} ({state})")
    return kind(f"{doing}: {_said(error)} ({state})", hint=_HINTS.get(state))


# By SQLSTATE or its first two characters. Source: PostgreSQL manual, appendix "Error Codes".
_STATES: Mapping[str, type[BridgeError]] = MappingProxyType(
    {
        "08": SourceUnavailable,  # connection exceptions
        "0A000": SourceRefused,  # e.g. the slot belongs to another database
        "25P03": SourceUnavailable,  # our transaction sat idle too long
        "28": SourceRefused,  # wrong password, no pg_hba.conf entry
        "3D000": SourceRefused,  # no such database
        "3F000": SourceRefused,  # no such schema
        "40": SourceUnavailable,  # serialisation failure, deadlock, conflict with recovery on a standby
        "42501": SourceRefused,  # permission denied
        "42703": SourceRefused,  # the column is gone
        "42704": SourceRefused,  # the publication is gone
        "42710": SourceRefused,  # the slot exists already
        "42883": SourceRefused,  # a function this server does not have
        "42P01": SourceRefused,  # the table is gone
        "53": SourceUnavailable,  # out of memory, disk or connections
        "53400": SourceRefused,  # all replication slots are taken
        "55": SourceUnavailable,  # lock not available, object in use
        "55000": SourceRefused,  # wal_level is not logical
        "57": SourceUnavailable,  # shutdown, start-up, cancelled by a timeout
        "58": SourceUnavailable,  # the server's own disk
        "XX": SourceRefused,  # the server is broken or its data damaged; trying again does not mend it
    }
)
_HINTS: Mapping[str, str] = MappingProxyType(
    {
        "53400": "Raise max_replication_slots or max_wal_senders on the legacy server, or drop a slot nobody uses.",
        "55000": "Set wal_level = logical on the legacy server and restart it.",
        "55006": "Another session reads it, of this bridge or another: pg_replication_slots has its process.",
        "55P03": "Somebody holds a lock on the table: pg_locks has the process. It is asked for again.",
        "57014": "A statement took longer than its statement_timeout, or was cancelled. For a view see `view explain`:"
        " give it an index, fewer page_rows, or more time in its header.",
        "XX000": "Show the message to the DBA: the legacy server reports a fault of its own.",
        "XX001": "Show the message to the DBA: the legacy server reports damaged data.",
        "XX002": "Show the message to the DBA: the legacy server reports a damaged index.",
    }
)
# The function that reported it tells these apart in any language; the text covers servers before 18.
_SLOT_LOOKUPS = frozenset({"ReplicationSlotAcquire", "ReplicationSlotAcquireInternal", "ReplicationSlotDrop"})
_SLOT_INVALIDATED = re.compile(
    r"can no longer (access|get changes from) replication slot|cannot read from .*repl.* slot"
)

_REFUSALS = re.compile(
    r"authentication failed|no password supplied|pg_hba\.conf|permission denied|must be superuser|does not exist"
    r"|is not permitted to log in|SSL was required|does not support SSL|certificate|root\.crt|private key"
    r"|no PostgreSQL user name|definition of service|SCRAM|channel binding"
    r"|alert (unknown ca|handshake failure|protocol version|access denied)",  # the other side's TLS refuses ours
    re.IGNORECASE,
)
_MISTAKES = re.compile(r"invalid .* value|invalid (connection|URI)|invalid integer|missing \"=\"", re.IGNORECASE)


def _history_is_gone(error: psycopg.Error, state: str) -> bool:
    function = error.diag.source_function or ""
    if state == "58P01":
        return function == "WalSndSegmentOpen"
    if state == "42704":
        return function in _SLOT_LOOKUPS
    return state == "55000" and (function == "ReplicationSlotAcquire" or bool(_SLOT_INVALIDATED.search(_said(error))))


def _translate_stateless(error: psycopg.Error, doing: str) -> BridgeError:
    detail = f"{doing}: {_said(error)}"
    if isinstance(error, psycopg.ProgrammingError) or _MISTAKES.search(detail):
        return ConfigError(detail)
    if isinstance(error, psycopg.OperationalError):
        if _REFUSALS.search(detail) or (error.pgconn is not None and error.pgconn.needs_password):
            return SourceRefused(detail, hint="Check user, password, database, TLS settings and pg_hba.conf.")
        return SourceUnavailable(detail)
    if isinstance(error, psycopg.InterfaceError) or type(error) is psycopg.DatabaseError:
        return SourceUnavailable(detail)  # the connection is closed; libpq itself made the last result
    return InternalError(f"{doing}: {type(error).__name__}")


def _said(error: psycopg.Error) -> str:
    """The server's or libpq's message on one line; neither ever holds a password."""
    return " ".join((error.diag.message_primary or str(error)).split())


def _parameters(settings: ConnectSettings, purpose: str, *, replication: bool) -> dict[str, Any]:
    given: dict[str, str | int | None] = {
        "host": settings.host,
        "port": settings.port,
        "dbname": settings.database,
        "user": settings.user,
        "password": settings.password() if settings.password else None,
        "sslmode": settings.sslmode,
        "sslrootcert": settings.sslrootcert,
        "sslcert": settings.sslcert,
        "sslkey": settings.sslkey,
        "passfile": settings.passfile,
        "service": settings.service,
        "connect_timeout": settings.connect_timeout_s,
        "replication": "database" if replication else None,
    }
    if settings.connect_timeout_s is None and "PGCONNECT_TIMEOUT" not in os.environ:
        given["connect_timeout"] = _CONNECT_TIMEOUT_S
    set_values = {name: value for name, value in given.items() if value is not None}
    application_name = f"legacy-bridge/{settings.instance}/{purpose}"
    return {**set_values, **_KEEPALIVE, "application_name": application_name, "autocommit": True}
