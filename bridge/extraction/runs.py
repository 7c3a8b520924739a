"""What the history of runs says: how long they usually take, and which took much longer. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice
from statistics import median

from bridge.extracted import Run

HISTORY = 20  # runs that tell what is usual
FEWEST = 5  # below which nothing is usual yet


def took(run: Run, now: datetime) -> timedelta:
    """How long a run took, or has taken by now."""
    return max(timedelta(0), (run.ended_at or now) - run.started_at)


def usual(runs: Iterable[Run], of: Run) -> timedelta | None:
    """The median of the last runs of the same stream and kind that were done before this one.

    Args:
        runs: newest first.
        of: the run that is compared.
    Returns: None where there are too few.
    """
    alike = (
        (one.ended_at - one.started_at).total_seconds()
        for one in runs
        if (one.stream, one.kind, one.state) == (of.stream, of.kind, "done")
        and one.number < of.number
        and one.ended_at is not None
    )
    last = list(islice(alike, HISTORY))
    return timedelta(seconds=median(last)) if len(last) >= FEWEST else None


def is_long(run: Run, usually: timedelta | None, now: datetime, *, factor: float, at_least: timedelta) -> bool:
    """Whether a run takes or took much longer than is usual."""
    return usually is not None and took(run, now) > max(usually * factor, at_least)
