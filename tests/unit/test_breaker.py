"""The breaker opens on a failure rate, tries one call, survives a restart and obeys an operator."""

from datetime import UTC, datetime, timedelta

import pytest

from bridge.resilience.breaker import Breaker, BreakerRules

START = datetime(2026, 3, 1, tzinfo=UTC)
RULES = BreakerRules(failure_ratio=0.5, minimum_calls=4, window_s=60, pause_s=5, longest_pause_s=12)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def opened(*, seconds: float = 0) -> Breaker:
    """A breaker that four failures opened."""
    breaker = Breaker(RULES, START)
    for _ in range(4):
        breaker.record(ok=False, why="HTTP 500", now=at(seconds))
    return breaker


def test_failures_below_the_minimum_of_calls_do_not_open_it() -> None:
    breaker = Breaker(RULES, START)
    for _ in range(3):
        breaker.record(ok=False, why="HTTP 500", now=START)
    assert breaker.wait_s(START) == 0


def test_a_rate_below_the_limit_does_not_open_it() -> None:
    breaker = Breaker(RULES, START)
    for call in range(100):
        breaker.record(ok=call % 5 < 3, why="HTTP 500", now=START)
    assert breaker.state == "closed"


def test_calls_outside_the_window_do_not_count() -> None:
    breaker = Breaker(RULES, START)
    for call in range(8):
        breaker.record(ok=False, why="HTTP 500", now=at(call * 61))
    assert breaker.state == "closed"


def test_it_says_why_and_since_when_it_is_open() -> None:
    breaker = opened(seconds=3)
    assert breaker.why == "4 of 4 calls failed within 60 s; the last: HTTP 500"
    assert breaker.since == at(3)
    assert breaker.wait_s(at(3)) == 5


def test_one_trial_closes_it() -> None:
    breaker = opened()
    assert breaker.wait_s(at(5)) == 0
    assert breaker.begin(at(5))
    assert breaker.wait_s(at(5)) is None, "one trial at a time"
    breaker.record(ok=True, why="", now=at(6), trial=True)
    assert (breaker.state, breaker.wait_s(at(6))) == ("closed", 0)


def test_failed_trials_double_the_pause_up_to_the_longest() -> None:
    breaker, now, pauses = opened(), START, []
    for _ in range(3):
        pause = breaker.wait_s(now) or 0.0
        pauses.append(pause)
        now += timedelta(seconds=pause)
        breaker.begin(now)
        breaker.record(ok=False, why="HTTP 500", now=now, trial=True)
    assert pauses == [5, 10, 12]
    assert breaker.since == START, "it is one outage"


def test_calls_that_were_under_way_do_not_end_a_trial() -> None:
    breaker = opened()
    breaker.begin(at(5))
    breaker.record(ok=True, why="", now=at(5))
    assert breaker.state == "half_open"


@pytest.mark.parametrize("state", ["closed", "open", "half_open"])
def test_it_survives_a_restart(state: str) -> None:
    breaker = Breaker(RULES, START) if state == "closed" else opened()
    if state == "closed":
        for _ in range(3):
            breaker.record(ok=False, why="HTTP 500", now=START)
    if state == "half_open":
        breaker.begin(at(5))
    again = Breaker(RULES, at(6))
    again.load(breaker.dump())
    assert (again.why, again.since) == (breaker.why, breaker.since)
    if state == "closed":
        again.record(ok=False, why="HTTP 500", now=at(6))
        assert again.state == "open", "the counts of the former life count"
    else:
        assert again.begin(at(6)), "the trial is made anew"


def test_an_operator_forces_either_side() -> None:
    breaker = opened()
    breaker.force("closed", now=at(1))
    for _ in range(20):
        breaker.record(ok=False, why="HTTP 500", now=at(1))
    assert breaker.wait_s(at(1)) == 0
    breaker.force("open", now=at(2))
    assert breaker.wait_s(at(9_999)) is None
    breaker.force(None, now=at(3))
    assert breaker.wait_s(at(3)) == 0
