"""The daemon over a REST API, from its configuration to the events."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api import Api
from tests.daemon import wait_for
from tests.inbox import SentDaemon
from tests.receivers import Received, reply

TOKEN = "the token of the API"  # noqa: S105  of the test


def article(number: int, amount: int = 1) -> dict[str, Any]:
    return {"id": number, "name": "n", "amount": amount}


@pytest.fixture
def api() -> Iterator[Api]:
    with Api([article(number) for number in range(1, 8)], cap=3) as running:
        yield running


@pytest.fixture
def daemon(tmp_path: Path, api: Api) -> Iterator[SentDaemon]:
    url = f"http://127.0.0.1:{api.server.port}"
    rest = {"url": url, "bearer": "${env:API_TOKEN}", "allow_networks": ["127.0.0.0/8"]}
    systems = {"crm": {"rest": rest, "budget": {"active_seconds_per_minute": 60}}}
    with SentDaemon(tmp_path, systems) as made:
        made.environment["API_TOKEN"] = TOKEN
        resource = {"path": "/articles", "items": "data", "key": ["id"], "size": "size", "paging": {"page": {}}}
        made.add_stream("articles", system="crm", resource=resource, every="1s")
        made.write()
        yield made


def change_between_readings(api: Api, records: list[dict[str, Any]]) -> None:
    """List others from the next first page on: what moves between two pages of a reading is missed by it."""

    def at_the_first_page(received: Received, _count: int) -> None:
        if "page=1" in received.path.partition("?")[2].split("&"):
            api.records, api.before = records, lambda *_: None

    api.before = at_the_first_page


def test_what_an_api_lists_becomes_events_and_what_it_lists_no_more_a_delete(daemon: SentDaemon, api: Api) -> None:
    daemon.start()
    wait_for(lambda: len(daemon.changes("articles")) == 7, why=daemon.log_tail)
    assert {each.headers["authorization"] for each in api.server.received} == {f"Bearer {TOKEN}"}
    change_between_readings(api, [article(2, 5), *api.records[2:], article(8)])
    wait_for(lambda: len(daemon.changes("articles")) >= 10, why=daemon.log_tail)
    assert sorted(daemon.changes("articles")[7:]) == [("created", 8), ("deleted", 1), ("updated", 2)]
    daemon.stop()
    api.records.pop(0)
    daemon.start()
    wait_for(lambda: daemon.changes("articles")[10:] == [("deleted", 2)], why=daemon.log_tail)
    assert TOKEN not in (daemon.folder / "daemon.log").read_text()


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_a_stream_is_compared_with_what_the_api_lists(daemon: SentDaemon, api: Api, mode: str) -> None:
    """Also while the API wants to be left alone for a moment."""
    if mode == "incremental":
        resource = {"mode": mode, "cursor": "changed", "since": {"parameter": "since"}}
        daemon.document["streams"]["articles"]["resource"] |= resource
        api.records = [each | {"changed": "2026-03-01T08:00:00Z"} for each in api.records]
    daemon.write()
    daemon.start()
    wait_for(lambda: len(daemon.changes("articles")) == 7, why=daemon.log_tail)
    assert compared(daemon) == (0, {}, 7)
    asked = len(api.asked)
    api.before = lambda _received, count: reply(429, headers={"retry-after": "1"}) if count == asked + 2 else None
    assert compared(daemon) == (0, {}, 7)


def test_what_an_api_calls_unchanged_is_found_by_comparing_and_healed(daemon: SentDaemon, api: Api) -> None:
    """Its tag stays whatever changes; and while a record has no key, no other one is taken for deleted."""
    api.cap, api.headers, api.before = 1_000, {"etag": '"a"'}, lambda received, _count: api.unchanged(received)
    section = daemon.document["streams"]["articles"]["resource"]
    del section["size"], section["paging"]
    daemon.write()
    daemon.start()
    wait_for(lambda: len(daemon.changes("articles")) == 7, why=daemon.log_tail)
    api.records = [article(1), article(2, amount=9), *map(article, range(4, 8)), article(8), article(9) | {"id": None}]
    found = {"2": "different", "8": "missing"}
    assert compared(daemon, "--heal") == (0, found, 8)
    del api.records[-1]
    assert compared(daemon, "--heal") == (0, {"3": "extra"}, 7)
    assert compared(daemon) == (0, {}, 7)


def compared(daemon: SentDaemon, *arguments: str) -> tuple[int, dict[str, str], int]:
    """Exit code, differences by key, rows."""
    done = daemon.cli("compare", "articles", "--json", *arguments)
    assert done.stdout, done.stderr
    said = json.loads(done.stdout)
    return done.returncode, {one["key"]: one["kind"] for one in said["differences"]}, said["rows"]


def test_commands_have_clear_words_for_an_api(daemon: SentDaemon) -> None:
    daemon.start()
    wait_for(lambda: len(daemon.changes("articles")) == 7, why=daemon.log_tail)
    assert daemon.cli("check").returncode == 0, daemon.cli("check").stdout
    assert daemon.cli("doctor").returncode == 0, daemon.cli("doctor").stdout
    assert "articles" in daemon.ask("status")
    assert json.loads(daemon.ask("events", "articles", "--json").splitlines()[0])["type"].endswith(".read.v1")


def test_a_token_that_is_refused_is_told_and_a_mended_one_taken(daemon: SentDaemon, api: Api, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("wrong")
    secret.chmod(0o600)
    daemon.document["systems"]["crm"]["rest"]["bearer"] = f"${{file:{secret}}}"
    daemon.write()
    api.before = lambda received, _count: None if received.headers["authorization"] == f"Bearer {TOKEN}" else reply(401)
    daemon.launch()
    wait_for(lambda: len(api.asked) > 1, why=daemon.log_tail)
    secret.write_text(TOKEN)
    wait_for(lambda: len(daemon.changes("articles")) == 7, why=daemon.log_tail)
