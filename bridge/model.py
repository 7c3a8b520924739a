"""The values that move through the bridge: batches, windows, verdicts and what one commit stores.

Everything is Arrow columns from the source on. A *raw batch* holds legacy columns as the source sent them; an *event
batch* holds the contract's fields behind the columns of `META`. Values are frozen; nothing here does I/O.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.extracted import Extracted


class Op(IntEnum):
    """What happened to a row; stored as the letter's ASCII code (Debezium's letters, and g for gap)."""

    CREATE = ord("c")
    UPDATE = ord("u")
    DELETE = ord("d")
    READ = ord("r")
    TRUNCATE = ord("t")
    GAP = ord("g")

    @property
    def word(self) -> str:
        """The past-tense word in event types: created, updated, deleted, read, truncated, gap."""
        return _WORDS[self]


_WORDS = {
    Op.CREATE: "created",
    Op.UPDATE: "updated",
    Op.DELETE: "deleted",
    Op.READ: "read",
    Op.TRUNCATE: "truncated",
    Op.GAP: "gap",
}


class Mark(IntEnum):
    """Why a cell has no value of its column's type."""

    UNCHANGED = 1  # not sent by the source because it did not change (TOAST)
    UNREADABLE = 2  # raw bytes kept
    NAN = 3
    PLUS_INFINITY = 4
    MINUS_INFINITY = 5


@dataclass(frozen=True, slots=True)
class Marks:
    """The marked cells of one column of a batch; the cells themselves are null in the column."""

    rows: NDArray[np.int64]  # row numbers in the batch, strictly increasing
    kinds: NDArray[np.uint8]  # a Mark each
    raw: tuple[bytes | None, ...]  # the source's own bytes of the cell; None for UNCHANGED

    def take(self, rows: NDArray[np.int64], row_count: int) -> "Marks":
        """The marks on the rows taken from a batch of `row_count` rows, numbered as they are taken."""
        place = np.full(row_count, -1, np.int64)
        place[rows] = np.arange(rows.size)
        target = place[self.rows]
        kept = np.flatnonzero(target >= 0)
        kept = kept[np.argsort(target[kept], kind="stable")]
        return Marks(target[kept], self.kinds[kept], tuple(self.raw[number] for number in kept))

    @staticmethod
    def joined(parts: Sequence[tuple[int, "Marks"]]) -> "Marks":
        """The marks of batches that became one; each with the number that its first row has there."""
        return Marks(
            np.concatenate([marks.rows + first for first, marks in parts]),
            np.concatenate([marks.kinds for _, marks in parts]),
            tuple(raw for _, marks in parts for raw in marks.raw),
        )


# What every change carries besides its fields, whatever the source.
CHANGE_COLUMNS = pa.schema(
    [
        pa.field("_op", pa.uint8(), nullable=False),  # Op
        pa.field("_commit_at", pa.timestamp("us", "UTC")),  # commit time at the source
        pa.field("_position", pa.uint64(), nullable=False),  # of the transaction's commit (PostgreSQL: its LSN)
        pa.field("_tx", pa.uint64()),  # transaction id at the source; null for re-read rows
        pa.field("_tx_index", pa.uint32(), nullable=False),  # index of the change in its transaction, over all tables
        pa.field("_moved", pa.bool_(), nullable=False),  # half of a key change: a delete and a create, same index
        pa.field("_snapshot", pa.uint32()),  # number of the re-read that found the row; null for log changes
        pa.field(
            "_note", pa.large_string()
        ),  # JSON object; on gap events: from, to, cause, plan; on messages: traceparent
    ]
)

# What an event batch starts with; the contract's fields follow.
META = pa.schema(
    [
        *CHANGE_COLUMNS,
        pa.field("_key", pa.large_string()),  # canonical text of the contract's key; null on truncate and gap
        pa.field(
            "_marks",  # sparse: null where the row has no marked cell
            pa.list_(
                pa.struct(
                    [
                        pa.field("field", pa.string()),
                        pa.field("kind", pa.uint8()),  # Mark
                        pa.field("raw", pa.binary()),
                    ]
                )
            ),
        ),
    ]
)


