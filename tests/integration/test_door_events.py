"""Events through the door: pages, formats, validators, one event, live ones."""

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest

from bridge.model import Commit
from tests.door import Served, served
from tests.journal_samples import events


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Served]:
    """A door with ten orders."""
    with served(tmp_path) as running:
        running.append(10)
        yield running


def test_pages_follow_one_another_to_the_end(door: Served) -> None:
    path, numbers = "/v1/streams/orders/events?limit=4", []
    while path:
        page = door.ask(path)
        numbers += [int(event["sequence"]) for event in page.json["events"]]
        assert str(page.json["next"]) == page.headers["x-bridge-next"]
        link = page.headers["link"]
        path = link[1 : link.index(">")] if link else ""
    assert numbers == list(range(1, 11))


def test_every_format_holds_the_same_events(door: Served) -> None:
    def get(media: str) -> bytes:
        answer = door.ask("/v1/streams/orders/events", headers={"Accept": media})
        assert (answer.status, answer.headers["content-type"]) == (200, media)
        return answer.body

    expected = json.loads(get("application/json"))["events"]
    assert len(expected) == 10
    assert [json.loads(line) for line in get("application/x-ndjson").splitlines()] == expected
    assert json.loads(get("application/cloudevents-batch+json")) == expected
    table = pa.ipc.open_stream(get("application/vnd.apache.arrow.stream")).read_all()
    assert table.column("_id").to_pylist() == [event["id"] for event in expected]
    assert table.column("_seq").to_pylist() == list(range(1, 11))


def test_a_page_of_columns_ends_where_they_change_and_the_next_goes_on_there(door: Served) -> None:
    wide = events(count=3, start=10)
    narrow = replace(wide, batch=wide.batch.select(wide.batch.schema.names[:-1]))
    door.journal.append(Commit(events=(narrow,)))
    door.append(2, start=13)
    pages, path = [], "/v1/streams/orders/events?format=arrow&limit=100"
    while path:
        page = door.ask(path)
        table = pa.ipc.open_stream(page.body).read_all()
        pages.append(("due" in table.column_names, table.column("_seq").to_pylist()))
        link = page.headers["link"]
        path = link[1 : link.index(">")] if link else ""
    assert pages == [(True, list(range(1, 11))), (False, [11, 12, 13]), (True, [14, 15])]


def test_small_blocks_go_out_together(door: Served) -> None:
    for row in range(10, 15):
        door.append(1, start=row)
    stream = pa.ipc.open_stream(door.ask("/v1/streams/orders/events?format=arrow").body)
    assert [batch.num_rows for batch in stream] == [15]


def test_an_empty_page_is_whole_in_every_format(door: Served) -> None:
    def get(form: str) -> bytes:
        return door.ask(f"/v1/streams/orders/events?after=10&format={form}").body

    assert json.loads(get("json")) == {"events": [], "next": 10}
    assert (get("ndjson"), get("cloudevents")) == (b"", b"[]")
    assert pa.ipc.open_stream(get("arrow")).read_all().num_rows == 0


def test_a_format_that_nobody_serves_is_406(door: Served) -> None:
    answer = door.ask("/v1/streams/orders/events", headers={"Accept": "image/png, application/json;q=0"})
    assert (answer.status, answer.json["type"]) == (406, "/problems/not-acceptable")


def test_conditions_choose_rows_and_next_goes_on_behind_them(door: Served) -> None:
    page = door.ask("/v1/streams/orders/events?key=N4").json
    assert [event["subject"] for event in page["events"]] == ["N4"]
    assert page["next"] == 10, "nothing else is to be looked for"
    start, end = quote("2026-03-01T08:00:03+00:00"), quote("2026-03-01T08:00:06Z")
    page = door.ask(f"/v1/streams/orders/events?from={start}&to={end}&limit=2").json
    assert [event["subject"] for event in page["events"]] == ["N3", "N4"]
    assert page["next"] == 5


def test_an_unchanged_page_is_304_and_a_grown_one_is_not(door: Served) -> None:
    first = door.ask("/v1/streams/orders/events")
    known = {"If-None-Match": first.headers["etag"]}
    assert first.headers["vary"] == "Accept, Authorization"
    assert door.ask("/v1/streams/orders/events", headers=known).status == 304
    assert door.ask("/v1/streams/orders/events", headers=known, who="trusted").status == 200, "other fields"
    door.append(1, start=10)
    assert door.ask("/v1/streams/orders/events", headers=known).status == 200


