"""All polled streams of one system as one source: their runs take turns, page by page.

Promises: one session; each window is one step of one run, and stores how far it is, so that a crash costs one page; a
long reading never keeps a short one waiting for more than a page; what budget and schedule say is done between two
pages, what the kill switch says within a second. Where nothing but ranges of keys can come in between, the next page
is asked for while the one before is compared and stored: never more than one, and none that the budget would not allow
now.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from threading import Condition
from typing import Any

from bridge import heap
from bridge.errors import Declined, InternalError, SourceRefused, SourceUnavailable
from bridge.extracted import Extracted, Part, Run, RunKind, RunState
from bridge.extraction.asker import Asker
from bridge.extraction.budget import Budget
from bridge.extraction.extractor import Extractor, Page, Question, Subject
from bridge.extraction.findings import Troubles
from bridge.extraction.plan import Plan
from bridge.extraction.progress import Progress
from bridge.extraction.reader import Reader
from bridge.extraction.stored import Images, Step
from bridge.extraction.timetable import Start, Timetable
from bridge.findings import Finding
from bridge.model import Position, Window
from bridge.resilience.failpoint import reach

_ANY_IMAGE: tuple[Part, ...] = ("shape",)
TRIES = 10  # at one page, before its run is given up and others have their turn
REMEMBERED_ROWS = 4_000_000  # of images, kept in memory while their streams do not run


class PolledSource:
    """A `RenewableSource` over one extractor. `read` is for one thread; `confirm`, `ask`, `cancel`, `hold` for any.

    Args:
        name: of the source; positions and health go by it.
        system: whose bill it is.
        extractor: reads the system; its own while this one lives.
        plans: when its streams are read.
        budget: what may be asked.
        images: the journal's images.
        held: why nothing is to be read yet; None: it may.
        now: the clock.
    """

    def __init__(
        self,
        name: str,
        system: str,
        extractor: Extractor,
        *,
        plans: Sequence[Plan],
        budget: Budget,
        images: Images,
        held: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = name
        self._system = system
        self._subjects = extractor.subjects
        self._asks_ahead = extractor.asks_ahead
        self._asker = Asker(system, extractor, budget, held=held, now=now)
        self._plans = tuple(plans)
        self._budget = budget
        self._images = images
        self._now = now
        self._changed = Condition()  # guards what other threads change: the fields below
        self._acts: deque[Callable[[], None]] = deque()
        self._confirmed: Position | None = None
        self._given = Position(1, (0,))
        self._timetable: Timetable | None = None
        self._readers: dict[str, Reader] = {}
        self._absent: dict[str, Any] = {}  # how far streams are that were taken out: they may come back
        self._order: deque[str] = deque()  # whose turn is next
        self._run_count = 0
        self._begun: dict[str, Start] = {}  # runs that no window has told the journal of
        self._cancelled: dict[str, str] = {}  # stream -> why
        self._failures: dict[str, int] = {}  # of a page, one after the other
        self._troubles = Troubles(name)

    # -- the port
    def open(self, position: Position | None, state: Mapping[str, Any]) -> None:
        """See the port. Raises: SourceUnavailable, SourceRefused."""
        self._given = position or Position(1, (0,))
        with self._changed:
            self._confirmed = self._given
        self._run_count = max(self._run_count, int(state.get("runs", 0)))  # a number is never given twice
        streams = state.get("streams", {})
        most_deletes = {plan.stream: plan.most_deletes for plan in self._plans}
        self._absent = {stream: kept for stream, kept in streams.items() if stream not in self._subjects}
        self._readers = {
            stream: Reader(
                subject, self._progress(subject, streams.get(stream)), self._images, most_deletes.get(stream, 1.0)
            )
            for stream, subject in self._subjects.items()
        }
        self._order = self._order or deque(self._readers)
        if self._timetable is None:
            self._timetable = Timetable(
                self._plans, source=self.name, number=self._next_run, now=self._now(), memory=state.get("timetable")
            )
        else:
            self._timetable.away(f"{self._system} could not be read")
        if self._asker.held is None:
            self._asker.connect()
        for start in self._begun.values():
            self._begin(start)

    def read(self, timeout_s: float, *, is_busy: Callable[[], bool] = lambda: False) -> Window | None:  # noqa: ARG002
        """See the port. Each window is one step of one run."""
        deadline = time.monotonic() + timeout_s
        while True:
            window = self._turn()
            left_s = deadline - time.monotonic()
            if window is not None or left_s <= 0:
                return window
            self._wait(left_s)

    def confirm(self, position: Position) -> None:
        """See the port."""
        with self._changed:
            self._confirmed = position
            self._changed.notify_all()

    def renew(self, position: Position | None, state: Mapping[str, Any], cause: str) -> Window:  # noqa: ARG002
        """There is no history that could be lost."""
        raise InternalError(f"system {self.name} has no history of its own")

    def keep_alive(self) -> None:
        """A session may be idle."""

    def control(self, action: str, stream: str) -> None:  # noqa: ARG002
        """Re-reads are runs here. Raises: Declined."""
        raise Declined(f"stream {stream} is polled", hint=f"Read it with `legacy-bridge runs start {stream}`.")

    def findings(self) -> Sequence[Finding]:
        """What somebody should look at."""
        return self._troubles.told(self._asker.held, self._budget.unseen)

    def observation(self) -> None:
        """There is no slot to look at."""

    def close(self) -> None:
        """See the port."""
        self._asker.close()
        for reader in self._readers.values():
            reader.rest()

    # -- acts, from any thread
    def ask(self, stream: str, kind: RunKind, *, actor: str) -> None:
        """Somebody wants a run; it begins as soon as one may. Raises: Declined where there is no such stream."""
        self._require(stream)
        self._act(lambda: self._schedule.ask(stream, kind, actor=actor))

    def cancel(self, stream: str, *, actor: str) -> None:
        """Somebody wants the run of a stream ended, and none that waits. Raises: Declined."""
        self._require(stream)
        self._act(lambda: self._cancel(stream, f"cancelled by {actor}"))

    def hold(self, why: str) -> None:
        """Stop every read within a second and leave nothing behind, until `release`."""
        self._asker.hold(why)
        self._act(lambda: None)

    def release(self) -> None:
        """Read again."""
        self._asker.release()
        self._act(lambda: None)

    @property
    def rests(self) -> bool:
        """Whether it has no session."""
        return self._asker.rests

    @property
    def is_asking(self) -> bool:
        """Whether a question is with the system."""
        return self._asker.is_asking

    def interrupt(self) -> None:
        """The bridge stops: what is being asked is not worth waiting for."""
        self._asker.interrupt()

    def active(self) -> dict[str, Run]:
        """The run that is under way, by stream."""
        return {
            stream: running.record(self.name, stream)
            for stream, reader in tuple(self._readers.items())
            if (running := reader.progress.running) is not None
        }

    def next_at(self, stream: str) -> datetime | None:
        """When a stream is to be read next; None: nothing is planned."""
        return self._timetable.next_at(self._now(), stream) if self._timetable is not None else None

    # -- one turn
    def _turn(self) -> Window | None:
        """The next window, if there is something to be done now."""
        while self._acts:
            self._acts.popleft()()
        now = self._now()
        if self._asker.held is not None:
            self._asker.disconnect()
        ahead = self._asker.ahead
        is_answered = ahead is not None and self._readers[ahead.stream].question(self._budget.page_rows) == ahead
        hindrance = self._asker.held or self._hindrance(now, may_probe=not is_answered)
        for start in self._schedule.due(now, active=self.active(), hindrance=hindrance):
            self._begun[start.stream] = start
            self._begin(start)
        for stream in tuple(self._cancelled):
            return self._end(stream, "cancelled", self._cancelled.pop(stream))
        if ahead is not None and is_answered:  # asked before whatever hinders now
            return self._step(ahead.stream)
        if hindrance is None and self._budget.wait_s(now) <= 0:
            for _ in range(len(self._order)):
                stream = self._order[0]
                self._order.rotate(-1)
                if self._readers[stream].is_running and self._is_ready(stream):
                    return self._step(stream)
        return self._window(None, Step()) if self._schedule.has_news and self._is_settled() else None

    def _step(self, stream: str) -> Window:
        reader = self._readers[stream]
        question = reader.question(self._budget.page_rows)
        if question is None:
            reach("extraction.before_step")
            try:
                step = reader.step(self._now())
            except SourceRefused as error:
                return self._end(stream, "failed", error.detail)
            return self._advance(stream, step)
        try:
            page = self._asker.ask(question)
        except SourceRefused as error:
            return self._end(stream, "failed", error.detail)
        except SourceUnavailable as error:
            if error.retry_after_s is not None:  # no failure: it says when to come again
                self._budget.leave_alone(error.retry_after_s, self._now())
                return self._window(None, Step())
            self._failures[stream] = self._failures.get(stream, 0) + 1
            if self._failures[stream] < TRIES or self._asker.held is not None:
                raise
            return self._end(stream, "failed", error.detail)
        self._failures.pop(stream, None)
        return self._take(reader, question, page)

    def _take(self, reader: Reader, question: Question, page: Page) -> Window:
        """The window of a page; one that does not fit is paid for, and asked for again."""
        if not reader.fits(page):
            return self._window(None, Step())
        reach("extraction.page_read")
        if self._asks_ahead:
            self._look_ahead(reader, question, page)
        return self._advance(question.stream, reader.take(page))

    def _look_ahead(self, reader: Reader, question: Question, page: Page) -> None:
        """Have the next page asked for, where it is sure to be wanted and may be asked now."""
        is_alone = not any(each.is_running for each in self._readers.values() if each is not reader)
        then = reader.following(question, page, self._budget.page_rows)
        is_free = self._asker.ahead is None and not self._acts and self._budget.is_free(self._now())
        if then is None or not is_alone or not is_free:
            return
        running = reader.running.after(page)
        if self._budget.excess(rows=running.rows, size_bytes=running.size_bytes) is None:
            self._asker.ask_ahead(then)

    def _advance(self, stream: str, step: Step) -> Window:
        """The window of a step, with which its run may be over."""
        reader = self._readers[stream]
        running = reader.running
        if reader.progress.reading is None:
            self._troubles.read(stream, reader.odd)
            return self._end(stream, "done", "", step=step)
        excess = self._budget.excess(rows=running.rows, size_bytes=running.size_bytes)
        if excess is not None:
            return self._end(stream, "done", f"ended by {excess}; the next goes on", step=step)
        return self._window(stream, step, runs=(running.record(self.name, stream),))

    def _end(self, stream: str, state: RunState, detail: str, *, step: Step | None = None) -> Window:
        """The window that ends a run."""
        self._asker.drop()
        reader = self._readers[stream]
        run = reader.running.record(self.name, stream, state, at=self._now(), detail=detail)
        last = reader.end(is_whole=state == "done")
        if state == "failed":
            self._troubles.failed(stream, detail)
        self._failures.pop(stream, None)
        self._schedule.ended(run)
        self._forget_images()
        step = step or Step()
        step = replace(step, forgotten=(*step.forgotten, *last.forgotten))
        return self._window(stream, step, runs=(run,))

    def _window(self, stream: str | None, step: Step, *, runs: tuple[Run, ...] = ()) -> Window:
        self._given = Position(self._given.epoch, (self._given.at[0] + 1,))
        if stream is not None:
            self._begun.pop(stream, None)
        extracted = Extracted(
            blocks=step.blocks,
            forgotten=step.forgotten,
            runs=(*self._schedule.drain(), *runs),
            charges=self._asker.bill(),
        )
        state = {
            "runs": self._run_count,
            "streams": self._absent | {name: reader.progress.dump() for name, reader in self._readers.items()},
            "timetable": self._schedule.memory(),
        }
        raw = step.raw
        size = raw.columns.nbytes if raw is not None else 0
        return Window((raw,) if raw is not None else (), self._given, state, size_bytes=size, extracted=extracted)

    # -- what these are made of
    def _progress(self, subject: Subject, kept: Mapping[str, Any] | None) -> Progress:
        """How far a stream is; anew where its image is no more, since it was removed while it was taken out."""
        progress = Progress.load(kept, subject)
        if not progress.until or any(True for _ in self._images(subject.stream, progress.generation, _ANY_IMAGE)):
            return progress
        return Progress.load(None, subject)

    @property
    def _schedule(self) -> Timetable:
        assert self._timetable is not None  # noqa: S101  made when it is opened
        return self._timetable

    def _begin(self, start: Start) -> None:
        self._readers[start.stream].begin(start.kind, number=self._next_run(), cause=start.cause, now=self._now())

    def _next_run(self) -> int:
        self._run_count += 1
        return self._run_count

    def _is_ready(self, stream: str) -> bool:
        """Whether the stream's next step can be taken: what is stored is only read when everything is."""
        return not self._readers[stream].needs_journal or self._is_settled()

    def _is_settled(self) -> bool:
        with self._changed:
            return self._confirmed == self._given

    def _hindrance(self, now: datetime, *, may_probe: bool) -> str | None:
        if may_probe and self._budget.wants_probe(now):
            self._asker.probe()
        return self._budget.hindrance(now)

    def _wait(self, left_s: float) -> None:
        """Until something may have changed: an act, a confirmation, the clock."""
        now = self._now()
        rest_s = self._budget.wait_s(now)
        due = self._schedule.next_at(now)
        until_s = [left_s, *([rest_s] if rest_s > 0 else [])]
        if due is not None and due > now:
            until_s.append((due - now).total_seconds())
        with self._changed:
            if not self._acts:
                self._changed.wait(min(until_s))

    def _act(self, act: Callable[[], None]) -> None:
        with self._changed:
            self._acts.append(act)
            self._changed.notify_all()

    def _cancel(self, stream: str, why: str) -> None:
        self._schedule.withdraw(stream)
        if self._readers[stream].is_running:
            self._cancelled[stream] = why

    def _require(self, stream: str) -> None:
        if stream not in self._subjects:
            raise Declined(f"stream {stream} is not polled", hint="See `legacy-bridge stream list`.")

    def _forget_images(self) -> None:
        """Keep the images of streams at rest in memory while they are small together."""
        resting = [reader for reader in self._readers.values() if not reader.is_running]
        held = sum(map(Reader.size, resting))
        for reader in sorted(resting, key=Reader.size, reverse=True):
            if sum(map(Reader.size, resting)) > REMEMBERED_ROWS:
                reader.rest()
        if sum(map(Reader.size, resting)) < held:
            heap.give_back()
