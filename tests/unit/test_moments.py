"""The moments of schedules, with the clocks of Berlin set forward on 2026-03-29 and back on 2026-10-25."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.moments import Cron, Every, between

START = datetime(2026, 3, 1, 8, tzinfo=UTC)


def local(expression: str, *, after: datetime, count: int, zone: str = "Europe/Berlin") -> list[str]:
    """The next moments as the clock on the wall in UTC shows them."""
    return [
        f"{moment:%d %H:%M}"
        for moment in islice(between(Cron(expression, zone=zone), after, after + timedelta(days=900)), count)
    ]


def test_distances_are_counted_from_the_anchor_whatever_was_missed() -> None:
    every = Every(timedelta(minutes=5), anchor=START)
    assert every.after(START) == START + timedelta(minutes=5)
    assert every.after(START + timedelta(days=90, seconds=1)) == START + timedelta(days=90, minutes=5)


def test_a_moment_is_never_given_twice() -> None:
    every = Every(timedelta(seconds=0.1), anchor=START + timedelta(microseconds=7))
    found = list(islice(between(every, START, START + timedelta(seconds=9)), 80))
    assert all(earlier < later for earlier, later in pairwise(found))
    assert len(found) == 80


def test_weekdays_are_those_of_crond() -> None:
    sunday = datetime(2026, 3, 1, tzinfo=UTC)
    days = {
        field: local(f"0 12 * * {field}", after=sunday, count=3, zone="UTC") for field in ("0", "7", "1-5", "fri-sun")
    }
    assert days["0"] == days["7"] == ["01 12:00", "08 12:00", "15 12:00"]
    assert days["1-5"] == ["02 12:00", "03 12:00", "04 12:00"]
    assert days["fri-sun"] == ["01 12:00", "06 12:00", "07 12:00"]
    assert local("0 12 * * */3", after=sunday, count=4, zone="UTC") == ["01 12:00", "04 12:00", "07 12:00", "08 12:00"]


def test_of_a_day_of_the_month_and_a_weekday_either_will_do() -> None:
    assert local("0 0 13 * 5", after=datetime(2026, 2, 13, 1, tzinfo=UTC), count=4, zone="UTC") == [
        "20 00:00",
        "27 00:00",
        "06 00:00",
        "13 00:00",
    ]


def test_a_moment_that_clocks_skip_comes_as_much_later_and_once() -> None:
    assert local("30 2 * * *", after=datetime(2026, 3, 27, 12, tzinfo=UTC), count=3) == [
        "28 01:30",
        "29 01:30",  # 03:30 in Berlin
        "30 00:30",
    ]


def test_no_midnight_is_left_out_when_clocks_were_set_forward() -> None:
    assert local("0 0 * * *", after=datetime(2026, 3, 27, 23, tzinfo=UTC), count=3) == [
        "28 23:00",
        "29 22:00",
        "30 22:00",
    ]


def test_named_hours_come_once_when_clocks_are_set_back() -> None:
    assert local("30 2 * * *", after=datetime(2026, 10, 24, 12, tzinfo=UTC), count=2) == ["25 00:30", "26 01:30"]


def test_an_open_schedule_leaves_out_what_no_clock_shows() -> None:
    assert local("*/30 * * * *", after=datetime(2026, 3, 29, 0, 0, tzinfo=UTC), count=3) == [
        "29 00:30",
        "29 01:00",
        "29 01:30",
    ]


def test_an_open_schedule_goes_on_through_the_hour_that_comes_twice() -> None:
    assert local("*/30 * * * *", after=datetime(2026, 10, 25, 0, 0, tzinfo=UTC), count=4) == [
        "25 00:30",
        "25 01:00",
        "25 01:30",
        "25 02:00",
    ]


@pytest.mark.parametrize("wrong", ["", "* * * *", "61 * * * *", "* * * * 9", "* * * * mon-foo", "@daily", "* 25 * * *"])
def test_what_is_no_cron_expression_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Cron(wrong, zone="UTC")


@given(
    expression=st.sampled_from(
        ["30 2 * * *", "0 0 * * *", "*/7 * * * *", "0 1-4 * * *", "15 */2 * * 0", "5 2,3 29 3 *", "0 0 1 1 *"]
    ),
    zone=st.sampled_from(["Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "America/Chicago", "UTC"]),
    start=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001  given a zone below
)
def test_moments_grow_without_end_in_every_zone(expression: str, zone: str, start: datetime) -> None:
    moment: datetime | None = start.replace(tzinfo=UTC)
    cron = Cron(expression, zone=zone)
    for _ in range(30):
        following = cron.after(moment) if moment else None
        assert following is not None
        assert moment is not None
        assert following > moment
        assert following - moment <= timedelta(days=366)
        moment = following


@given(
    hours=st.sampled_from(["*", "0", "2", "0-3", "*/5"]),
    zone=st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "America/Chicago"]),
    day=st.integers(0, 364),
)
def test_the_next_moment_is_the_first_minute_that_the_clock_on_the_wall_shows(hours: str, zone: str, day: int) -> None:
    """A plain twin: look at the clock every minute. A minute that no clock shows is another test's."""
    cron = Cron(f"*/15 {hours} * * *", zone=zone)
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
    wanted = {"*": range(24), "0": (0,), "2": (2,), "0-3": range(4), "*/5": range(0, 24, 5)}[hours]
    shown = set()
    for minute in range(1, 24 * 60 + 1):
        at = start + timedelta(minutes=minute)
        local_at = at.astimezone(ZoneInfo(zone))
        if local_at.minute % 15 == 0 and local_at.hour in wanted and not (cron.is_fixed and local_at.fold):
            shown.add(at)
    found = set(between(cron, start, start + timedelta(days=1)))
    assert found >= shown
    assert found == shown or cron.is_fixed
