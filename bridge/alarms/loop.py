"""The alarm loop: look, judge, keep, tell. On an event loop in a thread of its own, so that it stalls nobody.

Promises: what is to be told is kept before it is sent, so a restart loses none and a receiver that is down gets all of
it later, in order; an outlet that hangs holds up no other; a journal that cannot be written is told of all the same; a
sign of life is given only while every loop turns. Does not decide: rules and the life of an alarm are `bridge.alarm`.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from bridge.alarm.book import KIND, Book, Owed, acknowledgements, quiets
from bridge.alarm.judge import judge
from bridge.alarm.machine import Acknowledgement, Alarm, Notice, step
from bridge.alarm.outlet import Beat, Outlet
from bridge.alarm.quiet import Quiet, is_muted
from bridge.alarm.sight import Sight
from bridge.alarm.wording import Words
from bridge.config.alarms import AlarmsConfig, OutletConfig
from bridge.errors import BridgeError, SinkRefused
from bridge.health import HealthBoard
from bridge.logs import Repeating
from bridge.metrics import Metrics
from bridge.ports import Journal
from bridge.resilience.retry import Backoff

INTERVAL_S = 2.0
REMEMBER_S = 60.0  # how often the rules' memory is stored
STOP_S = 0.2  # how soon a stop is seen
LONGEST_PAUSE_S = 3600.0  # that an outlet may ask for
STALL_S = 30.0  # a look that takes longer means that something stands still

_log = structlog.get_logger()
_SEVERITIES = ("warning", "critical")


@dataclass(frozen=True, slots=True)
class Telling:
    """Who is told when, in which words."""

    config: AlarmsConfig
    words: Words
    outlets: Mapping[str, Outlet]  # by the names of their configuration
    beats: Mapping[str, Beat]  # signs of life


class Alarms:
    """Watches over one configuration's loops; for a thread of its own.

    Args:
        telling: who is told when.
        journal: where alarms are kept.
        look: everything at this moment; may block.
        alive: whether every other loop turns.
        board: where an outlet that fails is shown.
        metrics: where alarms are counted.
        stop: ends the loop.
    """

    def __init__(
        self,
        telling: Telling,
        journal: Journal,
        look: Callable[[], Sight],
        *,
        alive: Callable[[], bool],
        board: HealthBoard,
        metrics: Metrics,
        stop: threading.Event,
    ) -> None:
        self._config = telling.config
        self._words = telling.words
        self._outlets = telling.outlets
        self._beats = telling.beats
        self._journal = journal
        self._look = look
        self._alive = alive
        self._board = board
        self._metrics = metrics
        self._stop = stop
        self._book: Book | None = None
        self._quiets: Sequence[Quiet] = ()
        self._acks: Mapping[str, Acknowledgement] = {}
        self._unwritable = ""
        self._remember_at = 0.0
        self._looked_at = time.monotonic()
        self._owes = {name: asyncio.Event() for name in telling.outlets}

    def run(self) -> None:
        """Watch until told to stop. A bug in it ends it, loudly, and nothing else."""
        try:
            asyncio.run(self._run())
        except Exception as error:  # noqa: BLE001  the loops that carry events go on
            _log.error("alarms.stopped", error=error)
            self._board.fail("alarms", f"stopped by {type(error).__name__}", "Restart the daemon and report it.")

    async def _run(self) -> None:
        tasks = [asyncio.create_task(self._watch())]
        tasks += [asyncio.create_task(self._post(name)) for name in self._outlets]
        tasks += [asyncio.create_task(self._pulse(name, beat)) for name, beat in self._beats.items()]
        tasks.append(asyncio.create_task(self._until_stopped()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._store()
            for outlet in self._outlets.values():
                await outlet.close()
            for beat in self._beats.values():
                await beat.close()

    async def _until_stopped(self) -> None:
        while not self._stop.is_set():  # noqa: ASYNC110  set by another thread
            await asyncio.sleep(STOP_S)

    # -- looking

    async def _watch(self) -> None:
        while True:
            await self.step()
            await asyncio.sleep(INTERVAL_S)

    async def step(self) -> Sequence[Notice]:
        """One look and what follows from it; returns what is to be told."""
        sight = replace(await asyncio.to_thread(self._look), unwritable=self._unwritable)
        await self._read()
        book = self._book
        if book is None:  # the journal cannot be read, and has never been
            return ()
        book.memory.see(sight)
        turn = step(
            book.alarms,
            judge(sight, book.memory, self._config),
            now=sight.at,
            config=self._config,
            muted=lambda one: is_muted(one, now=sight.at, quiets=self._quiets, config=self._config),
            acks=self._acks,
            blind=sight.blind,
        )
        owed = [Owed(name, notice) for name in self._outlets for notice in turn.notices]
        book.take(turn.alarms, [one for one in map(self._routed, owed) if one is not None])
        if time.monotonic() >= self._remember_at:
            book.remember()
            self._remember_at = time.monotonic() + REMEMBER_S
        await self._store()
        for notice in turn.notices:
            self._log_notice(notice)
        self._metrics.set_alarms(_count(turn.alarms.values()))
        for event in self._owes.values():
            event.set()
        self._looked_at = time.monotonic()
        return turn.notices

    async def _read(self) -> None:
        """Take in what the journal keeps and what operators decided; a journal that cannot be read changes nothing."""
        try:
            if self._book is None:
                minutes = int(self._config.rules.failure_rate.long_s // 60)
                self._book = Book(await asyncio.to_thread(self._journal.kept, KIND), minutes=minutes)
            found = await asyncio.to_thread(quiets, self._journal)
            self._quiets = [quiet for _, quiet in found.values()]
            self._acks = await asyncio.to_thread(acknowledgements, self._journal)
        except BridgeError as error:
            _log.debug("alarms.unread", error=error)  # the health board says so by itself

    async def _store(self) -> None:
        """Keep what changed; what cannot be kept now is tried again, and told of all the same."""
        if self._book is None:
            return
        values = self._book.unsaved()
        if not values:
            return
        try:
            await asyncio.to_thread(self._journal.keep, KIND, values)
        except BridgeError as error:
            self._book.put_back(values)
            self._unwritable = error.detail
        except asyncio.CancelledError:  # nobody knows whether they were kept
            self._book.put_back(values)
            raise
        else:
            self._unwritable = ""

    def _log_notice(self, notice: Notice) -> None:
        for alarm in notice.alarms:
            is_over = notice.transition == "resolved"
            say = _log.info if is_over else _log.error if alarm.severity == "critical" else _log.warning
            say(
                f"alarm.{notice.transition}",
                alarm=alarm.id,
                rule=alarm.rule,
                subject=alarm.subject,
                severity=alarm.severity,
                what=alarm.what,
                since=alarm.since,
                blocks=", ".join(alarm.blocks),
                action=alarm.action,
                runbook=self._words.runbook(alarm),
            )

    # -- telling

    def _routed(self, one: Owed) -> Owed | None:
        """What of a notice its outlet is told; None for nothing."""
        alarms = tuple(alarm for alarm in one.notice.alarms if routes(self._config.outlets[one.outlet], alarm))
        return Owed(one.outlet, replace(one.notice, alarms=alarms)) if alarms else None

    async def _post(self, name: str) -> None:
        """Tell one outlet all that it is owed, in order, again and again until it takes it."""
        outlet, backoff, refresh_at = self._outlets[name], Backoff(first_s=1.0, limit_s=300.0), 0.0
        trouble = Repeating(_log.bind(outlet=name), failed="alarm.untold", recovered="alarm.told")
        while True:
            self._owes[name].clear()
            try:
                await self._tell_owed(name, outlet)
                if outlet.resend_s is not None and time.monotonic() >= refresh_at:
                    await outlet.refresh(self._told(name))
                    refresh_at = time.monotonic() + outlet.resend_s
            except Exception as error:  # noqa: BLE001  a bug in one outlet must not silence the others
                trouble.failure(error)
                detail = error.detail if isinstance(error, BridgeError) else type(error).__name__
                self._board.fail(f"outlet:{name}", f"alarms are not taken: {detail}", _MEND, level="warn")
                pause_s = getattr(error, "retry_after_s", None) or 0.0
                await asyncio.sleep(max(backoff.next_s(), min(pause_s, LONGEST_PAUSE_S)))
                continue
            backoff.reset()
            trouble.success()
            self._board.ok(f"outlet:{name}")
            await self._owing(name, None if outlet.resend_s is None else refresh_at - time.monotonic())

    async def _owing(self, name: str, seconds: float | None) -> None:
        """Wait until there is something to tell, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._owes[name].wait()

    async def _tell_owed(self, name: str, outlet: Outlet) -> None:
        while self._book is not None and (one := self._book.first_owed(name)) is not None:
            try:
                await outlet.tell(one.notice)
            except SinkRefused as error:  # it never will, and later ones must not wait for it
                _log.error("alarm.refused", outlet=name, notice=one.notice.id, error=error)
            self._book.strike(one)
            await self._store()

    def _told(self, name: str) -> list[Alarm]:
        """What fires and the outlet knows of."""
        found = self._book.alarms.values() if self._book else ()
        route = self._config.outlets[name]
        return [alarm for alarm in found if alarm.state == "firing" and alarm.told_at and routes(route, alarm)]

    # -- signs of life

    async def _pulse(self, name: str, beat: Beat) -> None:
        trouble = Repeating(_log.bind(outlet=name), failed="heartbeat.failed", recovered="heartbeat.recovered")
        while True:
            if self._alive() and time.monotonic() - self._looked_at < STALL_S:
                try:
                    await beat.beat()
                except BridgeError as error:
                    trouble.failure(error)
                else:
                    trouble.success()
            await asyncio.sleep(beat.every_s)


def routes(route: OutletConfig, alarm: Alarm) -> bool:
    """Whether an outlet is told of an alarm."""
    is_bad_enough = _SEVERITIES.index(alarm.severity) >= _SEVERITIES.index(route.least)
    return is_bad_enough and ("*" in route.rules or alarm.rule in route.rules)


def _count(alarms: Iterable[Alarm]) -> Mapping[tuple[str, str], int]:
    return Counter((str(one.rule), str(one.severity)) for one in alarms if one.state == "firing")


_MEND = "See `legacy-bridge alarm test`; what it was not told waits."
