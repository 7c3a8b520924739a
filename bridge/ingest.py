"""The event path: Source.read → Window → judge → Journal.append → Source.confirm.

Each source has a `Pump` thread that owns its sessions; one `Ingest` thread owns the journal's writer. Between them is a
short queue of windows, so a slow journal is felt by the source and nothing piles up. `step()` does one bounded pass and
never sleeps longer than it is told; `run()` only repeats it.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from bridge.errors import BridgeError, InternalError, PositionLost
from bridge.heal import Ending, missing_deletes
from bridge.health import HealthBoard
from bridge.judge import Ruling, StreamJudge, judged
from bridge.logs import Repeating
from bridge.metrics import Metrics
from bridge.model import Commit, Position, Window
from bridge.operate import Desk, perform
from bridge.ports import Journal, Source
from bridge.resilience.failpoint import reach
from bridge.resilience.retry import Backoff

QUEUED_WINDOWS = 2  # of up to 8 MB each; what does not fit waits in the source's socket
POLL_INTERVAL_S = 0.05  # for operators' requests
TEND_INTERVAL_S = 0.2  # of upkeep, when no window waits
OVERDUE_TEND_S = 2.0  # upkeep comes first then

_log = structlog.get_logger()


class RenewableSource(Source, Protocol):
    """A source that can begin a new epoch by itself."""

    def renew(self, position: Position | None, state: Mapping[str, Any], cause: str) -> Window:
        """The first window of a new epoch: gaps declared, re-reads planned."""

    def keep_alive(self) -> None:
        """Keep the session alive while the journal is busy."""

    def control(self, action: str, stream: str) -> None:
        """Start, pause, resume or cancel a re-read of a stream."""

    def findings(self) -> Sequence[Any]:
        """What is wrong with it now, for people: level, code, detail, fix."""

    def observation(self) -> Any:  # noqa: ANN401  the adapter's own; None before the first look
        """The last look at what it holds on the legacy system."""


@dataclass(slots=True)
class Flow:
    """What a source's pump and the ingest thread share; only the ingest thread writes `position` and `state`."""

    source: RenewableSource
    streams: frozenset[str]
    position: Position | None
    state: Mapping[str, Any]
    waiting: int = 0  # windows handed over and not yet journalled
    settled: threading.Condition = field(default_factory=threading.Condition)

    @property
    def name(self) -> str:
        """The system's name."""
        return self.source.name


class Handoff:
    """The bounded queue between the pumps and the ingest thread."""

    def __init__(self) -> None:
        self._windows: queue.Queue[tuple[Flow, Window]] = queue.Queue(QUEUED_WINDOWS)

    def give(self, flow: Flow, window: Window, *, timeout_s: float) -> bool:
        """Hand a window over; False when there was no room in time."""
        try:
            self._windows.put((flow, window), timeout=timeout_s)
        except queue.Full:
            return False
        return True

    def take(self, *, timeout_s: float) -> tuple[Flow, Window] | None:
        """The next window; None when none came in time."""
        try:
            return self._windows.get(timeout=timeout_s) if timeout_s > 0 else self._windows.get_nowait()
        except queue.Empty:
            return None

    def is_empty(self) -> bool:
        """Whether no window waits now."""
        return self._windows.empty()


