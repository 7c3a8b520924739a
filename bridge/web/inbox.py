"""The door for systems that send to us: `POST /v1/inbox/{system}/{path}`.

A request is taken in when its signature or login is right, and answered when the journal holds it: 202 for a new
message, 200 for one that it held already; never before. Bodies, headers and the time to send them are bounded; nothing
is unpacked. `OPTIONS` answers the validation handshake of CloudEvents' HTTP webhooks.
"""

import asyncio
import base64
import binascii
import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router

from bridge import signing
from bridge.config.inbox import WebhookSystemConfig
from bridge.errors import BridgeError
from bridge.inbox import jsontext
from bridge.inbox.incoming import Inbox, Incoming
from bridge.web.accesslog import tell
from bridge.web.problems import Problem, Problems

PREFIX = "/v1/inbox"
BODY_S = 20.0  # how long a sender may take for a body
ANSWER_S = 10.0  # how long one waits for the journal; senders give up after 10 to 30 s
HELD_BYTES = 64 << 20  # of all bodies that are being read or wait for the journal
LOG_INTERVAL_S = 30.0  # between two lines about refusals of one sort

_ATTRIBUTE = re.compile(r"ce-([a-z0-9]{1,20})\Z")
_ORIGIN = re.compile(r"[A-Za-z0-9._:/-]{1,255}\Z")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Hatch:
    """Where the messages of one system come in."""

    inbox: Inbox
    config: WebhookSystemConfig
    streams: Mapping[str, str]  # by path


Hatches = Callable[[], Mapping[str, Hatch]]  # by system; asked at every request, so that a reload counts at once


def mount(hatches: Hatches) -> Mount:
    """The routes, to be put into the daemon's application."""
    desk = _Desk(hatches)
    routes = [
        Route("/{system}/{path:path}", desk.take, methods=["POST"]),
        Route("/{system}/{path:path}", desk.handshake, methods=["OPTIONS"]),
    ]
    return Mount(PREFIX, app=Problems(Router(routes)))


class _Desk:
    """Answers requests; for one event loop."""

    def __init__(self, hatches: Hatches) -> None:
        self._hatches = hatches
        self._held_bytes = 0
        self._said: dict[tuple[str, str], tuple[float, int]] = {}  # refusals: when logged last, how many since

    async def take(self, request: Request) -> Response:
        """Take one message in."""
        hatch, stream = self._find(request)
        limit = int(hatch.config.body_limit_megabytes * 1_000_000)
        headers = request.headers
        if hatch.config.basic is not None:
            self._demand(request, _basic_flaw(hatch.config, headers))
        if headers.get("content-encoding", "identity").lower() not in {"identity", ""}:
            raise Problem(415, "unsupported-media-type", "Send the body as it is, not compressed.",
                          headers={"accept-encoding": "identity"})  # fmt: skip
        body = b""
        try:
            body = await self._body(request, limit)
            if hatch.config.basic is None:
                self._demand(request, _signature_flaw(hatch.config, headers, body))
            return await self._hand_in(hatch, stream, _incoming(hatch.config, headers, body))
        finally:
            self._held_bytes -= len(body)

    async def handshake(self, request: Request) -> Response:
        """Tell a CloudEvents sender whether it may send here."""
        hatch, _ = self._find(request)
        origin = request.headers.get("webhook-request-origin")
        if origin is None:
            return Response(status_code=204, headers={"allow": "POST, OPTIONS"})
        allowed = hatch.config.allowed_origins
        if not _ORIGIN.match(origin) or not ("*" in allowed or origin in allowed):
            raise Problem(403, "forbidden", "This origin may not send here.")
        granted = {"allow": "POST, OPTIONS", "webhook-allowed-origin": origin, "webhook-allowed-rate": "*"}
        return Response(status_code=200, headers=granted)

    def _find(self, request: Request) -> tuple[Hatch, str]:
        tell(request.scope, route=f"{PREFIX}/{{system}}/{{path}}")
        hatch = self._hatches().get(request.path_params["system"])
        stream = hatch.streams.get(request.path_params["path"]) if hatch is not None else None
        if hatch is None or stream is None:
            raise Problem(404, "not-found", "No stream takes messages in here.")
        return hatch, stream

    async def _body(self, request: Request, limit: int) -> bytes:
        """The whole body; it counts as held from here on. Raises: Problem 408, 413, 503."""
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > limit:
            raise _too_large(limit)
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_S):
                async for part in request.stream():
                    body += part
                    self._held_bytes += len(part)
                    self._bound(len(body), limit)
        except TimeoutError:
            self._held_bytes -= len(body)
            raise Problem(408, "invalid-request", "The body did not come in time.") from None
        except ClientDisconnect:
            self._held_bytes -= len(body)
            raise Problem(400, "invalid-request", "The body is not whole.") from None
        except BaseException:
            self._held_bytes -= len(body)
            raise
        return bytes(body)

    def _bound(self, size: int, limit: int) -> None:
        if size > limit:
            raise _too_large(limit)
        if self._held_bytes > HELD_BYTES:
            raise _later("Too much is being taken in.")

    async def _hand_in(self, hatch: Hatch, stream: str, message: Incoming) -> Response:
        try:
            future = hatch.inbox.submit(stream, message)
            async with asyncio.timeout(ANSWER_S):
                taken = await asyncio.wrap_future(future)  # I1
        except TimeoutError:
            raise _later("The journal did not take it in time.") from None
        except BridgeError as error:
            if error.reaction != "wait":
                raise
            raise _later("It cannot be taken in now.") from error
        return Response(status_code=202 if taken == "new" else 200)

    def _demand(self, request: Request, flaw: str | None) -> None:
        """Raises: Problem 401, which says nothing of why; the log does."""
        if flaw is None:
            return
        system = request.path_params["system"]
        at, count = self._said.get((system, flaw), (float("-inf"), 0))
        now, count = time.monotonic(), count + 1
        if now - at >= LOG_INTERVAL_S:
            _log.warning("inbox.refused", system=system, path=request.path_params["path"], why=flaw, count=count)
            at, count = now, 0
        self._said[system, flaw] = (at, count)
        raise Problem(401, "unauthenticated", "The message is not signed as it must be.",
                      headers={"www-authenticate": 'Basic realm="inbox"'})  # fmt: skip


