"""How many requests a principal may make in a minute, and how it is told (draft-ietf-httpapi-ratelimit-headers-11)."""

import time
from collections.abc import Mapping
from math import ceil

import limits
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from bridge.access import Principal
from bridge.web.problems import Problem

POLICY = "default"
WINDOW_S = 60


class Quota:
    """Counts in fixed windows of a minute that begin with a principal's first request. Callable from any thread."""

    def __init__(self) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def spend(self, principal: Principal) -> Mapping[str, str]:
        """Count one request; returns the headers of its answer.

        Raises: Problem 429 with the same headers and Retry-After.
        """
        item = limits.RateLimitItemPerMinute(principal.requests_per_minute)
        granted = self._limiter.hit(item, principal.name)
        left = self._limiter.get_window_stats(item, principal.name)
        rest_s = min(WINDOW_S, max(1, ceil(left.reset_time - time.time())))
        headers = {
            "ratelimit-policy": f'"{POLICY}";q={principal.requests_per_minute};w={WINDOW_S}',
            "ratelimit": f'"{POLICY}";r={left.remaining};t={rest_s}',
        }
        if granted:
            return headers
        raise Problem(
            429,
            "quota-exceeded",
            f"{principal.name} may make {principal.requests_per_minute} requests a minute.",
            headers=headers | {"retry-after": str(rest_s)},
            **{"violated-policies": [POLICY]},
        )
