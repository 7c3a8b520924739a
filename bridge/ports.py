"""What the loops ask of an adapter: the ports of the event path.

Conformance suites in tests/conformance hold every adapter, the in-memory twins of `bridge.testing` included, to what is
written here.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from bridge.errors import BridgeError
from bridge.extracted import Charge, ImageBlock, Part, Run
from bridge.model import AuditEntry, Block, Commit, Letter, LetterState, Parked, Position, StreamState, Window
from bridge.parcel import Delivered, Form, Parcel, Progress, Undelivered
from bridge.trail import Audited, Head


class Source(Protocol):
    """One way of reading one legacy system.

    Called by one thread. Order: windows come in the source's commit order. Duplicates: none within a process; after a
    crash the source starts again at the position the journal holds. Nothing may be confirmed before `confirm` (I1).
    """

    name: str

    def open(self, position: Position | None, state: Mapping[str, Any]) -> None:
        """Connect and resume at the journal's position, or start anew when there is none.

        Raises: SourceUnavailable, SourceRefused, PositionLost.
        """

    def read(self, timeout_s: float, *, is_busy: Callable[[], bool]) -> Window | None:
        """The next window, or None when nothing came within `timeout_s`.

        Keeps its session alive meanwhile. A window with no batches only moves the position. While `is_busy` says that
        nobody waits for the window, it may be filled further.
        Raises: SourceUnavailable, PositionLost, SourceRefused.
        """

    def confirm(self, position: Position) -> None:
        """The journal holds everything up to `position`; callable from any thread, never blocks."""

    def close(self) -> None:
        """Release every session; callable twice."""


class Sink(Protocol):
    """One way out. Called by the delivery loop only, on one event loop.

    Order: parcels of one key never overlap in time and come in the journal's order; parcels of different keys may be
    sent at the same time. Duplicates: after a crash a parcel may come again, cut differently, with the same event ids.
    Cancellation: `send` may be cancelled at any await; the parcel then counts as not delivered.
    """

    name: str
    wants: Form  # what parcels carry; an event fails by itself only where they carry messages
    is_atomic: bool  # a parcel succeeds or fails as a whole; else event by event, so that no key may be in it twice

    async def open(self) -> None:
        """Connect; does nothing while connected. Raises: SinkUnavailable, SinkRefused."""

    async def send(self, parcel: Parcel) -> Mapping[int, BridgeError]:
        """Deliver a parcel; returns once the receiver has acknowledged it durably.

        Returns: failures by index in the parcel, each SinkUnavailable or SinkRefused; empty when all went well. An
            atomic sink raises instead: a parcel of its may hold a key more than once.
        Raises: SinkUnavailable (nothing is known to have arrived; try again), SinkRefused (the receiver never takes
            this), SinkGone (it takes nothing any more).
        """

    def stands_at(self, stream: str) -> int | None:
        """The last sequence number that the receiver itself holds durably; None where only the journal's cursor counts.

        For sinks that keep the cursor with the data.
        """

    async def close(self) -> None:
        """Release connections; callable twice."""


@dataclass(frozen=True, slots=True)
class StreamExtent:
    """How much of a stream the journal holds."""

    stream: str
    first: int  # first sequence number still kept; last + 1 when nothing is kept
    last: int  # 0 when nothing was ever appended
    bytes: int
    blocks: int
    last_commit_at: datetime | None  # commit time at the source of the newest event
    last_journalled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Request:
    """Something an operator asked of the daemon through the journal."""

    id: int
    kind: str  # "stream.resume", "snapshot.start", "dead.replay" ...
    args: Mapping[str, Any]
    actor: str
    made_at: datetime
    settled_at: datetime | None = None
    ok: bool | None = None
    result: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much a journal keeps; None keeps all.

    Age never passes a subscriber's cursor. Size does, since the disk is finite, and then each subscriber that had not
    read the events has a gap declared.
    """

    age: timedelta | None = None  # of events, settled letters and requests, counts of judged rows
    size_bytes: int | None = None  # of all events as stored


@dataclass(frozen=True, slots=True)
class SubscriberGap:
    """Events that were forgotten before a subscriber acknowledged them."""

    subscriber: str
    stream: str
    first: int  # sequence numbers, both inclusive
    last: int
    declared_at: datetime


