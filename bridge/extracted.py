"""What extraction stores beside its events: what it remembers of a system's rows, its runs, and what they cost.

Values only; frozen. They become durable in the same commit as the events that they explain (I4).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa

Part = Literal["shape", "rows", "gone", "seen"]
RunKind = Literal["run", "full", "sweep"]  # as the stream's mode says; every row, compared; every key, compared
RunState = Literal["running", "done", "failed", "cancelled", "skipped"]


@dataclass(frozen=True, slots=True)
class ImageBlock:
    """Part of the image of one stream: the rows that its legacy system is known to hold.

    Rows are numbered from 0 within a generation, in the order they were found. A row that changed is numbered anew.
    """

    stream: str
    generation: int  # a copy of the image without what is gone; the next one replaces it
    part: Part  # columns of the source; rows; numbers of rows that are gone; numbers of rows that this run has seen
    first: int  # number of the first of its rows
    batch: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Blocks of an image that are of no more use."""

    stream: str
    generation: int | None = None  # up to and including this one; None: all
    part: Part | None = None  # None: all


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one stream, or one that was due and did not happen."""

    source: str
    number: int  # per source, increasing; `_position` of its events
    stream: str
    kind: RunKind
    cause: str  # why it ran: "every 5m", "after orders", "asked for by ann"
    state: RunState
    started_at: datetime
    ended_at: datetime | None = None
    detail: str = ""  # why it failed or did not happen, for people
    pages: int = 0
    rows: int = 0  # read
    counts: Mapping[str, int] = field(default_factory=dict)  # events by letter of their op
    seconds: float = 0.0  # that the system was at work for it
    size_bytes: int = 0
    queries: int = 0
    moments: int = 1  # of the schedule that it stands for
    rejected: int = 0  # of its rows; the journal counts them


@dataclass(frozen=True, slots=True)
class Charge:
    """What a system was asked to do for us; the journal adds it up by hour."""

    system: str
    stream: str
    at: datetime
    queries: int = 0
    seconds: float = 0.0
    rows: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Extracted:
    """Part of a window that was extracted."""

    blocks: tuple[ImageBlock, ...] = ()
    forgotten: tuple[Forgotten, ...] = ()  # before `blocks` are stored
    runs: tuple[Run, ...] = ()  # replace what is stored of them
    charges: tuple[Charge, ...] = ()
    kept: Mapping[tuple[str, str], Mapping[str, Any] | None] = field(default_factory=dict)  # (kind, name) as `keep`

    @staticmethod
    def rejected_of(run: Run, judged: Mapping[str, tuple[int, int]]) -> int:
        """Rows of a run that were rejected in the same commit: a stream has one run at a time."""
        return 0 if run.state == "skipped" else judged.get(run.stream, (0, 0))[1]
