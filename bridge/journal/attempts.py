"""The delivery log: each try to deliver an event, for whoever asks what became of it. A file beside the journal.

Promises: recording never stops delivery: what cannot be written is lost and said once, a damaged file is set aside and
begun anew; bounded by age and rows, in small steps; other processes read it while it is written; no values of events.
It may lose its last second when the machine loses power: what was delivered is the journal's to know, this is only how
it went. Written a thousand times for each time it is read, so it has no index: a search reads from the newest back.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any

import apsw
import structlog

from bridge.journal.database import create_private
from bridge.journal.failures import CORRUPT, translate, translated
from bridge.journal.rows import micros, moment
from bridge.logs import Repeating, printable
from bridge.parcel import Attempt

ROWS = 1_000_000  # about 150 MB
DAYS = 7.0

_VERSION = 1
_CREATE = """
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, sink TEXT NOT NULL, stream TEXT NOT NULL, number INTEGER NOT NULL,
    event_id TEXT NOT NULL, outcome TEXT NOT NULL, duration_ms REAL NOT NULL, detail TEXT NOT NULL,
    try_number INTEGER NOT NULL
) STRICT
"""
_INSERT = """
INSERT INTO attempts (at, sink, stream, number, event_id, outcome, duration_ms, detail, try_number)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_TRIM = """
DELETE FROM attempts WHERE id IN (SELECT id FROM attempts ORDER BY id LIMIT ?) AND (at < ? OR id <= ?)
"""
_FIND = """
SELECT id, sink, stream, number, event_id, at, outcome, duration_ms, detail, try_number FROM attempts
WHERE id < ifnull(:before, 9223372036854775807) AND (:sink IS NULL OR sink = :sink)
    AND (:stream IS NULL OR stream = :stream) AND (:event_id IS NULL OR event_id = :event_id)
    AND (:number IS NULL OR number = :number)
ORDER BY id DESC LIMIT :limit
"""
_BUSY_TIMEOUT_MS = 1_000
_WAL_LIMIT_BYTES = 16 << 20
_TRIM_AT_LEAST = 100  # rows looked at in one step, besides twice what was written
_DETAIL_LIMIT = 200  # characters


def beside(journal: Path) -> Path:
    """Where the delivery log of a journal is."""
    return journal.with_name(f"{journal.name}.deliveries.db")


class AttemptLog:
    """One file of attempts. Callable from any thread; one process records, any may find."""

    def __init__(self, path: Path, *, rows: int = ROWS, days: float = DAYS) -> None:
        """Set up; nothing is opened before it is needed.

        Args:
            path: the file; missing is empty.
            rows: attempts kept at most.
            days: how long they are kept.
        """
        self._path = path
        self._rows = rows
        self._age = timedelta(days=days)
        self._turn = Lock()
        self._connection: apsw.Connection | None = None
        self._log = structlog.get_logger()
        self._trouble = Repeating(self._log, failed="deliveries.not_logged", recovered="deliveries.logged_again")

    def record(self, attempts: Sequence[Attempt]) -> None:
        """Write these, in one transaction, and forget a few of the oldest that are due. Never raises."""
        with self._turn:
            try:
                self._write(attempts)
            except CORRUPT as error:
                self._begin_anew(attempts, error)
            except (apsw.Error, OSError) as error:
                self._fail(error)
            else:
                self._trouble.success(log=str(self._path))

    def find(
        self,
        *,
        sink: str | None = None,
        stream: str | None = None,
        event_id: str | None = None,
        number: int | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[tuple[int, Attempt]]:
        """The newest attempts that fit all that is given, newest first, each with its id in this file.

        Args:
            sink: its name.
            stream: its name.
            event_id: of the event.
            number: the event's sequence number.
            limit: at most so many.
            before: only those with a lower id, for the next page.
        Raises: JournalUnavailable, JournalCorrupt naming the file.
        """
        if not self._path.exists():
            return []
        wanted = {"sink": sink, "stream": stream, "event_id": event_id, "number": number}
        with translated(f"reading the delivery log {self._path}"):
            connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
            try:
                connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
                if not connection.pragma("user_version"):
                    return []  # being made just now
                rows: list[tuple[Any, ...]] = connection.execute(
                    _FIND, wanted | {"limit": limit, "before": before}
                ).fetchall()
            finally:
                connection.close(force=True)
        return [(row[0], _attempt(*row[1:])) for row in rows]

    def close(self) -> None:
        """Close the file; callable twice."""
        with self._turn:
            self._drop()

    def _write(self, attempts: Sequence[Attempt]) -> None:
        connection = self._connection = self._connection or self._open()
        due = micros(datetime.now(UTC) - self._age)
        with connection:
            connection.executemany(_INSERT, map(_row, attempts))
            oldest = connection.last_insert_rowid() - self._rows
            connection.execute(_TRIM, (_TRIM_AT_LEAST + 2 * len(attempts), due, oldest))

    def _open(self) -> apsw.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        create_private(self._path)
        connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        connection.pragma("journal_mode", "WAL")
        connection.pragma("synchronous", "NORMAL")
        connection.pragma("journal_size_limit", _WAL_LIMIT_BYTES)
        if not connection.pragma("user_version"):
            with connection:
                connection.execute(_CREATE)
                connection.pragma("user_version", _VERSION)
        return connection

    def _begin_anew(self, attempts: Sequence[Attempt], error: Exception) -> None:
        """Set the damaged file aside, in place of an earlier one, and write to a fresh one."""
        self._drop()
        aside = Path(f"{self._path}.damaged")
        try:
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    Path(f"{self._path}{suffix}").replace(f"{aside}{suffix}")
            self._write(attempts)
        except (apsw.Error, OSError) as again:
            self._fail(again)
        else:
            self._log.warning("deliveries.begun_anew", error=translate(error, "the delivery log"), aside=str(aside))

    def _fail(self, error: Exception) -> None:
        self._drop()
        self._trouble.failure(translate(error, f"writing the delivery log {self._path}"))

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(apsw.Error):
                self._connection.close(force=True)
            self._connection = None


def _row(attempt: Attempt) -> tuple[object, ...]:
    return (
        micros(attempt.at),
        attempt.sink,
        attempt.stream,
        attempt.number,
        attempt.event_id,
        attempt.outcome,
        attempt.duration_ms,
        printable(attempt.detail[:_DETAIL_LIMIT]),
        attempt.try_number,
    )


def _attempt(sink: str, stream: str, number: int, event_id: str, at: int, *rest: Any) -> Attempt:  # noqa: ANN401, PLR0917  a row
    return Attempt(sink, stream, number, event_id, moment(at), *rest)
