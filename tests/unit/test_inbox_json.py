"""JSON keeps what was written, or is refused with a reason and without what was written."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.inbox import jsontext
from bridge.inbox.jsontext import DEPTH_LIMIT, NotJson

WRITTEN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(WRITTEN)
def test_a_value_comes_out_as_it_went_in(value: object) -> None:
    text = json.dumps(value)
    assert json.loads(jsontext.compact(jsontext.read(text.encode()))) == value


@pytest.mark.parametrize("digits", ["9007199254740993", "0.10", "1e400", "-0", "1" * 5000, "1.000000000000000000001"])
def test_a_number_keeps_its_digits(digits: str) -> None:
    assert jsontext.text(jsontext.read(digits.encode())) == digits
    assert jsontext.compact(jsontext.read(f"[{digits}]".encode())) == f"[{digits}]"


def test_strings_words_and_what_is_nested_become_text() -> None:
    read = jsontext.read(b'{"s": "a\\u00e9", "t": true, "n": null, "o": {"b": [1, "2"], "a": {}}}')
    assert {name: jsontext.text(value) for name, value in read.items()} == {
        "s": "aé",
        "t": "true",
        "n": None,
        "o": '{"b":[1,"2"],"a":{}}',
    }


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"a": 1, "a": 2}', "gives a name twice"),
        (b'{"x": {"a": 1, "a": 1}}', "gives a name twice"),
        (b'{"a": NaN}', "a number that is none"),
        (b'{"a": -Infinity}', "a number that is none"),
        (b'{"a": "\xff"}', "is not UTF-8"),
        (b'{"a": "secret', "is not JSON from line 1, column 7"),
        (b'{"a": "\x01"}', "is not JSON"),
        (b"", "is not JSON"),
        (b"[" * (DEPTH_LIMIT + 1) + b"]" * (DEPTH_LIMIT + 1), "more than 64 levels"),
        (b"[" * 1_000_000, "more than 64 levels"),
        (b'{"a":' * 100_000, "more than 64 levels"),
    ],
)
def test_what_may_be_understood_otherwise_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(NotJson, match=why) as caught:
        jsontext.read(body)
    assert "secret" not in str(caught.value)


def test_the_allowed_depth_is_read_and_brackets_in_strings_are_none() -> None:
    deep = b"[" * DEPTH_LIMIT + b"]" * DEPTH_LIMIT
    assert jsontext.compact(jsontext.read(deep)).encode() == deep
    assert jsontext.text(jsontext.read(b'"' + b"[{" * 100 + b'"')) == "[{" * 100


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        jsontext.read(body)
    except NotJson:
        return
    json.loads(body.decode("utf-8-sig"))
