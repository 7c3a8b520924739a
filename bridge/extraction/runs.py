"""What the history of runs says: how long they usually take, and which should have begun. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from statistics import median

from bridge.extracted import Run
from bridge.extraction.plan import Plan, moments_of

HISTORY = 20  # runs that tell what is usual
RECENT = 60  # records in which they are looked for
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


def overdue(plan: Plan, runs: Sequence[Run], now: datetime) -> datetime | None:
    """When a run should have begun by the schedule, and none did; None: nothing is late.

    Args:
        plan: of a stream.
        runs: its records, newest first.
        now: the time.
    """
    newest = next((run for run in runs if run.state != "skipped" and run.kind != "sweep"), None)
    if newest is None or newest.state == "running":
        return None
    since = newest.ended_at or newest.started_at
    moments = moments_of(plan, anchor=since)
    due = moments.after(since) if moments is not None else None
    return due + plan.jitter if due is not None and due + plan.jitter <= now else None
