"""What a reading did not meet: rows that are gone, and rows that the next one will not meet again."""

from dataclasses import replace
from datetime import datetime

import numpy as np

from bridge.errors import InternalError, SourceRefused
from bridge.extraction import ending, modes
from bridge.extraction.changes import deleted
from bridge.extraction.course import Course
from bridge.extraction.index import Numbers
from bridge.extraction.progress import Phase
from bridge.extraction.stored import Step
from bridge.model import Op

FEW_ROWS = 100  # so many may go whatever their share


class Remains:
    """Of one stream. For one thread.

    Args:
        course: of the stream.
        most_deletes: share of the rows held that one reading may find gone.
    """

    def __init__(self, course: Course, most_deletes: float) -> None:
        self._course = course
        self._most_deletes = most_deletes
        self._unseen: Numbers | None = None  # of this walk through the image, those to come

    def stop(self) -> None:
        """End a walk."""
        self._unseen = None
        self._course.stored.stop()

    def delete(self, now: datetime) -> Step:
        """The next rows that the reading has not seen: those with a key are deletes. Raises: SourceRefused."""
        course, reading, stored = self._course, self._course.reading, self._course.stored
        if course.subject.names_all and reading.keyless:  # each may be any of those that were not seen
            course.count(deletes_withheld=reading.keyless)
            return ending.finish(course, reading.memory)
        wanted = self._next()
        if not len(wanted):
            self.stop()
            return ending.finish(course, reading.memory)
        keys, numbers, without = stored.keys_of(wanted, len(course.subject.key))
        if reading.kind != "sweep":  # which has not looked at rows without a key
            numbers = np.sort(np.concatenate([numbers, without]))
        course.read(reached=int(wanted[-1]))
        raw = None
        count = len(keys[0]) if keys else 0
        if count:
            if stored.shape is None:
                raise InternalError(f"the image of stream {course.subject.stream} has no columns")
            named = dict(zip(course.subject.key, keys, strict=True))
            raw = deleted(stored.shape, named, count, course.place(now))
            course.tell(np.full(count, int(Op.DELETE), np.uint8))
        return replace(self._drop(numbers, then=None), raw=raw)

    def forget(self) -> Step:
        """The rows that the reading has not seen are told of no more."""
        course = self._course
        return self._drop(course.index().unseen(), then=modes.phase_after(course.subject, course.reading))

    def _next(self) -> Numbers:
        course = self._course
        if self._unseen is None or not course.stored.is_walking:
            index = course.index()
            course.stored.walk(course.progress)
            self._unseen = index.unseen(above=course.reading.reached)
            if course.reading.reached < 0:
                self._allow(len(self._unseen))
        wanted, self._unseen = self._unseen[: ending.STEP_ROWS], self._unseen[ending.STEP_ROWS :]
        return wanted

    def _allow(self, count: int) -> None:
        """A view that suddenly shows too little is more likely broken than right. Raises: SourceRefused."""
        held = self._course.progress.held
        if count >= FEW_ROWS and count > self._most_deletes * held:
            self.stop()
            raise SourceRefused(
                f"{count:,} of {held:,} rows are gone, and `most_deletes` allows {self._most_deletes:.0%}",
                hint="Look whether the view still shows everything; if so, set `most_deletes: 1` for one run.",
            )

    def _drop(self, numbers: Numbers, *, then: Phase | None) -> Step:
        course, progress = self._course, self._course.progress
        blocks = course.stored.lists(progress.generation, gone=numbers)
        course.index().drop(numbers, until=progress.until)
        course.set(held=progress.held - len(numbers), blocks=progress.blocks + len(blocks))
        rest = ending.finish(course, course.reading.memory) if course.reading.phase == "forget" else Step()
        if then is not None:
            course.read(phase=then)
        return Step(blocks=tuple(blocks)) + rest
