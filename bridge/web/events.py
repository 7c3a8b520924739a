"""Events by pages, one by one, and live."""

import asyncio
from collections.abc import Iterator
from datetime import UTC
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bridge import export
from bridge.web import cursors, pages
from bridge.web.endpoint import Answered, Call, Endpoint, Parameter, stream_parameter
from bridge.web.live import LiveAnswer
from bridge.web.negotiation import choose
from bridge.web.pages import ARROW, BATCH, FORMATS, JSON, LINES, Page, Question
from bridge.web.problems import Problem
from bridge.web.reading import invalid

LIMIT = 100_000
EVENT = "application/cloudevents+json"
_EVENT_SCHEMA: dict[str, Any] = {"$ref": "#/components/schemas/CloudEvent"}
_PAGE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["events", "next"],
    "additionalProperties": False,
    "properties": {
        "events": {"type": "array", "items": _EVENT_SCHEMA},
        "next": {"type": "integer", "description": "`after` of the next page."},
    },
}
_AFTER = Parameter("after", "Only events behind this sequence number.", kind="whole")


class Body:
    """An answer in pieces that a worker thread makes, the next one while one is being sent."""

    def __init__(self, pieces: Iterator[bytes], headers: dict[str, str]) -> None:
        self._pieces = pieces
        self._headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, for as long as the client is there."""
        piece = await run_in_threadpool(next, self._pieces, None)  # what fails at once is still a problem document
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        leaving = asyncio.create_task(_wait_for_leave(receive))
        try:
            while piece is not None and not leaving.done():
                following = asyncio.ensure_future(run_in_threadpool(next, self._pieces, None))
                try:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                finally:
                    piece = await following
        finally:
            leaving.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait_for_leave(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def get_events(call: Call) -> Answered:
    """One page of a stream."""
    stream, door = call.values["stream"], call.door
    media = _media(call)
    view = door.view(call.principal, stream)
    question = _question(call)
    extent = door.journal.extents().get(stream)
    numbers = pages.within(question, extent)
    headers = {"etag": pages.etag(question, view, media, numbers), "vary": "Accept, Authorization"}
    headers["cache-control"] = "private, no-cache"  # kept by whoever asked, and asked about each time
    if extent is not None and extent.last_journalled_at is not None:
        headers["x-bridge-as-of"] = format_datetime(extent.last_journalled_at.astimezone(UTC), usegmt=True)
    door.witness.saw(call.principal, stream, view)
    if _is_known(call, headers["etag"]):
        return Response(status_code=304, headers=headers)
    page = pages.read(door.journal, view, question, numbers, last=extent.last if extent else 0, media=media)
    headers |= {"content-type": media, "x-bridge-next": str(page.following), **_link(call, page)}
    if call.is_head:
        return Response(status_code=200, headers=headers)
    return Body(pages.render(page, view, media), headers)


def _media(call: Call) -> str:
    """Raises: Problem 406."""
    wanted: str | None = call.values["format"]
    accept = call.request.headers.get("accept", "*/*")
    found = FORMATS[wanted] if wanted else choose(accept, list(FORMATS.values()))
    if found is None:
        raise Problem(406, "not-acceptable", f"Events come as {', '.join(FORMATS.values())}.")
    return found


def _question(call: Call) -> Question:
    values = call.values
    after = values["after"] or 0
    if values["cursor"] is not None:
        after = max(after, cursors.find(call, values["cursor"]).after)
    return Question(values["stream"], after, values["limit"], values["key"], values["from"], values["to"])


def _is_known(call: Call, etag: str) -> bool:
    known = call.request.headers.get("if-none-match", "")
    return "*" in known or etag in {each.strip().removeprefix("W/") for each in known.split(",")}


def _link(call: Call, page: Page) -> dict[str, str]:
    """Where the next page is, when there are events behind this one."""
    if not page.has_more:
        return {}
    asked = {name: value for name, value in call.request.query_params.items() if name not in ("after", "cursor")}
    return {"link": f'<{call.request.url.path}?{urlencode({"after": page.following, **asked})}>; rel="next"'}


def get_event(call: Call) -> Answered:
    """One event."""
    stream, number = call.values["stream"], call.values["number"]
    view = call.door.view(call.principal, stream)
    block = next(call.door.journal.read(stream, after=number - 1, limit=1), None)
    if block is None or block.first != number:
        raise Problem(404, "not-found", f"Event {number} of {stream} is not kept, or not there yet.")
    call.door.witness.saw(call.principal, stream, view)
    (message,) = export.messages(view.selection.apply(block), view.envelope)
    headers = {"cache-control": "private, max-age=3600", "vary": "Authorization"}
    return Response(message.text, headers=headers, media_type=EVENT)


async def get_live(call: Call) -> Answered:
    """The events of a stream as they are journalled."""
    return await run_in_threadpool(_live, call)


def _live(call: Call) -> Answered:
    stream, door = call.values["stream"], call.door
    view = door.view(call.principal, stream)
    extent = door.journal.extents().get(stream)
    last = extent.last if extent else 0
    after = _resumed(call)
    after = last if after is None else after
    if after > last:
        raise invalid([("after", f"is beyond the last event, {last}")])
    pages.within(Question(stream, after, 1), extent)
    door.witness.saw(call.principal, stream, view)
    if call.is_head:
        return Response(headers={"content-type": "text/event-stream; charset=utf-8"})
    return LiveAnswer(door.feeds, view, call.principal, after=after, last=last)


def _resumed(call: Call) -> int | None:
    """Where a client goes on: what its browser remembers counts more than what its address says."""
    sent = call.request.headers.get("last-event-id", "")
    if not sent:
        found: int | None = call.values["after"]
        return found
    if not sent.isascii() or not sent.isdigit() or len(sent) > len(str(2**63)):
        raise invalid([("Last-Event-ID", "is a sequence number")])
    return int(sent)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/streams/{stream}/events",
        "listEvents",
        "One page of a stream, oldest first. A page with a condition may hold fewer events than `limit`, even none: go "
        "on at `next` (also the header X-Bridge-Next) until no Link with rel=next comes.",
        get_events,
        parameters=(
            stream_parameter(),
            _AFTER,
            Parameter("limit", "Events at most.", kind="whole", least=1, most=LIMIT, default=1_000),
            Parameter("key", "Only events of this key."),
            Parameter("from", "Only events committed at this time or later.", kind="moment"),
            Parameter("to", "Only events committed before this time.", kind="moment"),
            cursors.parameter(
                "cursor", "Read behind this named cursor of yours, or behind `after` where that is further."
            ),
            Parameter("format", "In place of the Accept header.", choices=tuple(FORMATS)),
        ),
        media={
            JSON: _PAGE_SCHEMA,
            LINES: {"type": "string"},
            BATCH: {"type": "array", "items": _EVENT_SCHEMA},
            ARROW: {"type": "string", "contentMediaType": ARROW},
        },
        statuses={304: "Nothing has changed since the ETag."},
        problems=(406, 410),
    ),
    Endpoint(
        "GET",
        "/v1/streams/{stream}/events/live",
        "followEvents",
        "Server-sent events: each event as it is journalled, its id being its sequence number. `Last-Event-ID` or "
        "`after` resumes. A comment comes every 15 s; a client that is too slow gets `event: dropped` and is cut off.",
        get_live,
        parameters=(stream_parameter(), _AFTER),
        media={"text/event-stream": {"type": "string"}},
        problems=(410, 503),
    ),
    Endpoint(
        "GET",
        "/v1/streams/{stream}/events/{number}",
        "getEvent",
        "One event by its sequence number.",
        get_event,
        parameters=(stream_parameter(), Parameter("number", "Sequence number.", kind="whole", place="path", least=1)),
        media={EVENT: _EVENT_SCHEMA},
    ),
)
