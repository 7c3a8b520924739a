"""What every answer has in common: security headers, bounded request headers, no request bodies."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_REQUEST_HEADERS_LIMIT_BYTES = 16 * 1024


class Guard:
    """Wraps an application of read-only pages."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refusal = _refusal(Headers(scope=scope))
        await (refusal or self.app)(scope, receive, send_guarded)


def _refusal(headers: Headers) -> PlainTextResponse | None:
    """The answer to a request that no honest client of these pages sends."""
    if sum(len(name) + len(value) for name, value in headers.raw) > _REQUEST_HEADERS_LIMIT_BYTES:
        return PlainTextResponse("headers too large\n", 431, {"connection": "close"})
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        return PlainTextResponse("no request body expected\n", 413, {"connection": "close"})
    return None