@dataclass(frozen=True, slots=True)
class Column:
    """One legacy column as its source describes it."""

    name: str
    type: str  # the source's own name with modifiers, e.g. "numeric(12,2)", "character(8)"
    arrow: pa.DataType  # what the source decodes it to


MESSAGE_TYPE = "message"  # of the column that holds a message as it came
RECORD_TYPE = "record"  # of the column that holds the bytes of a file's record


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns of a legacy table in order; a change of shape cuts a batch and may be drift."""

    table: str  # qualified name, "sales.oeordh"
    columns: tuple[Column, ...]

    def __hash__(self) -> int:
        """By the table alone, which has few shapes: it is asked for with every batch."""
        return hash(self.table)

    def names(self) -> list[str]:
        """Column names in order."""
        return [column.name for column in self.columns]

    @property
    def is_of_messages(self) -> bool:
        """Whether rows are messages or records: each says what it knows of a key, two of one key are no mistake."""
        return any(column.type in (MESSAGE_TYPE, RECORD_TYPE) for column in self.columns)


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Changes of one stream in source order, as legacy columns.

    `changes` has the columns of CHANGE_COLUMNS, `columns` one per legacy column of `shape`; both have n rows.
    On a delete the columns hold the old row as far as the source sent it (at least the key). On truncate and gap
    rows every legacy column is null.
    """

    stream: str
    shape: Shape
    changes: pa.RecordBatch
    columns: pa.RecordBatch
    marks: Mapping[str, Marks] = field(default_factory=dict)  # by legacy column name

    @property
    def row_count(self) -> int:
        """Number of changes."""
        return int(self.changes.num_rows)

    def take(self, rows: NDArray[np.int64]) -> "RawBatch":
        """The batch of these rows, in this order, each at most once."""
        index = pa.array(rows)
        marks = {name: found.take(rows, self.row_count) for name, found in self.marks.items()}
        return RawBatch(
            self.stream,
            self.shape,
            self.changes.take(index),
            self.columns.take(index) if self.shape.columns else self.columns,
            {name: found for name, found in marks.items() if found.rows.size},
        )


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a source resumes. Opaque to everyone but the source; ordered; never moves back within an epoch (I2)."""

    epoch: int  # one unbroken history of the source, from 1
    at: tuple[int, ...]  # PostgreSQL: (end LSN of the last complete commit, wire changes journalled of the next)


def system_of(source: str) -> str:
    """The system that a source reads, by its name: one that reads beside another of the system is SYSTEM/WHAT."""
    return source.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Window:
    """What one read returns and one commit stores: at most one batch a stream, one position after all of them."""

    batches: tuple[RawBatch, ...]
    position: Position
    state: Mapping[str, Any]  # the source's own state (JSON-able), replaced whole with the position
    size_bytes: int = 0  # what the window occupies in memory, for back-pressure
    reread: tuple[str, ...] = ()  # streams whose re-read after a gap is complete with this window
    received: tuple[str, ...] = ()  # ids of the messages in it, remembered so that none is taken twice
    received_until: datetime | None = None  # how long they are remembered
    extracted: Extracted | None = None  # what extraction stores with it


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Accepted changes of one stream: the columns of META, then the contract's fields, in source order."""

    stream: str
    epoch: int
    contract: str  # version the rows were checked under, "1.2.0"
    batch: pa.RecordBatch

    @property
    def row_count(self) -> int:
        """Number of events."""
        return int(self.batch.num_rows)


@dataclass(frozen=True, slots=True)
class Breach:
    """One rule that one row broke."""

    rule: str  # "required", "type", "pattern", or the name of a quality rule
    field: str | None  # contract field, None for a cross-field rule
    detail: str  # what was expected; never the value


