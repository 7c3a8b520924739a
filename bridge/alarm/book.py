"""What is kept of alarms in the journal: alarms by id, and notices that an outlet still owes. One commit for both.

Kept under `alarm`, written by the daemon's alarm loop only. What operators decide is beside it: `acknowledgement`,
`silence` and `maintenance`, written by `bridge.hush`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import structlog

from bridge.alarm.machine import Acknowledgement, Alarm, Notice
from bridge.alarm.memory import Memory
from bridge.alarm.quiet import Quiet
from bridge.ports import Journal

KIND = "alarm"
_MEMORY = "memory"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Owed:
    """A notice that one outlet has not taken yet."""

    outlet: str
    notice: Notice

    @property
    def name(self) -> str:
        """Under which it is kept; in order of time for one outlet."""
        return f"owed/{self.outlet}/{self.notice.at.isoformat()}/{self.notice.id}"


class Book:
    """Alarms and owed notices, and what of them is not stored yet; for one thread."""

    def __init__(self, kept: Mapping[str, Mapping[str, Any]], *, minutes: int = 60) -> None:
        """Open what the journal keeps under `KIND`; memory spans so many minutes of calls."""
        self.alarms: dict[str, Alarm] = {}
        self.owed: dict[str, Owed] = {}  # by name
        for name, value in sorted(kept.items()):
            try:
                if name.startswith("alarm/"):
                    self.alarms[name.removeprefix("alarm/")] = msgspec.convert(value, Alarm)
                elif name.startswith("owed/"):
                    self.owed[name] = msgspec.convert(value, Owed)
            except msgspec.ValidationError as error:  # of another version; what is wrong still will be found again
                _log.warning("alarm.forgotten", name=name, error=error)
        self.memory = Memory.recall(kept.get(_MEMORY, {}), minutes=minutes)
        self._unsaved: dict[str, Mapping[str, Any] | None] = {}

    def take(self, alarms: Mapping[str, Alarm], owed: Iterable[Owed]) -> None:
        """The alarms as they are now, and notices to be delivered."""
        for number in self.alarms.keys() - alarms.keys():
            self._unsaved[f"alarm/{number}"] = None
        for number, alarm in alarms.items():
            if self.alarms.get(number) != alarm:
                self._unsaved[f"alarm/{number}"] = msgspec.to_builtins(alarm)
        self.alarms = dict(alarms)
        for one in owed:
            self.owed[one.name] = one
            self._unsaved[one.name] = msgspec.to_builtins(one)

    def strike(self, one: Owed) -> None:
        """The outlet has taken it."""
        self.owed.pop(one.name, None)
        self._unsaved[one.name] = None

    def remember(self) -> None:
        """Store the memory, too, with what is stored next."""
        self._unsaved[_MEMORY] = self.memory.document()

    def first_owed(self, outlet: str) -> Owed | None:
        """What the outlet is to be told next."""
        return next((self.owed[name] for name in sorted(self.owed) if self.owed[name].outlet == outlet), None)

    def unsaved(self) -> dict[str, Mapping[str, Any] | None]:
        """What the journal does not hold yet, for `Journal.keep`; `put_back` it when that failed."""
        taken, self._unsaved = self._unsaved, {}
        return taken

    def put_back(self, values: Mapping[str, Mapping[str, Any] | None]) -> None:
        """It could not be stored; newer values win."""
        self._unsaved = {**values, **self._unsaved}


def quiets(journal: Journal) -> dict[str, tuple[str, Quiet]]:
    """Silences and maintenance windows that operators set, by id, each with its kind."""
    return {
        number: (kind, msgspec.convert(value, Quiet))
        for kind in ("silence", "maintenance")
        for number, value in journal.kept(kind).items()
    }


def acknowledgements(journal: Journal) -> dict[str, Acknowledgement]:
    """What operators acknowledged, by alarm id."""
    kept = journal.kept("acknowledgement")
    return {number: msgspec.convert(value, Acknowledgement) for number, value in kept.items()}


def alarms(journal: Journal) -> dict[str, Alarm]:
    """The alarms as the loop kept them last, with acknowledgements that it has not seen yet."""
    acks = acknowledgements(journal)
    found = Book(journal.kept(KIND)).alarms
    return {
        number: replace(alarm, acknowledged=alarm.acknowledged or acks.get(number)) for number, alarm in found.items()
    }
