"""How long to wait before trying again: doubling, with jitter, up to a limit. The loops retry; nothing else does."""

import random


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
