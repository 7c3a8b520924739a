"""What moves from the journal to a sink, and what becomes of it. Values only; frozen; nothing here does I/O."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.model import AuditEntry, Block, Letter, LetterState


@dataclass(frozen=True, slots=True)
class Rows:
    """Events of one stream as one receiver may see them: rows chosen by its filter, columns by its fields."""

    stream: str
    epoch: int
    contract: str
    numbers: NDArray[np.int64]  # sequence number of each row, strictly increasing
    batch: pa.RecordBatch  # META columns and the fields that are shown
    withheld: tuple[str, ...] = ()  # fields that their classification keeps from this receiver
    journalled_at: datetime | None = None  # of the newest block they come from

    @property
    def row_count(self) -> int:
        """Number of events."""
        return int(self.batch.num_rows)

    @classmethod
    def of(cls, block: Block) -> "Rows":
        """A whole block, nothing left out."""
        numbers = np.arange(block.first, block.last + 1, dtype=np.int64)
        return cls(block.stream, block.epoch, block.contract, numbers, block.batch, journalled_at=block.journalled_at)

    def take(self, rows: NDArray[np.int64]) -> "Rows":
        """These rows, in increasing order."""
        return replace(self, numbers=self.numbers[rows], batch=self.batch.take(pa.array(rows)))


def alike(one: Block, other: Block) -> bool:
    """Whether two blocks are of one epoch, contract version and schema, so that they can be put together."""
    return (one.epoch, one.contract) == (other.epoch, other.contract) and one.batch.schema == other.batch.schema


def _follows(one: Block, other: Block) -> bool:
    return alike(one, other) and one.last + 1 == other.first


def whole(blocks: Sequence[Block]) -> Block:
    """Blocks that follow each other and are alike, as one; it counts as journalled with the newest."""
    first = blocks[0]
    batch = first.batch if len(blocks) == 1 else pa.concat_batches([block.batch for block in blocks])
    return replace(first, journalled_at=blocks[-1].journalled_at, batch=batch)


def merged(blocks: Iterable[Block], *, most: int) -> Iterator[Block]:
    """Blocks in order, put together where they follow each other and are alike: small ones cost much to render.

    Those put together hold at most so many events, so that they are at hand soon and take little memory.
    """
    run: list[Block] = []
    for block in blocks:
        if run and not (_follows(run[-1], block) and block.last - run[0].first < most):
            yield whole(run)
            run = []
        run.append(block)
    if run:
        yield whole(run)


@dataclass(frozen=True, slots=True)
class Message:
    """One event as a CloudEvent in structured JSON mode."""

    number: int  # its sequence number
    id: str
    key: str | None
    text: bytes  # UTF-8 JSON, one line


Form = Literal["messages", "lines", "columns"]  # events one by one, as lines of JSON in one piece, or as columns


@dataclass(frozen=True, slots=True)
class Parcel:
    """Events of one stream that go to a sink in one call; at least one, in the journal's order."""

    stream: str
    messages: tuple[Message, ...] = ()  # for a sink that wants messages
    rows: Rows | None = None  # for a sink that wants columns, or lines
    lines: bytes | memoryview = b""  # for a sink that wants lines: each event's text, and an end of line

    @property
    def count(self) -> int:
        """Number of events."""
        return len(self.messages) if self.rows is None else self.rows.row_count


Ranges = tuple[tuple[int, int], ...]  # of sequence numbers, both ends inclusive, increasing and apart


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a subscriber is with one stream."""

    cursor: int = 0  # everything up to here is acknowledged, a dead letter, or pending
    pending: Ranges = ()  # of these, what waits: an event that failed and the later ones of its key

    @property
    def settled(self) -> int:
        """Everything up to here is done with: retention may take it."""
        return self.pending[0][0] - 1 if self.pending else self.cursor


@dataclass(frozen=True, slots=True)
class NewUndelivered:
    """An event that a sink could not deliver, to be kept whole as a delivery dead letter."""

    block: Block  # of one row
    event_id: str
    key: str | None
    cause: str  # code and detail of the last failure; never a value of the event
    attempts: int
    first_failed_at: datetime


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A stored delivery dead letter. Its id is shown as ``d17``, apart from the numbers of rejected rows."""

    id: int
    sink: str
    stream: str
    number: int  # sequence number of the event
    event_id: str
    key: str | None
    cause: str
    attempts: int
    state: LetterState
    first_failed_at: datetime
    created_at: datetime
    settled_at: datetime | None = None
    reason: str | None = None  # who settled it and why
    block: Block | None = None  # the event, one row; only where asked for


