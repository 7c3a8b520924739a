"""What was refused at the door, for the audit trail: the first of a kind at once, repeats counted once a minute.

Promises: noting costs microseconds and never blocks; memory is bounded, whatever is sent; what could not be written is
kept for the next time. What is noted names who, what and why, never a key or a token.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Lock

from bridge.model import AuditEntry

INTERVAL_S = 60.0
KIND_LIMIT = 256  # kinds of refusals told apart within a minute

Kind = tuple[str, str, str]  # who, what was asked for, why it was refused
OTHERS: Kind = ("many", "many", "more kinds of refusals than are told apart")


class Refusals:
    """Counts refusals. Callable from any thread."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = Lock()
        self._counts: Counter[Kind] = Counter()  # not written yet
        self._due_at: dict[Kind, float] = {}

    def note(self, who: str, what: str, why: str) -> None:
        """Count one refusal."""
        kind = (who[:128], what[:128], why[:256])
        with self._lock:
            known = kind in self._counts or kind in self._due_at
            self._counts[kind if known or self._room() else OTHERS] += 1

    def write(self, audit: Callable[[Sequence[AuditEntry]], None], *, whole: bool = False) -> None:
        """Hand over what is due; what `audit` raises leaves it for the next time.

        Args:
            audit: stores entries, all or none; not called when nothing is due.
            whole: what is not due yet, too.
        """
        now = self._monotonic()
        with self._lock:
            for kind in [kind for kind, due_at in self._due_at.items() if now >= due_at and not self._counts[kind]]:
                del self._due_at[kind], self._counts[kind]
            due = {
                kind: count
                for kind, count in self._counts.items()
                if count and (whole or now >= self._due_at.get(kind, now))
            }
        if not due:
            return
        audit([_entry(kind, count) for kind, count in due.items()])
        with self._lock:
            for kind, count in due.items():
                self._counts[kind] -= count
                self._due_at[kind] = now + INTERVAL_S

    def _room(self) -> bool:
        return len(self._counts.keys() | self._due_at.keys()) < KIND_LIMIT


def _entry(kind: Kind, count: int) -> AuditEntry:
    who, what, why = kind
    return AuditEntry(who, "access.refused", what, why if count == 1 else f"{why}; {count} times")
