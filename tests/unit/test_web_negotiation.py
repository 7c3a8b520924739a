"""Content negotiation by RFC 9110."""

import pytest

from bridge.web.negotiation import choose

OFFERED = ["application/json", "application/x-ndjson", "text/plain"]


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/*", "text/plain"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/json;q=0.5, application/x-ndjson;q=0.9", "application/x-ndjson"),
        ("application/json;q=0, */*", "application/x-ndjson"),
        ("application/*;q=0.2, TEXT/PLAIN;Q=0.1", "application/json"),
        ("text/plain;q=nonsense", None),
        ("image/png", None),
        ("*/*;q=0", None),
        (",;,", "application/json"),
    ],
)
def test_the_most_wanted_of_what_is_offered_is_chosen(accept: str, chosen: str | None) -> None:
    assert choose(accept, OFFERED) == chosen
