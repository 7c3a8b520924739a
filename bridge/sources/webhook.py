"""A system that sends us HTTP requests: what the door hands in, as windows.

There is no session: the sender of a message that was not journalled repeats it.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

from bridge.inbox.incoming import Incoming, Taken
from bridge.inbox.intake import Intake, Known
from bridge.inbox.mapping import Mapper
from bridge.inbox.messagesource import MessageSource
from bridge.model import Position, Window


class WebhookSource(MessageSource):
    """The inbox of one system; see `ports.Source` and `inbox.incoming.Inbox`.

    Args:
        name: of the system.
        mappers: by stream.
        known: looks ids up in the journal.
        remember: for how long ids are remembered.
    """

    comes_as = "sent to us"

    def __init__(self, name: str, mappers: Mapping[str, Mapper], *, known: Known, remember: timedelta) -> None:
        super().__init__(name, Intake(mappers, known=known, remember=remember))

    def submit(self, stream: str, message: Incoming) -> "Future[Taken]":
        """See `Inbox`."""
        return self._intake.submit(stream, message)

    def open(self, position: Position | None, state: Mapping[str, Any]) -> None:  # noqa: ARG002  there is none
        """See the port; never fails."""
        self._intake.open(position)

    def read(self, timeout_s: float, *, is_busy: Callable[[], bool]) -> Window | None:
        """See the port. Raises: JournalUnavailable, JournalCorrupt when ids cannot be looked up."""
        return self._intake.pack(timeout_s, is_busy=is_busy)
