"""What a page brings: events, what changes in the image, and where the reading goes on."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.extraction import compare, ending, image, modes, overlap, ranges, scalars
from bridge.extraction.changes import found
from bridge.extraction.course import Course
from bridge.extraction.extractor import Page
from bridge.extraction.stored import Step
from bridge.model import Op


def take(course: Course, page: Page) -> Step:
    """A page has come."""
    if page.is_unchanged:
        return ending.finish(course, page.memory)
    if course.reading.phase == "keys" and not course.reading.ranges:
        return _take_keys(course, page)
    return _take_rows(course, page)


# -- pages of rows


def _take_rows(course: Course, page: Page) -> Step:
    progress, reading, subject, stored = course.progress, course.reading, course.subject, course.stored
    once = reading.phase == "rows" and not reading.ranges
    what = compare.compare(
        course.index(),
        subject,
        page,
        first_number=progress.until,
        once=once,
        by_cursor=progress.is_of_another and subject.cursor is not None,
    )
    course.count(rows_that_share_a_key=what.double_count, rows_without_a_key=what.keyless_count)
    course.read(keyless=reading.keyless + what.keyless_count)
    count = len(what.rows)
    shape = stored.told(page.shape, progress.generation) if count else Step()
    blocks = list(shape.blocks)
    if count:
        block = image.rows_block(
            subject.stream, progress.generation, progress.until, keys=what.keys, hashes=what.hashes
        )
        blocks.append(block)
    seen = what.seen if modes.tracks(subject, reading.kind) else None
    blocks += stored.lists(progress.generation, gone=what.gone, seen=seen)
    raw = None
    if count:
        ops = _ops(what.is_new, is_loaded=progress.is_loaded)
        raw = found(page, what.rows, ops, course.place(page.read_at))
        course.tell(ops)
    _note_cursor(course, page, what)
    held = progress.held + int(np.count_nonzero(what.is_new))
    course.set(until=progress.until + count, held=held, blocks=progress.blocks + len(blocks))
    rest = _turn_range(course, page) if course.reading.ranges else _turn(course, page)
    return Step(raw, tuple(blocks), shape.forgotten) + rest


def _ops(is_new: NDArray[np.bool_], *, is_loaded: bool) -> NDArray[np.uint8]:
    first = Op.CREATE if is_loaded else Op.READ
    return np.where(is_new, int(first), int(Op.UPDATE)).astype(np.uint8)


def _note_cursor(course: Course, page: Page, what: compare.Difference) -> None:
    """The highest cursor, and how late what is new is."""
    reading, name = course.reading, course.subject.cursor
    if name is None:
        return
    column = page.columns.column(name)
    if reading.phase != "cursor":
        _note_missed(course, column.take(pa.array(what.rows)))
        return
    known = scalars.unpack(reading.high)[0] if reading.high else None
    high = overlap.highest(column, known)
    if high is not None:
        bounded = overlap.bounded(high, page.read_at)
        course.count(cursors_ahead=int(not bounded.equals(high)))
        before = scalars.unpack(course.progress.high)[0] if course.progress.high else None
        delay = overlap.lateness(column.take(pa.array(what.rows)), before)
        climbs = reading.climbs + (known is None or not bounded.equals(known))
        course.read(high=scalars.pack([bounded]), climbs=climbs, delay=max(reading.delay, delay))


def _note_missed(course: Course, column: pa.Array) -> None:
    """Rows that a sweep found further behind the highest cursor than the window is wide."""
    progress, reading = course.progress, course.reading
    if reading.phase == "keys" and progress.high is not None:
        high = scalars.unpack(progress.high)[0]
        is_missed = overlap.lateness(column, high) > overlap.window(progress.overlap, course.subject, high.type)
        course.read(missed=reading.missed + is_missed)


def _turn(course: Course, page: Page) -> Step:
    """Go on behind a page."""
    if page.resume is not None:
        course.read(resume=dict(page.resume), memory=dict(page.memory))
        return Step()
    phase = modes.phase_after(course.subject, course.reading)
    if phase is not None:
        course.read(phase=phase, resume=None, memory=dict(page.memory))
        return Step()
    return ending.finish(course, page.memory)


def _turn_range(course: Course, page: Page) -> Step:
    """Go on behind a page of a range of keys."""
    if page.resume is not None:
        course.read(range_resume=dict(page.resume))
        return Step()
    course.read(ranges=course.reading.ranges[1:], range_resume=None)
    return Step() if course.reading.ranges else _turn_keys(course)


# -- pages of keys


def _take_keys(course: Course, page: Page) -> Step:
    subject, after = course.subject, course.reading.after
    is_whole = image.whole_keys([page.columns.column(name) for name in subject.key], page.columns.num_rows)
    columns, cursor = page.columns, compare.cursor_hashes(page, subject.cursor) if subject.cursor else None
    if is_whole is not None:
        columns, cursor = columns.filter(pa.array(is_whole)), None if cursor is None else cursor[is_whole]
    keys = [columns.column(name) for name in subject.key]
    rows, seen = compare.suspects(course.index(), compare.named(replace(page, columns=columns), subject), cursor)
    found_ranges = ranges.around(keys, rows.tolist(), after)
    blocks = course.stored.lists(course.progress.generation, seen=seen)
    after = ranges.key_at(keys, columns.num_rows - 1) if columns.num_rows else after
    resume = None if page.resume is None else dict(page.resume)
    keyless = course.reading.keyless + page.columns.num_rows - columns.num_rows
    course.read(ranges=found_ranges, range_resume=None, resume=resume, after=after, keyless=keyless)
    course.set(blocks=course.progress.blocks + len(blocks))
    return Step(blocks=tuple(blocks)) + (Step() if found_ranges else _turn_keys(course))


def _turn_keys(course: Course) -> Step:
    if course.reading.resume is None:
        course.read(phase="deletes")
    return Step()
