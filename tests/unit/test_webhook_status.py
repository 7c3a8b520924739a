"""What a receiver's status does to an event."""

import pytest

from bridge.client import Answer
from bridge.errors import BridgeError, SinkGone, SinkRefused, SinkUnavailable
from bridge.sinks.webhook import judge

NOW = 1_764_072_000.0  # Tue, 25 Nov 2025 12:00:00 GMT


def verdict(status: int, retry_after: str | None = None) -> BridgeError | None:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    try:
        judge(Answer(status, headers, b""), now=NOW)
    except BridgeError as error:
        return error
    return None


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_success_is_two_hundred_and_something(status: int) -> None:
    assert verdict(status) is None


@pytest.mark.parametrize("status", [101, 301, 302, 303, 307, 308, 408, 425, 429, 500, 501, 502, 503, 504, 599])
def test_what_may_pass_is_tried_again(status: int) -> None:
    assert type(verdict(status)) is SinkUnavailable


@pytest.mark.parametrize("status", [401, 403, 404, 405, 407, 421])
def test_what_a_receiver_says_of_its_address_or_of_us_is_no_verdict_on_the_event(status: int) -> None:
    assert type(verdict(status)) is SinkUnavailable


@pytest.mark.parametrize("status", [400, 402, 406, 409, 413, 415, 422, 431, 451, 499])
def test_any_other_mistake_of_the_request_is_a_refusal_for_good(status: int) -> None:
    assert type(verdict(status)) is SinkRefused


def test_gone_switches_the_sink_off() -> None:
    assert type(verdict(410)) is SinkGone


def test_a_redirect_is_said_to_be_refused() -> None:
    assert "redirect refused" in str(verdict(302))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("999999999999999999999999", 86_400.0),
        ("Tue, 25 Nov 2025 12:02:00 GMT", 120.0),
        ("Tuesday, 25-Nov-25 12:02:00 GMT", 120.0),
        ("Tue Nov 25 12:02:00 2025", 120.0),
        ("Tue, 25 Nov 2025 11:00:00 GMT", 0.0),
        ("Fri, 25 Nov 2099 12:00:00 GMT", 86_400.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("", None),
        ("Tue, 99 Nov 2025 12:02:00 GMT", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_at_most_a_day(text: str | None, expected: float | None) -> None:
    error = verdict(503, text)
    assert isinstance(error, SinkUnavailable)
    assert error.retry_after_s == expected


def test_a_date_to_come_back_at_is_by_the_clock_of_whoever_gives_it() -> None:
    """Ours may be an hour ahead or behind."""
    for date, expected in (("Tue, 25 Nov 2025 13:01:00 GMT", 60.0), ("soon", 3_720.0)):
        headers = {"retry-after": "Tue, 25 Nov 2025 13:02:00 GMT", "date": date}
        assert Answer(503, headers, b"").retry_after_s(NOW) == expected
