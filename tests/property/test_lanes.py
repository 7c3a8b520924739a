"""Lanes against random schedules: nothing lost, no key out of order, no key under way twice, progress that is true."""

import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.resilience.lanes import Entry, Lanes

KEYS = st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=40)


class Receiver:
    """Plays a receiver over lanes by chance, and checks each step."""

    def __init__(self, keys: list[str | None], seed: int, *, one_a_key: bool) -> None:
        self.keys = keys
        self.chance = random.Random(seed)  # noqa: S311  a schedule, not a secret
        self.one_a_key = one_a_key
        self.lanes: Lanes[str] = Lanes(one_a_key=one_a_key)
        self.flight: list[list[Entry[str]]] = []
        self.arrived: list[int] = []
        self.read = 0
        self.now_s = 0.0

    def run(self) -> None:
        while len(self.arrived) < len(self.keys):
            self.chance.choice([self.add, self.take, self.take, self.end, self.end])()
            self.check()
        assert self.lanes.progress(self.read) == (len(self.keys), [])
        assert self.lanes.bytes == 0

    def add(self) -> None:
        count = self.chance.randint(1, 6)
        new = [
            Entry(number, number, self.keys[number - 1], "x", 1)
            for number in range(self.read + 1, min(self.read + count, len(self.keys)) + 1)
        ]
        self.lanes.add(new)
        self.read += len(new)

    def take(self) -> None:
        self.now_s += 1
        entries = self.lanes.take(self.chance.randint(1, 5), now_s=self.now_s)
        if not entries:
            return
        for entry in entries:
            if entry.load is None:
                self.lanes.reload(entry, "x", 1)
        mine = [entry.key for entry in entries]
        if self.one_a_key:
            assert len(set(mine)) == len(mine)
        others = {entry.key for parcel in self.flight for entry in parcel}
        assert not set(mine) & others, "a key is under way twice"
        assert None not in others, "what has no key goes by itself"
        assert not (None in mine and others)
        self.flight.append(entries)

    def end(self) -> None:
        if not self.flight:
            return
        entries = self.flight.pop(self.chance.randrange(len(self.flight)))
        what = self.chance.random()
        if what < 0.5:
            self.arrived += [entry.number for entry in entries]
            self.lanes.settle(entries)
        elif len(entries) > 1 and not self.one_a_key:
            self.lanes.put_back(entries, cap=max(1, len(entries) // 2))
        else:
            for entry in entries:
                self.lanes.fail(entry, again_at_s=self.now_s + self.chance.randint(0, 9))
            self.lanes.unload()

    def check(self) -> None:
        cursor, pending = self.lanes.progress(self.read)
        waits = {number for first, last in pending for number in range(first, last + 1)}
        told = set(range(1, cursor + 1)) - waits
        assert told == {number for number in self.arrived if number <= cursor}
        assert {number for number in self.arrived if number > cursor} == set()


@pytest.mark.parametrize("one_a_key", [True, False])
@settings(max_examples=150, deadline=None)
@given(keys=KEYS, seed=st.integers(0, 2**32))
def test_every_event_arrives_once_and_each_key_in_order(keys: list[str | None], seed: int, *, one_a_key: bool) -> None:
    receiver = Receiver(keys, seed, one_a_key=one_a_key)
    receiver.run()
    assert sorted(receiver.arrived) == list(range(1, len(keys) + 1))
    by_key: dict[str | None, list[int]] = defaultdict(list)
    for number in receiver.arrived:
        by_key[keys[number - 1]].append(number)
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    for number in by_key[None]:
        before = receiver.arrived[: receiver.arrived.index(number)]
        assert sorted(before) == list(range(1, number)), "everything before it, and nothing after"
