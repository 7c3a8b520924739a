"""What the history of runs says: what is usual, and what should have begun."""

from datetime import UTC, datetime, timedelta

from bridge.extracted import Run, RunState
from bridge.extraction.plan import Plan
from bridge.extraction.runs import FEWEST, overdue, took, usual

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run(number: int, *, took_s: float | None = 10, state: RunState = "done", ago_min: float = 60) -> Run:
    began = NOW - timedelta(minutes=ago_min)
    ended = None if took_s is None else began + timedelta(seconds=took_s)
    return Run("erp", number, "orders", "run", "every 5m", state, began, ended_at=ended)


def test_what_is_usual_is_the_median_of_those_done_before() -> None:
    history = [run(9 - place, took_s=took_s) for place, took_s in enumerate([900, 1, 2, 3, 4, 5, 6, 7, 8])]
    failed = run(10, took_s=9_999, state="failed")
    assert usual([failed, *history], run(8)) == timedelta(seconds=5)
    assert usual([failed, *history], run(11)) == timedelta(seconds=5)
    assert usual(history[-FEWEST + 1 :], run(11)) is None


def test_a_run_under_way_has_taken_as_long_as_it_has() -> None:
    assert took(run(1, took_s=None, state="running", ago_min=3), NOW) == timedelta(minutes=3)
    assert took(run(1, took_s=-5), NOW) == timedelta(0)


def test_a_run_is_late_when_its_moment_passed_and_none_began() -> None:
    every = Plan("orders", every=timedelta(minutes=30), jitter=timedelta(minutes=5))
    done = run(1, took_s=60, ago_min=60)
    assert overdue(every, [done], NOW) == NOW - timedelta(minutes=24)
    assert overdue(every, [run(1, took_s=60, ago_min=30)], NOW) is None
    assert overdue(every, [run(2, took_s=None, state="running", ago_min=60), done], NOW) is None
    assert overdue(every, [], NOW) is None
    assert overdue(Plan("orders"), [done], NOW) is None
    skipped = run(3, took_s=0, state="skipped", ago_min=1)
    assert overdue(every, [skipped, done], NOW) == NOW - timedelta(minutes=24)
