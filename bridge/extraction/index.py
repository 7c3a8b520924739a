"""The image of a stream in memory: hashes of every row that its system is known to hold, found by key.

Promises: exact on hashes of 128 bits; about 37 bytes a row; looking up a page costs a binary search a row in a few
sorted levels, whose sizes grow geometrically. No Python object a row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.extraction.fingerprint import Hashes, in_order, where

_FAN = 4  # levels that become one: more of them are more to look through, fewer are merged more often
_ARRAYS = ("first", "second", "row", "cursor", "number", "seen")  # of a level
GONE = np.uint32(0xFFFFFFFF)  # the number of a row that the image holds no more

Numbers = NDArray[np.uint32]
Places = NDArray[np.int64]


@dataclass(slots=True)
class Level:
    """Rows in order of `first`; the arrays are changed in place, but for the keys."""

    first: Hashes  # halves of the key's hash
    second: Hashes
    row: Hashes  # hash of the whole row
    cursor: Hashes  # of its cursor; of a row without a key which it is of those that are equal
    number: Numbers  # in the image
    seen: NDArray[np.bool_]  # by the reading under way

    def __len__(self) -> int:
        return len(self.first)

    def find(self, first: Hashes, second: Hashes) -> tuple[Places, Places]:
        """Of keys in order of `first` those that are here: which they are, and where."""
        return where((self.first, self.second), first, second)

    def take(self, rows: Places) -> None:
        """Keep these rows in this order; one array after the other, and where it can be into the one before."""
        spare: Hashes | None = None
        for name in ("first", "second", "row", "cursor"):
            before = getattr(self, name)
            is_fitting = spare is not None and len(spare) == len(rows)
            # "clip" is for nothing but that numpy writes where it is told to: all places are inside.
            setattr(self, name, np.take(before, rows, out=spare, mode="clip") if is_fitting else before.take(rows))
            spare = before
        self.number = self.number.take(rows)
        self.seen = self.seen.take(rows)

    def part(self, rows: Places) -> "Level":
        """These rows in this order, as a level of its own."""
        return Level(*(getattr(self, name)[rows] for name in _ARRAYS))

    @classmethod
    def empty(cls, count: int) -> "Level":
        """So many rows, numbered, of which nothing is known."""
        first, second, row, cursor = (np.empty(count, np.uint64) for _ in range(4))
        return cls(first, second, row, cursor, np.arange(count, dtype=np.uint32), np.zeros(count, np.bool_))

    @classmethod
    def merged(cls, levels: "Sequence[Level]") -> "Level":
        """Several levels as one, which they are emptied into: one array after the other, so that little is twice."""
        order = in_order(np.concatenate([level.first for level in levels]))
        merged = cls.empty(0)
        for name in _ARRAYS:
            setattr(merged, name, np.concatenate([getattr(level, name) for level in levels])[order])
            for level in levels:
                setattr(level, name, getattr(level, name)[:0].copy())
        return merged


class Index:
    """Rows by key. For one thread."""

    def __init__(self, levels: Sequence[Level] = ()) -> None:
        """Begin with these levels."""
        self._levels = [level for level in levels if len(level)]

    def __len__(self) -> int:
        """Rows that the image holds, those that are gone not counted."""
        return sum(int(np.count_nonzero(level.number != GONE)) for level in self._levels)

    @property
    def size(self) -> int:
        """Rows that are kept in memory."""
        return sum(map(len, self._levels))

    def find(
        self, first: Hashes, second: Hashes, order: Places | None = None
    ) -> Iterator[tuple[Level, Places, Places]]:
        """Where these keys are: level, which of them, and their places in it. A key is in one level at most.

        `order` is what sorts `first`, where that is known.
        """
        if not self._levels:
            return
        order = in_order(first) if order is None else order
        first, second = first[order], second[order]
        for level in self._levels:
            which, places = level.find(first, second)
            if len(which):
                yield level, order[which], places

    def add(self, level: Level) -> None:
        """Rows whose keys are not here yet, in order of `first`."""
        if not len(level):
            return
        self._levels.append(level)
        while len(self._levels) >= _FAN and len(self._levels[-_FAN]) < _FAN * len(self._levels[-1]):
            self._levels[-_FAN:] = [Level.merged(self._levels[-_FAN:])]

    def begin(self) -> None:
        """A reading begins: it has seen nothing yet."""
        for level in self._levels:
            level.seen[:] = False

    def see(self, numbers: Numbers, *, until: int) -> None:
        """The reading has seen the rows with these numbers; `until` is above every number."""
        if not len(numbers):
            return
        is_seen = np.zeros(until + 1, np.bool_)
        is_seen[numbers] = True
        for level in self._levels:
            level.seen |= is_seen[np.minimum(level.number, until)]

    def unseen(self, *, above: int = -1) -> Numbers:
        """The numbers of the rows that the reading has not seen, in order."""
        found = [level.number[~level.seen & (level.number != GONE)] for level in self._levels]
        numbers = np.sort(np.concatenate(found)) if found else np.empty(0, np.uint32)
        return numbers[np.searchsorted(numbers, max(above + 1, 0)) :]

    def drop(self, numbers: Numbers, *, until: int) -> None:
        """The rows with these numbers are gone."""
        is_gone = np.zeros(until + 1, np.bool_)
        is_gone[numbers] = True
        for level in self._levels:
            level.number[is_gone[np.minimum(level.number, until)]] = GONE

    def held(self, *, until: int) -> NDArray[np.bool_]:
        """By number below `until`: whether the image holds that row."""
        is_held = np.zeros(until, np.bool_)
        for level in self._levels:
            is_held[level.number[level.number != GONE]] = True
        return is_held

    def renumber(self, numbers: Numbers) -> None:
        """Row n has the number `numbers[n]` from now on; those that are gone are forgotten."""
        for level in self._levels:
            level.take(np.flatnonzero(level.number != GONE))
            level.number = numbers[level.number]
        self._levels = [level for level in self._levels if len(level)]
