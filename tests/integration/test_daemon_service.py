"""The daemon as a service: what it tells systemd, and what its pages say while it lives."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.server import Database
from tests.daemon import DEADLINE_S, ROOT, Daemon, Load, prepare, reckon, wait_for
from tests.inbox import InboxDaemon


class Manager:
    """A service manager's end of the notify socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(DEADLINE_S)

    def next(self, wanted: str) -> list[str]:
        """The lines of the next message that has the line `wanted`; others are passed over."""
        while True:
            lines = self._socket.recv(4096).decode().splitlines()
            if wanted in lines:
                return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


@pytest.fixture
def daemon(tmp_path: Path, database: Database) -> Iterator[Daemon]:
    prepare(database, "articles")
    with Daemon(tmp_path, database, "articles") as made:
        yield made


def test_systemd_hears_of_start_life_reload_and_end(daemon: Daemon, manager: Manager, tmp_path: Path) -> None:
    """READY comes when the pages answer and the journal is there; then the watchdog is fed until the end."""
    daemon.launch(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="4000000")
    manager.next("READY=1")
    assert daemon.page("/readyz") == (200, "ok\n")
    assert daemon.journal_file.exists()
    manager.next("WATCHDOG=1")
    manager.next("WATCHDOG=1")
    daemon.signal(signal.SIGHUP)
    reloading = manager.next("RELOADING=1")
    assert any(line.startswith("MONOTONIC_USEC=") for line in reloading)
    manager.next("READY=1")
    daemon.signal(signal.SIGTERM)
    assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in manager.next("STOPPING=1"))
    assert daemon.wait() == 0


def test_the_daemon_lives_and_is_ready_while_its_legacy_system_is_away(daemon: Daemon) -> None:
    """Restarting the bridge would not bring it back: /livez and /readyz stay well, /health says since when and what."""
    port = daemon.document["systems"]["erp"]["postgres"].pop("port")
    daemon.document["systems"]["erp"]["postgres"]["port"] = 1
    daemon.write()
    daemon.launch()
    ailment = daemon.wait_ailment("source:erp")
    assert ailment["status"] == "fail"
    assert ailment["action"]
    assert daemon.page("/health")[0] == 503
    assert daemon.page("/livez")[0] == 200
    assert daemon.page("/readyz?verbose") == (200, "[+]journal: ok\n")
    since = ailment["since"]
    wait_for(lambda: daemon.logged("source.failed"), why=daemon.log_tail)
    assert daemon.wait_ailment("source:erp")["since"] == since
    daemon.document["systems"]["erp"]["postgres"]["port"] = port
    daemon.write()
    daemon.ask("reload")
    daemon.wait_well("source:erp")
    assert daemon.cli("health").returncode == 0
    assert daemon.cli("health", "--ready").returncode == 0


AT_ONCE = """
import os, pathlib, signal, sys
from bridge import app, daemon
start = app.Loops.start
app.Loops.start = lambda loops: (start(loops), os.kill(os.getpid(), signal.SIGTERM))
sys.exit(daemon.run(pathlib.Path(sys.argv[1])))
"""


def test_a_stop_that_is_wanted_as_the_loops_begin_is_a_clean_one(tmp_path: Path) -> None:
    with InboxDaemon(tmp_path) as daemon:
        command = [sys.executable, "-c", AT_ONCE, str(daemon.path)]
        done = subprocess.run(
            command, cwd=ROOT, env=daemon.environment, capture_output=True, text=True, check=False, timeout=DEADLINE_S
        )
    assert (done.returncode, "daemon.stopped" in done.stdout) == (0, True), done.stdout + done.stderr


def test_a_taken_port_stops_the_start_with_its_name(daemon: Daemon) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        daemon.document["bridge"]["http"]["port"] = port
        daemon.write()
        daemon.launch()
        assert daemon.wait() == 78
    assert f"port {port}" in daemon.log_tail()


def test_memory_is_flat_after_load(daemon: Daemon) -> None:
    """What 100,000 rows took is given back or used again by the next 100,000."""
    daemon.start()
    sizes = []
    for number in range(4):
        first = number * 100_000
        daemon.database.sql(
            f"INSERT INTO shop.articles SELECT n, repeat('x', 100), 1 FROM generate_series({first}, {first + 99_999}) n"
        )
        wait_for(lambda: _journalled(daemon) >= first + 100_000, why=daemon.log_tail)  # noqa: B023  called at once
        sizes.append(_rss_mb(daemon))
    assert sizes[-1] - sizes[1] < 60, sizes
    assert max(sizes) < 350, sizes


def test_a_row_of_many_megabytes_is_journalled_whole_in_bounded_memory(daemon: Daemon) -> None:
    """A8: under load, within 512 MB; a row takes about twelve times its size for a moment."""
    daemon.start()
    with Load(daemon.database, "articles") as load:
        daemon.database.sql("INSERT INTO shop.articles VALUES (-1, repeat('abcdefghij', 2 << 20), 1)")
        load.acknowledged.append(("created", -1))
        wait_for(lambda: ("created", -1) in daemon.changes("articles"), why=daemon.log_tail)
    reckon(daemon, "articles", [load])
    assert _peak_mb(daemon) < 512


def _peak_mb(daemon: Daemon) -> float:
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM:"))


def _journalled(daemon: Daemon) -> int:
    with daemon.journal() as journal:
        extent = journal.extents().get("articles")
    return extent.last if extent else 0


def _rss_mb(daemon: Daemon) -> float:
    pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
