"""The source's second thread: everything that takes a query of its own, so that the change log is never kept waiting.

It reads chunks of re-reads ahead of the reader, writes heartbeats, and watches the slot. It never decides anything
about positions; it hands over values.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from bridge.errors import BridgeError, InternalError
from bridge.findings import Finding, Level
from bridge.postgres.session import Connection, translated
from bridge.sources.postgres import slot as slots
from bridge.sources.postgres.plan import Reread
from bridge.sources.postgres.snapshot import Chunk, Obstacle, read_chunk, settled
from bridge.sources.postgres.tables import Capture, Tables
from bridge.sources.postgres.touched import Watch

GUARD_INTERVAL_S = 10.0
RETRY_INTERVAL_S = 5.0
# Not transactional: it writes a few bytes of WAL and no row, and needs no right (I9).
_HEARTBEAT = "SELECT pg_logical_emit_message(false, 'legacy-bridge', '')"
# The same, and its WAL at once on disk: the server sends no further, and a chunk waits for what it has seen to be sent.
_FLUSHED_HEARTBEAT = "SELECT pg_logical_emit_message(false, 'legacy-bridge', '', true)"
_FLUSH_SINCE = 170000  # server_version_num


@dataclass(frozen=True, slots=True)
class Observation:
    """What the last look at the slot found."""

    state: slots.SlotState | None
    findings: tuple[Finding, ...]
    forecast: slots.Forecast | None


@dataclass(frozen=True, slots=True)
class Task:
    """A re-read to work on, from its `last`."""

    capture: Capture
    reread: Reread
    watch: Watch


class Assistant:
    """One thread with one SQL session; the reader's thread talks to it through `plan`, `take` and `observation`."""

    def __init__(
        self,
        connect: Callable[[], Tables],
        *,
        slot: str,
        limits: slots.SlotLimits,
        heartbeat_s: float,
        chunk_rows: int,
        rows_per_second: int,
        wake: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._slot = slot
        self._limits = limits
        self._heartbeat_s = heartbeat_s
        self._chunk_rows = chunk_rows
        self._rows_per_second = rows_per_second
        self._wake = wake
        self._changed = threading.Condition()
        self._stopping = False
        self._read_at = 0.0  # when the next chunk may be read
        self._work: dict[str, Task] = {}
        self._blocked: dict[str, tuple[float, BridgeError]] = {}  # until when, and why
        self._chunk: Chunk | None = None
        self.rekeyed: str | None = None  # a stream whose re-read must begin anew
        self.observation: Observation | None = None
        self.failure: BridgeError | None = None  # why it cannot work now
        self._thread = threading.Thread(target=self._run, name=f"assist-{slot}", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End after the query at hand; callable twice."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def plan(self, work: Mapping[str, Task]) -> None:
        """The re-reads to work on from now on; a chunk of any other is thrown away."""
        with self._changed:
            self._work, self._blocked, self.rekeyed = dict(work), {}, None
            chunk = self._chunk
            if chunk is not None and chunk.number == self._number(chunk.table.stream):
                self._read_on_behind(chunk)
            else:
                self._chunk = None
            self._changed.notify()

    def peek(self) -> Chunk | None:
        """The chunk that is ready, if any."""
        return self._chunk

    def take(self) -> None:
        """The chunk `peek` showed was merged; read on behind it."""
        with self._changed:
            chunk, self._chunk = self._chunk, None
            if chunk is not None and chunk.is_final:
                self._work.pop(chunk.table.stream, None)
            self._changed.notify()

    def _number(self, stream: str) -> int | None:
        task = self._work.get(stream)
        return task.reread.number if task else None

    def _read_on_behind(self, chunk: Chunk) -> None:
        stream = chunk.table.stream
        task = self._work[stream]
        reread = replace(task.reread, key=chunk.table.key_names, last=chunk.last or task.reread.last)
        self._work[stream] = replace(task, reread=reread)

    def _run(self) -> None:
        tables: Tables | None = None
        beat_at = guard_at = 0.0
        while not self._stopping:
            try:
                tables = tables or self._connect()
                now = time.monotonic()
                if self._heartbeat_s and now >= beat_at:
                    beat_at = now + self._heartbeat_s
                    with translated("writing a heartbeat"):
                        tables.connection.execute(_HEARTBEAT)
                if now >= guard_at:
                    guard_at = now + GUARD_INTERVAL_S
                    self._guard(tables.connection)
                if now >= self._read_at and self._chunk is None:
                    self._read_at = now + self._read(tables)
                self.failure = None
            except BridgeError as error:
                self.failure = error
            except Exception as error:  # noqa: BLE001  a bug in here must be seen, and heartbeats and guard go on
                self.failure = InternalError(f"the assistant failed: {type(error).__name__}")
            if self.failure is not None and tables is not None:
                tables.connection.close()
                tables = None
            self._pause(min(beat_at if self._heartbeat_s else guard_at, guard_at))
        if tables is not None:
            tables.connection.close()

    def _pause(self, timer_at: float) -> None:
        """Sleep until something is due or somebody calls."""
        with self._changed:
            now = time.monotonic()
            if self.failure is not None:
                due_at = now + RETRY_INTERVAL_S
            elif self._work and self._chunk is None:
                due_at = min(timer_at, max(self._read_at, self._unblocked_at()))
            else:
                due_at = timer_at
            if not self._stopping and due_at > now:
                self._changed.wait(due_at - now)

    def _guard(self, connection: Connection) -> None:
        previous = self.observation.state if self.observation else None
        state = slots.observe(connection, self._slot, previous=previous)
        findings = tuple(slots.judge(state, previous, self._limits, slot=self._slot))
        forecast = slots.forecast(state, previous, self._limits) if state else None
        self.observation = Observation(state, findings, forecast)

    def _unblocked_at(self) -> float:
        """When the first of the re-reads may be worked on."""
        return min(self._blocked[stream][0] if stream in self._blocked else 0.0 for stream in self._work)

    def _read(self, tables: Tables) -> float:
        """Read the next chunk of the first re-read; returns how many seconds to wait before the one after it."""
        started = time.monotonic()
        with self._changed:
            ready = (task for stream, task in self._work.items() if self._blocked.get(stream, (0.0,))[0] <= started)
            task = next(ready, None)
        if task is None:
            return 0.0
        stream = task.capture.stream
        try:
            chunk = read_chunk(tables, task.capture, task.reread, row_limit=self._chunk_rows, watch=task.watch)
        except BridgeError as error:
            if tables.connection.closed:
                raise
            self._blocked[stream] = started + RETRY_INTERVAL_S, error  # the other tables go on
            return 0.0
        if chunk is Obstacle.BLIND:
            return 0.01
        if self._heartbeat_s and tables.connection.info.server_version >= _FLUSH_SINCE:
            with translated("writing a heartbeat"):
                tables.connection.execute(_FLUSHED_HEARTBEAT)
        if isinstance(chunk, Chunk):
            chunk = replace(chunk, high_lsn=settled(tables.connection, chunk.high_lsn))
        with self._changed:
            if self._work.get(stream) is not task:
                return 0.0  # the plan changed meanwhile
            self._blocked.pop(stream, None)
            if chunk is Obstacle.REKEYED:
                self.rekeyed = stream
                self._blocked[stream] = started + RETRY_INTERVAL_S, InternalError("its re-read was not begun anew")
            else:
                self._chunk = chunk
                self._read_on_behind(chunk)
        self._wake()
        if not self._rows_per_second or not isinstance(chunk, Chunk):
            return 0.0
        return max(0.0, float(chunk.row_count) / self._rows_per_second - (time.monotonic() - started))

    def ailments(self) -> list[Finding]:
        """What is wrong now with the slot, or with the assistant's own work."""
        found = list(self.observation.findings) if self.observation else []
        failures = [error for _, error in list(self._blocked.values())]
        for failure in [*failures, self.failure] if self.failure else failures:
            found.append(Finding(Level.WARN, failure.code, self._slot, failure.detail, failure.hint))
        return found