def summary(letter: Letter | Undelivered) -> dict[str, Any]:
    """A dead letter without values of its event or row, for people and programs; JSON-able but for times."""
    shown: dict[str, Any] = {
        "id": letter.id if isinstance(letter, Letter) else f"d{letter.id}",
        "stream": letter.stream,
        "key": letter.key,
        "event_id": letter.event_id,
        "state": letter.state.value,
        "created_at": letter.created_at,
        "settled_at": letter.settled_at,
        "reason": letter.reason,
    }
    if isinstance(letter, Letter):
        breaches = [{"rule": each.rule, "field": each.field, "detail": each.detail} for each in letter.breaches]
        return shown | {"epoch": letter.epoch, "contract": letter.contract, "breaches": breaches}
    return shown | {
        "sink": letter.sink,
        "number": letter.number,
        "cause": letter.cause,
        "attempts": letter.attempts,
        "first_failed_at": letter.first_failed_at,
    }


Kept = Mapping[tuple[str, str], Mapping[str, Any] | None]  # (kind, name) -> JSON-able value; None forgets it


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one pass of a sink settled; the journal stores it in one transaction."""

    sink: str
    progress: Mapping[str, Progress] = field(default_factory=dict)  # by stream
    undelivered: tuple[NewUndelivered, ...] = ()
    settled: Mapping[int, tuple[LetterState, str]] = field(default_factory=dict)  # delivery letter id -> state, reason
    kept: Kept = field(default_factory=dict)
    audit: tuple[AuditEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to deliver one event, for the delivery log. Carries no values of the event."""

    sink: str
    stream: str
    number: int
    event_id: str
    at: datetime
    outcome: Literal["delivered", "unavailable", "refused", "gone"]
    duration_ms: float
    detail: str = ""  # "HTTP 503", "connect timeout"
    try_number: int = 1


@dataclass(frozen=True, slots=True)
class Switches:
    """What operators want of one sink; the journal keeps it under `sink`."""

    paused: bool = False
    why: str = ""  # of the pause
    since: datetime | None = None  # of the pause
    force: Literal["open", "closed"] | None = None  # of the breaker
    resumed_at: datetime | None = None  # a receiver that was gone before is tried again

    @classmethod
    def load(cls, kept: Mapping[str, Any] | None) -> "Switches":
        """From the journal's value; None is the state of a sink nobody touched."""
        if not kept:
            return cls()
        return cls(
            paused=bool(kept.get("paused")),
            why=str(kept.get("why", "")),
            since=_moment(kept.get("since")),
            force=kept.get("force"),
            resumed_at=_moment(kept.get("resumed_at")),
        )

    def dump(self) -> dict[str, Any]:
        """The journal's value."""
        return {
            "paused": self.paused,
            "why": self.why,
            "since": self.since.isoformat() if self.since else None,
            "force": self.force,
            "resumed_at": self.resumed_at.isoformat() if self.resumed_at else None,
        }


@dataclass(frozen=True, slots=True)
class Job:
    """A range of events, or a delivery letter, to be sent once more; the journal keeps it under `replay`."""

    id: str
    sink: str
    stream: str
    first: int  # sequence numbers, both inclusive
    last: int
    actor: str
    letter: int | None = None  # the delivery letter that is replayed
    key: str | None = None  # of the letter's event
    cursor: int | None = None  # how far it is; None: not begun
    pending: tuple[tuple[int, int], ...] = ()

    @classmethod
    def load(cls, number: str, kept: Mapping[str, Any]) -> "Job":
        """From the journal's value."""
        pending = tuple((first, last) for first, last in kept.get("pending", ()))
        return cls(
            id=number,
            sink=kept["sink"],
            stream=kept["stream"],
            first=kept["first"],
            last=kept["last"],
            actor=kept["actor"],
            letter=kept.get("letter"),
            key=kept.get("key"),
            cursor=kept.get("cursor"),
            pending=pending,
        )

    def dump(self, reached: Progress | None = None) -> dict[str, Any]:
        """The journal's value, with how far it is."""
        return {
            "sink": self.sink,
            "stream": self.stream,
            "first": self.first,
            "last": self.last,
            "actor": self.actor,
            "letter": self.letter,
            "key": self.key,
            "cursor": reached.cursor if reached else self.cursor,
            "pending": [list(one) for one in (reached.pending if reached else self.pending)],
        }


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
