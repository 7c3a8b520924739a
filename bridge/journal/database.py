"""One SQLite file: who owns it, one connection that writes, a few that read.

Promises: one owner at a time, by a lock that dies with its process; a write that fails leaves nothing behind in this
process, the connection included; readers never hold a transaction longer than one `reading` block; every file is
readable by its user alone. Knows nothing of what the tables mean.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

import apsw

from bridge.errors import JournalLocked, JournalUnavailable
from bridge.journal import migrations
from bridge.journal.failures import translated

# Before 3.51.3 several connections can corrupt a WAL database (sqlite.org/wal.html, "The WAL-Reset Bug").
_OLDEST_SQLITE = (3, 51, 3)
_PAGE_BYTES = 8192
_BUSY_TIMEOUT_MS = 5_000
_WAL_LIMIT_BYTES = 64 << 20  # what the WAL file is cut back to when it starts over


class Owner:
    """The right to append to one journal: an exclusive lock on `<path>.lock`, held until released or dead."""

    def __init__(self, path: Path) -> None:
        """Take the lock or say who has it.

        Raises: JournalLocked, OSError.
        """
        self._file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(self._file, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(self._file, 20, 0).decode(errors="replace").strip()
            self.release()
            raise JournalLocked(f"the journal {path} is owned by process {holder or 'unknown'}") from error
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Let the next owner in; callable twice. The file stays: removing it would let two in."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Database:
    """The file's connections. Callable from any thread; writes take turns."""

    def __init__(self, path: Path, *, owner: bool) -> None:
        """Open the file; the owner creates it and brings it forward where needed.

        Raises: JournalLocked, JournalUnavailable, JournalCorrupt, ConfigError (see `migrations`).
        """
        require_sqlite(apsw.sqlite_lib_version())
        self.path = path
        self._turn = Lock()
        self._watching = Lock()
        self._writer: apsw.Connection | None = None
        self._watcher: apsw.Connection | None = None
        self._readers: list[apsw.Connection] = []
        self._closed = False
        self._owner: Owner | None = None
        if not owner and not path.exists():
            raise JournalUnavailable(f"there is no journal at {path}", hint="Start the daemon once, or name its file.")
        with translated(f"opening the journal {path}"):
            if owner:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._owner = Owner(path)
            try:
                self._prepare()
                self._watcher = self._connect(query_only=True)
            except BaseException:
                self.close()
                raise

    def _prepare(self) -> None:
        if self._owner is None:
            with self.reading() as connection:
                migrations.require_current(connection, migrations.steps())
            return
        create_private(self.path)
        writer = self._writer = self._connect()
        migrations.check(writer, migrations.steps())
        writer.pragma("page_size", _PAGE_BYTES)
        writer.pragma("auto_vacuum", "INCREMENTAL")
        writer.pragma("journal_mode", "WAL")
        migrations.migrate(writer, migrations.steps())
        # A frame whose fsync failed in an earlier life may be read back from the page cache as if it were durable:
        # copy every frame into the database, synced, before anything new is acknowledged on top of it.
        writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    @property
    def is_owner(self) -> bool:
        """Whether this process may append."""
        return self._owner is not None

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """A connection in one read transaction; keep it short, or the WAL file grows."""
        with translated(f"reading the journal {self.path}"):
            connection = self._take_reader()
            try:
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                _discard(connection)
                raise
            if self._closed:
                _discard(connection)
            else:
                self._readers.append(connection)

    @contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """The writing connection in one transaction: committed and synced at the end, or rolled back whole.

        After JournalUnavailable from a failed sync the commit may still come to light when the process dies, so the
        caller reads the position again before it goes on. The connection is opened anew.
        """
        with self._turn, translated(f"writing the journal {self.path}"):
            if self._closed:
                raise self._closed_error()
            connection = self._writer = self._writer or self._connect()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._writer = None
                _discard(connection)
                raise

    def version(self) -> int:
        """A number that changes when any other connection, of any process, has committed."""
        with self._watching, translated(f"watching the journal {self.path}"):
            if self._watcher is None:
                raise self._closed_error()
            return int(self._watcher.execute("PRAGMA data_version").get)

    def checkpoint(self, *, truncate: bool) -> None:
        """Copy the WAL into the database as far as readers let it, never waiting for them; `truncate` empties it."""
        mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if truncate else apsw.SQLITE_CHECKPOINT_PASSIVE
        with translated(f"checkpointing the journal {self.path}"):
            connection = self._connect()
            try:
                connection.set_busy_timeout(0)
                with suppress(apsw.BusyError):
                    connection.wal_checkpoint(mode=mode)
            finally:
                connection.close(force=True)

    def close(self) -> None:
        """Close every connection and let the next owner in; callable twice."""
        with self._turn, self._watching:
            self._closed = True
            for connection in (self._writer, self._watcher, *self._readers):
                if connection is not None:
                    _discard(connection)
            self._writer = self._watcher = None
            self._readers.clear()
            if self._owner is not None:
                self._owner.release()

    def _take_reader(self) -> apsw.Connection:
        if self._closed:
            raise self._closed_error()
        try:
            return self._readers.pop()
        except IndexError:
            return self._connect(query_only=True)

    def _connect(self, *, query_only: bool = False) -> apsw.Connection:
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        connection.pragma("synchronous", "FULL")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.pragma("journal_size_limit", _WAL_LIMIT_BYTES)
        connection.pragma("query_only", query_only)
        return connection

    def _closed_error(self) -> JournalUnavailable:
        return JournalUnavailable(f"the journal {self.path} is closed")


def require_sqlite(version: str) -> None:
    """Refuse a SQLite that can corrupt the file.

    Raises: JournalUnavailable.
    """
    if tuple(int(part) for part in version.split(".")) < _OLDEST_SQLITE:
        oldest = ".".join(str(part) for part in _OLDEST_SQLITE)
        raise JournalUnavailable(
            f"SQLite {version} can corrupt a database that several processes use; {oldest} is needed",
            hint="Install a newer `apsw`.",
        )


def create_private(path: Path) -> None:
    """Make sure the file is there and its user's alone; SQLite gives its side files the same mode."""
    # Never opened when it is there: closing it would drop the locks SQLite holds for this process.
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)


def _discard(connection: apsw.Connection) -> None:
    """Close a connection whatever state it is in; an open transaction is rolled back."""
    with suppress(apsw.Error):
        connection.close(force=True)
