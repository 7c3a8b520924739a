"""systemd hears what the daemon says, on a real datagram socket."""

import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.notify import Notifier


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A listening service manager and its NOTIFY_SOCKET."""
    address = str(tmp_path / "notify") if request.param == "file" else f"@bridge-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0", 1))
        listener.settimeout(5)
        yield listener, address


def test_each_call_is_one_datagram_in_the_protocol_of_sd_notify(manager: tuple[socket.socket, str]) -> None:
    listener, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready("6 streams")
    assert listener.recv(4096) == b"READY=1\nSTATUS=6 streams"
    notifier.status("behind\nREADY=1")
    assert listener.recv(4096) == b"STATUS=behind READY=1", "a line break would forge a second assignment"
    notifier.alive()
    assert listener.recv(4096) == b"WATCHDOG=1"
    notifier.stopping("draining", extend_s=30)
    assert listener.recv(4096) == b"STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=30000000"


def test_a_reload_carries_the_monotonic_time(manager: tuple[socket.socket, str]) -> None:
    listener, address = manager
    before = time.monotonic_ns() // 1000
    Notifier({"NOTIFY_SOCKET": address}).reloading()
    first, _, usec = listener.recv(4096).decode().partition("\nMONOTONIC_USEC=")
    assert first == "RELOADING=1"
    assert before <= int(usec) <= time.monotonic_ns() // 1000


def test_without_a_service_manager_nothing_happens(tmp_path: Path) -> None:
    Notifier({}).ready("nobody hears")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("nobody hears any more")


def test_the_watchdog_is_fed_at_half_its_time_and_only_when_it_watches_us() -> None:
    assert Notifier({"WATCHDOG_USEC": "60000000"}).watchdog_interval_s == 30
    assert Notifier({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_interval_s == 30
    assert Notifier({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}).watchdog_interval_s is None
    assert Notifier({}).watchdog_interval_s is None
    assert Notifier({"WATCHDOG_USEC": "0"}).watchdog_interval_s is None
