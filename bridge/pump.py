"""Reading: one thread a source hands its windows over to the thread that journals them.

Between them is a short queue, so a slow journal is felt by the source and nothing piles up. A source that fails is
opened again at the journal's position; one whose history is gone begins a new epoch with a declared gap.
"""

import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import structlog

from bridge.errors import BridgeError, InternalError, PositionLost
from bridge.findings import Finding
from bridge.health import HealthBoard, Level
from bridge.logs import Repeating
from bridge.model import Position, Window, system_of
from bridge.points import Points
from bridge.ports import Source
from bridge.resilience.retry import Backoff

QUEUED_WINDOWS = 2  # of up to 8 MB each; what does not fit waits in the source's socket
WAIT_S = 0.5  # at most, for one thing; then the loop turns
PRESS_EVERY_S = 0.1  # how often a source is interrupted while it is to come to rest
PRESS_S = 10.0

_log = structlog.get_logger()


class RenewableSource(Source, Protocol):
    """A source that can begin a new epoch by itself."""

    def renew(self, position: Position | None, state: Mapping[str, Any], cause: str) -> Window:
        """The first window of a new epoch: gaps declared, re-reads planned."""

    def keep_alive(self) -> None:
        """Keep the session alive while the journal is busy."""

    def control(self, action: str, stream: str) -> None:
        """Start, pause, resume or cancel a re-read of a stream."""

    def findings(self) -> Sequence[Finding]:
        """What is wrong with it now, for people."""

    def interrupt(self) -> None:
        """End what is being asked of the system now, so that `read` or `open` returns; callable from any thread."""

    def observation(self) -> Any:  # noqa: ANN401  the adapter's own; None before the first look
        """The last look at what it holds on the legacy system."""


@runtime_checkable
class RestingSource(RenewableSource, Protocol):
    """A source that stays with its loop while its system is paused: what does not happen then is on record, too."""

    def hold(self, why: str) -> None:
        """Read nothing and hold no session until `release`."""

    def release(self) -> None:
        """Read again."""

    @property
    def rests(self) -> bool:
        """Whether it has no session."""

    @property
    def is_asking(self) -> bool:
        """Whether a question is with the system: its answer takes as long as it takes."""


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
        """The source's name."""
        return self.source.name

    @property
    def system(self) -> str:
        """The system that it reads; of one system there may be several sources."""
        return system_of(self.name)


