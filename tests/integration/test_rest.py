"""REST APIs as a source: nothing missed and nothing doubled however they page, whatever they answer."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from bridge.client import Client
from bridge.config.rest import RestSystemConfig
from bridge.errors import BridgeError, SourceRefused, SourceUnavailable
from bridge.extraction.extractor import Question
from bridge.model import Mark
from bridge.sources.rest.extractor import RestExtractor
from bridge.sources.rest.login import Login
from tests import receivers
from tests.api import LOCAL, PAGINGS, Api, extractor, ids, pages, record, rows
from tests.daemon import wait_for
from tests.receivers import Act, Received, reply

CURSOR: dict[str, Any] = {"cursor": "changed", "since": {"parameter": "since"}, "mode": "incremental"}
OAUTH2 = {"client_id": "bridge", "client_secret": "s3cret of the client"}


def ten() -> list[dict[str, Any]]:
    return [record(number) for number in (3, 1, 2, 10, 9, 8, 7, 6, 5, 4)]


def refusal(act: Callable[[], object], kind: type[BridgeError] = SourceUnavailable) -> Any:  # noqa: ANN401  of that class
    with pytest.raises(kind) as caught:
        act()
    return caught.value


@pytest.mark.parametrize("cap", [1, 2, 3, 5, 10, 11])
@pytest.mark.parametrize("paging", PAGINGS.values(), ids=PAGINGS)
def test_every_record_comes_once_and_in_order_however_an_api_pages(paging: dict[str, Any], cap: int) -> None:
    """Also where it gives fewer than it was asked for."""
    with Api(ten(), cap=cap if paging else 1_000) as api:
        source = extractor(api, **paging)
        found = pages(source)
        assert ids(found) == list(range(1, 11))
        assert max(page.columns.num_rows for page in found) <= 3
        assert max(page.queries for page in found) == 1
        assert sum(page.queries for page in found) == len(api.asked)
        assert {each.method for each in api.server.received} == {"GET"}


def test_an_empty_list_is_empty() -> None:
    for paging in PAGINGS.values():
        with Api([]) as api:
            assert rows(pages(extractor(api, **paging))) == []
    with Api([], before=lambda *_: reply(204)) as api:
        assert rows(pages(extractor(api))) == []


def test_values_are_exact_or_marked() -> None:
    whole = record(9007199254740993, credit=1) | {"credit": None}
    text = json.dumps({"data": [whole, "no object", record(2, credit="x")]})
    text = text.replace('"credit": null', '"credit": 123456789012345678901234567890123456.78')
    with Api([], before=lambda *_: reply(200, body=text.encode())) as api:
        keyed, loose = pages(extractor(api))
    assert rows([keyed])[1]["credit"] == Decimal("123456789012345678901234567890123456.78")
    assert ids([keyed]) == [2, 9007199254740993]
    assert loose.columns.column("id").to_pylist() == [None]
    unread = {name: (marks.rows.tolist(), marks.kinds.tolist(), marks.raw) for name, marks in keyed.marks.items()}
    assert unread == {"credit": ([0], [Mark.UNREADABLE], (b"x",))}
    assert {name: marks.rows.tolist() for name, marks in loose.marks.items()} == {
        "id": [0],
        "address.city": [0],
        "credit": [0],
    }


def test_only_what_changed_is_asked_for_and_comes_in_order_of_the_cursor() -> None:
    records = [record(number, changed=f"2026-03-0{5 - number}T08:00:00Z") for number in (1, 2, 3)] + [
        record(4, changed=None)  # type: ignore[arg-type]
    ]
    since = pa.scalar(datetime(2026, 3, 3, 8, tzinfo=UTC), pa.timestamp("us", "UTC"))
    with Api(records[:3]) as api:
        source = extractor(api, **CURSOR)
        assert ids(pages(source)) == [3, 2, 1]
        assert ids(pages(source, since=since)) == [2, 1]
        assert "since=2026-03-03T08%3A00%3A00Z" in api.asked[-1]
        assert ids(pages(source, is_by_key=True)) == [1, 2, 3]
        assert ids(pages(source, is_without_cursor=True)) == []


def test_keys_and_ranges_of_keys_come_out_of_a_list_that_knows_neither() -> None:
    with Api(ten()) as api:
        source = extractor(api, **CURSOR)
        keys = pages(source, want="keys")
        assert keys[0].shape.names() == keys[0].columns.schema.names == ["id", "changed"]
        assert ids(keys) == list(range(1, 11))
        span: dict[str, Any] = {"after_key": (pa.scalar(2, pa.int64()),), "to_key": (pa.scalar(7, pa.int64()),)}
        assert ids(pages(source, **span)) == [3, 4, 5, 6, 7]


def test_chosen_keys_come_in_one_page() -> None:
    with Api(ten(), cap=3) as api:
        source = extractor(api, **PAGINGS["by offset"])
        keys = pa.RecordBatch.from_pydict({"id": pa.array([9, 2, 77, 9], pa.int64())})
        page = source.page(Question("customers", 10, keys=keys))
        assert (ids([page]), page.resume, page.queries) == ([2, 9], None, len(api.asked))
        assert ids(pages(source)) == list(range(1, 11))


def test_what_was_gathered_is_kept_while_the_server_wants_to_be_left_alone() -> None:
    """Whoever waits may close the session meanwhile."""
    with Api(ten(), cap=2) as api:
        source = extractor(api, **PAGINGS["by number"])
        resume = None
        for _ in range(3):
            resume = source.page(Question("customers", 3, resume=resume)).resume
        source.close()
        source.open()
        assert ids(pages(source, resume=resume)) == list(range(1, 11))
        assert len(api.asked) == 6


@pytest.mark.parametrize("paging", PAGINGS.values(), ids=PAGINGS)
def test_a_reading_goes_on_after_a_restart_at_the_row_where_it_was(paging: dict[str, Any]) -> None:
    with Api(ten(), cap=4 if paging else 1_000) as api:
        whole = pages(extractor(api, **paging))
        for cut in range(1, len(whole)):
            resume = json.loads(json.dumps(whole[cut - 1].resume))
            again = pages(extractor(api, **paging), resume=resume)
            assert ids(whole[:cut]) + ids(again) == list(range(1, 11)), cut


def test_streams_are_read_in_turn() -> None:
    with Api(ten(), cap=2) as api:
        source = extractor(api, streams=("a", "b", "c"), **PAGINGS["by number"])
        found: dict[str, list[int]] = {stream: [] for stream in "abc"}
        resumes: dict[str, Any] = dict.fromkeys("abc")
        while resumes:
            for stream in list(resumes):
                page = source.page(Question(stream, 3, resume=resumes.pop(stream)))
                found[stream] += ids([page])
                if page.resume is not None:
                    resumes[stream] = page.resume
        assert found == {stream: list(range(1, 11)) for stream in "abc"}


# -- lists that move


def moving(
    api: Api, *, at: int, move: Callable[[list[dict[str, Any]]], object]
) -> Callable[[Received, int], Act | None]:
    def before(_received: Received, count: int) -> None:
        if count == at:
            move(api.records)

    return before


@pytest.mark.parametrize(
    ("paging", "counts"), [("by offset", False), ("by offset", True), ("by number", True), ("by Link", True)]
)
def test_a_list_that_moves_while_it_is_read_is_read_again(paging: str, *, counts: bool) -> None:
    """A record that went from the first page draws one of the second to where nobody looks any more."""
    with Api(ten(), cap=3, counts=counts) as api:
        api.before = moving(api, at=2, move=lambda records: records.pop(0))
        found = pages(extractor(api, total="meta.total" if counts else None, **PAGINGS[paging]))
        assert ids(found) == [1, 2, 4, 5, 6, 7, 8, 9, 10]
        assert len(api.asked) >= 5


def test_records_that_come_and_go_at_once_are_seen_to_move_where_pages_overlap() -> None:
    with Api(ten(), cap=3) as api:
        api.before = moving(api, at=2, move=lambda records: records.append(record(11 + 0 * records.pop(0)["id"])))
        assert ids(pages(extractor(api, **PAGINGS["by offset"]))) == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11]


def test_a_list_that_never_holds_still_is_not_believed() -> None:
    with Api(ten(), cap=3) as api:

        def before(_received: Received, count: int) -> None:
            api.records.pop(0)
            api.records.append(record(100 + count))

        api.before = before
        source = extractor(api, **PAGINGS["by offset"])
        assert "changes faster" in refusal(lambda: pages(source)).detail


def test_a_record_that_a_new_one_moved_to_the_next_page_comes_once() -> None:
    with Api(ten(), cap=3) as api:
        api.before = moving(api, at=2, move=lambda records: records.insert(0, record(0)))
        assert ids(pages(extractor(api, **PAGINGS["by number"]))) == list(range(1, 11))


def test_two_records_of_one_key_that_differ_are_both_told() -> None:
    with Api([record(1), record(1, credit="2.00")]) as api:
        assert ids(pages(extractor(api))) == [1, 1]


def test_pages_that_go_round_in_a_circle_are_left() -> None:
    body = json.dumps({"data": [record(1)], "meta": {"mark": "same"}}).encode()
    with Api([], before=lambda *_: reply(200, body=body)) as api:
        source = extractor(api, **PAGINGS["by a mark"])
        assert "circle" in refusal(lambda: pages(source)).detail
        assert len(api.asked) == 2


@pytest.mark.parametrize("paging", ["by number", "by a mark"])
def test_a_page_that_comes_again_whatever_was_asked_for_ends_the_reading(paging: str) -> None:
    """A server that does not heed the page's number, or gives its last one for those behind it, never ends."""
    with Api(ten(), cap=4) as api:
        bodies = [{"data": api.records[at : at + 4], "meta": {"mark": str(at)}} for at in (0, 4, 8)]
        api.before = lambda _received, count: reply(
            200, body=json.dumps(bodies[min(count, 3) - 1] | {"meta": {"mark": str(count)}}).encode()
        )
        source = extractor(api, **PAGINGS[paging])
        assert "circle" in refusal(lambda: pages(source, at_most=20)).detail
        assert len(api.asked) == 4


