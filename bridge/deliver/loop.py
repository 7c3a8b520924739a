"""One sink's delivery: what goes next, what becomes of a failure, and what the journal has to remember of it.

Promises: the cursor passes an event only when the receiver acknowledged it or it became a dead letter, in one
transaction with it (I3); events of a key go in order (I5); a receiver that fails is left alone by its breaker, and an
event's own attempts are not used up by trials of an open breaker. Reads a few fresh events at once, and a backlog on
worker threads; what it settled is stored by `thread`, from what `collect` returns.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

from bridge.deliver import replays
from bridge.deliver.aftermath import Aftermath
from bridge.deliver.feed import Feed, Load
from bridge.deliver.ledger import Account, Signals
from bridge.deliver.replays import Replay
from bridge.deliver.route import Route
from bridge.deliver.turns import Turns
from bridge.errors import BridgeError, InternalError, SinkUnavailable
from bridge.health import HealthBoard
from bridge.metrics import Metrics
from bridge.parcel import Delivered, Job, Parcel, Progress, Switches
from bridge.ports import Journal, Sink
from bridge.resilience.failpoint import reach
from bridge.resilience.lanes import Entry
from bridge.resilience.retry import Backoff
from bridge.tracing import sending

FRESH_EVENTS = 16  # read on the loop itself, at most, by a sink that had everything
CHUNK_EVENTS = 1_000  # read and rendered at once, at most, where a parcel is smaller
LINE_BYTES = 256  # of an event as a line, about, however little the event says
REPLAYS = 16  # under way at once; each letter is one
OPEN_S = 60.0  # a sink that takes longer to open is not there
UNSTORED_EVENTS = 256  # acknowledged and not stored yet, at most, or two rounds of parcels if that is more

_log = structlog.get_logger()


class SinkLoop:
    """Delivery to one sink; for one event loop.

    Args:
        sink: the adapter; opened and closed here.
        route: how it is served.
        journal: read on worker threads.
        progress: how far it is with each stream, by the journal.
        dumped: what `dump` gave in a former life; None for a new sink.
        metrics: where calls and latencies are counted.
        signals: to whoever stores.
        now: the clock.
    """

    def __init__(
        self,
        sink: Sink,
        route: Route,
        journal: Journal,
        *,
        progress: Mapping[str, Progress],
        dumped: Mapping[str, Any] | None,
        metrics: Metrics,
        signals: Signals | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = route.sink
        self.route = route
        self.switches = Switches()
        self.wake = asyncio.Event()
        self.replays: dict[str, Replay] = {}
        self._sink = sink
        self._journal = journal
        self._now = now
        self._signals = signals or Signals()
        self._calls: set[asyncio.Task[None]] = set()
        self._paced_s = 0.0  # when the rate allows the next event
        self._passed_s = 0.0  # when the last pass began
        self._is_open = False
        self._opening = Backoff(first_s=0.2, limit_s=30.0)
        self._open_at_s = 0.0  # when it may be opened again
        self._reading = Backoff()  # from a journal that cannot be read
        self._bug: BaseException | None = None  # that ended a call
        self._stored = self._storing = dict(dumped) if dumped is not None else {}
        self._after = Aftermath(
            route, journal, dumped=self._stored, metrics=metrics, changed=self._signals.changed, now=now
        )
        self.ledger = self._after.ledger
        self.feeds = {stream: self._feed(stream, progress.get(stream, Progress())) for stream in route.looks}
        self._turns = Turns(route, self.feeds, self.replays)

    def _feed(self, stream: str, recorded: Progress) -> Feed:
        held = self._sink.stands_at(stream) if self._is_open else None
        is_ahead = held is not None and held > recorded.settled  # it kept more than we noted before we died
        feed = Feed(
            self.route.looks[stream],
            progress=Progress(max(held or 0, recorded.cursor)) if is_ahead else recorded,
            one_a_key=not self._sink.is_atomic,
            tries=self.ledger.tries(stream),
        )
        feed.recorded = recorded
        return feed

    @property
    def adapter(self) -> Sink:
        """The sink itself."""
        return self._sink

    # -- the loop

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until told to stop; calls under way are let end, for a while."""
        while not stop.is_set():
            self.wake.clear()
            try:
                is_busy = await self.step()
            except BridgeError as error:
                self._after.stuck(error)
                await self._rest(self._reading.next_s())
                continue
            if self._bug is not None:
                raise self._bug
            self._reading.reset()
            if not is_busy:
                await self._rest(self._due_in_s())

    async def close(self, *, patience_s: float) -> None:
        """Let calls under way end, give up the others, and release the sink."""
        if self._calls:
            _, late = await asyncio.wait(self._calls, timeout=patience_s)
            for call in late:
                call.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        try:
            await asyncio.wait_for(self._sink.close(), patience_s)
        except TimeoutError:
            _log.warning("sink.not_closed", sink=self.name)

    async def step(self) -> bool:
        """One bounded pass: read what there is room for, send what may go. True when there may be more at once."""
        self._passed_s = time.time()
        if self.switches.paused or self._after.gone is not None or not await self._open():
            return False
        was_read = await self._fill()
        self._after.stuck(None)
        return self._dispatch() or was_read

    async def _rest(self, longest_s: float | None) -> None:
        try:
            await asyncio.wait_for(self.wake.wait(), longest_s)
        except TimeoutError:
            return

    def _due_in_s(self) -> float | None:
        """How long nothing will have to be done unless something wakes the loop."""
        now_s = time.time()
        times = [feed.lanes.next_due_s() for feed in self._all_feeds()]
        times += [now_s + wait for wait in [self._after.breaker.wait_s(self._now())] if wait]
        times += [self._after.not_before_s, self._paced_s, self._open_at_s]
        if self.route.batch_s:
            times += [feed.since_s + self.route.batch_s for feed in self._all_feeds() if feed.since_s is not None]
        due = [at_s for at_s in times if at_s is not None and at_s > self._passed_s]  # others were looked at
        return max(0.001, min(due) - now_s) if due else None

    def _all_feeds(self) -> list[Feed]:
        return [*self.feeds.values(), *(replay.feed for replay in self.replays.values())]

    async def _open(self) -> bool:
        if self._is_open:
            return True
        if self._after.breaker.wait_s(self._now()) != 0 or time.time() < self._open_at_s:
            return False
        is_trial = self._after.breaker.begin(self._now())
        try:
            async with asyncio.timeout(OPEN_S):
                await self._sink.open()
        except (BridgeError, TimeoutError) as raised:
            error = raised if isinstance(raised, BridgeError) else SinkUnavailable(f"not open within {OPEN_S:g} s")
            self._after.unreachable(error, is_trial=is_trial)
            self._open_at_s = time.time() + self._opening.next_s()
            return False
        if is_trial:  # an event will say whether the receiver is well
            self._after.breaker.give_up_trial(self._now())
        self._is_open = True
        self._opening.reset()
        for stream, feed in self.feeds.items():
            if self._sink.stands_at(stream) is not None:
                self.feeds[stream] = self._feed(stream, feed.recorded)
        return True

    # -- reading

    async def _fill(self) -> bool:
        was_read = False
        for feed in self._all_feeds():
            if self._has_room(feed) and feed.wants(self.route.batch_events, self.route.batch_s, time.time()):
                was_read = await self._read(feed) or was_read
        return was_read

    async def _read(self, feed: Feed) -> bool:
        is_fresh = feed.is_at_end  # then little has come since, and two changes of thread would cost more than it does
        limit, budget = FRESH_EVENTS if is_fresh else self._chunk_events(), self.route.read_bytes
        after, last = feed.next_range(limit)
        read = partial(feed.read, self._journal, after=after, last=last, limit=limit, budget_bytes=budget)
        try:
            chunk = read() if is_fresh else await asyncio.to_thread(read)
        except BridgeError:
            feed.has_more = True
            raise
        forgotten = feed.take_in(chunk, now_s=time.time(), last=last)
        if forgotten is not None:
            self._after.forgotten(feed, *forgotten)
        was_read = chunk is not None or last is not None
        if was_read and not feed.lanes.ready_count:  # nothing goes out, and how far we are is stored all the same
            self._signals.changed.set()
        return was_read

    def _chunk_events(self) -> int:
        if self._sink.wants == "lines":
            return max(1, min(self.route.batch_events, self.route.read_bytes // LINE_BYTES))
        return max(self.route.batch_events, CHUNK_EVENTS if self._is_single() else 1)

    def _is_single(self) -> bool:
        return self._sink.wants == "messages"

    def _has_room(self, feed: Feed) -> bool:
        if not feed.has_more or feed.lanes.ready_count >= (2 * self.route.batch_events if self._is_single() else 1):
            return False
        if feed.lanes.waiting_count >= self.route.hold_events:
            return False
        feeds = self._all_feeds()
        # a stream that holds nothing may always read: another that stands still must not starve it
        return not feed.lanes.bytes or sum(each.lanes.bytes for each in feeds) < self.route.memory_bytes

    # -- sending

    def _dispatch(self) -> bool:
        was_sent = False
        while len(self._calls) < self.route.concurrency and self._may_send():
            is_trial = self._after.breaker.begin(self._now())
            found = self._turns.take(1 if is_trial else self.route.batch_events)
            if found is None:
                self._after.breaker.give_up_trial(self._now())
                break
            feed, entries = found
            self._pace(feed.count(entries))
            call = asyncio.create_task(self._call(feed, entries, is_trial=is_trial))
            self._calls.add(call)
            call.add_done_callback(self._called)
            was_sent = True
        return was_sent

    def _called(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self.wake.set()
        if not call.cancelled() and call.exception() is not None:
            self._bug = call.exception()  # a bug of ours: what it left under way is sent by the next life (I3)

    def _may_send(self) -> bool:
        now_s = time.time()
        if self.ledger.unstored >= max(UNSTORED_EVENTS, 2 * self.route.concurrency * self.route.batch_events):
            self._signals.full.set()
            return False
        return (
            self._after.breaker.wait_s(self._now()) == 0
            and now_s >= self._after.not_before_s
            and now_s >= self._paced_s
        )

    def _pace(self, events: int) -> None:
        if self.route.rate:
            self._paced_s = max(self._paced_s, time.time() - 1.0) + events / self.route.rate

    async def _call(self, feed: Feed, entries: list[Entry[Load]], *, is_trial: bool) -> None:
        started, at = time.perf_counter(), self._now()
        parcel: Parcel | None = None
        failures: Mapping[int, BridgeError] = {}
        error: BridgeError | None = None
        try:
            if not await self._after.loaded(feed, entries):
                if is_trial:
                    self._after.breaker.give_up_trial(self._now())
                return
            parcel = feed.parcel(entries)
            reach("deliver.before_send")
            with sending(self.name, self.route.kind, parcel):
                failures = await self._sink.send(parcel)
            reach("deliver.after_send")
        except asyncio.CancelledError:
            feed.lanes.put_back(entries, cap=entries[0].cap)
            raise
        except BridgeError as raised:
            error = raised
        except Exception as bug:  # noqa: BLE001  a bug in an adapter must not lose the event or stop other sinks (I3)
            _log.error("sink.bug", sink=self.name, error=bug)
            error = SinkUnavailable(f"stopped by {type(bug).__name__}", hint=InternalError.default_hint)
        if parcel is not None:
            took_ms = (time.perf_counter() - started) * 1e3
            self.ledger.attempted(parcel, entries, error, failures, at=at, took_ms=took_ms)
        await self._after.conclude(feed, entries, error, failures, is_trial=is_trial)

    # -- what operators want

    def switch(self, switches: Switches, jobs: Mapping[str, Job]) -> list[Job]:
        """Take over switches, and let go of replays that are wanted no more; returns those to be begun now.

        Args:
            switches: of this sink.
            jobs: every replay that the journal keeps for it, read while nothing was being stored.
        """
        self._after.heed(switches)
        if self.switches != switches:
            self.switches = switches
            self.wake.set()
        for number in self.replays.keys() - jobs.keys():
            if not self.replays[number].feed.lanes.flight_count:
                del self.replays[number]
        waiting = [job for job in jobs.values() if job.id not in self.replays and not self.ledger.is_over(job.id)]
        return replays.choose(waiting, [each.job for each in self.replays.values()], REPLAYS - len(self.replays))

    async def begin(self, job: Job) -> None:
        """Begin a replay; one that cannot be made is given up, once and with the reason. Raises: JournalUnavailable."""
        try:
            letter = None if job.letter is None else await asyncio.to_thread(self._journal.undelivered_one, job.letter)
            replay = replays.begin(job, self.route, letter, one_a_key=not self._sink.is_atomic)
            why = "" if replay else "its stream or its letter is there no more"
        except BridgeError as error:
            if error.reaction == "wait":
                raise
            replay, why = None, error.detail
        if replay is None:
            _log.error("replay.dropped", sink=self.name, stream=job.stream, letter=job.letter, why=why)
            self.ledger.given_up(job, why)
            self._signals.changed.set()
        else:
            self.replays[job.id] = replay
            self.wake.set()

    def more(self, lasts: Mapping[str, int]) -> None:
        """The journal holds more; up to which numbers, where that was looked up."""
        for stream, feed in self.feeds.items():
            feed.more(lasts.get(stream), now_s=time.time())
        self.wake.set()

    @property
    def needs_lasts(self) -> bool:
        """Whether `more` has to be told up to which numbers."""
        return not self._is_single() and self.route.batch_s > 0

    def crash(self, bug: str) -> None:
        """A bug stopped the loop."""
        self._after.crashed = bug

    def report(self, board: HealthBoard) -> None:
        """Tell people how the sink is."""
        waiting = {stream: feed.lanes.waiting_count for stream, feed in self.feeds.items()}
        for replay in self.replays.values():
            waiting[replay.feed.stream] += replay.feed.lanes.waiting_count
        self._after.report(board, self.switches, waiting)

    # -- what the journal has to remember

    def collect(self) -> tuple[Delivered, Account] | None:
        """What has to be stored now, in one transaction; None: nothing. `stored` or `ledger.restore` must follow."""
        for number, replay in list(self.replays.items()):
            if replay.feed.is_done():
                del self.replays[number]
                self.ledger.replayed(replay)
            elif replay.job.letter is None and (reached := replay.feed.progress()) != replay.feed.recorded:
                replay.feed.recorded = reached
                self.ledger.keep_replay(replay, reached)
        progress = {
            stream: reached for stream, feed in self.feeds.items() if (reached := feed.progress()) != feed.recorded
        }
        self._storing = self._after.dump()
        return self.ledger.close_account(progress, None if self._storing == self._stored else self._storing)

    def stored(self, delivered: Delivered) -> None:
        """The journal holds what was collected."""
        for stream, reached in delivered.progress.items():
            self.feeds[stream].recorded = reached
        self._stored = self._storing
        self.wake.set()
