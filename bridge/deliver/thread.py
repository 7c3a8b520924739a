"""All sinks on one event loop in one thread, and the storing of what they settled.

A sink that hangs or fails costs the others nothing but its turns on the loop; reading and storing happen on worker
threads. What several sinks settled within a few milliseconds is one transaction.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from bridge.bell import Bell
from bridge.deliver.ledger import Account, Signals
from bridge.deliver.loop import SinkLoop
from bridge.deliver.route import Route
from bridge.deliver.trial import try_out
from bridge.errors import BridgeError, InternalError
from bridge.health import HealthBoard
from bridge.logs import Repeating
from bridge.metrics import Metrics
from bridge.parcel import Attempt, Delivered, Job, Message, Progress, Switches
from bridge.ports import Journal, Sink, StreamExtent
from bridge.resilience.failpoint import reach
from bridge.resilience.retry import Backoff

GATHER_S = 0.05  # what is settled within this time is stored together: a commit and its sync cost every sink the same
LOOK_S = 0.25  # at switches, and at a journal that somebody else appended to
REPORT_S = 1.0
PATIENCE_S = 10.0  # for calls under way at a stop

_log = structlog.get_logger()


class AttemptLog(Protocol):
    """Where attempts are logged."""

    def record(self, attempts: Sequence[Attempt]) -> None:
        """Store them; never raises for a log that cannot be written."""


class Delivery:
    """Delivers to every sink; for a thread of its own.

    Args:
        journal: read, and told what was settled.
        routes: every sink with its route.
        bell: rung when the journal holds more.
        board: where sinks that are not well are reported.
        metrics: what is counted.
        attempts: the delivery log.
        now: the clock.
    """

    def __init__(
        self,
        journal: Journal,
        routes: Sequence[tuple[Route, Sink]],
        *,
        bell: Bell,
        board: HealthBoard,
        metrics: Metrics,
        attempts: AttemptLog | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._journal = journal
        self._routes = routes
        self._bell = bell
        self._board = board
        self._metrics = metrics
        self._attempts = attempts
        self._now = now
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ended = threading.Event()  # asked to end, be it before it began
        self._trouble = Repeating(_log, failed="delivery.not_stored", recovered="delivery.stored_again")
        self._backoff = Backoff()
        self._seen_version = -1
        self._signals = Signals()
        self._books = asyncio.Lock()  # held while replays are looked up, and while what was settled is stored
        self.loops: dict[str, SinkLoop] = {}
        self.turned_at = time.monotonic()

    def run(self) -> None:
        """Deliver until `end`; a bug of ours ends it sooner, and health says so."""
        try:
            asyncio.run(self._main())
        except Exception as error:  # noqa: BLE001  the last stop of this thread
            _log.error("delivery.stopped", error=error)
            self._board.fail("delivery", f"stopped by {type(error).__name__}", InternalError.default_hint)

    def end(self) -> None:
        """Take nothing new, let calls under way end, store, close; callable from any thread, returns at once."""
        self._ended.set()
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)

    def try_out(self, sink: str, message: Message) -> "Future[dict[str, Any]] | None":
        """Send a test event beside what is delivered; None while the sink is not running."""
        loop = self._loop
        if loop is None or loop.is_closed() or sink not in self.loops:
            return None
        adapter, stream = self.loops[sink].adapter, next(iter(self.loops[sink].route.looks), "test")
        return asyncio.run_coroutine_threadsafe(try_out(adapter, message, stream=stream), loop)

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._ended.is_set():
            return
        while not await self._is_built():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._backoff.next_s())
            if self._stop.is_set():
                return
        storing_ends = asyncio.Event()
        storing = asyncio.create_task(self._store_on(storing_ends))
        async with asyncio.TaskGroup() as group:
            for loop in self.loops.values():
                group.create_task(self._supervise(loop, self._stop))
            group.create_task(self._listen(self._stop))
            group.create_task(self._look_on(self._stop))
            group.create_task(_hold(storing, self._stop))
        await asyncio.gather(
            *(loop.close(patience_s=PATIENCE_S) for loop in self.loops.values()), return_exceptions=True
        )
        storing_ends.set()
        self._signals.full.set()
        self._signals.changed.set()
        await storing

    async def _is_built(self) -> bool:
        """Whether every sink has its loop; False when the journal cannot tell or take where they stand now."""
        self.turned_at = time.monotonic()
        try:
            await self._build()
        except BridgeError as error:
            self._trouble.failure(error)
            self._board.fail("delivery", error.detail, error.hint)
            return False
        self._backoff.reset()
        self._board.ok("delivery")
        return True

    async def _build(self) -> None:
        held = await asyncio.to_thread(self._journal.subscribers)
        dumped = await asyncio.to_thread(self._journal.kept, "delivery")
        extents = await asyncio.to_thread(self._journal.extents)
        for route, sink in self._routes:
            known = held.get(route.sink, {})
            new = {stream: _start(extents.get(stream), route) for stream in route.looks if stream not in known}
            if new:  # from here on retention waits for it
                await asyncio.to_thread(self._journal.record, [Delivered(route.sink, new)])
            self.loops[route.sink] = SinkLoop(
                sink,
                route,
                self._journal,
                progress=known | new,
                dumped=dumped.get(route.sink),
                metrics=self._metrics,
                signals=self._signals,
                now=self._now,
            )
        await self._look()
        await self._announce()

    async def _supervise(self, loop: SinkLoop, stop: asyncio.Event) -> None:
        """A bug in one loop stops that one, loudly, and no other (I3)."""
        turning, stopping = asyncio.create_task(loop.run(stop)), asyncio.create_task(stop.wait())
        await asyncio.wait({turning, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({turning}, timeout=PATIENCE_S)  # longer only when a receiver hangs as it is opened
        turning.cancel()
        stopping.cancel()
        (error,) = await asyncio.gather(turning, return_exceptions=True)
        if isinstance(error, Exception):
            _log.error("sink.stopped", sink=loop.name, error=error)
            loop.crash(type(error).__name__)

    async def _listen(self, stop: asyncio.Event) -> None:
        """Tell the sinks when the journal holds more."""
        with self._bell.listening() as rung:
            stopping = asyncio.create_task(_pass_on(stop, rung))
            while not stop.is_set():
                await rung.wait()
                rung.clear()
                await self._announce()
            await stopping
        for loop in self.loops.values():
            loop.wake.set()

    async def _announce(self) -> None:
        lasts: Mapping[str, int] = {}
        if any(loop.needs_lasts for loop in self.loops.values()):
            try:
                extents = await asyncio.to_thread(self._journal.extents)
            except BridgeError as error:
                self._trouble.failure(error)
                return
            lasts = {stream: extent.last for stream, extent in extents.items()}
        for loop in self.loops.values():
            loop.more(lasts)

    async def _look_on(self, stop: asyncio.Event) -> None:
        """Switches, health and gauges, now and then."""
        report_at = 0.0
        while not stop.is_set():
            self.turned_at = time.monotonic()
            try:
                await self._look()
            except BridgeError as error:
                self._trouble.failure(error)
            if time.monotonic() >= report_at:
                report_at = time.monotonic() + REPORT_S
                for loop in self.loops.values():
                    loop.report(self._board)
            try:
                await asyncio.wait_for(stop.wait(), LOOK_S)
            except TimeoutError:
                continue

    async def _look(self) -> None:
        version = await asyncio.to_thread(self._journal.version)
        if version == self._seen_version:
            return
        async with self._books:  # else a replay that ends meanwhile would be begun again
            switches = await asyncio.to_thread(self._journal.kept, "sink")
            replays = await asyncio.to_thread(self._journal.kept, "replay")
            jobs = {number: Job.load(number, kept) for number, kept in replays.items()}
            for name, loop in self.loops.items():
                mine = {number: job for number, job in jobs.items() if job.sink == name}
                for job in loop.switch(Switches.load(switches.get(name)), mine):
                    await loop.begin(job)
        self._seen_version = version
        await self._announce()

    # -- storing

    async def _store_on(self, ends: asyncio.Event) -> None:
        """Store what was settled, again and again; once more at the end."""
        is_last = False
        while not is_last:
            await self._signals.changed.wait()
            if not ends.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._signals.full.wait(), GATHER_S)
            self._signals.changed.clear()
            self._signals.full.clear()
            is_last = ends.is_set()  # what is settled while it stores has one more turn
            async with self._books:
                is_stored = await self._store()
            if not is_stored and not is_last:  # at the end: the receivers have it, and will see it again
                self._signals.changed.set()
                await asyncio.sleep(self._backoff.next_s())

    async def _store(self) -> bool:
        """One transaction of everything that changed; False when the journal could not take it."""
        collected: list[tuple[SinkLoop, Delivered, Account]] = []
        for loop in self.loops.values():
            found = loop.collect()
            if found is not None:
                collected.append((loop, *found))
        attempts = [attempt for loop in self.loops.values() for attempt in loop.ledger.take_attempts()]
        if attempts and self._attempts is not None:
            await asyncio.to_thread(self._attempts.record, attempts)
        if not collected:
            return True
        try:
            reach("deliver.before_record")
            await asyncio.to_thread(self._journal.record, [delivered for _, delivered, _ in collected])
            reach("deliver.after_record")
        except BridgeError as error:
            for loop, _, account in collected:
                loop.ledger.restore(account)
            self._trouble.failure(error)
            self._board.fail("delivery", f"progress cannot be stored: {error.detail}", error.hint)
            return False
        for loop, delivered, _ in collected:
            loop.stored(delivered)
        self._backoff.reset()
        self._trouble.success()
        self._board.ok("delivery")
        return True


def _start(extent: StreamExtent | None, route: Route) -> Progress:
    """Where a sink begins that has no cursor yet."""
    if extent is None:
        return Progress()
    return Progress(extent.last if route.start == "now" else extent.first - 1)


async def _pass_on(stop: asyncio.Event, rung: asyncio.Event) -> None:
    """A stop wakes whoever waits for the bell."""
    await stop.wait()
    rung.set()


async def _hold(storing: "asyncio.Task[None]", stop: asyncio.Event) -> None:
    """Until told to stop, see that the books are kept. Raises: the bug that ended it."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({storing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if storing.done():
        storing.result()