def test_pages_without_a_record_end_a_reading_only_after_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API that filters late sends some; one that never stops would be asked for ever."""
    monkeypatch.setattr("bridge.sources.rest.reading.MOST_EMPTY", 3)

    def body(count: int, *records: dict[str, Any]) -> bytes:
        return json.dumps({"data": records, "meta": {} if records else {"mark": f"m{count}"}}).encode()

    with Api([], before=lambda _received, count: reply(200, body=body(count, *[record(1)] * (count == 4)))) as api:
        assert ids(pages(extractor(api, **PAGINGS["by a mark"]), at_most=20)) == [1]
    with Api([], before=lambda _received, count: reply(200, body=body(count))) as api:
        source = extractor(api, **PAGINGS["by a mark"])
        assert "circle" in refusal(lambda: pages(source, at_most=20)).detail
        assert len(api.asked) == 4


@pytest.mark.parametrize("mark", [{"href": "/customers?offset=4"}, ["4"], True, "\ud800", "4" * 70_000])
@pytest.mark.parametrize("paging", ["by a mark", "by a link in the body"])
def test_a_next_page_that_cannot_be_asked_for_is_never_the_end_of_the_list(paging: str, mark: object) -> None:
    body = json.dumps({"data": [record(1)], "meta": {"mark": mark, "next": mark}}).encode()
    with Api(ten(), before=lambda *_: reply(200, body=body)) as api:
        source = extractor(api, **PAGINGS[paging])
        assert "does not say where the list goes on" in refusal(lambda: pages(source)).detail
        assert len(api.asked) == 1


def test_no_content_ends_a_list_whose_pages_are_numbered_and_none_that_says_where_it_goes_on() -> None:
    for paging, counts in (("by number", False), ("by number", True), ("by a mark", False)):
        with Api(ten()[:6], cap=3, counts=counts) as api:
            api.before = lambda _received, count: reply(204) if count == 3 else None
            if paging == "by a mark":
                api.records.append(record(11))
            found = pages(extractor(api, total="meta.total" if counts else None, **PAGINGS[paging]))
            assert ids(found) == sorted(each["id"] for each in api.records)
            assert len(api.asked) == (3 if paging == "by number" else 6)


def test_a_mark_that_is_not_good_any_more_begins_the_reading_again() -> None:
    with Api(ten(), cap=4) as api:
        api.before = lambda _received, count: reply(410) if count == 2 else None
        assert ids(pages(extractor(api, **PAGINGS["by a mark"]))) == list(range(1, 11))
        assert "after" not in api.asked[2]


@pytest.mark.parametrize("status", [404, 416])
def test_a_list_may_end_with_a_status_where_that_is_said_and_comes_twice(status: int) -> None:
    paging: dict[str, Any] = {"paging": {"page": {"end_status": status}}}
    with Api(ten(), cap=3) as api:
        api.before = lambda received, _count: reply(status) if "page=5" in received.path else None
        assert ids(pages(extractor(api, **paging))) == list(range(1, 11))
        assert [path.rpartition("=")[2] for path in api.asked] == ["1", "2", "3", "4", "5", "5"]


def test_a_list_that_ends_with_a_status_unsaid_is_told_as_that() -> None:
    with Api(ten(), cap=3) as api:
        api.before = lambda received, _count: reply(404) if "page=5" in received.path else None
        refused = refusal(lambda: pages(extractor(api, **PAGINGS["by number"])))
        assert "HTTP 404 to page 5, each time" in refused.detail
        assert "end_status" in (refused.hint or "")


def test_a_status_that_comes_once_ends_no_list() -> None:
    """It was none of the API's; and a list that is not there at all is no empty one."""
    paging: dict[str, Any] = {"paging": {"page": {"end_status": 404}}}
    with Api(ten(), cap=5) as api:
        api.before = lambda _received, count: reply(404) if count == 2 else None
        assert ids(pages(extractor(api, **paging))) == list(range(1, 11))
    with Api(ten(), before=lambda *_: reply(404)) as api:
        refusal(lambda: pages(extractor(api, **paging)), SourceRefused)


