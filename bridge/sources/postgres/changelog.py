"""The change log of one slot as it arrives: messages in, raw batches and a position out.

The path of a change: `Wire.drain` → `ChangeLog.decode` → `framing.frame` → `assembly.assemble`. A run of messages may
end anywhere, also inside a transaction, so the position counts the wire changes of an unfinished transaction besides
the end of the last whole one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.errors import InternalError, PositionLost
from bridge.model import RawBatch
from bridge.postgres.copying import Run
from bridge.sources.postgres import lsn as lsns
from bridge.sources.postgres.assembly import assemble
from bridge.sources.postgres.framing import RELATION, TRUNCATE, XLOG_HEADER, Frames, Transaction, big_endian, frame
from bridge.sources.postgres.relation import Captured, capture, parse
from bridge.sources.postgres.reselect import fill_unchanged
from bridge.sources.postgres.tables import Capture, Tables

_KEEPALIVE, _KEEPALIVE_SIZE = ord("k"), 18


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one run of messages held."""

    batches: tuple[RawBatch, ...]
    moved: bool  # whether the position is another one now
    rest: Run | None  # messages behind a change of a table's shape, for the next call
    reshaped: tuple[str, ...]  # streams whose table has another shape since this run


class ChangeLog:
    """Progress through the change log and the tables met on the way; for one thread.

    Args:
        tables: what is captured.
        lsn: end of the last whole transaction that the journal holds.
        skip: wire changes of the next transaction that the journal holds.
        partial_lsn: commit LSN of that transaction; 0 when `skip` is 0.
    """

    def __init__(self, tables: Tables, *, lsn: int, skip: int, partial_lsn: int) -> None:
        self.lsn = lsn
        self.streamed = lsn  # every transaction that commits before this has been returned
        self.reply_wanted = False  # the server asked for a status message
        self._tables = tables
        self._skip = skip
        self._skip_lsn = partial_lsn
        self._transaction = Transaction()
        self._relations: dict[int, Captured | None] = {}  # by relation oid; None: not ours
        self._current: dict[str, Captured] = {}  # by stream

    @property
    def at(self) -> tuple[int, int]:
        """The position after what was returned: (end of the last whole transaction, changes of the next)."""
        return self.lsn, max(self._transaction.change_count if self._transaction.is_open else 0, self._skip)

    @property
    def partial_lsn(self) -> int:
        """Commit LSN of the transaction that is returned in part; 0 when there is none."""
        if self._skip:
            return self._skip_lsn
        return self._transaction.final_lsn if self._transaction.is_open and self._transaction.change_count else 0

    @property
    def is_between_transactions(self) -> bool:
        """Whether everything received is whole."""
        return not self._transaction.is_open

    def rest_here(self) -> None:
        """Take what was streamed, all of it whole and none of it ours, as the position."""
        self.lsn, self._skip = self.streamed, 0

    def key_names(self, stream: str) -> list[str]:
        """The columns that identify a row of the stream, of the shape met last."""
        captured = self._current[stream]
        return [captured.shape.columns[number].name for number in captured.key]

    def decode(self, run: Run) -> Decoded:
        """The changes of a run of payloads, keepalives among them.

        Raises: MalformedRecord, PositionLost when the transaction journalled in part does not come again.
        """
        is_data, idle_lsn = self._read_keepalives(run)
        starts = run.starts[is_data] + XLOG_HEADER
        frames = frame(run.buffer, starts, self._transaction)
        reshaped: list[str] = []
        end = self._learn_relations(frames, reshaped)
        rest = None
        if end is not None:
            rest = run.behind(int(starts[end]) - XLOG_HEADER)
            frames = frame(run.buffer, starts[:end], self._transaction)
        batches = self._batches(frames, self._is_new(frames))
        before = self.at
        self._advance(frames)
        if idle_lsn and rest is None and not self._transaction.is_open:
            self.streamed = max(self.streamed, idle_lsn)
        return Decoded(tuple(batches), self.at != before, rest, tuple(reshaped))

    def _read_keepalives(self, run: Run) -> tuple[NDArray[np.bool_], int]:
        """Which messages are data, and up to where the server has sent everything if it said so last.

        Source: PostgreSQL manual, "Streaming Replication Protocol", Primary keepalive message.
        """
        is_keepalive = run.buffer[run.starts] == _KEEPALIVE
        if not is_keepalive.any():
            return ~is_keepalive, 0
        sizes = np.diff(np.append(run.starts, run.buffer.size))
        if (sizes[is_keepalive] != _KEEPALIVE_SIZE).any():
            raise InternalError("a keepalive message of an unknown size")
        self.reply_wanted |= bool(run.buffer[run.starts[is_keepalive] + _KEEPALIVE_SIZE - 1].any())
        return ~is_keepalive, int(big_endian(run.buffer, run.starts[-1:] + 1, ">u8")[0]) if is_keepalive[-1] else 0

    def _learn_relations(self, frames: Frames, reshaped: list[str]) -> int | None:
        """Take note of Relation messages; returns the first message that must wait for the next run, if any.

        A table met in a new shape cuts the run before that message, so that a batch has one shape.
        """
        for which in np.flatnonzero(frames.kinds == RELATION).tolist():
            start = int(frames.starts[which])
            more = frames.starts[which + 1 :]
            stop = int(more[0]) - XLOG_HEADER if more.size else frames.buffer.size
            relation = parse(frames.buffer[start:stop].tobytes())
            configured = self._tables.capture_of(relation.qualified) or self._renamed(relation.oid)
            if configured is None:
                self._relations[relation.oid] = None
                continue
            current = self._current.get(configured.stream)
            if current is not None and current.relation == relation:
                continue
            if current is not None:
                if which > 0:
                    return which
                reshaped.append(configured.stream)
            captured = capture(
                relation,
                stream=configured.stream,
                key_columns=configured.key_columns,
                lookup=self._tables.lookup,
            )
            self._relations[relation.oid] = self._current[configured.stream] = captured
        return None

    def _renamed(self, oid: int) -> Capture | None:
        """The capture of a relation that was one of ours: under its new name its shape is another, so it is drift."""
        known = self._relations.get(oid)
        return self._tables.capture_for(known.stream) if known else None

    def _is_new(self, frames: Frames) -> NDArray[np.bool_]:
        """Which changes the journal does not hold. # I4: each exactly once, also from inside a transaction."""
        is_new: NDArray[np.bool_] = frames.position >= np.uint64(self.lsn)
        if self._skip:
            if (frames.begun[:1] > np.uint64(self._skip_lsn)).any() and not self._transaction.is_open:
                raise PositionLost(
                    f"the transaction at {lsns.text(self._skip_lsn)}, journalled in part, is not sent again"
                )
            is_new &= ~((frames.position == np.uint64(self._skip_lsn)) & (frames.tx_index < self._skip))
        return is_new

    def _advance(self, frames: Frames) -> None:
        self._transaction = frames.last
        if frames.committed_lsn is not None:
            self.lsn = max(self.lsn, frames.committed_lsn)
            self.streamed = max(self.streamed, self.lsn)
            if self.lsn > self._skip_lsn:
                self._skip = 0
        if frames.last.is_open:
            self.streamed = max(self.streamed, frames.last.final_lsn)
            if frames.last.change_count >= self._skip:
                self._skip = 0

    def _batches(self, frames: Frames, is_new: NDArray[np.bool_]) -> list[RawBatch]:
        at = frames.starts[frames.changes]
        is_row = frames.kinds[frames.changes] != TRUNCATE
        relations = big_endian(frames.buffer, np.where(is_row, at + 1, 0), ">u4")
        truncated = _truncated(frames, at, np.flatnonzero(~is_row & is_new))
        batches = []
        for oid in dict.fromkeys([*np.unique(relations[is_new & is_row]).tolist(), *truncated]):
            if oid not in self._relations:
                raise InternalError(f"changes of relation {oid} came before its description")
            captured = self._relations[oid]
            if captured is None:
                continue
            which = np.flatnonzero(is_new & is_row & (relations == oid))
            if oid in truncated:
                which = np.sort(np.concatenate((which, np.array(truncated[oid], np.int64))))
            batch = assemble(frames, captured, which)
            if batch.marks and self._tables.capture_for(captured.stream).reselects:
                unfinished = frames.last.final_lsn if frames.last.is_open else 0
                batch = fill_unchanged(self._tables.connection, batch, captured, unfinished=unfinished)
            batches.append(batch)
        return batches


def _truncated(frames: Frames, at: NDArray[np.int64], which: NDArray[np.int64]) -> dict[int, list[int]]:
    """The relations each Truncate message among the changes `which` names: oid -> changes."""
    found: dict[int, list[int]] = {}
    for change in which.tolist():
        count = int(big_endian(frames.buffer, at[change : change + 1] + 1, ">u4")[0])
        for oid in big_endian(frames.buffer, at[change] + 6 + 4 * np.arange(count), ">u4").tolist():
            found.setdefault(oid, []).append(change)
    return found
