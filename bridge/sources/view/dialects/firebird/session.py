"""A guarded session on Firebird.

The login's privileges are looked up first and a login that could write is refused. Every statement runs alone in a
read-only transaction that waits for no lock and is rolled back. Firebird 3 knows no time limit of statements: ours
cancels it from another thread, over the same connection.
"""

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from datetime import time as clock
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from firebird import driver
from firebird.driver import fbapi
from firebird.driver.types import (
    BlobInfoCode,
    CancelType,
    Error,
    Isolation,
    StatementType,
    StateResult,
    TraAccessMode,
)

from bridge.errors import BridgeError, InternalError, SourceRefused, SourceUnavailable
from bridge.extraction.extractor import Load
from bridge.findings import Finding, Level
from bridge.model import Marks
from bridge.sources.view.dialects import plans
from bridge.sources.view.dialects.blocks import Gathered, Kind, kept, restored
from bridge.sources.view.dialects.firebird import rights
from bridge.sources.view.dialects.firebird.columns import Item, decode, item_of
from bridge.sources.view.paging import Grammar, describe_sql
from bridge.sources.view.plan import Plan
from bridge.sources.view.session import MOST_BYTES, Answer, Prepared
from bridge.sources.view.statement import Sql, Value, rendered

_PATIENCE_S = 0.3  # between asking a statement to end and ending its connection
_BLOCK_BYTES, _BLOCK_ROWS = 4 << 20, 8192  # of messages that are decoded together
_BUSY = """
SELECT COUNT(*) FROM MON$STATEMENTS WHERE MON$STATE = 1 AND MON$ATTACHMENT_ID <> CURRENT_CONNECTION
"""
_CODECS = {"WIN1250": "cp1250", "WIN1251": "cp1251", "WIN1252": "cp1252", "WIN1253": "cp1253", "WIN1254": "cp1254",
    "WIN1257": "cp1257", "DOS437": "cp437", "DOS850": "cp850", "DOS852": "cp852", "DOS866": "cp866", "UTF8": "utf-8",
    "UNICODE_FSS": "utf-8", "ASCII": "ascii", "NONE": "ascii"}  # fmt: skip
_NO_ITEMS: Mapping[str, Item] = MappingProxyType({})
_READING = driver.tpb(Isolation.SNAPSHOT, lock_timeout=0, access_mode=TraAccessMode.READ)


@dataclass(frozen=True, slots=True)
class FirebirdSettings:
    """How to reach one database."""

    host: str
    port: int
    database: str  # its path on the server, or its alias
    user: str
    password: Callable[[], str] | None = field(default=None, repr=False)  # asked at each connect: rotation
    role: str | None = None
    charset: str = "UTF8"  # of text whose column declares none
    waivers: frozenset[str] = frozenset()

    @property
    def place(self) -> str:
        """Where this leads, for messages."""
        return f"{self.host}/{self.port}:{self.database}"


@dataclass(frozen=True, slots=True)
class _Running:
    """A statement whose rows wait to be fetched."""

    statement: Any  # the driver's, as what follows
    cursor: Any
    transaction: Any
    items: list[Item]


