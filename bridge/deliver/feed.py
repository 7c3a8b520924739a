"""One stream of the journal, or a range of it, as entries for one sink.

Reads in chunks, renders each chunk once, and knows how far the sink is. Holds in memory only what is on its way; what
waits behind a failure is let go of and read again when its turn comes.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bridge.export import Envelope, joined, messages
from bridge.model import Block
from bridge.parcel import Form, Message, Parcel, Progress, Ranges, Rows, alike, whole
from bridge.ports import Journal
from bridge.resilience.lanes import Entry, Lanes

BLOCK_EVENTS = 8_192  # decoded ahead, at most: about what a full block of the journal holds
_NO_LINES = memoryview(b"")
NO_TRIES: Mapping[str, Sequence[float]] = MappingProxyType({})


class Selects(Protocol):
    """What a receiver is shown of a block."""

    def apply(self, block: Block) -> Rows:
        """The rows and columns it may see."""


@dataclass(frozen=True, slots=True)
class Look:
    """How one sink sees one stream."""

    stream: str
    selection: Selects
    envelope: Envelope
    form: Form  # what the sink is given

    @property
    def is_single(self) -> bool:
        """Whether each event may fail and wait by itself; else a parcel does as a whole."""
        return self.form == "messages"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive events as one sink sees them."""

    first: int  # sequence numbers it speaks for, both inclusive
    last: int
    rows: Rows
    messages: tuple[Message, ...]  # where the sink wants those
    lines: memoryview  # where it wants those
    committed_us: NDArray[np.int64]  # a row each; 0 where the source gave no time
    journalled_us: int
    is_all: bool = False  # the journal held nothing more when this was read


class Load(NamedTuple):
    """What an entry sends: one row of a chunk, or all of it. A tuple: there is one an event, and it is quicker made."""

    chunk: Chunk
    row: int = -1  # -1: all


