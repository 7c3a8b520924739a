"""A3: the daemon dies at every named step of its path, the n-th time it gets there, and loses and doubles nothing.

Each run asserts that the step was reached: the daemon's end is its own SIGKILL.
"""

import random
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.server import Database
from tests.daemon import ROOT, Daemon, Load, prepare, reckon, wait_for
from tests.recovery.test_delivery_kills import POINTS as ON_DELIVERY
from tests.recovery.test_extraction_kills import ON_READINGS
from tests.recovery.test_file_kills import COMPARING as ON_COMPARING
from tests.recovery.test_file_kills import STEPS as ON_FILES
from tests.recovery.test_parquet_kills import REACHED as ON_PARQUET
from tests.recovery.test_webhook_kills import ON_MESSAGES

ON_EVERY_WINDOW = (
    "source.after_read",
    "source.before_status",
    "source.after_status",
    "ingest.judged",
    "ingest.before_append",
    "ingest.after_append",
    "ingest.before_confirm",
    "ingest.after_confirm",
)
ON_REREADS = ("source.chunk_merged",)
ON_REPLAY = ("operate.before_replay",)
ON_RESUME = ("operate.before_resume",)
ON_REQUESTS = ("operate.before_settle",)
COUNTS = range(1, 11)
ROWS = 110  # of a re-read in chunks of 10


@pytest.fixture
def daemon(tmp_path: Path, database: Database) -> Iterator[Daemon]:
    prepare(database, "articles")
    with Daemon(tmp_path, database, "articles") as made:
        made.document["systems"]["erp"]["snapshot_chunk_rows"] = 10
        made.write()
        yield made


def some_counts() -> list[int]:
    """The first time, and one other; all ten in the long form."""
    return [1, random.choice(COUNTS[1:])]  # noqa: S311  not a secret


def die(daemon: Daemon, point: str, count: int) -> None:
    """Start it with a failpoint and wait until it has died there."""
    daemon.kill()
    daemon.launch(failpoint=f"{point}:{count}")
    assert daemon.wait() == -signal.SIGKILL, daemon.log_tail()


def test_each_failpoint_is_one_that_some_test_dies_at() -> None:
    named = {
        name for path in (ROOT / "bridge").rglob("*.py") for name in re.findall(r'reach\("([^"]+)"\)', path.read_text())
    }
    on_the_way_in = {*ON_EVERY_WINDOW, *ON_REREADS, *ON_REPLAY, *ON_RESUME, *ON_REQUESTS, *ON_MESSAGES}
    assert named == on_the_way_in | {*ON_DELIVERY, *ON_PARQUET, *ON_FILES, *ON_COMPARING, *ON_READINGS}


def die_on_windows(daemon: Daemon, deaths: list[tuple[str, int]]) -> None:
    daemon.start()
    with Load(daemon.database, "articles", reject_every=40) as load:
        for point, count in deaths:
            die(daemon, point, count)
            assert daemon.confirmed() <= daemon.position(), f"{point} confirmed what is not journalled"
        daemon.start()
    reckon(daemon, "articles", [load])


def test_a_death_at_any_step_of_a_window_loses_and_doubles_nothing(daemon: Daemon) -> None:
    die_on_windows(daemon, [(point, count) for point in ON_EVERY_WINDOW for count in some_counts()])


@pytest.mark.soak
@pytest.mark.parametrize("point", ON_EVERY_WINDOW)
def test_ten_deaths_at_a_step_of_a_window_lose_and_double_nothing(daemon: Daemon, point: str) -> None:
    die_on_windows(daemon, [(point, count) for count in COUNTS])


def die_on_rereads(daemon: Daemon, count: int) -> None:
    """A re-read under load is cut at a chunk and goes on behind the last one journalled."""
    daemon.database.sql(f"INSERT INTO shop.articles SELECT n, 'n', 1 FROM generate_series(1, {ROWS}) n")
    for point in ON_REREADS:
        die(daemon, point, count)
    daemon.start()
    with Load(daemon.database, "articles") as load:
        daemon.wait_settled(daemon.request("snapshot.start", stream="articles"))
        assert daemon.rereads()["articles"]["number"] == 2
        for point in ON_REREADS:
            die(daemon, point, count)
        daemon.start()
        assert daemon.rereads()["articles"]["number"] == 2
    reckon(daemon, "articles", [load])
    daemon.kill()


