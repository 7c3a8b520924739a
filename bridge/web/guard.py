"""What every answer has: security headers. What no request may have: huge headers, two ends, a body out of place."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.web.problems import Problem, answer

_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_REQUEST_HEADERS_LIMIT_BYTES = 16 * 1024


class Guard:
    """Wraps an application."""

    def __init__(self, app: ASGIApp, *, takes_bodies: bool = False) -> None:
        """Guard an application.

        Args:
            app: what is guarded.
            takes_bodies: it decides for itself which requests may have one.
        """
        self.app = app
        self._takes_bodies = takes_bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = _refusal(Headers(scope=scope), takes_bodies=self._takes_bodies)
        app = self.app if refusal is None else answer(refusal, scope)
        await app(scope, receive, send_guarded)


def _refusal(headers: Headers, *, takes_bodies: bool) -> Problem | None:
    """What is wrong with a request that no honest client sends."""
    close = {"connection": "close"}
    if sum(len(name) + len(value) for name, value in headers.raw) > _REQUEST_HEADERS_LIMIT_BYTES:
        return Problem(431, "headers-too-large", "The headers are larger than 16 KB.", headers=close)
    if "content-length" in headers and "transfer-encoding" in headers:  # two readers may see two requests in it
        return Problem(400, "invalid-request", "A body has a length or comes in chunks, not both.", headers=close)
    if not takes_bodies and has_body(headers):
        return Problem(413, "body-too-large", "This page takes no body.", headers=close)
    return None


def has_body(headers: Headers) -> bool:
    """Whether a body comes with a request."""
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
