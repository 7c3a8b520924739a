"""What operators want of a sink: kept in the journal under `sink`, written by requests, read by the delivery loop."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Switches:
    """The switches of one sink."""

    paused: bool = False
    why: str = ""  # of the pause
    since: datetime | None = None  # of the pause
    force: Literal["open", "closed"] | None = None  # of the breaker
    resumed_at: datetime | None = None  # a receiver that was gone before is tried again

    @classmethod
    def load(cls, kept: Mapping[str, Any] | None) -> "Switches":
        """From the journal's value; None is the state of a sink nobody touched."""
        if not kept:
            return cls()
        return cls(
            paused=bool(kept.get("paused")),
            why=str(kept.get("why", "")),
            since=_moment(kept.get("since")),
            force=kept.get("force"),
            resumed_at=_moment(kept.get("resumed_at")),
        )

    def dump(self) -> dict[str, Any]:
        """The journal's value."""
        return {
            "paused": self.paused,
            "why": self.why,
            "since": self.since.isoformat() if self.since else None,
            "force": self.force,
            "resumed_at": self.resumed_at.isoformat() if self.resumed_at else None,
        }


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
