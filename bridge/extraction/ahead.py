"""A question that is asked while the answer to the one before it is dealt with, on a thread beside."""

import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread

from bridge.extraction.extractor import Page, Question


class Ahead:
    """One question.

    Args:
        question: what is asked.
        answer: asks it; called once, by `run`.
    """

    def __init__(self, question: Question, answer: Callable[[Question], Page]) -> None:
        self.question = question
        self.spent_s = 0.0  # on the question; known once it was waited for
        self._answer = answer
        self._page: Page | None = None
        self._error: BaseException | None = None
        self._is_over = Event()

    def run(self) -> None:
        """Ask, and keep what comes of it."""
        started = time.monotonic()
        try:
            self._page = self._answer(self.question)
        except BaseException as error:  # noqa: BLE001  raised where the answer is wanted
            self._error = error
        self.spent_s = time.monotonic() - started
        self._is_over.set()

    def settle(self) -> None:
        """Wait until the answer has come, whatever it is."""
        self._is_over.wait()

    def wait(self) -> Page:
        """The answer, when it has come. Raises: whatever asking raised."""
        self.settle()
        if self._error is not None:
            raise self._error
        assert self._page is not None  # noqa: S101  one of the two
        return self._page


class Beside:
    """A thread that does one thing after the other; it stays, since each new one would have memory of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: Thread | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Have something done that raises nothing."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._work.put(work)

    def end(self, *, waits: bool = True) -> None:
        """Let the thread end when nothing is left to be done; callable twice. `do` begins another."""
        if self._thread is not None:
            self._work.put(None)
            if waits:
                self._thread.join()
            self._thread = None

    def _run(self) -> None:
        for work in iter(self._work.get, None):
            work()