def test_a_death_between_two_chunks_of_a_reread_loses_and_doubles_nothing(daemon: Daemon) -> None:
    die_on_rereads(daemon, some_counts()[1])


@pytest.mark.soak
@pytest.mark.parametrize("count", COUNTS)
def test_a_death_at_each_chunk_of_a_reread_loses_and_doubles_nothing(daemon: Daemon, count: int) -> None:
    die_on_rereads(daemon, count)


def die_on_resume(daemon: Daemon, deaths: list[tuple[str, int]]) -> None:
    """Parked batches are replayed once each and in order, however often the replay is cut off."""
    daemon.start()
    daemon.wait_settled(daemon.request("stream.pause", stream="articles"))
    expected = []
    for number in range(sum(count for _, count in deaths) + 5):
        daemon.database.sql(f"INSERT INTO shop.articles VALUES ({number}, 'n', 1)")
        wait_for(lambda: _parked(daemon) > number, why=daemon.log_tail)  # noqa: B023  called at once
        expected.append(("created", number))
    request = None
    for point, count in deaths:
        daemon.kill()
        request = request or daemon.request("stream.resume", stream="articles")
        die(daemon, point, count)
    daemon.start()
    assert request is not None
    daemon.wait_settled(request)
    daemon.database.sql("INSERT INTO shop.articles VALUES (100000, 'n', 1)")
    expected.append(("created", 100_000))
    wait_for(lambda: len(daemon.changes("articles")) >= len(expected), why=daemon.log_tail)
    assert daemon.changes("articles") == expected
    assert _parked(daemon) == 0


def _parked(daemon: Daemon) -> int:
    with daemon.journal() as journal:
        return journal.parked_counts().get("articles", 0)


def test_a_death_while_parked_rows_are_replayed_loses_and_doubles_nothing(daemon: Daemon) -> None:
    die_on_resume(daemon, [*((point, count) for point in ON_RESUME for count in some_counts()), (ON_REQUESTS[0], 1)])


@pytest.mark.soak
def test_ten_deaths_while_parked_rows_are_replayed_lose_and_double_nothing(daemon: Daemon) -> None:
    die_on_resume(daemon, [*((point, count) for point in ON_RESUME for count in COUNTS), (ON_REQUESTS[0], 1)])


def die_on_replay(daemon: Daemon, deaths: list[tuple[str, int]]) -> None:
    """Dead letters become events once each, however often the replay is cut off."""
    daemon.start()
    letters = sum(count for _, count in deaths) + 5
    daemon.database.sql(f"INSERT INTO shop.articles SELECT n, 'n', -1 FROM generate_series(1, {letters}) n")
    wait_for(lambda: len(daemon.letter_keys("articles")) == letters, why=daemon.log_tail)
    daemon.kill()
    daemon.write_contract("articles", version="2.0.0", minimum=-10)
    request = daemon.request("dead.replay", all=True)
    for point, count in deaths:
        die(daemon, point, count)
    daemon.start()
    daemon.wait_settled(request)
    assert Counter(daemon.changes("articles")) == Counter(("created", number) for number in range(1, letters + 1))
    with daemon.journal() as journal:
        assert journal.letter_counts().get("articles", 0) == 0


def test_a_death_while_letters_are_replayed_loses_and_doubles_nothing(daemon: Daemon) -> None:
    die_on_replay(daemon, [*((point, count) for point in ON_REPLAY for count in some_counts()), (ON_REQUESTS[0], 1)])


@pytest.mark.soak
def test_ten_deaths_while_letters_are_replayed_lose_and_double_nothing(daemon: Daemon) -> None:
    die_on_replay(daemon, [*((point, count) for point in ON_REPLAY for count in COUNTS), (ON_REQUESTS[0], 1)])
