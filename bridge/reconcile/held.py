"""What the events of a stream amount to, key by key, as numbers: 34 bytes a key, however wide the rows are.

Promises: exact on hashes of 128 bits a key; the newest event of a key counts, in whatever portions they come. For one
thread at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from bridge.extraction.fingerprint import Hashes, in_order, where
from bridge.reconcile.prints import Digests

ALIVE, WHOLE, AGREED = np.uint8(1), np.uint8(2), np.uint8(4)  # flags of a key
NOWHERE = -1  # the place of a key that has no event
_SETTLE_ROWS = 2_000_000  # rows gathered before those of one key are reduced to the last

Places = NDArray[np.int64]


@dataclass(slots=True)
class Keys:
    """n keys, or events of keys."""

    first: Hashes  # halves of the key's hash
    second: Hashes
    row: Hashes  # over all fields of the newest event; of a row that leaves some unsaid it means nothing
    number: NDArray[np.int64]  # of the newest event
    flags: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.first)

    def take(self, places: Places) -> "Keys":
        """These keys in this order."""
        return Keys(*(getattr(self, field.name)[places] for field in fields(self)))

    def with_others(self, others: "Keys") -> "Keys":
        """Both, each in order of `first`, as one in that order; no key of the others is here."""
        if not len(others):
            return self
        at = np.searchsorted(self.first, others.first)
        return Keys(*(np.insert(getattr(self, each.name), at, getattr(others, each.name)) for each in fields(self)))

    @classmethod
    def joined(cls, parts: "Sequence[Keys]") -> "Keys":
        """All of them, one after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    @classmethod
    def of(cls, found: Digests, number: NDArray[np.int64], is_alive: NDArray[np.bool_]) -> "Keys":
        """Events, none of which anything agrees with yet."""
        return cls(found.first, found.second, found.row, number, is_alive * ALIVE + found.is_whole * WHOLE)


class Held:
    """The keys of a stream, found by their hash."""

    def __init__(self) -> None:
        self.truncated_at = 0  # the number of the newest event that ended every key
        none = np.empty(0, np.uint64)
        self._keys = self._none = Keys(none, none, none, np.empty(0, np.int64), np.empty(0, np.uint8))
        self._newer: list[Keys] = []  # events that came since, in order
        self._newer_count = 0

    @property
    def keys(self) -> Keys:
        """One of each key, deleted ones too, in order of `first`; the places are good until there are newer events."""
        self.settle()
        return self._keys

    def add(self, events: Keys) -> None:
        """Newer events."""
        if not len(events):
            return
        self._newer.append(events)
        self._newer_count += len(events)
        if self._newer_count > len(self._keys) + _SETTLE_ROWS:
            self.settle()

    def truncate(self, number: int) -> None:
        """An event ends every key."""
        self._keys, self._newer, self._newer_count, self.truncated_at = self._none, [], 0, number

    def find(self, first: Hashes, second: Hashes) -> Places:
        """Where these keys are; NOWHERE for those that have no event."""
        self.settle()
        order = in_order(first)
        which, place = where((self._keys.first, self._keys.second), first[order], second[order])
        found = np.full(len(first), NOWHERE, np.int64)
        found[order[which]] = place
        return found

    def meet(self, seen: Digests) -> NDArray[np.bool_]:
        """Which rows of the other side agree with the newest event of their key, or once did; it is remembered."""
        place = self.find(seen.first, seen.second)
        known = np.flatnonzero(place != NOWHERE)
        at = place[known]
        both = self._keys.flags[at] & (ALIVE | WHOLE) == ALIVE | WHOLE
        is_agreed = both & seen.is_whole[known] & (self._keys.row[at] == seen.row[known])
        self._keys.flags[at[is_agreed]] |= AGREED
        found = np.zeros(len(place), np.bool_)
        found[known] = self._keys.flags[at] & AGREED != 0
        return found

    def settle(self) -> None:
        """Reduce events to the last of each key."""
        if not self._newer:
            return
        newer, self._newer, self._newer_count = _last_of_each(Keys.joined(self._newer)), [], 0
        if not len(self._keys):
            self._keys = newer
            return
        place = self.find(newer.first, newer.second)
        known = np.flatnonzero(place != NOWHERE)
        flags = newer.flags[known] | self._keys.flags[place[known]] & AGREED
        for name, values in (("row", newer.row[known]), ("number", newer.number[known]), ("flags", flags)):
            getattr(self._keys, name)[place[known]] = values
        self._keys = self._keys.with_others(newer.take(np.flatnonzero(place == NOWHERE)))


def _last_of_each(events: Keys) -> Keys:
    """The last event of each key, in order of `first`."""
    order = in_order(events.first)
    is_again = _is_again(events.first[order])
    if (is_again & ~_is_again(events.second[order])).any():  # two keys share half of their hash
        order = np.lexsort((events.second, events.first))
        is_again = _is_again(events.first[order]) & _is_again(events.second[order])
    begins = np.flatnonzero(~is_again)
    return events.take(order if len(begins) == len(order) else order[np.append(begins, len(order))[1:] - 1])


def _is_again(hashes: Hashes) -> NDArray[np.bool_]:
    """Which are as the one before."""
    found = np.zeros(len(hashes), np.bool_)
    np.equal(hashes[1:], hashes[:-1], out=found[1:])
    return found
