"""Requests to the daemon: left in the journal under the principal's name, and waited for."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool

from bridge import asking
from bridge.config.access import Act
from bridge.ports import Request
from bridge.web.endpoint import Answered, Call, Endpoint, Handler, Method, Parameter, json_answer
from bridge.web.problems import Problem

PATIENCE_S = 10.0


class Petition(msgspec.Struct, frozen=True):
    """A request and what became of it."""

    id: int
    kind: str
    actor: str
    made_at: datetime
    settled_at: datetime | None
    ok: bool | None  # None: not settled yet
    result: dict[str, Any] | None


def _shown(request: Request) -> Petition:
    result = None if request.result is None else dict(request.result)
    return Petition(request.id, request.kind, request.actor, request.made_at, request.settled_at, request.ok, result)


async def ask(call: Call, kind: str, args: Mapping[str, Any]) -> Answered:
    """Leave a request and wait for its outcome; where it takes longer, say where the outcome will be found.

    Raises: Problem 409 when it was declined.
    """
    journal = call.door.journal
    number = await run_in_threadpool(journal.request, kind, args, call.principal.actor)
    for pause_s in asking.pauses(PATIENCE_S):
        await asyncio.sleep(pause_s)
        found = await run_in_threadpool(asking.settled, journal, number)
        if found is not None:
            return _outcome(found)
    waiting = await run_in_threadpool(asking.find, journal, number)
    if waiting is None:
        raise Problem(503, "unavailable", f"Request {number} is not known any more.")
    return json_answer(_shown(waiting), 202, {"location": f"/v1/requests/{number}"})


def _outcome(request: Request) -> Petition:
    if not request.ok:
        result = request.result or {}
        raise Problem(409, "declined", str(result.get("error", "It failed.")), hint=str(result.get("hint", "")))
    return _shown(request)


def get_request(call: Call) -> Answered:
    """One request of the principal; an administrator's eyes reach all."""
    found = asking.find(call.door.journal, call.values["id"])
    if found is None or not (found.actor == call.principal.actor or call.principal.may("administer")):
        raise Problem(404, "not-found", f"You have made no request {call.values['id']}, or long ago.")
    return _shown(found)


LATER = {202: "It takes longer; Location says where the outcome will be."}


def petition(  # noqa: PLR0917  as an endpoint has them
    method: Method,
    path: str,
    name: str,
    about: str,
    handler: Handler,
    *,
    act: Act = "operate",
    parameters: tuple[Parameter, ...] = (),
    body: type[msgspec.Struct] | None = None,
) -> Endpoint:
    """An endpoint whose handler asks the daemon for something and answers with what became of it."""
    return Endpoint(method, path, name, about, handler, act=act, parameters=parameters, body=body, answer=Petition,
                    statuses=LATER, problems=(409,))  # fmt: skip


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/requests/{id}",
        "getRequest",
        "What became of a request of yours that took longer (202).",
        get_request,
        parameters=(Parameter("id", "Number of the request.", kind="whole", place="path", least=1),),
        answer=Petition,
    ),
)
