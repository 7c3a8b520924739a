"""What a legacy system may be asked (I10): when, how much at once, and how long it is left in peace in between.

Promises: of any minute the system is at work for us no longer than the share that the budget names, counted over whole
questions; nothing is asked within quiet hours, while the system says that it is busy, or until when it wants to be left
alone. Pages grow and shrink with the time that questions take. Pure: the clock is an argument.
"""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from bridge.extraction.extractor import Load, Subject

PROBE_EVERY = timedelta(seconds=10)
GROWTH = 10  # a quick page lets the next grow by this part of the view's page
REST_LIMIT_S = 600.0  # however long a question took, the next waits no longer for it
_ALONE_LIMIT = timedelta(days=1)  # more is a clock that was set back


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Hours of every day in which nothing is asked; past midnight where the end is not after the start."""

    start: time
    end: time

    @classmethod
    def of(cls, text: str) -> "QuietHours":
        """From text like 22:00-02:00. Raises: ValueError."""
        start, _, end = text.partition("-")
        return cls(time.fromisoformat(start), time.fromisoformat("00:00" if end == "24:00" else end))

    def holds(self, moment: time) -> bool:
        """Whether a time of day is within."""
        if self.start < self.end:
            return self.start <= moment < self.end
        return moment >= self.start or moment < self.end

    def __str__(self) -> str:
        """As it was written."""
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


@dataclass(frozen=True, slots=True)
class Limits:
    """The budget of one system; 0 = no limit."""

    active_seconds_per_minute: float = 0.0  # that it may be at work for us
    page_seconds: float = 1.0  # that one page should take
    rows_per_run: int = 0
    bytes_per_run: int = 0
    quiet_hours: tuple[QuietHours, ...] = ()
    zone: str = "UTC"  # of the quiet hours
    busy_sessions: int = 0  # of others, at work at once, above which nothing is asked
    replica_lag_s: float = 0.0  # above which nothing is asked


def pages_of(subject: Subject, want: Literal["rows", "keys"]) -> tuple[str, int]:
    """What `Budget` knows the pages of a stream by, and the rows that one may have: keys alone are small."""
    rows = subject.page_rows
    return (f"{subject.stream}/keys", 4 * rows) if want == "keys" else (subject.stream, rows)


def unseen(limits: Limits, load: Load) -> tuple[str, ...]:
    """The limits about which a system says nothing, by their names in the configuration."""
    asked = {
        "busy_sessions": (limits.busy_sessions, load.busy_sessions),
        "replica_lag_s": (limits.replica_lag_s, load.replica_lag_s),
    }
    return tuple(name for name, (limit, said) in asked.items() if limit and said is None)


class Budget:
    """Keeps the questions to one system within its limits. Not for several threads."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._rests_until: datetime | None = None
        self._alone_until: datetime | None = None  # the system wants no question before
        self._rows: dict[str, float] = {}  # the next page of each stream, where it is smaller than the view's
        self._load = Load()
        self._probed_at: datetime | None = None

    def hindrance(self, now: datetime) -> str | None:
        """Why nothing may be asked now, in words; None: nothing is in the way but perhaps `wait_s`."""
        limits = self._limits
        if self._is_left_alone(now):
            return f"the system wants to be left alone until {self._alone_until:%Y-%m-%d %H:%M:%S} UTC"
        local = now.astimezone(ZoneInfo(limits.zone)).time()
        quiet = next((hours for hours in limits.quiet_hours if hours.holds(local)), None)
        if quiet is not None:
            return f"quiet hours, {quiet} {limits.zone}"
        busy, lag_s = self._load.busy_sessions, self._load.replica_lag_s
        if limits.busy_sessions and busy is not None and busy > limits.busy_sessions:
            return f"the system is busy, more than {limits.busy_sessions} sessions at work"
        if limits.replica_lag_s and lag_s is not None and lag_s > limits.replica_lag_s:
            return f"a replica is more than {limits.replica_lag_s:g} s behind"
        return None

    def wait_s(self, now: datetime) -> float:
        """Seconds until the next question may be asked; 0: now."""
        if self._rests_until is None:
            return 0.0
        left_s = (self._rests_until - now).total_seconds()
        if left_s > REST_LIMIT_S:  # the clock was set back
            self._rests_until = None
        return max(0.0, left_s) if left_s <= REST_LIMIT_S else 0.0

    def is_free(self, now: datetime) -> bool:
        """Whether a question may be asked at once, and nothing else is to be asked before it."""
        return self.hindrance(now) is None and self.wait_s(now) <= 0 and not self.wants_probe(now)

    def page_rows(self, pages: str, most: int) -> int:
        """Rows to ask for in the next of these pages, at most those of the view; both as `pages_of` says them."""
        return max(1, min(most, int(self._rows.get(pages, most))))

    def spent(self, pages: str, *, rows: int, most: int, seconds: float, now: datetime) -> None:
        """A question was answered, or failed, after `seconds` at the system's; it had asked for `rows` of `most`."""
        limits = self._limits
        self._rest(seconds, now)
        held = self.page_rows(pages, most)
        if seconds > limits.page_seconds:
            self._rows[pages] = max(1.0, held / 2)
        elif rows >= held and seconds < limits.page_seconds / 2:
            self._rows[pages] = min(float(most), held + max(1.0, most / GROWTH))

    def wants_probe(self, now: datetime) -> bool:
        """Whether the system is to be asked how busy it is, before anything else."""
        limits = self._limits
        if self._is_left_alone(now) or not (limits.busy_sessions or limits.replica_lag_s):
            return False
        return self._probed_at is None or not timedelta(0) <= now - self._probed_at < PROBE_EVERY

    def probed(self, load: Load, *, seconds: float, now: datetime) -> None:
        """The system said how busy it is."""
        self._load, self._probed_at = load, now
        self._rest(seconds, now)

    @property
    def unseen(self) -> tuple[str, ...]:
        """Limits that are not kept, since the system does not say how busy it is."""
        return () if self._probed_at is None else unseen(self._limits, self._load)

    def leave_alone(self, seconds: float, now: datetime) -> None:
        """The system wants no question for so long."""
        self._alone_until = now + timedelta(seconds=seconds)

    def excess(self, *, rows: int, size_bytes: int) -> str | None:
        """Why a run that has read so much must end here; None: it may go on."""
        limits = self._limits
        if limits.rows_per_run and rows >= limits.rows_per_run:
            return f"the budget: {limits.rows_per_run} rows a run"
        if limits.bytes_per_run and size_bytes >= limits.bytes_per_run:
            return f"the budget: {limits.bytes_per_run / 1e9:g} GB a run"
        return None

    def _is_left_alone(self, now: datetime) -> bool:
        if self._alone_until is not None and not timedelta(0) < self._alone_until - now <= _ALONE_LIMIT:
            self._alone_until = None
        return self._alone_until is not None

    def _rest(self, seconds: float, now: datetime) -> None:
        """After work comes rest in proportion: no burst, and what a slow question took too much is paid back."""
        per_minute = self._limits.active_seconds_per_minute
        if per_minute and per_minute < 60:  # noqa: PLR2004  a minute
            rest_s = min(REST_LIMIT_S, seconds * (60 / per_minute - 1))
            self._rests_until = now + timedelta(seconds=rest_s)
