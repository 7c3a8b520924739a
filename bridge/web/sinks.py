"""Sinks: how they stand, pause, resume, test, replay. Who sees all of a sink's streams sees the sink."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from starlette.concurrency import run_in_threadpool

from bridge.standing import standings, state_of
from bridge.web.desk import ask, petition
from bridge.web.door import Door
from bridge.web.endpoint import NAME, WHOLE_MOST, Answered, Call, Endpoint, Handler, Parameter
from bridge.web.problems import Problem

Number = Annotated[int, msgspec.Meta(ge=1, le=WHOLE_MOST)]


class Sink(msgspec.Struct, frozen=True):
    """A sink as it stands."""

    sink: str
    kind: str
    state: str  # gone, paused, breaker open, waiting or ok
    streams: dict[str, dict[str, Any]]  # by name: cursor, pending, behind, last
    behind: int  # events that were not yet read for it, over its streams
    pending: int  # besides, what waits behind a failed event or for another attempt
    paused: bool
    why: str
    breaker: dict[str, Any]  # state, since, why, forced
    gone: dict[str, Any] | None  # since, why
    dead_letters: int  # open ones
    replays: list[dict[str, Any]]  # under way


class Sinks(msgspec.Struct, frozen=True):
    """The sinks of a principal."""

    sinks: list[Sink]


class Try(msgspec.Struct, frozen=True):
    """One try to deliver one event."""

    id: int
    stream: str
    number: int
    event_id: str
    at: datetime
    outcome: str  # delivered, unavailable, refused or gone
    duration_ms: float
    detail: str
    try_number: int


class Tries(msgspec.Struct, frozen=True):
    """A page of the delivery log, newest first."""

    attempts: list[Try]
    next: int | None  # `before` of the next page; null at the end


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events to send again, their ids unchanged."""

    stream: str
    first: Number
    last: Number


class Side(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a breaker is to be held."""

    force: Literal["open", "closed", "none"]


def _sees(call: Call, name: str) -> bool:
    config = call.door.config
    return all(call.principal.sees(stream) for stream in config.streams_for(config.sinks[name].streams))


def _sinks(call: Call) -> dict[str, Sink]:
    """The sinks that the principal sees."""
    found = {each["sink"]: each for each in standings(call.door.journal, call.door.config)}
    return {
        name: msgspec.convert(each | {"state": state_of(each)}, Sink)
        for name, each in found.items()
        if _sees(call, name)
    }


def get_sinks(call: Call) -> Answered:
    """Every sink that the principal sees."""
    return Sinks(list(_sinks(call).values()))


def get_sink(call: Call) -> Answered:
    """One sink."""
    return _sinks(call)[_named(call)]


def get_attempts(call: Call) -> Answered:
    """The delivery log of a sink."""
    limit = call.values["limit"]
    found = call.door.attempts.find(sink=_named(call), limit=limit, before=call.values["before"])
    tries = [
        Try(
            number,
            one.stream,
            one.number,
            one.event_id,
            one.at,
            one.outcome,
            one.duration_ms,
            one.detail,
            one.try_number,
        )
        for number, one in found
    ]
    return Tries(tries, tries[-1].id if len(tries) == limit else None)


def _is_own(call: Call, name: str) -> bool:
    return name in call.door.config.sinks and _sees(call, name)


def _named(call: Call) -> str:
    """Raises: Problem 404 where there is none, or none that the principal sees."""
    name: str = call.values["sink"]
    if not _is_own(call, name):
        raise Problem(404, "not-found", f"There is no sink {name!r}.")
    return name


def _asks(kind: str) -> Handler:
    async def handler(call: Call) -> Answered:
        return await ask(call, kind, {"sink": _named(call)})

    return handler


async def replay_sink(call: Call) -> Answered:
    """Send events again."""
    name, span = _named(call), call.body
    _require_span(call.door, name, span)
    return await ask(call, "sink.replay", {"sink": name, "stream": span.stream, "first": span.first, "last": span.last})


async def force_breaker(call: Call) -> Answered:
    """Hold a breaker on one side."""
    return await ask(call, "sink.breaker", {"sink": _named(call), "force": call.body.force})


async def forget_sink(call: Call) -> Answered:
    """Forget what a sink that is gone, or is not sent a stream any more, was sent."""
    name: str = call.values["sink"]
    held = (await run_in_threadpool(call.door.journal.subscribers)).get(name, {})
    is_former = name not in call.door.config.sinks and bool(held)
    if not (is_former or _is_own(call, name)) or not all(map(call.principal.sees, held)):
        raise Problem(404, "not-found", f"There is no sink {name!r}.")
    return await ask(call, "sink.forget", {"sink": name})


def _require_span(door: Door, name: str, span: Span) -> None:
    """Raises: Problem 409."""
    if span.stream not in door.config.streams_for(door.config.sinks[name].streams):
        raise Problem(409, "declined", f"Sink {name} does not take a stream of this name.")
    if span.first > span.last:
        raise Problem(409, "declined", "The first event comes after the last.")


_ONE = (Parameter("sink", "Name of the sink.", place="path", pattern=NAME, most=63),)
ENDPOINTS = (
    Endpoint("GET", "/v1/sinks", "listSinks", "The sinks all of whose streams are yours.", get_sinks, act="operate",
             answer=Sinks),
    Endpoint("GET", "/v1/sinks/{sink}", "getSink", "One sink and how it stands.", get_sink, act="operate",
             parameters=_ONE, answer=Sink),
    Endpoint("GET", "/v1/sinks/{sink}/attempts", "listAttempts", "The sink's tries to deliver, newest first.",
             get_attempts, act="operate", parameters=(
                 *_ONE,
                 Parameter("before", "Only tries with lower ids.", kind="whole"),
                 Parameter("limit", "Tries at most.", kind="whole", least=1, most=1_000, default=100),
             ), answer=Tries),
    petition("POST", "/v1/sinks/{sink}/pause", "pauseSink", "Send nothing until it is resumed; events are kept.",
             _asks("sink.pause"), parameters=_ONE),
    petition("POST", "/v1/sinks/{sink}/resume", "resumeSink", "Go on sending.", _asks("sink.resume"), parameters=_ONE),
    petition("POST", "/v1/sinks/{sink}/test", "testSink", "Send a test event.", _asks("sink.test"), parameters=_ONE),
    petition("POST", "/v1/sinks/{sink}/breaker", "forceBreaker", "Hold its breaker open (send nothing) or closed (send "
             "whatever happens), or let it judge by itself.", force_breaker, parameters=_ONE, body=Side),
    petition("POST", "/v1/sinks/{sink}/forget", "forgetSink", "Forget a sink that is not configured any more, or the "
             "streams that it is not sent any more: retention waits no longer.", forget_sink, parameters=_ONE),
    petition("POST", "/v1/sinks/{sink}/replay", "replaySink", "Send events again, their ids unchanged.", replay_sink,
             parameters=_ONE, body=Span),
)  # fmt: skip
