"""A comparison reads within the system's budget, and adds up what it cost."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from bridge.errors import SourceUnavailable
from bridge.extracted import Charge
from bridge.extraction.budget import Budget
from bridge.extraction.extractor import Extractor, Page

_LOOK_S = 0.5


class Paced:
    """The pace of one comparison of a stream; see `sides.Pace`."""

    def __init__(
        self,
        system: str,
        stream: str,
        extractor: Extractor,
        budget: Budget,
        *,
        told: Callable[[str], None] = lambda _why: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Read at this pace.

        Args:
            system: whose budget it is.
            stream: what is compared.
            extractor: asked how busy the system is, where the budget wants to know.
            budget: the limits.
            told: why nothing is read for now, once each time.
            now: the clock.
            sleep: waits.
        """
        self.charge = Charge(system, stream, now())
        self._extractor = extractor
        self._budget = budget
        self._told = told
        self._now = now
        self._sleep = sleep
        self._asked = 0
        self._has_ended = False

    def before(self, rows: int) -> int:
        """Wait until the budget allows a page; the rows it may have. Raises: SourceUnavailable after `end`."""
        why = None
        while not self._has_ended:
            if self._budget.wants_probe(self._now()):
                started = time.monotonic()
                load = self._extractor.probe()
                self._budget.probed(load, seconds=time.monotonic() - started, now=self._now())
            if (hindrance := self._budget.hindrance(self._now())) is not None:
                if hindrance != why:
                    self._told(hindrance)
                why = hindrance
                self._sleep(_LOOK_S)
            elif (wait_s := self._budget.wait_s(self._now())) > 0:
                self._sleep(min(wait_s, _LOOK_S))
            else:
                self._asked = self._budget.page_rows(self.charge.stream, rows)
                return self._asked
        raise SourceUnavailable("the comparison was given up")

    def rest(self, seconds: float) -> None:
        """The system wants no page for so long."""
        self._budget.leave_alone(seconds, self._now())

    def end(self) -> None:
        """No page is read any more."""
        self._has_ended = True

    def after(self, page: Page) -> None:
        """A page was read."""
        rows, charge = page.columns.num_rows, self.charge
        self._budget.spent(charge.stream, rows=rows, most=max(rows, self._asked), seconds=page.seconds, now=self._now())
        self.charge = Charge(
            charge.system,
            charge.stream,
            charge.at,
            queries=charge.queries + page.queries,
            seconds=charge.seconds + page.seconds,
            rows=charge.rows + rows,
            size_bytes=charge.size_bytes + page.size_bytes,
        )