# -- answers that are none


@pytest.mark.parametrize(
    "act",
    [
        reply(200, body=b"<html>please log in</html>"),
        reply(200, body=b'{"error": "too bad"}'),
        reply(200, body=b'{"data": null}'),
        reply(200, body=b'{"data": {"1": {}}}'),
        reply(200, body=b'{"data": [{"id": 1}'),
        reply(200),
        reply(500),
        reply(304),
        receivers.drop,
        receivers.reset,
        receivers.SLOW_HEADERS,
        receivers.SLOW_BODY,
        receivers.endless,
        receivers.bomb(),
    ],
)
def test_an_answer_that_is_no_list_is_waited_for_and_never_an_empty_one(act: Act) -> None:
    with Api(ten(), cap=4) as api:
        api.before = lambda _received, count: act if count in (1, 3) else None
        source = extractor(api, system={"timeout_s": 0.5, "answer_megabytes": 1}, **PAGINGS["by offset"])
        error = refusal(lambda: pages(source))
        assert error.reaction == "wait"
        first = source.page(Question("customers", 3))
        assert refusal(lambda: pages(source, resume=first.resume)).reaction == "wait"
        assert ids(pages(source, resume=first.resume)) == list(range(1, 11))


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 405, 410])
def test_what_a_person_must_mend_is_refused(status: int) -> None:
    act = reply(status, headers={"location": "/elsewhere"})
    with Api(ten(), before=lambda *_: act) as api:
        error = refusal(lambda: pages(extractor(api)), SourceRefused)
        assert str(status) in error.detail
        assert len(api.asked) == 1


