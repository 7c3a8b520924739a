"""Chosen records of a REST API: a few are asked for one by one, and the list alone says that one is gone."""

import json
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pytest

from bridge.errors import SourceUnavailable
from bridge.extraction.extractor import Question
from tests.api import Api, extractor, ids, record, rows
from tests.receivers import Act, Received, reply


def item(api: Api, received: Received, key: str = "id") -> Act | None:
    """One record at /customers/KEY, in the field that also holds the list; None for the list."""
    path = urlsplit(received.path).path
    if not path.startswith("/customers/"):
        return None
    found = [each for each in api.records if str(each[key]) == unquote(path.removeprefix("/customers/"))]
    return reply(200, body=json.dumps({"data": found[0]}).encode()) if found else reply(404)


@pytest.fixture
def api() -> Iterator[Api]:
    with Api([record(number) for number in range(1, 101)]) as running:
        running.before = lambda received, _count: item(running, received)
        yield running


def chosen(*numbers: int) -> Question:
    return Question("customers", 100, keys=pa.record_batch({"id": pa.array(numbers, pa.int64())}))


def test_a_few_records_are_asked_for_one_by_one(api: Api) -> None:
    page = extractor(api, item="/customers/{id}").page(chosen(70, 3))
    assert (ids([page]), rows([page])[1]["address.city"]) == ([3, 70], "city 70")
    assert api.asked == ["/customers/70", "/customers/3"]
    assert (page.queries, page.resume) == (2, None)
    assert page.size_bytes > 100


def test_many_records_are_looked_for_in_the_list(api: Api) -> None:
    page = extractor(api, item="/customers/{id}").page(chosen(*range(1, 60)))
    assert (len(ids([page])), api.asked) == (59, ["/customers"])


def test_a_list_longer_than_a_server_lets_anybody_read_at_once_is_read_to_its_end(api: Api) -> None:
    """What was gathered for chosen records is kept while the server wants to be left alone, else nothing ever ends."""
    api.cap, clock = 10, [0.0]
    api.before = lambda _received, count: reply(429, headers={"retry-after": "60"}) if count % 5 == 0 else None
    source = extractor(api, paging={"page": {}})
    source._session._monotonic = lambda: clock[0]
    pages = []
    for _ in range(3):
        try:
            pages.append(source.page(chosen(3, 99)))
        except SourceUnavailable:
            clock[0] += 61
    assert (ids(pages[:1]), len(api.asked)) == ([3, 99], 13)


def test_what_is_not_found_is_looked_for_in_the_list_which_alone_says_what_is_gone(api: Api) -> None:
    source = extractor(api, item="/clients/{id}")  # a wrong path: the API knows none of it
    api.before = lambda received, _count: reply(404) if received.path.startswith("/clients") else None
    del api.records[2]
    page = source.page(chosen(3, 70))
    assert (ids([page]), api.asked[-1], page.queries) == ([70], "/customers", 2)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data": {"id": 4}}', b"<html>"], ids=["none", "list", "other", "page"])
def test_an_answer_that_is_not_the_record_is_not_believed(api: Api, body: bytes) -> None:
    api.before = lambda received, _count: reply(200, body=body) if received.path != "/customers" else None
    page = extractor(api, item="/customers/{id}").page(chosen(3))
    assert (ids([page]), api.asked) == ([3], ["/customers/3", "/customers"])


@pytest.mark.parametrize("key", ["../secrets", "a/b", "x?size=1", "a b&c=d", "ä%2F", "..", "", "#", "{id}"])
def test_a_key_leads_nowhere_but_to_its_record(api: Api, key: str) -> None:
    """F-2: whatever it says; where it would be another path, the list is read."""
    api.records = [record(1, code=key), record(2, code="else")]
    api.before = lambda received, _count: item(api, received, "code")
    source = extractor(api, item="/customers/{code}", key=["code"])
    page = source.page(Question("customers", 9, keys=pa.record_batch({"code": pa.array([key], pa.large_string())})))
    assert [row["code"] for row in rows([page])] == [key]
    assert len(api.asked) == 1
    assert urlsplit(api.asked[0]).path.count("/") == (1 if key in ("", "..") else 2)
    assert urlsplit(api.asked[0]).query == ""


@pytest.mark.parametrize("path", ["/customers", "/customers/{number}", "/customers/{id}/{id}"])
def test_a_path_that_does_not_name_the_key_is_refused(api: Api, path: str) -> None:
    with pytest.raises(ValueError, match="each field of `key` once"):
        extractor(api, item=path)


@pytest.mark.parametrize(
    ("overlap", "bounds"), [("1m, 1h", (60.0, 3600.0)), ("5m, 2h", (300.0, 7200.0)), ("10, 99", (10, 99))]
)
def test_how_late_a_change_may_be_listed_is_said_as_for_views(
    api: Api, overlap: str, bounds: tuple[float, float]
) -> None:
    assert extractor(api, overlap=overlap).subjects["customers"].overlap == bounds


@pytest.mark.parametrize("overlap", ["1m", "1h, 1m", "soon, later", "1m, 1h, 1d", "-1, 5"])
def test_bounds_that_are_none_are_refused(api: Api, overlap: str) -> None:
    with pytest.raises(ValueError, match="least and most"):
        extractor(api, overlap=overlap)
