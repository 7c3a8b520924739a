"""Clients that are slow on purpose: each is let go by rule, and nobody else waits for it (H7)."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.daemon import wait_for
from tests.door import Served, served


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as running:
        running.append(10)
        yield running


def lazy(door: Served, head: str) -> socket.socket:
    """A connection with a small window on which so much is sent, and nothing read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.connect(("127.0.0.1", door.port))
    connection.sendall(head.encode())
    return connection


def test_a_live_client_that_reads_nothing_is_dropped_and_another_misses_nothing(
    door: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.web.live.BUFFER_BYTES", 100_000)
    head = "GET /v1/streams/orders/events/live HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer root\r\n\r\n"
    live = door.door.feeds._counts
    with closing(lazy(door, head)), closing(http.client.HTTPConnection("127.0.0.1", door.port, timeout=30)) as other:
        wait_for(lambda: live["root"] == 1, why=lambda: str(live))
        other.request("GET", "/v1/streams/orders/events/live", headers={"Authorization": "Bearer trusted"})
        response = other.getresponse()
        assert response.readline() == b": welcome\n"
        number = 10
        for _ in range(200):
            if live["root"] == 0:
                break
            door.append(500, start=number)
            for _ in range(500):
                number += 1
                while not (line := response.readline()).startswith(b"data: "):
                    assert line
                assert int(json.loads(line[6:])["sequence"]) == number
        wait_for(lambda: live["root"] == 0, why=lambda: str(live))
        assert live["trusted"] == 1
        response.close()


def test_a_client_that_never_ends_its_request_is_cut_off(door: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.web.server._REQUEST_S", 0.2)
    for head in ("", "GET /v1/streams HT", "GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /liv"):
        with closing(lazy(door, head)) as connection:
            connection.settimeout(10)
            while connection.recv(4_096):
                pass


def test_a_client_that_never_ends_its_body_is_told_408(door: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.web.reading.BODY_S", 0.2)
    head = "PUT /v1/streams/orders/cursors/c HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer root\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{"
    with closing(lazy(door, head)) as connection:
        connection.settimeout(10)
        assert connection.recv(4_096).startswith(b"HTTP/1.1 408")


def test_a_client_that_leaves_a_page_lying_is_cut_off(door: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.web.server._STALL_S", 0.3)
    door.append(50_000, start=10)
    head = "GET /v1/streams/orders/events?limit=100000 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer root\r\n\r\n"
    with closing(lazy(door, head)) as connection:
        wait_for(lambda: _is_reset(connection), why=lambda: "it is still served")
    assert door.ask("/v1/streams").status == 200


def _is_reset(connection: socket.socket) -> bool:
    """Whether the other side has closed, however much of its answer still lies in between."""
    try:
        connection.sendall(b"x")
    except ConnectionError:
        return True
    return False
