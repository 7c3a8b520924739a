"""Reading one polled stream: which page is next, and what a page brings. No clock, no schedule, no connection.

Each step becomes one window: its events and what it changes in the image commit together, so that a reading goes on
after a crash behind the last page that the journal holds.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from bridge.extracted import Forgotten, RunKind
from bridge.extraction import ending, modes, pages, scalars
from bridge.extraction.budget import pages_of
from bridge.extraction.course import Course
from bridge.extraction.extractor import Page, Question, Subject
from bridge.extraction.progress import Progress, Reading, Running
from bridge.extraction.remains import Remains
from bridge.extraction.stored import Images, Step


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
        self._course = Course(subject, progress, images)
        self._remains = Remains(self._course, most_deletes)
        self._leftover: tuple[Forgotten, ...] = ()  # of a reading that was given up

    # -- runs

    @property
    def progress(self) -> Progress:
        """How far it is, for the journal."""
        return self._course.progress

    @property
    def odd(self) -> dict[str, int]:
        """Rows of this reading that share a key, rows without one, cursors ahead."""
        return self._course.odd

    @odd.setter
    def odd(self, odd: dict[str, int]) -> None:
        self._course.odd = odd

    @property
    def is_running(self) -> bool:
        """Whether a run is under way."""
        return self.progress.running is not None

    @property
    def reading(self) -> Reading:
        """The reading under way."""
        return self._course.reading

    @property
    def running(self) -> Running:
        """The run under way."""
        return self._course.running

    @property
    def needs_journal(self) -> bool:
        """Whether the next step reads what is stored: the journal has to hold every step before it."""
        course = self._course
        return not course.is_known or (course.reading.phase in {"deletes", "compact"} and not course.stored.is_walking)

    def begin(self, kind: RunKind, *, number: int, cause: str, now: datetime, position: int | None = None) -> None:
        """Begin a run; one that its budget ended is gone on with. `position`: of its events, else its number.

        A plain run goes on with any: were a sweep given up for it, one that takes several runs would never end. Where
        that can wait, what changed is read before it.
        """
        course = self._course
        if kind == "run" and modes.can_wait(self.subject, self.progress.reading):
            course.put_aside()
        elif kind == "sweep" and self.progress.aside is not None:
            course.take_up()
        elif kind == "full":
            course.set(aside=None)
        opened = modes.opened(self.subject, self.progress, kind)
        reading = self.progress.reading
        if reading is None or (kind != "run" and reading.kind != opened.kind):
            reading = opened
            self._begin()
        running = Running(number=number, kind=reading.kind, cause=cause, started_at=now, position=position)
        course.set(reading=reading, running=running)

    def end(self, *, is_whole: bool) -> Step:
        """The run is over; unless `is_whole`, so is its reading."""
        if not is_whole and self.progress.aside is not None:
            self._course.set(reading=None, running=None)
            return Step()
        if not is_whole:
            self._course.set(reading=None, running=None)
            return Step(forgotten=self._course.seen_no_more())
        self._course.set(running=None)
        return Step()

    def size(self) -> int:
        """Rows that are kept in memory."""
        return self._course.size

    def rest(self) -> None:
        """Free the memory; what is needed is read from the journal again."""
        self._remains.stop()
        self._course.forget_index()

    # -- steps

    def question(self, limit: Callable[[str, int], int]) -> Question | None:
        """The next page; None where the next step asks nothing. `limit` says how many rows of at most how many."""
        reading, subject = self.reading, self.subject
        rows = limit(*pages_of(subject, "rows"))
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
            return Question(subject.stream, limit(*pages_of(subject, "keys")), "keys", **common)
        if reading.phase == "rows":
            return Question(subject.stream, rows, is_by_key=bool(subject.key), **common)
        if reading.phase == "cursor":
            since = scalars.unpack(reading.since)[0] if reading.since else None
            return Question(subject.stream, rows, since=since, **common)
        if reading.phase == "without":
            return Question(subject.stream, rows, is_without_cursor=True, resume=reading.resume)
        return None

    def following(self, question: Question, page: Page, limit: Callable[[str, int], int]) -> Question | None:
        """The question that goes on behind this page, ranges of keys aside; None: it was the last. `limit` as above."""
        if page.resume is None or page.is_unchanged:
            return None
        return replace(question, limit=limit(*pages_of(self.subject, question.want)), resume=dict(page.resume))

    def fits(self, page: Page) -> bool:
        """Whether a page can be taken; if not, the image has to be read first, and the page again."""
        return page.is_unchanged or self._course.fits(page)

    def take(self, page: Page) -> Step:
        """A page has come, and fits."""
        course = self._course
        course.set(running=course.running.after(page))
        step = pages.take(course, page)
        is_over = self.progress.reading is None or course.reading.phase == "compact"
        blocks = tuple(block for block in step.blocks if block.part != "seen") if is_over else step.blocks
        forgotten, self._leftover = self._leftover, ()
        return Step(step.raw, blocks, (*forgotten, *step.forgotten))

    def step(self, now: datetime) -> Step:
        """One step of a phase that asks nothing. Raises: SourceRefused where too much is gone."""
        if self.reading.phase == "deletes":
            return self._remains.delete(now)
        if self.reading.phase == "forget":
            return self._remains.forget()
        return ending.copy(self._course)

    def spare(self) -> Step:
        """End the reading without deletes: what is gone cannot be told from what could not be read."""
        return ending.close(self._course, self.reading.memory)

    def _begin(self) -> None:
        """A new reading: what an older one has seen counts no more, unless that waits."""
        course = self._course
        course.odd, self._leftover = {}, course.seen_no_more() if self.progress.aside is None else ()
        course.stored.stop()
        course.begin_index()
        if not self.progress.until:  # the view's key or mode was another one, or it was read another way meanwhile
            self._leftover += (Forgotten(self.subject.stream),)
