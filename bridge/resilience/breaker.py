"""When a receiver is left alone: a failure rate over a window, with a minimum of calls; pure, the clock is an argument.

Closed: calls go through and are counted. Open: none does, until a pause is over. Half-open: one event is tried; it
closes the breaker or opens it again for twice as long. An operator can force either side. What it knows survives a
restart (`dump`, `load`).
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

State = Literal["closed", "open", "half_open"]
_BUCKETS = 10  # of a window


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When it opens, and for how long."""

    failure_ratio: float = 0.5  # of the calls in the window
    minimum_calls: int = 10  # in the window
    window_s: float = 60.0
    pause_s: float = 5.0  # the first; each further one is twice as long
    longest_pause_s: float = 300.0


class Breaker:
    """The breaker of one receiver; for one thread."""

    def __init__(self, rules: BreakerRules, now: datetime) -> None:
        self.rules = rules
        self.state: State = "closed"
        self.since = now
        self.why = ""
        self.forced: Literal["open", "closed"] | None = None
        self._pauses = 0  # in a row
        self._trial_at = now
        self._counts: deque[tuple[int, int, int]] = deque()  # bucket number, calls, failures

    def force(self, side: Literal["open", "closed"] | None, *, now: datetime) -> None:
        """What an operator wants; None lets it judge by itself again, from closed."""
        if side == self.forced:
            return
        self.forced = side
        if side is None or side == "closed":
            self._enter("closed", now, "" if side is None else "forced by an operator")
        else:
            self._enter("open", now, "forced by an operator")

    def wait_s(self, now: datetime) -> float | None:
        """Seconds until a call may be made: 0 = now; None = not before something else changes."""
        if self.state == "closed":
            return 0.0
        if self.forced == "open" or self.state == "half_open":
            return None
        return max(0.0, (self._trial_at - now).total_seconds())

    def begin(self, now: datetime) -> bool:
        """Say that a call is about to be made; True when it is the one trial of an open breaker."""
        if self.state == "open":
            self._enter("half_open", now, self.why)
            return True
        return False

    def record(self, *, ok: bool, why: str, now: datetime, trial: bool = False) -> None:
        """The outcome of a call; `trial` as `begin` said. Calls that were under way when it opened only count."""
        if trial and self.state == "half_open":
            if ok:
                self._pauses = 0
                self._counts.clear()
                self._enter("closed", now, "")
            else:
                self._open(now, f"a trial failed too: {why}")
            return
        self._count(now, ok=ok)
        if ok or self.state != "closed" or self.forced == "closed":
            return
        calls, failures = self._within(now)
        if calls >= self.rules.minimum_calls and failures >= self.rules.failure_ratio * calls:
            self._open(now, f"{failures} of {calls} calls failed within {self.rules.window_s:g} s; the last: {why}")

    def give_up_trial(self, now: datetime) -> None:
        """The trial was not made after all (nothing to send, a stop)."""
        if self.state == "half_open":
            self._enter("open", now, self.why)

    def dump(self) -> dict[str, Any]:
        """What `load` takes, as JSON."""
        return {
            "state": "open" if self.state == "half_open" else self.state,
            "since": self.since.isoformat(),
            "why": self.why,
            "pauses": self._pauses,
            "trial_at": self._trial_at.isoformat(),
            "counts": list(self._counts),
        }

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Go on where a former life was."""
        self.state = dumped["state"]
        self.since = datetime.fromisoformat(dumped["since"])
        self.why = dumped["why"]
        self._pauses = dumped["pauses"]
        self._trial_at = datetime.fromisoformat(dumped["trial_at"])
        self._counts = deque((bucket, calls, failures) for bucket, calls, failures in dumped["counts"])

    def _open(self, now: datetime, why: str) -> None:
        pause_s = min(self.rules.longest_pause_s, self.rules.pause_s * 2.0 ** min(self._pauses, 30))
        self._pauses += 1
        self._trial_at = now + timedelta(seconds=pause_s)
        since = self.since if self.state == "half_open" else now  # a failed trial does not begin it anew
        self._enter("open", since, why)

    def _enter(self, state: State, since: datetime, why: str) -> None:
        if state != self.state and not {state, self.state} <= {"open", "half_open"}:
            self.since = since
        self.state, self.why = state, why

    def _count(self, now: datetime, *, ok: bool) -> None:
        bucket = int(now.timestamp() / (self.rules.window_s / _BUCKETS))
        if not self._counts or self._counts[-1][0] != bucket:
            self._counts.append((bucket, 0, 0))
        _, calls, failures = self._counts[-1]
        self._counts[-1] = (bucket, calls + 1, failures + (not ok))

    def _within(self, now: datetime) -> tuple[int, int]:
        oldest = int(now.timestamp() / (self.rules.window_s / _BUCKETS)) - _BUCKETS
        while self._counts and self._counts[0][0] <= oldest:
            self._counts.popleft()
        return sum(calls for _, calls, _ in self._counts), sum(failures for _, _, failures in self._counts)
