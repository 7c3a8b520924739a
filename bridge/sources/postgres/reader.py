"""The source `postgres`: the change log of one slot, and re-reads of its tables, as windows.

This module owns the sessions, the timers and the flush position (I1: one owner). What a message says is `changelog`'s,
how a re-read is woven in is `rereads`', whether the server is still the one we left is `history`'s.
"""

import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from bridge.errors import InternalError, PositionLost, SourceRefused, SourceUnavailable
from bridge.findings import Finding
from bridge.model import Position, Window
from bridge.postgres.copying import Received
from bridge.postgres.session import Connection, ConnectSettings, cancel, connect, hear_of_shutdown, translated
from bridge.resilience.failpoint import reach
from bridge.sources.postgres import slot as slots
from bridge.sources.postgres.assistant import Assistant, Observation
from bridge.sources.postgres.changelog import ChangeLog
from bridge.sources.postgres.history import (
    declare_absence,
    declare_gap,
    find_start,
    require_unbroken,
    sound_slot,
)
from bridge.sources.postgres.opened import Opened
from bridge.sources.postgres.plan import State
from bridge.sources.postgres.rereads import Rereads, require_readable
from bridge.sources.postgres.tables import Capture, Tables
from bridge.sources.postgres.touched import Touched
from bridge.sources.postgres.transactions import oldest_transaction
from bridge.sources.postgres.wire import Wire

WINDOW_BYTES = 8 << 20
IDLE_INTERVAL_S = 10.0
IDLE_BYTES = 16 << 20
_DEFAULT_SENDER_TIMEOUT_S = 60.0
_LINGER_S = 0.001
_CONFIRM_S = 0.05  # until the server is told of what the journal holds, while nothing comes from it
_PUBLICATIONS = "SELECT pubname FROM pg_publication WHERE pubname = ANY(%s) ORDER BY pubname"
_SENDER_TIMEOUT = "SELECT setting::int FROM pg_settings WHERE name = 'wal_sender_timeout'"


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Settings:
    """What one source needs to know."""

    name: str  # of the system
    connect: ConnectSettings
    captures: tuple[Capture, ...]
    slot: str = "legacy_bridge"
    publications: tuple[str, ...] = ("legacy_bridge",)
    failover: bool = False
    heartbeat_s: float = 10.0  # 0: none
    chunk_rows: int = 20_000
    rows_per_second: int = 0  # of re-reads; 0: no limit
    limits: slots.SlotLimits = field(default_factory=slots.SlotLimits)
    rereads_after_loss: bool = True  # else the gap is declared and a person decides
    stopping: Callable[[], bool] = _never  # whether somebody wants us to end
    prove: Callable[[Connection], None] | None = None  # raises SourceRefused where this login may not be used


