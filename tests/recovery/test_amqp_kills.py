"""A3 for queues: the daemon dies anywhere, also between commit and acknowledgement, and loses and doubles nothing."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import wait_for
from tests.inbox import reckon_inbox
from tests.queues import Publisher, QueueDaemon, declare, left, nameless, publish, row
from tests.rabbit import RabbitServer

STEPS = ("inbox.packed", "ingest.after_append", "inbox.before_answer", "ingest.after_confirm")


@pytest.fixture(params=["quorum", "classic"])
def daemon(tmp_path: Path, rabbit: RabbitServer, request: pytest.FixtureRequest) -> Iterator[QueueDaemon]:
    declare(rabbit, request.param)
    with QueueDaemon(tmp_path, rabbit) as made:
        yield made


def wait_all(daemon: QueueDaemon, rabbit: RabbitServer, count: int) -> None:
    wait_for(lambda: len(daemon.changes("articles")) >= count, why=daemon.log_tail)
    daemon.stop()
    assert left(rabbit) == 0


def test_a_death_at_any_step_loses_and_doubles_no_message(daemon: QueueDaemon, rabbit: RabbitServer) -> None:
    daemon.start()
    with Publisher(rabbit) as publisher:
        for point in STEPS:
            daemon.kill()
            daemon.launch(failpoint=f"{point}:{random.choice(range(1, 6))}")  # noqa: S311  not a secret
            assert daemon.wait() == -signal.SIGKILL, daemon.log_tail()
        daemon.start()
        publisher.wait_confirmed(20)
    wait_all(daemon, rabbit, len(publisher.confirmed))
    reckon_inbox(daemon, "articles", *publisher.confirmed)


def test_a_death_between_commit_and_acknowledgement_doubles_no_message_without_an_id(
    daemon: QueueDaemon, rabbit: RabbitServer
) -> None:
    publish(rabbit, [nameless(row(number)) for number in range(200)])
    for _ in range(2):
        daemon.launch(failpoint="inbox.before_answer:1")
        assert daemon.wait() == -signal.SIGKILL, daemon.log_tail()
    daemon.start()
    wait_all(daemon, rabbit, 200)
    reckon_inbox(daemon, "articles", *range(200))


def die_at_random(daemon: QueueDaemon, rabbit: RabbitServer, times: int) -> None:
    daemon.start()
    with Publisher(rabbit) as publisher:
        for _ in range(times):
            publisher.wait_confirmed(random.randrange(1, 200))  # noqa: S311  as above
            daemon.kill()
            daemon.launch()
        daemon.wait_reading()
    wait_all(daemon, rabbit, len(publisher.confirmed))
    reckon_inbox(daemon, "articles", *publisher.confirmed)


def test_deaths_at_random_lose_and_double_no_message(daemon: QueueDaemon, rabbit: RabbitServer) -> None:
    die_at_random(daemon, rabbit, 4)


@pytest.mark.soak
def test_a_hundred_deaths_at_random_lose_and_double_no_message(daemon: QueueDaemon, rabbit: RabbitServer) -> None:
    die_at_random(daemon, rabbit, 100)
