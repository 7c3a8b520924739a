"""A3, A12, E1, E5 for the way out: the daemon is killed or stopped at any instant while it delivers to a bad receiver.

The receiver answers 500, drops the connection after it has stored the request, or resets it, by chance. It keeps what
it was sent, so it is the oracle: every event of the journal arrived, those of a key in order, and what came twice had
the same id and was under way when the process died.
"""

import json
import random
import signal
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from bridge.deliver.loop import UNSTORED_EVENTS
from demo.server import Database
from tests.daemon import Daemon, Load, prepare, reckon, wait_for
from tests.receivers import OK, Act, Received, Receiver, drop, reply, reset
from tests.recovery.test_daemon_kills import stop_in_time, times

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  of the test
POINTS = ("deliver.before_send", "deliver.after_send", "deliver.before_record", "deliver.after_record")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def daemon(tmp_path: Path, database: Database, receiver: Receiver) -> Iterator[Daemon]:
    prepare(database, "articles")
    with Daemon(tmp_path, database, "articles") as made:
        made.document["sinks"] = {
            "crm": {
                "webhook": {"url": receiver.url, "secrets": [SECRET], "allow_networks": ["127.0.0.0/8"]},
                "retry": {"after_s": [0.05, 0.1, 0.2] + [0.5] * 100},
                "breaker": {"pause_s": 0.1, "longest_pause_s": 0.5},
            }
        }
        made.write()
        yield made


class Moody:
    """A receiver that does not take a share of what it is sent.

    Attributes:
        taken: `webhook-id` of every request that was answered with yes.
    """

    def __init__(self, *, share: float, seed: int = 1) -> None:
        self.taken: list[str] = []
        self._share = share
        self._chance = random.Random(seed)  # noqa: S311  a schedule, not a secret

    def __call__(self, received: Received) -> Act:
        if self._chance.random() < self._share:
            return self._chance.choice([reply(500), reply(503), drop, reset])
        self.taken.append(received.headers["webhook-id"])
        return OK


def journalled(daemon: Daemon) -> dict[str, tuple[str, int]]:
    """Key and sequence number of every event, by id, as the command prints them."""
    lines = daemon.ask("events", "articles", "--json").splitlines()
    events = [json.loads(line) for line in lines]
    return {event["id"]: (event["subject"], int(event["sequence"])) for event in events}


def reckon_delivery(daemon: Daemon, load: Load, receiver: Receiver, mood: Moody, *, deaths: int) -> None:
    """0 lost, no key out of order, duplicates only of what was under way."""
    reckon(daemon, "articles", [load])  # nothing more comes
    events = journalled(daemon)
    wait_for(lambda: set(events) <= set(mood.taken), why=daemon.log_tail)
    taken = list(dict.fromkeys(one.headers["webhook-id"] for one in receiver.received))
    assert set(taken) == set(events), "what nobody journalled"
    order = defaultdict(list)
    for one in taken:
        key, number = events[one]
        order[key].append(number)
    assert all(numbers == sorted(numbers) for numbers in order.values()), "a key is out of order"
    again = len(mood.taken) - len(set(mood.taken))
    assert again <= deaths * (UNSTORED_EVENTS + 8), "more came twice than can have been under way"
    wait_for(lambda: daemon.ask("sink", "list", "--json") and _is_done(daemon), why=daemon.log_tail)


def _is_done(daemon: Daemon) -> bool:
    (found,) = json.loads(daemon.ask("sink", "list", "--json"))
    return bool(found["behind"] == 0 and found["pending"] == 0)


def kill_while_delivering(daemon: Daemon, receiver: Receiver, count: int) -> None:
    receiver.script = mood = Moody(share=0.1)
    daemon.start()
    with Load(daemon.database, "articles") as load:
        for _ in range(count):
            time.sleep(random.uniform(0.2, 1.5))  # noqa: S311  the instant is the experiment
            assert daemon.is_running, daemon.log_tail()
            daemon.kill()
            daemon.launch()
        daemon.wait_reading()
    reckon_delivery(daemon, load, receiver, mood, deaths=count)
    daemon.stop()


def test_kills_at_random_instants_lose_nothing_on_the_way_out(daemon: Daemon, receiver: Receiver) -> None:
    kill_while_delivering(daemon, receiver, 6)


@pytest.mark.soak
def test_a_hundred_kills_at_random_instants_lose_nothing_on_the_way_out(daemon: Daemon, receiver: Receiver) -> None:
    kill_while_delivering(daemon, receiver, times(100))


def die_while_delivering(daemon: Daemon, receiver: Receiver, point: str, counts: Iterable[int]) -> None:
    """The daemon dies the n-th time it comes to a step, for each n in turn."""
    receiver.script = mood = Moody(share=0.1)
    daemon.start()
    deaths = 0
    with Load(daemon.database, "articles") as load:
        for deaths, count in enumerate(counts, 1):  # noqa: B007  used below
            daemon.kill()
            daemon.launch(failpoint=f"{point}:{count}")
            assert daemon.wait() == -signal.SIGKILL, daemon.log_tail()
        daemon.launch()
        daemon.wait_reading()
    reckon_delivery(daemon, load, receiver, mood, deaths=2 * deaths)
    daemon.stop()


@pytest.mark.parametrize("point", POINTS)
def test_a_death_at_each_step_of_delivery_loses_nothing(daemon: Daemon, receiver: Receiver, point: str) -> None:
    die_while_delivering(daemon, receiver, point, [3])


@pytest.mark.soak
@pytest.mark.parametrize("point", POINTS)
def test_ten_deaths_at_each_step_of_delivery_lose_nothing(daemon: Daemon, receiver: Receiver, point: str) -> None:
    die_while_delivering(daemon, receiver, point, range(1, 11))


def stop_while_delivering(daemon: Daemon, receiver: Receiver, count: int) -> None:
    receiver.script = mood = Moody(share=0)
    daemon.start()
    with Load(daemon.database, "articles") as load:
        for _ in range(count):
            time.sleep(random.uniform(0.2, 1.0))  # noqa: S311  the instant is the experiment
            stop_in_time(daemon)
            daemon.launch()
            daemon.wait_reading()
        daemon.wait_reading()
    reckon_delivery(daemon, load, receiver, mood, deaths=0)
    daemon.stop()


def test_a_clean_stop_sends_nothing_twice(daemon: Daemon, receiver: Receiver) -> None:
    stop_while_delivering(daemon, receiver, 3)
