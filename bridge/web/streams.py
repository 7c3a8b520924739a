"""Streams and their sources: how they stand, pause, resume, re-read; health as far as it is the principal's."""

from datetime import datetime
from typing import Any

import msgspec

from bridge.model import system_of
from bridge.web.desk import ask, petition
from bridge.web.endpoint import Answered, Call, Endpoint, Handler, stream_parameter
from bridge.web.problems import Problem


class Stream(msgspec.Struct, frozen=True):
    """A stream as it stands."""

    name: str
    system: str
    contract: str
    version: str
    phase: str  # running, paused or drift
    since: datetime | None
    why: str
    first: int  # oldest event that is kept
    last: int  # newest event; 0 before the first
    bytes: int
    last_commit_at: datetime | None
    last_journalled_at: datetime | None
    dead_letters: int
    parked: int


class Streams(msgspec.Struct, frozen=True):
    """The streams of a principal."""

    streams: list[Stream]


class Run(msgspec.Struct, frozen=True):
    """A re-read of a table."""

    stream: str
    number: int
    phase: str
    rows: int
    of: int | None  # rows that are expected


class Source(msgspec.Struct, frozen=True):
    """What reads a system; one that is read in two ways has two of them."""

    name: str
    system: str
    kind: str
    streams: list[str]  # those of yours
    epoch: int | None
    position: list[int]
    ailments: list[str]  # what is not well, a sentence each


class Sources(msgspec.Struct, frozen=True):
    """What reads the systems of a principal's streams."""

    sources: list[Source]


class Runs(msgspec.Struct, frozen=True):
    """The newest re-read of each stream that had one."""

    runs: list[Run]


class Health(msgspec.Struct, frozen=True):
    """What is not well, as on the health page, as far as it concerns a principal's streams."""

    status: str
    checks: dict[str, Any]


def get_streams(call: Call) -> Answered:
    """Every stream of the principal."""
    return Streams(_streams(call, call.door.seen(call.principal)))


def get_stream(call: Call) -> Answered:
    """One stream."""
    return _streams(call, [call.values["stream"]])[0]


def _streams(call: Call, names: list[str]) -> list[Stream]:
    door, journal = call.door, call.door.journal
    extents, states = journal.extents(), journal.stream_states()
    letters, parked = journal.letter_counts(), journal.parked_counts()
    found = []
    for name in names:
        document, extent, state = door.documents[name], extents.get(name), states.get(name)
        found.append(
            Stream(
                name=name,
                system=door.config.streams[name].system,
                contract=document.id,
                version=document.version,
                phase=str(state.phase) if state else "running",
                since=state.since if state else None,
                why=state.why if state else "",
                first=extent.first if extent else 1,
                last=extent.last if extent else 0,
                bytes=extent.bytes if extent else 0,
                last_commit_at=extent.last_commit_at if extent else None,
                last_journalled_at=extent.last_journalled_at if extent else None,
                dead_letters=letters.get(name, 0),
                parked=parked.get(name, 0),
            )
        )
    return found


def get_sources(call: Call) -> Answered:
    """What reads the systems of the principal's streams."""
    config, ailments = call.door.config, call.door.board.ailments()
    found = []
    for system, declared in config.systems.items():
        for name, streams in config.sources_of(system).items():
            seen = list(filter(call.principal.sees, streams))
            if seen:
                position, _ = call.door.journal.position(name)
                epoch, at = (position.epoch, list(position.at)) if position else (None, [])
                ills = [each.what for each in ailments if each.component == f"source:{name}"]
                found.append(Source(name, system, declared.kind, seen, epoch, at, ills))
    return Sources(found)


def get_runs(call: Call) -> Answered:
    """The re-reads of the principal's streams."""
    found = []
    for stream in call.door.seen(call.principal):
        _, state = call.door.journal.position(call.door.config.streams[stream].system)
        run = state.get("snapshots", {}).get(stream)
        if run:
            found.append(Run(stream, run["number"], run["phase"], run.get("rows", 0), run.get("of") or None))
    return Runs(found)


def get_health(call: Call) -> Answered:
    """What is not well."""
    report = call.door.board.report()
    checks = {name: check for name, check in report["checks"].items() if _concerns(call, name)}
    worst = {check["status"] for check in checks.values()}
    status = next((level for level in ("fail", "warn") if level in worst), "pass")
    return Health(status, {name: _own(call, check) for name, check in checks.items()})


def _concerns(call: Call, component: str) -> bool:
    """Whether a component is one of the principal's streams, a system of one, or none of either."""
    kind, _, name = component.partition(":")
    config = call.door.config
    if call.principal.streams == "*" or not name:
        return True
    if (system := system_of(name)) in config.systems and kind not in ("stream", "sink"):
        return any(map(call.principal.sees, config.streams_of(system)))
    return call.principal.sees(name)


def _own(call: Call, check: dict[str, Any]) -> dict[str, Any]:
    blocked = check.get("blocks")
    return check if not blocked else check | {"blocks": [name for name in blocked if call.principal.sees(name)]}


def _asks(kind: str) -> Handler:
    async def handler(call: Call) -> Answered:
        stream = call.values["stream"]
        if kind.startswith("snapshot.") and call.door.config.streams[stream].log is None:
            raise Problem(409, "declined", f"{stream} has no table to read again.")
        return await ask(call, kind, {"stream": stream})

    return handler


_ONE = (stream_parameter(),)
ENDPOINTS = (
    Endpoint("GET", "/v1/streams", "listStreams", "Your streams and how they stand.", get_streams, answer=Streams),
    Endpoint("GET", "/v1/streams/{stream}", "getStream", "One stream and how it stands.", get_stream,
             parameters=_ONE, answer=Stream),
    petition("POST", "/v1/streams/{stream}/pause", "pauseStream", "Park the stream's rows until it is resumed.",
             _asks("stream.pause"), parameters=_ONE),
    petition("POST", "/v1/streams/{stream}/resume", "resumeStream", "Let parked rows through, then whatever comes.",
             _asks("stream.resume"), parameters=_ONE),
    petition("POST", "/v1/streams/{stream}/snapshot", "startSnapshot", "Read the stream's table again.",
             _asks("snapshot.start"), parameters=_ONE),
    petition("POST", "/v1/streams/{stream}/snapshot/pause", "pauseSnapshot", "Let a re-read under way rest.",
             _asks("snapshot.pause"), parameters=_ONE),
    petition("POST", "/v1/streams/{stream}/snapshot/resume", "resumeSnapshot", "Let a paused re-read go on.",
             _asks("snapshot.resume"), parameters=_ONE),
    petition("POST", "/v1/streams/{stream}/snapshot/cancel", "cancelSnapshot", "Give up a re-read under way.",
             _asks("snapshot.cancel"), parameters=_ONE),
    Endpoint("GET", "/v1/sources", "listSources", "What reads the systems of your streams.", get_sources,
             act="operate", answer=Sources),
    Endpoint("GET", "/v1/runs", "listRuns", "The newest re-read of each of your streams.", get_runs, act="operate",
             answer=Runs),
    Endpoint("GET", "/v1/health", "getHealth", "What is not well, as far as it concerns your streams.", get_health,
             answer=Health),
)  # fmt: skip
