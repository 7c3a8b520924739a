"""How commands print."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from bridge.cli import show


def test_columns_stand_below_one_another() -> None:
    """Text for a pipe is aligned, without trailing blanks."""
    assert show.aligned([["stream", "n"], ["orders", "7"]]) == ["stream  n", "orders  7"]


def test_data_cannot_steer_a_terminal() -> None:
    """Control characters are shown, not sent; letters of any script stay."""
    assert show.printable("Müller\x1b[31m\r\n") == "Müller\\x1b[31m\\r\\n"


def test_a_table_for_a_pipe_has_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape codes are for terminals only."""
    show.table(["check", "status"], [("journal", "fail"), ("clock", None)])
    assert capsys.readouterr().out == "check    status\njournal  fail\nclock    -\n"


def test_a_time_that_came_as_text_is_shown_like_any_other() -> None:
    assert show.moment_of("2026-03-01T12:00:00.123456+01:00") == "2026-03-01 11:00:00Z"
    assert show.moment_of(None) == "-"


def test_times_are_shown_in_utc() -> None:
    """Whatever zone a time came in."""
    chicago = timezone(timedelta(hours=-6))
    at = datetime(2026, 1, 1, 18, 30, 0, 5, tzinfo=chicago)
    assert show.moment(at) == "2026-01-02 00:30:00Z"
    assert show.rfc3339(at) == "2026-01-02T00:30:00.000005Z"
    assert show.rfc3339(at.astimezone(UTC)) == show.rfc3339(at)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.004, "4 ms"), (59, "59 s"), (3600, "1 h"), (3660, "1 h 1 min"), (200_000, "2 d 7 h")]
)
def test_a_length_of_time_has_two_units_at_most(seconds: float, text: str) -> None:
    assert show.span(seconds) == text
