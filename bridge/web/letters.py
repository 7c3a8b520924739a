"""Dead letters: rejected rows by their number, events that a sink could not deliver as d and a number."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool

from bridge import export
from bridge.access import Principal
from bridge.contract.expression import columns
from bridge.model import Letter, LetterState
from bridge.parcel import Undelivered, summary
from bridge.web.desk import ask, petition
from bridge.web.door import Door
from bridge.web.endpoint import NAME, Answered, Call, Endpoint, Parameter
from bridge.web.problems import Problem

_PAGE = 500
_ID = r"d?[1-9][0-9]{0,17}"


class BrokenRule(msgspec.Struct, frozen=True):
    """A rule of the contract that the row broke."""

    rule: str
    field: str | None
    detail: str


class DeadLetter(msgspec.Struct, frozen=True):
    """A dead letter without its values."""

    id: str
    stream: str
    state: LetterState
    created_at: datetime
    settled_at: datetime | None
    reason: str | None
    event_id: str
    key: str | None  # null, too, where it is classified and not released to you
    contract: str | None = None  # of a rejected row
    breaches: list[BrokenRule] = []  # of a rejected row
    sink: str | None = None  # of an undelivered event
    number: int | None = None  # of an undelivered event
    cause: str | None = None  # of an undelivered event
    attempts: int | None = None  # of an undelivered event


class WholeLetter(msgspec.Struct, frozen=True):
    """A dead letter with what may be shown of its values."""

    letter: DeadLetter
    raw: dict[str, Any] | None = None  # of a rejected row: legacy columns that only fields read which you may see
    withheld: list[str] = []  # legacy columns that are not shown
    event: dict[str, Any] | None = None  # of an undelivered event: the CloudEvent


class Letters(msgspec.Struct, frozen=True):
    """A page of dead letters."""

    letters: list[DeadLetter]
    next: str | None  # `after` of the next page; null at the end


class Discard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a letter is closed for good."""

    reason: str


class Chosen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which open letters are meant: those of a stream, of a sink, of both at once, or all."""

    stream: str | None = None
    sink: str | None = None
    all: bool = False


class Unwanted(Chosen, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which open letters are closed for good, and why."""

    reason: str


def _key(door: Door, principal: Principal, stream: str, key: str | None) -> str | None:
    try:
        if stream in door.documents:
            door.view(principal, stream)
    except Problem:  # it is classified
        return None
    return key


def _shown(call: Call, letter: Letter | Undelivered) -> DeadLetter:
    found = summary(letter)
    key = _key(call.door, call.principal, letter.stream, letter.key)
    return msgspec.convert(found | {"id": str(found["id"]), "key": key}, DeadLetter)


def get_letters(call: Call) -> Answered:
    """A page of the letters of the principal's streams."""
    limit, found = call.values["limit"], []
    for letter in _seen(call):
        found.append(letter)
        if len(found) > limit:
            break
    return Letters(found[:limit], found[limit - 1].id if len(found) > limit else None)


def _seen(call: Call) -> Iterator[DeadLetter]:
    """The letters that are asked for and may be seen, in order."""
    values, journal = call.values, call.door.journal
    if values["stream"] is not None and not call.principal.sees(values["stream"]):
        raise Problem(404, "not-found", f"There is no stream {values['stream']!r}.")
    after = int((values["after"] or "0").removeprefix("d"))
    state = None if values["state"] == "any" else LetterState(values["state"])
    while True:
        page: list[Any]
        if values["kind"] == "rejected":
            page = journal.letters(stream=values["stream"], state=state, limit=_PAGE, after=after)
        else:
            page = journal.undelivered(
                stream=values["stream"], sink=values["sink"], state=state, limit=_PAGE, after=after
            )
        for letter in page:
            if call.principal.sees(letter.stream):
                yield _shown(call, letter)
        if len(page) < _PAGE:
            return
        after = page[-1].id


def _find(call: Call) -> Letter | Undelivered:
    """Raises: Problem 404 where there is none, or none that the principal may see."""
    wanted: str = call.values["id"]
    journal = call.door.journal
    found: Letter | Undelivered | None
    found = journal.undelivered_one(int(wanted[1:])) if wanted.startswith("d") else journal.letter(int(wanted))
    if found is None or not call.principal.sees(found.stream):
        raise Problem(404, "not-found", f"There is no dead letter {wanted}.")
    return found


def get_letter(call: Call) -> Answered:
    """One letter with what may be shown of its values."""
    found = _find(call)
    if isinstance(found, Letter):
        raw, withheld = _raw(call, found)
        return WholeLetter(_shown(call, found), raw=raw, withheld=withheld)
    event = None
    if found.block is not None and found.stream in call.door.documents:
        view = call.door.view(call.principal, found.stream)
        call.door.witness.saw(call.principal, found.stream, view)
        (message,) = export.messages(view.selection.apply(found.block), view.envelope)
        event = msgspec.json.decode(message.text)
    return WholeLetter(_shown(call, found), event=event)


