"""When polled streams are read: no moment of a schedule passes without a run or a record of why there was none."""

import itertools
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.extracted import Run, RunKind, RunState
from bridge.extraction.plan import CatchUp, Plan, span
from bridge.extraction.timetable import Start, Timetable

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
EVERY = Plan("orders", every=timedelta(minutes=5))
NIGHTLY = Plan("orders", cron="30 2 * * *", zone="Europe/Berlin")


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def table(*plans: Plan, now: datetime = START, memory: Mapping[str, Any] | None = None) -> Timetable:
    return Timetable(plans, source="erp", number=itertools.count(100).__next__, now=now, memory=memory)


def run(number: int, stream: str = "orders", kind: RunKind = "run", state: RunState = "running") -> Run:
    return Run("erp", number, stream, kind, "every 5m", state, START)


def started(timetable: Timetable, now: datetime, *active: Run, hindrance: str | None = None) -> list[str]:
    return [
        f"{start.stream} {start.kind}"
        for start in timetable.due(now, active={one.stream: one for one in active}, hindrance=hindrance)
    ]


def reasons(timetable: Timetable) -> dict[str, int]:
    return {one.detail: one.moments for one in timetable.drain()}


def remembered(timetable: Timetable) -> dict[str, Any]:
    memory: dict[str, Any] = json.loads(json.dumps(timetable.memory()))
    return memory


def test_a_stream_that_was_never_read_is_read_at_once_and_then_at_its_distance() -> None:
    timetable = table(EVERY)
    assert timetable.due(START, active={}, hindrance=None) == [Start("orders", "run", "the first")]
    assert started(timetable, START + minutes(4.9)) == []
    assert timetable.due(START + minutes(5), active={}, hindrance=None) == [Start("orders", "run", "every 5m")]
    assert timetable.next_at(START + minutes(6)) == START + minutes(10)
    assert reasons(timetable) == {}


def test_a_cron_stream_waits_for_its_moment() -> None:
    timetable = table(NIGHTLY)
    assert started(timetable, START) == []
    assert timetable.next_at(START) == datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
    assert started(timetable, datetime(2026, 3, 2, 1, 30, tzinfo=UTC)) == ["orders run"]


def test_moments_while_a_run_is_under_way_are_one_record_and_no_run() -> None:
    timetable = table(EVERY)
    started(timetable, START)
    for count in range(1, 4):
        assert started(timetable, START + minutes(5 * count), run(7)) == []
    (record,) = timetable.drain()
    assert (record.state, record.detail, record.moments) == ("skipped", "run 7 was still under way", 3)
    assert (record.started_at, record.ended_at) == (START + minutes(5), START + minutes(15))
    assert started(timetable, START + minutes(16)) == []  # nothing is owed for them
    assert started(timetable, START + minutes(20)) == ["orders run"]


def test_a_run_that_is_kept_from_going_on_says_by_what() -> None:
    timetable = table(EVERY)
    started(timetable, START)
    started(timetable, START + minutes(5), run(7), hindrance="paused by ann")
    assert reasons(timetable) == {"run 7 was still under way, kept by: paused by ann": 1}


def test_a_record_that_was_stored_goes_on_under_its_number_until_a_run_begins() -> None:
    timetable = table(EVERY)
    started(timetable, START)
    started(timetable, START + minutes(5), run(7))
    (first,) = timetable.drain()
    started(timetable, START + minutes(10), run(7))
    (again,) = timetable.drain()
    assert (again.number, again.moments) == (first.number, 2)
    started(timetable, START + minutes(15))
    started(timetable, START + minutes(20), run(7))
    (later,) = timetable.drain()
    assert (later.number == first.number, later.moments) == (False, 1)


@pytest.mark.parametrize(("catch_up", "then"), [("once", ["orders run"]), ("skip", [])])
def test_what_quiet_hours_kept_is_made_up_for_once_or_not(catch_up: CatchUp, then: list[str]) -> None:
    timetable = table(Plan("orders", every=minutes(5), catch_up=catch_up))
    started(timetable, START)
    for count in range(1, 13):
        assert started(timetable, START + minutes(5 * count), hindrance="quiet hours") == []
    assert reasons(timetable) == {"quiet hours": 12}
    assert started(timetable, START + minutes(62)) == then
    assert started(timetable, START + minutes(65)) == ["orders run"]


