"""What a test needs of the machine it runs on."""

import contextlib
import os
import threading
from pathlib import Path
from typing import Self

import psutil
import pytest


def require(is_possible: object, what: str) -> None:
    """Skip a test that this machine cannot run; in CI that is a failure."""
    if not is_possible:
        if os.environ.get("CI"):
            pytest.fail(what)
        pytest.skip(what)


def fill(folder: Path) -> Path:
    """Leave no byte free on a folder's disk; returns the file to remove again."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return ballast


class Waits:
    """How long our threads, and those of the servers that we started, waited for a processor meanwhile.

    What a bound on time allows on a machine that is at work with other things: the scheduler's own count, thread by
    thread, and not a guess. Where the system does not count, nothing is allowed.
    """

    def __init__(self) -> None:
        self._first: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._look()
        self._first = dict(self._last)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def so_far_s(self) -> float:
        """Until now, of all threads together."""
        self._look()
        return sum(waited - self._first.get(thread, 0) for thread, waited in list(self._last.items())) / 1e9

    def _watch(self) -> None:
        while not self._is_over.wait(0.05):  # a process that ended is not counted any more
            self._look()

    def _look(self) -> None:
        me = psutil.Process()
        for pid in [me.pid, *(child.pid for child in me.children(recursive=True))]:
            for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError, ValueError, IndexError):
                    self._last[str(thread)] = int(thread.read_text().split()[1])
