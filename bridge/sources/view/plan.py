"""The plan of a statement, as far as its database tells it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan."""

    depth: int
    what: str  # "Index Scan on customers (customers_pkey)"
    rows: float | None = None  # expected; None: the database does not say
    cost: float | None = None  # in the database's own units, with the steps below


@dataclass(frozen=True, slots=True)
class Plan:
    """How a database would run a statement."""

    steps: tuple[Step, ...]
    rows: float | None  # expected of the whole answer; None: the database does not say
    cost: float | None
    is_whole: bool  # everything is read, and sorted or put aside, before the first row comes
