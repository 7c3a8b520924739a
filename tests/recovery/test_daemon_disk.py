"""A6, A7: the disk below the journal fills up or fails, while the legacy system goes on writing."""

import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from bridge.errors import JournalLocked
from bridge.journal.sqlite import SqliteJournal
from demo.server import Database
from tests.daemon import Daemon, Load, prepare, reckon, wait_for
from tests.machine import Waits, fill, require
from tests.recovery.test_daemon_kills import stop_in_time

RECOVERY_LIMIT_S = 10.0


def test_a_full_disk_stops_confirming_and_heals_by_itself(tmp_path: Path, small_disk: Path, database: Database) -> None:
    """The slot stays at the last durable event, health says why, and 10 s after space returns all is journalled."""
    prepare(database, "articles")
    with Daemon(tmp_path, database, "articles", journal=small_disk / "journal.db") as daemon:
        daemon.start()
        with Load(database, "articles", per_second=100) as load:
            wait_for(lambda: len(daemon.changes("articles")) > 20, why=daemon.log_tail)
            ballast = fill(small_disk)
            ailment = daemon.wait_ailment("journal")
            assert ailment["status"] == "fail"
            assert "full" in ailment["what"].lower()
            assert ailment["blocks"] == ["articles"]
            assert daemon.page("/readyz")[0] == 503
            assert daemon.page("/livez")[0] == 200
            behind = len(load.acknowledged)
            wait_for(lambda: len(load.acknowledged) > behind + 100)  # the legacy application is not disturbed
            assert daemon.confirmed() <= daemon.position()
            assert len(daemon.changes("articles")) < behind + 100
            with Waits() as waits:
                ballast.unlink()
                freed_at = time.monotonic()
                daemon.wait_well("journal", "source:erp")
                written = len(load.acknowledged)
                wait_for(lambda: len(daemon.changes("articles")) >= written, why=daemon.log_tail)
                assert time.monotonic() - freed_at <= RECOVERY_LIMIT_S + waits.so_far_s()
        reckon(daemon, "articles", [load])
        assert daemon.page("/readyz")[0] == 200
        daemon.stop()


def test_a_stop_with_a_full_disk_ends_in_time_and_loses_nothing(
    tmp_path: Path, small_disk: Path, database: Database
) -> None:
    prepare(database, "articles")
    with Daemon(tmp_path, database, "articles", journal=small_disk / "journal.db") as daemon:
        daemon.start()
        with Load(database, "articles", per_second=100) as load:
            wait_for(lambda: len(daemon.changes("articles")) > 20, why=daemon.log_tail)
            ballast = fill(small_disk)
            daemon.wait_ailment("journal")
            stop_in_time(daemon, 74)  # it says that not all could be written
            ballast.unlink()
            daemon.start()
        reckon(daemon, "articles", [load])


def fail_syncs(daemon: Daemon, calls: Path, whens: Iterable[int]) -> None:
    """For each `when`, the when-th sync of a daemon's life fails with EIO, and the two after it."""
    require(shutil.which("strace"), "failing a system call needs strace")
    strace = ["strace", "-f", "-qq", "-o", str(calls), "-e", "trace=fdatasync,fsync"]
    with Load(daemon.database, "articles", per_second=100) as load:
        for when in whens:
            daemon.kill()
            wait_for(lambda: _is_free(daemon.journal_file))
            daemon.launch(around=[*strace, "-e", f"inject=fdatasync,fsync:error=EIO:when={when}..{when + 2}"])
            wait_for(lambda: "INJECTED" in (calls.read_text() if calls.exists() else ""), why=daemon.log_tail)
            assert daemon.confirmed() <= daemon.position()
            wait_for(lambda: not daemon.is_running or _is_well(daemon), why=daemon.log_tail)
            if not daemon.is_running:  # it failed while the journal was opened
                assert daemon.wait() == 74
                daemon.start()
            calls.unlink()
        written = len(load.acknowledged)
        wait_for(lambda: len(daemon.changes("articles")) >= written, why=daemon.log_tail)
    reckon(daemon, "articles", [load])


def _is_free(path: Path) -> bool:
    """Whether nobody owns the journal: the end of a daemon below strace comes a moment after strace's own."""
    try:
        SqliteJournal.open(path, owner=True).close()
    except JournalLocked:
        return False
    return True


def _is_well(daemon: Daemon) -> bool:
    health = daemon.health()
    return {health.get(name, {}).get("status") for name in ("journal", "source:erp")} == {"pass"}


@pytest.fixture
def daemon(tmp_path: Path, database: Database) -> Iterator[Daemon]:
    prepare(database, "articles")
    with Daemon(tmp_path, database, "articles") as made:
        yield made.start()


def test_nothing_is_confirmed_after_a_failed_sync(daemon: Daemon, tmp_path: Path) -> None:
    """The journal is asked what it holds, and each change is in it once; a start that cannot sync is refused."""
    fail_syncs(daemon, tmp_path / "calls", [2, 20])


@pytest.mark.soak
def test_nothing_is_confirmed_after_any_failed_sync(daemon: Daemon, tmp_path: Path) -> None:
    fail_syncs(daemon, tmp_path / "calls", range(1, 51))
