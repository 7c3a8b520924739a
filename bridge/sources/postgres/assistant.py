"""The source's second thread: everything that takes a query of its own, so that the change log is never kept waiting.

It reads chunks of re-reads ahead of the reader, writes heartbeats, and watches the slot. It never decides anything
about positions; it hands over values.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from bridge.errors import BridgeError
from bridge.sources.postgres import slot as slots
from bridge.sources.postgres.findings import Finding, Level
from bridge.sources.postgres.plan import Phase, Reread
from bridge.sources.postgres.session import Connection, translated
from bridge.sources.postgres.snapshot import Chunk, Table, Touched, read_chunk

GUARD_INTERVAL_S = 10.0
RETRY_INTERVAL_S = 5.0
# Not transactional: it writes a few bytes of WAL and no row, and needs no right (I9).
_HEARTBEAT = "SELECT pg_logical_emit_message(false, 'legacy-bridge', '')"


@dataclass(frozen=True, slots=True)
class Observation:
    """What the last look at the slot found."""

    state: slots.SlotState | None
    findings: tuple[Finding, ...]
    forecast: slots.Forecast | None


class Assistant:
    """One thread with one SQL session; the reader's thread talks to it through `plan`, `take` and `observation`."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        slot: str,
        limits: slots.SlotLimits,
        touched: Touched,
        heartbeat_s: float,
        chunk_rows: int,
        rows_per_second: int,
        wake: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._slot = slot
        self._limits = limits
        self._touched = touched
        self._heartbeat_s = heartbeat_s
        self._chunk_rows = chunk_rows
        self._rows_per_second = rows_per_second
        self._wake = wake
        self._changed = threading.Condition()
        self._stopping = False
        self._work: dict[str, tuple[Table, Reread]] = {}
        self._chunk: Chunk | None = None
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

    def plan(self, work: Mapping[str, tuple[Table, Reread]]) -> None:
        """The re-reads to work on from now on, each from its `last`; a chunk of any other is thrown away."""
        with self._changed:
            self._work = {
                stream: (table, reread) for stream, (table, reread) in work.items() if reread.phase is Phase.RUNNING
            }
            chunk = self._chunk
            if chunk is not None and chunk.number == self._number(chunk.table.stream):
                table, reread = self._work[chunk.table.stream]
                self._work[chunk.table.stream] = (table, replace(reread, last=chunk.last or reread.last))
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
        work = self._work.get(stream)
        return work[1].number if work else None

    def _run(self) -> None:
        connection: Connection | None = None
        beat_at = guard_at = read_at = 0.0
        while not self._stopping:
            try:
                connection = connection or self._connect()
                now = time.monotonic()
                if self._heartbeat_s and now >= beat_at:
                    beat_at = now + self._heartbeat_s
                    with translated("writing a heartbeat"):
                        connection.execute(_HEARTBEAT)
                if now >= guard_at:
                    guard_at = now + GUARD_INTERVAL_S
                    self._guard(connection)
                if now >= read_at and self._chunk is None and self._work:
                    read_at = now + self._read(connection)
                self.failure = None
            except BridgeError as error:
                self.failure = error
                if connection is not None:
                    connection.close()
                connection = None
                read_at = time.monotonic() + RETRY_INTERVAL_S
            self._pause(min(beat_at if self._heartbeat_s else guard_at, guard_at), read_at)
        if connection is not None:
            connection.close()

    def _pause(self, timer_at: float, read_at: float) -> None:
        """Sleep until something is due or somebody calls."""
        with self._changed:
            now = time.monotonic()
            if self.failure is not None:
                due_at = now + RETRY_INTERVAL_S
            elif self._work and self._chunk is None:
                due_at = min(timer_at, read_at)
            else:
                due_at = timer_at
            if not self._stopping and due_at > now:
                self._changed.wait(due_at - now)

    def _guard(self, connection: Connection) -> None:
        state = slots.observe(connection, self._slot)
        previous = self.observation.state if self.observation else None
        findings = tuple(slots.judge(state, previous, self._limits, slot=self._slot))
        forecast = slots.forecast(state, previous, self._limits) if state else None
        self.observation = Observation(state, findings, forecast)

    def _read(self, connection: Connection) -> float:
        """Read the next chunk of the first re-read; returns how many seconds to wait before the one after it."""
        with self._changed:
            if not self._work:
                return 0.0
            stream, (table, reread) = next(iter(self._work.items()))
        started = time.monotonic()
        chunk = read_chunk(
            connection, table, number=reread.number, last=reread.last, row_limit=self._chunk_rows, touched=self._touched
        )
        if chunk is None:
            return 0.01
        with self._changed:
            current = self._work.get(stream)
            if current is None or current[1] is not reread:
                return 0.0  # the plan changed meanwhile
            self._chunk = chunk
            self._work[stream] = (table, replace(reread, last=chunk.last or reread.last))
        self._wake()
        if not self._rows_per_second:
            return 0.0
        return max(0.0, float(chunk.columns.num_rows) / self._rows_per_second - (time.monotonic() - started))

    def ailments(self) -> list[Finding]:
        """What is wrong now with the slot, or with the assistant's own work."""
        found = list(self.observation.findings) if self.observation else []
        if (failure := self.failure) is not None:
            found.append(Finding(Level.WARN, failure.code, self._slot, failure.detail, failure.hint))
        return found
