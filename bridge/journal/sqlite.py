"""The journal in one SQLite file: the embedded default.

Promises what `bridge.ports.Journal` says, and besides: sequence numbers without gaps that are never given twice, and
retention that knows the subscribers' cursors. One process owns the file and appends; any process may read and leave
requests meanwhile. After JournalUnavailable a caller reads `position` again before it goes on: a commit whose sync
failed may have gone in or not.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from bridge.errors import InternalError
from bridge.extracted import Charge, ImageBlock, Part, Run
from bridge.journal import (
    auditing,
    backup,
    care,
    deliveries,
    desk,
    images,
    keeping,
    letters,
    reading,
    runs,
    states,
    store,
    verifying,
)
from bridge.journal.database import Database
from bridge.journal.rows import micros
from bridge.model import AuditEntry, Block, Commit, Letter, LetterState, Parked, Position, StreamState
from bridge.parcel import Delivered, Progress, Undelivered
from bridge.ports import Request, Retention, StreamExtent, SubscriberGap
from bridge.trail import Audited, Head

_KEEP_ALL = Retention()


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SqliteJournal:
    """The Journal port on a file. Callable from any thread."""

    def __init__(self, database: Database, *, retain: Retention, now: Callable[[], datetime]) -> None:
        """Use `open`."""
        self._database = database
        self._retain = retain
        self._now = now
        self._tending = Lock()  # one pass decides on what it has read; another must not change it meanwhile
        self._appended = 0  # commits since the last pass of upkeep

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        owner: bool,
        retain: Retention = _KEEP_ALL,
        now: Callable[[], datetime] = _utc_now,
    ) -> "SqliteJournal":
        """Open a journal; its owner creates it, or brings an older file forward.

        Args:
            path: the file; SQLite keeps `-wal` and `-shm`, the owner `.lock` beside it.
            owner: the one process that appends, until `close` or its death. Others read and use the operator's desk.
            retain: what `tend` may forget.
            now: the clock that stamps what is stored.
        Raises: JournalLocked naming the owner's process, JournalUnavailable, JournalCorrupt, and ConfigError for a file
            of a newer program or one that is no journal.
        """
        database = Database(path, owner=owner)
        try:
            if owner:
                verifying.require_sound_states(database)
                with database.writing() as connection:
                    auditing.seal(connection)
        except BaseException:
            database.close()
            raise
        return cls(database, retain=retain, now=now)

    # -- the event path
    def append(self, commit: Commit) -> dict[str, tuple[int, int]]:
        """See the port."""
        self._require_owner("append")
        prepared = store.prepare(commit)
        with self._database.writing() as connection:
            given = store.store(connection, prepared, self._now())
        self._appended += 1
        return given

    def position(self, source: str) -> tuple[Position | None, dict[str, Any]]:
        """See the port."""
        with self._database.reading() as connection:
            return states.position(connection, source)

    def read(self, stream: str, *, after: int = 0, limit: int | None = None) -> Iterator[Block]:
        """See the port. After retention, starts at the first number kept."""
        return reading.read(self._database, stream, after=after, limit=limit)

    def extents(self) -> dict[str, StreamExtent]:
        """See the port."""
        return reading.extents(self._database)

    def journalled_at(self, stream: str, number: int) -> datetime | None:
        """See the port."""
        return reading.journalled_at(self._database, stream, number)

    def alike_to(self, stream: str, first: int, last: int) -> int:
        """See the port."""
        return reading.alike_to(self._database, stream, first, last)

    def version(self) -> int:
        """See the port; notices this object's own commits too."""
        return self._database.version()

    # -- subscribers
    def cursor(self, subscriber: str, stream: str) -> int:
        """See the port."""
        with self._database.reading() as connection:
            held = states.progress(connection, subscriber, stream)
        return held.cursor if held else 0

    def advance(self, subscriber: str, cursors: Mapping[str, int]) -> None:
        """See the port. Retention knows a subscriber from its first `advance` on, be it to 0."""
        with self._database.writing() as connection:
            states.advance(connection, subscriber, cursors)

    def forget_subscriber(self, subscriber: str, streams: Collection[str] | None = None) -> None:
        """See the port."""
        with self._database.writing() as connection:
            states.forget_subscriber(connection, subscriber, streams)

    def subscribers(self) -> dict[str, dict[str, Progress]]:
        """See the port."""
        with self._database.reading() as connection:
            return states.subscribers(connection)

    def record(self, delivered: Sequence[Delivered]) -> None:
        """See the port."""
        packed = [deliveries.encode(one) for one in delivered]
        with self._database.writing() as connection:
            for one, events in zip(delivered, packed, strict=True):
                deliveries.record(connection, one, events, now=micros(self._now()))

    def undelivered(
        self,
        *,
        sink: str | None = None,
        stream: str | None = None,
        state: LetterState | None = LetterState.OPEN,
        limit: int = 100,
        after: int = 0,
    ) -> list[Undelivered]:
        """See the port."""
        with self._database.reading() as connection:
            return deliveries.find(connection, sink=sink, stream=stream, state=state, limit=limit, after=after)

    def undelivered_one(self, letter_id: int) -> Undelivered | None:
        """See the port."""
        with self._database.reading() as connection:
            return deliveries.get(connection, letter_id)

    def undelivered_counts(self) -> dict[str, int]:
        """See the port."""
        with self._database.reading() as connection:
            return deliveries.open_counts(connection)

    # -- small states, messages taken in
    def keep(
        self, kind: str, values: Mapping[str, Mapping[str, Any] | None], *, audit: Sequence[AuditEntry] = ()
    ) -> None:
        """See the port."""
        with self._database.writing() as connection:
            for name, value in values.items():
                keeping.keep(connection, kind, name, value)
            for entry in audit:
                auditing.add(connection, entry, self._now())

    def kept(self, kind: str) -> dict[str, dict[str, Any]]:
        """See the port."""
        with self._database.reading() as connection:
            return keeping.kept(connection, kind)

    def received(self, source: str, ids: Sequence[str]) -> set[str]:
        """See the port."""
        with self._database.reading() as connection:
            return keeping.received(connection, source, ids)

    def gaps(self, subscriber: str) -> list[SubscriberGap]:
        """What retention took before the subscriber had read it, oldest first."""
        with self._database.reading() as connection:
            return care.gaps(connection, subscriber)

    # -- extraction
    def image(self, stream: str, generation: int, parts: Collection[Part]) -> Iterator[ImageBlock]:
        """See the port."""
        return images.read(self._database, stream, generation, parts)

    def runs(
        self, *, stream: str | None = None, source: str | None = None, number: int | None = None, limit: int = 100
    ) -> list[Run]:
        """See the port."""
        with self._database.reading() as connection:
            return runs.find(connection, stream=stream, source=source, number=number, limit=limit)

    def bill(self, *, system: str | None = None, since: datetime) -> list[Charge]:
        """See the port."""
        with self._database.reading() as connection:
            return runs.bill(connection, system=system, since=since)

    # -- dead letters, parked rows, streams
    def letters(
        self,
        *,
        stream: str | None = None,
        state: LetterState | None = LetterState.OPEN,
        limit: int = 100,
        after: int = 0,
    ) -> list[Letter]:
        """See the port."""
        with self._database.reading() as connection:
            return letters.find(connection, stream=stream, state=state, limit=limit, after=after)

    def letter_counts(self) -> dict[str, int]:
        """See the port."""
        with self._database.reading() as connection:
            return letters.open_counts(connection)

    def letter(self, letter_id: int) -> Letter | None:
        """See the port."""
        with self._database.reading() as connection:
            return letters.get(connection, letter_id)

    def parked(self, stream: str, *, limit: int = 16) -> list[Parked]:
        """See the port."""
        with self._database.reading() as connection:
            return letters.parked(connection, stream, limit=limit)

    def parked_counts(self) -> dict[str, int]:
        """See the port."""
        with self._database.reading() as connection:
            return letters.parked_counts(connection)

    def stream_states(self) -> dict[str, StreamState]:
        """See the port."""
        with self._database.reading() as connection:
            return states.stream_states(connection)

    def validity(self, stream: str, *, since: datetime) -> tuple[int, int]:
        """See the port."""
        with self._database.reading() as connection:
            return desk.validity(connection, stream, since=since)

    # -- contracts, requests, audit
    def pin(self, contract_id: str, version: str, digest: str) -> str:
        """See the port."""
        with self._database.writing() as connection:
            return desk.pin(connection, contract_id, version, digest)

    def request(self, kind: str, args: Mapping[str, Any], actor: str) -> int:
        """See the port."""
        with self._database.writing() as connection:
            return desk.request(connection, kind, args, actor=actor, now=self._now())

    def requests(self, *, open_only: bool = True, limit: int = 100) -> list[Request]:
        """See the port."""
        with self._database.reading() as connection:
            return desk.requests(connection, open_only=open_only, limit=limit)

    def settle(self, request_id: int, *, ok: bool, result: Mapping[str, Any]) -> None:
        """See the port. Raises: InternalError when the request is not open."""
        with self._database.writing() as connection:
            desk.settle(connection, request_id, ok=ok, result=result, now=self._now())

    def audit(self, entry: AuditEntry) -> None:
        """See the port."""
        with self._database.writing() as connection:
            auditing.add(connection, entry, self._now())

    def audit_trail(
        self, *, after: int | None = None, limit: int = 100, actor: str | None = None, action: str | None = None
    ) -> list[Audited]:
        """See the port."""
        with self._database.reading() as connection:
            return auditing.page(connection, after=after, limit=limit, actor=actor, action=action)

    def audit_head(self) -> Head:
        """See the port."""
        with self._database.reading() as connection:
            return auditing.head(connection)

    def audit_verify(self, head: Head | None = None) -> list[str]:
        """See the port."""
        return auditing.verify(self._database, head)

    # -- care
    def tend(self, now: datetime) -> bool:
        """See the port; the owner's task."""
        self._require_owner("tend")
        with self._tending:
            more = care.tend(self._database, self._retain, now)
            quiet, self._appended = self._appended == 0, 0
            self._database.checkpoint(truncate=quiet and not more)
        return more

    def verify(self) -> list[str]:
        """See the port."""
        return verifying.verify(self._database)

    def backup(self, target: Path) -> None:
        """See the port."""
        backup.backup(self._database, target)

    def close(self) -> None:
        """See the port."""
        self._database.close()

    def _require_owner(self, what: str) -> None:
        if not self._database.is_owner:
            raise InternalError(f"only its owner may {what} to the journal {self._database.path}")