class Journal(Protocol):
    """The durable, ordered event log, with everything that must commit together with it.

    Durability: when `append` returns, its commit survives power loss. Order: sequence numbers of a stream are
    contiguous from 1 in append order. One process writes; any number read.
    """

    # -- the event path
    def append(self, commit: Commit) -> dict[str, tuple[int, int]]:
        """Store a commit whole or not at all; returns stream -> (first, last) sequence number given.

        Raises: JournalUnavailable (nothing stored), JournalCorrupt, InternalError when a position would move back
        within its epoch (I2) or a settled letter is not open.
        """

    def position(self, source: str) -> tuple[Position | None, dict[str, Any]]:
        """The position and state that the last commit of this source stored; (None, {}) before the first."""

    def read(self, stream: str, *, after: int = 0, limit: int | None = None) -> Iterator[Block]:
        """Blocks of a stream with sequence numbers above `after`, in order, cut to at most `limit` rows in all.

        The first block is cut at `after`. Holds no transaction between blocks. Raises: JournalCorrupt naming the block.
        """

    def extents(self) -> dict[str, StreamExtent]:
        """What is held, per stream that was ever appended to."""

    def journalled_at(self, stream: str, number: int) -> datetime | None:
        """When the event of this sequence number, or the next one still kept, was journalled; None where none is.

        Cheap. Merged events count as journalled with the newest of them.
        """

    def alike_to(self, stream: str, first: int, last: int) -> int:
        """The number, at most `last`, up to which events have the columns of event `first`. Cheap: reads no event."""

    def version(self) -> int:
        """A number that changes whenever another connection may have committed: cheap to poll."""

    # -- subscribers
    def cursor(self, subscriber: str, stream: str) -> int:
        """The last sequence number the subscriber acknowledged; 0 before the first."""

    def advance(self, subscriber: str, cursors: Mapping[str, int]) -> None:
        """Move cursors forward, all or none. Raises: InternalError when one would move back (I2)."""

    def forget_subscriber(self, subscriber: str, streams: Collection[str] | None = None) -> None:
        """Drop a subscriber's cursors on these streams, or all, so that retention waits for it no more."""

    def subscribers(self) -> dict[str, dict[str, Progress]]:
        """Every subscriber and how far it is with each stream."""

    def record(self, delivered: Sequence[Delivered]) -> None:
        """Store what sinks settled, all of it or nothing. A delivery letter that is open no more stays as it is.

        Raises: InternalError when a cursor would move back (I2).
        """

    def undelivered(
        self,
        *,
        sink: str | None = None,
        stream: str | None = None,
        state: LetterState | None = LetterState.OPEN,
        limit: int = 100,
        after: int = 0,
    ) -> list[Undelivered]:
        """Delivery dead letters with ids above `after` in order of id, without their event; state None means any."""

    def undelivered_one(self, letter_id: int) -> Undelivered | None:
        """One delivery dead letter with its event."""

    def undelivered_counts(self) -> dict[str, int]:
        """Open delivery letters per sink."""

    # -- small states of ours, each a JSON object under a kind and a name
    def keep(
        self, kind: str, values: Mapping[str, Mapping[str, Any] | None], *, audit: Sequence[AuditEntry] = ()
    ) -> None:
        """Replace the values of these names and add to the audit trail, all or none; None forgets a value."""

    def kept(self, kind: str) -> dict[str, dict[str, Any]]:
        """Every value of a kind by name."""

    # -- messages taken in
    def received(self, source: str, ids: Sequence[str]) -> set[str]:
        """Those of the ids that a commit of this source brought and that are still remembered."""

    # -- extraction
    def image(self, stream: str, generation: int, parts: Collection[Part]) -> Iterator[ImageBlock]:
        """The blocks of these parts of a stream's image, in the order they were stored.

        Holds no transaction between blocks. Raises: JournalCorrupt.
        """

    def runs(
        self, *, stream: str | None = None, source: str | None = None, number: int | None = None, limit: int = 100
    ) -> Sequence[Run]:
        """Runs of extraction, the newest first."""

    def bill(self, *, system: str | None = None, since: datetime) -> Sequence[Charge]:
        """What systems were asked to do for us since the hour of `since`.

        One entry per hour, system and stream, in that order; `at` is the beginning of the hour.
        """

    # -- dead letters, parked rows, streams
    def letters(
        self,
        *,
        stream: str | None = None,
        state: LetterState | None = LetterState.OPEN,
        limit: int = 100,
        after: int = 0,
    ) -> list[Letter]:
        """Dead letters with ids above `after` in order of id, without their raw row; state None means any."""

    def letter_counts(self) -> dict[str, int]:
        """Open letters per stream."""

    def letter(self, letter_id: int) -> Letter | None:
        """One letter with its raw row."""

    def parked(self, stream: str, *, limit: int = 16) -> list[Parked]:
        """The oldest parked batches of a stream, in order."""

    def parked_counts(self) -> dict[str, int]:
        """Parked rows per stream."""

    def stream_states(self) -> dict[str, StreamState]:
        """The state of every stream that has one."""

    def validity(self, stream: str, *, since: datetime) -> tuple[int, int]:
        """Rows judged valid and rejected since then, at the resolution of one minute."""

    # -- contracts, requests, audit
    def pin(self, contract_id: str, version: str, digest: str) -> str:
        """Remember the digest of a published contract version; returns the one on record (given on first sight)."""

    def request(self, kind: str, args: Mapping[str, Any], actor: str) -> int:
        """Leave a request for the daemon; returns its id."""

    def requests(self, *, open_only: bool = True, limit: int = 100) -> list[Request]:
        """Requests in order of id; the newest `limit` when settled ones are included."""

    def settle(self, request_id: int, *, ok: bool, result: Mapping[str, Any]) -> None:
        """Close a request with its outcome."""

    def audit(self, entry: AuditEntry) -> None:
        """Append to the audit trail."""

    def audit_trail(
        self, *, after: int | None = None, limit: int = 100, actor: str | None = None, action: str | None = None
    ) -> Sequence[Audited]:
        """Entries of the audit trail, oldest first.

        Args:
            after: the first `limit` with numbers above this; None means the newest `limit`.
            limit: how many at most.
            actor: only this actor's.
            action: only this action, or every action of a group ("dead" is "dead.replay" and "dead.discard").
        """

    def audit_head(self) -> Head:
        """Where the audit trail's chain ends now."""

    def audit_verify(self, head: Head | None = None) -> list[str]:
        """Walk the audit trail's chain; returns one sentence per finding, empty means whole.

        Args:
            head: an end of the chain that was kept outside the journal; it proves that nothing up to it was rewritten.
        Raises: JournalCorrupt for an entry that cannot be read.
        """

    # -- care
    def tend(self, now: datetime) -> bool:
        """One bounded pass of upkeep: merge small blocks, apply retention, give back space. True when more waits."""

    def verify(self) -> list[str]:
        """Read everything; returns one sentence per damage found, each naming what is hit. Empty means sound."""

    def backup(self, target: Path) -> None:
        """Write a consistent copy while running. Raises: JournalUnavailable."""

    def close(self) -> None:
        """Release files and the owner's lock; callable twice."""
