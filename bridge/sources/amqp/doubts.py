"""Messages without an id whose acknowledgement the broker may have missed: should it send one again, it is dropped.

Only these are doubted, and only until the broker has shown that it took the acknowledgement, so that a second message
of the same content is not taken for a copy. Pure bookkeeping; for any thread.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.inbox.cloudevents import BATCH, STRUCTURED, media_type
from bridge.inbox.incoming import Incoming


def has_id(message: Incoming) -> bool:
    """Whether a message says itself which one it is."""
    return message.id is not None or bool(message.attributes) or media_type(message.content_type) in {BATCH, STRUCTURED}


def digest(stream: str, message: Incoming) -> str:
    """What tells a message without an id from others of its stream."""
    summed = hashlib.sha256(message.content_type.encode("utf-8", "replace"))
    summed.update(b"\0" + message.body)
    return f"{stream}:{summed.hexdigest()[:32]}"


class Doubts:
    """Counts by digest; kept with the source's position, so that they survive the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_loaded = False
        self._open: Counter[str] = Counter()  # journalled, or about to be; not known to be acknowledged
        self._expected: Counter[str] = Counter()  # of them, what the broker may send again on this connection

    def begin(self, state: Mapping[str, Any]) -> None:
        """A new connection. What the process itself knows is newer than what the journal kept."""
        with self._lock:
            if not self._is_loaded:
                self._open = Counter({str(name): int(count) for name, count in state.get("doubtful", {}).items()})
                self._is_loaded = True
            self._expected = +self._open

    def packed(self, messages: Sequence[tuple[str, Incoming]]) -> dict[str, Any]:
        """These messages go into a window; returns the source's state with it."""
        with self._lock:
            self._open.update(digest(stream, message) for stream, message in messages if not has_id(message))
            return {"doubtful": dict(+self._open)} if +self._open else {}

    def is_copy(self, name: str) -> bool:
        """Whether a message that the broker sends again was journalled before; counts it off."""
        with self._lock:
            if self._expected[name] <= 0:
                return False
            self._expected[name] -= 1
            return True

    def settle(self, names: Sequence[str]) -> None:
        """The broker has taken the acknowledgement of these."""
        with self._lock:
            self._open.subtract(names)
            self._open = +self._open

    def end_copies(self, stream: str) -> None:
        """A new message came: the broker sends what it sends again first, so nothing more of that is expected."""
        with self._lock:
            left = Counter({name: n for name, n in (+self._expected).items() if name.startswith(f"{stream}:")})
            if left:
                self._expected.subtract(left)
                self._open = +(self._open - left)
