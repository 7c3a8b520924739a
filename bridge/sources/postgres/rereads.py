"""Which re-reads are under way, and how their chunks are woven into the change log.

Belongs to the reader's thread. The assistant reads chunks ahead; here each is handed on at the right place of the
stream and its progress becomes part of the source's state.
"""

from dataclasses import dataclass, replace

from bridge.errors import SourceRefused
from bridge.model import RawBatch
from bridge.resilience.failpoint import reach
from bridge.sources.postgres.assistant import Assistant
from bridge.sources.postgres.plan import Phase, State
from bridge.sources.postgres.snapshot import Touched, estimate, merge
from bridge.sources.postgres.tables import Capture, Tables

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
            reread = self.state.rereads.get(capture.stream)
            if reread is None or reread.phase is not Phase.RUNNING:
                self._touched.forget(capture.stream)
                continue
            if not reread.of and reread.last is None:
                row_count = estimate(self._tables.connection, capture.table)
                self.state = self.state.move(capture.stream, of=row_count)
            if not self._touched.watches(capture.stream):
                self._touched.watch(capture.stream)
            work[capture.stream] = (self._tables.describe(capture), self.state.rereads[capture.stream])
        self._assistant.plan(work)

    def merge(self, *, streamed: int) -> Merged | None:
        """The chunk that is ready, once every transaction its snapshot includes was streamed; None before.

        Args:
            streamed: every transaction that commits before this LSN has been returned.
        """
        chunk = self._assistant.peek()
        if chunk is None or chunk.high_lsn > streamed:
            return None
        stream = chunk.table.stream
        batch = merge(chunk, self._touched.stale_rows(chunk))
        before = self.state.rereads[stream]
        self._assistant.take()
        self.state = self.state.move(
            stream,
            last=chunk.last or before.last,
            rows=before.rows + chunk.columns.num_rows,
            phase=Phase.DONE if chunk.is_final else Phase.RUNNING,
        )
        if chunk.is_final:
            self._touched.forget(stream)
        reach("source.chunk_merged")
        return Merged(batch, stream if chunk.is_final and before.heals else None)

    def restart(self, stream: str) -> None:
        """The table's shape changed: what is read from now on needs a plan of its own."""
        reread = self.state.rereads.get(stream)
        if reread is not None and reread.phase is Phase.RUNNING:
            self.state = replace(self.state.plan(stream, heals=reread.heals))
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
