"""Every way a request can fail, as RFC 9457 problem documents.

A handler raises `Problem` with a slug of `KINDS`; the slug gives the type (`/problems/{slug}`, a page that this door
serves) and the title. Types and titles are part of the interface; `docs/problems.md` lists them. No problem carries a
stack trace, a secret or a value of a row.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.errors import BridgeError

_NONE: Mapping[str, str] = MappingProxyType({})
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of problem."""

    title: str
    meaning: str  # what happened and what to do, for the page of the type
    type: str | None = None  # where somebody else's registry names it


KINDS: Mapping[str, Kind] = {
    "unauthenticated": Kind(
        "Who are you?", "No key or token, or one that is unknown, expired or revoked. Send `Authorization: Bearer KEY`."
    ),
    "forbidden": Kind(
        "Not permitted", "You are known, but this act is not among yours. Ask whoever writes `principals`."
    ),
    "not-found": Kind("No such thing", "There is nothing by this name, or you may not see it. Check the spelling."),
    "method-not-allowed": Kind("Method not allowed", "The path exists; `Allow` says with which methods."),
    "not-acceptable": Kind("No such format", "None of the formats of `Accept` or `format` is served here."),
    "invalid-request": Kind(
        "Invalid request", "A parameter or the body is not what the description of the API says; `errors` names each."
    ),
    "body-too-large": Kind("Body too large", "This route takes no body, or a smaller one."),
    "unsupported-media-type": Kind("Unsupported media type", "Send the media type that the description names."),
    "headers-too-large": Kind("Headers too large", "Send fewer or shorter headers."),
    "cursor-moved-back": Kind(
        "A cursor never moves back", "What was acknowledged stays so. Use a cursor of a new name."
    ),
    "declined": Kind("Declined", "What was asked for cannot be done as things stand; nothing was changed."),
    "events-forgotten": Kind(
        "Not kept any more", "Retention has taken events behind your place. Read on from `first`, and make up the gap."
    ),
    "quota-exceeded": Kind(
        "Quota exceeded",
        "More requests than your quota allows. Wait as long as `Retry-After` says.",
        "https://iana.org/assignments/http-problem-types#quota-exceeded",
    ),
    "too-many-attempts": Kind(
        "Too many wrong keys", "Wrong keys or tokens came from your address. Mend the key; wait for `Retry-After`."
    ),
    "too-many-connections": Kind(
        "Too many live connections", "Close one of your live connections first, or read by pages."
    ),
    "unavailable": Kind("Not available now", "Try again after `Retry-After` seconds; `detail` says what is missing."),
    "internal": Kind("A fault of the bridge", "Report it with its `trace_id`, which the log has too."),
}


class Problem(Exception):
    """A request cannot be answered as wished.

    Args:
        status: HTTP status.
        slug: one of `KINDS`.
        detail: what happened, for the one who asked; no secrets and no values of rows.
        headers: of the answer, besides its content type.
        extensions: further members of the document, JSON-able.
    """

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        headers: Mapping[str, str] = _NONE,
        **extensions: Any,  # noqa: ANN401  any JSON
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.kind = KINDS[slug]
        self.detail = detail
        self.headers = headers
        self.extensions = extensions


class ProblemResponse(JSONResponse):
    """A problem document."""

    media_type = "application/problem+json"


def answer(problem: Problem, scope: Scope) -> ProblemResponse:
    """The answer to a request that met a problem."""
    document = problem.extensions | {
        "type": problem.kind.type or f"/problems/{problem.slug}",
        "title": problem.kind.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": scope["path"],
        "trace_id": trace_id(scope),
    }
    return ProblemResponse(document, problem.status, dict(problem.headers))


def trace_id(scope: Scope) -> str:
    """The id of a request's trace: its caller's, else one of our own; the same for the whole request."""
    found: str | None = scope.get("bridge.trace_id")
    if found is None:
        sent = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        match = _TRACEPARENT.match(sent)
        found = match[1].decode() if match else secrets.token_hex(16)
        scope["bridge.trace_id"] = found
    return found


class Problems:
    """Wraps an application: whatever it raises before its answer has begun becomes a problem document."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises: what the application raised when its answer had begun, to cut the connection."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            if begun:
                raise
            await answer(_problem_of(error, scope), scope)(scope, receive, send)


def _problem_of(error: Exception, scope: Scope) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        slug = _SLUGS.get(error.status_code, "invalid-request")
        return Problem(error.status_code, slug, error.detail, headers=error.headers or {})
    if isinstance(error, BridgeError) and error.code == "request.declined":
        return Problem(409, "declined", error.detail, hint=error.hint)
    if isinstance(error, BridgeError) and error.reaction == "wait":
        return Problem(503, "unavailable", error.detail, headers={"retry-after": "5"}, hint=error.hint)
    _log.error("http.failed", method=scope["method"], trace_id=trace_id(scope), error=error)
    return Problem(500, "internal", "The request met a fault; nothing more is said here than its trace_id.")


_SLUGS = {404: "not-found", 405: "method-not-allowed", 413: "body-too-large"}


def page(slug: str) -> str:
    """What the page of a type of problem says. Raises: Problem where there is no such type."""
    kind = KINDS.get(slug)
    if kind is None:
        raise Problem(404, "not-found", "There is no such type of problem.")
    return f"{kind.title}\n\n{kind.meaning}\n"
