"""Notices that a secret behind a reference has changed between two uses.

Promises: what is kept of a value is a digest under a key that is made anew in each process; no value, and nothing that
another process could compare it with. A change while no process ran is not seen.
"""

import hashlib
import hmac
import secrets
from threading import Lock


class Rotations:
    """What was seen behind each reference. Callable from any thread."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._lock = Lock()
        self._digests: dict[tuple[str, str], bytes] = {}
        self._changed: dict[str, None] = {}  # references, each once, in order

    def saw(self, reference: str, value: str, *, folder: str) -> None:
        """A value was used.

        Args:
            reference: as written in the file.
            value: what it stood for.
            folder: what relative references are relative to.
        """
        digest = hashlib.blake2b(value.encode(), key=self._key, digest_size=32).digest()
        with self._lock:
            before = self._digests.get((folder, reference))
            self._digests[folder, reference] = digest
            if before is not None and not hmac.compare_digest(before, digest):
                self._changed[reference] = None

    def changed(self) -> list[str]:
        """References whose value has changed and that were not `told` yet."""
        with self._lock:
            return list(self._changed)

    def told(self, reference: str) -> None:
        """It was written down."""
        with self._lock:
            self._changed.pop(reference, None)


SEEN = Rotations()  # of this process: secrets are read from its files and environment, wherever they are used
