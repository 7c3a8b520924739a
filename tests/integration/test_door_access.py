"""Who may do what at the door: every endpoint, every act, own and foreign streams, against one declared rule."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.parcel import Delivered, Progress
from bridge.web.endpoint import Endpoint
from bridge.web.table import TABLE
from tests.door import CONFIG, PRINCIPALS, Served, served

# What stands for each parameter of a path: of the stream `orders`, and of the foreign stream `payroll`.
OWN = {
    "stream": "orders",
    "number": "1",
    "name": "mine",
    "id": "1",
    "sink": "hook",
    "system": "erp",
    "version": "1.0.0",
    "slug": "declined",
    "alarm": "0123456789",
    "silence": "0123456789",
    "principal": "reader",
}
FOREIGN = OWN | {"stream": "payroll", "id": "3", "sink": "wages", "system": "hr"}
BODIES = {
    "putCursor": {"after": 1},
    "discardDeadLetter": {"reason": "a test"},
    "ackAlarm": {},
    "addSilence": {"of": "stream:orders", "reason": "a test", "ends_at": "2100-01-01T00:00:00Z"},
    "forceBreaker": {"force": "none"},
    "replayDeadLetters": {"stream": "orders", "sink": "hook"},
    "discardDeadLetters": {"stream": "orders", "sink": "hook", "reason": "a test"},
    "pauseSystem": {"reason": "a test"},
    "startRun": {"kind": "full"},
    "replaySink": {"stream": "orders", "first": 1, "last": 1},
}
NEVER_ENDING = {"followEvents"}
BEHIND_A_STREAM = [
    each for each in TABLE if re.search(r"\{(stream|sink|system)\}|dead-letters/\{id\}|contracts/\{id\}", each.path)
]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A door with events and letters of both streams."""
    with served(tmp_path_factory.mktemp("door")) as running:
        for stream in ("orders", "payroll"):
            running.append(3, stream=stream)
            running.reject(2, stream=stream)
        yield running


def path_of(endpoint: Endpoint, places: dict[str, str]) -> str:
    """The endpoint's path with its parameters filled in."""
    places = places | ({"id": places["stream"]} if "contracts" in endpoint.path else {})
    return endpoint.path.format(**places)


def status(door: Served, endpoint: Endpoint, places: dict[str, str], who: str | None) -> int:
    """What a request is answered with; a live stream is asked for its headers only."""
    method = "HEAD" if endpoint.name in NEVER_ENDING else endpoint.method
    return door.ask(path_of(endpoint, places), method, who=who, body=BODIES.get(endpoint.name)).status


@pytest.mark.parametrize("who", [None, "nobody", *PRINCIPALS])
@pytest.mark.parametrize("endpoint", TABLE, ids=lambda each: each.name)
def test_every_endpoint_asks_for_its_act(door: Served, endpoint: Endpoint, who: str | None) -> None:
    found = status(door, endpoint, OWN, who)
    if endpoint.act is None:
        assert found == 200
    elif who not in PRINCIPALS:
        assert found == 401
    elif endpoint.act not in PRINCIPALS[who or ""].acts:
        assert found == 403
    else:
        assert found not in (401, 403)
        assert found < 500


@pytest.mark.parametrize("who", PRINCIPALS)
@pytest.mark.parametrize("endpoint", BEHIND_A_STREAM, ids=lambda each: each.name)
def test_what_belongs_to_a_foreign_stream_is_as_if_it_were_not_there(
    door: Served, endpoint: Endpoint, who: str
) -> None:
    principal = PRINCIPALS[who]
    if endpoint.act in principal.acts and principal.streams != "*":
        assert status(door, endpoint, FOREIGN, who) == 404
        nowhere = FOREIGN | {"stream": "nowhere", "sink": "nowhere", "system": "nowhere", "id": "99"}
        assert status(door, endpoint, nowhere, who) == 404, "no difference to tell by"


def test_lists_hold_only_what_is_ones_own(door: Served) -> None:
    door.door.board.fail("stream:payroll", "parked", "resume", blocks=("payroll",))
    door.door.board.fail("source:erp", "down", "start it", blocks=("orders", "payroll"))
    for path, who in (
        ("/v1/streams", "reader"),
        ("/v1/contracts", "reader"),
        ("/v1/health", "reader"),
        ("/asyncapi.json", "reader"),
        ("/v1/dead-letters", "mender"),
        ("/v1/dead-letters?state=any", "mender"),
        ("/v1/sinks", "operator"),
        ("/v1/systems", "operator"),
        ("/v1/sources", "operator"),
        ("/v1/runs", "operator"),
    ):
        body = door.ask(path, who=who).body.decode()
        assert "payroll" not in body, path
        assert "wages" not in body, path
        if path != "/v1/runs":
            assert "orders" in body, path
    door.door.board.ok("stream:payroll")
    door.door.board.ok("source:erp")