def test_a_link_to_another_server_is_not_followed() -> None:
    with Api(ten()) as other, Api(ten()) as api:
        for link in (f"http://127.0.0.1:{other.server.port}/x", "//127.0.0.2/x", "ftp://127.0.0.1/", "http://a@b:c/"):
            body = json.dumps({"data": [record(1)], "meta": {"next": link}}).encode()
            api.before = lambda *_, body=body: reply(200, body=body)
            source = extractor(api, **PAGINGS["by a link in the body"])
            assert "another server" in refusal(lambda: pages(source), SourceRefused).detail  # noqa: B023  called at once
        assert other.asked == []


def test_a_network_that_is_not_listed_is_not_asked() -> None:
    with Api(ten()) as api:
        error = refusal(lambda: pages(extractor(api, system={"allow_networks": []})))
        assert "is blocked" in error.detail
        assert api.server.connections == 0


def test_records_beyond_the_memory_that_is_set_aside_are_refused() -> None:
    with Api([record(number, address={"city": "x" * 10_000}) for number in range(200)]) as api:
        source = extractor(api, reading_megabytes=1)
        assert "more than 1 MB" in refusal(lambda: pages(source), SourceRefused).detail
        for each in api.records:
            each |= {"address": {}, "credit": "no number " * 1_000}
        assert "more than 1 MB" in refusal(lambda: pages(source), SourceRefused).detail


