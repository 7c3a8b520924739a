"""The end of a reading: what the next one begins with, and a copy of the image where much of it is gone."""

from collections.abc import Mapping
from typing import Any

from bridge.extracted import Forgotten
from bridge.extraction import image, modes, overlap, scalars
from bridge.extraction.course import Course
from bridge.extraction.progress import Progress
from bridge.extraction.stored import Step

STEP_ROWS = 50_000  # deletes of one window, rows of one copied block
MANY_ROWS, MANY_BLOCKS = 50_000, 2_000  # gone, or stored, above which an image is copied


def finish(course: Course, memory: Mapping[str, Any]) -> Step:
    """The last page is behind us, and what follows it."""
    progress, reading = course.progress, course.reading
    seen, high = progress.overlap, progress.high
    if course.subject.cursor and reading.kind == "run":
        return _finish_run(course, memory)
    if reading.missed and high is not None:
        value = scalars.unpack(high)[0]
        course.set(overlap=seen.missed(overlap.window(seen, course.subject, value.type)))
    return close(course, memory)


def copy(course: Course) -> Step:
    """The next block of the copy; with the last one the copy takes the image's place."""
    index, progress, reading, stored = course.index(), course.progress, course.reading, course.stored
    if not stored.is_walking:
        stored.walk_copy(progress, index, rows=STEP_ROWS, above=reading.reached)
    block = stored.next()
    if block is not None:
        course.read(reached=block.first)
        return Step(blocks=(block,))
    stored.stop()
    index.renumber(image.renumbered(index, until=progress.until))
    count = -(-progress.held // STEP_ROWS) + 1
    stream = course.subject.stream
    old = Forgotten(stream, generation=progress.copy - 1)
    course.set(generation=progress.copy, until=progress.held, blocks=count, reading=None)
    if stored.shape is None:
        return Step(forgotten=(old,))
    return Step(blocks=(image.shape_block(stream, course.progress.generation, stored.shape),), forgotten=(old,))


def close(course: Course, memory: Mapping[str, Any]) -> Step:
    """The end of a reading, but for the copying."""
    owes = course.progress.owes_sweep and course.reading.kind == "run"
    course.set(is_loaded=True, is_of_another=False, owes_sweep=owes, memory=dict(memory) or course.progress.memory)
    if course.progress.aside is not None:
        course.take_up()
        return Step()
    forgotten = course.seen_no_more()
    if _is_loose(course.progress):
        course.set(copy=course.progress.copy + 1)
        course.read(phase="compact", reached=-1)
        return Step(forgotten=forgotten)
    course.set(reading=None)
    return Step(forgotten=forgotten)


def _finish_run(course: Course, memory: Mapping[str, Any]) -> Step:
    """What was read by its cursor.

    Of one page we know that it missed nothing but what came later. While there were more, a row may have come in
    behind us and others ahead: the next reading begins as if this one had not been; instead of reading everything
    again after the first one the keys are swept, where they can be.
    """
    progress, reading = course.progress, course.reading
    high = _higher(progress.high, reading.high)
    seen = progress.overlap.seen(reading.delay) if progress.high is not None else progress.overlap
    is_first, is_long = not progress.is_loaded, reading.climbs > 1
    course.set(high=high, base=progress.high if is_long else high, overlap=seen, is_loaded=True)
    if is_first and is_long and course.subject.mode == "incremental":
        course.set(base=high, owes_sweep=True, memory=dict(memory))
        course.set(reading=modes.opened(course.subject, course.progress, "sweep"))
        course.begin_index()
        return Step()
    return close(course, memory)


def _higher(known: str | None, met: str | None) -> str | None:
    if known is None or met is None:
        return met or known
    before, now = scalars.unpack(known)[0], scalars.unpack(met)[0]
    if before.type != now.type or overlap.ticks(now) is None:
        return met
    return met if (overlap.ticks(now) or 0) > (overlap.ticks(before) or 0) else known


def _is_loose(progress: Progress) -> bool:
    """Whether much of what is stored is gone, or it lies about in many pieces."""
    gone = progress.until - progress.held
    return gone > max(MANY_ROWS, progress.held) or progress.blocks > MANY_BLOCKS + progress.held // 1_000