class FirebirdSession:
    """See `Session`."""

    grammar = Grammar(quote=lambda name: '"' + name.replace('"', '""') + '"', limit="fetch")

    def __init__(self, settings: FirebirdSettings, *, most_bytes: int = MOST_BYTES) -> None:
        self._settings = settings
        self._most_bytes = most_bytes
        self._codec = _CODECS.get(settings.charset.upper(), settings.charset)
        self._connection: Any = None  # the driver's; what is asked of it has no types
        self._is_cancelled = False
        self._is_done = threading.Event()
        self._is_done.set()

    def open(self) -> None:
        """Connect, unless connected, and prove the login harmless."""
        if self._connection is not None:
            return
        self._is_cancelled = False
        settings = self._settings
        with self._translated(f"connecting to {settings.place}"):
            password = settings.password() if settings.password else None
            self._connection = driver.connect(
                settings.place, user=settings.user, password=password, role=settings.role, charset="UTF8"
            )
            try:
                found = self.inspect()
            except BaseException:
                self.close()
                raise
        if refused := [f"{one.subject}: {one.detail} [{one.fix}]" for one in found if one.level is Level.REFUSE]:
            self.close()
            hint = "Make a login that has SELECT alone: see docs/views-databases.md."
            raise SourceRefused("\n  ".join([f"the login {settings.user} is not read-only:", *refused]), hint=hint)

    def inspect(self) -> list[Finding]:
        """What the login could do besides reading."""
        with self._transaction() as transaction:
            cursor = transaction.cursor()
            account = cursor.execute(rights.ACCOUNT).fetchone()

            def ask(grantee: str) -> Sequence[rights.Privilege]:
                return list(cursor.execute(rights.PRIVILEGES, (grantee,)).fetchall())

            found = rights.inspect(account, ask, self._settings.waivers)
            cursor.close()
        return found

    def prepare(self, body: Sql, *, order: frozenset[str], timeout_s: float) -> Prepared:  # noqa: ARG002  sorts as it compares
        """Learn the view's columns."""
        with self._translated("preparing a view"), self._running(describe_sql(body), timeout_s) as running:
            items = running.items
        by_name = {item.column.name: item for item in items}
        return Prepared(body, {name: item.column for name, item in by_name.items()}, by_name)

    def ask(self, sql: Sql, prepared: Prepared, *, last: tuple[str, ...], timeout_s: float) -> Answer:
        """Run one statement."""
        read_at, began = datetime.now(UTC), time.monotonic()
        with self._translated("reading a view"), self._running(sql, timeout_s, prepared.handle) as running:
            gathered, is_cut = self._read(running)
        batch, marks = gathered.batch(), gathered.marks()
        return Answer(
            columns=tuple(item.column for item in running.items),
            batch=batch,
            last={name: _last(batch.column(name), marks.get(name)) for name in last} if batch.num_rows else {},
            read_at=read_at,
            marks=marks,
            seconds=time.monotonic() - began,
            size_bytes=gathered.size_bytes,
            is_cut=is_cut,
        )

    def plan(self, sql: Sql, prepared: Prepared, *, timeout_s: float) -> Plan:
        """How the server would run a statement: it is prepared and not started; nothing is estimated."""
        with (
            self._translated("asking for a plan"),
            self._prepared(_bound(sql, prepared.handle)[0], timeout_s) as (statement, _),
        ):
            return plans.of_firebird(statement.detailed_plan)

    def probe(self) -> Load:
        """Other sessions' statements that run, as far as the login may see them."""
        with self._translated("asking for the load"), self._transaction() as transaction:
            cursor = transaction.cursor()
            busy = int(cursor.execute(_BUSY).fetchone()[0])
            cursor.close()
        return Load(busy_sessions=busy)

    def cancel(self) -> None:
        """Cancel what runs."""
        self._is_cancelled = True
        self._stop()

    def close(self) -> None:
        """End the session."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Error):
                connection.close()

    @contextmanager
    def _running(self, sql: Sql, timeout_s: float, items: Mapping[str, Item] = _NO_ITEMS) -> Iterator["_Running"]:
        """One statement that was started. Raises: SourceRefused unless it only reads."""
        text, values = _bound(sql, items)
        with self._prepared(text, timeout_s) as (statement, transaction):
            cursor = transaction.cursor()
            try:
                found = [item_of(one, self._codec) for one in statement._out_desc]  # noqa: SLF001
                cursor.execute(statement, values or None)
                yield _Running(statement, cursor, transaction, found)
            finally:
                with contextlib.suppress(Error):
                    cursor.close()

    @contextmanager
    def _prepared(self, text: str, timeout_s: float) -> Iterator[tuple[Any, Any]]:
        """One statement and its transaction. Raises: SourceRefused unless it only reads."""
        with self._limited(timeout_s), self._transaction() as transaction:
            statement = self._connected()._prepare(text, transaction)  # noqa: SLF001  what it is shows before it runs
            try:
                if statement.type is not StatementType.SELECT:
                    raise SourceRefused("this is no statement that only reads", hint="A view file holds one SELECT.")
                yield statement, transaction
            finally:
                try:
                    statement.free()
                except Error:
                    statement._istmt = None  # noqa: SLF001  it went with its connection

    def _read(self, running: "_Running") -> tuple[Gathered, bool]:
        """Let the library put messages into memory one behind the other, and decode them together."""
        stride = -(-running.statement._out_meta.get_message_length() // 8) * 8  # noqa: SLF001  the driver itself makes a
        count = max(1, min(_BLOCK_ROWS, min(_BLOCK_BYTES, self._most_bytes) // stride))  # Python value of each cell
        gathered = Gathered([Kind(item.column, _no_value) for item in running.items])
        att, tra = self._connected()._att, running.transaction._tra  # noqa: SLF001
        fetch, is_over = running.cursor._result.fetch_next, False  # noqa: SLF001
        while not is_over:
            memory = np.empty((count, stride), np.uint8)
            rows, base = 0, memory.ctypes.data
            while rows < count:
                if fetch(base + rows * stride) != StateResult.OK:
                    is_over = True
                    break
                rows += 1
            if rows:
                gathered.add(*decode(memory[:rows], running.items, lambda blob: _contents(att, tra, blob)))
            if gathered.size_bytes > self._most_bytes:
                return gathered, not is_over
        return gathered, False

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """A read-only look, rolled back."""
        transaction = self._connected().transaction_manager(_READING)
        transaction.begin()
        try:
            yield transaction
        finally:
            with contextlib.suppress(Error):
                transaction.close()

    @contextmanager
    def _limited(self, timeout_s: float) -> Iterator[None]:
        """Stop what runs longer."""
        timer = threading.Timer(timeout_s, self._stop)
        timer.daemon = True
        self._is_done.clear()
        timer.start()
        try:
            yield
        finally:
            self._is_done.set()
            timer.cancel()

    def _stop(self) -> None:
        """Cancel what runs; where the server is deaf to that (while it sorts, Firebird 3 is), end the connection."""
        connection = self._connection
        if connection is None:
            return
        with contextlib.suppress(Error, AttributeError):  # it may just be closing
            connection._att.cancel_operation(CancelType.RAISE)  # noqa: SLF001  the driver has no public way
            if not self._is_done.wait(_PATIENCE_S):
                connection._att.cancel_operation(CancelType.ABORT)  # noqa: SLF001

    def _connected(self) -> Any:  # noqa: ANN401  as above
        self.open()
        if self._connection is None:
            raise InternalError("the session is closed")
        return self._connection

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except Error as error:
            was_cancelled = self._is_cancelled
            self.close()
            if was_cancelled:
                raise SourceUnavailable(f"{doing}: cancelled", hint="It is asked again when it may be.") from error
            raise translate(error, doing) from error


def translate(error: Error, doing: str) -> BridgeError:
    """The bridge's error for one of the driver's; total."""
    codes = set(getattr(error, "gds_codes", ()) or ())
    if codes & _UNAVAILABLE or not codes:
        return SourceUnavailable(f"{doing}: {_said(error)}")
    if codes & _NAMED:
        return SourceRefused(f"{doing}: {_said(error)}", hint="Check login, rights and what the view reads.")
    return SourceRefused(f"{doing}: the server answered {min(codes)}", hint="Run the view's SQL by hand.")


# gds codes. Source: Firebird 3 language reference, appendix "Error Codes".
_UNAVAILABLE = frozenset({
    335544345, 335544336, 335544451, 335544721, 335544722, 335544726, 335544727, 335544741, 335544794, 335544856,
    335544375, 335544344, 335544528,
})  # fmt: skip
_NAMED = frozenset({335544352, 335544472, 335544580, 335544578, 335544569, 335544351, 335544343, 335544361})


def _said(error: Error) -> str:
    return " ".join(str(error).split())


def _contents(att: Any, tra: Any, id_: bytes) -> bytes:  # noqa: ANN401  the driver's
    """A BLOB, whole."""
    blob = att.open_blob(
        tra, fbapi.ISC_QUAD(int.from_bytes(id_[:4], "little", signed=True), int.from_bytes(id_[4:8], "little"))
    )
    try:
        total, largest = blob.get_info2(BlobInfoCode.TOTAL_LENGTH), blob.get_info2(BlobInfoCode.MAX_SEGMENT)
        held, came, at = ctypes.create_string_buffer(max(1, total)), fbapi.Cardinal(0), 0
        while at < total:
            blob.get_segment(min(largest, total - at), ctypes.byref(held, at), came)
            at += came.value
        return held.raw[:total]
    finally:
        blob.close()


def _last(cells: pa.Array, marks: Marks | None) -> Any:  # noqa: ANN401  what JSON can keep
    """The last of a column's values; of one that is marked, the bytes by which the server sorts it."""
    is_marked = marks is not None and marks.rows[-1] == len(cells) - 1
    return kept(marks.raw[-1] if marks is not None and is_marked else cells[-1].as_py())


