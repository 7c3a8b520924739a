"""What is not well: since when, what, what it blocks, and what to do about it.

Loops report here by component ("source:erp", "stream:orders", "journal"); the health page and `status` read. Pure
bookkeeping behind a lock: no I/O, the clock is an argument.
"""

import threading
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from bridge.config.secrets import redact

Level = Literal["warn", "fail"]


@dataclass(frozen=True, slots=True)
class Ailment:
    """One component that is not well."""

    component: str
    since: datetime  # when it began, however often it was reported since
    what: str  # what is wrong; no row values
    action: str  # what a person should do
    blocks: tuple[str, ...] = ()  # streams that stand still because of it
    level: Level = "fail"  # warn: works, but look at it


class HealthBoard:
    """The state of every component; callable from any thread."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._states: dict[str, Ailment | None] = {}

    def fail(
        self, component: str, what: str, action: str, *, blocks: tuple[str, ...] = (), level: Level = "fail"
    ) -> None:
        """Report that a component is not well; repeated reports keep the time of the first."""
        new = Ailment(component, self._now(), redact(what), redact(action), blocks, level)
        with self._lock:
            old = self._states.get(component)
            self._states[component] = new if old is None else replace(new, since=old.since)

    def ok(self, component: str) -> None:
        """Report that a component is well (again)."""
        with self._lock:
            self._states[component] = None

    def forget(self, component: str) -> None:
        """Stop listing a component that no longer exists."""
        with self._lock:
            self._states.pop(component, None)

    def keep(self, names: Container[str]) -> None:
        """Forget the components of streams and systems (`kind:name`) that are not among `names`."""
        with self._lock:
            for component in list(self._states):
                _, has_name, name = component.partition(":")
                if has_name and name not in names:
                    del self._states[component]

    def unheard(self, components: Iterable[str]) -> frozenset[str]:
        """Those of which nobody has reported yet, be it good or bad."""
        with self._lock:
            return frozenset(components) - self._states.keys()

    def ailments(self) -> list[Ailment]:
        """What is not well, the worst and oldest first."""
        with self._lock:
            found = [ailment for ailment in self._states.values() if ailment is not None]
        return sorted(found, key=lambda ailment: (ailment.level != "fail", ailment.since, ailment.component))

    def report(self) -> dict[str, Any]:
        """The body of the health page: `status` is the worst of `checks`, which has an entry for each component.

        Source: draft-inadarei-api-health-check, with `since`, `what`, `action` and `blocks` in place of its numbers.
        """
        with self._lock:
            states = sorted(self._states.items())
        checks = {component: _entry(ailment) for component, ailment in states}
        found = {check["status"] for check in checks.values()}
        return {"status": next((level for level in ("fail", "warn") if level in found), "pass"), "checks": checks}


def _entry(ailment: Ailment | None) -> dict[str, Any]:
    if ailment is None:
        return {"status": "pass"}
    return {
        "status": ailment.level,
        "since": ailment.since.isoformat(),
        "what": ailment.what,
        "action": ailment.action,
        "blocks": list(ailment.blocks),
    }
