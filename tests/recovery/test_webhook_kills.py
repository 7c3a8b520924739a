"""A3 and E5 for messages sent to us: the daemon dies anywhere, and every acknowledged message is there exactly once.

The sender repeats what was not acknowledged, under the same id, as Standard Webhooks asks of it.
"""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.inbox import InboxDaemon, Sender, reckon_inbox

ON_MESSAGES = ("inbox.packed", "inbox.before_answer")
ON_THE_WAY = (
    *ON_MESSAGES,
    "ingest.judged",
    "ingest.before_append",
    "ingest.after_append",
    "ingest.before_confirm",
    "ingest.after_confirm",
)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[InboxDaemon]:
    with InboxDaemon(tmp_path) as made:
        yield made


def die_under_load(daemon: InboxDaemon, deaths: list[tuple[str, int]]) -> None:
    daemon.start()
    with Sender(daemon, sends_twice=5) as sender:
        for point, count in deaths:
            daemon.kill()
            daemon.launch(failpoint=f"{point}:{count}")
            assert daemon.wait() == -signal.SIGKILL, daemon.log_tail()
        daemon.start()
        sender.wait_acknowledged(5)
    reckon_inbox(daemon, "articles", *sender.acknowledged)


def test_a_death_at_any_step_of_a_message_loses_and_doubles_none(daemon: InboxDaemon) -> None:
    die_under_load(daemon, [(point, random.choice(range(1, 11))) for point in ON_THE_WAY])  # noqa: S311  not a secret


@pytest.mark.soak
@pytest.mark.parametrize("point", ON_THE_WAY)
def test_ten_deaths_at_a_step_of_a_message_lose_and_double_none(daemon: InboxDaemon, point: str) -> None:
    die_under_load(daemon, [(point, count) for count in range(1, 11)])


def die_at_random(daemon: InboxDaemon, times: int) -> None:
    daemon.start()
    with Sender(daemon) as one, Sender(daemon, first=1_000_001, sends_twice=3) as other:
        for _ in range(times):
            one.wait_acknowledged(random.randrange(1, 30))  # noqa: S311  as above
            daemon.kill()
            daemon.launch()
        one.wait_acknowledged(5)
        other.wait_acknowledged(5)
    reckon_inbox(daemon, "articles", *one.acknowledged, *other.acknowledged)


def test_deaths_at_random_lose_and_double_no_message(daemon: InboxDaemon) -> None:
    die_at_random(daemon, 5)


@pytest.mark.soak
def test_a_hundred_deaths_at_random_lose_and_double_no_message(daemon: InboxDaemon) -> None:
    die_at_random(daemon, 100)


def test_a_stop_answers_every_message_with_what_became_of_it(daemon: InboxDaemon) -> None:
    daemon.start()
    with Sender(daemon) as sender:
        for _ in range(3):
            sender.wait_acknowledged(20)
            daemon.stop()
            daemon.start()
    reckon_inbox(daemon, "articles", *sender.acknowledged)
