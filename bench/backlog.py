"""A backlog after a long stop: 10 M rows drained in linear time and flat memory.

The journal's growth is cut into ten equal parts. `linear` is the slowest part over the median part; `flat` is the peak
memory of the whole run over the peak of its first part.
"""

import contextlib
import itertools
import statistics
from collections.abc import Iterator

from bench import daemon, source
from bench.claim import Claim, Measure, Readers, Sample, Target

ROWS = 10_000_000
PARTS = 10


def measure_parts(looks: list[daemon.Look], events: int, *, began_at: float) -> dict[str, float]:
    """Rate, slowest part over median part, and growth of memory after the first part.

    Raises: RuntimeError when the parts are too small to be told apart.
    """
    edges = [next(look for look in looks if look.events >= events * part // PARTS) for part in range(1, PARTS + 1)]
    # The first part begins with the process, the others where the one before ends: leave it out of the comparison.
    pairs = [(a, b) for a, b in itertools.pairwise(edges) if b.events > a.events]
    if not pairs:
        raise RuntimeError("all parts came in one window; take more rows")
    paces = [(b.at - a.at) / (b.events - a.events) for a, b in pairs]
    return {
        "rate": events / (looks[-1].at - began_at),
        "linear": max(paces) / statistics.median(paces),
        "flat": edges[-1].rss_mb / edges[0].rss_mb,
    }


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """A change log of ten million inserts."""
    rows = source.scaled(ROWS)
    with source.serving() as erp:
        erp.log(rows, rows_per_transaction=10_000)

        def ours() -> Sample:
            with erp.slot() as slot, daemon.running(erp.dsn, slot) as running:
                began_at = daemon.attached(running, erp.dsn, slot)
                looks = daemon.follow(running, rows)
                return Sample(measure_parts(looks, rows, began_at=began_at), running.peak.rss_mb)

        yield Readers(ours, notes=source.notes())


CLAIM = Claim(
    name="backlog",
    about="10 M rows drained",
    measures=(
        Measure("rate", "rows/s"),
        Measure("linear", "slowest/median", Target(at_most=1.25)),
        Measure("flat", "peak/first peak", Target(at_most=1.2)),
    ),
    open=prepare,
)
