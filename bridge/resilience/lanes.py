"""Which events of one stream may go to a receiver next; pure, the clock is an argument.

Promises (I5): two events of one key are never under way at the same time, and never out of order; an event that failed
holds the later ones of its key and no other; an event without a key (a truncate, a gap, any event of a keyless stream)
waits for everything before it and holds everything after it. Nothing is dropped: an entry leaves by `settle` only.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, TypeVar

Load = TypeVar("Load")
_UNCAPPED = 1 << 30
_number = attrgetter("number")


@dataclass(slots=True)
class Entry(Generic[Load]):
    """One event on its way, or a run of events for a receiver of columns. Not frozen: one loop's bookkeeping."""

    first: int  # sequence numbers, both inclusive
    number: int
    key: str | None
    load: Load | None  # what will be sent; None: to be read again
    size_bytes: int = 0  # of the load
    attempts: int = 0  # that failed and count
    first_failed_s: float = 0.0  # when the first of them did
    cap: int = _UNCAPPED  # most entries that may share a parcel with it

    def __lt__(self, other: "Entry[Load]") -> bool:
        return self.number < other.number


class Lanes(Generic[Load]):
    """The entries of one stream for one receiver; for one thread.

    Args:
        one_a_key: at most one event of a key in a parcel: for receivers that take a parcel event by event.
        reached: the cursor of a former life; entries up to it are pending, and the cursor does not move back (I2).
    """

    def __init__(self, *, one_a_key: bool, reached: int = 0) -> None:
        self._one_a_key = one_a_key
        self._ready: deque[Entry[Load]] = deque()
        self._released: list[Entry[Load]] = []  # a heap: their keys are free again; they go before what is ready
        self._flight: dict[int, Entry[Load]] = {}
        self._busy: dict[str | None, int] = {}  # entries under way by key
        self._failing: dict[str | None, Entry[Load]] = {}  # by key: the one that is tried again
        self._held: dict[str | None, deque[Entry[Load]]] = {}  # behind one that is under way, released or failing
        self._due: list[tuple[float, int, Entry[Load]]] = []  # a heap: when a failing one is tried again
        self._turns = itertools.count()
        self._reached = reached  # the highest cursor that was told
        self.bytes = 0  # of all loads

    @property
    def ready_count(self) -> int:
        """Entries that wait for nothing but their turn."""
        return len(self._ready) + len(self._released)

    @property
    def flight_count(self) -> int:
        """Entries under way."""
        return len(self._flight)

    @property
    def waiting_count(self) -> int:
        """Entries that failed, and those held behind others."""
        return len(self._failing) + sum(map(len, self._held.values()))

    @property
    def failing_count(self) -> int:
        """Entries that failed and are tried again."""
        return len(self._failing)

    def add(self, entries: Sequence[Entry[Load]]) -> None:
        """More entries, of higher numbers than all before."""
        self._ready.extend(entries)
        self.bytes += sum(entry.size_bytes for entry in entries)

    def adopt(self, entry: Entry[Load], *, again_at_s: float) -> None:
        """An entry that failed in a former life; it comes before any other of its key."""
        self.bytes += entry.size_bytes
        self._failing[entry.key] = entry
        heapq.heappush(self._due, (again_at_s, next(self._turns), entry))

    def take(self, limit: int, *, now_s: float) -> list[Entry[Load]]:
        """The next parcel: entries in order, at most `limit`, under way from now on; empty when none may go now."""
        single = self._take_due(now_s) or self._take_released()
        if single is not None:
            return [single]
        taken: list[Entry[Load]] = []
        mine: set[str | None] = set()
        if None in self._busy or None in self._failing:
            return taken  # what has no key holds everything after it
        while self._ready and len(taken) < limit:
            entry = self._ready[0]
            limit = min(limit, entry.cap)
            key = entry.key
            if len(taken) >= limit or not self._may_join(key, mine):
                break
            self._ready.popleft()
            if self._must_wait(key, mine):
                self._held.setdefault(key, deque()).append(entry)
                continue
            taken.append(entry)
            mine.add(key)
        for entry in taken:
            self._fly(entry)
        return taken

    def settle(self, entries: Sequence[Entry[Load]]) -> None:
        """The receiver has them, or they became dead letters: their keys go on."""
        for entry in entries:
            self._land(entry)
            self.bytes -= entry.size_bytes
        if self._held:
            self._release([entry.key for entry in entries])

    def put_back(self, entries: Sequence[Entry[Load]], *, cap: int) -> None:
        """A parcel that failed as a whole: its entries go first again, at most `cap` together."""
        for entry in entries:
            self._land(entry)
            entry.cap = cap
        behind = itertools.chain(*(self._held.pop(key, ()) for key in {entry.key for entry in entries}))
        self._return(itertools.chain(entries, behind))

    def fail(self, entry: Entry[Load], *, again_at_s: float) -> None:
        """It failed by itself: it is tried again then, and its key waits."""
        self._land(entry)
        self._failing[entry.key] = entry
        heapq.heappush(self._due, (again_at_s, next(self._turns), entry))

    def next_due_s(self) -> float | None:
        """When the next failing entry is tried again."""
        return self._due[0][0] if self._due else None

    def unload(self) -> None:
        """Let go of what waits behind failed entries would send: it is read again when its turn comes."""
        for key, entry in self._failing.items():
            for one in (entry, *self._held.get(key, ())):
                self.bytes -= one.size_bytes
                one.load, one.size_bytes = None, 0

    def reload(self, entry: Entry[Load], load: Load, size_bytes: int) -> None:
        """An entry that was let go of has been read again."""
        self.bytes += size_bytes - entry.size_bytes
        entry.load, entry.size_bytes = load, size_bytes

    def progress(self, taken: int) -> tuple[int, list[tuple[int, int]]]:
        """Cursor and pending ranges, given the last number that was read.

        Returns: the number up to which everything is settled or in the ranges: what is under way, failing or held,
            increasing and apart.
        """
        self._reached = cursor = max(self._reached, self._ready[0].first - 1 if self._ready else taken)
        outstanding = itertools.chain(
            itertools.takewhile(lambda entry: entry.number <= cursor, self._ready),  # put back after they were told
            self._flight.values(),
            self._failing.values(),
            self._released,
            *self._held.values(),
        )
        ranges: list[tuple[int, int]] = []
        for entry in sorted((entry for entry in outstanding if entry.number <= cursor), key=_number):
            if ranges and ranges[-1][1] + 1 == entry.first:
                ranges[-1] = (ranges[-1][0], entry.number)
            else:
                ranges.append((entry.first, entry.number))
        return cursor, ranges

    def _may_join(self, key: str | None, mine: set[str | None]) -> bool:
        """Whether the head of the queue may leave it: what has no key waits for all before it."""
        if key is None:
            is_alone = not (self._busy or self._failing or self._held or self._released)
            return is_alone and not (self._one_a_key and mine)
        return not self._one_a_key or (key not in mine and None not in mine)

    def _must_wait(self, key: str | None, mine: set[str | None]) -> bool:
        """Whether it goes behind earlier ones of its key; those in the same parcel are no hindrance."""
        return key in self._failing or key in self._held or (key in self._busy and key not in mine)

    def _take_due(self, now_s: float) -> Entry[Load] | None:
        if not self._due or self._due[0][0] > now_s:
            return None
        _, _, entry = heapq.heappop(self._due)
        del self._failing[entry.key]
        self._fly(entry)
        return entry

    def _take_released(self) -> Entry[Load] | None:
        if not self._released:
            return None
        entry = heapq.heappop(self._released)
        self._fly(entry)
        return entry

    def _fly(self, entry: Entry[Load]) -> None:
        self._flight[entry.number] = entry
        self._busy[entry.key] = self._busy.get(entry.key, 0) + 1

    def _land(self, entry: Entry[Load]) -> None:
        del self._flight[entry.number]
        left = self._busy[entry.key] - 1
        if left:
            self._busy[entry.key] = left
        else:
            del self._busy[entry.key]

    def _release(self, keys: Iterable[str | None]) -> None:
        """Let the next of each key go, once none of it is under way."""
        for key in keys:
            held = self._held.get(key)
            if not held or key in self._busy:
                continue
            if self._one_a_key:
                heapq.heappush(self._released, held.popleft())
                if held:
                    continue
            else:
                self._return(held)
            del self._held[key]

    def _return(self, entries: Iterable[Entry[Load]]) -> None:
        self._ready = deque(heapq.merge(sorted(entries, key=_number), self._ready, key=_number))
