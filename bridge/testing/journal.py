"""The journal without a disk."""

import itertools
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.compute as pc

from bridge.errors import InternalError, JournalUnavailable
from bridge.model import (
    Block,
    Commit,
    EventBatch,
    Letter,
    LetterState,
    Marks,
    NewLetters,
    Parked,
    Position,
    RawBatch,
    StreamState,
    event_id,
)
from bridge.ports import Retention, StreamExtent, SubscriberGap
from bridge.testing.deliveries import MemoryDeliveries
from bridge.testing.desk import MemoryDesk
from bridge.testing.images import MemoryExtraction


@dataclass(slots=True)
class _Stream:
    """What the twin holds of one stream."""

    blocks: list[Block] = field(default_factory=list)
    last: int = 0
    last_commit_at: datetime | None = None
    last_journalled_at: datetime | None = None

    @property
    def first(self) -> int:
        return self.blocks[0].first if self.blocks else self.last + 1

    @property
    def bytes(self) -> int:
        return sum(block.batch.nbytes for block in self.blocks)


class MemoryJournal(MemoryDesk, MemoryDeliveries, MemoryExtraction):
    """The Journal port without a disk. Callable from any thread."""

    def __init__(self, *, retain: Retention | None = None, now: Callable[[], datetime] | None = None) -> None:
        """Start empty."""
        MemoryDesk.__init__(self)
        MemoryDeliveries.__init__(self)
        MemoryExtraction.__init__(self)
        self._retain = retain or Retention()
        self._clock = now or (lambda: datetime.now(UTC))
        self._letter_ids = itertools.count(1)
        self._parked_ids = itertools.count(1)
        self._streams: dict[str, _Stream] = {}
        self._positions: dict[str, tuple[Position | None, bytes]] = {}
        self._gaps: list[SubscriberGap] = []
        self._letters: dict[int, Letter] = {}
        self._parked: dict[int, Parked] = {}
        self._states: dict[str, StreamState] = {}
        self._judged: dict[tuple[str, datetime], tuple[int, int]] = defaultdict(lambda: (0, 0))

    def _now(self) -> datetime:
        return self._clock()

    # -- the event path
    def append(self, commit: Commit) -> dict[str, tuple[int, int]]:
        """See the port."""
        with self._lock:
            self._refuse(commit)
            self._version += 1
            self._receive(commit)
            given = self._append_events(commit.events)
            self._set_aside(commit)
            for stream_state in commit.streams:
                self._states[stream_state.stream] = stream_state
            for entry in commit.audit:
                self.audit(entry)
            if commit.extracted is not None:
                self._extract(commit.extracted, commit.judged)
            minute = self._now().replace(second=0, microsecond=0)
            for stream, (valid, rejected) in commit.judged.items():
                held = self._judged[stream, minute]
                self._judged[stream, minute] = (held[0] + valid, held[1] + rejected)
            if commit.source is not None:
                held_position, held_state = self._positions.get(commit.source, (None, b"{}"))
                state = held_state if commit.state is None else msgspec.json.encode(dict(commit.state))
                self._positions[commit.source] = (commit.position or held_position, state)
            return given

    def position(self, source: str) -> tuple[Position | None, dict[str, Any]]:
        """See the port."""
        position, state = self._positions.get(source, (None, b"{}"))
        return position, msgspec.json.decode(state)

    def read(self, stream: str, *, after: int = 0, limit: int | None = None) -> Iterator[Block]:
        """See the port. After retention, starts at the first number kept."""
        with self._lock:
            blocks = list(self._streams[stream].blocks) if stream in self._streams else []
        left = limit
        for block in blocks[bisect_left(blocks, after + 1, key=lambda block: block.last) :]:
            if left is not None and left <= 0:
                return
            skip = max(0, after + 1 - block.first)
            cut = replace(block, first=block.first + skip, batch=block.batch.slice(skip, left))
            left = None if left is None else left - cut.batch.num_rows
            yield cut

    def extents(self) -> dict[str, StreamExtent]:
        """See the port."""
        with self._lock:
            return {
                name: StreamExtent(
                    name,
                    held.first,
                    held.last,
                    held.bytes,
                    len(held.blocks),
                    held.last_commit_at,
                    held.last_journalled_at,
                )
                for name, held in sorted(self._streams.items())
            }

    def journalled_at(self, stream: str, number: int) -> datetime | None:
        """See the port."""
        with self._lock:
            blocks = self._streams[stream].blocks if stream in self._streams else []
            at = bisect_left(blocks, number, key=lambda block: block.last)
            return blocks[at].journalled_at if at < len(blocks) else None

    def alike_to(self, stream: str, first: int, last: int) -> int:
        """See the port."""
        blocks = list(self.read(stream, after=first - 1, limit=last - first + 1))
        others = (block.first for block in blocks if block.batch.schema != blocks[0].batch.schema)
        return next(others, last + 1) - 1

    def version(self) -> int:
        """See the port."""
        return self._version

    # -- subscribers: see MemoryDeliveries; contracts, requests, audit: see MemoryDesk
    def gaps(self, subscriber: str) -> list[SubscriberGap]:
        """What retention took before the subscriber had read it, oldest first."""
        return [gap for gap in self._gaps if gap.subscriber == subscriber]

    # -- dead letters, parked rows, streams
    def letters(
        self,
        *,
        stream: str | None = None,
        state: LetterState | None = LetterState.OPEN,
        limit: int = 100,
        after: int = 0,
    ) -> list[Letter]:
        """See the port."""
        with self._lock:
            found = (
                replace(letter, raw=None)
                for letter in self._letters.values()
                if letter.id > after and stream in {None, letter.stream} and state in {None, letter.state}
            )
            return list(itertools.islice(found, limit))

    def letter_counts(self) -> dict[str, int]:
        """See the port."""
        return _count((letter.stream, 1) for letter in self.letters(limit=len(self._letters)))

    def letter(self, letter_id: int) -> Letter | None:
        """See the port."""
        return self._letters.get(letter_id)

    def parked(self, stream: str, *, limit: int = 16) -> list[Parked]:
        """See the port."""
        with self._lock:
            return [parked for parked in self._parked.values() if parked.raw.stream == stream][:limit]

    def parked_counts(self) -> dict[str, int]:
        """See the port."""
        with self._lock:
            return _count((parked.raw.stream, parked.raw.row_count) for parked in self._parked.values())

    def stream_states(self) -> dict[str, StreamState]:
        """See the port."""
        return dict(self._states)

    def validity(self, stream: str, *, since: datetime) -> tuple[int, int]:
        """See the port."""
        first = since.replace(second=0, microsecond=0)
        with self._lock:
            counts = [count for (name, minute), count in self._judged.items() if name == stream and minute >= first]
        return sum(valid for valid, _ in counts), sum(rejected for _, rejected in counts)

    # -- care
    def tend(self, now: datetime) -> bool:
        """Apply retention, whole; there is nothing to merge or to give back."""
        with self._lock:
            self._forget_by_size(now)
            self._forget_by_age(now)
            self._forget_received(now)
        return False

    def verify(self) -> list[str]:
        """Memory is sound."""
        return []

    def backup(self, target: Path) -> None:
        """Refused: there is no file. Raises: JournalUnavailable."""
        raise JournalUnavailable(f"a journal in memory cannot be written to {target}")

    def close(self) -> None:
        """Nothing is held."""

    # -- what the methods above are made of
    def _refuse(self, commit: Commit) -> None:
        """Raise before anything is stored, so that a commit is whole or not at all."""
        held, _ = self._positions.get(commit.source or "", (None, b""))
        if commit.source is not None and held is not None and commit.position is not None and commit.position < held:
            raise InternalError(f"the position of source {commit.source} would move back")  # I2
        for letter_id in commit.settled:
            letter = self._letters.get(letter_id)
            if letter is None or letter.state is not LetterState.OPEN:
                raise InternalError(f"letter {letter_id} cannot be settled: it is not open")
        for parked_id in commit.unparked:
            if parked_id not in self._parked:
                raise InternalError(f"parked batch {parked_id} cannot be released: it is not there")

    def _append_events(self, batches: tuple[EventBatch, ...]) -> dict[str, tuple[int, int]]:
        given: dict[str, tuple[int, int]] = {}
        for events in batches:
            if not events.row_count:
                continue
            held = self._streams.setdefault(events.stream, _Stream())
            now = held.last_journalled_at = self._now()
            block = Block(events.stream, held.last + 1, events.epoch, events.contract, now, events.batch)
            held.blocks.append(block)
            held.last = block.last
            held.last_commit_at = pc.max(events.batch.column("_commit_at")).as_py() or held.last_commit_at
            given[events.stream] = (given.get(events.stream, (block.first, 0))[0], block.last)
        return given

    def _set_aside(self, commit: Commit) -> None:
        for new in commit.letters:
            for letter in _letters(new, self._now()):
                number = next(self._letter_ids)
                self._letters[number] = replace(letter, id=number)
        for parked in commit.parked:
            number = next(self._parked_ids)
            self._parked[number] = Parked(number, parked.epoch, parked.raw)
        for parked_id in commit.unparked:
            del self._parked[parked_id]
        for letter_id, (state, reason) in commit.settled.items():
            settled = replace(self._letters[letter_id], state=state, reason=reason, settled_at=self._now())
            self._letters[letter_id] = settled

    def _forget_by_size(self, now: datetime) -> None:
        limit = self._retain.size_bytes
        while limit is not None and sum(held.bytes for held in self._streams.values()) > limit:
            fullest = [(held.blocks[0].journalled_at, name) for name, held in self._streams.items() if held.blocks]
            self._forget_first(min(fullest)[1], now)

    def _forget_by_age(self, now: datetime) -> None:
        if self._retain.age is None:
            return
        oldest = now - self._retain.age
        for name, held in self._streams.items():
            read_up_to = min(
                (reached.settled for (_, stream), reached in self._progress.items() if stream == name),
                default=held.last,
            )
            while held.blocks and held.blocks[0].journalled_at < oldest and held.blocks[0].last <= read_up_to:
                self._forget_first(name, now)
        settled = [one.id for one in self._letters.values() if one.settled_at is not None and one.settled_at < oldest]
        for letter_id in settled:
            del self._letters[letter_id]

    def _forget_first(self, stream: str, now: datetime) -> None:
        block = self._streams[stream].blocks.pop(0)
        for (subscriber, name), reached in self._progress.items():
            if name == stream and reached.settled < block.last:
                unread = max(reached.settled + 1, block.first)
                self._gaps.append(SubscriberGap(subscriber, stream, unread, block.last, now))


