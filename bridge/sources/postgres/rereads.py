"""Which re-reads are under way, and how their chunks are woven into the change log.

Belongs to the reader's thread. The assistant reads chunks ahead; here each is handed on at the right place of the
stream and its progress becomes part of the source's state.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.errors import SourceRefused
from bridge.model import RawBatch
from bridge.resilience.failpoint import reach
from bridge.sources.postgres.assistant import Assistant, Task
from bridge.sources.postgres.plan import Phase, State
from bridge.sources.postgres.snapshot import merge
from bridge.sources.postgres.tables import Capture, Tables
from bridge.sources.postgres.touched import Touched

_PHASES = {"pause": Phase.PAUSED, "resume": Phase.RUNNING, "cancel": Phase.CANCELLED}


@dataclass(frozen=True, slots=True)
class Merged:
    """A chunk as it goes into the stream."""

    batch: RawBatch
    healed: str | None  # the stream whose re-read after a gap is complete with it


class Rereads:
    """The re-reads of one source."""

    def __init__(self, state: State, tables: Tables, touched: Touched, assistant: Assistant) -> None:
        self.state = state
        self._tables = tables
        self._touched = touched
        self._assistant = assistant

    def plan_first(self) -> None:
        """Plan the first load of every table that never had one."""
        for capture in self._tables.captures:
            if is_readable(capture) and capture.reads_initially and capture.stream not in self.state.rereads:
                self.state = self.state.plan(capture.stream)

    def control(self, action: str, stream: str) -> None:
        """Start a re-read of a stream, or pause, resume or cancel the one under way."""
        current = self.state.rereads.get(stream)
        if action == "start":
            self.state = self.state.plan(stream)
        elif current is not None and current.phase in (Phase.RUNNING, Phase.PAUSED):
            self.state = self.state.move(stream, phase=_PHASES[action])
        self.hand_over()

    def hand_over(self) -> None:
        """Tell the assistant what to read, watching the keys of each table from before its first chunk."""
        work = {}
        for capture in self._tables.captures:
            stream = capture.stream
            reread = self.state.rereads.get(stream)
            if reread is None or reread.phase is not Phase.RUNNING:
                self._touched.forget(stream)
                continue
            if not reread.of and reread.last is None:
                self.state = self.state.move(stream, of=self._tables.estimate(capture))
            work[stream] = Task(capture, self.state.rereads[stream], self._touched.watch(stream))
        self._assistant.plan(work)

    def record(self, batch: RawBatch, key: Sequence[str]) -> None:
        """Remember a streamed batch, as far as the chunk that waits does not include it."""
        self._touched.record(batch, key)
        chunk = self._assistant.peek()
        if chunk is not None and chunk.table.stream == batch.stream:
            self._touched.watch(batch.stream).forget_seen(chunk.visibility)

    def merge(self, *, streamed: int) -> Merged | None:
        """The chunk that is ready, once every transaction its rows include was streamed; None before.

        Args:
            streamed: every transaction that commits before this LSN has been returned.
        """
        if self._assistant.rekeyed is not None:
            self.restart(self._assistant.rekeyed)
        chunk = self._assistant.peek()
        if chunk is None or chunk.high_lsn > streamed:
            return None
        stream = chunk.table.stream
        batch = merge(chunk, self._touched.watch(stream))
        before = self.state.rereads[stream]
        self._assistant.take()
        self.state = self.state.move(
            stream,
            key=chunk.table.key_names,
            last=chunk.last or before.last,
            rows=before.rows + chunk.row_count,
            phase=Phase.DONE if chunk.is_final else Phase.RUNNING,
        )
        if chunk.is_final:
            self._touched.forget(stream)
        reach("source.chunk_merged")
        return Merged(batch, stream if chunk.is_final and before.heals else None)

    def restart(self, stream: str) -> None:
        """The table is another one now than when its re-read began: what was read of it is not all there is to read."""
        reread = self.state.rereads.get(stream)
        if reread is not None and reread.phase is Phase.RUNNING:
            self.state = self.state.plan(stream)
            self._touched.forget(stream)
            self.hand_over()


def is_readable(capture: Capture) -> bool:
    """Whether a table can be read in key order."""
    return not capture.is_keyless


def require_readable(tables: tuple[Capture, ...], stream: str, *, system: str) -> None:
    """Raises SourceRefused when the stream is not read from this system, or its table has no key to read it by."""
    capture = next((one for one in tables if one.stream == stream), None)
    if capture is None:
        raise SourceRefused(f"stream {stream} is not read from {system}", hint="See `legacy-bridge stream list`.")
    if not is_readable(capture):
        raise SourceRefused(f"{capture.table} has no key to read it by", hint="Only its inserts can be followed.")
