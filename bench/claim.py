"""What a claim is: what it measures, what it must reach, and how its three readers are run.

A *reader* is ours, the limit (the fastest thrower-away we can find) or the peer (what a user would pick instead). Each
call of a reader is one measurement and gives one number per measure of the claim.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Target:
    """What a measure must reach; a bound of None does not count."""

    of_limit: float | None = None  # at least this share of the limit
    of_peer: float | None = None  # at least so many times the peer
    at_least: float | None = None  # in the measure's unit
    at_most: float | None = None  # in the measure's unit
    rss_mb: float | None = None  # at most, peak of our process tree


@dataclass(frozen=True, slots=True)
class Measure:
    """One number that a claim is about."""

    name: str
    unit: str
    target: Target = Target()


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run of one reader gave."""

    values: Mapping[str, float]  # by measure
    peak_rss_mb: float = 0.0  # of the reader's process tree


Reader = Callable[[], Sample]


@dataclass(frozen=True, slots=True)
class Readers:
    """The three readers of a claim, ready to run any number of times."""

    ours: Reader
    limit: Reader | None = None
    peer: Reader | None = None
    notes: tuple[str, ...] = field(default=())  # settings that whoever repeats the measurement needs


@dataclass(frozen=True, slots=True)
class Claim:
    """A named claim; `open` prepares it (server, table, change log) and cleans up after it."""

    name: str
    about: str
    measures: tuple[Measure, ...]
    open: Callable[[], AbstractContextManager[Readers]]
    rounds: int = 3


@dataclass(frozen=True, slots=True)
class Round:
    """One alternation; the limit is measured before and after ours, so that a noisy machine shows."""

    ours: Sample
    limits: tuple[Sample, ...]
    peer: Sample | None
