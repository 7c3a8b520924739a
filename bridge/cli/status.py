"""`legacy-bridge status`: what is journalled, what is not and why, and how the daemon says it is.

The figures come from the journal, so they are right with or without a daemon; only the health part asks the daemon.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.daemon import DaemonUnreachable, fetch
from bridge.cli.session import session
from bridge.cli.show import moment_of, note, on_terminal, say, say_json, span, table
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.config.models import Config, StreamConfig
    from bridge.contract.terms import ValidityLevel
    from bridge.halt import Halt
    from bridge.model import StreamState
    from bridge.ports import Journal, StreamExtent

DEFAULT_WINDOW_S = 24 * 3600  # of the share of valid rows, where the contract states no level
NO_TARGETS: Mapping[str, "ValidityLevel"] = MappingProxyType({})
REFRESH_S = 1.0


def status(
    context: typer.Context,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again every second, until interrupted.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False,
) -> None:
    """Show every stream and system.

    Phase, events, lag, dead letters, parked rows and validity of each stream; position and re-reads of each source;
    what the daemon says is not well, since when, and what to do.
    """
    opened = session(context)
    config = opened.config()
    targets = validity_targets(config)
    with opened.journal(config) as journal:
        while True:
            report = overview(journal, config, now=datetime.now(UTC), targets=targets)
            report["daemon"] = _daemon(config)
            _date_breaches(report)
            if watch and on_terminal():
                typer.echo("\x1b[H\x1b[2J", nl=False)  # cursor home, clear
            if as_json:
                say_json(report)
            else:
                _print(report)
            if not watch:
                return
            time.sleep(REFRESH_S)


def validity_targets(config: "Config") -> dict[str, "ValidityLevel"]:
    """The validity level that each stream's contract states; a contract that cannot be read states none here."""
    from bridge.contract.document import load

    targets = {}
    for name, declared in config.streams.items():
        with suppress(ConfigError):
            level = load(declared.contract).validity
            if level is not None:
                targets[name] = level
    return targets


def overview(
    journal: "Journal", config: "Config", *, now: datetime, targets: Mapping[str, "ValidityLevel"] = NO_TARGETS
) -> dict[str, Any]:
    """What the journal knows of each configured stream and system."""
    from bridge.halt import halts

    extents, states = journal.extents(), journal.stream_states()
    letters, parked, paused = journal.letter_counts(), journal.parked_counts(), halts(journal)
    streams = []
    for name, declared in config.streams.items():
        streams.append(
            {
                "stream": name,
                "system": declared.system,
                **_standing(states.get(name), extents.get(name)),
                "dead_letters": letters.get(name, 0),
                "parked": parked.get(name, 0),
                "validity": _validity(journal, name, target=targets.get(name), now=now),
                **_runs(journal, config, name, now=now),
            }
        )
    return {
        "at": now,
        "instance": config.bridge.name,
        "journal": str(config.bridge.journal.sqlite),
        "streams": streams,
        "sources": [
            _source(journal, name, streams, paused.get(system))
            for system in config.systems
            for name, streams in config.sources_of(system).items()
        ],
    }


def _standing(state: "StreamState | None", extent: "StreamExtent | None") -> dict[str, Any]:
    """The phase of a stream and what is journalled of it; None of either before its first row."""
    return {
        "phase": str(state.phase) if state else "running",
        "since": state.since if state else None,
        "why": state.why if state else "",
        "events": extent.last if extent else 0,
        "bytes": extent.bytes if extent else 0,
        "last_event_at": extent.last_commit_at if extent else None,
        "last_journalled_at": extent.last_journalled_at if extent else None,
        "lag_s": _lag_s(extent),
    }


def _runs(journal: "Journal", config: "Config", stream: str, *, now: datetime) -> dict[str, Any]:
    """The last run of a polled stream and when the next one is to begin; None where there is none."""
    declared = config.streams[stream]
    if not declared.has_runs:
        return {"last_run": None, "next_run_at": None}
    from bridge.extraction.declared import plans_of
    from bridge.extraction.runs import RECENT
    from bridge.extraction.timetable import Timetable

    runs = journal.runs(stream=stream, limit=RECENT)
    last = next((run for run in runs if run.state != "skipped"), None)
    memory = journal.position(last.source)[1].get("timetable") if last else None
    plans = plans_of(config, declared.system, [stream])
    timetable = Timetable(plans, source=declared.system, number=lambda: 0, now=now, memory=memory)
    return {
        "last_run": last
        and {"number": last.number, "state": last.state, "started_at": last.started_at, "ended_at": last.ended_at},
        "next_run_at": timetable.next_at(now),
    }


