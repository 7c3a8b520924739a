"""The talk with one system: one question at a time, what it cost, and the switch that ends it.

Promises: whatever comes of a question, what the system was at work for is paid for; while it is held nothing is asked,
and what was being asked ends within a second. One question may be asked ahead: nobody else uses the session meanwhile,
and its answer is kept for whoever asks that same question, whatever is asked in between. Decides neither what is asked
nor when.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from threading import Condition

from bridge.errors import BridgeError, SourceUnavailable
from bridge.extracted import Charge
from bridge.extraction.ahead import Ahead, Beside
from bridge.extraction.budget import Budget, pages_of
from bridge.extraction.extractor import Extractor, Page, Question

_END_TURNS, _END_S = 20, 0.05


class Asker:
    """One session of one extractor. For one thread, but for `hold`, `release`, `interrupt` and what tells of it.

    Args:
        system: whose bill it is.
        extractor: reads the system; its own while this one lives.
        budget: what is told how long questions took.
        held: why nothing is to be asked yet; None: it may.
        now: the clock.
    """

    def __init__(
        self, system: str, extractor: Extractor, budget: Budget, *, held: str | None, now: Callable[[], datetime]
    ) -> None:
        self.held = held
        self._system = system
        self._extractor = extractor
        self._budget = budget
        self._now = now
        self._changed = Condition()  # guards `_is_asking`
        self._is_asking = False
        self._is_connected = False
        self._ahead: Ahead | None = None
        self._beside = Beside(f"ahead-{system}")
        self._charges: list[Charge] = []  # that no window has told the journal of

    def ask(self, question: Question) -> Page:
        """One page. Raises: as `Extractor.open` and `Extractor.page`; SourceUnavailable while held."""
        ahead = self._ahead
        if ahead is not None:
            if ahead.question == question:
                return self._answer_of(ahead)
            ahead.settle()
        started = time.monotonic()
        page = None
        try:
            self._begin()
            try:
                self.connect()
                page = self._extractor.page(question)
            finally:
                self._end()
            return page
        finally:
            self._pay(question, page, time.monotonic() - started)

    def ask_ahead(self, question: Question) -> None:
        """Have a page asked for that `ask` will want next. Without a session, or while held, nothing happens."""
        self.drop()
        if not self._is_connected or self.held is not None:
            return

        def answer(question: Question) -> Page:
            try:
                return self._extractor.page(question)
            finally:
                self._end()

        try:
            self._begin()
        except SourceUnavailable:  # held just now
            return
        self._ahead = Ahead(question, answer)
        self._beside.do(self._ahead.run)

    @property
    def ahead(self) -> Question | None:
        """What was asked for already."""
        return None if self._ahead is None else self._ahead.question

    def drop(self) -> None:
        """What was asked ahead is not wanted; it is waited for, and paid for."""
        if self._ahead is not None:
            with suppress(BridgeError):  # it is of no interest any more
                self._answer_of(self._ahead)

    def probe(self) -> None:
        """Have the budget know how busy the system is."""
        if self._is_connected:
            if self._ahead is not None:
                self._ahead.settle()
            started, now = time.monotonic(), self._now()
            load = self._extractor.probe()
            self._budget.probed(load, seconds=time.monotonic() - started, now=now)

    def connect(self) -> None:
        """Have a session. Raises: SourceUnavailable, SourceRefused."""
        if not self._is_connected:
            self._extractor.open()
            self._is_connected = True

    def disconnect(self) -> None:
        """Have none."""
        if self._is_connected:
            self.close()

    def close(self) -> None:
        """Have none, whatever is known of one; what was asked ahead is given up."""
        if self._ahead is not None:
            self._press()
        try:
            self.drop()
        finally:
            self._beside.end()
            self._extractor.close()
            self._is_connected = False

    def bill(self) -> tuple[Charge, ...]:
        """What was asked since the last call of this."""
        charges, self._charges = tuple(self._charges), []
        return charges

    # -- from any thread
    def hold(self, why: str) -> None:
        """Stop every question within a second and leave nothing behind, until `release`."""
        self.held = why
        self._press()

    def release(self) -> None:
        """Ask again."""
        self.held = None

    def interrupt(self) -> None:
        """What is being asked is not worth waiting for."""
        self._extractor.cancel()

    @property
    def rests(self) -> bool:
        """Whether there is no session."""
        return not self._is_connected and not self._is_asking

    @property
    def is_asking(self) -> bool:
        """Whether a question is with the system."""
        return self._is_asking

    # -- what these are made of
    def _begin(self) -> None:
        """A question goes to the system. Raises: SourceUnavailable while held."""
        with self._changed:
            if self.held is not None:
                raise SourceUnavailable(f"system {self._system} is paused: {self.held}")
            self._is_asking = True

    def _end(self) -> None:
        with self._changed:
            self._is_asking = False
            self._changed.notify_all()

    def _press(self) -> None:
        """End what is being asked: it may have been about to ask something else."""
        for _ in range(_END_TURNS):
            self._extractor.cancel()
            with self._changed:
                if not self._is_asking:
                    return
                self._changed.wait(_END_S)

    def _answer_of(self, ahead: Ahead) -> Page:
        self._ahead = page = None
        try:
            page = ahead.wait()
            return page
        finally:
            self._pay(ahead.question, page, ahead.spent_s)

    def _pay(self, question: Question, page: Page | None, spent_s: float) -> None:
        """What a question took, and whether the next may be as large."""
        stream, now = question.stream, self._now()
        subject = self._extractor.subjects[stream]
        if page is None:
            charge = Charge(self._system, stream, now, 1, spent_s)
        else:
            spent_s = page.seconds
            rows = page.columns.num_rows
            charge = Charge(self._system, stream, page.read_at, page.queries, page.seconds, rows, page.size_bytes)
        self._charges.append(charge)
        pages, most = pages_of(subject, question.want)
        self._budget.spent(pages, rows=question.limit, most=most, seconds=spent_s, now=now)
