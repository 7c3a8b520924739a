"""Where every sink stands, from what the journal holds: for commands, pages and alarms; right without a daemon too."""

from collections.abc import Iterable, Mapping
from typing import Any

from bridge.config.models import Config
from bridge.parcel import Progress
from bridge.ports import Journal, StreamExtent


def standings(journal: Journal, config: Config) -> list[dict[str, Any]]:
    """One mapping a sink, JSON-able but for times.

    Keys: sink, kind, streams (by name: cursor, pending, behind, last), behind (events in all, pending ones included),
    pending (those that failed or wait behind one), paused, why, breaker (state, since, why, forced), gone (since, why;
    or None), dead_letters (open), replays.
    """
    reached, extents = journal.subscribers(), journal.extents()
    switches, loops, replays = journal.kept("sink"), journal.kept("delivery"), journal.kept("replay")
    letters = journal.undelivered_counts()
    found = []
    for name, declared in config.sinks.items():
        streams = {
            stream: _stream(reached.get(name, {}).get(stream), extents.get(stream))
            for stream in config.streams_for(declared.streams)
        }
        loop, switch = loops.get(name, {}), switches.get(name, {})
        found.append(
            {
                "sink": name,
                "kind": declared.kind,
                "streams": streams,
                "behind": sum(stream["behind"] for stream in streams.values()),
                "pending": sum(stream["pending"] for stream in streams.values()),
                "paused": bool(switch.get("paused")),
                "why": switch.get("why", ""),
                "breaker": _breaker(loop.get("breaker"), switch.get("force")),
                "gone": loop.get("gone"),
                "dead_letters": letters.get(name, 0),
                "replays": _replays(name, replays.values()),
            }
        )
    return found


def state_of(standing: Mapping[str, Any]) -> str:
    """One word for people: gone, paused, breaker open, waiting or ok."""
    if standing["gone"]:
        return "gone"
    if standing["paused"]:
        return "paused"
    if standing["breaker"]["state"] != "closed":
        return "breaker open"
    return "waiting" if standing["pending"] else "ok"


def _stream(reached: Progress | None, extent: StreamExtent | None) -> dict[str, Any]:
    last = extent.last if extent else 0
    progress = reached or Progress()
    pending = sum(end - start + 1 for start, end in progress.pending)
    return {
        "cursor": progress.cursor,
        "pending": pending,
        "behind": max(0, last - progress.cursor) + pending,
        "last": last,
    }


def _breaker(dumped: Mapping[str, Any] | None, forced: str | None) -> dict[str, Any]:
    if dumped is None:
        return {"state": forced or "closed", "since": None, "why": "", "forced": forced}
    return {"state": dumped["state"], "since": dumped["since"], "why": dumped["why"], "forced": forced}


def _replays(sink: str, jobs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    names = ("stream", "first", "last", "cursor", "actor")
    return [{name: job.get(name) for name in names} for job in jobs if job["sink"] == sink]