def test_the_headers_of_a_page_come_without_its_body(door: Served) -> None:
    answer = door.ask("/v1/streams/orders/events", "HEAD")
    assert (answer.status, answer.body, answer.headers["x-bridge-next"]) == (200, b"", "10")


def test_one_event_is_found_by_its_number(door: Served) -> None:
    answer = door.ask("/v1/streams/orders/events/7")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/cloudevents+json")
    assert answer.json["sequence"] == f"{7:020}"
    assert door.ask("/v1/streams/orders/events/11").status == 404


def test_classified_fields_are_seen_by_whom_they_are_released_to_and_that_is_audited_once(door: Served) -> None:
    def data(who: str) -> dict[str, object]:
        found: dict[str, object] = door.ask("/v1/streams/orders/events?limit=1", who=who).json["events"][0]
        return found

    assert ("amount" in data("reader")["data"], data("reader")["withheld"]) == (False, "amount")  # type: ignore[operator]
    assert [data("trusted")["data"]["amount"] for _ in range(3)] == ["0.00"] * 3  # type: ignore[index]
    trail = [each.entry for each in door.journal.audit_trail()]
    assert [(each.actor, each.action, each.subject) for each in trail] == [("api:trusted", "events.read", "orders")]
    table = pa.ipc.open_stream(door.ask("/v1/streams/orders/events?format=arrow", who="reader").body).read_all()
    assert "amount" not in table.column_names


def test_what_is_wrong_with_a_request_is_told_at_once(door: Served) -> None:
    answer = door.ask("/v1/streams/orders/events?limit=0&after=x&lmit=3&from=today&key=a&key=b")
    assert answer.status == 400
    assert {error["pointer"] for error in answer.json["errors"]} == {"limit", "after", "lmit", "from", "key"}


# -- live


Live = Callable[..., http.client.HTTPResponse]


@pytest.fixture
def live(door: Served) -> Iterator[Live]:
    """Opens live connections, and closes them at the end."""
    with ExitStack() as stack:

        def open_(query: str = "", *, who: str = "root", last: str | None = None) -> http.client.HTTPResponse:
            connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=10)
            stack.callback(connection.close)
            headers = {"Authorization": f"Bearer {who}"} | ({"Last-Event-ID": last} if last else {})
            connection.request("GET", f"/v1/streams/orders/events/live{query}", headers=headers)
            response = connection.getresponse()
            stack.callback(response.close)
            return response

        yield open_


def numbers_of(response: http.client.HTTPResponse, count: int) -> list[int]:
    """The ids of the next events, each held to the number in its event."""
    found: list[int] = []
    while len(found) < count:
        line = response.readline().decode().rstrip("\n")
        if line.startswith("id: "):
            found.append(int(line[4:]))
            data = response.readline().decode()
            assert int(json.loads(data.removeprefix("data: "))["sequence"]) == found[-1]
    return found


def test_live_events_come_as_they_are_journalled(door: Served, live: Live) -> None:
    response = live()
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.readline() == b": welcome\n"
    door.append(3, start=10)
    assert numbers_of(response, 3) == [11, 12, 13]


def test_a_client_resumes_behind_what_it_has_and_misses_nothing(door: Served, live: Live) -> None:
    door.append(5_000, start=10)
    early = live("?after=2", last="7")
    assert numbers_of(early, 3) == [8, 9, 10], "what it remembers counts"
    door.append(100, start=5_010)
    assert numbers_of(early, 5_100) == list(range(11, 5_111))
    late = live("?after=5105")
    door.append(5, start=5_110)
    assert numbers_of(late, 10) == list(range(5_106, 5_116))


def test_live_connections_of_a_principal_are_counted(live: Live) -> None:
    held = [live(who="reader") for _ in range(3)]
    assert [response.status for response in held] == [200] * 3
    refused = live(who="reader")
    assert (refused.status, json.loads(refused.read())["type"]) == (429, "/problems/too-many-connections")
    assert live().status == 200, "others are not concerned"


def test_a_changed_configuration_ends_live_connections_with_a_word(door: Served, live: Live) -> None:
    response = live()
    assert response.readline() == b": welcome\n"
    door.doorway.swap(None)
    assert b"event: closing\n" in response.read()
    assert door.ask("/v1/streams").status == 503


@pytest.mark.parametrize(("query", "last"), [("?after=11", None), ("", "x"), ("", "999")])
def test_a_place_that_is_none_is_refused(live: Live, query: str, last: str | None) -> None:
    assert live(query, last=last).status == 400