class Feed:
    """Entries of one stream for one sink; for one event loop, but for `fetch`."""

    def __init__(
        self,
        look: Look,
        *,
        progress: Progress,
        one_a_key: bool,
        until: int | None = None,
        tries: Mapping[str, Sequence[float]] = NO_TRIES,
    ) -> None:
        """Start where the sink was.

        Args:
            look: what it sees.
            progress: how far it was.
            one_a_key: see Lanes.
            until: the last number of a replay; None: there is no end.
            tries: by sequence number: attempts, when the first failed, when it is tried again; of a former life.
        """
        self.look = look
        self.letter: int | None = None  # the delivery letter that is replayed
        self.has_failed = False  # it could not be delivered this time either
        self.since_s: float | None = None  # since when something waits that may go
        self._tries = tries
        self._known_last = 0  # the last number that the journal is known to hold
        self.lanes: Lanes[Load] = Lanes(one_a_key=one_a_key, reached=progress.cursor)
        self.until = until
        self.has_more = True  # as far as is known
        self.is_at_end = False  # the last read left nothing in the journal; only where events go one by one
        self._taken = progress.cursor  # the last number read
        self._again: list[tuple[int, int]] = list(progress.pending)  # to be read once more, first
        self.recorded = progress  # what the journal holds
        self._rest: Block | None = None  # decoded, and not asked for yet

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self.look.stream

    @property
    def taken(self) -> int:
        """The last number read."""
        return self._taken

    def is_done(self) -> bool:
        """Whether a replay has nothing left."""
        return (
            self.until is not None
            and not self._again
            and self._taken >= self.until
            and self.progress() == Progress(self._taken)
        )

    def more(self, last: int | None, *, now_s: float) -> None:
        """The journal holds more, up to `last` where that is known."""
        self.has_more = True
        self._known_last = max(self._known_last, last or 0)
        if not self.look.is_single and self._known_last > self._taken and self.since_s is None:
            self.since_s = now_s

    def wants(self, batch: int, batch_s: float, now_s: float) -> bool:
        """Whether to read on: what goes as a whole is read a whole parcel at a time."""
        if self.look.is_single or self._again or self.until is not None or not batch_s:
            return True
        return self._known_last - self._taken >= batch or self._is_overdue(batch_s, now_s)

    def is_ripe(self, batch: int, batch_s: float, now_s: float) -> bool:
        """Whether what is ready has waited long enough for others, or is enough."""
        due_s = self.lanes.next_due_s()
        if not batch_s or not self.look.is_single or self.lanes.ready_count >= batch or (due_s and due_s <= now_s):
            return True
        return self.since_s is None or self._is_overdue(batch_s, now_s)  # None: what is ready came back, and has waited

    def _is_overdue(self, batch_s: float, now_s: float) -> bool:
        return self.since_s is not None and now_s >= self.since_s + batch_s

    def taken_at(self, now_s: float) -> None:
        """A parcel was taken: what is left begins to wait."""
        is_left = self.lanes.ready_count if self.look.is_single else self._known_last > self._taken
        self.since_s = now_s if is_left else None

    def next_range(self, limit: int) -> tuple[int, int | None]:
        """After which number to read, and up to which at most; None: `limit` of them, wherever they begin."""
        self.has_more = False  # until something was found, or `more` says so meanwhile
        if self._again:
            first, last = self._again[0]
            return first - 1, min(last, first - 1 + limit)
        return self._taken, None if self.until is None else min(self.until, self._taken + limit)

    def read(self, journal: Journal, *, after: int, last: int | None, limit: int, budget_bytes: int) -> Chunk | None:
        """Read, select and render, from what the last read left over where it can. For any thread, one at a time.

        Args:
            journal: what is read; what retention took is left out, so the first number may be any.
            after: as `next_range` said.
            last: as above.
            limit: how many numbers at most.
            budget_bytes: of the rows read, but for one row at least; and of rows that were decoded and are not wanted
                yet, kept to save decoding their block again.
        """
        kept, self._rest = self._rest, None
        if kept is None or kept.first != after + 1:
            reading = journal.read(self.stream, after=after, limit=limit + BLOCK_EVENTS)
            blocks, is_all = _enough(reading, limit, last, budget_bytes=budget_bytes)
        else:
            blocks, is_all = [kept], False
        if not blocks:
            return None
        end = blocks[0].first + limit - 1
        *before, final = blocks
        rows, size = final.batch.num_rows, max(1, final.batch.nbytes)
        room = rows * (budget_bytes - sum(block.batch.nbytes for block in before)) // size
        wanted = min(rows, (end if last is None else min(end, last)) - final.first + 1, max(1, room))
        if wanted < rows:
            is_all = False
            blocks = [*before, _part(final, 0, wanted)]
            if final.batch.get_total_buffer_size() <= budget_bytes:
                self._rest = _part(final, wanted, rows - wanted)
        return replace(chunk_of(whole(blocks), self.look), is_all=is_all)

    def take_in(self, chunk: Chunk | None, *, now_s: float, last: int | None = None) -> tuple[int, int] | None:
        """Queue what was read for `next_range`, which said `last`; None: there was nothing.

        Returns: the numbers that the journal did not hold any more, first and last; None when it held all.
        """
        after = self._again[0][0] - 1 if self._again else self._taken
        reached = last if chunk is None else chunk.last
        is_all = chunk is None or chunk.is_all
        self.is_at_end = is_all and self.until is None and not self._again and self.look.is_single
        if reached is None:
            return None
        if self._again:
            _, end = self._again.pop(0)
            if reached < end:
                self._again.insert(0, (reached + 1, end))
        else:
            self._taken = reached
        if self.until is not None:
            self.has_more = bool(self._again) or self._taken < self.until
        elif self._again or chunk is None or not is_all:  # else only `more` knows
            self.has_more = True
        if chunk is not None:
            self._queue(chunk, now_s)
        found = chunk.first if chunk is not None else reached + 1
        return (after + 1, found - 1) if found > after + 1 else None

    def _queue(self, chunk: Chunk, now_s: float) -> None:
        entries = self._entries(chunk)
        if entries and self.since_s is None:
            self.since_s = now_s
        self.lanes.add([entry for entry in entries if not self._adopt(entry)] if self._tries else entries)

    def _adopt(self, entry: Entry[Load]) -> bool:
        tried = self._tries.get(str(entry.number)) if self._tries else None
        if tried is None:
            return False
        entry.attempts, entry.first_failed_s = int(tried[0]), tried[1]
        self.lanes.adopt(entry, again_at_s=tried[2])
        return True

    def progress(self) -> Progress:
        """How far the sink is now."""
        cursor, pending = self.lanes.progress(self._taken)
        unread = tuple(self._again)
        return Progress(cursor, _joined([*pending, *unread]) if unread else tuple(pending))

    def parcel(self, entries: Sequence[Entry[Load]]) -> Parcel:
        """The entries, all loaded, as a parcel."""
        loads = [_load(entry) for entry in entries]
        if not self.look.is_single:
            return Parcel(self.stream, rows=loads[0].chunk.rows, lines=loads[0].chunk.lines)
        return Parcel(self.stream, tuple(load.chunk.messages[load.row] for load in loads))

    def count(self, entries: Sequence[Entry[Load]]) -> int:
        """How many events the entries are."""
        if self.look.is_single:
            return len(entries)
        return sum(entry.load.chunk.rows.row_count for entry in entries if entry.load is not None)

    def committed(self, entries: Sequence[Entry[Load]]) -> Iterator[tuple[Chunk, NDArray[np.int64]]]:
        """The commit times of entries, microseconds since 1970, by the chunk they came in."""
        loads = [_load(entry) for entry in entries]
        for _, group in itertools.groupby(loads, key=_chunk_id):
            chunks, rows = zip(*group, strict=True)
            chunk = chunks[0]
            times = chunk.committed_us if rows[0] < 0 else chunk.committed_us[list(rows)]
            yield chunk, times[times > 0]

    def _entries(self, chunk: Chunk) -> list[Entry[Load]]:
        if not self.look.is_single:
            size = chunk.rows.batch.nbytes + len(chunk.lines)
            whole = Entry(chunk.first, chunk.last, None, Load(chunk), size)
            return [whole] if chunk.rows.row_count else []
        return [  # one an event: each may fail and wait by itself
            Entry(message.number, message.number, message.key, Load(chunk, row), len(message.text))
            for row, message in enumerate(chunk.messages)
        ]


