"""Looks at everything that the rules ask about: journal, health board, sources, calls, disk and clocks.

Changes nothing. Blocks for as long as the journal and the disk take to answer; never called on an event loop.
"""

import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bridge.alarm.sight import DiskSight, RunSight, Sight, SinkSight, SlotSight, StreamSight
from bridge.config.models import Config
from bridge.contract import levels
from bridge.errors import BridgeError
from bridge.extraction.budget import Budget
from bridge.extraction.declared import limits_of, plans_of
from bridge.extraction.runs import RECENT, overdue, took, usual
from bridge.halt import halts
from bridge.health import HealthBoard
from bridge.judge import StreamJudge
from bridge.points import Points
from bridge.ports import Journal
from bridge.pump import Flow

_RUN = uuid.uuid4().hex  # this process
_OF_THE_JOURNAL = frozenset(
    {
        "stream_silent",
        "stream_late",
        "validity",
        "dead_letters",
        "breaker_open",
        "sink_gone",
        "clock_off",
        "run_failed",
        "run_late",
        "run_long",
    }
)


class Lookout:
    """Looks at one configuration's parts."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        *,
        flows: Mapping[str, Flow],
        judges: Mapping[str, StreamJudge],
        board: HealthBoard,
        points: Points,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._journal = journal
        self._flows = flows
        self._judges = judges
        self._board = board
        self._points = points
        self._now = now
        self._monotonic = monotonic
        self._started_at = now()

    def look(self) -> Sight:
        """The present moment. What cannot be looked at leaves its rules blind."""
        now = self._now()
        # An alarm of an earlier process is not over because nobody in this one has looked yet.
        unheard = self._board.unheard(self._components())
        sight = Sight(
            at=now,
            run=_RUN,
            offset_s=now.timestamp() - self._monotonic(),
            started_at=self._started_at,
            slots=self._slots(),
            rereads=self._rereads(),
            calls=self._points.totals(),
            ailments=tuple(self._board.ailments()),
            blind=frozenset(f"slot_filling source:{system}" for system in self._flows.keys() - self._slots().keys())
            | {f"component {one}" for one in unheard},
        )
        try:
            sight = replace(sight, disk=_disk(self._config.bridge.journal.sqlite.parent))
        except OSError:
            sight = replace(sight, blind=sight.blind | {"disk_filling"})
        try:
            return replace(sight, streams=self._streams(now), sinks=self._sinks())
        except BridgeError:  # the health board says so by itself
            return replace(sight, blind=sight.blind | _OF_THE_JOURNAL)

    def _components(self) -> list[str]:
        """What a loop reports on from its first turn on, whatever it finds."""
        named = {"source": self._flows, "stream": self._judges, "sink": self._config.sinks}
        return [f"{kind}:{name}" for kind, names in named.items() for name in names]

    def _slots(self) -> dict[str, SlotSight]:
        found = {}
        for system, flow in self._flows.items():
            seen = flow.source.observation()
            if seen is not None and seen.forecast is not None:
                found[system] = SlotSight(seen.forecast.ratio, seen.forecast.hours_to_full)
        return found

    def _rereads(self) -> dict[str, int]:
        return {
            stream: int(reread["rows"])
            for flow in self._flows.values()
            for stream, reread in flow.state.get("snapshots", {}).items()
            if reread["phase"] == "running"
        }

    def _streams(self, now: datetime) -> dict[str, StreamSight]:
        extents, letters = self._journal.extents(), self._journal.letter_counts()
        found = {}
        for stream, judge in self._judges.items():
            extent, target = extents.get(stream), judge.contract.validity
            level = None
            if target is not None:
                counts = self._journal.validity(stream, since=now - timedelta(seconds=target.window_s))
                level = levels.judge(target, counts, now=now)
            found[stream] = StreamSight(
                system=self._config.streams[stream].system,
                last_commit_at=extent.last_commit_at if extent else None,
                last_journalled_at=extent.last_journalled_at if extent else None,
                frequency_s=judge.contract.frequency_s,
                latency_s=judge.contract.latency_s,
                error_percent=level.error_percent if level else None,
                allowed_percent=target.error_percent if target else 100.0,
                letters=letters.get(stream, 0),
                runs=self._runs(stream, now),
            )
        return found

    def _runs(self, stream: str, now: datetime) -> RunSight:
        config, declared = self._config, self._config.streams[stream]
        if not declared.has_runs:
            return RunSight()
        runs = self._journal.runs(stream=stream, limit=RECENT)
        keeps_quiet = declared.system in halts(self._journal) or Budget(limits_of(config, declared.system)).hindrance(
            now
        )
        due = None if keeps_quiet else overdue(plans_of(config, declared.system, [stream])[0], runs, now)
        newest = next((run for run in runs if run.state != "skipped"), None)
        if newest is None:
            return RunSight(due_since=due)
        usually, is_running = usual(runs, newest), newest.state == "running"
        return RunSight(
            failed=newest.detail if newest.state == "failed" else None,
            failed_at=newest.ended_at,
            due_since=due,
            running_s=took(newest, now).total_seconds() if is_running else None,
            usually_s=usually.total_seconds() if usually is not None else None,
        )

    def _sinks(self) -> dict[str, SinkSight]:
        kept, letters = self._journal.kept("delivery"), self._journal.undelivered_counts()
        found = {}
        for name, declared in self._config.sinks.items():
            state = kept.get(name, {})
            breaker, gone = state.get("breaker") or {}, state.get("gone") or {}
            found[name] = SinkSight(
                streams=self._config.streams_for(declared.streams),
                breaker=breaker.get("state", "closed"),
                breaker_since=_moment(breaker),
                breaker_why=breaker.get("why", ""),
                gone_since=_moment(gone),
                gone_why=gone.get("why", ""),
                letters=letters.get(name, 0),
            )
        return found


def _disk(folder: Path) -> DiskSight:
    usage = shutil.disk_usage(folder)
    return DiskSight(usage.free, usage.total)


def _moment(state: Mapping[str, Any]) -> datetime | None:
    return datetime.fromisoformat(state["since"]) if state.get("since") else None
