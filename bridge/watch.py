"""What an operator should see, looked up every few seconds: slots, re-reads, parked rows, letters, validity levels.

Reads the journal and the sources' last observations; changes nothing but the health board and the gauges.
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

from bridge.contract import levels
from bridge.errors import BridgeError
from bridge.health import HealthBoard
from bridge.judge import StreamJudge
from bridge.metrics import Metrics
from bridge.model import StreamPhase
from bridge.ports import Journal
from bridge.pump import Flow

INTERVAL_S = 2.0


class Watch:
    """Looks at one configuration's loops; for one thread."""

    def __init__(
        self,
        journal: Journal,
        flows: Mapping[str, Flow],
        judges: Mapping[str, StreamJudge],
        *,
        board: HealthBoard,
        metrics: Metrics,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.journal = journal
        self._flows = flows
        self._judges = judges
        self._board = board
        self._metrics = metrics
        self._now = now
        self._due_at = 0.0
        self._levels: dict[str, levels.Level] = {}
        self._found: dict[str, set[str]] = {}  # system -> slot components on the board

    def step(self) -> None:
        """One look, at most every `INTERVAL_S`."""
        if time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + INTERVAL_S
        for system, flow in self._flows.items():
            self._look_at_slot(system, flow)
            self._look_at_rereads(flow)
        try:
            self._look_at_journal()
        except BridgeError as error:  # not "journal": that is what its writer says of it
            self._board.fail("journal:read", error.detail, error.hint)
        else:
            self._board.ok("journal:read")

    def end(self) -> None:
        """Take back what the sources said: whoever looks after them next says it anew."""
        for component in set().union(*self._found.values()):
            self._board.forget(component)

    def _look_at_slot(self, system: str, flow: Flow) -> None:
        blocks = tuple(stream for stream in self._judges if stream in flow.streams)
        present = set()
        for finding in flow.source.findings():
            component = f"{finding.code}:{system}"
            present.add(component)
            level: Literal["warn", "fail"] = "fail" if finding.level == "fail" else "warn"
            self._board.fail(
                component, finding.detail, finding.fix, blocks=blocks if level == "fail" else (), level=level
            )
        for component in self._found.get(system, set()) - present:
            self._board.forget(component)
        self._found[system] = present
        seen = flow.source.observation()
        if seen is not None and seen.state is not None:
            self._metrics.slot_retained_bytes.labels(system).set(seen.state.retained_bytes)
            self._metrics.source_behind_bytes.labels(system).set(seen.state.behind_bytes)
            hours = seen.forecast.hours_to_full if seen.forecast else None
            self._metrics.slot_hours_to_full.labels(system).set(float("inf") if hours is None else hours)

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
        self._metrics.set_dead_letters(letters)
        self._metrics.set_parked_rows(self.journal.parked_counts())
        self._metrics.journal_bytes.set(sum(extent.bytes for extent in self.journal.extents().values()))

    def _validity(self, stream: str, judge: StreamJudge) -> levels.Level | None:
        """The stream's validity level over its rolling window; None where the contract states none."""
        target = judge.contract.validity
        if target is None:
            return None
        now = self._now()
        counts = self.journal.validity(stream, since=now - timedelta(seconds=target.window_s))
        self._levels[stream] = levels.judge(target, counts, now=now, before=self._levels.get(stream))
        return self._levels[stream]