# -- what the server asks for


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [
        (429, {"retry-after": "7"}, 7),
        (503, {"retry-after": "7"}, 7),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "7"}, 7),
        (200, {"ratelimit": '"default";r=0;t=7'}, 7),
        (200, {"ratelimit-remaining": "0", "ratelimit-reset": "7"}, 7),
        (
            200,
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1772352007", "date": "Sun, 01 Mar 2026 08:00:00 GMT"},
            7,
        ),
    ],
)
def test_a_server_is_left_alone_for_as_long_as_it_asks(status: int, headers: dict[str, str], wait_s: float) -> None:
    """By every stream of the system, and by the server's own clock where it tells a moment."""
    with Api(ten(), cap=4) as api:
        body = json.dumps({"data": api.records[:4]}).encode()
        api.before = lambda _received, count: reply(status, headers=headers, body=body) if count == 1 else None
        source = extractor(api, streams=("customers", "others"), **PAGINGS["by offset"])
        clock = [0.0]
        source._session._monotonic = lambda: clock[0]
        error = refusal(lambda: pages(source))
        assert error.retry_after_s == pytest.approx(wait_s)
        clock[0] = wait_s - 0.1
        assert refusal(lambda: pages(source, stream="others")).retry_after_s == pytest.approx(0.1)
        assert len(api.asked) == 1
        clock[0] = wait_s
        assert ids(pages(source)) == list(range(1, 11))


def test_an_unchanged_list_is_not_sent_again() -> None:
    for headers in (
        {"etag": '"a1"'},
        {"last-modified": "Sun, 01 Mar 2026 08:00:00 GMT", "date": "Sun, 01 Mar 2026 08:00:09 GMT"},
    ):
        with Api(ten(), headers=headers) as api:
            source = extractor(api)
            memory = pages(source)[-1].memory
            api.before = lambda received, _count: reply(304) if conditional(received) else None
            (page,) = pages(source, memory=memory)
            assert (page.is_unchanged, page.columns.num_rows, page.memory) == (True, 0, memory)
            del api.records[0]
            api.before = lambda *_: None
            assert len(ids(pages(source, memory=memory))) == 9
            assert conditional(api.server.received[-1])


