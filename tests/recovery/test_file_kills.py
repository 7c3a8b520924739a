"""A3 for files: the daemon dies anywhere on a file's way, and loses and doubles nothing."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import wait_for
from tests.files import FileDaemon, content, put
from tests.inbox import reckon_inbox

STEPS = (
    "file.copied",
    "ingest.judged",
    "ingest.before_append",
    "ingest.after_append",
    "ingest.before_confirm",
    "ingest.after_confirm",
    "file.before_archive",
    "file.linked",
    "file.after_archive",
)
SIZE = 40_000  # articles of a file: two pieces


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FileDaemon]:
    with FileDaemon(tmp_path) as made:
        yield made


def wait_archived(daemon: FileDaemon, count: int) -> None:
    wait_for(lambda: len(daemon.archived()) >= count, why=daemon.log_tail)


def wait_taken(daemon: FileDaemon, count: int) -> None:
    wait_archived(daemon, count)
    daemon.stop()
    assert [path.name for path in daemon.drop.iterdir() if path.is_file()] == []


def test_a_death_at_any_step_loses_and_doubles_no_record(daemon: FileDaemon) -> None:
    for at, point in enumerate(STEPS):
        number = random.choice((1, 2))  # noqa: S311  not a secret
        for half in (0, 1):  # two, so that the step is reached again after the file before was put away
            first = (2 * at + half) * SIZE
            put(daemon.drop, f"A{at:02}{half}.DAT", content(range(first, first + SIZE)))
        daemon.launch(failpoint=f"{point}:{number}")
        assert daemon.wait() == -signal.SIGKILL, (point, daemon.log_tail())
    daemon.start()
    wait_taken(daemon, 2 * len(STEPS))
    reckon_inbox(daemon, "articles", *range(2 * len(STEPS) * SIZE))


def die_at_random(daemon: FileDaemon, times: int) -> None:
    random_ = random.Random(times)  # noqa: S311  not a secret
    for number in range(times):
        put(daemon.drop, f"A{number:03}.DAT", content(range(number * SIZE, (number + 1) * SIZE)))
        daemon.launch()
        wait_archived(daemon, random_.randrange(number + 1))  # by then it may be anywhere in the next one
        daemon.kill()
    daemon.start()
    wait_taken(daemon, times)
    reckon_inbox(daemon, "articles", *range(times * SIZE))


def test_deaths_at_random_lose_and_double_no_record(daemon: FileDaemon) -> None:
    die_at_random(daemon, 3)


@pytest.mark.soak
def test_a_hundred_deaths_at_random_lose_and_double_no_record(daemon: FileDaemon) -> None:
    die_at_random(daemon, 100)
