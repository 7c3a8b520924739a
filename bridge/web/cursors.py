"""Named cursors: how far a client has come with a stream, kept for it; retention waits for them."""

from collections.abc import Iterator
from typing import Annotated

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from bridge import standing
from bridge.access import cursor_of
from bridge.errors import InternalError
from bridge.web.desk import ask, petition
from bridge.web.endpoint import NAME, WHOLE_MOST, Answered, Call, Endpoint, Parameter, stream_parameter
from bridge.web.problems import Problem

LIMIT = 100  # of one principal


class Cursor(msgspec.Struct, frozen=True):
    """A cursor as it stands."""

    name: str
    stream: str
    after: int  # everything up to this number is acknowledged


class Held(msgspec.Struct, frozen=True):
    """A cursor of any principal."""

    principal: str
    name: str
    stream: str
    after: int
    last: int  # the stream's newest event
    is_left: bool  # its principal, or the stream for it, is gone; retention waits all the same


class Cursors(msgspec.Struct, frozen=True):
    """The cursors on a principal's streams."""

    cursors: list[Held]


class Position(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a cursor is to stand."""

    after: Annotated[int, msgspec.Meta(ge=0, le=WHOLE_MOST)]


def parameter(name: str, about: str, *, in_path: bool = False) -> Parameter:
    """The name of a cursor."""
    return Parameter(name, about, place="path" if in_path else "query", pattern=NAME, most=63)


def subscriber(call: Call, name: str) -> str:
    """The subscriber of the journal that a cursor of the principal is."""
    return cursor_of(call.principal.name, name)


def find(call: Call, name: str) -> Cursor:
    """A cursor of the principal. Raises: Problem 404."""
    stream = call.values["stream"]
    reached = call.door.journal.subscribers().get(subscriber(call, name), {}).get(stream)
    if reached is None:
        raise Problem(404, "not-found", f"You have no cursor {name} on {stream}.")
    return Cursor(name, stream, reached.cursor)


def get_cursor(call: Call) -> Answered:
    """Where a cursor stands."""
    return find(call, call.values["name"])


def put_cursor(call: Call) -> Answered:
    """Make a cursor or move it on."""
    stream, name, after = call.values["stream"], call.values["name"], call.body.after
    journal, own = call.door.journal, subscriber(call, call.values["name"])
    extent = journal.extents().get(stream)
    last = extent.last if extent else 0
    if after > last:
        raise Problem(409, "declined", f"A cursor stands at the last event, {last}, at most.")
    known = dict(_own(call))
    if own not in known and len(known) >= LIMIT:
        raise Problem(409, "declined", f"You have {LIMIT} cursors already; delete one first.")
    try:
        journal.advance(own, {stream: after})
    except InternalError:  # I2
        held = journal.cursor(own, stream)
        raise Problem(409, "cursor-moved-back", f"Cursor {name} stands at {held} already.", after=held) from None
    return Cursor(name, stream, after)


def delete_cursor(call: Call) -> Answered:
    """Forget a cursor on one stream."""
    found = find(call, call.values["name"])
    call.door.journal.forget_subscriber(subscriber(call, found.name), [found.stream])
    return Response(status_code=204)


def list_cursors(call: Call) -> Answered:
    """Everybody's cursors on the principal's streams."""
    return Cursors([one for one in _held(call) if call.principal.sees(one.stream)])


async def forget_cursor(call: Call) -> Answered:
    """Forget a cursor of anybody, all of whose streams the principal sees."""
    principal, name = call.values["principal"], call.values["name"]
    streams = [
        one.stream for one in await run_in_threadpool(_held, call) if (one.principal, one.name) == (principal, name)
    ]
    if not streams or not all(map(call.principal.sees, streams)):
        raise Problem(404, "not-found", f"{principal} has no cursor {name} on streams of yours.")
    return await ask(call, "cursor.forget", {"principal": principal, "name": name})


def _held(call: Call) -> list[Held]:
    return [Held(**one) for one in standing.cursors(call.door.journal, call.door.config)]


def _own(call: Call) -> Iterator[tuple[str, object]]:
    start = subscriber(call, "")
    for found, streams in call.door.journal.subscribers().items():
        if found.startswith(start):
            yield found, streams


_PATH = "/v1/streams/{stream}/cursors/{name}"
_PARAMETERS = (stream_parameter(), parameter("name", "Name of the cursor.", in_path=True))
ENDPOINTS = (
    Endpoint("GET", _PATH, "getCursor", "Where a named cursor of yours stands.", get_cursor,
             parameters=_PARAMETERS, answer=Cursor),
    Endpoint(
        "PUT",
        _PATH,
        "putCursor",
        "Make a named cursor or move it on: all events up to `after` are acknowledged. It never moves back. Retention "
        "by age waits for it, so delete it when it is needed no more.",
        put_cursor,
        parameters=_PARAMETERS,
        body=Position,
        answer=Cursor,
        problems=(409,),
    ),
    Endpoint("DELETE", _PATH, "deleteCursor", "Forget a named cursor of yours on this stream.", delete_cursor,
             parameters=_PARAMETERS, statuses={204: "It is forgotten."}),
    Endpoint("GET", "/v1/cursors", "listCursors", "Everybody's named cursors on your streams.", list_cursors,
             act="operate", answer=Cursors),
    petition(
        "DELETE",
        "/v1/cursors/{principal}/{name}",
        "forgetCursor",
        "Forget a named cursor of anybody, on every stream that has it: retention waits for it no more.",
        forget_cursor,
        parameters=(
            Parameter("principal", "Whose it is.", place="path", pattern=NAME, most=63),
            parameter("name", "Name of the cursor.", in_path=True),
        ),
    ),
)  # fmt: skip
