"""Peak memory of a process tree, sampled while it runs."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

EVERY_S = 0.05


@dataclass(slots=True)
class Peak:
    """Largest sum of resident memory of a process and its descendants; pages they share count once for each."""

    rss_mb: float = 0.0


@contextlib.contextmanager
def watched(pid: int) -> Iterator[Peak]:
    """Sample the tree of `pid` until the block ends."""
    peak, done = Peak(), threading.Event()

    def sample() -> None:
        while True:
            peak.rss_mb = max(peak.rss_mb, tree_rss_mb(pid))
            if done.wait(EVERY_S):
                return

    sampler = threading.Thread(target=sample, name="memory", daemon=True)
    sampler.start()
    try:
        yield peak
    finally:
        done.set()
        sampler.join()


def tree_rss_mb(pid: int) -> float:
    """Resident memory of a process and its descendants now, in MB; 0 when it is gone."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
    return total / 1e6