def _bound(sql: Sql, items: Mapping[str, Item]) -> tuple[str, list[Any]]:
    """The statement and what is bound: numbers and times of parameters are literals, since a `?` alone has no type."""
    values: list[Any] = []

    def hold(value: Value, _: int) -> str:
        plain = restored(value.value)
        if value.column is None and not isinstance(plain, str):
            return _literal(plain)
        values.append(_binding(plain, items.get(value.column or "")))
        return "?" if value.column else "CAST(? AS VARCHAR(8000) CHARACTER SET UTF8)"

    return rendered(sql, hold)[0], values


def _binding(plain: Any, item: Item | None) -> Any:  # noqa: ANN401  what the driver takes
    """A value as the server compares it: the driver knows no date before 1858, and no character set but its own."""
    if isinstance(plain, datetime):
        return plain.isoformat(" ", "microseconds")[:-2]
    if isinstance(plain, clock):
        return plain.isoformat("microseconds")[:-2]
    if isinstance(plain, date):
        return plain.isoformat()
    if isinstance(plain, str) and item is not None and item.codec is not None:
        with contextlib.suppress(UnicodeEncodeError):  # then no row has it
            return plain.encode(item.codec)
    return plain


def _literal(plain: Any) -> str:  # noqa: ANN401  one of `parameters.TYPES`
    if plain is None:
        return "NULL"
    if isinstance(plain, bool):
        return "TRUE" if plain else "FALSE"
    if isinstance(plain, (int, Decimal)):
        return format(plain, "f") if isinstance(plain, Decimal) else str(plain)
    if isinstance(plain, datetime):
        naive = plain.astimezone(UTC).replace(tzinfo=None) if plain.tzinfo else plain
        return f"TIMESTAMP '{naive.isoformat(' ', 'milliseconds')}'"
    if isinstance(plain, date):
        return f"DATE '{plain.isoformat()}'"
    raise InternalError(f"a parameter is of the Python type {type(plain).__name__}")


def _no_value(value: Any) -> Any:  # noqa: ANN401  never called: messages are decoded by column
    return value
