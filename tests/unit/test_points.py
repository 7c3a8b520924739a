"""Calls and failures of integration points over windows."""

from threading import Thread

from bridge.points import BUCKET_S, KEPT_S, POINTS_LIMIT, Points
from bridge.testing.clock import FakeClock


def test_a_window_holds_what_was_counted_in_it() -> None:
    clock = FakeClock()
    points = Points(now=clock)
    points.count("sink:crm", ok=99, failed=1)
    clock.advance(60)
    points.count("sink:crm", ok=4, failed=1)
    assert points.within("sink:crm", 30) == (5, 1)
    assert points.within("sink:crm", 60) == (105, 2)
    clock.advance(61)
    assert points.within("sink:crm", 30) == (0, 0)


def test_totals_only_grow_whatever_the_window() -> None:
    clock = FakeClock()
    points = Points(now=clock)
    points.count("sink:crm", ok=99, failed=1)
    clock.advance(10 * KEPT_S)
    points.count("sink:crm", failed=2)
    assert points.totals() == {"sink:crm": (99, 3)}


def test_a_point_never_heard_of_has_no_calls() -> None:
    points = Points(now=FakeClock())
    points.count("sink:crm")
    assert points.within("sink:crm", 60) == (0, 0)
    assert points.names() == []


def test_counts_are_forgotten_after_six_hours() -> None:
    clock = FakeClock()
    points = Points(now=clock)
    points.count("source:erp", ok=1)
    for _ in range(KEPT_S // BUCKET_S + 1):
        clock.advance(BUCKET_S)
        points.count("sink:crm", ok=1)
    assert points.names() == ["sink:crm"]
    assert points.within("sink:crm", 10 * KEPT_S) == (KEPT_S // BUCKET_S + 1, 0)


def test_points_are_bounded_and_the_longest_silent_one_goes() -> None:
    clock = FakeClock()
    points = Points(now=clock)
    for number in range(POINTS_LIMIT + 1):
        points.count(f"sink:s{number}", ok=1)
        clock.advance(BUCKET_S / 10)
    assert len(points.names()) == POINTS_LIMIT
    assert points.within("sink:s0", KEPT_S) == (0, 0)


def test_a_clock_that_was_set_back_loses_no_count() -> None:
    clock = FakeClock()
    points = Points(now=clock)
    points.count("sink:crm", ok=1)
    clock.advance(-3600)
    points.count("sink:crm", failed=1)
    assert points.within("sink:crm", 60) == (2, 1)


def test_threads_lose_no_count_and_each_is_told() -> None:
    told = []
    points = Points(lambda point, ok, failed: told.append((point, ok, failed)), now=FakeClock())

    def call() -> None:
        for _ in range(500):
            points.count("sink:crm", ok=1)

    threads = [Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert points.within("sink:crm", 60) == (2000, 0)
    assert told == [("sink:crm", 1, 0)] * 2000
