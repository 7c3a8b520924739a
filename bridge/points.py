"""How often calls across each integration point fail: "sink:crm", "source:erp", and later channels.

Counts in buckets of ten seconds, kept for six hours, so that a rate can be asked for over any window up to that. Pure
bookkeeping behind a lock: no I/O, the clock is an argument. Counts are lost with the process; Prometheus keeps its own.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

BUCKET_S = 10
KEPT_S = 6 * 3600
POINTS_LIMIT = 1024  # names come from the configuration; this only bounds a mistake


@dataclass(slots=True)
class _Bucket:
    number: int  # whole buckets since 1970
    calls: int = 0
    failed: int = 0


class Points:
    """Calls and failures of every integration point; callable from any thread.

    Args:
        counted: told of every count, as point, ok and failed; must not block.
        now: the clock.
    """

    def __init__(
        self,
        counted: Callable[[str, int, int], None] = lambda _point, _ok, _failed: None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._counted = counted
        self._now = now
        self._lock = threading.Lock()
        self._buckets: dict[str, deque[_Bucket]] = {}
        self._totals: dict[str, tuple[int, int]] = {}

    def count(self, point: str, *, ok: int = 0, failed: int = 0) -> None:
        """Add calls that came back well and calls that did not."""
        if ok <= 0 and failed <= 0:
            return
        number = int(self._now().timestamp()) // BUCKET_S
        with self._lock:
            buckets = self._buckets.get(point) or self._admit(point)
            if not buckets or buckets[-1].number < number:  # a clock that was set back counts on in the newest
                buckets.append(_Bucket(number))
            buckets[-1].calls += ok + failed
            buckets[-1].failed += failed
            before = self._totals.get(point, (0, 0))
            self._totals[point] = before[0] + ok, before[1] + failed
        self._counted(point, ok, failed)

    def within(self, point: str, window_s: float) -> tuple[int, int]:
        """Calls and failed calls of the last `window_s` seconds, whole buckets; (0, 0) for a point never heard of."""
        since = int(self._now().timestamp() - window_s) // BUCKET_S
        calls = failed = 0
        with self._lock:
            for bucket in reversed(self._buckets.get(point, ())):
                if bucket.number < since:
                    break
                calls += bucket.calls
                failed += bucket.failed
        return calls, failed

    def totals(self) -> dict[str, tuple[int, int]]:
        """Calls that came back well and that did not, by point, since the process started."""
        with self._lock:
            return dict(self._totals)

    def names(self) -> list[str]:
        """Points with a call in the last six hours, in alphabetical order."""
        oldest = int(self._now().timestamp() - KEPT_S) // BUCKET_S
        with self._lock:
            return sorted(point for point, buckets in self._buckets.items() if buckets[-1].number >= oldest)

    def _admit(self, point: str) -> deque[_Bucket]:
        """Room for one more point: beyond the limit, the one that was silent longest goes."""
        if len(self._buckets) >= POINTS_LIMIT:
            oldest = min(self._buckets, key=lambda name: self._buckets[name][-1].number)
            del self._buckets[oldest], self._totals[oldest]
        self._buckets[point] = deque(maxlen=KEPT_S // BUCKET_S + 1)
        return self._buckets[point]
