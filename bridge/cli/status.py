"""`legacy-bridge status`: what is journalled, what is not and why, and how the daemon says it is.

The figures come from the journal, so they are right with or without a daemon; only the health part asks the daemon.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.daemon import DaemonUnreachable, fetch
from bridge.cli.session import session
from bridge.cli.show import note, on_terminal, say, say_json, span, table

if TYPE_CHECKING:
    from bridge.config.models import Config
    from bridge.ports import Journal, StreamExtent

VALIDITY_WINDOW = timedelta(hours=24)
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

    Phase, events, lag, dead letters, parked rows and validity of each stream; position and re-reads of each system;
    what the daemon says is not well, since when, and what to do.
    """
    opened = session(context)
    config = opened.config()
    with opened.journal(config) as journal:
        while True:
            report = overview(journal, config, now=datetime.now(UTC)) | {"daemon": _daemon(config)}
            if watch and on_terminal():
                typer.echo("\x1b[H\x1b[2J", nl=False)  # cursor home, clear
            if as_json:
                say_json(report)
            else:
                _print(report)
            if not watch:
                return
            time.sleep(REFRESH_S)


def overview(journal: "Journal", config: "Config", *, now: datetime) -> dict[str, Any]:
    """What the journal knows of each configured stream and system."""
    extents, states = journal.extents(), journal.stream_states()
    letters, parked = journal.letter_counts(), journal.parked_counts()
    streams = []
    for name, declared in config.streams.items():
        state, extent = states.get(name), extents.get(name)
        valid, rejected = journal.validity(name, since=now - VALIDITY_WINDOW)
        streams.append(
            {
                "stream": name,
                "system": declared.system,
                "phase": str(state.phase) if state else "running",
                "since": state.since if state else None,
                "why": state.why if state else "",
                "events": extent.last if extent else 0,
                "bytes": extent.bytes if extent else 0,
                "last_event_at": extent.last_commit_at if extent else None,
                "last_journalled_at": extent.last_journalled_at if extent else None,
                "lag_s": _lag_s(extent),
                "dead_letters": letters.get(name, 0),
                "parked": parked.get(name, 0),
                "validity": {
                    "valid": valid,
                    "rejected": rejected,
                    "ratio": valid / (valid + rejected) if valid + rejected else None,
                    "window_s": int(VALIDITY_WINDOW.total_seconds()),
                },
            }
        )
    return {
        "at": now,
        "instance": config.bridge.name,
        "journal": str(config.bridge.journal.sqlite),
        "streams": streams,
        "systems": [_system(journal, name) for name in config.systems],
    }


def _system(journal: "Journal", name: str) -> dict[str, Any]:
    position, state = journal.position(name)
    return {
        "system": name,
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
    headings = ["stream", "phase", "events", "last event", "lag", "dead", "parked", "valid", "why"]
    table(headings, [_stream_row(stream) for stream in report["streams"]])
    say()
    table(["system", "epoch", "position", "re-reads"], [_system_row(system) for system in report["systems"]])
    say()
    daemon = report["daemon"]
    if not daemon["reachable"]:
        note(f"daemon: not reachable ({daemon['detail']}); the figures above are the journal's")
        return
    say(f"daemon: {daemon.get('status', 'unknown')}")
    ailing = {name: check for name, check in daemon.get("checks", {}).items() if check.get("status") != "pass"}
    if ailing:
        rows = [
            (name, check.get("status"), check.get("since"), check.get("what"), check.get("action"))
            for name, check in ailing.items()
        ]
        table(["check", "status", "since", "what", "what to do"], rows)


def _stream_row(stream: Mapping[str, Any]) -> tuple[object, ...]:
    ratio, lag_s = stream["validity"]["ratio"], stream["lag_s"]
    return (
        stream["stream"],
        stream["phase"],
        stream["events"],
        stream["last_event_at"],
        None if lag_s is None else span(lag_s),
        stream["dead_letters"],
        stream["parked"],
        None if ratio is None else f"{ratio:.3%}",
        stream["why"],
    )


def _system_row(system: Mapping[str, Any]) -> tuple[object, ...]:
    rereads = [
        f"{stream} {state.get('phase')} {state.get('rows', 0)}/{state.get('of') or '?'}"
        for stream, state in system["snapshots"].items()
        if state.get("phase") != "done"
    ]
    position = system["position"]
    shown = None if position is None else f"{position[0] >> 32:X}/{position[0] & 0xFFFFFFFF:X}"
    return system["system"], system["epoch"], shown, ", ".join(rereads)
