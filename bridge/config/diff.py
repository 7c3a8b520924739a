"""What a reload would change, and whether it may change while the daemon runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from bridge.config import keys
from bridge.config.models import Config


@dataclass(frozen=True, slots=True)
class Change:
    """One key, or one whole system or stream, that differs. Carries no values: some are secrets."""

    key: str  # "streams.orders.on_reject", or "streams.orders" when added or removed
    what: Literal["added", "removed", "changed"]
    live: bool  # may be applied without a restart


def diff(old: Config, new: Config) -> list[Change]:
    """The changes from `old` to `new`, sorted by key; empty when nothing differs.

    A reload applies all of them or none: when any is not live, the running configuration stays.
    """
    before, after = dict(_values(old)), dict(_values(new))
    changes = []
    for path in sorted(before.keys() | after.keys()):
        if before.get(path, _NOTHING) == after.get(path, _NOTHING):
            continue
        if path[:2] != path and path[:2] in (before.keys() ^ after.keys()):
            continue  # said once, by its system or stream
        what: Literal["added", "removed", "changed"] = (
            "added" if path not in before else "removed" if path not in after else "changed"
        )
        key = keys.at(path)
        if key is None and path[:2] != path:
            continue  # a section that is given or not: its keys say so
        changes.append(Change(".".join(path), what, live=key is not None and key.live))
    return changes


_NOTHING = object()


def _values(config: Config) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value by its path, and a marker for each system and stream."""
    yield from _flat(config.bridge.model_dump(), ("bridge",))
    yield from _flat(config.alarms.model_dump(), ("alarms",))
    sections: dict[str, Mapping[str, BaseModel]] = {
        "systems": config.systems,
        "streams": config.streams,
        "sinks": config.sinks,
        "principals": config.principals,
    }
    for section, parts in sections.items():
        for name, part in parts.items():
            yield (section, name), True
            yield from _flat(part.model_dump(), (section, name))


def _flat(node: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in node.items():
        if isinstance(value, dict) and keys.at((*path, key)) is None:
            yield from _flat(value, (*path, key))
        else:
            yield (*path, key), value
