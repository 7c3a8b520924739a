"""RabbitMQ's queues as a source: what is acknowledged, what is dropped, and how much is held."""

import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bridge.inbox.cloudevents import STRUCTURED
from tests.daemon import wait_for
from tests.inbox import reckon_inbox
from tests.queues import Publisher, QueueDaemon, declare, left, message, nameless, publish, row
from tests.rabbit import RabbitServer


@pytest.fixture(params=["quorum", "classic"])
def daemon(tmp_path: Path, rabbit: RabbitServer, request: pytest.FixtureRequest) -> Iterator[QueueDaemon]:
    """A daemon beside an empty queue, not started."""
    declare(rabbit, request.param)
    with QueueDaemon(tmp_path, rabbit) as made:
        yield made


def wait_count(daemon: QueueDaemon, count: int) -> None:
    wait_for(lambda: len(daemon.changes("articles")) >= count, why=daemon.log_tail)


def test_messages_become_events_once_and_leave_the_queue(daemon: QueueDaemon, rabbit: RabbitServer) -> None:
    publish(rabbit, [message(row(number), message_id=str(number)) for number in range(500)])
    publish(rabbit, [message(row(7), message_id="7"), nameless(row(500))])
    daemon.start()
    wait_count(daemon, 501)
    daemon.stop()
    assert left(rabbit) == 0, "all are acknowledged"
    reckon_inbox(daemon, "articles", *range(501))


def test_poison_becomes_a_dead_letter_and_holds_nobody_up(daemon: QueueDaemon, rabbit: RabbitServer) -> None:
    daemon.start()
    publish(rabbit, [message(b"\xff{"), message(b"[" * 100_000), message({"id": 1, "amount": -1}), message(row(2))])
    wait_count(daemon, 1)
    wait_for(lambda: sum(daemon.letter_keys("articles").values()) == 3, why=daemon.log_tail)
    daemon.stop()
    assert left(rabbit) == 0
    reckon_inbox(daemon, "articles", 2)


def test_cloudevents_are_taken_in_both_modes(daemon: QueueDaemon, rabbit: RabbitServer) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "a.created.v1"}
    structured = message(json.dumps(event | {"data": row(1)}).encode(), content_type=STRUCTURED)
    headers = {f"cloudEvents_{name}": value for name, value in (event | {"id": "2", "type": "a.deleted"}).items()}
    daemon.start()
    publish(rabbit, [structured, structured, message(row(1), content_type="application/json", headers=dict(headers))])
    wait_count(daemon, 2)
    daemon.stop()
    assert daemon.changes("articles") == [("created", 1), ("deleted", 1)]


def test_two_messages_of_one_content_and_without_an_id_are_two(daemon: QueueDaemon, rabbit: RabbitServer) -> None:
    publish(rabbit, [nameless(row(1))] * 20)
    daemon.start()
    wait_count(daemon, 20)
    daemon.kill()
    publish(rabbit, [nameless(row(1))] * 5)
    daemon.start()
    wait_count(daemon, 25)
    daemon.stop()
    reckon_inbox(daemon, "articles", *[1] * 25)
    assert left(rabbit) == 0


def test_a_broker_that_restarts_or_is_killed_loses_and_doubles_nothing(
    daemon: QueueDaemon, rabbit: RabbitServer
) -> None:
    daemon.start()
    with Publisher(rabbit) as publisher:
        for end in (rabbit.stop, rabbit.kill):
            publisher.wait_confirmed(50)
            end()
            daemon.wait_ailment("source:mq")
            rabbit.start_again()
            publisher.wait_confirmed(20)
            daemon.wait_well("source:mq")
    wait_count(daemon, len(publisher.confirmed))
    found = {number for _, number in daemon.changes("articles")}
    assert found >= set(publisher.confirmed), "lost"
    assert len(found) == len(daemon.changes("articles")), "doubled"


def test_a_queue_that_does_not_exist_yet_is_waited_for(tmp_path: Path, rabbit: RabbitServer) -> None:
    declare(rabbit)
    with QueueDaemon(tmp_path, rabbit) as daemon:
        daemon.document["streams"]["articles"]["queue"] = "nowhere"
        daemon.write()
        daemon.launch()
        assert "a queue does not exist" in json.dumps(daemon.wait_ailment("source:mq"))
        assert daemon.is_running


def test_large_messages_are_held_in_bounds(tmp_path: Path, rabbit: RabbitServer) -> None:
    declare(rabbit)
    size = 1_000_000
    publish(rabbit, [message(row(number) | {"more": "x" * size}, message_id=str(number)) for number in range(150)])
    with QueueDaemon(tmp_path, rabbit, prefetch_megabytes=2) as daemon:
        daemon.start()
        process = psutil.Process(daemon.process.pid)
        peak = 0

        def is_done() -> bool:
            nonlocal peak
            peak = max(peak, process.memory_info().rss)
            return len(daemon.changes("articles")) >= 150

        wait_for(is_done, why=daemon.log_tail)
        assert peak < 600_000_000
        daemon.stop()
        reckon_inbox(daemon, "articles", *range(150))
    assert left(rabbit) == 0
