"""How long to wait before trying again: doubling, with jitter, up to a limit. The loops retry; nothing else does."""

import random
from collections.abc import Sequence


class Backoff:
    """Waiting times of one thing that fails now and then; for one thread."""

    def __init__(self, *, first_s: float = 0.1, limit_s: float = 5.0) -> None:
        self._first_s = first_s
        self._limit_s = limit_s
        self._failure_count = 0

    def next_s(self) -> float:
        """Seconds to wait after one more failure."""
        ceiling_s = min(self._limit_s, self._first_s * 2.0**self._failure_count)
        self._failure_count = min(self._failure_count + 1, 30)
        return ceiling_s * random.uniform(0.5, 1.0)  # noqa: S311  jitter, not a secret

    @property
    def has_failed(self) -> bool:
        """Whether it failed last time."""
        return self._failure_count > 0

    def reset(self) -> None:
        """It worked."""
        self._failure_count = 0


class Schedule:
    """Waiting times before the further attempts of one event, each a tenth more or less by chance.

    Args:
        after_s: seconds before the second attempt, the third, and so on.
    """

    def __init__(self, after_s: Sequence[float]) -> None:
        self._after_s = tuple(after_s)

    @property
    def attempts(self) -> int:
        """How often an event is tried."""
        return len(self._after_s) + 1

    def wait_s(self, failed: int) -> float | None:
        """Seconds to wait after so many failed attempts; None when that was the last."""
        if failed > len(self._after_s):
            return None
        return self._after_s[failed - 1] * random.uniform(0.9, 1.1)  # noqa: S311  jitter, not a secret

    def last_s(self) -> float:
        """The longest wait, for events that are tried for ever."""
        return max(self._after_s, default=60.0) * random.uniform(0.9, 1.1)  # noqa: S311  as above