def _letters(new: NewLetters, now: datetime) -> Iterator[Letter]:
    """The letters of one append, numbered 0 for now."""
    raw, rejected = new.rejected.raw, new.rejected
    for row, (key, breaches) in enumerate(zip(rejected.keys, rejected.breaches, strict=True)):
        change = raw.changes.slice(row, 1).to_pylist()[0]
        its_id = event_id(
            new.stream,
            new.epoch,
            op=change["_op"],
            position=change["_position"],
            tx_index=change["_tx_index"],
            moved=change["_moved"],
            snapshot=change["_snapshot"],
            key=key,
        )
        yield Letter(
            id=0,
            stream=new.stream,
            epoch=new.epoch,
            contract=new.contract,
            key=key,
            event_id=its_id,
            breaches=breaches,
            state=LetterState.OPEN,
            created_at=now,
            raw=_row(raw, row),
        )


def _row(raw: RawBatch, row: int) -> RawBatch:
    marks = {}
    for name, mark in raw.marks.items():
        for at in range(len(mark.rows)):
            if mark.rows[at] == row:
                marks[name] = Marks(np.zeros(1, np.int64), mark.kinds[at : at + 1], (mark.raw[at],))
    return RawBatch(raw.stream, raw.shape, raw.changes.slice(row, 1), raw.columns.slice(row, 1), marks)


def _count(pairs: Iterator[tuple[str, int]]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for name, count in pairs:
        counts[name] += count
    return dict(counts)
