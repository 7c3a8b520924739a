"""What the daemon itself puts into the audit trail and says about it.

A secret that was changed behind its reference is written down when its new value is first used. Where the trail ends is
said in the log, so that whoever keeps the log elsewhere holds an anchor of the chain: at the start, after a change at
most once a minute, and at each stop.
"""

import time
from collections.abc import Callable

import structlog

from bridge.config.rotations import SEEN, Rotations
from bridge.errors import BridgeError
from bridge.model import AuditEntry
from bridge.ports import Journal
from bridge.trail import Head

ACTOR = "daemon"
INTERVAL_S = 60.0

_log = structlog.get_logger()


class Notary:
    """Looks after one journal's audit trail; for one thread."""

    def __init__(
        self, journal: Journal, *, rotations: Rotations = SEEN, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._journal = journal
        self._rotations = rotations
        self._monotonic = monotonic
        self._logged: Head | None = None
        self._due_at = 0.0

    def step(self) -> None:
        """Write down what changed; log the head when it moved, at most once in `INTERVAL_S`."""
        try:
            self._write_rotations()
            if self._logged is None or self._monotonic() >= self._due_at:
                self._log_moved()
        except BridgeError:  # the journal's ailment is shown by its writer; the next step tries again
            return

    def end(self) -> None:
        """Log the last head, moved or not."""
        self._logged = None
        self.step()

    def _write_rotations(self) -> None:
        for reference in self._rotations.changed():
            self._journal.audit(AuditEntry(ACTOR, "secret.rotated", reference, "another value was found at its use"))
            self._rotations.told(reference)

    def _log_moved(self) -> None:
        head = self._journal.audit_head()
        if head != self._logged:
            _log.info("audit.head", number=head.number, hash=head.hash.hex())
            self._logged, self._due_at = head, self._monotonic() + INTERVAL_S
