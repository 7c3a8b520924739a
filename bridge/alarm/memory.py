"""What rules must remember of former moments: calls by the minute, levels by the minute, what stood still since when.

Bounded by the number of streams, sinks and systems. `document` and `recall` keep it over a restart.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from bridge.alarm.sight import Sight

LEVEL_MINUTES = 60
JUMP_SHOWN_S = 600.0


class Memory:
    """For one thread."""

    def __init__(self, *, minutes: int = 60) -> None:
        """Remember calls for so many minutes."""
        self._minutes = minutes
        self._run = ""
        self._counted: dict[str, tuple[int, int]] = {}  # calls as they were counted last, in this run
        self._calls: dict[str, dict[int, tuple[int, int]]] = {}  # point -> minute -> (ok, failed)
        self._levels: dict[str, dict[int, int]] = {}  # name -> minute -> the value seen first in it
        self._marks: dict[str, tuple[int, datetime]] = {}  # name -> a value and since when it is that
        self._offset_s: float | None = None
        self._jump: tuple[float, datetime] | None = None

    def see(self, sight: Sight) -> None:
        """Take in one moment; moments come in order."""
        if sight.run != self._run:
            self._run, self._counted, self._offset_s = sight.run, {}, None
        minute = _minute(sight.at)
        self._see_calls(sight, minute)
        levels = {f"stream:{name}": each.letters for name, each in sight.streams.items()}
        levels |= {f"sink:{name}": each.letters for name, each in sight.sinks.items()}
        if sight.disk is not None:
            levels["disk"] = sight.disk.free_bytes
        for name, value in levels.items():
            kept = {at: old for at, old in self._levels.get(name, {}).items() if minute - LEVEL_MINUTES <= at <= minute}
            kept.setdefault(minute, value)
            self._levels[name] = kept
        self._marks = {
            stream: (rows, self._marks[stream][1] if self._marks.get(stream, (None,))[0] == rows else sight.at)
            for stream, rows in sight.rereads.items()
        }
        self._see_clock(sight)

    def _see_calls(self, sight: Sight, minute: int) -> None:
        for point, (ok, failed) in sight.calls.items():
            old_ok, old_failed = self._counted.get(point, (0, 0))
            if ok < old_ok or failed < old_failed:  # it was counted anew
                old_ok = old_failed = 0
            self._counted[point] = ok, failed
            kept = self._calls.setdefault(point, {})
            here = kept.get(minute, (0, 0))
            if ok > old_ok or failed > old_failed:
                kept[minute] = here[0] + ok - old_ok, here[1] + failed - old_failed
        for kept in self._calls.values():
            for old in [at for at in kept if not minute - self._minutes < at <= minute]:
                del kept[old]

    def _see_clock(self, sight: Sight) -> None:
        before, self._offset_s = self._offset_s, sight.offset_s
        if before is not None and abs(sight.offset_s - before) >= 1.0:
            self._jump = sight.offset_s - before, sight.at
        if self._jump and not timedelta() <= sight.at - self._jump[1] <= timedelta(seconds=JUMP_SHOWN_S):
            self._jump = None

    # -- what the rules ask

    def points(self) -> Iterator[str]:
        """Integration points that were called lately."""
        return (point for point, kept in self._calls.items() if kept)

    def calls(self, point: str, *, at: datetime, seconds: float) -> tuple[int, int]:
        """Calls that went well and that failed within so many seconds, to the minute; the running one counts."""
        first = _minute(at) - max(1, round(seconds / 60))
        found = [counts for minute, counts in self._calls.get(point, {}).items() if minute > first]
        return sum(ok for ok, _ in found), sum(failed for _, failed in found)

    def change(self, name: str, value: int, *, at: datetime) -> tuple[int, float]:
        """How much a level changed since the oldest minute within the hour, and how many seconds ago that was."""
        levels = self._levels.get(name)
        if not levels:
            return 0, 0.0
        oldest = min(levels)
        return value - levels[oldest], max(0.0, at.timestamp() - oldest * 60)

    def still_since(self, stream: str) -> datetime | None:
        """Since when a re-read has not moved; None when none runs."""
        return self._marks[stream][1] if stream in self._marks else None

    def jump(self) -> tuple[float, datetime] | None:
        """Seconds by which the wall clock jumped lately, and when."""
        return self._jump

    # -- over restarts

    def document(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "run": self._run,
            "counted": self._counted,
            "calls": {point: [[at, *counts] for at, counts in kept.items()] for point, kept in self._calls.items()},
            "levels": {name: [[at, value] for at, value in kept.items()] for name, kept in self._levels.items()},
            "marks": {name: [value, since.isoformat()] for name, (value, since) in self._marks.items()},
            "offset_s": self._offset_s,
            "jump": [self._jump[0], self._jump[1].isoformat()] if self._jump else None,
        }

    @classmethod
    def recall(cls, document: Mapping[str, Any], *, minutes: int) -> "Memory":
        """What `document` gave; an empty memory for an empty document."""
        memory = cls(minutes=minutes)
        if not document:
            return memory
        memory._run = document["run"]
        memory._counted = {point: (ok, failed) for point, (ok, failed) in document["counted"].items()}
        memory._calls = {p: {at: (ok, bad) for at, ok, bad in kept} for p, kept in document["calls"].items()}
        memory._levels = {name: dict(kept) for name, kept in document["levels"].items()}
        memory._marks = {n: (value, datetime.fromisoformat(at)) for n, (value, at) in document["marks"].items()}
        memory._offset_s = document["offset_s"]
        if document["jump"]:
            memory._jump = document["jump"][0], datetime.fromisoformat(document["jump"][1])
        return memory


def _minute(at: datetime) -> int:
    return int(at.timestamp() // 60)
