"""What was seen at one moment, as plain values: all that the rules know of the world."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bridge.health import Ailment


@dataclass(frozen=True, slots=True)
class RunSight:
    """The runs of one polled stream."""

    failed: str | None = None  # why the last one failed; None: it did not
    failed_at: datetime | None = None
    due_since: datetime | None = None  # a run should have begun then, and none did
    running_s: float | None = None  # how long the one under way has taken
    usually_s: float | None = None  # the median of such runs; None: not known yet


@dataclass(frozen=True, slots=True)
class StreamSight:
    """One stream."""

    system: str
    last_commit_at: datetime | None = None  # of the newest event, at the source
    last_journalled_at: datetime | None = None
    frequency_s: float | None = None  # how often its contract promises an event; None where it does not say
    latency_s: float | None = None  # how late its contract allows one to be
    error_percent: float | None = None  # rows rejected within the contract's window; None without a validity level
    allowed_percent: float = 100.0
    letters: int = 0  # open dead letters
    runs: RunSight = RunSight()  # of a polled stream


@dataclass(frozen=True, slots=True)
class SinkSight:
    """One sink."""

    streams: tuple[str, ...] = ()  # that it delivers
    breaker: str = "closed"  # or open, half_open
    breaker_since: datetime | None = None
    breaker_why: str = ""
    gone_since: datetime | None = None  # the receiver wants nothing any more since then
    gone_why: str = ""
    letters: int = 0  # open dead letters of delivery


@dataclass(frozen=True, slots=True)
class SlotSight:
    """The replication slot of one system."""

    ratio: float  # retained / limit
    hours_to_full: float | None  # None: not growing, or not known


@dataclass(frozen=True, slots=True)
class DiskSight:
    """The disk below the journal."""

    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything at one moment. What could not be looked at is empty, and `blind` names the rules."""

    at: datetime  # by the wall clock, aware UTC
    run: str  # changes with each start of the process: counters and the monotonic clock begin anew
    offset_s: float = 0.0  # wall clock minus monotonic clock
    started_at: datetime | None = None  # of this process
    streams: Mapping[str, StreamSight] = field(default_factory=dict)
    sinks: Mapping[str, SinkSight] = field(default_factory=dict)
    slots: Mapping[str, SlotSight] = field(default_factory=dict)  # by system
    rereads: Mapping[str, int] = field(default_factory=dict)  # rows read so far of each re-read that should run
    calls: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # point -> (ok, failed) since the start
    disk: DiskSight | None = None
    ailments: tuple[Ailment, ...] = ()
    unwritable: str = ""  # why our own state could not be stored
    blind: frozenset[str] = frozenset()  # rules, or "RULE SUBJECT"
