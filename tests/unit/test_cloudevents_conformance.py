"""The scenarios of CloudEvents' own conformance suite for JSON, in both directions, on data of our own.

Every form of event that the suite calls valid is read as what it says, every one that it calls invalid is told from
it and kept whole, and what we send keeps the same rules. The scenarios of its HTTP binding are in
`tests/integration/test_cloudevents_binding.py`; Kafka, XML and Protobuf we do not speak.

Source: github.com/cloudevents/conformance, format/json and yaml/v1.0.
"""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import HealthCheck, given, settings

from bridge.export import cloudevents
from bridge.inbox import jsontext
from bridge.inbox.attributes import flaw
from bridge.inbox.cloudevents import BATCH, STRUCTURED, Change, changes
from bridge.inbox.incoming import Incoming
from bridge.sinks import httpevents
from tests.unit.test_export import ENVELOPE, block_of, event_rows

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LEAST = {"specversion": "1.0", "id": "least", "type": "example.depot.checked", "source": "https://depot.example"}
FULL = LEAST | {
    "id": "full",
    "datacontenttype": "text/plain",
    "dataschema": "https://depot.example/schema",
    "subject": "shelf 9",
    "time": "2021-06-07T08:09:10Z",
}
EXTENDED = LEAST | {
    "id": "extended",
    "extinteger": -2147483648,
    "extboolean": False,
    "extstring": "any",
    "exturi": "https://depot.example/a",
    "exturiref": "//depot/b",
    "exttimestamp": "2021-06-07T08:09:10Z",
    "extbinary": "3q0=",
}
VALID: dict[str, dict[str, Any]] = {
    "the least": LEAST,
    "null where something is optional": LEAST
    | dict.fromkeys(["datacontenttype", "dataschema", "subject", "time", "data", "data_base64"]),
    "all attributes, no data": FULL,
    "a time in UTC": LEAST | {"time": "2021-06-07T08:09:10Z"},
    "a time to the nanosecond": LEAST | {"time": "2021-06-07T08:09:10.000000000Z"},
    "a time east of Greenwich": LEAST | {"time": "2021-06-07T10:39:10+02:30"},
    "a time west of it": LEAST | {"time": "2021-06-07T05:09:10-03:00"},
    "a source that is relative": LEAST | {"source": "#ramp"},
    "extensions of every type": EXTENDED,
}
NO_ROWS: dict[str, dict[str, Any]] = {  # events all right, of which no contract makes a row
    "text": LEAST | {"datacontenttype": "text/plain; charset=us-ascii", "data": "Bay 4 is shut"},
    "text beyond ASCII": LEAST | {"datacontenttype": "text/plain; charset=utf-8", "data": "Tor 4 schließt 🌙"},
    "a JSON string": LEAST | {"datacontenttype": "application/json; charset=utf-8", "data": "🌙"},
    "a JSON array": LEAST | {"datacontenttype": "application/json; charset=utf-8", "data": ["Tor", "🌙"]},
    "XML": LEAST | {"datacontenttype": "application/xml; charset=utf-8", "data": "<tor>🌙</tor>"},
}
NO_TIMES = ("noon", "2021-06-07", "2021-06-07T08:09Z", "2021-06-07T08:09:10", "2021-06-07T08:09:10Q",
            "2021-02-30T08:09:10Z", "2021-06-07T08:09:10+02", "2021-06-07T08:09:10+24:30",
            "2021-06-07T08:09:10+aa:00")  # fmt: skip
WRONG_TEXT: dict[str, dict[str, Any]] = {
    **{f"no {name}": {key: value for key, value in LEAST.items() if key != name} for name in LEAST},
    **{f"an empty {name}": LEAST | {name: ""} for name in FULL if name != "datacontenttype"},
    **{f"a time like {time}": LEAST | {"time": time} for time in NO_TIMES},
    "a version that there is not": LEAST | {"specversion": "0.9"},
}
WRONG_JSON: dict[str, dict[str, Any]] = {
    "an empty datacontenttype": LEAST | {"datacontenttype": ""},
    "a datacontenttype that is none": LEAST | {"datacontenttype": "text"},
    "an id that is a number": LEAST | {"id": 25},
    "an id that is an object": LEAST | {"id": {"a": "b"}},
    "a subject that is a truth value": LEAST | {"subject": True},
    "a name in capitals": LEAST | {"ShelfNo": "9"},
    "a name with a full stop": LEAST | {"shelf.no": "9"},
    "a name with an underscore": LEAST | {"shelf_no": "9"},
    "an extension that is a fraction": LEAST | {"weight": 1.5},
    "an extension beyond 32 bits": LEAST | {"weight": 2**31},
    "an extension that is a list": LEAST | {"shelves": [9]},
    "data in both forms": LEAST | {"data": {}, "data_base64": "e30="},
    "data in Base64 that is none": LEAST | {"data_base64": "*"},
}
INVALID = WRONG_TEXT | WRONG_JSON