def conditional(received: Received) -> bool:
    return bool({"if-none-match", "if-modified-since"} & received.headers.keys())


def test_a_list_is_not_called_unchanged_for_its_first_page_or_within_the_second_of_its_change() -> None:
    new = {"last-modified": "Sun, 01 Mar 2026 08:00:00 GMT", "date": "Sun, 01 Mar 2026 08:00:01 GMT"}
    for headers, keys in ((new, {}), ({"etag": '"a"'}, PAGINGS["by Link"]), ({"etag": '"a"'}, PAGINGS["by offset"])):
        with Api(ten()[:3], headers=headers) as api:
            source = extractor(api, **keys)
            pages(source, memory=pages(source)[-1].memory)
            assert not any(map(conditional, api.server.received))


# -- logins


def test_a_login_is_in_every_request() -> None:
    for login, expected in (
        ({"basic": {"user": "reader", "password": "pass: word"}}, "Basic cmVhZGVyOnBhc3M6IHdvcmQ="),
        ({"bearer": "token"}, "Bearer token"),
    ):
        with Api(ten(), cap=4) as api:
            pages(extractor(api, system={**login, "headers": {"X-Api-Key": "k"}}, **PAGINGS["by number"]))
            assert {(one.headers["authorization"], one.headers["x-api-key"]) for one in api.server.received} == {
                (expected, "k")
            }


class Tokens:
    """A token server on the same port; tokens are good for `good` requests."""

    def __init__(self, *, good: int = 1_000, life_s: object = 3600) -> None:
        self.given = 0
        self.left = 0
        self._good = good
        self._life_s = life_s

    def __call__(self, received: Received, _count: int) -> Act | None:
        if received.path == "/token":
            assert received.method == "POST"
            assert b"grant_type=client_credentials" in received.body
            self.given, self.left = self.given + 1, self._good
            body = {"access_token": f"t{self.given}", "token_type": "Bearer", "expires_in": self._life_s}
            return reply(200, body=json.dumps(body).encode())
        if received.headers.get("authorization") != f"Bearer t{self.given}" or not self.left:
            return reply(401)
        self.left -= 1
        return None


def by_oauth2(api: Api, **login: Any) -> Any:  # noqa: ANN401  an extractor; keys of the section
    token_url = f"http://127.0.0.1:{api.server.port}/token"
    return extractor(api, system={"oauth2": {**OAUTH2, "token_url": token_url, **login}}, **PAGINGS["by number"])


@pytest.mark.parametrize("send", ["header", "body"])
def test_a_token_that_ends_in_the_middle_is_fetched_once_and_nothing_is_lost(send: str) -> None:
    """H5."""
    with Api(ten(), cap=2) as api:
        api.before = tokens = Tokens(good=3)
        source = by_oauth2(api, send=send, scope=["read", "list"])
        found = pages(source)
        assert ids(found) == list(range(1, 11))
        assert tokens.given == 2
        assert sum(page.queries for page in found) == len(api.asked) - 1, "the token of the start is in no page"
        assert b"scope=read+list" in api.server.received[0].body
        assert ("authorization" in api.server.received[0].headers) == (send == "header")


def test_of_all_who_need_a_token_one_fetches_it_and_of_all_whom_it_failed_one_more() -> None:
    """H5: no stampede, not at the start and not when it is refused to fifty at once."""

    async def fifty(config: RestSystemConfig) -> tuple[int, int]:
        client = Client(SourceUnavailable, allow_networks=LOCAL)
        login = Login(config, client)
        try:
            first = await asyncio.gather(*(login.headers() for _ in range(50)))
            given = tokens.given
            assert all(login.distrust(each) for each in first)
            second = await asyncio.gather(*(login.headers() for _ in range(50)))
            assert all(login.distrust(each) for each in first), "late news of the old token"
            assert await login.headers() == second[0]
        finally:
            await client.close()
        return given, tokens.given

    with Api(ten()) as api:
        api.before = tokens = Tokens()
        url = f"http://127.0.0.1:{api.server.port}"
        found = RestSystemConfig.model_validate({"url": url, "oauth2": {**OAUTH2, "token_url": f"{url}/token"}})
        assert asyncio.run(fifty(found)) == (1, 2)