class PostgresSource:
    """See `bridge.ports.Source`. `read` and `keep_alive` are for one thread; `confirm` and `control` for any."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.name
        self._settings = settings
        self._open: Opened | None = None
        self._lock = threading.Lock()
        self._flushed = Position(0, (0, 0))  # what the journal holds
        self._reported = 0  # what the server was told of it
        self._obstacle: Finding | None = None  # what opening waits for
        self._is_interrupted = False  # since it was opened
        self._asking: set[Connection] = set()  # sessions on which a query may run
        self._controls: deque[tuple[str, str]] = deque()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._wake_fd)

    def open(self, position: Position | None, state: Mapping[str, Any]) -> None:
        """See `bridge.ports.Source.open`.

        Raises: PositionLost when the server is not the one we left, or the slot is gone, invalidated or ahead.
        """
        self.close()
        self._is_interrupted = False
        settings, kept = self._settings, State.load(state)
        if kept.awaits:
            raise self._undecided(kept.awaits)
        with ExitStack() as sessions:
            replication = self._session(sessions, "stream", replication=True)
            sql = self._session(sessions, "lookup")
            if settings.prove is not None:
                settings.prove(sql)  # I9: at every opening, since grants change
            history = slots.history(replication)
            slot = slots.observe(sql, settings.slot)
            start = find_start(position, kept, history, slot, name=settings.slot)
            require_unbroken(settings.captures, kept)
            if start is None:
                waiting = partial(self._wait_for_slot, sql)
                start = slots.create(replication, settings.slot, failover=settings.failover, waiting=waiting)
                self._obstacle = None
            tables = self._tables(sql)
            assistant = Assistant(
                lambda: self._tables(self._noted(connect(settings.connect, purpose="assist"))),
                slot=settings.slot,
                limits=settings.limits,
                heartbeat_s=settings.heartbeat_s,
                chunk_rows=settings.chunk_rows,
                rows_per_second=settings.rows_per_second,
                wake=self._wake,
            )
            known = replace(kept, system_id=history.system_id, timeline=history.timeline)
            known = known.reading([capture.stream for capture in settings.captures], at=start)
            rereads = Rereads(known, tables, Touched(), assistant)
            rereads.plan_first()
            rereads.hand_over()
            with translated("reading wal_sender_timeout"):
                row = sql.execute(_SENDER_TIMEOUT).fetchone()
            wire = Wire(replication)
            wire.replicate(settings.slot, start, self._publications(sql))
            assistant.start()
            sessions.callback(assistant.stop)
            with self._lock:
                self._flushed = position or Position(1, (0, 0))
            self._open = Opened(
                wire=wire,
                lookup=sql,
                log=ChangeLog(tables, lsn=start, skip=position.at[1] if position else 0, partial_lsn=kept.partial_lsn),
                rereads=rereads,
                assistant=assistant,
                epoch=position.epoch if position else 1,
                status_interval_s=((row[0] if row else 0) / 1000 or _DEFAULT_SENDER_TIMEOUT_S) / 3,
                sessions=sessions.pop_all(),
                idle_at=time.monotonic() + IDLE_INTERVAL_S,
            )

    def renew(self, position: Position | None, state: Mapping[str, Any], cause: str) -> Window:
        """Begin a new epoch after PositionLost: a sound slot, a gap declared on every stream, re-reads planned.

        Where nothing is missing but a stream's time out of the configuration, only that stream has a gap.

        Where a person is to decide, no re-read is planned and `open` refuses until the settings plan one.

        Returns: the window to journal before `open` is called with its position.
        Raises: SourceUnavailable, SourceRefused.
        """
        self.close()
        self._is_interrupted = False
        settings, kept = self._settings, State.load(state)
        with ExitStack() as sessions:
            replication = self._session(sessions, "stream", replication=True)
            sql = self._session(sessions, "lookup")
            history = slots.history(replication)
            if position is not None and not kept.awaits and self._lacks_streams_only(position, kept, history, sql):
                return declare_absence(settings.captures, position=position, state=kept, cause=cause)
            waiting = partial(self._wait_for_slot, sql)
            start = sound_slot(sql, replication, name=settings.slot, failover=settings.failover, waiting=waiting)
        return declare_gap(
            settings.captures,
            position=position,
            start=start,
            state=kept,
            cause=cause,
            history=history,
            rereads=settings.rereads_after_loss,
        )

    def read(self, timeout_s: float, *, is_busy: Callable[[], bool] = _never) -> Window | None:
        """See `bridge.ports.Source.read`. A window ends where the server has no more to send now, or at a size."""
        at = self._opened()
        deadline = time.monotonic() + timeout_s
        while True:
            self.keep_alive()
            window = (
                self._controlled(at)
                or self._merged(at)
                or self._streamed(at, is_busy, until=deadline)
                or self._idle(at)
            )
            if window is not None:
                reach("source.after_read")
                return window
            now = time.monotonic()
            if now >= deadline:
                return None
            idle_at = at.idle_at if at.log.streamed > at.log.lsn else deadline
            wait_s = max(0.0, min(deadline, at.status_at, idle_at) - now)
            if at.handed > self._reported:  # a wake for each window would cost more than the message
                wait_s = min(wait_s, _CONFIRM_S)
            self._wait([at.wire.fileno(), at.lookup.fileno(), self._wake_fd], wait_s)

    def keep_alive(self) -> None:
        """Send a status message where one is due: on a timer, when asked for, or when the journal has moved on.

        For the thread that reads, also while it waits for the journal to take a window.
        Raises: SourceUnavailable when the server is about to stop.
        """
        at = self._opened()
        hear_of_shutdown(at.lookup)
        with self._lock:
            flushed = self._flushed.at[0] if self._flushed.epoch == at.epoch else 0
        now = time.monotonic()
        if now < at.status_at and not at.log.reply_wanted and flushed <= self._reported:
            return
        reach("source.before_status")
        at.wire.send_status(received=max(at.log.streamed, flushed), flushed=flushed)  # I1: never past the journal
        reach("source.after_status")
        self._reported = flushed
        at.log.reply_wanted = at.log.reply_wanted and at.log.streamed > at.log.lsn  # answered by an idle position
        at.status_at = now + at.status_interval_s

    def confirm(self, position: Position) -> None:
        """See `bridge.ports.Source.confirm`. # I1: the only place that moves the flush position."""
        with self._lock:
            self._flushed = max(self._flushed, position)

    def control(self, action: str, stream: str) -> None:
        """Start a re-read of a stream's table, or pause, resume or cancel the one under way.

        Args:
            action: start, pause, resume or cancel.
            stream: whose.
        Raises: SourceRefused when the stream is not read here, or has no key to read it by.
        """
        require_readable(self._settings.captures, stream, system=self.name)
        self._controls.append((action, stream))
        self._wake()

    def findings(self) -> list[Finding]:
        """What is wrong with the slot or the re-reads now; empty when all is well."""
        at = self._open
        if at is not None:
            return at.assistant.ailments()
        return [self._obstacle] if self._obstacle else []

    def observation(self) -> Observation | None:
        """The last look at the slot; None before the first."""
        at = self._open
        return at.assistant.observation if at else None

    def interrupt(self) -> None:
        """See `bridge.pump.RenewableSource`: every query that runs is cancelled, and no wait goes on."""
        self._is_interrupted = True
        self._wake()
        for session in tuple(self._asking):
            cancel(session)

    def close(self) -> None:
        """See `bridge.ports.Source.close`."""
        at, self._open, self._obstacle = self._open, None, None
        self._reported = 0
        if at is not None:
            at.sessions.close()

    def _wait_for_slot(self, sql: Connection) -> None:
        """The server creates a slot only when all transactions that are open have ended; say whose, and heed a stop."""
        if self._settings.stopping() or self._is_interrupted:
            raise SourceUnavailable("stopped while the slot was being created")
        self._obstacle = slots.judge_creation(oldest_transaction(sql), slot=self._settings.slot)

    def _lacks_streams_only(self, position: Position, kept: State, history: slots.History, sql: Connection) -> bool:
        """Whether streams are back, and the server still holds everything since the journal's position."""
        if all(not kept.read_until.get(capture.stream) for capture in self._settings.captures):
            return False
        slot = slots.observe(sql, self._settings.slot)
        try:
            find_start(position, kept, history, slot, name=self._settings.slot)
        except PositionLost:
            return False
        return True

    def _undecided(self, cause: str) -> PositionLost | SourceRefused:
        """A gap was declared and nothing planned: go on as settings say now."""
        if self._settings.rereads_after_loss:
            return PositionLost(cause)
        hint = f"To read its tables again and go on, set systems.{self.name}.on_position_lost to resnapshot and reload."
        return SourceRefused(f"a gap is declared and a person decides how to go on: {cause}", hint=hint)

    def _session(self, sessions: ExitStack, purpose: str, *, replication: bool = False) -> Connection:
        connection = self._noted(connect(self._settings.connect, purpose=purpose, replication=replication))
        sessions.callback(connection.close)
        return connection

    def _noted(self, connection: Connection) -> Connection:
        """The connection, with whatever runs on it to be cancelled by `interrupt`."""
        self._asking = {known for known in self._asking if not known.closed} | {connection}
        return connection

    def _publications(self, sql: Connection) -> list[str]:
        """Those of our publications that exist: the DBA makes one for tables with a key, one for those without."""
        with translated("looking up publications"):
            rows = sql.execute(_PUBLICATIONS, (list(self._settings.publications),)).fetchall()
        if not rows:
            raise SourceRefused(f"there is no publication {' or '.join(self._settings.publications)}")
        return [row[0] for row in rows]

    def _tables(self, connection: Connection) -> Tables:
        return Tables(connection, self._settings.captures, self._settings.publications)

    def _opened(self) -> Opened:
        if self._open is None:
            raise InternalError(f"source {self.name} is read before it is open")
        return self._open

    def _wait(self, descriptors: list[int], timeout_s: float) -> None:
        """Until one of them can be read, or somebody wakes us, or the time is over."""
        ready, _, _ = select.select(descriptors, [], [], timeout_s)
        if self._wake_fd in ready:
            os.eventfd_read(self._wake_fd)

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    def _window(self, at: Opened, **rest: Any) -> Window:  # noqa: ANN401  fields of Window
        at.handed = at.log.lsn
        state, partial_lsn = at.rereads.state, at.log.partial_lsn
        if at.dumped is None or at.dumped[0] is not state or at.dumped[1] != partial_lsn:
            at.dumped = state, partial_lsn, replace(state, partial_lsn=partial_lsn).dump()
        return Window(position=Position(at.epoch, at.log.at), state=at.dumped[2], **rest)

    def _controlled(self, at: Opened) -> Window | None:
        """What operators asked for, as new state."""
        if not self._controls:
            return None
        while self._controls:
            at.rereads.control(*self._controls.popleft())
        return self._window(at, batches=())

    def _merged(self, at: Opened) -> Window | None:
        """The next chunk of a re-read, where it belongs in the stream."""
        merged = None if at.pending is not None else at.rereads.merge(streamed=at.log.streamed)
        if merged is None:
            return None
        batches = (merged.batch,) if merged.batch.row_count else ()
        healed = (merged.healed,) if merged.healed else ()
        return self._window(at, batches=batches, size_bytes=merged.batch.columns.nbytes, reread=healed)

    def _streamed(self, at: Opened, is_busy: Callable[[], bool], *, until: float) -> Window | None:
        """What the change log has sent."""
        run, at.pending = at.pending, None
        if run is None:
            received = Received()
            at.wire.drain(received, WINDOW_BYTES)
            while 0 < received.size_bytes < WINDOW_BYTES and is_busy() and time.monotonic() < min(until, at.status_at):
                # Asking the socket for every single message would cost more than the messages.
                self._wait([self._wake_fd], _LINGER_S)
                at.wire.drain(received, WINDOW_BYTES)
            run = received.run()
            if run is None:
                return None
        decoded = at.log.decode(run)
        at.pending = decoded.rest
        for batch in decoded.batches:
            at.rereads.record(batch, at.log.key_names(batch.stream))
        for stream in decoded.reshaped:
            at.rereads.restart(stream)
        if not decoded.moved:
            return None
        return self._window(at, batches=decoded.batches, size_bytes=run.buffer.size)

    def _idle(self, at: Opened) -> Window | None:
        """A position from time to time while nothing of ours changes, so that the server can free its WAL."""
        ahead = at.log.streamed - at.log.lsn
        if ahead <= 0 or not at.log.is_between_transactions:
            return None
        if time.monotonic() < at.idle_at and ahead < IDLE_BYTES and not at.log.reply_wanted:
            return None
        at.idle_at = time.monotonic() + IDLE_INTERVAL_S
        at.log.rest_here()
        return self._window(at, batches=())
