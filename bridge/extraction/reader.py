"""Reading one polled stream: which page is next, and what a page brings. No clock, no schedule, no connection.

Each step becomes one window: its events and what it changes in the image commit together, so that a reading goes on
after a crash behind the last page that the journal holds. Where the image holds much that is gone, it is copied at the
end.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from bridge.errors import InternalError, SourceRefused
from bridge.extracted import Forgotten, RunKind
from bridge.extraction import compare, image, modes, overlap, ranges, scalars
from bridge.extraction.changes import Place, deleted, found
from bridge.extraction.extractor import Page, Question, Subject
from bridge.extraction.index import Index, Numbers
from bridge.extraction.progress import Phase, Progress, Reading, Running
from bridge.extraction.stored import Images, Step, Stored
from bridge.model import Op

FEW_ROWS = 100  # so many may go whatever their share
STEP_ROWS = 50_000  # deletes of one window, rows of one copied block
MANY_ROWS, MANY_BLOCKS = 50_000, 2_000  # gone, or stored, above which an image is copied


class Reader:
    """One stream. For one thread.

    Args:
        subject: what is read.
        progress: as the journal holds it.
        images: the journal's; only called while the journal holds every step.
        most_deletes: share of the rows held that one reading may find gone.
    """

    def __init__(self, subject: Subject, progress: Progress, images: Images, most_deletes: float) -> None:
        self.subject = subject
        self._most_deletes = most_deletes
        self.progress = progress
        self.odd: dict[str, int] = {}  # rows that share a key, rows without one, cursors ahead: of this reading
        self._stored = Stored(subject.stream, images)
        self._index: Index | None = None
        self._unseen: Numbers | None = None
        self._leftover: tuple[Forgotten, ...] = ()  # of a reading that was given up

    # -- runs

    @property
    def is_running(self) -> bool:
        """Whether a run is under way."""
        return self.progress.running is not None

    @property
    def reading(self) -> Reading:
        """The reading under way."""
        assert self.progress.reading is not None  # noqa: S101  asked of a running stream
        return self.progress.reading

    @property
    def running(self) -> Running:
        """The run under way."""
        assert self.progress.running is not None  # noqa: S101  as above
        return self.progress.running

    @property
    def needs_journal(self) -> bool:
        """Whether the next step reads what is stored: the journal has to hold every step before it."""
        return self._index is None or (self.reading.phase in {"deletes", "compact"} and not self._stored.is_walking)

    def begin(self, kind: RunKind, *, number: int, cause: str, now: datetime, position: int | None = None) -> None:
        """Begin a run; one that its budget ended is gone on with. `position`: of its events, else its number."""
        progress = self.progress
        opened = modes.opened(self.subject, progress, kind)
        reading = progress.reading
        if reading is None or reading.kind != opened.kind:
            reading = opened
            self._begin()
        running = Running(number=number, kind=reading.kind, cause=cause, started_at=now, position=position)
        self._set(reading=reading, running=running)

    def end(self, *, is_whole: bool) -> Step:
        """The run is over; unless `is_whole`, so is its reading."""
        if not is_whole:
            self._set(reading=None, running=None)
            return Step(forgotten=self._seen_no_more())
        self._set(running=None)
        return Step()

    def size(self) -> int:
        """Rows that are kept in memory."""
        return self._index.size if self._index else 0

    def rest(self) -> None:
        """Free the memory; what is needed is read from the journal again."""
        self._index = self._unseen = None
        self._stored.stop()

    # -- steps

    def question(self, limit: Callable[[str, int], int]) -> Question | None:
        """The next page; None where the next step asks nothing. `limit` says how many rows of at most how many."""
        reading, subject = self.reading, self.subject
        rows = limit(subject.stream, subject.page_rows)
        if reading.ranges:
            span = reading.ranges[0]
            return Question(
                subject.stream,
                rows,
                is_by_key=True,
                after_key=scalars.unpack(span.after) if span.after else None,
                to_key=scalars.unpack(span.to),
                resume=reading.range_resume,
            )
        common: dict[str, Any] = {"resume": reading.resume, "memory": self.progress.memory}
        if reading.phase == "keys":
            return Question(subject.stream, limit(f"{subject.stream}/keys", 4 * subject.page_rows), "keys", **common)
        if reading.phase == "rows":
            return Question(subject.stream, rows, is_by_key=bool(subject.key), **common)
        if reading.phase == "cursor":
            since = scalars.unpack(reading.since)[0] if reading.since else None
            return Question(subject.stream, rows, since=since, **common)
        if reading.phase == "without":
            return Question(subject.stream, rows, is_without_cursor=True, resume=reading.resume)
        return None

    def take(self, page: Page) -> Step:
        """A page has come."""
        self._set(running=self.running.after(page))
        index = self._load()
        if page.is_unchanged:
            step = self._finish(page.memory)
        elif self.reading.phase == "keys" and not self.reading.ranges:
            step = self._take_keys(index, page)
        else:
            step = self._take_rows(index, page)
        is_over = self.progress.reading is None or self.reading.phase == "compact"
        blocks = tuple(block for block in step.blocks if block.part != "seen") if is_over else step.blocks
        forgotten, self._leftover = self._leftover, ()
        return Step(step.raw, blocks, (*forgotten, *step.forgotten))

    def step(self, now: datetime) -> Step:
        """One step of a phase that asks nothing."""
        index = self._load()
        if self.reading.phase == "deletes":
            return self._delete(index, now)
        if self.reading.phase == "forget":
            numbers = index.unseen()
            return self._forget(index, numbers, then=modes.phase_after(self.subject, self.reading))
        return self._copy(index)

    def spare(self) -> Step:
        """End the reading without deletes: what is gone cannot be told from what could not be read."""
        return self._close(self.reading.memory)

    # -- pages of rows

    def _take_rows(self, index: Index, page: Page) -> Step:
        progress, reading = self.progress, self.reading
        once = reading.phase == "rows" and not reading.ranges
        what = compare.compare(index, self.subject, page, first_number=progress.until, once=once)
        self._count(rows_that_share_a_key=what.double_count, rows_without_a_key=what.keyless_count)
        count = len(what.rows)
        shape = self._stored.told(page.shape, progress.generation) if count else Step()
        blocks = list(shape.blocks)
        if count:
            blocks.append(
                image.rows_block(
                    self.subject.stream, progress.generation, progress.until, keys=what.keys, hashes=what.hashes
                )
            )
        seen = what.seen if modes.tracks(self.subject, reading.kind) else None
        blocks += self._stored.lists(progress.generation, gone=what.gone, seen=seen)
        raw = None
        if count:
            ops = self._ops(what.is_new)
            raw = found(page, what.rows, ops, self._place(page.read_at))
            self._tell(ops)
        self._note_cursor(page, what)
        held = progress.held + int(np.count_nonzero(what.is_new))
        self._set(until=progress.until + count, held=held, blocks=self.progress.blocks + len(blocks))
        rest = self._turn_range(page) if self.reading.ranges else self._turn(page)
        return Step(raw, tuple(blocks), shape.forgotten) + rest

    def _ops(self, is_new: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        first = Op.CREATE if self.progress.is_loaded else Op.READ
        return np.where(is_new, int(first), int(Op.UPDATE)).astype(np.uint8)

    def _note_cursor(self, page: Page, what: compare.Difference) -> None:
        """The highest cursor, and how late what is new is."""
        reading, name = self.reading, self.subject.cursor
        if name is None:
            return
        column = page.columns.column(name)
        if reading.phase != "cursor":
            self._note_missed(column.take(pa.array(what.rows)))
            return
        known = scalars.unpack(reading.high)[0] if reading.high else None
        high = overlap.highest(column, known)
        if high is not None:
            bounded = overlap.bounded(high, page.read_at)
            self._count(cursors_ahead=int(not bounded.equals(high)))
            before = scalars.unpack(self.progress.high)[0] if self.progress.high else None
            delay = overlap.lateness(column.take(pa.array(what.rows)), before)
            climbs = reading.climbs + (known is None or not bounded.equals(known))
            self._read(high=scalars.pack([bounded]), climbs=climbs, delay=max(reading.delay, delay))

    def _note_missed(self, column: pa.Array) -> None:
        """Rows that a sweep found further behind the highest cursor than the window is wide."""
        if self.reading.phase == "keys" and self.progress.high is not None:
            high = scalars.unpack(self.progress.high)[0]
            is_missed = overlap.lateness(column, high) > overlap.window(self.progress.overlap, self.subject, high.type)
            self._read(missed=self.reading.missed + is_missed)

    def _turn(self, page: Page) -> Step:
        """Go on behind a page."""
        if page.resume is not None:
            self._read(resume=dict(page.resume), memory=dict(page.memory))
            return Step()
        if modes.phase_after(self.subject, self.reading) is not None:
            self._read(phase=modes.phase_after(self.subject, self.reading), resume=None, memory=dict(page.memory))
            return Step()
        return self._finish(page.memory)

    def _turn_range(self, page: Page) -> Step:
        """Go on behind a page of a range of keys."""
        if page.resume is not None:
            self._read(range_resume=dict(page.resume))
            return Step()
        self._read(ranges=self.reading.ranges[1:], range_resume=None)
        return Step() if self.reading.ranges else self._turn_keys()

    # -- pages of keys

    def _take_keys(self, index: Index, page: Page) -> Step:
        keys = [page.columns.column(name) for name in self.subject.key]
        is_whole = image.whole_keys(keys, page.columns.num_rows)
        columns = page.columns if is_whole is None else page.columns.filter(pa.array(is_whole))
        keys = [columns.column(name) for name in self.subject.key]
        cursor = columns.column(self.subject.cursor) if self.subject.cursor else None
        rows, seen = compare.suspects(index, keys, cursor)
        found_ranges = ranges.around(keys, rows.tolist(), self.reading.after)
        blocks = self._stored.lists(self.progress.generation, seen=seen)
        after = ranges.key_at(keys, columns.num_rows - 1) if columns.num_rows else self.reading.after
        resume = None if page.resume is None else dict(page.resume)
        self._read(ranges=found_ranges, range_resume=None, resume=resume, after=after)
        self._set(blocks=self.progress.blocks + len(blocks))
        return Step(blocks=tuple(blocks)) + (Step() if found_ranges else self._turn_keys())

    def _turn_keys(self) -> Step:
        if self.reading.resume is None:
            self._read(phase="deletes")
        return Step()

    # -- what was not met

    def _delete(self, index: Index, now: datetime) -> Step:
        """The next rows that the reading has not seen: those with a key are deletes."""
        reading = self.reading
        if self._unseen is None or not self._stored.is_walking:
            self._stored.walk(self.progress)
            self._unseen = index.unseen(above=reading.reached)
            if reading.reached < 0:
                self._allow(len(self._unseen))
        wanted, self._unseen = self._unseen[:STEP_ROWS], self._unseen[STEP_ROWS:]
        if not len(wanted):
            self._unseen = None
            self._stored.stop()
            return self._finish(reading.memory)
        keys, numbers, without = self._stored.keys_of(wanted, len(self.subject.key))
        if reading.kind != "sweep":  # which has not looked at rows without a key
            numbers = np.sort(np.concatenate([numbers, without]))
        self._read(reached=int(wanted[-1]))
        raw = None
        count = len(keys[0]) if keys else 0
        if count:
            shape = self._stored.shape
            if shape is None:
                raise InternalError(f"the image of stream {self.subject.stream} has no columns")
            named = dict(zip(self.subject.key, keys, strict=True))
            raw = deleted(shape, named, count, self._place(now))
            self._tell(np.full(count, int(Op.DELETE), np.uint8))
        return replace(self._forget(index, numbers, then=None), raw=raw)

    def _allow(self, count: int) -> None:
        """A view that suddenly shows too little is more likely broken than right. Raises: SourceRefused."""
        held = self.progress.held
        if count >= FEW_ROWS and count > self._most_deletes * held:
            self._unseen = None
            self._stored.stop()
            raise SourceRefused(
                f"{count:,} of {held:,} rows are gone, and `most_deletes` allows {self._most_deletes:.0%}",
                hint="Look whether the view still shows everything; if so, set `most_deletes: 1` for one run.",
            )

    def _forget(self, index: Index, numbers: Numbers, *, then: Phase | None) -> Step:
        progress = self.progress
        blocks = self._stored.lists(progress.generation, gone=numbers)
        index.drop(numbers, until=progress.until)
        self._set(held=progress.held - len(numbers), blocks=progress.blocks + len(blocks))
        rest = self._finish(self.reading.memory) if self.reading.phase == "forget" else Step()
        if then is not None:
            self._read(phase=then)
        return Step(blocks=tuple(blocks)) + rest

    # -- the end of a reading

    def _finish(self, memory: Mapping[str, Any]) -> Step:
        """The last page is behind us, and what follows it."""
        progress, reading = self.progress, self.reading
        seen, high = progress.overlap, progress.high
        if self.subject.cursor and reading.kind == "run":
            return self._finish_run(memory)
        if reading.missed and high is not None:
            value = scalars.unpack(high)[0]
            self._set(overlap=seen.missed(overlap.window(seen, self.subject, value.type)))
        return self._close(memory)

    def _finish_run(self, memory: Mapping[str, Any]) -> Step:
        """What was read by its cursor.

        Of one page we know that it missed nothing but what came later. While there were more, a row may have come in
        behind us and others ahead: the next reading begins as if this one had not been; instead of reading everything
        again after the first one the keys are swept, where they can be.
        """
        progress, reading = self.progress, self.reading
        high = self._higher(progress.high, reading.high)
        seen = progress.overlap.seen(reading.delay) if progress.high is not None else progress.overlap
        is_first, is_long = not progress.is_loaded, reading.climbs > 1
        self._set(high=high, base=progress.high if is_long else high, overlap=seen, is_loaded=True)
        if is_first and is_long and self.subject.mode == "incremental":
            self._set(base=high, owes_sweep=True, memory=dict(memory))
            self._set(reading=modes.opened(self.subject, self.progress, "sweep"))
            self._index_begins()
            return Step()
        return self._close(memory)

    def _close(self, memory: Mapping[str, Any]) -> Step:
        """The end of a reading, but for the copying."""
        owes = self.progress.owes_sweep and self.reading.kind == "run"
        self._set(is_loaded=True, owes_sweep=owes, memory=dict(memory) or self.progress.memory)
        forgotten = self._seen_no_more()
        if self._is_loose():
            self._set(copy=self.progress.copy + 1)
            self._read(phase="compact", reached=-1)
            return Step(forgotten=forgotten)
        self._set(reading=None)
        return Step(forgotten=forgotten)

    def _higher(self, known: str | None, met: str | None) -> str | None:
        if known is None or met is None:
            return met or known
        before, now = scalars.unpack(known)[0], scalars.unpack(met)[0]
        if before.type != now.type or overlap.ticks(now) is None:
            return met
        return met if (overlap.ticks(now) or 0) > (overlap.ticks(before) or 0) else known

    def _is_loose(self) -> bool:
        progress = self.progress
        gone = progress.until - progress.held
        return gone > max(MANY_ROWS, progress.held) or progress.blocks > MANY_BLOCKS + progress.held // 1_000

    def _copy(self, index: Index) -> Step:
        """The next block of the copy; with the last one the copy takes the image's place."""
        progress, reading = self.progress, self.reading
        if not self._stored.is_walking:
            self._stored.walk_copy(progress, index, rows=STEP_ROWS, above=reading.reached)
        block = self._stored.next()
        if block is not None:
            self._read(reached=block.first)
            return Step(blocks=(block,))
        self._stored.stop()
        index.renumber(image.renumbered(index, until=progress.until))
        count = -(-progress.held // STEP_ROWS) + 1
        old = Forgotten(self.subject.stream, generation=progress.copy - 1)
        self._set(generation=progress.copy, until=progress.held, blocks=count, reading=None)
        if self._stored.shape is None:
            return Step(forgotten=(old,))
        shape = image.shape_block(self.subject.stream, self.progress.generation, self._stored.shape)
        return Step(blocks=(shape,), forgotten=(old,))

    # -- what these are made of

    def _begin(self) -> None:
        """A new reading: what an older one has seen counts no more."""
        self.odd, self._leftover = {}, self._seen_no_more()
        self._stored.stop()
        self._index_begins()
        if not self.progress.until:  # the view's key or mode was another one, or it was read another way meanwhile
            self._leftover += (Forgotten(self.subject.stream),)

    def _index_begins(self) -> None:
        if self._index is not None:
            self._index.begin()

    def _load(self) -> Index:
        if self._index is None:
            self._index = self._stored.load(self.progress)
        return self._index

    def _place(self, at: datetime) -> Place:
        found_by = modes.found_by(self.subject, self.reading)
        running = self.running
        position = running.number if running.position is None else running.position
        return Place(self.subject.stream, position, running.index, found_by, at)

    def _tell(self, ops: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
        told = {chr(letter): count for letter, count in enumerate(np.bincount(ops).tolist()) if count}
        self._set(running=self.running.told(told))

    def _seen_no_more(self) -> tuple[Forgotten, ...]:
        return (Forgotten(self.subject.stream, part="seen"),)

    def _count(self, **found_now: int) -> None:
        for what, count in found_now.items():
            if count:
                self.odd[what] = self.odd.get(what, 0) + count

    def _set(self, **values: Any) -> None:  # noqa: ANN401  fields of Progress
        self.progress = msgspec.structs.replace(self.progress, **values)

    def _read(self, **values: Any) -> None:  # noqa: ANN401  fields of Reading
        self._set(reading=msgspec.structs.replace(self.reading, **values))
