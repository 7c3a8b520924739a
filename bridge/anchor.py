"""Says in the log where the audit trail ends, so that whoever keeps the log elsewhere holds an anchor of the chain.

Logged at the start, after a change at most once a minute, and at each stop.
"""

import time
from collections.abc import Callable

import structlog

from bridge.errors import BridgeError
from bridge.ports import Journal
from bridge.trail import Head

INTERVAL_S = 60.0

_log = structlog.get_logger()


class Anchor:
    """Follows one journal's audit trail; for one thread."""

    def __init__(self, journal: Journal, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self._monotonic = monotonic
        self._logged: Head | None = None
        self._due_at = 0.0

    def step(self) -> None:
        """Log the head when it moved, at most once in `INTERVAL_S`."""
        if self._logged is None or self._monotonic() >= self._due_at:
            self._log_moved()

    def end(self) -> None:
        """Log the last head, moved or not."""
        self._logged = None
        self._log_moved()

    def _log_moved(self) -> None:
        try:
            head = self._journal.audit_head()
        except BridgeError:  # the journal's own ailment is shown by its writer; the next step tries again
            return
        if head != self._logged:
            _log.info("audit.head", number=head.number, hash=head.hash.hex())
            self._logged, self._due_at = head, self._monotonic() + INTERVAL_S
