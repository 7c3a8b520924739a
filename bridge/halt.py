"""The kill switch of a legacy system: no read of any kind until somebody resumes it, over restarts.

What is paused stands in the journal, with its audit entry in the same transaction; sources that run are told at once,
close their sessions and say when they are at rest.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from bridge.config.models import Config
from bridge.errors import Declined
from bridge.model import AuditEntry
from bridge.ports import Journal, Request

_TEXT_LIMIT = 500


class Halting(Protocol):
    """Something that reads a system and can be stopped; callable from any thread."""

    def halt(self, why: str) -> None:
        """Stop reading within a second and leave nothing behind; returns at once."""

    def release(self) -> None:
        """Read again."""

    @property
    def rests(self) -> bool:
        """Whether nothing is open on the system any more."""


@dataclass(frozen=True, slots=True)
class Halt:
    """A system that is paused."""

    since: datetime
    by: str
    reason: str = ""
    request: int = 0  # that paused it

    @property
    def why(self) -> str:
        """In words."""
        at = self.since.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        return f"paused by {self.by} since {at}" + (f": {self.reason}" if self.reason else "")

    def dump(self) -> dict[str, Any]:
        """JSON-able, for the journal."""
        return {"since": self.since.isoformat(), "by": self.by, "reason": self.reason, "request": self.request}


def halts(journal: Journal) -> dict[str, Halt]:
    """The systems that are paused, by name."""
    return {
        system: Halt(datetime.fromisoformat(held["since"]), held["by"], held["reason"], held["request"])
        for system, held in journal.kept("system").items()
    }


def require_running(journal: Journal, system: str) -> None:
    """For whoever reads a system beside the daemon. Raises: Declined where it is paused."""
    held = halts(journal).get(system)
    if held is not None:
        raise Declined(
            f"system {system} is {held.why}", hint=f"`legacy-bridge system resume {system}` lets it be read."
        )


def standings(journal: Journal, config: Config) -> list[dict[str, Any]]:
    """One mapping a configured system: system, kind, streams, paused, since, by, reason, left (see `left`)."""
    paused = halts(journal)
    return [
        {
            "system": name,
            "kind": declared.kind,
            "streams": list(config.streams_of(name)),
            "paused": name in paused,
            "since": paused[name].since if name in paused else None,
            "by": paused[name].by if name in paused else "",
            "reason": paused[name].reason if name in paused else "",
            "left": left(config, name),
        }
        for name, declared in config.systems.items()
    ]


def left(config: Config, system: str) -> str:
    """What stays on a system while it is paused, and what that costs; empty: nothing."""
    postgres = config.systems[system].postgres
    if postgres is None or not config.streams_of(system, "log"):
        return ""
    limit = config.systems[system].budget.slot_gigabytes
    return (
        f"replication slot {postgres.slot} stays: the server keeps its change log for us meanwhile, and nobody watches"
        f" that it stays below {limit:g} GB"
    )


def perform(
    journal: Journal, systems: Mapping[str, Sequence[Halting]], request: Request, *, now: datetime
) -> dict[str, Any]:
    """Pause or resume a system; whoever reads it is told, and may not be at rest yet.

    Args:
        journal: where it is kept.
        systems: what reads each configured system now.
        request: system.pause or system.resume, with `system` and perhaps `reason`.
        now: the time.
    Raises: Declined.
    """
    system = str(request.args.get("system"))
    held = halts(journal).get(system)
    reason = str(request.args.get("reason") or "").strip()[:_TEXT_LIMIT]
    if request.kind == "system.resume":
        if held is None:
            raise Declined(f"system {system!r} is not paused", hint="See `legacy-bridge system list`.")
        journal.keep("system", {system: None}, audit=(AuditEntry(request.actor, request.kind, system, reason),))
        for one in systems.get(system, ()):
            one.release()
        return {"system": system, "paused": False}
    if system not in systems:
        raise Declined(f"there is no system {system!r}", hint=f"The systems are: {', '.join(sorted(systems))}.")
    if held is not None and held.request != request.id:
        raise Declined(f"system {system} is {held.why}", hint=f"`legacy-bridge system resume {system}` lets it go on.")
    halt = held or Halt(now, request.actor, reason, request.id)
    if held is None:
        entry = AuditEntry(request.actor, request.kind, system, reason)
        journal.keep("system", {system: halt.dump()}, audit=(entry,))
    for one in systems[system]:
        one.halt(halt.why)
    return {"system": system, "paused": True}


def at_rest(readers: Iterable[Halting]) -> bool:
    """Whether all of them have nothing open on their system."""
    return all(one.rests for one in readers)
