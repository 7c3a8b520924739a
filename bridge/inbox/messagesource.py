"""What sources of messages have in common: there is no history to go back in, only what waits to be taken in.

A message that was not journalled was never acknowledged, and whoever sent it, or keeps it, gives it again. How messages
come to the intake is a source's own.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from bridge.errors import InternalError, SourceRefused
from bridge.findings import Finding
from bridge.inbox.intake import Intake
from bridge.model import Position, Window


class MessageSource:
    """The part of `ports.Source` that is the same for all of them; a source opens and reads by itself.

    Args:
        name: of the system.
        intake: where its messages wait.
    """

    comes_as: ClassVar[str]  # what a stream is, for people: "a queue"

    def __init__(self, name: str, intake: Intake) -> None:
        self.name = name
        self._intake = intake

    def confirm(self, position: Position) -> None:
        """See the port: whoever gave the messages is told."""
        self._intake.confirm(position)

    def renew(self, position: Position | None, state: Mapping[str, Any], cause: str) -> Window:  # noqa: ARG002
        """There is no history that could be lost."""
        raise InternalError(f"system {self.name} has no history of its own")

    def keep_alive(self) -> None:
        """There is no session, or it keeps itself alive."""

    def control(self, action: str, stream: str) -> None:  # noqa: ARG002
        """Nothing can be read again. Raises: SourceRefused."""
        raise SourceRefused(
            f"stream {stream} is {self.comes_as} and cannot be read again", hint="Have its sender send it again."
        )

    def findings(self) -> Sequence[Finding]:
        """What goes wrong is said by whoever reads."""
        return ()

    def observation(self) -> None:
        """There is nothing to look at."""

    def interrupt(self) -> None:
        """Nothing is asked that takes time."""

    def close(self) -> None:
        """See the port; what was handed over may still be confirmed."""
        self._intake.close()

    def abandon(self) -> None:
        """Whatever was handed over and not confirmed never will be."""
        self._intake.abandon()
