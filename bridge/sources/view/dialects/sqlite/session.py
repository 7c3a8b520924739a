"""A guarded session on a SQLite file.

The file is opened read-only, and an authoriser lets nothing through but the reading of columns, harmless functions and
recursive queries: no ATTACH, no PRAGMA, no transaction, no extension. Each call takes one statement. A cancel and the
time limit end it at SQLite's own checkpoints.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import apsw.ext

from bridge.errors import BridgeError, InternalError, SourceRefused, SourceUnavailable
from bridge.extraction.extractor import Load
from bridge.sources.view.dialects import plans
from bridge.sources.view.dialects.blocks import Gathered, Kind, blocks, convert
from bridge.sources.view.dialects.sqlite.literals import bound, kept_of
from bridge.sources.view.dialects.sqlite.types import kind_of, quote, read_text
from bridge.sources.view.paging import Grammar, describe_sql
from bridge.sources.view.plan import Plan
from bridge.sources.view.session import MOST_BYTES, Answer, Prepared
from bridge.sources.view.statement import Sql

_BUSY_MS = 2000
_STEPS = 2000  # of SQLite's machine between two looks at the clock: about a tenth of a millisecond
_LONGEST = 256 << 20  # of a value

_ALLOWED = frozenset({apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_RECURSIVE})
_HARMFUL = frozenset({
    "load_extension", "writefile", "readfile", "edit", "eval", "fts3_tokenizer", "sqlite_log", "lsmode", "fsdir",
    "zipfile", "sqlar_uncompress", "shell_add_schema", "icu_load_collation",
})  # fmt: skip


class SqliteSession:
    """See `Session`."""

    grammar = Grammar(quote=quote, limit="limit", has_row_values=True)

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._connection: apsw.Connection | None = None
        self._file: tuple[int, int] | None = None  # that is open: device and number
        self._until: float | None = None  # when the running statement has to end, by time.monotonic
        self._is_cancelled = False

    @property
    def is_working(self) -> bool:
        """Whether a statement runs."""
        return self._until is not None

    def open(self) -> None:
        """Open the file read-only, unless it is open, and put up the guard; one that took its place is opened anew."""
        file = _number_of(self._path)
        if self._connection is not None and file == self._file:
            return
        self.close()
        self._file, self._is_cancelled = file, False
        with self._translated(f"opening {self._path}"):
            connection = apsw.Connection(f"{self._path.absolute().as_uri()}?mode=ro", flags=_FLAGS)
            self._connection = connection
            try:
                guard(connection)
                connection.set_progress_handler(self._has_to_end, _STEPS)
                connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchall()
            except BaseException:
                self.close()
                raise

    def prepare(self, body: Sql, *, order: frozenset[str], timeout_s: float) -> Prepared:  # noqa: ARG002  nothing runs
        """Learn the view's columns."""
        text, values = bound(describe_sql(body))
        with self._translated("preparing a view"):
            kinds = _kinds(self._connected(), text, values)
        by_name = {kind.column.name: kind for kind in kinds}
        return Prepared(body, {name: kind.column for name, kind in by_name.items()}, by_name)

    def ask(self, sql: Sql, prepared: Prepared, *, last: tuple[str, ...], timeout_s: float) -> Answer:
        """Run one statement."""
        text, values = bound(sql, prepared.handle)
        read_at, began = datetime.now(UTC), time.monotonic()
        with self._translated("reading a view"):
            connection = self._connected()
            self._until = began + timeout_s
            try:
                try:
                    kinds = _kinds(connection, text, values)
                    gathered, final, is_cut = self._read(connection, text, values, kinds)
                except UnicodeDecodeError:  # the driver gives up at text that is none
                    gathered, final, is_cut = self._read(
                        connection, _spelled(text, kinds), values, kinds, read=read_text
                    )
            finally:
                self._until = None
        names = [kind.column.name for kind in gathered.kinds]
        return Answer(
            columns=tuple(kind.column for kind in gathered.kinds),
            batch=gathered.batch(),
            last={name: kept_of(final[names.index(name)]) for name in last} if final is not None else {},
            read_at=read_at,
            marks=gathered.marks(),
            seconds=time.monotonic() - began,
            size_bytes=gathered.size_bytes,
            is_cut=is_cut,
        )

    def plan(self, sql: Sql, prepared: Prepared, *, timeout_s: float) -> Plan:  # noqa: ARG002  nothing runs
        """How it would run a statement: its EXPLAIN QUERY PLAN, which estimates nothing."""
        text, values = bound(sql)
        with self._translated("asking for a plan"):
            return plans.of_sqlite(self._connected().execute("EXPLAIN QUERY PLAN " + text, values).fetchall())

    def probe(self) -> Load:
        """A file says nothing of its load."""
        return Load()

    def cancel(self) -> None:
        """Interrupt what runs."""
        self._is_cancelled = True
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(apsw.Error):
                connection.interrupt()

    def close(self) -> None:
        """Close the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(force=True)

    def _read(
        self,
        connection: apsw.Connection,
        text: str,
        values: Sequence[Any],
        kinds: Sequence[Kind],
        *,
        read: Callable[[Any], Any] | None = None,
    ) -> tuple[Gathered, Sequence[Any] | None, bool]:
        gathered = Gathered(kinds)
        final: Sequence[Any] | None = None
        cursor = connection.cursor()
        try:
            for rows in blocks(cursor.execute(text, values)):
                block = rows if read is None else [tuple(map(read, row)) for row in rows]
                gathered.add(*convert(block, gathered.kinds))
                final = block[-1]
                if gathered.size_bytes > self._most_bytes:
                    return gathered, final, True
            return gathered, final, False
        finally:
            cursor.close(force=True)

    def _connected(self) -> apsw.Connection:
        self.open()
        if self._connection is None:
            raise InternalError("the session is closed")
        return self._connection

    def _has_to_end(self) -> bool:
        return self._is_cancelled or (self._until is not None and time.monotonic() > self._until)

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except apsw.Error as error:
            was_cancelled = self._is_cancelled
            self.close()
            if was_cancelled:
                raise SourceUnavailable(f"{doing}: cancelled", hint="It is asked again when it may be.") from error
            raise translate(error, doing) from error


_FLAGS = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI


def _number_of(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one of its name; None where there is none that we may see."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def guard(connection: apsw.Connection) -> None:
    """Let a connection do nothing but read."""
    connection.set_busy_timeout(_BUSY_MS)
    connection.enable_load_extension(False)  # noqa: FBT003  takes it by position only
    for statement in ("PRAGMA query_only = ON", "PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON"):
        connection.execute(statement).fetchall()
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, _LONGEST)
    connection.authorizer = _authorise


def _authorise(code: int, first: str | None, second: str | None, _: str | None, __: str | None) -> int:
    if code in _ALLOWED:
        return apsw.SQLITE_OK
    if code == apsw.SQLITE_FUNCTION:
        return apsw.SQLITE_DENY if (second or first or "").lower() in _HARMFUL else apsw.SQLITE_OK
    return apsw.SQLITE_DENY


def translate(error: apsw.Error, doing: str) -> BridgeError:
    """The bridge's error for one of SQLite's; total."""
    said = " ".join(str(error).split())
    if isinstance(error, _UNAVAILABLE):
        return SourceUnavailable(f"{doing}: {said}")
    if isinstance(error, apsw.AuthError):
        return SourceRefused(f"{doing}: {said}", hint="A view may read, and nothing else.")
    hint = "Check the path, and that we may read the file (in WAL mode also its -shm file)."
    return SourceRefused(f"{doing}: {said}", hint=hint if isinstance(error, apsw.CantOpenError) else _BY_HAND)


_UNAVAILABLE = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.InterruptError,
    apsw.IOError,
    apsw.NoMemError,
    apsw.SchemaChangeError,
)
_BY_HAND = "Run the view's SQL by hand: `sqlite3 -readonly FILE`."


def _kinds(connection: apsw.Connection, text: str, values: Sequence[Any]) -> list[Kind]:
    """How the columns of a statement are read. Raises: SourceRefused unless it is one statement that reads."""
    found = apsw.ext.query_info(connection, text, values)
    if not found.is_readonly or found.query_remaining is not None or not found.description:
        raise SourceRefused("this is not one statement that reads", hint="A view file holds one SELECT.")
    return [kind_of(name, declared or "") for name, declared, *_ in found.description]


def _spelled(text: str, kinds: Sequence[Kind]) -> str:
    """The statement with its texts as the digits of their bytes, which `read_text` reads."""
    names = [quote(kind.column.name) for kind in kinds]
    forms = [f"CASE typeof({name}) WHEN 'text' THEN hex({name}) ELSE {name} END AS {name}" for name in names]
    return f"SELECT {', '.join(forms)} FROM ({text})"  # noqa: S608  names are quoted
