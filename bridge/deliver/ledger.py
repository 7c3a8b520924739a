"""What one sink's loop has settled and the journal does not hold yet, and the attempts of what failed; for one loop."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal

from bridge.deliver.feed import Load
from bridge.deliver.replays import Replay
from bridge.errors import BridgeError, SinkGone, SinkRefused
from bridge.model import AuditEntry, Block, LetterState
from bridge.parcel import Attempt, Delivered, Job, Message, NewUndelivered, Parcel, Progress
from bridge.resilience.lanes import Entry

NO_VALUE: Mapping[str, Any] = MappingProxyType({})
TRIES_KEPT = 500  # failing events whose attempts survive a restart


@dataclass(frozen=True, slots=True)
class Signals:
    """What wakes whoever stores, for all sinks."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)  # there is something to store
    full: asyncio.Event = field(default_factory=asyncio.Event)  # a sink sends nothing more before it is stored


@dataclass(slots=True)
class Account:
    """Letters and outcomes of replays, gathered until they are stored with the progress."""

    undelivered: list[NewUndelivered] = field(default_factory=list)
    settled: dict[int, tuple[LetterState, str]] = field(default_factory=dict)
    kept: dict[tuple[str, str], Mapping[str, Any] | None] = field(default_factory=dict)
    audit: list[AuditEntry] = field(default_factory=list)

    def is_empty(self) -> bool:
        """Whether there is nothing to store besides progress."""
        return not (self.undelivered or self.settled or self.kept or self.audit)

    def take_back(self, earlier: "Account") -> None:
        """Put what could not be stored before what came since."""
        self.undelivered[:0] = earlier.undelivered
        self.settled = {**earlier.settled, **self.settled}
        self.kept = {**earlier.kept, **self.kept}
        self.audit[:0] = earlier.audit


class Ledger:
    """The books of one sink.

    Args:
        sink: its name.
        logs_attempts: whether each attempt goes into the delivery log, or failures only.
        tries: of a former life, by stream and sequence number.
    """

    def __init__(self, sink: str, *, logs_attempts: bool, tries: Mapping[str, Any]) -> None:
        self.sink = sink
        self.unstored = 0  # settled events that a crash now would send again
        self._logs_attempts = logs_attempts
        self._account = Account()
        self._attempts: list[Attempt] = []
        self._storing = 0  # of the unstored, those that are being stored
        self._tries: dict[str, dict[str, list[float]]] = {stream: dict(each) for stream, each in tries.items()}

    def tries(self, stream: str) -> Mapping[str, Sequence[float]]:
        """Attempts, time of the first failure, time of the next attempt, by sequence number."""
        return self._tries.setdefault(stream, {})

    def dump_tries(self) -> dict[str, Any]:
        """What a next life takes."""
        return {stream: dict(each) for stream, each in self._tries.items() if each}

    def settled(self, stream: str, entries: Sequence[Entry[Load]], *, events: int) -> None:
        """So many events are acknowledged or set aside."""
        tries = self._tries.get(stream)
        if tries:
            for entry in entries:
                tries.pop(str(entry.number), None)
        self.unstored += events

    def failed(self, stream: str, entry: Entry[Load], *, again_at_s: float) -> None:
        """An event is tried again."""
        tries = self._tries.setdefault(stream, {})
        if len(tries) < TRIES_KEPT or str(entry.number) in tries:
            tries[str(entry.number)] = [entry.attempts, entry.first_failed_s, again_at_s]

    def set_aside(self, block: Block, message: Message, entry: Entry[Load], error: BridgeError) -> None:
        """An event becomes a dead letter."""
        first_failed_at = datetime.fromtimestamp(entry.first_failed_s, UTC)
        self._account.undelivered.append(
            NewUndelivered(block, message.id, message.key, str(error), entry.attempts, first_failed_at)
        )

    def replayed(self, replay: Replay) -> None:
        """A replay is through."""
        job = replay.job
        self._end(job, "failed again" if replay.feed.has_failed else "delivered")
        if job.letter is not None and not replay.feed.has_failed:
            self._account.settled[job.letter] = (LetterState.REPLAYED, f"{job.actor}: delivered")

    def given_up(self, job: Job, why: str) -> None:
        """A replay cannot be made; a letter stays open."""
        self._end(job, f"not sent: {why}")

    def _end(self, job: Job, outcome: str) -> None:
        self._account.kept["replay", job.id] = None
        subject = (
            f"{job.sink}/{job.stream}/{job.first}-{job.last}" if job.letter is None else f"{job.sink}/d{job.letter}"
        )
        self._account.audit.append(AuditEntry(job.actor, "sink.replayed", subject, outcome))

    def is_over(self, number: str) -> bool:
        """Whether a replay ended and the journal does not know yet."""
        return self._account.kept.get(("replay", number), NO_VALUE) is None

    def keep_replay(self, replay: Replay, reached: Progress) -> None:
        """How far a replay is."""
        self._account.kept["replay", replay.job.id] = replay.job.dump(reached)

    def attempted(
        self,
        parcel: Parcel,
        entries: Sequence[Entry[Load]],
        error: BridgeError | None,
        failures: Mapping[int, BridgeError],
        *,
        at: datetime,
        took_ms: float,
    ) -> None:
        """Log the attempts of a parcel."""
        if error is None and not failures and not self._logs_attempts:
            return
        for index, message in enumerate(parcel.messages):
            failure = error or failures.get(index)
            if failure is None and not self._logs_attempts:
                continue
            self._attempts.append(
                Attempt(
                    sink=self.sink,
                    stream=parcel.stream,
                    number=message.number,
                    event_id=message.id,
                    at=at,
                    outcome=outcome_of(failure),
                    duration_ms=took_ms,
                    detail=failure.detail if failure else "",
                    try_number=entries[index].attempts + 1,
                )
            )

    def take_attempts(self) -> list[Attempt]:
        """The attempts since the last call."""
        attempts, self._attempts = self._attempts, []
        return attempts

    def close_account(
        self, progress: Mapping[str, Progress], state: Mapping[str, Any] | None
    ) -> tuple[Delivered, Account] | None:
        """What is to be stored in one transaction; None when there is nothing.

        Args:
            progress: of the streams where it moved.
            state: what the sink's loop remembers, where that changed.
        """
        if not progress and self._account.is_empty() and state is None:
            return None
        account, self._account = self._account, Account()
        self._storing, self.unstored = self.unstored, 0
        kept = account.kept if state is None else {**account.kept, ("delivery", self.sink): state}
        delivered = Delivered(
            self.sink,
            progress,
            undelivered=tuple(account.undelivered),
            settled=account.settled,
            kept=kept,
            audit=tuple(account.audit),
        )
        return delivered, account

    def restore(self, account: Account) -> None:
        """The journal could not take it."""
        self._account.take_back(account)
        self.unstored += self._storing


def outcome_of(failure: BridgeError | None) -> Literal["delivered", "unavailable", "refused", "gone"]:
    """The word for what became of a try."""
    if failure is None:
        return "delivered"
    return "gone" if isinstance(failure, SinkGone) else "refused" if isinstance(failure, SinkRefused) else "unavailable"