@pytest.mark.parametrize(("catch_up", "then"), [("once", ["orders run"]), ("skip", [])])
def test_a_bridge_that_was_down_says_what_it_missed_and_makes_up_for_it_once(
    catch_up: CatchUp, then: list[str]
) -> None:
    plan = Plan("orders", every=minutes(5), catch_up=catch_up)
    before = table(plan)
    started(before, START)
    now = START + minutes(33)
    after = table(plan, now=now, memory=remembered(before))
    assert started(after, now) == then
    assert reasons(after) == {"the bridge was down": 6}
    assert started(after, START + minutes(35)) == ["orders run"]


def test_a_run_that_was_owed_is_still_owed_after_a_restart() -> None:
    before = table(EVERY, Plan("customers"))
    before.ask("customers", "full", actor="ann")
    assert before.has_news
    memory = remembered(before)
    after = table(EVERY, Plan("customers"), now=START + minutes(1), memory=memory)
    assert after.waits("customers") == "asked for by ann"
    assert started(after, START + minutes(1)) == ["orders run", "customers full"]


def test_a_stream_follows_another_that_was_read_well_and_says_so_when_it_was_not() -> None:
    timetable = table(EVERY, Plan("items", after="orders"))
    started(timetable, START)
    timetable.ended(run(1, state="done"))
    assert timetable.due(START, active={}, hindrance=None) == [Start("items", "run", "after orders")]
    timetable.ended(run(2, state="failed"))
    assert started(timetable, START) == []
    assert reasons(timetable) == {"run 2 of orders, which it follows, failed": 1}


def test_somebody_who_asks_waits_for_the_budget_and_for_the_run_under_way() -> None:
    timetable = table(Plan("orders"))
    timetable.ask("orders", "run", actor="ann")
    assert started(timetable, START, hindrance="quiet hours") == []
    assert started(timetable, START, run(3)) == []
    assert timetable.due(START, active={}, hindrance=None) == [Start("orders", "run", "asked for by ann")]
    timetable.ask("orders", "full", actor="ben")
    assert timetable.withdraw("orders")
    assert not timetable.withdraw("orders")
    assert started(timetable, START) == []


def test_a_schedule_does_not_weaken_what_somebody_asked_for() -> None:
    timetable = table(EVERY)
    started(timetable, START)
    timetable.ask("orders", "full", actor="ann")
    started(timetable, START + minutes(1), hindrance="busy")
    assert started(timetable, START + minutes(5)) == ["orders full"]


def test_a_sweep_waits_for_a_run_of_its_stream_and_is_not_lost() -> None:
    timetable = table(EVERY, Plan("orders", "sweep", every=minutes(10)))
    assert started(timetable, START) == ["orders run"]
    assert started(timetable, START + minutes(1), run(1)) == []
    assert started(timetable, START + minutes(2)) == ["orders sweep"]
    assert started(timetable, START + minutes(5), run(2, kind="sweep")) == []
    assert reasons(timetable) == {"run 2 was still under way": 1}


def test_a_clock_set_forward_brings_one_run_and_says_what_it_left_out() -> None:
    timetable = table(EVERY)
    started(timetable, START)
    assert started(timetable, START + minutes(61)) == ["orders run"]
    assert list(reasons(timetable).values()) == [11]


def test_what_was_missed_while_nobody_could_look_says_why() -> None:
    timetable = table(EVERY)
    started(timetable, START)
    timetable.away("erp could not be read")
    assert started(timetable, START + minutes(21)) == ["orders run"]
    assert reasons(timetable) == {"erp could not be read": 3}
    assert started(timetable, START + minutes(31)) == ["orders run"]
    assert list(reasons(timetable)) == ["the clock was set forward, or one question took as long"]


