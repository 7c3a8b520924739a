"""A question that is asked while the answer to the one before it is dealt with, on a thread of its own."""

import time
from collections.abc import Callable
from threading import Thread

from bridge.extraction.extractor import Page, Question


class Ahead:
    """One question.

    Args:
        question: what is asked.
        answer: asks it; called once, on the other thread.
    """

    def __init__(self, question: Question, answer: Callable[[Question], Page]) -> None:
        self.question = question
        self.spent_s = 0.0  # on the question; known once it was waited for
        self._answer = answer
        self._page: Page | None = None
        self._error: BaseException | None = None
        self._thread = Thread(target=self.run, name=f"ahead-{question.stream}", daemon=True)

    def start(self) -> None:
        """Ask."""
        self._thread.start()

    def run(self) -> None:
        """What the thread does."""
        started = time.monotonic()
        try:
            self._page = self._answer(self.question)
        except BaseException as error:  # noqa: BLE001  raised where the answer is wanted
            self._error = error
        self.spent_s = time.monotonic() - started

    def wait(self) -> Page:
        """The answer, when it has come. Raises: whatever asking raised."""
        if self._thread.ident is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._page is not None  # noqa: S101  one of the two
        return self._page
