"""Time that moves only when told to."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    """A clock for everything that takes `now`: calling it tells the time."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        """Stand at `start`."""
        self._now = start

    def __call__(self) -> datetime:
        """The time."""
        return self._now

    def advance(self, seconds: float) -> datetime:
        """Move forward; returns the new time."""
        self._now += timedelta(seconds=seconds)
        return self._now
