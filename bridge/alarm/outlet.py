"""What the alarm loop asks of an outlet: the port that every way of telling somebody fits."""

from collections.abc import Sequence
from typing import Protocol

from bridge.alarm.machine import Alarm, Notice


class Outlet(Protocol):
    """One way of telling somebody. Used on one event loop; may be cancelled at any await."""

    resend_s: float | None  # how often `refresh` wants to be called; None: never

    async def tell(self, notice: Notice) -> None:
        """Tell of a notice; returns once the other side has taken it.

        Duplicates: the same notice may come again after a crash, with the same id.
        Raises: SinkUnavailable (try again), SinkRefused (it never takes this one).
        """

    async def refresh(self, firing: Sequence[Alarm]) -> None:
        """Say again what fires, where silence would mean that it is over. Raises: as `tell`."""

    async def close(self) -> None:
        """Release connections; callable twice."""


class Beat(Protocol):
    """A sign of life to an outside service. Used on one event loop."""

    every_s: float

    async def beat(self) -> None:
        """Give one. Raises: SinkUnavailable."""

    async def close(self) -> None:
        """Release connections; callable twice."""