@dataclass(frozen=True, slots=True)
class Rejected:
    """Rows of a raw batch that broke the contract, with the reasons; row i broke breaches[i]."""

    raw: RawBatch
    keys: tuple[str | None, ...]  # canonical key text where it could be computed
    breaches: tuple[tuple[Breach, ...], ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a contract says of a raw batch: every row is in exactly one of the two parts (I3)."""

    events: pa.RecordBatch  # META columns and fields; may have no rows
    rejected: Rejected | None
    rows: NDArray[np.int64]  # row numbers in the raw batch of the accepted events


class LetterState(StrEnum):
    """Where a dead letter stands."""

    OPEN = "open"
    REPLAYED = "replayed"
    SUPERSEDED = "superseded"  # mended, but a later change of its key was already journalled
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class NewLetters:
    """Dead letters to store: rejected rows with epoch and contract version."""

    stream: str
    epoch: int
    contract: str
    rejected: Rejected


@dataclass(frozen=True, slots=True)
class Letter:
    """A stored dead letter, one row."""

    id: int
    stream: str
    epoch: int
    contract: str
    key: str | None
    event_id: str
    breaches: tuple[Breach, ...]
    state: LetterState
    created_at: datetime
    settled_at: datetime | None = None
    reason: str | None = None  # who settled it and why
    raw: RawBatch | None = None  # one row; only where asked for


@dataclass(frozen=True, slots=True)
class NewParked:
    """Rows of a stream that is stopped, paused or in drift, kept raw and in order."""

    epoch: int
    raw: RawBatch


@dataclass(frozen=True, slots=True)
class Parked:
    """A stored parked batch."""

    id: int
    epoch: int
    raw: RawBatch


class StreamPhase(StrEnum):
    """Whether a stream's rows are journalled or parked."""

    RUNNING = "running"
    PAUSED = "paused"  # by an operator
    DRIFT = "drift"  # the table's shape is not the accepted one


@dataclass(frozen=True, slots=True)
class StreamState:
    """What the journal remembers of a stream besides its events."""

    stream: str
    phase: StreamPhase
    since: datetime
    why: str = ""
    shape: Shape | None = None  # the accepted shape; None until the first row


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, for the audit trail."""

    actor: str
    action: str  # "dead.discard"
    subject: str  # "orders/17"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Commit:
    """One transaction of the journal: events, letters, parked rows, position and state together (I4)."""

    source: str | None = None  # None: no position moves (replay of letters, resume of a stream)
    position: Position | None = None
    state: Mapping[str, Any] | None = None
    events: tuple[EventBatch, ...] = ()
    letters: tuple[NewLetters, ...] = ()
    parked: tuple[NewParked, ...] = ()
    unparked: tuple[int, ...] = ()  # parked batches that this commit releases
    settled: Mapping[int, tuple[LetterState, str]] = field(default_factory=dict)  # letter id -> new state, reason
    streams: tuple[StreamState, ...] = ()  # stream states that change
    audit: tuple[AuditEntry, ...] = ()
    received: tuple[str, ...] = ()  # ids of messages of `source`, remembered until `received_until`
    received_until: datetime | None = None
    judged: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # stream -> rows valid, rows rejected
    extracted: Extracted | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive events of one stream as the journal returns them."""

    stream: str
    first: int  # sequence number of row 0; rows are gapless from there
    epoch: int
    contract: str
    journalled_at: datetime
    batch: pa.RecordBatch  # META columns and fields

    @property
    def last(self) -> int:
        """Sequence number of the last row."""
        return self.first + int(self.batch.num_rows) - 1


def event_id(
    stream: str,
    epoch: int,
    *,
    op: int,
    position: int,
    tx_index: int,
    moved: bool,
    snapshot: int | None,
    key: str | None,
) -> str:
    """The id of one event: the same for the same change for ever (I8).

    A log change is ``{stream}:{epoch}:{position}:{n}`` with the position in hexadecimal and n the index in its
    transaction, followed by ``d`` or ``c`` on the two halves of a key change. A re-read row is
    ``{stream}:s{snapshot}:{key}``.
    """
    if snapshot is not None:
        return f"{stream}:s{snapshot}:{key or ''}"
    half = ("d" if op == Op.DELETE else "c") if moved else ""
    return f"{stream}:{epoch}:{position:X}:{tx_index}{half}"