def test_a_system_that_is_read_in_two_ways_has_two_sources(tmp_path: Path) -> None:
    """Each with its own position and what is not well with it, for those who see its streams."""
    (tmp_path / "open.sql").touch()
    with served(
        tmp_path, CONFIG.replace("log: hr.payroll", "view: open.sql").replace("system: hr", "system: erp")
    ) as door:
        door.door.board.fail("source:erp/views", "the view is locked", "wait")
        sources = door.ask("/v1/sources").json["sources"]
        assert {one["name"]: one["ailments"] for one in sources if one["system"] == "erp"} == {
            "erp": [],
            "erp/views": ["the view is locked"],
        }


def test_what_is_refused_is_told_to_the_gate(door: Served) -> None:
    door.gate.refusals.clear()
    door.ask("/v1/audit", who="reader")
    door.ask("/v1/streams/payroll", who="reader")
    assert door.gate.refusals == [
        ("reader", "GET /v1/audit: may not administer"),
        ("reader", "GET /v1/streams/payroll: stream payroll is foreign"),
    ]


def test_quota_headers_come_with_every_answer_of_whom_was_admitted(door: Served) -> None:
    for path in ("/v1/streams", "/v1/audit", "/v1/streams/nowhere", "/v1/streams?x=1", "/v1/streams/orders/events"):
        assert door.ask(path, who="reader").headers["ratelimit"] == '"default";r=42;t=17', path


def test_a_rejected_row_shows_only_columns_of_released_fields(door: Served) -> None:
    shown = door.ask("/v1/dead-letters/1", who="mender").json
    assert (shown["raw"], shown["withheld"]) == ({"ordno": "       0"}, ["amt", "note"])
    assert door.ask("/v1/dead-letters/1", who="trusted").json["raw"].keys() == {"ordno", "amt"}


def test_a_cursor_moves_on_never_back_and_reads_from_where_it_stands(door: Served) -> None:
    path = "/v1/streams/orders/cursors/mine2"
    assert door.ask(path).status == 404
    assert door.ask(path, "PUT", body={"after": 2}).json == {"name": "mine2", "stream": "orders", "after": 2}
    back = door.ask(path, "PUT", body={"after": 1})
    assert (back.status, back.json["type"], back.json["after"]) == (409, "/problems/cursor-moved-back", 2)
    assert door.ask(path, "PUT", body={"after": 99}).status == 409
    page = door.ask("/v1/streams/orders/events?cursor=mine2").json
    assert [int(event["sequence"]) for event in page["events"]] == [3]
    assert door.ask(path, who="reader").status == 404, "everybody has cursors of his own"
    assert door.journal.subscribers()["api:root:mine2"]["orders"].settled == 2, "retention knows it"
    assert door.ask(path, "DELETE").status == 204
    assert door.ask(path).status == 404


def test_a_cursor_is_deleted_on_the_stream_that_is_named_and_no_other(door: Served) -> None:
    for stream in ("orders", "payroll"):
        assert door.ask(f"/v1/streams/{stream}/cursors/both", "PUT", body={"after": 1}).status == 200
    assert door.ask("/v1/streams/orders/cursors/both", "DELETE").status == 204
    assert door.ask("/v1/streams/orders/cursors/both").status == 404
    assert door.ask("/v1/streams/payroll/cursors/both").json["after"] == 1


def test_an_operator_sees_and_forgets_cursors_on_own_streams_whoever_has_or_had_them(door: Served) -> None:
    door.journal.advance("api:former:nightly", {"orders": 2})
    door.journal.advance("api:former:wages", {"orders": 1, "payroll": 2})
    found = door.ask("/v1/cursors", who="operator").json["cursors"]
    assert {each["stream"] for each in found} == {"orders"}
    shown = {"principal": "former", "name": "nightly", "stream": "orders", "after": 2, "last": 3, "is_left": True}
    assert shown in found
    assert door.ask("/v1/cursors/former/wages", "DELETE", who="operator").status == 404, "a part of it is foreign"
    assert door.ask("/v1/cursors/former/nightly", "DELETE", who="operator").json["ok"]
    assert "api:former:nightly" not in door.journal.subscribers()
    assert door.ask("/v1/cursors/former/wages", "DELETE").json["result"]["streams"] == ["orders", "payroll"]