def _too_large(limit: int) -> Problem:
    return Problem(413, "body-too-large", f"A body here has at most {limit} bytes.")


def _later(detail: str) -> Problem:
    return Problem(503, "unavailable", detail, headers={"retry-after": "5"})


def _incoming(config: WebhookSystemConfig, headers: Headers, body: bytes) -> Incoming:
    return Incoming(
        body=body,
        received_at=datetime.now(UTC),
        content_type=headers.get("content-type", "")[:255],
        attributes=_attributes(headers) if "ce-specversion" in headers else {},
        id=_id(config.way, headers, body),
        traceparent=headers.get("traceparent"),
    )


def _attributes(headers: Headers) -> dict[str, str]:
    """The attributes of a CloudEvent in binary mode, each decoded once. Raises: Problem 400."""
    try:
        return {
            match[1]: unquote_to_bytes(value.strip('"')).decode("utf-8")
            for name, value in headers.items()
            if (match := _ATTRIBUTE.match(name))
        }
    except UnicodeDecodeError:
        raise Problem(400, "invalid-request", "A ce- header is not UTF-8.") from None


def _id(way: str, headers: Headers, body: bytes) -> str | None:
    """What the sender calls the message: the part that its signature covers, where it covers one."""
    if way == "stripe":
        try:
            event = jsontext.read(body)
        except jsontext.NotJson:
            return None
        found = event.get("id") if isinstance(event, dict) else None
        return found if isinstance(found, str) and found else None
    names = {"standard": ("webhook-id",), "github": ("x-github-delivery",), "basic": ("webhook-id", "idempotency-key")}
    return next((headers[name] for name in names[way] if headers.get(name)), None)


def _signature_flaw(config: WebhookSystemConfig, headers: Headers, body: bytes) -> str | None:
    """What speaks against a signed request. Raises: SecretUnavailable."""
    now = datetime.now(UTC)
    if config.standard is not None:
        keys = _keys(tuple(secret.reveal() for secret in config.standard.secrets))
        return signing.standard_flaw(keys, headers, body, now=now)
    if config.github is not None:
        return signing.github_flaw([secret.reveal() for secret in config.github.secrets], headers, body)
    assert config.stripe is not None  # noqa: S101  exactly one way is configured
    return signing.stripe_flaw([secret.reveal() for secret in config.stripe.secrets], headers, body, now=now)


@lru_cache(maxsize=64)
def _keys(texts: tuple[str, ...]) -> tuple[signing.Key, ...]:
    return signing.keys(texts)


def _basic_flaw(config: WebhookSystemConfig, headers: Headers) -> str | None:
    """What speaks against a login. Raises: SecretUnavailable."""
    assert config.basic is not None  # noqa: S101  asked for by the caller
    expected = f"{config.basic.user}:{config.basic.password.reveal()}".encode()
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        given = b""
    is_right = hmac.compare_digest(given, expected) and scheme.lower() == "basic"
    return None if is_right else "user or password is wrong"
