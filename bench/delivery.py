"""Ours: the delivery loop in a process of its own, on a journal that was filled beforehand.

``python -m bench.delivery FOLDER SINK...`` delivers the folder's journal to every sink of its configuration, from the
beginning, until the named ones have it all, and prints how fast those were, how long their calls took, and how much
memory the process had at most in either half. Standard output of the sinks goes to /dev/null.
"""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

from bench import waiting
from bridge.bell import Bell
from bridge.deliver.thread import Delivery
from bridge.health import HealthBoard
from bridge.journal.attempts import AttemptLog, beside
from bridge.journal.sqlite import SqliteJournal
from bridge.metrics import Metrics
from bridge.parcel import Attempt
from bridge.routing import build_routes

EVERY_S = 0.005
TIMEOUT_S = 1800.0


class _Timing:
    """The delivery log, with an ear for how long the calls of some sinks took."""

    def __init__(self, log: AttemptLog, sinks: frozenset[str]) -> None:
        self._log = log
        self._sinks = sinks
        self.took_ms: list[float] = []

    def record(self, attempts: Sequence[Attempt]) -> None:
        self.took_ms += [attempt.duration_ms for attempt in attempts if attempt.sink in self._sinks]
        self._log.record(attempts)


class _Halves(threading.Thread):
    """Peak memory of this process in the first and the second half of the events."""

    def __init__(self) -> None:
        super().__init__(name="halves", daemon=True)
        self.peaks_mb = [0.0, 0.0]
        self.half = 0

    def run(self) -> None:
        process = psutil.Process()
        while True:
            self.peaks_mb[self.half] = max(self.peaks_mb[self.half], process.memory_info().rss / 1e6)
            time.sleep(0.02)


def fresh(folder: Path, journal: SqliteJournal, sinks: Sequence[str]) -> None:
    """Forget what sinks of an earlier run had, files included."""
    for sink in sinks:
        journal.forget_subscriber(sink)
        journal.keep("delivery", {sink: None})
        shutil.rmtree(folder / sink, ignore_errors=True)
    beside(folder / "journal.db").unlink(missing_ok=True)


def measure(folder: Path, watched: Sequence[str]) -> dict[str, float]:
    """Deliver until the watched sinks have everything; see the module.

    Raises: RuntimeError when they do not in time.
    """
    config, documents = waiting.opened(folder)
    journal = SqliteJournal.open(folder / "journal.db", owner=True)
    fresh(folder, journal, list(config.sinks))
    last = journal.extents()[waiting.STREAM].last
    log = _Timing(AttemptLog(beside(folder / "journal.db")), frozenset(watched))
    routes = build_routes(config, documents)
    delivery = Delivery(journal, routes, bell=Bell(), board=HealthBoard(), metrics=Metrics(), attempts=log)
    thread, halves = threading.Thread(target=delivery.run, name="deliver"), _Halves()
    halves.start()
    began_at = time.perf_counter()
    thread.start()
    _await(delivery, watched, last // 2)
    halves.half = 1
    _await(delivery, watched, last)
    took_s = time.perf_counter() - began_at
    first_mb, second_mb = halves.peaks_mb
    delivery.end()
    thread.join()
    journal.close()
    p99 = float(np.percentile(log.took_ms, 99)) if log.took_ms else 0.0
    rate = last * len(watched) / took_s
    return {"rate": rate, "p99": p99, "first": first_mb, "second": second_mb, "flat": second_mb / first_mb}


def _await(delivery: Delivery, watched: Sequence[str], number: int) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not all(_settled(delivery, sink) >= number for sink in watched):
        if time.monotonic() > deadline:
            raise RuntimeError("the sinks stand still")
        time.sleep(EVERY_S)


def _settled(delivery: Delivery, sink: str) -> int:
    loop = delivery.loops.get(sink)
    return loop.feeds[waiting.STREAM].recorded.settled if loop else -1


if __name__ == "__main__":
    answer = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    figures = measure(Path(sys.argv[1]), sys.argv[2:])
    os.write(answer, f"{json.dumps(figures)}\n".encode())
