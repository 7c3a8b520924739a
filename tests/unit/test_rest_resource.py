"""What requests of an API look like, what its headers say, and readings against a plain twin."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bridge.client import Answer
from bridge.config.rest import ResourceConfig, RestSystemConfig
from bridge.errors import ConfigError
from bridge.extraction.extractor import Question, Subject
from bridge.model import Column, Shape
from bridge.sources.rest import resource
from bridge.sources.rest.reading import Reading
from bridge.sources.rest.resource import Listed, Resource, limit_of
from tests.api import CONTRACT

NOON = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
NOW = 1_772_352_000.0  # 2026-03-01 08:00 UTC
INTEGER = pa.int64()
GONE = {"x-ratelimit-remaining": "0"}


def made(**keys: Any) -> Resource:  # noqa: ANN401  of the section
    section = ResourceConfig.model_validate({"path": "/v1/customers", "key": ["id"], **keys})
    return Resource.of("customers", "https://crm.example/api/", section, CONTRACT)


def test_a_request_has_every_parameter_escaped_and_the_page_last() -> None:
    parameters = {"state": "a&b=c d", "all": True, "depth": 2}
    asked = made(path="/kunden/größte", parameters=parameters, size="limit", paging={"page": {"first": 0}})
    start = "https://crm.example/api/kunden/gr%C3%B6%C3%9Fte?state=a%26b%3Dc%20d&all=true&depth=2&limit=50"
    assert asked.request(None, limit=50) == f"{start}&page=0"
    assert asked.request(7, limit=50) == f"{start}&page=7"
    assert made().request(None, limit=50) == "https://crm.example/api/v1/customers"


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("iso", "2026-03-01T12%3A00%3A00.250000Z"),
        ("date", "2026-03-01"),  # it is the first somewhere until noon
        ("seconds", "1772366400"),
        ("milliseconds", "1772366400250"),
    ],
)
def test_a_moment_is_asked_for_as_the_api_writes_it_and_never_later(form: str, written: str) -> None:
    keys = {"cursor": "changed", "since": {"parameter": "from", "format": form}, "mode": "incremental"}
    assert made(**keys).request(None, since=NOON, limit=1).endswith(f"?from={written}")
    assert made(**keys | {"cursor_type": "integer"}).request(None, since=17, limit=1).endswith("?from=17")


def test_a_day_is_asked_for_from_where_it_still_is_the_day_before() -> None:
    """Whose day an API means is not known: asked for too late, what changed in the hours between is never listed."""
    keys = {"cursor": "changed", "since": {"parameter": "from", "format": "date"}, "mode": "incremental"}
    night = NOON.replace(hour=2)
    assert made(**keys).request(None, since=night, limit=1).endswith("?from=2026-02-28")
    zoneless = made(**keys, cursor_type="timestamp")
    assert zoneless.request(None, since=night.replace(tzinfo=None), limit=1).endswith("?from=2026-03-01")


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<https://a/b?page=2>; rel="next"', "https://a/b?page=2"),
        ('<b?a,b>; rel=prev, </c>; title="x"; rel=next', "/c"),
        ('<c>; REL="last next"', "c"),
        ('<c>; rel="nextish"', None),
        ('<c>; rev="next"', None),
        ("", None),
    ],
)
def test_the_next_page_is_found_in_a_link_header(header: str, target: str | None) -> None:
    assert resource._next_link(header) == target


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"ratelimit": '"default";r=0;t=30'}, 30),
        ({"ratelimit": "limit=100, remaining=0, reset=30"}, 30),
        ({"ratelimit": '"default";r=5;t=30'}, None),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "30"}, 30),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": "30"}, None),
        ({"x-ratelimit-remaining": "0"}, None),
        ({**GONE, "x-ratelimit-reset": "soon"}, None),
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": str(int(NOW) + 30)}, 30),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW) - 30)}, 0),
        # a day at most, as by Retry-After
        ({**GONE, "x-ratelimit-reset": "999999999"}, 86_400),
        ({**GONE, "x-ratelimit-reset": "999999999999"}, 86_400),
        # a clock that is ten minutes off on one side
        (
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1772352630", "date": "Sun, 01 Mar 2026 08:10:00 GMT"},
            30,
        ),
        ({}, None),
    ],
)
def test_rate_headers_say_when_the_next_request_is_welcome(headers: dict[str, str], wait_s: float | None) -> None:
    assert limit_of(Answer(200, headers, b""), NOW) == wait_s


@pytest.mark.parametrize(
    "keys",
    [
        {"mode": "incremental"},
        {"mode": "append", "cursor": "id"},
        {"size": "limit"},
        {"paging": {"page": {}, "offset": {}}},
        {"paging": {}},
        {"path": "customers"},
        {"path": "/a?b=c"},
        {"key": []},
        {
            "mode": "incremental",
            "cursor": "at",
            "cursor_type": "timestamp",
            "since": {"parameter": "from", "format": "seconds"},
        },
    ],
)
def test_a_resource_that_would_miss_records_is_a_mistake(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        made(**keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"url": "https://a?b"},
        {"url": "ftp://a"},
        {"bearer": "${env:A}", "basic": {"user": "u", "password": "${env:A}"}},
        {"headers": {"Authorization": "${env:A}"}},
        {"headers": {"a b": "${env:A}"}},
    ],
)
def test_a_system_with_two_logins_or_headers_of_ours_is_a_mistake(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RestSystemConfig.model_validate({"url": "https://crm.example", **keys})


def test_a_cursor_that_the_contract_reads_otherwise_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="reads the cursor id as integer"):
        made(mode="incremental", cursor="id", since={"parameter": "from"})


SHAPE = Shape(
    "/t", (Column("a", "", INTEGER), Column("b", "", INTEGER), Column("c", "", INTEGER), Column("v", "", INTEGER))
)
SUBJECT = Subject("t", ("a", "b"), "c", "incremental", 10)
SMALL = st.none() | st.integers(0, 2)
ROWS = st.lists(st.tuples(SMALL, SMALL, SMALL, st.integers(0, 9)), max_size=20)
QUESTIONS = st.sampled_from(
    [
        {},
        {"want": "keys"},
        {"is_by_key": True},
        {"since": pa.scalar(2, INTEGER)},
        {"after_key": (pa.scalar(1, INTEGER), pa.scalar(2, INTEGER))},
        {"after_key": (pa.scalar(0, INTEGER), pa.scalar(3, INTEGER)), "to_key": (pa.scalar(2, INTEGER),) * 2},
    ]
)


def plain(rows: list[tuple[Any, ...]], question: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """The twin, row by row: rows with a whole key in order, and those without one."""
    unlike = list(dict.fromkeys(rows))
    loose = [row for row in unlike if row[0] is None or row[1] is None]
    keyed = [row for row in unlike if row not in loose]
    low, high = (
        tuple(one.as_py() for one in question[name]) if name in question else None for name in ("after_key", "to_key")
    )
    keyed = [row for row in keyed if (low is None or row[:2] > low) and (high is None or row[:2] <= high)]
    if low is not None or high is not None:
        loose = []
    elif not question.get("is_by_key") and question.get("want") != "keys":
        since = question["since"].as_py() if "since" in question else 0
        keyed = [row for row in keyed if row[2] is not None and row[2] >= since]
        return sorted(keyed, key=lambda row: (row[2], row[0], row[1])), loose
    return sorted(keyed, key=lambda row: row[:2]), loose


@settings(deadline=None)
@given(ROWS, QUESTIONS, st.integers(1, 5), st.integers(1, 7))
def test_rows_come_out_as_a_plain_twin_gives_them(
    rows: list[tuple[Any, ...]], question: dict[str, Any], size: int, limit: int
) -> None:
    """In whatever pages they came and go, also when each page is asked for by another process."""
    schema = pa.schema([(column.name, column.arrow) for column in SHAPE.columns])

    def gathered() -> Reading:
        reading = Reading(SUBJECT, SHAPE, NOON)
        for start in range(0, max(len(rows), 1), size):
            batch = pa.RecordBatch.from_arrays(
                [pa.array([row[number] for row in rows[start : start + size]], INTEGER) for number in range(4)],
                schema=schema,
            )
            outcome = reading.take(Listed(batch, {}, f"page {start}", None))
            assert outcome == "taken" or start  # a page like one before it has nothing new
        assert reading.finish(Question("t", limit, **question))
        return reading

    found: list[tuple[Any, ...]] = []
    after = None
    while True:
        reading = gathered()
        reading.after = after
        columns, _, after = reading.give(Question("t", limit, **question))
        found += [tuple(row.values()) for row in columns.to_pylist()]
        if after is None:
            break
    keyed, loose = plain(rows, question)
    width = 3 if question.get("want") == "keys" else 4
    order = (0, 1) if {"want", "is_by_key", "after_key"} & question.keys() else (2, 0, 1)
    ranks = [tuple(row[place] for place in order) for row in found]
    assert ranks[: len(keyed)] == [tuple(row[place] for place in order) for row in keyed]
    assert Counter(found) == Counter(row[:width] for row in [*keyed, *loose])