def test_what_a_sink_is_behind_is_what_the_metric_counts_and_what_waits_is_told_apart(door: Served) -> None:
    door.journal.record([Delivered("hook", {"orders": Progress(2, ((1, 1),))})])
    last = door.journal.extents()["orders"].last
    found = door.ask("/v1/sinks/hook").json
    assert (found["behind"], found["pending"], found["state"]) == (last - 2, 1, "waiting")


def test_letters_are_replayed_and_closed_by_stream(door: Served) -> None:
    path, chosen = "/v1/dead-letters/discard", {"stream": "payroll", "reason": "a test"}
    assert door.ask(path, "POST", who="mender", body=chosen).status == 404, "it is foreign"
    assert door.ask(path, "POST", who="mender", body={"all": True, "reason": "x"}).status == 409
    assert door.ask(path, "POST", body={"reason": "x"}).status == 409, "none were named"
    door.reject(2, stream="payroll")
    replayed = door.ask("/v1/dead-letters/replay", "POST", body={"stream": "payroll"}).json["result"]
    assert replayed["still_rejected"] >= 2
    assert door.ask(path, "POST", body=chosen).json["result"]["discarded"] == replayed["still_rejected"]
    assert door.ask("/v1/dead-letters?stream=payroll").json["letters"] == []


def test_what_takes_longer_is_answered_with_where_to_look(door: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.web.desk.PATIENCE_S", 0.1)
    door.answering.clear()
    later = door.ask("/v1/streams/orders/pause", "POST")
    assert (later.status, later.json["ok"]) == (202, None)
    where = later.headers["location"]
    assert door.ask(where, who="reader").status == 404, "it is somebody else's"
    monkeypatch.undo()
    door.answering.set()
    done = door.ask("/v1/streams/orders/resume", "POST")
    assert (done.status, done.json["ok"], done.json["actor"]) == (200, True, "api:root")
    assert door.ask(where).json["ok"] is True


def test_what_is_declined_says_why_and_what_to_do(door: Served) -> None:
    answer = door.ask("/v1/dead-letters/1/discard", "POST", body={"reason": " "})
    assert (answer.status, answer.json["type"]) == (409, "/problems/declined")
    assert "reason" in answer.json["detail"]


CURSOR, PAUSE = "/v1/streams/orders/cursors/c", "/v1/streams/orders/pause"


@pytest.mark.parametrize(
    ("request_line", "media", "body", "expected"),
    [
        (f"POST {PAUSE}", "application/json", b"{}", 413),  # where none is taken
        (f"PUT {CURSOR}", "text/plain", b"{}", 415),
        (f"PUT {CURSOR}", "application/json", b"{" * 100_000, 400),
        (f"PUT {CURSOR}", "application/json", b'{"after": 1, "more": 2}', 400),
        (f"PUT {CURSOR}", "application/json", b"\xff", 400),
        (f"PUT {CURSOR}", "application/json", b" " * 1_000_001, 413),
        (f"PATCH {CURSOR}", "application/json", b"{}", 405),
    ],
)  # fmt: skip
def test_bodies_are_taken_only_where_they_belong_and_as_declared(
    door: Served, request_line: str, *, media: str, body: bytes, expected: int
) -> None:
    method, path = request_line.split()
    answer = door.ask(path, method, headers={"Content-Type": media}, body=body)
    assert answer.status == expected
    assert answer.headers["content-type"] == "application/problem+json"


def test_other_origins_get_no_leave_and_options_say_what_a_path_takes(door: Served) -> None:
    answer = door.ask("/v1/streams", "OPTIONS", who=None, headers={"Origin": "https://evil.example"})
    assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    got = door.ask("/v1/streams", headers={"Origin": "https://evil.example"})
    assert not [name for name in got.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/streams/../../etc/passwd",
        "/v1/streams/%2e%2e%2fetc",
        "/v1/streams/orders%00",
        "/problems/..%2f..%2fetc",
        "//v1",
    ],
)
def test_paths_lead_nowhere_else(door: Served, path: str) -> None:
    assert door.ask(path).status in (400, 404)


def test_every_answer_has_the_security_headers(door: Served) -> None:
    for path in ("/v1/streams", "/nowhere", "/openapi.json", "/v1/streams/orders/events"):
        assert door.ask(path).headers["x-content-type-options"] == "nosniff"
