"""Keys as numbers against a plain dictionary, in hashes so small that keys share half of them."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from bridge.reconcile.held import AGREED, ALIVE, NOWHERE, WHOLE, Held, Keys
from bridge.reconcile.prints import Digests

Key = tuple[int, int]
KEYS = some.tuples(some.integers(0, 2), some.integers(0, 2))
EVENTS = some.lists(some.tuples(KEYS, some.integers(0, 1), some.booleans(), some.booleans()), max_size=30)
EVERY = [(first, second) for first in range(3) for second in range(3)]


def digests(keys: list[Key], rows: list[int], whole: list[bool]) -> Digests:
    first, second = np.array(keys, np.uint64).reshape(-1, 2).T
    return Digests(first, second, np.array(rows, np.uint64), np.array(whole, np.bool_))


@given(events=EVENTS, cuts=some.lists(some.integers(0, 30), max_size=3), settles=some.booleans())
def test_the_newest_event_of_each_key_is_found(
    events: list[tuple[Key, int, bool, bool]],
    cuts: list[int],
    settles: bool,  # noqa: FBT001  given
) -> None:
    held = Held()
    plain: dict[Key, tuple[int, int, int]] = {}
    for begin, end in pairwise(sorted({0, *cuts, len(events)})):
        part = events[begin:end]
        found = digests([key for key, *_ in part], [row for _, row, *_ in part], [whole for *_, whole in part])
        numbers = np.arange(begin, begin + len(part), dtype=np.int64)
        held.add(Keys.of(found, numbers, np.array([alive for *_, alive, _ in part], np.bool_)))
        if settles:
            assert len(held.keys) <= len(EVERY)
    for number, (key, row, alive, whole) in enumerate(events):
        plain[key] = (number, row, int(alive * ALIVE + whole * WHOLE))
    places = held.find(*np.array(EVERY, np.uint64).T)
    keys = held.keys
    assert len(keys) == len(plain)
    told = {
        key: (int(keys.number[place]), int(keys.row[place]), int(keys.flags[place]))
        for key, place in zip(EVERY, places.tolist(), strict=True)
        if place != NOWHERE
    }
    assert told == plain


def test_what_agreed_once_is_remembered_when_there_are_newer_events() -> None:
    held = Held()
    both = digests([(1, 1), (1, 2)], [7, 8], [True, True])
    held.add(Keys.of(both, np.array([1, 2]), np.array([True, True])))
    assert held.meet(digests([(1, 1), (1, 2), (5, 5)], [7, 9, 9], [True] * 3)).tolist() == [True, False, False]
    held.add(Keys.of(digests([(1, 1)], [9], [True]), np.array([3]), np.array([False])))
    assert held.keys.flags.tolist() == [AGREED | WHOLE, ALIVE | WHOLE]
    assert held.meet(both).tolist() == [True, True]


def test_neither_a_row_that_leaves_a_field_unsaid_nor_one_that_is_gone_agrees() -> None:
    held = Held()
    held.add(Keys.of(digests([(1, 1), (2, 2)], [7, 7], [False, True]), np.array([1, 2]), np.array([True, False])))
    assert held.meet(digests([(1, 1), (2, 2)], [7, 7], [True, True])).tolist() == [False, False]
    held.add(Keys.of(digests([(1, 1)], [7], [True]), np.array([3]), np.array([True])))
    assert held.meet(digests([(1, 1)], [7], [False])).tolist() == [False]
    assert held.meet(digests([(1, 1)], [7], [True])).tolist() == [True]
    held.truncate(4)
    assert (len(held.keys), held.truncated_at) == (0, 4)
