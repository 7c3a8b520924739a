"""A real daemon tells: of a source that is down, of a dead receiver, once, over kill -9, and of the end."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from demo.server import Database
from tests import receivers
from tests.daemon import Daemon, prepare, wait_for
from tests.receivers import Receiver

SECRET = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"
PROMPT = {
    "group_s": 0,
    "clear_s": 0,
    "rules": {"component": {"for_s": 0}, "breaker_open": {"for_s": 0}},
    "off": ["failure_rate"],  # it would tell of the same sink, for the rest of the hour
}


@pytest.fixture
def ops() -> Iterator[Receiver]:
    """Who is told."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def daemon(tmp_path: Path, database: Database, ops: Receiver) -> Iterator[Daemon]:
    prepare(database, "articles")
    with Daemon(tmp_path, database, "articles") as made:
        outlet = {"webhook": {"url": ops.url, "secrets": [SECRET], "allow_networks": ["127.0.0.0/8"]}}
        made.document["alarms"] = PROMPT | {"outlets": {"ops": outlet}}
        made.write()
        yield made


def told(ops: Receiver) -> list[tuple[str, str, str]]:
    """(transition, subject, id) of everything that arrived, each message verified."""
    found = []
    for one in list(ops.received):
        body = Webhook(SECRET).verify(one.body, dict(one.headers))
        transition = body["type"].removeprefix("alarm.")
        found += [(transition, alarm["subject"], alarm["id"]) for alarm in body["data"]["alarms"]]
    return found


def of(ops: Receiver, subject: str) -> list[str]:
    return [transition for transition, about, _ in told(ops) if about == subject]


def listed(daemon: Daemon, subject: str) -> list[tuple[str, str]]:
    found = json.loads(daemon.cli("alarm", "list", "--json").stdout)
    return [(one["rule"], one["state"]) for one in found if one["subject"] == subject]


def move_source(daemon: Daemon, port: int) -> int:
    """Where the legacy server is said to be; returns where it was."""
    postgres = daemon.document["systems"]["erp"]["postgres"]
    before: int = postgres["port"]
    postgres["port"] = port
    daemon.write()
    return before


def test_a_source_that_is_down_is_told_once_over_kill_and_its_end_after_the_restart(
    daemon: Daemon, ops: Receiver
) -> None:
    port = move_source(daemon, 1)
    daemon.launch()
    wait_for(lambda: of(ops, "source:erp") == ["firing"], why=daemon.log_tail)
    wait_for(lambda: not _owed(daemon), why=daemon.log_tail)
    daemon.kill()
    daemon.launch()
    daemon.wait_ailment("source:erp")
    looks = len(daemon.logged("source.failed"))
    daemon.ask("reload")
    wait_for(lambda: len(daemon.logged("source.failed")) > looks, why=daemon.log_tail)
    assert of(ops, "source:erp") == ["firing"]
    daemon.kill()
    move_source(daemon, port)
    daemon.launch()
    wait_for(lambda: of(ops, "source:erp") == ["firing", "resolved"], why=daemon.log_tail)
    assert len({number for _, about, number in told(ops) if about == "source:erp"}) == 1


def _owed(daemon: Daemon) -> list[str]:
    with daemon.journal() as journal:
        return [name for name in journal.kept("alarm") if name.startswith("owed/")]


def test_an_outlet_that_was_down_hears_of_it_after_a_restart(daemon: Daemon, ops: Receiver) -> None:
    move_source(daemon, 1)
    ops.script = [receivers.reply(503)]
    daemon.launch()
    wait_for(lambda: daemon.logged("alarm.untold"), why=daemon.log_tail)
    daemon.kill()
    ops.script = [receivers.OK]
    before = len(ops.received)
    daemon.launch()
    wait_for(lambda: len(ops.received) > before, why=daemon.log_tail)
    assert of(ops, "source:erp")[-1] == "firing"
    assert len({one.headers["webhook-id"] for one in ops.received}) == 1, "each attempt has the same id"


def test_a_dead_receiver_opens_its_breaker_and_is_told_until_it_lives(daemon: Daemon, ops: Receiver) -> None:
    with Receiver([receivers.reply(503)]) as crm:
        daemon.document["sinks"] = {
            "crm": {
                "webhook": {"url": crm.url, "secrets": [SECRET], "allow_networks": ["127.0.0.0/8"]},
                "retry": {"after_s": [0.1], "then": "hold"},
                "breaker": {"minimum_calls": 2, "pause_s": 0.2, "longest_pause_s": 0.2},
            }
        }
        daemon.write()
        daemon.start()
        daemon.database.sql("INSERT INTO shop.articles SELECT n, 'x', 1 FROM generate_series(1, 5) n")
        wait_for(lambda: "firing" in of(ops, "sink:crm"), why=daemon.log_tail)
        # Health may say so a moment before the journal holds why, and a look in between takes it for a sick component.
        wait_for(lambda: listed(daemon, "sink:crm") == [("breaker_open", "firing")], why=daemon.log_tail)
        assert {line["level"] for line in daemon.logged("alarm.firing")} == {"error"}, "as JSON, like every line"
        crm.script = [receivers.OK]
        wait_for(lambda: of(ops, "sink:crm")[-1] == "resolved", why=daemon.log_tail)


def test_operators_acknowledge_silence_and_test(daemon: Daemon, ops: Receiver) -> None:
    port = move_source(daemon, 1)
    daemon.launch()
    wait_for(lambda: of(ops, "source:erp") == ["firing"], why=daemon.log_tail)
    assert daemon.cli("alarm", "list").returncode == 1
    (number,) = {number for _, _, number in told(ops)}
    daemon.ask("alarm", "ack", number, "--note", "on it")
    shown: dict[str, Any] = json.loads(daemon.ask("alarm", "show", number, "--json"))
    assert shown["acknowledged"]["note"] == "on it"
    daemon.ask("alarm", "silence", "system:erp", "--for", "1h", "--reason", "a move")
    (silence,) = json.loads(daemon.ask("alarm", "silences", "--json"))
    assert silence["active"]
    daemon.ask("alarm", "test")
    wait_for(lambda: any(json.loads(one.body)["type"] == "alarm.test" for one in ops.received))
    move_source(daemon, port)
    daemon.kill()
    daemon.start()
    wait_for(lambda: json.loads(daemon.ask("alarm", "show", number, "--json"))["state"] == "resolved")
    assert of(ops, "source:erp") == ["firing"], "its end is owed while it is silenced"
    daemon.ask("alarm", "unsilence", silence["id"])
    wait_for(lambda: of(ops, "source:erp") == ["firing", "resolved"], why=daemon.log_tail)
    trail = [json.loads(line)["action"] for line in daemon.ask("audit", "show", "--json").splitlines()]
    assert [action for action in trail if action.startswith("alarm.")] == [
        "alarm.ack",
        "alarm.silence",
        "alarm.test",
        "alarm.unsilence",
    ]
