"""A message as it came in, and where it is handed in: what the HTTP door and the sources share."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from bridge.errors import SourceUnavailable

Taken = Literal["new", "known"]  # journalled now, or already before


class InboxFull(SourceUnavailable):
    """More messages wait for the journal than memory is set aside for; the sender is to come again."""

    code = "inbox.full"
    default_hint = "The sender repeats by itself; if it lasts, see what holds the journal up in `legacy-bridge status`."


class InboxClosed(SourceUnavailable):
    """The message was not journalled, as far as we know: the daemon stops or changes over."""

    code = "inbox.closed"
    default_hint = "The sender repeats by itself."


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message of a stream, verified, not yet read."""

    body: bytes
    received_at: datetime
    content_type: str = ""  # as sent
    attributes: Mapping[str, str] = field(default_factory=dict)  # CloudEvents attributes beside the body (binary mode)
    id: str | None = None  # what its sender calls it, the same when it is sent again
    traceparent: str | None = None  # of the request that brought it

    @property
    def size_bytes(self) -> int:
        """What it occupies while it waits."""
        return len(self.body) + _OVERHEAD_BYTES


_OVERHEAD_BYTES = 1024


class Inbox(Protocol):
    """Where messages of one system are handed in; callable from any thread."""

    def submit(self, stream: str, message: Incoming) -> "Future[Taken]":
        """Hand a message in.

        Returns: settles once the journal holds it (or held it before); fails with a BridgeError when that is not
            known. Cancelled in time, the message is not taken.
        Raises: InboxFull, InboxClosed.
        """
