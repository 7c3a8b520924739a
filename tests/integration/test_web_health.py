"""Health pages and metrics over a real socket."""

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import pytest

from bridge.errors import ConfigError
from bridge.health import HealthBoard
from bridge.metrics import Metrics
from bridge.web.health import build
from bridge.web.server import listen, serve

Check = Callable[[], str | None]


@contextmanager
def running(
    board: HealthBoard | None = None,
    alive: Callable[[], bool] = lambda: True,
    ready: Mapping[str, Check] | None = None,
) -> Iterator[int]:
    """A server on a free port; stopped and joined at the end."""
    app = build(board=board or HealthBoard(), metrics=Metrics(), alive=alive, ready=ready or {})
    listener, stop = listen("127.0.0.1", 0), threading.Event()
    thread = threading.Thread(target=serve, args=(app, listener), kwargs={"stop": stop})
    port: int = listener.getsockname()[1]
    thread.start()
    try:
        yield port
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def ask(
    port: int, path: str, method: str = "GET", *, headers: Mapping[str, str] | None = None
) -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers
    finally:
        connection.close()


def test_livez_says_whether_the_loops_turn() -> None:
    with running() as port:
        assert ask(port, "/livez")[:2] == (200, "ok\n")
    with running(alive=lambda: False) as port:
        assert ask(port, "/livez")[0] == 503


def test_readyz_depends_on_its_own_checks_and_not_on_sources() -> None:
    board = HealthBoard()
    board.fail("source:erp", "down", "start it")
    with running(board, ready={"journal": lambda: None, "config": lambda: None}) as port:
        assert ask(port, "/readyz")[:2] == (200, "ok\n")
        assert ask(port, "/readyz?verbose")[1] == "[+]journal: ok\n[+]config: ok\n"
    with running(ready={"journal": lambda: "disk full", "config": lambda: None}) as port:
        assert ask(port, "/readyz")[:2] == (503, "not ready\n")
        assert ask(port, "/readyz?verbose")[:2] == (503, "[-]journal: disk full\n[+]config: ok\n")


def test_health_shows_what_is_wrong_and_answers_503_only_when_it_fails() -> None:
    board = HealthBoard()
    with running(board) as port:
        board.fail("slot:erp", "half full", "look at it", level="warn")
        status, body, headers = ask(port, "/health")
        assert (status, headers["content-type"]) == (200, "application/health+json")
        assert json.loads(body)["checks"]["slot:erp"]["what"] == "half full"
        board.fail("journal", "disk full", "free space")
        assert ask(port, "/health")[0] == 503


def test_metrics_are_in_prometheus_text_format() -> None:
    with running() as port:
        status, body, headers = ask(port, "/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "bridge_build_info" in body


def test_every_answer_carries_security_headers_and_no_server_name() -> None:
    with running() as port:
        for path in ("/livez", "/nowhere"):
            headers = ask(port, path)[2]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert headers["cache-control"] == "no-store"
            assert headers["server"] is None


def test_writes_bodies_and_huge_headers_are_refused() -> None:
    with running() as port:
        assert ask(port, "/livez", "POST")[0] == 405
        assert ask(port, "/livez", "DELETE")[0] == 405
        assert ask(port, "/livez", headers={"content-length": "100"})[0] == 413
        assert ask(port, "/livez", headers={"transfer-encoding": "chunked"})[0] == 413
        assert ask(port, "/livez", headers={"x": "y" * 20_000})[0] == 431
        with socket.create_connection(("127.0.0.1", port), timeout=10) as endless, suppress(ConnectionError):
            endless.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 4_000_000)
            assert endless.recv(4096).startswith(b"HTTP/1.1 400")
        assert ask(port, "/livez")[0] == 200, "the server lives on"


def test_a_taken_port_is_a_clear_error_before_anything_starts() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}: Address already in use"):
            listen("127.0.0.1", port)
    with pytest.raises(ConfigError, match="cannot listen"):
        listen("192.0.2.1", 0)


def test_requests_queue_from_the_moment_of_listening() -> None:
    """A client that connects before the thread runs is answered, so READY may be told right after `listen`."""
    listener, stop = listen("127.0.0.1", 0), threading.Event()
    early = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=10)
    early.request("GET", "/livez")
    app = build(board=HealthBoard(), metrics=Metrics(), alive=lambda: True, ready={})
    thread = threading.Thread(target=serve, args=(app, listener), kwargs={"stop": stop})
    thread.start()
    try:
        assert early.getresponse().status == 200
    finally:
        early.close()
        stop.set()
        thread.join(10)