def _validity(journal: "Journal", stream: str, *, target: "ValidityLevel | None", now: datetime) -> dict[str, Any]:
    """How many rows judged lately were valid, and whether that is what the contract promises."""
    window_s = target.window_s if target else DEFAULT_WINDOW_S
    valid, rejected = journal.validity(stream, since=now - timedelta(seconds=window_s))
    ratio = valid / (valid + rejected) if valid + rejected else None
    kept = target is None or 100 * rejected <= target.error_percent * (valid + rejected)
    return {
        "level": None if target is None else "ok" if kept else "breached",
        "since": None,
        "target": None if target is None else 1 - target.error_percent / 100,
        "valid": valid,
        "rejected": rejected,
        "ratio": ratio,
        "window_s": window_s,
    }


def _date_breaches(report: dict[str, Any]) -> None:
    """Since when a level is breached: the daemon watches it, so it is the one that knows."""
    checks = report["daemon"].get("checks", {})
    for stream in report["streams"]:
        if stream["validity"]["level"] == "breached":
            stream["validity"]["since"] = checks.get(f"stream:{stream['stream']}", {}).get("since")


def _source(
    journal: "Journal", name: str, streams: "Mapping[str, StreamConfig]", halt: "Halt | None"
) -> dict[str, Any]:
    position, state = journal.position(name)
    return {
        "source": name,
        "ways": sorted({stream.way for stream in streams.values()}),
        "paused": halt.why if halt else None,
        "epoch": position.epoch if position else None,
        "position": list(position.at) if position else None,
        "slot": state.get("slot"),
        "snapshots": dict(state.get("snapshots", {})),
    }


def _lag_s(extent: "StreamExtent | None") -> float | None:
    """How long the newest event took from its commit at the source into the journal."""
    if extent is None or extent.last_commit_at is None or extent.last_journalled_at is None:
        return None
    return max(0.0, (extent.last_journalled_at - extent.last_commit_at).total_seconds())


def _daemon(config: "Config") -> dict[str, Any]:
    """The daemon's own health report, or that there is none."""
    try:
        answer = fetch(config, "/health")
    except DaemonUnreachable as error:
        return {"reachable": False, "detail": error.detail}
    return {"reachable": True, **answer.report}


def _print(report: Mapping[str, Any]) -> None:
    headings = ["stream", "phase", "events", "last event", "lag", "dead", "parked", "valid", "level", "why"]
    table(headings, [_stream_row(stream) for stream in report["streams"]])
    polled = [stream for stream in report["streams"] if stream["last_run"] or stream["next_run_at"]]
    if polled:
        say()
        table(["polled stream", "last run", "began", "state", "next run"], [_run_row(stream) for stream in polled])
    say()
    table(["source", "epoch", "position", "re-reads", "paused"], [_source_row(source) for source in report["sources"]])
    say()
    daemon = report["daemon"]
    if not daemon["reachable"]:
        note(f"daemon: not reachable ({daemon['detail']}); the figures above are the journal's")
        return
    say(f"daemon: {daemon.get('status', 'unknown')}")
    ailing = {name: check for name, check in daemon.get("checks", {}).items() if check.get("status") != "pass"}
    if ailing:
        rows = [
            (name, check.get("status"), moment_of(check.get("since")), check.get("what"), check.get("action"))
            for name, check in ailing.items()
        ]
        table(["check", "status", "since", "what", "what to do"], rows)


def _stream_row(stream: Mapping[str, Any]) -> tuple[object, ...]:
    validity, lag_s = stream["validity"], stream["lag_s"]
    ratio, since = validity["ratio"], validity["since"]
    return (
        stream["stream"],
        stream["phase"],
        stream["events"],
        stream["last_event_at"],
        None if lag_s is None else span(lag_s),
        stream["dead_letters"],
        stream["parked"],
        None if ratio is None else f"{ratio:.3%}",
        validity["level"] and validity["level"] + (f" since {moment_of(since)}" if since else ""),
        stream["why"],
    )


def _run_row(stream: Mapping[str, Any]) -> tuple[object, ...]:
    last = stream["last_run"] or {}
    return stream["stream"], last.get("number"), last.get("started_at"), last.get("state"), stream["next_run_at"]


def _source_row(source: Mapping[str, Any]) -> tuple[object, ...]:
    rereads = [
        f"{stream} {state.get('phase')} {state.get('rows', 0)}/{state.get('of') or '?'}"
        for stream, state in source["snapshots"].items()
        if state.get("phase") != "done"
    ]
    from bridge.sources.postgres import lsn

    shown = source["position"] and "/".join(map(str, source["position"]))
    if shown and source["ways"] == ["log"]:
        shown = lsn.text(source["position"][0])
    return source["source"], source["epoch"], shown, ", ".join(rereads), source["paused"]
