"""What an operator should see, looked up every few seconds: slots, re-reads, parked rows, letters, validity levels.

Reads the journal and the sources' last observations; changes nothing but the health board and the gauges.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from bridge.contract import levels
from bridge.errors import BridgeError
from bridge.findings import Level
from bridge.halt import halts
from bridge.health import HealthBoard
from bridge.judge import StreamJudge
from bridge.metrics import Metrics, SinkLag
from bridge.model import StreamPhase
from bridge.parcel import Progress
from bridge.ports import Journal, StreamExtent
from bridge.pump import Flow
from bridge.standing import left_behind

INTERVAL_S = 2.0
_TRAIL_LENGTH = 1024


class Lateness:
    """Since when a change log has held something that is not confirmed, told from looks at it."""

    def __init__(self) -> None:
        self._trail: deque[tuple[datetime, int]] = deque()  # when the log was first seen to reach a position

    def look(self, *, at: datetime, written: int, confirmed: int) -> float:
        """Seconds since the oldest position above `confirmed` was seen written; 0 when there is none."""
        if not self._trail or written > self._trail[-1][1]:
            self._trail.append((at, written))
        while self._trail and self._trail[0][1] <= confirmed:
            self._trail.popleft()
        if len(self._trail) > _TRAIL_LENGTH:  # days behind: every other look tells enough
            self._trail = deque(list(self._trail)[::2])
        return (at - self._trail[0][0]).total_seconds() if self._trail else 0.0


class Watch:
    """Looks at one configuration's loops; for one thread.

    Args:
        journal: whose events sinks may be behind.
        flows: sources by system.
        judges: by stream.
        board: where what is not well is said.
        metrics: where figures are shown.
        sinks: the streams that each sink reads.
        readers: the streams that each principal sees.
        now: the clock.
    """

    def __init__(
        self,
        journal: Journal,
        flows: Mapping[str, Flow],
        judges: Mapping[str, StreamJudge],
        *,
        board: HealthBoard,
        metrics: Metrics,
        sinks: Mapping[str, Sequence[str]] | None = None,
        readers: Mapping[str, Sequence[str]] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.journal = journal
        self._flows = flows
        self._judges = judges
        self._board = board
        self._metrics = metrics
        self._sinks = sinks or {}
        self._readers = readers or {}
        self._left: set[str] = set()  # components of cursors that nobody moves
        self._now = now
        self._lateness = {system: Lateness() for system in flows}
        self._seen: dict[str, object] = {}  # system -> the look at its slot that the gauges show
        self._due_at = 0.0
        self._levels: dict[str, levels.Level] = {}
        self._found: dict[str, set[str]] = {}  # system -> slot components on the board

    def step(self) -> None:
        """One look, at most every `INTERVAL_S`."""
        if time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + INTERVAL_S
        for system, flow in self._flows.items():
            self._look_at_source(system, flow)
            self._look_at_rereads(flow)
        try:
            self._look_at_journal()
        except BridgeError as error:  # not "journal": that is what its writer says of it
            self._board.fail("journal:read", error.detail, error.hint)
        else:
            self._board.ok("journal:read")
        states = {component: check["status"] for component, check in self._board.report()["checks"].items()}
        self._metrics.set_components(states)

    def end(self) -> None:
        """Take back what the sources said: whoever looks after them next says it anew."""
        for component in self._left.union(*self._found.values()):
            self._board.forget(component)

    def _look_at_source(self, system: str, flow: Flow) -> None:
        blocks = tuple(stream for stream in self._judges if stream in flow.streams)
        present = set()
        for finding in flow.source.findings():
            component = f"{finding.code}:{system}"
            present.add(component)
            level: Literal["warn", "fail"] = "fail" if finding.level is Level.FAIL else "warn"
            self._board.fail(
                component, finding.detail, finding.fix, blocks=blocks if level == "fail" else (), level=level
            )
        for component in self._found.get(system, set()) - present:
            self._board.forget(component)
        self._found[system] = present
        self._look_at_observation(system, flow)

    def _look_at_observation(self, system: str, flow: Flow) -> None:
        seen = flow.source.observation()
        if seen is None or seen.state is None or seen is self._seen.get(system):
            return
        self._seen[system] = seen
        state, metrics = seen.state, self._metrics
        metrics.slot_retained_bytes.labels(system).set(state.retained_bytes)
        metrics.source_behind_bytes.labels(system).set(state.behind_bytes)
        late_s = self._lateness[system].look(
            at=state.observed_at, written=state.current_lsn, confirmed=state.current_lsn - state.behind_bytes
        )
        metrics.source_behind_seconds.labels(system).set(late_s)
        metrics.clock_offset_seconds.labels(system).set((state.observed_at - self._now()).total_seconds())
        hours = seen.forecast.hours_to_full if seen.forecast else None
        metrics.slot_hours_to_full.labels(system).set(float("inf") if hours is None else hours)

    def _look_at_rereads(self, flow: Flow) -> None:
        for stream, reread in flow.state.get("snapshots", {}).items():
            is_done = reread["phase"] == "done"
            ratio = 1.0 if is_done else min(1.0, reread["rows"] / reread["of"]) if reread["of"] else 0.0
            self._metrics.snapshot_progress_ratio.labels(stream).set(ratio)

    def _look_at_journal(self) -> None:
        states = self.journal.stream_states()
        letters = self.journal.letter_counts()
        for stream, judge in self._judges.items():
            component = f"stream:{stream}"
            state = states.get(stream)
            level = self._validity(stream, judge)
            if state is not None and state.phase is not StreamPhase.RUNNING:
                action = f"See `legacy-bridge stream list`, then `legacy-bridge stream resume {stream}`."
                drifted = state.phase is StreamPhase.DRIFT
                self._board.fail(
                    component,
                    f"rows are parked: {state.why}",
                    action,
                    blocks=(stream,),
                    level="fail" if drifted else "warn",
                )
            elif level is not None and not level.ok:
                action = f"See `legacy-bridge dead list --stream {stream}`."
                what = f"{level.error_percent:.2f} % of its rows were rejected, more than its contract allows"
                self._board.fail(component, what, action, level="warn")
            else:
                self._board.ok(component)
        paused = halts(self.journal)
        self._metrics.set_paused({flow.system: flow.system in paused for flow in self._flows.values()})
        self._metrics.set_dead_letters(letters)
        self._metrics.set_parked_rows(self.journal.parked_counts())
        extents = self.journal.extents()
        self._metrics.journal_bytes.set(sum(extent.bytes for extent in extents.values()))
        reached = self.journal.subscribers()
        self._look_at_cursors(reached)
        self._look_at_sinks(reached, extents)

    def _look_at_cursors(self, reached: Mapping[str, Mapping[str, Progress]]) -> None:
        found = left_behind(reached, sinks=self._sinks, readers=self._readers)
        for component in self._left - found.keys():
            self._board.forget(component)
        for component, (what, action) in found.items():
            self._board.fail(component, what, action, level="warn")
        self._left = set(found)

    def _look_at_sinks(
        self, reached: Mapping[str, Mapping[str, Progress]], extents: Mapping[str, StreamExtent]
    ) -> None:
        letters = self.journal.undelivered_counts() if self._sinks else {}
        lags = {}
        for sink, streams in self._sinks.items():
            at = {stream: reached.get(sink, {}).get(stream, Progress()) for stream in streams if stream in extents}
            events = {stream: max(0, extents[stream].last - progress.cursor) for stream, progress in at.items()}
            oldest = [self.journal.journalled_at(stream, at[stream].cursor + 1) for stream in events if events[stream]]
            since = min((moment for moment in oldest if moment is not None), default=None)
            lags[sink] = SinkLag(
                events,
                seconds=0.0 if since is None else max(0.0, (self._now() - since).total_seconds()),
                held_events=sum(last - first + 1 for progress in at.values() for first, last in progress.pending),
                dead_letters=letters.get(sink, 0),
            )
        self._metrics.set_sinks(lags)

    def _validity(self, stream: str, judge: StreamJudge) -> levels.Level | None:
        """The stream's validity level over its rolling window; None where the contract states none."""
        target = judge.contract.validity
        if target is None:
            return None
        now = self._now()
        counts = self.journal.validity(stream, since=now - timedelta(seconds=target.window_s))
        level = self._levels[stream] = levels.judge(target, counts, now=now, before=self._levels.get(stream))
        self._metrics.set_rejected(stream, ratio=level.error_percent / 100, allowed_ratio=target.error_percent / 100)
        return level
