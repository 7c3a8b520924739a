"""Waiting times: doubling with jitter up to a limit, from the start again once it works."""

from bridge.resilience.retry import Backoff


def test_waits_double_with_jitter_up_to_the_limit() -> None:
    backoff = Backoff(first_s=0.1, limit_s=5.0)
    waits = [backoff.next_s() for _ in range(40)]
    for number, wait_s in enumerate(waits):
        ceiling_s = min(5.0, 0.1 * 2**number)
        assert ceiling_s / 2 <= wait_s <= ceiling_s


def test_waits_differ_so_that_many_do_not_knock_at_once() -> None:
    waits = {Backoff(first_s=1.0).next_s() for _ in range(20)}
    assert len(waits) == 20


def test_after_a_success_the_first_wait_is_short_again() -> None:
    backoff = Backoff(first_s=0.1, limit_s=5.0)
    for _ in range(10):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.1


def test_whether_it_failed_last_is_known() -> None:
    backoff = Backoff()
    known = [backoff.has_failed]
    backoff.next_s()
    known.append(backoff.has_failed)
    backoff.reset()
    assert [*known, backoff.has_failed] == [False, True, False]
