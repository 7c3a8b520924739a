"""The rolling validity level of a stream: how many of the rows judged lately were rejected, against the contract."""

from dataclasses import dataclass
from datetime import datetime

from bridge.contract.terms import ValidityLevel


@dataclass(frozen=True, slots=True)
class Level:
    """Where a stream stands against its validity level."""

    ok: bool
    since: datetime  # of the present state
    valid: int  # rows within the window
    rejected: int

    @property
    def error_percent(self) -> float:
        """Rejected rows as a percentage of those judged; 0 when none were."""
        judged = self.valid + self.rejected
        return 100 * self.rejected / judged if judged else 0.0


def judge(target: ValidityLevel, counts: tuple[int, int], *, now: datetime, before: Level | None = None) -> Level:
    """The level now.

    Args:
        target: what the contract promises.
        counts: rows valid and rejected within the target's window up to `now`.
        now: aware UTC.
        before: the level judged last, whose `since` stays while the state does.
    """
    valid, rejected = counts
    ok = 100 * rejected <= target.error_percent * (valid + rejected)
    since = before.since if before is not None and before.ok == ok else now
    return Level(ok, since, valid, rejected)
