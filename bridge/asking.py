"""Waiting for a request that was left in the journal: the same for the command line and for the HTTP door."""

import time
from collections.abc import Iterator

from bridge.ports import Journal, Request

FIRST_S, LONGEST_S = 0.02, 0.2
_NEWEST = 1_000  # requests among which one is looked for


def find(journal: Journal, request_id: int) -> Request | None:
    """A request by its id; None where there is none, or so many came after it that it is history."""
    return next((one for one in journal.requests(open_only=False, limit=_NEWEST) if one.id == request_id), None)


def settled(journal: Journal, request_id: int) -> Request | None:
    """The request once it is settled."""
    found = find(journal, request_id)
    return found if found is not None and found.settled_at is not None else None


def pauses(patience_s: float) -> Iterator[float]:
    """How long to wait before each further look, until the patience is at an end."""
    deadline, pause_s = time.monotonic() + patience_s, FIRST_S
    while time.monotonic() < deadline:
        yield pause_s
        pause_s = min(LONGEST_S, pause_s * 1.2)
