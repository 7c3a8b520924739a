"""One line and one figure a request, and nothing of what was asked in them."""

import asyncio
from typing import Any

import pytest
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.metrics import Metrics
from bridge.web.accesslog import AccessLog, tell

TRACE = "0af7651916cd43dd8448eb211c80319c"


def ask(app: ASGIApp, *, path: str = "/v1/streams/orders", method: str = "GET") -> list[Message]:
    """One request with a query and a traceparent; returns what was sent."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"key=secret",
        "headers": [(b"traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode()), (b"authorization", b"secret")],
        "client": ("127.0.0.1", 9),
    }
    sent = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"secret"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def answer() -> None:
        await app(scope, receive, send)

    asyncio.run(answer())
    return sent


def answering(
    status: int, *, content_type: bytes = b"text/plain", route: str | None = "/v1/streams/{stream}"
) -> ASGIApp:
    """An application that knows its route and its sender."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        tell(scope, route=route, principal="lake")
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type)]})
        await send({"type": "http.response.body", "body": b"12345", "more_body": True})
        await send({"type": "http.response.body", "body": b"678"})

    return app


def requests(metrics: Metrics, **labels: str) -> float | None:
    return metrics.registry.get_sample_value("bridge_http_request_duration_seconds_count", labels)


def test_a_request_is_one_line_with_the_route_and_nothing_of_what_was_asked() -> None:
    metrics = Metrics()
    with structlog.testing.capture_logs() as lines:
        sent = ask(AccessLog(answering(200), metrics))
    (line,) = lines
    assert line.pop("duration_ms") >= 0
    assert line == {
        "log_level": "info",
        "event": "http.answered",
        "method": "GET",
        "route": "/v1/streams/{stream}",
        "status": 200,
        "bytes": 8,
        "principal": "lake",
        "client": "127.0.0.1",
        "trace_id": TRACE,
    }
    assert [message["type"] for message in sent] == ["http.response.start"] + ["http.response.body"] * 2
    assert requests(metrics, route="/v1/streams/{stream}", method="GET", status="200") == 1
    assert "secret" not in metrics.page().decode()


@pytest.mark.parametrize(("route", "status", "level"), [("/metrics", 200, "debug"), ("/readyz", 503, "info")])
def test_a_probe_that_went_well_makes_no_noise(route: str, status: int, level: str) -> None:
    with structlog.testing.capture_logs() as lines:
        ask(AccessLog(answering(status, route=route), Metrics()))
    assert [line["log_level"] for line in lines] == [level]


def test_paths_and_methods_of_strangers_make_no_series() -> None:
    metrics = Metrics()
    with structlog.testing.capture_logs():
        for number in range(5):
            ask(AccessLog(answering(404, route=None), metrics), path=f"/{number}", method=f"BREW{number}")
    assert requests(metrics, route="none", method="other", status="404") == 5


def test_a_fault_without_an_answer_is_a_500_and_goes_on() -> None:
    async def fail(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise OSError("broken")

    metrics = Metrics()
    with structlog.testing.capture_logs() as lines, pytest.raises(OSError, match="broken"):
        ask(AccessLog(fail, metrics))
    assert lines[0]["status"] == 500
    assert requests(metrics, route="none", method="GET", status="500") == 1


def test_a_live_answer_counts_until_its_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.25, 100.0])
    monkeypatch.setattr("bridge.web.accesslog.time.perf_counter", lambda: next(times))
    metrics = Metrics()
    with structlog.testing.capture_logs() as lines:
        ask(AccessLog(answering(200, content_type=b"text/event-stream; charset=utf-8"), metrics))
    total: Any = metrics.registry.get_sample_value(
        "bridge_http_request_duration_seconds_sum", {"route": "/v1/streams/{stream}", "method": "GET", "status": "200"}
    )
    assert total == 0.25
    assert lines[0]["duration_ms"] == 100_000


def test_what_is_no_http_request_goes_through() -> None:
    seen = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["type"])

    asyncio.run(AccessLog(app, Metrics())({"type": "lifespan"}, None, None))  # type: ignore[arg-type]  # not used
    assert seen == ["lifespan"]
