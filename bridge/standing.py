"""Where every subscriber stands, by the journal: for commands, pages and alarms; right without a daemon too."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from bridge.access import principals, reader_of
from bridge.config.models import Config
from bridge.parcel import Progress
from bridge.ports import Journal, StreamExtent


def standings(journal: Journal, config: Config) -> list[dict[str, Any]]:
    """One mapping a sink, JSON-able but for times.

    Keys: sink, kind, streams (by name: cursor, pending, behind, last), behind (events not yet read for it, over its
    streams), pending (besides, those that failed or wait behind one), paused, why, breaker (state, since, why, forced),
    gone (since, why; or None), dead_letters (open), replays.
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


def readers_of(config: Config) -> dict[str, tuple[str, ...]]:
    """The streams that each principal sees."""
    found = principals(config.principals)
    return {name: tuple(filter(principal.sees, config.streams)) for name, principal in found.items()}


def cursors(journal: Journal, config: Config) -> list[dict[str, Any]]:
    """The named cursors of principals, one mapping for each stream of each.

    Keys: principal, name, stream, after (all up to there is acknowledged), last (the stream's newest event), is_left
    (the principal, or the stream for it, is gone; retention waits all the same).
    """
    readers, extents = readers_of(config), journal.extents()
    return [
        {
            "principal": reader[0],
            "name": reader[1],
            "stream": stream,
            "after": progress.cursor,
            "last": extents[stream].last if stream in extents else 0,
            "is_left": stream not in readers.get(reader[0], ()),
        }
        for subscriber, reached in sorted(journal.subscribers().items())
        if (reader := reader_of(subscriber)) is not None
        for stream, progress in sorted(reached.items())
    ]


def left_behind(
    held: Mapping[str, Mapping[str, Progress]],
    *,
    sinks: Mapping[str, Collection[str]],
    readers: Mapping[str, Collection[str]],
) -> dict[str, tuple[str, str]]:
    """Cursors that nobody moves any more: what health says of them and what a person should do, by component.

    Args:
        held: every subscriber and how far it is.
        sinks: the streams of each sink that is configured.
        readers: those that each principal sees.
    """
    found = {}
    for subscriber, reached in held.items():
        reader = reader_of(subscriber)
        if reader is None and ":" in subscriber:
            continue  # neither a sink nor a principal's
        owner, declared = (subscriber, sinks) if reader is None else (reader[0], readers)
        lost = sorted(reached.keys() - declared.get(owner, ()))
        if not lost:
            continue
        gets = "is sent" if reader is None else "sees"
        what = (
            f"{owner} is configured no more" if owner not in declared else f"{owner} {gets} {', '.join(lost)} no more"
        )
        name = owner if reader is None else "/".join(reader)
        forget = f"sink forget {owner}" if reader is None else f"cursor forget {' '.join(reader)}"
        action = f"Configure it again, or run `legacy-bridge {forget}`."
        found[f"cursor:{name}"] = f"{what}, and retention waits for it", action
    return found


def _stream(reached: Progress | None, extent: StreamExtent | None) -> dict[str, Any]:
    last = extent.last if extent else 0
    progress = reached or Progress()
    pending = sum(end - start + 1 for start, end in progress.pending)
    return {
        "cursor": progress.cursor,
        "pending": pending,
        "behind": max(0, last - progress.cursor),
        "last": last,
    }


def _breaker(dumped: Mapping[str, Any] | None, forced: str | None) -> dict[str, Any]:
    if dumped is None:
        return {"state": forced or "closed", "since": None, "why": "", "forced": forced}
    return {"state": dumped["state"], "since": dumped["since"], "why": dumped["why"], "forced": forced}


def _replays(sink: str, jobs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    names = ("stream", "first", "last", "cursor", "actor")
    return [{name: job.get(name) for name in names} for job in jobs if job["sink"] == sink]
