"""What becomes of a call to a sink: acknowledged, tried again, set aside; and what people are told of the sink."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog

from bridge.deliver.feed import Feed, Load, fetch
from bridge.deliver.ledger import Ledger, outcome_of
from bridge.deliver.route import Route
from bridge.errors import BridgeError, InternalError, SinkGone, SinkRefused, SinkUnavailable
from bridge.health import HealthBoard
from bridge.logs import Repeating
from bridge.metrics import Metrics
from bridge.parcel import Switches
from bridge.ports import Journal
from bridge.resilience.breaker import Breaker
from bridge.resilience.lanes import Entry
from bridge.resilience.retry import Backoff

_MEND = "See `legacy-bridge sink show` for the last failures; mend the receiver, delivery goes on by itself."
_MISSED = "Tell the receiver's owner, and raise `bridge.retain.gigabytes`; "
_log = structlog.get_logger()


class Aftermath:
    """The consequences of one sink's calls; for one event loop.

    Args:
        route: how the sink is served.
        journal: where an event that is set aside is read whole.
        dumped: what `dump` gave in a former life; empty for a new sink.
        metrics: where calls and latencies are counted.
        changed: set when there is something to store.
        now: the clock.
    """

    def __init__(
        self,
        route: Route,
        journal: Journal,
        *,
        dumped: Mapping[str, Any],
        metrics: Metrics,
        changed: asyncio.Event,
        now: Callable[[], datetime],
    ) -> None:
        self.breaker = Breaker(route.breaker, now())
        self.gone: dict[str, str] | None = dumped.get("gone")  # the receiver wants nothing any more: since, why
        self.not_before_s = 0.0  # the receiver asked to be left alone until then
        self.crashed = ""  # by which bug
        self.ledger = Ledger(route.sink, logs_attempts=route.logs_attempts, tries=dumped.get("tries", {}))
        self._stuck: BridgeError | None = None  # why it does not even get to sending
        self._reading = Backoff()  # from a journal that cannot be read
        self._missed_at = now()
        self._missed: dict[str, tuple[int, int]] = {}  # by stream: what retention took before it was sent
        self.trouble = Repeating(_log.bind(sink=route.sink), failed="sink.failed", recovered="sink.recovered")
        self.changed = changed
        self._route = route
        self._journal = journal
        self._metrics = metrics
        self._now = now
        if "breaker" in dumped:
            self.breaker.load(dumped["breaker"])

    def dump(self) -> dict[str, Any]:
        """What survives a restart besides progress."""
        return {"breaker": self.breaker.dump(), "gone": self.gone, "tries": self.ledger.dump_tries()}

    def unreachable(self, error: BridgeError, *, is_trial: bool) -> None:
        """It could not even be opened."""
        self._count(error)
        self._heed(error)
        self.breaker.record(ok=False, why=error.detail, now=self._now(), trial=is_trial)
        self.stuck(error)
        self.changed.set()

    def stuck(self, error: BridgeError | None) -> None:
        """A pass could not be made, or was made again: the journal, or the sink's own opening, said no."""
        self._stuck = error
        if error is not None:
            self.trouble.failure(error)

    def forgotten(self, feed: Feed, first: int, last: int) -> None:
        """Retention took events before they were sent: the receiver misses them, and people have to know."""
        _log.error("sink.events_forgotten", sink=self._route.sink, stream=feed.stream, first=first, last=last)
        if feed.until is None:
            self._missed[feed.stream] = (self._missed.get(feed.stream, (first, last))[0], last)
            self._missed_at = self._now()

    def heed(self, switches: Switches) -> None:
        """Do what operators want of breaker and receiver."""
        if switches.force != self.breaker.forced:
            self.breaker.force(switches.force, now=self._now())
            self.changed.set()
        resumed_at = switches.resumed_at
        if self.gone and resumed_at and resumed_at > datetime.fromisoformat(self.gone["since"]):
            self.gone = None
            self.changed.set()
        if resumed_at and resumed_at > self._missed_at:
            self._missed.clear()

    async def loaded(self, feed: Feed, entries: list[Entry[Load]]) -> bool:
        """Read again what was let go of; an event that retention took meanwhile is left out. True when any is left."""
        for entry in [entry for entry in entries if entry.load is None]:
            try:
                look, after = feed.look, entry.first - 1
                chunk = await asyncio.to_thread(fetch, self._journal, look, after=after, limit=1)
            except BridgeError as error:
                self.trouble.failure(error)
                entries.remove(entry)
                feed.lanes.fail(entry, again_at_s=time.time() + self._reading.next_s())
                continue
            if chunk is None or chunk.first != entry.first or not chunk.messages:
                self.forgotten(feed, entry.first, entry.number)
                entries.remove(entry)
                self.settled(feed, [entry])
            else:
                self._reading.reset()
                feed.lanes.reload(entry, Load(chunk, 0), len(chunk.messages[0].text))
        return bool(entries)

    async def conclude(
        self,
        feed: Feed,
        entries: Sequence[Entry[Load]],
        error: BridgeError | None,
        failures: Mapping[int, BridgeError],
        *,
        is_trial: bool,
    ) -> None:
        """Draw the consequences of one call.

        Args:
            feed: whose entries were sent.
            entries: in the parcel's order.
            error: what the call raised; None when it returned.
            failures: what it returned, by index.
            is_trial: it was the one trial of an open breaker, and uses up no attempt of its event.
        """
        worst = error or next(iter(failures.values()), None)
        self._count(worst)
        self.breaker.record(ok=worst is None, why=worst.detail if worst else "", now=self._now(), trial=is_trial)
        if worst is None:
            self.trouble.success()
        else:
            self.trouble.failure(worst)
            self._heed(worst)
        self.changed.set()
        if error is None:
            went = [entry for index, entry in enumerate(entries) if index not in failures] if failures else entries
            self._acknowledge(feed, went)
            for index, failure in failures.items():
                await self._failed(feed, entries[index], failure, is_trial=is_trial)
        elif isinstance(error, SinkGone):
            self.gone = {"since": self._now().isoformat(), "why": error.detail}
            feed.lanes.put_back(entries, cap=entries[0].cap)
        elif len(entries) > 1:  # one of them may be at fault: find it by halves
            feed.lanes.put_back(entries, cap=max(1, len(entries) // 2))
        else:
            await self._failed(feed, entries[0], error, is_trial=is_trial)

    def _heed(self, error: BridgeError) -> None:
        """The receiver's own word on when it wants to be asked again."""
        if isinstance(error, SinkUnavailable) and error.retry_after_s is not None:
            self.not_before_s = max(self.not_before_s, time.time() + error.retry_after_s)

    def _acknowledge(self, feed: Feed, entries: Sequence[Entry[Load]]) -> None:
        now_us = int(self._now().timestamp() * 1e6)
        for chunk, committed_us in feed.committed(entries):
            self._metrics.record_delivered(
                self._route.sink,
                feed.stream,
                committed_us=committed_us,
                journalled_us=chunk.journalled_us,
                now_us=now_us,
            )
        self.settled(feed, entries)

    def settled(self, feed: Feed, entries: Sequence[Entry[Load]]) -> None:
        """The receiver has them, or they are set aside."""
        feed.lanes.settle(entries)
        self.ledger.settled(feed.stream, entries, events=feed.count(entries))
        self.changed.set()

    async def _failed(self, feed: Feed, entry: Entry[Load], error: BridgeError, *, is_trial: bool) -> None:
        """One event by itself: try it again later, or set it aside."""
        now_s = time.time()
        if not is_trial:
            entry.attempts += 1
            entry.first_failed_s = entry.first_failed_s or now_s
        wait_s = 0.0 if is_trial else self._route.schedule.wait_s(entry.attempts)
        if isinstance(error, SinkRefused) and entry.attempts >= self._route.refused_attempts:
            wait_s = None
        gives_up = self._route.gives_up or feed.letter is not None  # a letter that is sent once more stays one
        if wait_s is None and gives_up and await self._set_aside(feed, entry, error):
            return
        again_at_s = max(now_s + (self._route.schedule.last_s() if wait_s is None else wait_s), self.not_before_s)
        feed.lanes.fail(entry, again_at_s=again_at_s)
        if feed.letter is None and feed.look.is_single:  # a letter may be the last copy; else it is one entry a stream
            feed.lanes.unload()
        self.ledger.failed(feed.stream, entry, again_at_s=again_at_s)

    async def _set_aside(self, feed: Feed, entry: Entry[Load], error: BridgeError) -> bool:
        """Make a delivery dead letter of an event (I3); False when the journal cannot be read now."""
        if feed.letter is not None:  # it is a letter already, and stays open
            feed.has_failed = True
            self.settled(feed, [entry])
            return True
        try:
            reading = self._journal.read(feed.stream, after=entry.number - 1, limit=1)
            block = await asyncio.to_thread(next, reading, None)
        except BridgeError as unread:
            self.trouble.failure(unread)
            return False
        if block is not None and block.first == entry.number and entry.load is not None:
            self.ledger.set_aside(block, entry.load.chunk.messages[entry.load.row], entry, error)
            _log.warning("sink.set_aside", sink=self._route.sink, stream=feed.stream, number=entry.number, error=error)
        self.settled(feed, [entry])
        return True

    def _count(self, failure: BridgeError | None) -> None:
        self._metrics.points.count(f"sink:{self._route.sink}", ok=int(failure is None), failed=int(failure is not None))
        if self._route.kind == "webhook":
            self._metrics.record_attempts(self._route.sink, outcome_of(failure))

    def report(self, board: HealthBoard, switches: Switches, waiting: Mapping[str, int]) -> None:
        """Tell people how the sink is; `waiting` events, by stream, failed or are held behind failed ones."""
        self._metrics.set_breaker(self._route.sink, self.breaker.state)
        component, streams, count = f"sink:{self._route.sink}", tuple(waiting), sum(waiting.values())
        stopped = tuple(stream for stream, held in waiting.items() if held >= self._route.hold_events)
        if self.crashed:
            board.fail(component, f"stopped by {self.crashed}", InternalError.default_hint, blocks=streams)
        elif self.gone is not None:
            board.fail(component, f"the receiver is gone: {self.gone['why']}", SinkGone.default_hint, blocks=streams)
        elif switches.paused:
            resume = f"`legacy-bridge sink resume {self._route.sink}` lets it go on."
            board.fail(component, switches.why or "paused", resume, blocks=streams, level="warn")
        elif self._stuck is not None:
            board.fail(component, self._stuck.detail, self._stuck.hint, blocks=streams)
        elif self.breaker.state != "closed":
            board.fail(component, f"the breaker is open: {self.breaker.why}", _MEND, blocks=streams)
        elif stopped:
            what = f"{count} events wait behind failed ones: it reads no further in {', '.join(stopped)}"
            board.fail(component, what, _MEND, blocks=stopped)
        elif count:
            board.fail(component, f"{count} events wait to be tried again", _MEND, level="warn")
        elif self._missed:
            what = ", ".join(f"{first} to {last} of {stream}" for stream, (first, last) in self._missed.items())
            seen = f"`legacy-bridge sink resume {self._route.sink}` takes this note away."
            board.fail(component, f"retention took events before they were sent: {what}", _MISSED + seen, level="warn")
        else:
            board.ok(component)
