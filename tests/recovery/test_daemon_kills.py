"""A1, A2, A12: the daemon is killed or stopped at any instant, and every change is in the journal exactly once (I8)."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from demo.server import Database
from tests.daemon import Daemon, Load, prepare, reckon, wait_for
from tests.machine import Waits

STOP_LIMIT_S = 10.0


def times(soak: int) -> int:
    """How often a long form repeats; `SOAK_COUNT` overrules."""
    return int(os.environ.get("SOAK_COUNT", soak))


@pytest.fixture
def daemon(tmp_path: Path, database: Database) -> Iterator[Daemon]:
    prepare(database, "articles")
    with Daemon(tmp_path, database, "articles") as made:
        yield made


def kill_under_load(daemon: Daemon, count: int) -> None:
    """SIGKILL `count` times, each 0 to 2 s after a start, while an application writes 200 rows a second."""
    daemon.start()
    with Load(daemon.database, "articles", reject_every=50) as load:
        for _ in range(count):
            time.sleep(random.uniform(0, 2))  # noqa: S311  the instant is the experiment
            assert daemon.is_running, daemon.log_tail()
            daemon.kill()
            daemon.launch()
        daemon.wait_reading()
    reckon(daemon, "articles", [load])
    daemon.stop()


def test_kills_at_random_instants_lose_and_double_nothing(daemon: Daemon) -> None:
    kill_under_load(daemon, 7)


@pytest.mark.soak
def test_hundreds_of_kills_at_random_instants_lose_and_double_nothing(daemon: Daemon) -> None:
    kill_under_load(daemon, times(300))


def kill_inside_copies(daemon: Daemon, count: int) -> None:
    """COPY 1,000 rows in one transaction and SIGKILL the daemon while it reads them, part of them journalled."""
    cut = 0
    for number in range(count):
        daemon.start()
        with psycopg.connect(daemon.database.dsn) as connection:
            with connection.cursor().copy("COPY shop.articles FROM STDIN") as copy:
                for row in range(number * 1000, number * 1000 + 1000):
                    copy.write_row((row, "n" * 20_000, 1))
            committer = threading.Thread(target=connection.commit)
            committer.start()
            wait_for(lambda: _copied(daemon) > number * 1000, every_s=0, why=daemon.log_tail)  # noqa: B023  called at once
            daemon.kill()
            committer.join()
        cut += _copied(daemon) < number * 1000 + 1000
    assert cut > count / 2, "the kills came too late to prove anything"
    daemon.start()
    wait_for(lambda: _copied(daemon) >= 1000 * count, why=daemon.log_tail)
    assert Counter(daemon.changes("articles")) == Counter(("created", row) for row in range(1000 * count))
    assert daemon.rows("articles") == daemon.table("articles")
    daemon.stop()


def _copied(daemon: Daemon) -> int:
    with daemon.journal() as journal:
        extent = journal.extents().get("articles")
    return extent.last if extent else 0


def test_kills_inside_a_copy_lose_and_double_nothing(daemon: Daemon) -> None:
    """Rows of one transaction share what a position is made of: the journal counts the changes in it."""
    kill_inside_copies(daemon, 6)


@pytest.mark.soak
def test_many_kills_inside_copies_lose_and_double_nothing(daemon: Daemon) -> None:
    kill_inside_copies(daemon, times(50))


def stop_in_time(daemon: Daemon, code: int = 0) -> None:
    """SIGTERM, and the end with this exit code within what is promised."""
    with Waits() as waits:
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == code, daemon.log_tail()
        assert time.monotonic() - began <= STOP_LIMIT_S + waits.so_far_s()


def stop_under_load(daemon: Daemon, count: int) -> None:
    """SIGTERM `count` times under load; each stop is clean and in time."""
    daemon.start()
    with Load(daemon.database, "articles") as load:
        for _ in range(count):
            time.sleep(random.uniform(0, 0.5))  # noqa: S311  the instant is the experiment
            stop_in_time(daemon)
            assert "daemon.stopped" in daemon.log_tail(1)
            daemon.start()
    reckon(daemon, "articles", [load])
    daemon.stop()


def test_clean_stops_under_load_lose_and_double_nothing(daemon: Daemon) -> None:
    stop_under_load(daemon, 3)


@pytest.mark.soak
def test_a_hundred_clean_stops_under_load_lose_and_double_nothing(daemon: Daemon) -> None:
    stop_under_load(daemon, times(100))


def test_a_second_signal_ends_a_stop_that_takes_too_long(daemon: Daemon) -> None:
    """The journal's writer is held up from outside, so the first signal cannot be obeyed in time; nothing is lost."""
    daemon.start()
    with Load(daemon.database, "articles") as load:
        wait_for(lambda: len(daemon.changes("articles")) > 20, why=daemon.log_tail)
        with daemon.journal() as journal, journal._database.writing():
            written = len(load.acknowledged)
            wait_for(lambda: len(load.acknowledged) > written + 100)  # the writer waits for its turn
            daemon.signal(signal.SIGTERM)
            active = f"SELECT active FROM pg_replication_slots WHERE slot_name = '{daemon.slot}'"
            wait_for(lambda: daemon.database.sql(active) == [(False,)], why=daemon.log_tail)  # two at once were one
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 128 + signal.SIGTERM
        daemon.start()
    reckon(daemon, "articles", [load])
