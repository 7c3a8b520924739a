"""The talk with one system: one question at a time, what it cost, and the switch that ends it.

Promises: whatever comes of a question, what the system was at work for is paid for; while it is held nothing is asked,
and what was being asked ends within a second. Decides neither what is asked nor when.
"""

import time
from collections.abc import Callable
from datetime import datetime
from threading import Condition

from bridge.errors import SourceUnavailable
from bridge.extracted import Charge
from bridge.extraction.budget import Budget
from bridge.extraction.extractor import Extractor, Page, Question

_HOLD_TURNS, _HOLD_S = 20, 0.05


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
        self._charges: list[Charge] = []  # that no window has told the journal of

    def ask(self, question: Question) -> Page:
        """One page. Raises: as `Extractor.open` and `Extractor.page`; SourceUnavailable while held."""
        started = time.monotonic()
        page = None
        with self._changed:
            self._is_asking = self.held is None
        try:
            if self.held is not None:
                raise SourceUnavailable(f"system {self._system} is paused: {self.held}")
            self.connect()
            page = self._extractor.page(question)
            return page
        finally:
            with self._changed:
                self._is_asking = False
                self._changed.notify_all()
            self._pay(question, page, time.monotonic() - started)

    def probe(self) -> None:
        """Have the budget know how busy the system is."""
        if self._is_connected:
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
            self._extractor.close()
            self._is_connected = False

    def close(self) -> None:
        """Have none, whatever is known of one."""
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
        for _ in range(_HOLD_TURNS):
            self._extractor.cancel()
            with self._changed:
                if not self._is_asking:
                    return
                self._changed.wait(_HOLD_S)

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
        is_of_keys = question.want == "keys"
        most = subject.page_rows * (4 if is_of_keys else 1)
        budgeted = f"{stream}/keys" if is_of_keys else stream
        self._budget.spent(budgeted, rows=question.limit, most=most, seconds=spent_s, now=now)