def test_a_clock_set_back_keeps_distances_and_repeats_no_named_hour() -> None:
    timetable = table(EVERY, Plan("night", cron="30 2 * * *"))
    night = datetime(2026, 3, 2, 2, 30, tzinfo=UTC)
    started(timetable, night - minutes(2))
    assert started(timetable, night) == ["orders run", "night run"]
    back = night - minutes(45)
    assert started(timetable, back) == []
    assert started(timetable, back + minutes(5)) == ["orders run"]
    assert started(timetable, night) == ["orders run"]
    assert started(timetable, night + timedelta(days=1)) == ["orders run", "night run"]


def test_a_clock_that_is_trimmed_by_a_second_brings_no_moment_twice() -> None:
    timetable = table(Plan("orders", cron="* * * * *"), Plan("items", every=minutes(1)))
    started(timetable, START)
    assert started(timetable, START + minutes(1)) == ["orders run", "items run"]
    started(timetable, START + minutes(1) - timedelta(seconds=1))
    assert started(timetable, START + minutes(1.1)) == []


def test_a_stray_delay_is_the_same_for_the_same_moment_and_within_bounds() -> None:
    plan = Plan("orders", cron="0 * * * *", jitter=minutes(10))
    first, second = table(plan), table(plan)
    moments = [
        timetable.next_at(START + timedelta(hours=1, minutes=hour * 60 + 15))
        for timetable in (first, second)
        for hour in range(24)
    ]
    assert moments[:24] == moments[24:]
    delays = {moment.minute * 60 + moment.second for moment in moments if moment}
    assert len(delays) > 12
    assert max(delays) < 600


def test_a_stream_taken_out_of_the_configuration_is_forgotten() -> None:
    before = table(EVERY, Plan("items", every=minutes(1)))
    started(before, START)
    after = table(EVERY, now=START + minutes(1), memory=remembered(before))
    assert remembered(after)["anchors"].keys() == {"orders"}


def test_a_long_absence_of_a_busy_schedule_is_counted_up_to_a_limit() -> None:
    before = table(Plan("orders", every=timedelta(seconds=1)))
    started(before, START)
    now = START + timedelta(days=30)
    after = table(Plan("orders", every=timedelta(seconds=1)), now=now, memory=remembered(before))
    assert list(reasons(after).values()) == [2_000]
    assert started(after, now) == ["orders run"]
    assert after.next_at(now) == now + timedelta(seconds=1)


@pytest.mark.parametrize(("length", "text"), [(90, "90s"), (300, "5m"), (7200, "2h"), (86_400, "1d"), (0.5, "0.5s")])
def test_a_length_of_time_is_written_as_in_the_configuration(length: float, text: str) -> None:
    assert span(timedelta(seconds=length)) == text


@given(
    steps=st.lists(
        st.tuples(st.integers(1, 400), st.sampled_from(["free", "quiet", "busy", "restart"])), min_size=1, max_size=40
    ),
    distance=st.sampled_from([30, 60, 300]),
    jitter=st.sampled_from([0, 20]),
)
def test_every_moment_brings_a_run_or_is_in_a_record(steps: list[tuple[int, str]], distance: int, jitter: int) -> None:
    plan = Plan("orders", every=timedelta(seconds=distance), jitter=timedelta(seconds=jitter), catch_up="skip")
    timetable, now = table(plan), START
    runs = len(timetable.due(now, active={}, hindrance=None))
    records: dict[int, int] = {}
    numbers = itertools.count(1).__next__
    for seconds, what in steps:
        now += timedelta(seconds=seconds)
        if what == "restart":
            memory = remembered(timetable)
            timetable = Timetable([plan], source="erp", number=numbers, now=now, memory=memory)
        active = {"orders": run(1)} if what == "busy" else {}
        runs += len(timetable.due(now, active=active, hindrance="quiet hours" if what == "quiet" else None))
        records |= {one.number: one.moments for one in timetable.drain()}
    anchored = Plan("orders", every=plan.every, jitter=plan.jitter)
    counted = Timetable(
        [anchored],
        source="erp",
        number=numbers,
        now=now,
        memory={"seen_at": START.isoformat(), "anchors": {"orders": START.isoformat()}},
    )
    assert runs - 1 + sum(records.values()) == sum(one.moments for one in counted.drain())
