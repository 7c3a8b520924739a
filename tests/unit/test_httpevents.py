"""CloudEvents over HTTP: the forms of the specification, read back by the CloudEvents SDK."""

import json
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.sinks import httpevents

# The event of the conformance suite's scenarios for HTTP.
SCENARIO: dict[str, Any] = {
    "specversion": "1.0",
    "type": "com.example.someevent",
    "time": "2018-04-05T03:56:24Z",
    "id": "1234-1234-1234",
    "source": "/mycontext/subcontext",
    "datacontenttype": "application/json; charset=utf-8",
    "data": {"message": "Hello World!"},
}


def encode(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()


def headers_of(content: httpevents.Content) -> dict[str, str]:
    return {name.decode("ascii"): value.decode("ascii") for name, value in content.headers}


def test_binary_mode_is_the_request_of_the_conformance_scenario() -> None:
    content = httpevents.binary(encode(SCENARIO))
    assert headers_of(content) == {
        "ce-specversion": "1.0",
        "ce-type": "com.example.someevent",
        "ce-time": "2018-04-05T03:56:24Z",
        "ce-id": "1234-1234-1234",
        "ce-source": "/mycontext/subcontext",
        "content-type": "application/json; charset=utf-8",
    }
    assert json.loads(content.body) == {"message": "Hello World!"}


def test_structured_mode_is_the_request_of_the_conformance_scenario() -> None:
    content = httpevents.structured(encode(SCENARIO))
    assert headers_of(content) == {"content-type": "application/cloudevents+json; charset=UTF-8"}
    assert json.loads(content.body) == SCENARIO


def test_a_batch_is_an_array_of_structured_events() -> None:
    content = httpevents.batch([encode(SCENARIO), encode(SCENARIO)])
    assert headers_of(content) == {"content-type": "application/cloudevents-batch+json; charset=UTF-8"}
    assert json.loads(content.body) == [SCENARIO, SCENARIO]


def test_an_event_without_data_has_no_body_and_no_content_type() -> None:
    content = httpevents.binary(encode({name: SCENARIO[name] for name in ("specversion", "type", "id", "source")}))
    assert content.body == b""
    assert "content-type" not in headers_of(content)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"),  # the specification's own example
        ('a "b" 100%', "a%20%22b%22%20100%25"),
        ("two\r\nlines: x", "two%0D%0Alines:%20x"),
        ("!#$&'()*+,-./:;<=>?@[\\]^_`{|}~", "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ],
)
def test_a_header_is_printable_and_encodes_what_the_specification_says(value: str, expected: str) -> None:
    assert headers_of(httpevents.binary(encode(SCENARIO | {"subject": value})))["ce-subject"] == expected


@settings(deadline=None)
@given(subject=st.text(min_size=1), data=st.dictionaries(st.text(), st.none() | st.text() | st.integers()))
def test_the_sdk_reads_back_every_event_in_both_modes(subject: str, data: dict[str, Any]) -> None:
    text = encode(SCENARIO | {"subject": subject, "data": data})
    for content in (httpevents.binary(text), httpevents.structured(text)):
        event = from_http_event(HTTPMessage(headers_of(content), content.body))
        assert (event.get_subject(), event.get_data()) == (subject, data)
        assert (event.get_id(), event.get_source()) == ("1234-1234-1234", "/mycontext/subcontext")


def test_data_left_out_is_named_by_a_link() -> None:
    event = json.loads(httpevents.without_data(encode(SCENARIO), dataref="https://bridge.example/v1/x"))
    expected = {name: value for name, value in SCENARIO.items() if name not in {"data", "datacontenttype"}}
    assert event == expected | {"dataref": "https://bridge.example/v1/x"}


def test_the_trace_an_event_began_in_goes_along_and_a_word_in_its_data_does_not() -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    text = encode(SCENARIO | {"traceparent": parent, "tracestate": "a=1,b=2"})
    assert httpevents.trace(text) == ((b"traceparent", parent.encode()), (b"tracestate", b"a=1,b=2"))
    assert httpevents.trace(encode(SCENARIO | {"data": {"traceparent": parent}})) == ()
    assert httpevents.trace(encode(SCENARIO)) == ()
