"""What taking files is told, what it remembers, and what its steps are. Values only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from bridge.model import Window
from bridge.sources.file.pickup import Pickup

Known = Callable[[Sequence[str]], set[str]]  # those of the ids that are journalled and remembered
Outcome = Literal["taken", "duplicate", "refused"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How files are taken."""

    patterns: Mapping[str, str]  # of file names, by stream
    spool: Path  # folder of our copies
    settle_s: float = 10.0
    done: str | None = None
    by_time: bool = False
    after: Literal["archive", "delete", "leave"] = "archive"
    archive: str = "archive"
    refuses_same_name: bool = False
    remember: timedelta = timedelta(days=400)
    poll_s: float = 5.0
    limit_bytes: int = 100 * 10**9
    stops_when_lost: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """A step without a window."""

    until_told: bool  # nothing can be done before the folder or the journal changes
    name: str


BUSY = Pause(until_told=False, name="busy")  # a part of something was done
IDLE = Pause(until_told=True, name="idle")  # the folder holds nothing to take
HELD = Pause(until_told=True, name="held")  # the journal does not hold the file yet
Step = Window | Pause


@dataclass(slots=True)
class Memory:
    """What is remembered for as long as the process lives."""

    pickup: Pickup
    refused: dict[str, str] = field(default_factory=dict)  # why, by name
    growing: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, settings: Settings) -> "Memory":
        """A fresh one."""
        return cls(Pickup(settings.patterns, settings.settle_s, done=settings.done, by_time=settings.by_time))
