"""A system that sends us HTTP requests: what the door hands in, as windows.

There is no session and nothing to read again: a message that was not journalled was never acknowledged, and its sender
repeats it.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

from bridge.errors import InternalError, SourceRefused
from bridge.inbox.incoming import Incoming, Taken
from bridge.inbox.intake import Intake, Known
from bridge.inbox.mapping import Mapper
from bridge.model import Position, Window


class WebhookSource:
    """The inbox of one system; see `ports.Source` and `inbox.incoming.Inbox`.

    Args:
        name: of the system.
        mappers: by stream.
        known: looks ids up in the journal.
        remember: for how long ids are remembered.
    """

    def __init__(self, name: str, mappers: Mapping[str, Mapper], *, known: Known, remember: timedelta) -> None:
        self.name = name
        self._intake = Intake(mappers, known=known, remember=remember)

    def submit(self, stream: str, message: Incoming) -> "Future[Taken]":
        """See `Inbox`."""
        return self._intake.submit(stream, message)

    def open(self, position: Position | None, state: Mapping[str, Any]) -> None:  # noqa: ARG002  there is none
        """See the port; never fails."""
        self._intake.open(position)

    def read(self, timeout_s: float, *, is_busy: Callable[[], bool]) -> Window | None:
        """See the port. Raises: JournalUnavailable, JournalCorrupt when ids cannot be looked up."""
        return self._intake.pack(timeout_s, is_busy=is_busy)

    def confirm(self, position: Position) -> None:
        """See the port: the senders get their answer."""
        self._intake.confirm(position)

    def renew(self, position: Position | None, state: Mapping[str, Any], cause: str) -> Window:  # noqa: ARG002
        """There is no history that could be lost."""
        raise InternalError(f"system {self.name} has no history of its own")

    def keep_alive(self) -> None:
        """There is no session."""

    def control(self, action: str, stream: str) -> None:  # noqa: ARG002
        """Nothing can be read again. Raises: SourceRefused."""
        raise SourceRefused(
            f"stream {stream} is sent to us and cannot be read again", hint="Have its sender send it again."
        )

    def findings(self) -> Sequence[Any]:
        """Nothing of its own can go wrong."""
        return ()

    def observation(self) -> None:
        """There is nothing to look at."""

    def interrupt(self) -> None:
        """Nothing is asked of the system."""

    def close(self) -> None:
        """See the port; what was handed over may still be confirmed."""
        self._intake.close()

    def abandon(self) -> None:
        """Whatever was handed over and not confirmed never will be."""
        self._intake.abandon()