class Handoff:
    """The bounded queue between the pumps and the ingest thread."""

    def __init__(self) -> None:
        self._windows: queue.Queue[tuple[Flow, Window]] = queue.Queue(QUEUED_WINDOWS)

    def give(self, flow: Flow, window: Window, *, timeout_s: float) -> bool:
        """Hand a window over; False when there was no room in time."""
        with flow.settled:
            flow.waiting += 1  # before the ingest thread can count it off
        try:
            self._windows.put((flow, window), timeout=timeout_s)
        except queue.Full:
            with flow.settled:
                flow.waiting -= 1
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

    def __init__(
        self,
        flow: Flow,
        handoff: Handoff,
        board: HealthBoard,
        stop: threading.Event,
        *,
        points: Points | None = None,
    ) -> None:
        self.flow = flow
        self._handoff = handoff
        self._board = board
        self._stop = stop
        self._component = f"source:{flow.name}"
        self._points = points or Points()
        self._counted_at = 0.0
        self._is_open = False
        self._backoff = Backoff()
        self._trouble = Repeating(_log.bind(system=flow.name), failed="source.failed", recovered="source.recovered")
        self._turned_at = time.monotonic()
        self._halted: str | None = None  # why nothing may be read
        self._is_at_rest = threading.Event()
        self._has_ended = False
        self._is_held = False  # its source stays with this loop, and rests

    def halt(self, why: str) -> None:
        """See `bridge.halt.Halting`."""
        source = self.flow.source
        if isinstance(source, RestingSource):
            self._is_held = True
            threading.Thread(target=source.hold, args=(why,), name=f"halt-{source.name}", daemon=True).start()
            return
        self._halted = why
        threading.Thread(target=self._press, name=f"halt-{source.name}", daemon=True).start()

    def release(self) -> None:
        """See `bridge.halt.Halting`."""
        if isinstance(self.flow.source, RestingSource):
            self.flow.source.release()
        self._is_held = False
        self._is_at_rest.clear()
        self._halted = None

    @property
    def rests(self) -> bool:
        """See `bridge.halt.Halting`."""
        source = self.flow.source
        return self._has_ended or (source.rests if isinstance(source, RestingSource) else self._is_at_rest.is_set())

    def _press(self) -> None:
        """Interrupt the source until it is at rest: it may have been about to ask something else."""
        deadline = time.monotonic() + PRESS_S
        while self._halted and not self.rests and time.monotonic() < deadline:
            self.flow.source.interrupt()
            self._is_at_rest.wait(PRESS_EVERY_S)

    @property
    def turned_at(self) -> float:
        """When the loop turned last; to wait for a legacy system that was asked something is no standstill."""
        source = self.flow.source
        is_with_the_system = not self._is_open or (isinstance(source, RestingSource) and source.is_asking)
        return time.monotonic() if is_with_the_system else self._turned_at

    def run(self) -> None:
        """Pump until told to stop, or until the source says that a person is needed."""
        try:
            while not self._stop.is_set():
                self._turned_at = time.monotonic()
                try:
                    if self._halted is None:
                        self.step(timeout_s=WAIT_S)
                    else:
                        self._rest(self._halted)
                except BridgeError as error:
                    if self._halted is None and not (self._rest_again() if self._is_held else self._recover(error)):
                        return
        except Exception as error:  # noqa: BLE001  a bug must stop its source, loudly, and not the others (I3)
            _log.error("source.stopped", system=self.flow.name, error=error)
            self._fail(f"stopped by {type(error).__name__}", InternalError.default_hint)
        finally:
            self.flow.source.close()
            self._has_ended = True

    def _rest(self, why: str) -> None:
        """Have nothing open on the system, and wait for somebody to resume it."""
        self._fail(why, "`legacy-bridge system resume SYSTEM` lets it be read.", level="warn")
        if not self._is_at_rest.is_set():
            self.flow.source.close()
            self._is_open = False
            self._is_at_rest.set()
            _log.info("source.paused", system=self.flow.name, why=why)
        self._stop.wait(WAIT_S)

    def _rest_again(self) -> bool:
        """What was being asked when its system was paused is no failure; open at the journal's position, and rest."""
        self.flow.source.close()
        self._is_open = False
        return not self._stop.wait(PRESS_EVERY_S)

    def step(self, *, timeout_s: float) -> bool:
        """Read at most one window and hand it over; True when there was one.

        Raises: whatever the source raises; the position then still is the journal's.
        """
        source = self.flow.source
        if not self._is_open:
            if not self._settle():
                return False
            source.open(self.flow.position, self.flow.state)
            self._is_open = True
            self._board.ok(self._component)
            _log.info("source.opened", system=self.flow.name)
        window = source.read(timeout_s, is_busy=lambda: self.flow.waiting > 0)
        self._backoff.reset()
        self._trouble.success()
        self._board.ok(self._component)
        self._count_ok()
        if window is None:
            return False
        self._give(window)
        return True

    def _give(self, window: Window) -> None:
        """Hand a window over, however long it takes; one that is given up is read again from the journal's position."""
        while not self._handoff.give(self.flow, window, timeout_s=WAIT_S):
            self._turned_at = time.monotonic()
            if self._stop.is_set() or self._halted is not None:
                return
            if self._is_open:
                self.flow.source.keep_alive()

    def _count_ok(self) -> None:
        """A second in which it was read counts once, however many windows there were: failures come slowly, too."""
        if time.monotonic() - self._counted_at >= 1:
            self._counted_at = time.monotonic()
            self._points.count(self._component, ok=1)

    def _settle(self) -> bool:
        """Wait until the ingest thread has dealt with everything handed over: its position is the one to open at.

        Returns: False when told to stop first; the position may then be an old one.
        """
        with self.flow.settled:
            while self.flow.waiting and not self._stop.is_set() and self._halted is None:
                self._turned_at = time.monotonic()
                self.flow.settled.wait(WAIT_S)
            return not self.flow.waiting

    def _recover(self, error: BridgeError) -> bool:
        """Do what the error asks for; False when the source must stand still until somebody acts."""
        self._is_open = False
        self.flow.source.close()
        self._points.count(self._component, failed=1)
        self._fail(error.detail, error.hint)
        if isinstance(error, PositionLost):
            _log.error("source.position_lost", system=self.flow.name, error=error)
            return self._begin_epoch(error)
        if error.reaction != "wait":
            _log.error("source.stopped", system=self.flow.name, error=error)
            return False
        self._trouble.failure(error)
        self._stop.wait(self._backoff.next_s())
        return True

    def _fail(self, what: str, action: str, *, level: Level = "fail") -> None:
        self._board.fail(self._component, what, action, blocks=tuple(sorted(self.flow.streams)), level=level)

    def _begin_epoch(self, lost: PositionLost) -> bool:
        # I2: a gap is declared before anything of the new history is journalled.
        if not self._settle():
            return False
        try:
            self._give(self.flow.source.renew(self.flow.position, self.flow.state, lost.detail))
        except BridgeError as error:
            if error.reaction == "stop" and not isinstance(error, PositionLost):
                self._fail(error.detail, error.hint)
                _log.error("source.stopped", system=self.flow.name, error=error)
                return False
            self._trouble.failure(error)
            self._stop.wait(self._backoff.next_s())
        return True
