"""Alarms over HTTP: a principal sees, acknowledges and silences what concerns its own streams, and no more."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from bridge.alarm import book
from bridge.alarm.judge import Finding
from bridge.alarm.machine import step
from bridge.config.alarms import AlarmsConfig
from tests.door import Answer, Served, served
from tests.shelf import START

PROMPT = AlarmsConfig.model_validate({"group_s": 0, "rules": {"validity": {"for_s": 0}, "breaker_open": {"for_s": 0}}})
FOUND = [
    Finding("validity", "stream:orders", "", ("orders",), ("system:erp",)),
    Finding("validity", "stream:payroll", "", ("payroll",), ("system:erp",)),
    Finding("breaker_open", "sink:hook", "", ("orders",)),
    Finding("breaker_open", "sink:wages", "", ("payroll",)),
    Finding("disk_filling", "disk", ""),
]


@pytest.fixture
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("door")) as running:
        alarms = step({}, FOUND, now=START, config=PROMPT).alarms
        running.journal.keep(book.KIND, {f"alarm/{one.id}": msgspec.to_builtins(one) for one in alarms.values()})
        yield running


def subjects(door: Served, who: str) -> dict[str, str]:
    return {one["subject"]: one["id"] for one in door.ask("/v1/alarms", who=who).json["alarms"]}


def test_only_alarms_of_ones_own_streams_are_listed_and_acknowledged(door: Served) -> None:
    every = subjects(door, "root")
    assert every.keys() == {finding.subject for finding in FOUND}
    mine = subjects(door, "operator")
    assert mine.keys() == {"stream:orders", "sink:hook"}
    taken = door.ask(f"/v1/alarms/{mine['sink:hook']}/ack", "POST", who="operator", body={"note": "calling them"})
    assert (taken.status, taken.json["result"]["acknowledged_by"]) == (200, "api:operator")
    assert door.ask(f"/v1/alarms/{every['disk']}/ack", "POST", who="operator", body={}).status == 404


def silence(door: Served, of: str) -> Answer:
    ends_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = {"of": of, "reason": "a release", "ends_at": ends_at}
    return door.ask("/v1/silences", "POST", who="operator", body=body)


def test_only_ones_own_streams_are_silenced(door: Served) -> None:
    foreign = subjects(door, "root")["stream:payroll"]
    assert [silence(door, of).status for of in ("*", "system:hr", "sink:wages", "stream:payroll", foreign)] == [403] * 5
    made = silence(door, "stream:orders").json["result"]["silence"]
    assert [one["id"] for one in door.ask("/v1/silences", who="operator").json["silences"]] == [made]
    (mine,) = [one for one in door.ask("/v1/alarms", who="operator").json["alarms"] if one["silenced"]]
    assert mine["subject"] == "stream:orders"
    assert door.ask(f"/v1/silences/{made}", "DELETE", who="operator").status == 200
    assert door.ask("/v1/silences").json["silences"] == []
