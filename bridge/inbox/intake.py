"""Between those who hand messages in and the journal: waits, packs, tells each message's fate once it is known.

Promises: a message is answered only after the commit that holds it (I1); of two messages with one id one is taken, also
when both wait at once (I4: ids and events are one commit); what waits is bounded in bytes; a message whose sender gave
up before it was packed is not taken. What is packed and never journalled is answered with a failure, so its sender
comes again.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bridge.errors import BridgeError
from bridge.inbox import cloudevents
from bridge.inbox.cloudevents import Change
from bridge.inbox.incoming import InboxClosed, InboxFull, Incoming, Taken
from bridge.inbox.mapping import Mapper
from bridge.model import Position, Window
from bridge.resilience.failpoint import reach

WAITING_BYTES = 32 << 20  # of messages that wait to be packed
WINDOW_BYTES = 8 << 20
WINDOW_MESSAGES = 8192
_FILL_S = 0.002  # between two looks whether somebody waits for the window

State = Callable[[Sequence[tuple[str, Incoming]]], Mapping[str, Any]]  # from messages with their streams
Known = Callable[[Sequence[str]], set[str]]  # those of the ids that are journalled and remembered


@dataclass(slots=True)
class _Entry:
    """A message and what its sender waits for."""

    stream: str
    message: Incoming
    future: "Future[Taken]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class _Flight:
    """A window that was handed over and is not known to be journalled."""

    last: int  # its position
    ids: tuple[str, ...]
    waiting: "list[tuple[Future[Taken], Taken]]"


class Intake:
    """The messages of one system on their way into the journal.

    `submit` is for any thread, `pack` for the one that reads the source, `confirm` for the one that journals.

    Args:
        mappers: by stream.
        known: looks ids up in the journal.
        remember: for how long ids are remembered.
        limit_bytes: of what may wait.
        now: the time.
    """

    def __init__(
        self,
        mappers: Mapping[str, Mapper],
        *,
        known: Known,
        remember: timedelta,
        limit_bytes: int = WAITING_BYTES,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._mappers = mappers
        self._known = known
        self._remember = remember
        self._limit_bytes = limit_bytes
        self._now = now
        self._changed = threading.Condition()
        self._is_open = False
        self._waiting: deque[_Entry] = deque()
        self._waiting_bytes = 0
        self._flights: deque[_Flight] = deque()
        self._flying: dict[str, int] = {}  # id -> position of its flight
        self._epoch, self._last = 1, 0

    def open(self, position: Position | None) -> None:
        """Take messages in from now on; what is packed counts on from the journal's position."""
        with self._changed:
            if position is not None:
                self._epoch, self._last = position.epoch, position.at[0]
            self._is_open = True

    def submit(self, stream: str, message: Incoming) -> "Future[Taken]":
        """See `Inbox.submit`."""
        entry = _Entry(stream, message)
        with self._changed:
            if not self._is_open:
                raise InboxClosed("messages are not taken in now")
            if self._waiting and self._waiting_bytes + message.size_bytes > self._limit_bytes:
                raise InboxFull(f"{self._waiting_bytes} bytes of messages wait already")
            self._waiting.append(entry)
            self._waiting_bytes += message.size_bytes
            self._changed.notify()
        return entry.future

    def pack(
        self, timeout_s: float, *, is_busy: Callable[[], bool], state: State = lambda _messages: {}
    ) -> Window | None:
        """What waits as a window; None when nothing new came in time.

        Args:
            timeout_s: how long to wait for a message.
            is_busy: see `ports.Source.read`.
            state: the source's own state with these messages in the window.
        Raises: JournalUnavailable, JournalCorrupt when ids cannot be looked up; the messages' senders are told.
        """
        entries = self._take(timeout_s, is_busy)
        if not entries:
            return None
        try:
            return self._pack(entries, state)
        except Exception as error:
            failure = error if isinstance(error, BridgeError) else InboxClosed("the message could not be read")
            for entry in entries:
                if not entry.future.done():
                    entry.future.set_exception(failure)
            raise

    def confirm(self, position: Position) -> None:
        """The journal holds everything up to `position`: tell the senders."""
        ended = []
        with self._changed:
            while self._flights and self._flights[0].last <= position.at[0]:
                flight = self._flights.popleft()
                ended.append(flight)
                for one in flight.ids:
                    self._flying.pop(one, None)
        reach("inbox.before_answer")
        for flight in ended:
            for future, taken in flight.waiting:
                future.set_result(taken)  # I1

    def close(self) -> None:
        """Take nothing in any more; what was not packed is told so. Callable twice."""
        with self._changed:
            self._is_open = False
            entries = list(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
        for entry in entries:
            if entry.future.set_running_or_notify_cancel():
                entry.future.set_exception(InboxClosed("messages are not taken in now"))

    def abandon(self) -> None:
        """Nothing that was packed will be confirmed any more: tell the senders that nothing is known."""
        self.close()
        with self._changed:
            flights = list(self._flights)
            self._flights.clear()
            self._flying.clear()
        for flight in flights:
            for future, _ in flight.waiting:
                future.set_exception(InboxClosed("whether the message was journalled is not known"))

    # -- packing

    def _take(self, timeout_s: float, is_busy: Callable[[], bool]) -> list[_Entry]:
        """The entries of the next window. While nobody waits for it, it may grow."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._changed.wait_for(lambda: self._waiting, timeout_s)
            while self._has_room() and is_busy() and time.monotonic() < deadline:
                self._changed.wait(_FILL_S)
            taken: list[_Entry] = []
            size = 0
            while self._waiting and size < WINDOW_BYTES and len(taken) < WINDOW_MESSAGES:
                entry = self._waiting.popleft()
                self._waiting_bytes -= entry.message.size_bytes
                if entry.future.set_running_or_notify_cancel():
                    size += entry.message.size_bytes
                    taken.append(entry)
            return taken

    def _has_room(self) -> bool:
        return bool(self._waiting) and self._waiting_bytes < WINDOW_BYTES and len(self._waiting) < WINDOW_MESSAGES

    def _pack(self, entries: list[_Entry], state: State) -> Window | None:
        said = [(entry, cloudevents.changes(entry.message)) for entry in entries]
        asked = {_name(entry.stream, each.id) for entry, changes in said for each in changes if each.id is not None}
        with self._changed:
            flying = {one: self._flying[one] for one in asked if one in self._flying}  # before the journal is asked
        known = self._known(sorted(asked)) | flying.keys()
        fresh: dict[str, list[Change]] = {}
        ids: dict[str, None] = {}
        waiting: list[tuple[Future[Taken], Taken]] = []
        settled: list[tuple[Future[Taken], int]] = []  # and the flight that brings them
        for entry, changes in said:
            names = [None if each.id is None else _name(entry.stream, each.id) for each in changes]
            twice = [name is not None and (name in known or name in ids) for name in names]
            fresh.setdefault(entry.stream, []).extend(_once(changes, names, twice))
            ids |= {name: None for name, old in zip(names, twice, strict=True) if name is not None and not old}
            if all(twice) and not any(name in ids for name in names):
                settled.append((entry.future, max((flying.get(name or "", 0) for name in names), default=0)))
            else:
                waiting.append((entry.future, "known" if all(twice) else "new"))
        window = self._window(fresh, tuple(ids), lambda: state([(entry.stream, entry.message) for entry in entries]))
        self._send_off(window, waiting, settled)
        reach("inbox.packed")
        return window

    def _window(
        self, fresh: Mapping[str, Sequence[Change]], ids: tuple[str, ...], state: Callable[[], Mapping[str, Any]]
    ) -> Window | None:
        batches, last = [], self._last
        for stream, changes in fresh.items():
            if changes:
                batches.append(self._mappers[stream].batch(changes, first=last + 1))
                last += len(changes)
        if not batches:
            return None
        self._last = last
        size = sum(batch.columns.nbytes + batch.changes.nbytes for batch in batches)
        until = self._now() + self._remember
        position = Position(self._epoch, (last,))
        return Window(tuple(batches), position, state(), size_bytes=size, received=ids, received_until=until)

    def _send_off(
        self,
        window: Window | None,
        waiting: "list[tuple[Future[Taken], Taken]]",
        settled: "list[tuple[Future[Taken], int]]",
    ) -> None:
        done: list[Future[Taken]] = []
        with self._changed:
            by_last = {flight.last: flight for flight in self._flights}
            for future, last in settled:
                if last in by_last:
                    by_last[last].waiting.append((future, "known"))
                else:
                    done.append(future)  # it was confirmed long ago, or just now
            if window is not None:
                last = window.position.at[0]
                self._flights.append(_Flight(last, window.received, waiting))
                self._flying |= dict.fromkeys(window.received, last)
        for future in done:
            future.set_result("known")


def _name(stream: str, identity: str) -> str:
    return f"{stream}:{identity}"


def _once(changes: Sequence[Change], names: Sequence[str | None], twice: Sequence[bool]) -> list[Change]:
    """The changes to be taken; of two with one name in one message, the first."""
    seen: set[str] = set()
    found = []
    for each, name, old in zip(changes, names, twice, strict=True):
        if old or (name is not None and name in seen):
            continue
        if name is not None:
            seen.add(name)
        found.append(each)
    return found
