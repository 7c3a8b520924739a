"""Who asked what, when and with what outcome: one log line, one figure and one span a request.

A line has the method, the route's template, status, duration, size, the principal's name and the trace's id: never a
path, a query, a header or a body. Requests of `/livez`, `/readyz`, `/health` and `/metrics` that went well are logged
at debug level.
"""

import time
from contextlib import AbstractContextManager, nullcontext

import structlog
from opentelemetry import propagate, trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.metrics import Metrics
from bridge.tracing import is_on, tracer
from bridge.web.problems import trace_id

NO_ROUTE = "none"  # there is nothing at the path, or the method is unheard of
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PROBES = frozenset({"/livez", "/readyz", "/health", "/metrics"})
_FAILED = 500
_log = structlog.get_logger()


def tell(scope: Scope, *, route: str | None = None, principal: str | None = None) -> None:
    """Say which route a request took and who sent it, as soon as that is known."""
    if route is not None:
        scope["bridge.route"] = route
    if principal is not None:
        scope["bridge.principal"] = principal


class AccessLog:
    """Wraps an application; the outermost, so that it sees what everything else answered."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(send)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        with _span(scope, method) if is_on() else nullcontext(INVALID_SPAN) as span:
            own = span.get_span_context()
            if own.is_valid:
                scope["bridge.trace_id"] = trace.format_trace_id(own.trace_id)
            try:
                await self.app(scope, receive, answer.send)
            finally:
                self._note(scope, answer, method, span=span)

    def _note(self, scope: Scope, answer: "_Answer", method: str, *, span: Span) -> None:
        route, status = _route(scope), answer.status or _FAILED
        duration_s = time.perf_counter() - answer.began_at
        self._metrics.record_request(
            route, method, status, duration_s=answer.first_byte_s if answer.is_live else duration_s
        )
        if span.is_recording():
            span.update_name(f"{method} {route}")
            span.set_attributes(
                {"http.request.method": method, "http.route": route, "http.response.status_code": status}
            )
            if status >= _FAILED:
                span.set_status(Status(StatusCode.ERROR))
        client = scope.get("client")
        log = _log.debug if route in _PROBES and status < _FAILED else _log.info
        log(
            "http.answered",
            method=method,
            route=route,
            status=status,
            duration_ms=round(1000 * duration_s, 3),
            bytes=answer.bytes,
            principal=scope.get("bridge.principal"),
            client=client[0] if client else None,
            trace_id=trace_id(scope),
        )


class _Answer:
    """What went back to the client."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.began_at = time.perf_counter()
        self.first_byte_s = 0.0
        self.status = 0  # of an answer that never began
        self.bytes = 0  # of bodies
        self.is_live = False  # lasts as long as the client wants: its duration is no figure

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.first_byte_s = time.perf_counter() - self.began_at
            content_type = next((value for name, value in message.get("headers", ()) if name == b"content-type"), b"")
            self.is_live = content_type.startswith(b"text/event-stream")
        elif message["type"] == "http.response.body":
            self.bytes += len(message.get("body", b""))
        await self._send(message)


def _span(scope: Scope, method: str) -> AbstractContextManager[Span]:
    """A span that goes on in the caller's trace."""
    return tracer.start_as_current_span(
        method,
        context=propagate.extract(Headers(scope=scope)),
        kind=SpanKind.SERVER,
        record_exception=False,
        set_status_on_exception=False,
    )


def _route(scope: Scope) -> str:
    """The template that the request took."""
    told = scope.get("bridge.route")
    return str(told if told is not None else getattr(scope.get("route"), "path", NO_ROUTE))