def fetch(journal: Journal, look: Look, *, after: int, limit: int | None) -> Chunk | None:
    """Read, select and render events above a number; None when there are none yet. For a worker thread."""
    blocks, _ = _enough(journal.read(look.stream, after=after, limit=limit), None, None, budget_bytes=None)
    return chunk_of(whole(blocks), look) if blocks else None


def chunk_of(block: Block, look: Look) -> Chunk:
    """A block, selected and rendered."""
    rows = look.selection.apply(block)
    moments = rows.batch.column("_commit_at").view(pa.int64())
    committed = (pc.fill_null(moments, 0) if moments.null_count else moments).to_numpy()
    journalled_us = int(block.journalled_at.timestamp() * 1e6)
    single = messages(rows, look.envelope) if look.is_single else ()
    lines = joined(rows, look.envelope, end="\n") if look.form == "lines" else _NO_LINES
    return Chunk(block.first, block.last, rows, single, lines, committed, journalled_us)


def _part(block: Block, start: int, count: int) -> Block:
    """Some rows of a block."""
    return replace(block, first=block.first + start, batch=block.batch.slice(start, count))


def _enough(
    blocks: Iterator[Block], events: int | None, end: int | None, *, budget_bytes: int | None
) -> tuple[list[Block], bool]:
    """The first blocks that follow on each other with one epoch, contract version and schema.

    Args:
        blocks: as the journal gives them.
        events: as many as hold so many together.
        end: none that begins after it.
        budget_bytes: as many as hold so many together.
    Returns: the blocks, and whether they are all there were.
    """
    found: list[Block] = []
    rows = size = 0
    for block in blocks:
        if end is not None and block.first > end:
            return found, False
        if found and not (block.first == found[-1].last + 1 and alike(found[-1], block)):
            return found, False
        found.append(block)
        rows += block.batch.num_rows
        size += block.batch.nbytes
        if (events is not None and rows >= events) or (budget_bytes is not None and size >= budget_bytes):
            return found, False
    return found, True


def _chunk_id(load: Load) -> int:
    return id(load.chunk)


def _load(entry: Entry[Load]) -> Load:
    assert entry.load is not None  # noqa: S101  the loop reads it again before it sends
    return entry.load


def _joined(ranges: list[tuple[int, int]]) -> Ranges:
    """Ranges in order, those that touch as one."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return tuple(joined)