def test_a_token_is_replaced_before_its_life_is_over_whatever_the_clocks_say() -> None:
    with Api(ten()) as api:
        api.before = tokens = Tokens(life_s="100")
        source = by_oauth2(api)
        began = time.monotonic()
        source._session._login._monotonic = lambda: began + 85
        pages(source)
        assert tokens.given == 1
        source._session._login._monotonic = lambda: began + 91
        pages(source)
        assert tokens.given == 2


def test_a_system_that_refuses_every_token_is_asked_twice() -> None:
    with Api(ten()) as api:
        api.before = tokens = Tokens(good=0)
        source = by_oauth2(api)
        assert "401" in refusal(lambda: pages(source), SourceRefused).detail
        assert (tokens.given, len(api.asked)) == (2, 4)


def test_a_token_server_that_says_no_is_told_apart_from_one_that_is_away() -> None:
    body = b'{"error": "invalid_client", "error_description": "s3cret of the client"}'
    for act, kind in (
        (reply(401, body=body), SourceRefused),
        (reply(503, headers={"retry-after": "9"}), SourceUnavailable),
        (reply(200, body=b"{}"), SourceUnavailable),
        (reply(200, body=b"<html>"), SourceUnavailable),
        (reply(200, body=b'{"access_token": "s3cret\\r\\nx: y", "token_type": "bearer"}'), SourceUnavailable),
    ):
        with Api(ten(), before=lambda *_, act=act: act) as api:
            error = refusal(lambda: by_oauth2(api), kind)
            assert "s3cret" not in f"{error} {error.hint} {error.__cause__}"
            assert getattr(error, "retry_after_s", None) in (None, 9)
    assert "invalid_client" in str(refusal(lambda: by_oauth2_of(reply(401, body=body)), SourceRefused))


def test_a_token_server_is_left_alone_for_as_long_as_it_asks() -> None:
    with Api(ten(), before=lambda *_: reply(429, headers={"retry-after": "60"})) as api:
        now = [1000.0]
        source = RestExtractor("crm", oauth2_of(api), {}, monotonic=lambda: now[0])
        for now[0] in (1000.0, 1001.0, 1059.0, 1060.0):
            assert refusal(source.open).retry_after_s is not None
        source.close()
        assert len(api.asked) == 2


def oauth2_of(api: Api) -> RestSystemConfig:
    url = f"http://127.0.0.1:{api.server.port}"
    login = {"url": url, "allow_networks": LOCAL, "oauth2": {**OAUTH2, "token_url": f"{url}/token"}}
    return RestSystemConfig.model_validate(login)


def by_oauth2_of(act: Act) -> None:
    with Api(ten(), before=lambda *_: act) as api:
        by_oauth2(api)


def test_a_header_that_cannot_be_one_is_refused_without_being_told() -> None:
    with Api(ten()) as api:
        error = refusal(lambda: extractor(api, system={"bearer": "to\r\nken: x"}), SourceRefused)
        assert "ken" not in error.detail.replace("token", "")
        assert api.asked == []


# -- the kill switch


def test_what_is_under_way_is_given_up_at_once() -> None:
    with Api(ten(), before=lambda *_: receivers.silence) as api:
        source = extractor(api, system={"timeout_s": 60})

        def stop() -> None:
            wait_for(lambda: api.asked)
            source.cancel()

        threading.Thread(target=stop, daemon=True).start()
        began = time.monotonic()
        assert "cancelled" in refusal(lambda: pages(source)).detail
        assert time.monotonic() - began < 10
        assert len(api.asked) == 1
        api.before = lambda *_: None
        assert ids(pages(source)) == list(range(1, 11))
        source.close()
        source.close()
