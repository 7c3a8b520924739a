"""When one stream is to be read, as it is declared. Values only."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from bridge.extracted import RunKind
from bridge.moments import Cron, Every, Moments

CatchUp = Literal["once", "skip"]
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60))


@dataclass(frozen=True, slots=True)
class Plan:
    """When one stream is read, or its keys are swept; without `every`, `cron` and `after` only when somebody asks."""

    stream: str
    kind: RunKind = "run"
    every: timedelta | None = None
    cron: str | None = None
    zone: str = "UTC"  # of `cron`
    after: str | None = None  # the stream whose run it follows
    jitter: timedelta = timedelta(0)  # how much later it may come, evenly spread
    catch_up: CatchUp = "once"  # what becomes of moments that could not bring a run
    most_deletes: float = 1.0  # share of the rows known that a run may find gone

    @property
    def job(self) -> str:
        """What is scheduled: a stream, or the sweep of one."""
        return self.stream if self.kind != "sweep" else f"{self.stream}/sweep"

    @property
    def text(self) -> str:
        """The schedule in words."""
        if self.every is not None:
            return f"every {span(self.every)}"
        return f"cron {self.cron}" if self.cron else f"after {self.after}" if self.after else "on demand"


def moments_of(plan: Plan, *, anchor: datetime) -> Moments | None:
    """When the schedule of a plan fires; None: only when something else happens."""
    if plan.every is not None:
        return Every(plan.every, anchor=anchor)
    return Cron(plan.cron, zone=plan.zone) if plan.cron else None


def span(length: timedelta) -> str:
    """A length of time as the configuration writes it: 90s, 5m, 2h, 1d."""
    seconds = length.total_seconds()
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds >= size and seconds % size == 0), ("s", 1))
    return f"{seconds / size:g}{unit}"