class Pump:
    """Reads one source and hands its windows over; for a thread of its own."""

    def __init__(self, flow: Flow, handoff: Handoff, board: HealthBoard, stop: threading.Event) -> None:
        self.flow = flow
        self._handoff = handoff
        self._board = board
        self._stop = stop
        self._component = f"source:{flow.name}"
        self._is_open = False
        self._backoff = Backoff()
        self._trouble = Repeating(_log.bind(system=flow.name), failed="source.failed", recovered="source.recovered")
        self.turned_at = time.monotonic()  # when the loop turned last

    def run(self) -> None:
        """Pump until told to stop, or until the source says that a person is needed."""
        try:
            while not self._stop.is_set():
                self.turned_at = time.monotonic()
                try:
                    self.step(timeout_s=1.0)
                except BridgeError as error:
                    if not self._recover(error):
                        return
        except Exception as error:  # noqa: BLE001  a bug must stop its source, loudly, and not the others (I3)
            _log.error("source.stopped", system=self.flow.name, error=error)
            self._board.fail(self._component, f"stopped by {type(error).__name__}", InternalError.default_hint)
        finally:
            self.flow.source.close()

    def step(self, *, timeout_s: float) -> bool:
        """Read at most one window and hand it over; True when there was one.

        Raises: whatever the source raises; the position then still is the journal's.
        """
        source = self.flow.source
        if not self._is_open:
            self._settle()
            source.open(self.flow.position, self.flow.state)
            self._is_open = True
            self._board.ok(self._component)
            _log.info("source.opened", system=self.flow.name)
        window = source.read(timeout_s, is_busy=lambda: self.flow.waiting > 0)
        self._backoff.reset()
        self._trouble.success()
        self._board.ok(self._component)
        if window is None:
            return False
        self._give(window)
        return True

    def _give(self, window: Window) -> None:
        with self.flow.settled:
            self.flow.waiting += 1
        while not self._handoff.give(self.flow, window, timeout_s=0.5):
            self.turned_at = time.monotonic()
            if self._stop.is_set():
                return
            if self._is_open:
                self.flow.source.keep_alive()

    def _settle(self) -> None:
        """Wait until the ingest thread has dealt with everything handed over: its position is the one to open at."""
        with self.flow.settled:
            while self.flow.waiting and not self._stop.is_set():
                self.turned_at = time.monotonic()
                self.flow.settled.wait(0.5)

    def _recover(self, error: BridgeError) -> bool:
        """Do what the error asks for; False when the source must stand still until somebody acts."""
        self._is_open = False
        self.flow.source.close()
        if isinstance(error, PositionLost):
            self._board.fail(self._component, error.detail, error.hint)
            _log.error("source.position_lost", system=self.flow.name, error=error)
            return self._begin_epoch(error)
        self._board.fail(self._component, error.detail, error.hint)
        if error.reaction != "wait":
            _log.error("source.stopped", system=self.flow.name, error=error)
            return False
        self._trouble.failure(error)
        self._stop.wait(self._backoff.next_s())
        return True

    def _begin_epoch(self, lost: PositionLost) -> bool:
        # I2: a gap is declared before anything of the new history is journalled.
        self._settle()
        try:
            self._give(self.flow.source.renew(self.flow.position, self.flow.state, lost.detail))
        except BridgeError as error:
            if error.reaction == "stop" and not isinstance(error, PositionLost):
                self._board.fail(self._component, error.detail, error.hint)
                _log.error("source.stopped", system=self.flow.name, error=error)
                return False
            self._trouble.failure(error)
            self._stop.wait(self._backoff.next_s())
        return True


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
        self._desk = desk
        self._stop = stop
        self._now = now
        self._backoff = Backoff()
        self._trouble = Repeating(_log, failed="journal.failed", recovered="journal.recovered")
        self._tend_at = time.monotonic()
        self._poll_at = 0.0
        self._seen_version = -1
        self.turned_at = time.monotonic()
        self.failed = False  # stopped for good; health says why

    def run(self) -> None:
        """Journal until told to stop; what was handed over before that is journalled still."""
        try:
            while not self._stop.is_set() or not self._handoff.is_empty():
                self.turned_at = time.monotonic()
                self.step(timeout_s=0.1)
        except Exception as error:  # noqa: BLE001  what cannot be journalled stops everything, loudly (I3)
            self.failed = True
            hint = error.hint if isinstance(error, BridgeError) else InternalError.default_hint
            _log.error("journal.stopped", error=error)
            detail = error.detail if isinstance(error, BridgeError) else f"stopped by {type(error).__name__}"
            self._board.fail("journal", detail, hint, blocks=tuple(self._judges))

    def step(self, *, timeout_s: float) -> bool:
        """Journal at most one window; without one, see to operators' requests and upkeep. True when there was one."""
        taken = self._handoff.take(timeout_s=timeout_s)
        if taken is not None:
            self._take(*taken)
        self._attend(idle=self._handoff.is_empty())
        return taken is not None

    def _take(self, flow: Flow, window: Window) -> None:
        rulings = {
            raw.stream: self._judges[raw.stream].judge(raw, epoch=window.position.epoch, now=self._now())
            for raw in window.batches
        }
        reach("ingest.judged")
        commit = self._commit(flow, window, rulings)
        self._store(flow, commit)
        for stream, ruling in rulings.items():
            self._judges[stream].settle(ruling)
        reach("ingest.before_confirm")
        flow.source.confirm(window.position)  # I1: after the commit, never before
        reach("ingest.after_confirm")
        with flow.settled:
            flow.position, flow.state = window.position, window.state
            flow.waiting -= 1
            flow.settled.notify_all()
        self._record(commit)

    def _commit(self, flow: Flow, window: Window, rulings: Mapping[str, Ruling]) -> Commit:
        # I4: events, letters, parked rows, position and source state are one transaction.
        events = [ruling.events for ruling in rulings.values() if ruling.events]
        for stream in window.reread:
            ruling = rulings.get(stream, Ruling())
            ending = Ending(
                stream,
                epoch=window.position.epoch,
                position=window.position.at[0],
                at=self._now(),
                snapshot=int(window.state["snapshots"][stream]["number"]),
                events=ruling.events.batch if ruling.events else None,
                lettered=ruling.letters.rejected.keys if ruling.letters else (),
            )
            hidden = missing_deletes(self._journal, ending, key_fields=self._judges[stream].contract.key_fields)
            events += [hidden] if hidden else []
        return Commit(
            source=flow.name,
            position=window.position,
            state=window.state,
            events=tuple(events),
            letters=tuple(ruling.letters for ruling in rulings.values() if ruling.letters),
            parked=tuple(ruling.parked for ruling in rulings.values() if ruling.parked),
            streams=tuple(ruling.state for ruling in rulings.values() if ruling.state),
            judged=judged(rulings),
        )

    def _store(self, flow: Flow, commit: Commit) -> None:
        """Append until it is durable. # I1: the source is told nothing before that."""
        while True:
            reach("ingest.before_append")
            started = time.perf_counter()
            try:
                self._journal.append(commit)
            except BridgeError as error:
                if error.reaction != "wait":
                    raise
                self._board.fail("journal", error.detail, error.hint, blocks=tuple(self._judges))
                self._trouble.failure(error)
                self.turned_at = time.monotonic()
                time.sleep(self._backoff.next_s())
                if self._stored_after_all(flow, commit):
                    return
                continue
            reach("ingest.after_append")
            self._metrics.journal_append_seconds.observe(time.perf_counter() - started)
            if self._backoff.reset():
                self._trouble.success()
            self._board.ok("journal")
            return

    def _stored_after_all(self, flow: Flow, commit: Commit) -> bool:
        """After a failed append only the journal knows whether the commit went in: its position tells.

        Every window moves the position or the state, so a commit that went in is recognised by both.
        """
        try:
            position, state = self._journal.position(flow.name)
        except BridgeError as error:
            if error.reaction != "wait":
                raise
            return False
        return position == commit.position and state == commit.state

    def _record(self, commit: Commit) -> None:
        now = self._now()
        for batch in commit.events:
            self._metrics.record_events(batch, now=now)
        for letters in commit.letters:
            self._metrics.record_rejected(letters)
        for state in commit.streams:
            _log.info("stream.changed", stream=state.stream, phase=state.phase.value, why=state.why)

    def _attend(self, *, idle: bool) -> None:
        """Operators' requests when somebody wrote to the journal; upkeep when there is time, or when it is overdue."""
        try:
            now = time.monotonic()
            if now >= self._poll_at:
                self._poll_at = now + POLL_INTERVAL_S
                version = self._journal.version()
                if version != self._seen_version:
                    for request in self._journal.requests():
                        perform(self._desk, request)
                    self._seen_version = version
            waited_s = now - self._tend_at
            if waited_s >= TEND_INTERVAL_S and (idle or waited_s >= OVERDUE_TEND_S):
                more = self._journal.tend(self._now())
                self._tend_at = time.monotonic() - (TEND_INTERVAL_S if more and idle else 0.0)
        except BridgeError as error:
            if error.reaction != "wait":
                raise
            self._board.fail("journal", error.detail, error.hint)
            self._trouble.failure(error)
            self._tend_at = time.monotonic()
