"""The event path: window → judge → Journal.append → Source.confirm.

`step()` does one bounded pass and never sleeps longer than it is told; `run()` only repeats it. The one thread that
writes to the journal also carries out what operators ask for, and the journal's upkeep.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from bridge.errors import BridgeError, InternalError
from bridge.heal import Ending, Healing, heal
from bridge.health import HealthBoard
from bridge.judge import Ruling, StreamJudge, judged
from bridge.logs import Repeating
from bridge.metrics import Metrics
from bridge.model import Commit, Window
from bridge.operate import Awaited, Desk, conclude, perform
from bridge.ports import Journal
from bridge.pump import Flow, Handoff
from bridge.replay import replay
from bridge.resilience.failpoint import reach
from bridge.resilience.retry import Backoff
from bridge.tracing import processing

POLL_INTERVAL_S = 0.05  # for operators' requests
TEND_INTERVAL_S = 0.2  # of upkeep, when no window waits
OVERDUE_TEND_S = 2.0  # upkeep comes first then

_log = structlog.get_logger()


class Ingest:
    """Judges windows and journals them; the one thread that writes to the journal."""

    def __init__(
        self,
        journal: Journal,
        handoff: Handoff,
        judges: Mapping[str, StreamJudge],
        *,
        board: HealthBoard,
        metrics: Metrics,
        desk: Desk,
        stop: threading.Event,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._journal = journal
        self._handoff = handoff
        self._judges = judges
        self._board = board
        self._metrics = metrics
        self._desk = replace(desk, turned=self._turn)
        self._stop = stop
        self._now = now
        self._backoff = Backoff()
        self._trouble = Repeating(_log, failed="journal.failed", recovered="journal.recovered")
        self._tend_at = time.monotonic()
        self._poll_at = 0.0
        self._seen_version = -1
        self._awaited: dict[int, Awaited] = {}  # requests by number
        self._freed = {stream for stream, judge in judges.items() if judge.holds}  # letters may wait behind none
        self.turned_at = time.monotonic()
        self.failure: BridgeError | None = None  # why it stopped for good

    def run(self) -> None:
        """Journal until told to stop; what was handed over before that is journalled still."""
        try:
            while not self._stop.is_set() or not self._handoff.is_empty():
                self._turn()
                self.step(timeout_s=0.1)
        except Exception as error:  # noqa: BLE001  what cannot be journalled stops everything, loudly (I3)
            _log.error("journal.stopped", error=error)
            if not isinstance(error, BridgeError):
                error = InternalError(f"the ingest loop was stopped by {type(error).__name__}")
            self.failure = error
            self._fail(error)

    def step(self, *, timeout_s: float) -> bool:
        """Journal at most one window; without one, see to operators' requests and upkeep. True when there was one."""
        taken = self._handoff.take(timeout_s=timeout_s)
        if taken is not None:
            self._take(*taken)
        self._attend(idle=self._handoff.is_empty())
        return taken is not None

    def _take(self, flow: Flow, window: Window) -> None:
        with processing(window) as given:
            rulings = {
                raw.stream: self._judges[raw.stream].judge(raw, epoch=window.position.epoch, now=self._now())
                for raw in window.batches
            }
            reach("ingest.judged")
            commit = self._store(flow, window, rulings, given)
        for stream, ruling in rulings.items():
            self._judges[stream].settle(ruling)
        with flow.settled:
            flow.position, flow.state = window.position, window.state
            flow.waiting -= 1
            flow.settled.notify_all()
        self._desk.bell.ring()
        reach("ingest.before_confirm")
        flow.source.confirm(window.position)  # I1: after the commit, never before
        reach("ingest.after_confirm")
        self._freed |= {stream for stream in window.reread if self._judges[stream].holds}
        self._record(commit)

    def _commit(self, flow: Flow, window: Window, rulings: Mapping[str, Ruling]) -> Commit:
        # I4: events, letters, parked rows, position and source state are one transaction.
        ended = {stream: rulings.get(stream, Ruling()) for stream in window.reread}
        healed = [
            self._heal(window, self._judges[stream], ruling)
            for stream, ruling in ended.items()
            if self._judges[stream].is_running and not ruling.parked  # else by its resume: parked rows come first
        ]
        return Commit(
            source=flow.name,
            position=window.position,
            state=window.state,
            events=(
                *(ruling.events for ruling in rulings.values() if ruling.events),
                *(healing.deletes for healing in healed if healing.deletes),
            ),
            letters=tuple(ruling.letters for ruling in rulings.values() if ruling.letters),
            parked=tuple(ruling.parked for ruling in rulings.values() if ruling.parked),
            settled={number: how for healing in healed for number, how in healing.settled.items()},
            streams=tuple(ruling.state for ruling in rulings.values() if ruling.state),
            judged=judged(rulings),
            received=window.received,
            received_until=window.received_until,
            extracted=window.extracted,
        )

    def _heal(self, window: Window, judge: StreamJudge, ruling: Ruling) -> Healing:
        ending = Ending(
            judge.stream,
            epoch=window.position.epoch,
            position=window.position.at[0],
            at=self._now(),
            snapshot=int(window.state["snapshots"][judge.stream]["number"]),
            events=ruling.events.batch if ruling.events else None,
            lettered=ruling.letters.rejected.keys if ruling.letters else (),
        )
        return heal(self._journal, ending, judge.contract, turned=self._turn)

    def _store(
        self, flow: Flow, window: Window, rulings: Mapping[str, Ruling], given: dict[str, tuple[int, int]]
    ) -> Commit:
        """Append until it is durable; `given` takes the numbers. # I1: the source is told nothing before that.

        Raises: JournalUnavailable when told to stop meanwhile; the source will send the window again.
        """
        while True:
            started = time.perf_counter()
            try:
                commit = self._commit(flow, window, rulings)
                reach("ingest.before_append")
                if not self._went_in(flow, window):
                    given.update(self._journal.append(commit))
            except BridgeError as error:
                if error.reaction != "wait":
                    raise
                self._fail(error)
                self._trouble.failure(error)
                self._turn()
                if self._stop.wait(self._backoff.next_s()):
                    raise
                continue
            reach("ingest.after_append")
            self._metrics.journal_append_seconds.observe(time.perf_counter() - started)
            self._recovered()
            return commit

    def _went_in(self, flow: Flow, window: Window) -> bool:
        """After a failed append only the journal knows whether the commit went in: its position and state tell.

        Every window with a change in it moves one of the two.
        """
        if not self._backoff.has_failed:
            return False
        return self._journal.position(flow.name) == (window.position, json.loads(json.dumps(window.state)))

    def _fail(self, error: BridgeError) -> None:
        """Whatever it was that could not be written, no stream can be: health says so, whoever tried first."""
        self._board.fail("journal", error.detail, error.hint, blocks=tuple(self._judges))

    def _recovered(self) -> None:
        self._backoff.reset()
        self._trouble.success()
        self._board.ok("journal")

    def _turn(self) -> None:
        self.turned_at = time.monotonic()

    def _record(self, commit: Commit) -> None:
        now = self._now()
        for batch in commit.events:
            self._metrics.record_events(batch, now=now)
        for letters in commit.letters:
            self._metrics.record_rejected(letters)
        if commit.extracted is not None:
            self._metrics.record_extracted(commit.extracted)
        for state in commit.streams:
            _log.info("stream.changed", stream=state.stream, phase=state.phase.value, why=state.why)

    def _attend(self, *, idle: bool) -> None:
        """Operators' requests when somebody wrote to the journal; upkeep when there is time, or when it is overdue."""
        try:
            for stream in tuple(self._freed):
                replay(self._journal, self._judges[stream], (), actor="bridge", turned=self._turn)
                self._freed.remove(stream)
            self._poll()
            waited_s = time.monotonic() - self._tend_at
            if waited_s >= TEND_INTERVAL_S and (idle or waited_s >= OVERDUE_TEND_S):
                more = self._journal.tend(self._now())
                self._tend_at = time.monotonic() - (TEND_INTERVAL_S if more and idle else 0.0)
                self._recovered()
        except BridgeError as error:
            if error.reaction != "wait":
                raise
            self._fail(error)
            self._trouble.failure(error)
            self._tend_at = time.monotonic()

    def _poll(self) -> None:
        self._awaited = {
            number: awaited for number, awaited in self._awaited.items() if not conclude(self._desk, awaited)
        }
        now = time.monotonic()
        if now < self._poll_at:
            return
        self._poll_at = now + POLL_INTERVAL_S
        version = self._journal.version()
        if version == self._seen_version:
            return
        for request in self._journal.requests():
            self._desk.bell.ring()
            awaited = None if request.id in self._awaited else perform(self._desk, request)
            if awaited is not None:
                self._awaited[request.id] = awaited
        self._seen_version = version
