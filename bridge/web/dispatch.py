"""From a request to its handler: the table decides on the route, the act, the parameters and the body.

Order, the same for every endpoint: route, sender, act (403), sight of the stream (404, as if it did not exist),
parameters (400), body, handler. So nobody learns by probing what he may not see.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.access import Principal
from bridge.web import reading
from bridge.web.accesslog import tell
from bridge.web.door import Door
from bridge.web.endpoint import Call, Endpoint, json_answer
from bridge.web.gate import Admitted
from bridge.web.problems import Problem, Problems

NOBODY = Admitted(Principal("nobody", acts=frozenset(), streams=()))


@dataclass(frozen=True, slots=True)
class Route:
    """The endpoints of one path by method."""

    template: str
    pattern: re.Pattern[str]
    endpoints: Mapping[str, Endpoint]

    @property
    def allow(self) -> str:
        """The methods, for the `Allow` header."""
        return ", ".join(sorted({"OPTIONS", *self.endpoints, *({"HEAD"} if "GET" in self.endpoints else ())}))


def routes(table: Sequence[Endpoint]) -> list[Route]:
    """The table by path; fixed paths before those with parameters."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for endpoint in table:
        paths.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return [
        Route(path, _pattern(path), paths[path]) for path in sorted(paths, key=lambda path: (path.count("{"), path))
    ]


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))


class Api:
    """The application of the table; `door` gives what handlers work with at the moment."""

    def __init__(self, table: Sequence[Endpoint], door: Callable[[], Door]) -> None:
        self._routes = routes(table)
        self._door = door
        self.app = Problems(self._dispatch)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.app(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        route, path = self._find(scope["path"])
        tell(scope, route=route.template)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method == "OPTIONS":
            await Response(status_code=204, headers={"allow": route.allow})(scope, receive, send)
            return
        endpoint = route.endpoints.get(method)
        if endpoint is None:
            raise Problem(
                405, "method-not-allowed", f"{scope['path']} takes {route.allow}.", headers={"allow": route.allow}
            )
        door, request = self._door(), Request(scope, receive)
        admitted = NOBODY if endpoint.act is None else await door.gate.admit(scope)
        tell(scope, principal=admitted.principal.name)
        answer = await _answer(door, endpoint, request, admitted=admitted, path=path)
        await answer(scope, receive, _with_headers(send, admitted.headers))

    def _find(self, path: str) -> tuple[Route, dict[str, str]]:
        for route in self._routes:
            match = route.pattern.fullmatch(path)
            if match is not None:
                return route, match.groupdict()
        raise Problem(404, "not-found", "There is nothing at this path.")


async def _answer(
    door: Door, endpoint: Endpoint, request: Request, *, admitted: Admitted, path: Mapping[str, str]
) -> ASGIApp:
    """The answer of an endpoint; a problem carries the headers of whom was admitted, too."""
    try:
        authorise(door, endpoint, request, principal=admitted.principal, path=path)
        values = reading.values(endpoint.parameters, path=path, query=request.query_params)
        content: Any = None
        if endpoint.body is None:
            reading.refuse_body(request)
        else:
            content = await reading.body(request, endpoint.body)
        call = Call(door, admitted.principal, values, content, request)
        if inspect.iscoroutinefunction(endpoint.handler):
            found = await endpoint.handler(call)
        else:
            found = await run_in_threadpool(endpoint.handler, call)
    except Problem as problem:
        problem.headers = {**admitted.headers, **problem.headers}
        raise
    return json_answer(found) if isinstance(found, msgspec.Struct) else found


def authorise(
    door: Door, endpoint: Endpoint, request: Request, *, principal: Principal, path: Mapping[str, str]
) -> None:
    """Raises: Problem 403 for an act, 404 for a stream that is not the principal's."""
    if endpoint.act is None:
        return
    if not principal.may(endpoint.act):
        door.gate.refused(principal, request.scope, f"may not {endpoint.act}")
        raise Problem(403, "forbidden", f"{principal.name} may not {endpoint.act}.", act=endpoint.act)
    if endpoint.shows_stream:
        stream = path["stream"]
        if not principal.sees(stream) and stream in door.config.streams:
            door.gate.refused(principal, request.scope, f"stream {stream} is foreign")
        if not principal.sees(stream) or stream not in door.config.streams:
            raise Problem(404, "not-found", f"There is no stream {stream[:63]!r}.")


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    if not headers:
        return send

    async def send_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return send_with