def _raw(call: Call, letter: Letter) -> tuple[dict[str, Any], list[str]]:
    """The legacy columns of a rejected row: those shown, with their values, and those that are not."""
    if letter.raw is None:
        return {}, []
    values = export.legacy_values(letter.raw)
    document = call.door.documents.get(letter.stream)
    if document is None:  # nobody says what is public
        return {}, sorted(values)
    view = call.door.view(call.principal, letter.stream)
    call.door.witness.saw(call.principal, letter.stream, view)
    reads = {field.name: columns(field.expression) for field in document.fields}
    shown = set().union(*(reads[name] for name in view.selection.open_fields))
    shown -= set().union(*(reads[name] for name in reads.keys() - view.selection.open_fields))
    return {name: value for name, value in values.items() if name in shown}, sorted(values.keys() - shown)


async def replay_letter(call: Call) -> Answered:
    """Check a rejected row again, or send an undelivered event again."""
    found = await run_in_threadpool(_find, call)
    return await ask(call, "dead.replay", {"ids": [_number(call, found)]})


async def discard_letter(call: Call) -> Answered:
    """Close a letter for good."""
    found = await run_in_threadpool(_find, call)
    return await ask(call, "dead.discard", {"ids": [_number(call, found)], "reason": call.body.reason})


async def replay_letters(call: Call) -> Answered:
    """Replay every letter that is meant."""
    return await ask(call, "dead.replay", _filter(call))


async def discard_letters(call: Call) -> Answered:
    """Close every letter that is meant."""
    return await ask(call, "dead.discard", _filter(call) | {"reason": call.body.reason})


def _filter(call: Call) -> dict[str, Any]:
    """What is asked for, no letter of a foreign stream among it. Raises: Problem 404, 409."""
    chosen: Chosen = call.body
    if chosen.stream is not None and not call.principal.sees(chosen.stream):
        raise Problem(404, "not-found", f"There is no stream {chosen.stream!r}.")
    if chosen.all == bool(chosen.stream or chosen.sink):
        raise Problem(409, "declined", "No letters were named: give `stream`, `sink`, or both, or `all`.")
    if chosen.stream is None and call.principal.streams != "*":
        raise Problem(409, "declined", "Not every stream is yours: name one of yours as `stream`.")
    given = {"stream": chosen.stream, "sink": chosen.sink, "all": chosen.all}
    return {name: value for name, value in given.items() if value}


def _number(call: Call, letter: Letter | Undelivered) -> int | str:
    return letter.id if isinstance(letter, Letter) else str(call.values["id"])


_ONE = (Parameter("id", "Number of the letter: 17, or d17 of an undelivered event.", place="path", pattern=_ID),)
ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/dead-letters",
        "listDeadLetters",
        "Dead letters of your streams, oldest first, without values.",
        get_letters,
        act="mend",
        parameters=(
            Parameter("kind", "Rejected rows or undelivered events.", choices=("rejected", "undelivered"),
                      default="rejected"),
            Parameter("stream", "Only of this stream.", pattern=NAME),
            Parameter("sink", "Only events that this sink could not deliver.", pattern=NAME),
            Parameter("state", "Only in this state.", choices=("any", *LetterState), default="open"),
            Parameter("after", "Only letters behind this id.", pattern=_ID),
            Parameter("limit", "Letters at most.", kind="whole", least=1, most=1_000, default=100),
        ),
        answer=Letters,
    ),
    Endpoint("GET", "/v1/dead-letters/{id}", "getDeadLetter", "One dead letter whole; classified values only if they "
             "are released to you.", get_letter, act="mend", parameters=_ONE, answer=WholeLetter),
    petition("POST", "/v1/dead-letters/replay", "replayDeadLetters", "Replay every open letter of a stream, of "
             "a sink, of both at once, or all there are.", replay_letters, act="mend", body=Chosen),
    petition("POST", "/v1/dead-letters/discard", "discardDeadLetters", "Close every such letter for good, with a "
             "reason that is kept.", discard_letters, act="mend", body=Unwanted),
    petition("POST", "/v1/dead-letters/{id}/replay", "replayDeadLetter", "Check a rejected row again under the present "
             "contract, or deliver an undelivered event again.", replay_letter, act="mend", parameters=_ONE),
    petition("POST", "/v1/dead-letters/{id}/discard", "discardDeadLetter", "Close a letter for good, with a reason "
             "that is kept.", discard_letter, act="mend", parameters=_ONE, body=Discard),
)  # fmt: skip
