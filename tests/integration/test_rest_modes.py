"""A REST API through the loops of extraction: what a reader of the events ends up with is what the API lists."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from bridge.extracted import RunKind
from bridge.sources.rest.extractor import RestExtractor
from bridge.testing import FakeClock, MemoryJournal
from tests import polled, shelf
from tests.api import PAGINGS, Api, extractor
from tests.receivers import retry_after

INCREMENTAL: dict[str, Any] = {"mode": "incremental", "cursor": "changed", "since": {"parameter": "since"}}


def item(number: int, amount: int = 1, *, second: int = 0) -> dict[str, Any]:
    changed = f"2026-01-01T00:00:{second:02}Z"
    return {"id": number, "name": f"article {number}", "amount": amount, "changed": changed}


@pytest.fixture
def api() -> Iterator[Api]:
    with Api([item(number) for number in range(1, 11)], cap=3) as running:
        yield running


def source(api: Api, clock: FakeClock, *, system: dict[str, Any] | None = None, **resource: Any) -> RestExtractor:  # noqa: ANN401  keys of the sections
    found = extractor(api, system=system, streams=("item",), contract=shelf.contract(), **resource)
    found._now, found._session._monotonic = clock, lambda: clock().timestamp()
    return found


def listed(api: Api) -> dict[int, int]:
    return {each["id"]: each["amount"] for each in api.records}


@pytest.mark.parametrize("paging", PAGINGS)
def test_inserts_updates_and_deletes_are_found_by_comparing(api: Api, paging: str) -> None:
    if paging == "all at once":
        api.cap = 1_000
    clock, journal = FakeClock(), MemoryJournal()
    life = polled.Process(journal, source(api, clock, **PAGINGS[paging]), clock=clock)
    life.run()
    assert polled.read(journal) == listed(api)
    api.records = [*[each for each in api.records if each["id"] not in (1, 7)], item(11)]
    api.records[2]["amount"] = 5
    told = len(polled.told(journal))
    life.run()
    assert polled.read(journal) == listed(api)
    assert len(polled.told(journal)) == told + 4, "two deletes, an update, an insert and nothing else"


def test_what_changed_is_found_by_the_cursor_and_what_went_by_the_sweep(api: Api) -> None:
    clock, journal = FakeClock(), MemoryJournal()
    life = polled.Process(journal, source(api, clock, **INCREMENTAL, **PAGINGS["by number"]), clock=clock)
    life.run()
    api.records[3] = item(4, amount=9, second=30)
    del api.records[0]
    asked = len(api.asked)
    clock.advance(3_600)
    life.run()
    assert all("since=" in path for path in api.asked[asked:])
    assert polled.read(journal) == listed(api) | {1: 1}
    life.run(kind="sweep")
    assert polled.read(journal) == listed(api)


@pytest.mark.parametrize("kind", ["run", "sweep"])
@pytest.mark.parametrize("key", [None, "four", {"id": 4}, 10**30])
def test_a_record_whose_key_cannot_be_read_makes_no_other_look_deleted(api: Api, key: object, kind: RunKind) -> None:
    """It may be any of those that are missed."""
    clock, journal = FakeClock(), MemoryJournal()
    keys = INCREMENTAL if kind == "sweep" else {}
    life = polled.Process(journal, source(api, clock, **keys, **PAGINGS["by number"]), clock=clock)
    life.run()
    api.records[3] = item(4) | {"id": key}
    del api.records[0]
    life.run(kind=kind)
    assert polled.read(journal) == dict.fromkeys(range(1, 11), 1)
    assert "rest.no_keys" in [finding.code for finding in life.source.findings()]
    api.records[2] = item(4)
    life.run(kind=kind)
    assert polled.read(journal) == listed(api)
    assert life.source.findings() == []


def test_a_record_without_a_key_is_remembered_over_a_restart(api: Api) -> None:
    for steps in range(1, 12):
        clock, journal = FakeClock(), MemoryJournal()
        api.records = [item(number) for number in range(1, 11)]
        life = polled.Process(journal, source(api, clock, **PAGINGS["by number"]), clock=clock)
        life.run()
        api.records[3] = item(4) | {"id": None}
        life.read()
        life.source.ask("item", "run", actor="ann")
        for _ in range(steps):
            life.read()
            life.store()
        polled.Process(journal, source(api, clock, **PAGINGS["by number"]), clock=clock).settle()
        assert polled.read(journal) == dict.fromkeys(range(1, 11), 1), steps


def test_a_new_life_in_the_middle_of_a_reading_loses_and_doubles_nothing(api: Api) -> None:
    for steps in range(1, 30, 3):
        clock, journal = FakeClock(), MemoryJournal()
        life = polled.Process(journal, source(api, clock, **PAGINGS["by offset"]), clock=clock)
        life.read()
        life.source.ask("item", "run", actor="ann")
        for _ in range(steps):
            life.read()
            life.store()
        life = polled.Process(journal, source(api, clock, **PAGINGS["by offset"]), clock=clock)
        life.settle()
        life.run()
        assert sorted(polled.told(journal)) == sorted(("r", number, 1) for number in listed(api)), steps


def test_a_run_waits_for_as_long_as_the_server_asks_and_is_not_given_up(api: Api) -> None:
    """Ten minutes in the middle of a list: nothing is asked meanwhile, and nothing that was gathered is asked again."""
    clock, journal = FakeClock(), MemoryJournal()
    life = polled.Process(journal, source(api, clock, **PAGINGS["by number"]), clock=clock)
    api.before = lambda _received, count: retry_after(429, seconds=600) if count == 3 else None
    life.run()
    assert (polled.told(journal), len(api.asked)) == ([], 3)
    clock.advance(599)
    life.settle()
    assert len(api.asked) == 3
    clock.advance(2)
    life.settle()
    assert polled.read(journal) == listed(api)
    assert len(api.asked) == 3 + 3


def test_an_unchanged_list_costs_one_request_and_brings_no_event(api: Api) -> None:
    api.cap, api.headers = 1_000, {"etag": '"v1"'}
    clock, journal = FakeClock(), MemoryJournal()
    life = polled.Process(journal, source(api, clock), clock=clock)
    life.run()
    told = polled.told(journal)
    api.before = lambda received, _count: api.unchanged(received)
    life.run()
    assert (polled.told(journal), len(api.asked)) == (told, 2)
    del api.records[0]
    api.headers = {"etag": '"v2"'}
    life.run()
    assert polled.read(journal) == listed(api)


def test_requests_rows_and_bytes_are_on_the_bill(api: Api) -> None:
    clock, journal = FakeClock(), MemoryJournal()
    polled.Process(journal, source(api, clock, **PAGINGS["by number"]), clock=clock).run()
    bill = journal.bill(system="erp", since=clock() - timedelta(days=1))
    assert sum(line.queries for line in bill) == len(api.asked) == 5
    assert sum(line.rows for line in bill) == 10
    assert sum(line.size_bytes for line in bill) > 1_000