def encode(event: object) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()


def told(event: Mapping[str, Any]) -> dict[str, str]:
    """The attributes as a contract reads them."""
    words = {True: "true", False: "false"}
    return {
        name: words[value] if isinstance(value, bool) else str(value)
        for name, value in event.items()
        if value is not None and not name.startswith("data_") and name != "data"
    }


def read(event: object, kind: str = STRUCTURED) -> tuple[Change, ...]:
    return changes(Incoming(encode(event), NOW, kind))


@pytest.mark.parametrize("event", VALID.values(), ids=VALID)
def test_a_valid_event_is_read_as_what_it_says(event: dict[str, Any]) -> None:
    (change,) = read(event)
    assert change.fields == {}
    assert change.attributes == told(event)
    assert change.at == (datetime(2021, 6, 7, 8, 9, 10, tzinfo=UTC) if event.get("time") else NOW)


@pytest.mark.parametrize("event", VALID.values(), ids=VALID)
def test_a_valid_event_is_the_same_in_binary_mode(event: dict[str, Any]) -> None:
    given = {name: value for name, value in told(event).items() if name != "datacontenttype"}
    (change,) = changes(Incoming(b"", NOW, str(event.get("datacontenttype") or ""), given))
    assert (change.fields, change.attributes) == ({}, given)


def test_data_is_the_same_in_every_form() -> None:
    row = {"shelf": 9, "note": "Tor 🌙"}
    encoded = base64.b64encode(encode(row)).decode()
    forms = [LEAST | {"data": row}, LEAST | {"data_base64": encoded}, LEAST | {"data": row, "data_base64": None}]
    assert [change.fields for form in forms for change in read(form)] == [{"shelf": "9", "note": "Tor 🌙"}] * 3


@pytest.mark.parametrize("event", NO_ROWS.values(), ids=NO_ROWS)
def test_data_that_is_no_row_is_kept_whole(event: dict[str, Any]) -> None:
    body = encode(event)
    assert flaw({name: value for name, value in jsontext.read(body).items() if name != "data"}) is None
    (change,) = read(event)
    assert (change.fields, change.body) == (None, body)


@pytest.mark.parametrize("event", INVALID.values(), ids=INVALID)
def test_an_invalid_event_is_told_from_a_valid_one_and_kept_whole(event: dict[str, Any]) -> None:
    (change,) = read(event)
    assert (change.fields, change.body) == (None, encode(event))


@pytest.mark.parametrize("event", WRONG_TEXT.values(), ids=WRONG_TEXT)
def test_an_invalid_event_is_none_in_binary_mode_either(event: dict[str, str]) -> None:
    (change,) = changes(Incoming(b"", NOW, attributes=event))
    assert change.fields is None


@pytest.mark.parametrize("events", [[], [LEAST], [LEAST, LEAST], [LEAST, FULL], [LEAST, EXTENDED]])
def test_a_valid_batch_is_its_events(events: list[dict[str, Any]]) -> None:
    assert [change.attributes for change in read(events, BATCH)] == list(map(told, events))


@pytest.mark.parametrize("bad", [LEAST | {"specversion": "0.9"}, {"specversion": "1.0"}, "no object", [LEAST], None])
def test_what_is_invalid_in_a_batch_is_told_from_the_rest(bad: object) -> None:
    """The suite would have it all refused; here the valid ones are taken, and nothing is lost."""
    assert [change.fields for change in read([LEAST, bad], BATCH)] == [{}, None]


@pytest.mark.parametrize("batch", [LEAST, "text", 5, None])
def test_a_batch_that_is_no_array_is_kept_whole(batch: object) -> None:
    (change,) = read(batch, BATCH)
    assert (change.fields, change.body) == (None, encode(batch))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(event_rows())
def test_whatever_we_send_is_valid_in_every_mode(row: dict[str, Any]) -> None:
    (text,) = cloudevents(block_of(row), ENVELOPE)
    event = json.loads(text)
    attributes = {name: value for name, value in event.items() if name != "data"}
    assert flaw(attributes) is None
    binary = httpevents.binary(text)
    headers = {name.decode(): value.decode() for name, value in binary.headers}
    again = from_http_event(HTTPMessage(headers, binary.body))
    assert (again.get_id(), again.get_subject(), again.get_type()) == (
        event["id"],
        event.get("subject"),
        event["type"],
    )
    assert [change.attributes for change in changes(Incoming(httpevents.batch([text]).body, NOW, BATCH))] == [
        told(event)
    ]
