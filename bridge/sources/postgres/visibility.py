"""Which transactions a snapshot of the server includes.

Source: PostgreSQL manual, "Transaction ID and Snapshot Information Functions".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Visibility:
    """Which transactions a snapshot includes."""

    xmin: int  # every transaction below has ended
    xmax: int  # none from here on had ended
    running: frozenset[int]  # in between, the ones that had not

    @classmethod
    def parse(cls, text: str) -> "Visibility":
        """The form of pg_current_snapshot(): `xmin:xmax:xip,xip`, 64-bit transaction ids."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(int(xid) for xid in running.split(",") if xid))

    def sees(self, xids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether each transaction is included, given the 32-bit ids the replication stream carries."""
        distance = (xids.astype(np.int64) - self.xmax + (1 << 31)) % (1 << 32) - (1 << 31)
        full = self.xmax + distance  # the 64-bit id nearest to xmax
        return (full < self.xmin) | ((full < self.xmax) & ~np.isin(full, list(self.running)))
