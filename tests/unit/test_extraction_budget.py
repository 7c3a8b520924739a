"""What a legacy system may be asked, and when."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.extraction.budget import PROBE_EVERY, REST_LIMIT_S, Budget, Limits, QuietHours, unseen
from bridge.extraction.extractor import Load

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


@given(
    durations=st.lists(st.floats(0.001, 5), min_size=1, max_size=200),
    per_minute=st.floats(0.5, 59),
)
def test_in_any_minute_the_system_works_for_us_no_longer_than_the_budget_and_one_question(
    durations: list[float], per_minute: float
) -> None:
    budget, now, worked = Budget(Limits(active_seconds_per_minute=per_minute)), NOON, []
    for took in durations:
        now += seconds(budget.wait_s(now))
        worked.append((now, now + seconds(took)))
        now += seconds(took)
        budget.spent("orders", rows=1, most=1, seconds=took, now=now)
    for start, _ in worked:
        end = start + seconds(60)
        at_work = sum(max(0.0, (min(end, until) - since).total_seconds()) for since, until in worked if since >= start)
        assert at_work <= per_minute + max(durations) + 1e-3


def test_without_a_limit_nothing_waits() -> None:
    budget = Budget(Limits())
    budget.spent("orders", rows=10, most=10, seconds=50, now=NOON)
    assert budget.wait_s(NOON) == 0
    assert budget.hindrance(NOON) is None
    assert not budget.wants_probe(NOON)
    assert budget.excess(rows=10**9, size_bytes=10**15) is None


def test_a_clock_that_is_set_back_lengthens_no_rest() -> None:
    budget = Budget(Limits(active_seconds_per_minute=6))
    budget.spent("orders", rows=1, most=1, seconds=1, now=NOON)
    assert budget.wait_s(NOON) == pytest.approx(9)
    assert budget.wait_s(NOON - timedelta(hours=5)) == 0
    budget.spent("orders", rows=1, most=1, seconds=10_000, now=NOON)
    assert budget.wait_s(NOON) == REST_LIMIT_S


def test_slow_pages_halve_and_quick_full_ones_grow_step_by_step() -> None:
    budget = Budget(Limits(page_seconds=1))
    for _ in range(3):
        budget.spent("orders", rows=1_000, most=1_000, seconds=3, now=NOON)
    assert budget.page_rows("orders", 1_000) == 125
    assert budget.page_rows("customers", 500) == 500
    budget.spent("orders", rows=125, most=1_000, seconds=0.1, now=NOON)
    assert budget.page_rows("orders", 1_000) == 225
    budget.spent("orders", rows=10, most=1_000, seconds=0.1, now=NOON)  # the last page of a run says little
    budget.spent("orders", rows=225, most=1_000, seconds=0.7, now=NOON)
    assert budget.page_rows("orders", 1_000) == 225
    for _ in range(20):
        budget.spent("orders", rows=1_000, most=1_000, seconds=0.1, now=NOON)
    assert budget.page_rows("orders", 1_000) == 1_000
    for _ in range(40):
        budget.spent("orders", rows=1, most=1_000, seconds=30, now=NOON)
    assert budget.page_rows("orders", 1_000) == 1


@pytest.mark.parametrize(
    ("text", "within", "outside"),
    [
        ("22:00-02:00", [(22, 0), (23, 59), (0, 0), (1, 59)], [(2, 0), (12, 0), (21, 59)]),
        ("08:00-17:30", [(8, 0), (17, 29)], [(7, 59), (17, 30), (0, 0)]),
        ("20:00-24:00", [(20, 0), (23, 59)], [(0, 0), (19, 59)]),
    ],
)
def test_a_window_begins_with_its_start_and_ends_before_its_end(
    text: str, within: list[tuple[int, int]], outside: list[tuple[int, int]]
) -> None:
    window = QuietHours.of(text)
    assert all(window.holds(time(*at)) for at in within)
    assert not any(window.holds(time(*at)) for at in outside)


def test_quiet_hours_are_those_of_the_systems_zone() -> None:
    windows = (QuietHours.of("22:00-02:00"), QuietHours.of("12:00-13:00"))
    budget = Budget(Limits(quiet_hours=windows, zone="America/Chicago"))
    assert budget.hindrance(NOON) is None  # 06:00 in Chicago
    assert budget.hindrance(NOON + timedelta(hours=6, minutes=30)) == "quiet hours, 12:00-13:00 America/Chicago"
    assert budget.hindrance(NOON - timedelta(hours=5)) == "quiet hours, 22:00-02:00 America/Chicago"


def test_limits_about_which_the_system_says_nothing_are_named() -> None:
    budget = Budget(Limits(busy_sessions=20, replica_lag_s=30))
    assert not budget.unseen, "nobody asked"
    budget.probed(Load(replica_lag_s=1), seconds=0.001, now=NOON)
    assert budget.unseen == ("busy_sessions",)
    assert unseen(Limits(), Load()) == ()


def test_a_busy_system_is_left_in_peace_until_a_probe_says_otherwise() -> None:
    limits = Limits(busy_sessions=20, replica_lag_s=30)
    budget = Budget(limits)
    assert budget.wants_probe(NOON)
    budget.probed(Load(busy_sessions=21), seconds=0.001, now=NOON)
    assert "busy" in (budget.hindrance(NOON) or "")
    assert not budget.wants_probe(NOON + seconds(9))
    assert budget.wants_probe(NOON + PROBE_EVERY)
    assert budget.wants_probe(NOON - timedelta(hours=1))
    budget.probed(Load(busy_sessions=20, replica_lag_s=31), seconds=0.001, now=NOON)
    assert "replica" in (budget.hindrance(NOON) or "")
    budget.probed(Load(), seconds=0.001, now=NOON)
    assert budget.hindrance(NOON) is None
    assert not Budget(replace(limits, busy_sessions=0, replica_lag_s=0)).wants_probe(NOON)


def test_a_run_that_has_read_its_share_ends() -> None:
    budget = Budget(Limits(rows_per_run=1_000, bytes_per_run=2_000_000_000))
    assert budget.excess(rows=999, size_bytes=10) is None
    assert budget.excess(rows=1_000, size_bytes=10) == "the budget: 1000 rows a run"
    assert budget.excess(rows=1, size_bytes=2 * 10**9) == "the budget: 2 GB a run"
