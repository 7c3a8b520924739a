"""Compare what the events of a stream amount to with the rows they speak of, while both go on changing.

The journal's end is noted, journal and rows are read, then the rest of the journal once it holds every change that the
rows may have had. A key that differs and has no event since stood still on both sides: the difference is real. One that
has is looked at again. So a change under way is never taken for a loss, and a loss never for a change under way.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import polars as pl
import pyarrow as pa

from bridge.errors import SourceUnavailable
from bridge.latest import KEY
from bridge.reconcile.held import AGREED, ALIVE, NOWHERE, Places
from bridge.reconcile.prints import differing, digests, key_hashes
from bridge.reconcile.replayed import NUMBER, Replayed
from bridge.reconcile.sides import Seen, Side

AGAIN_KEYS = 1_000  # asked for in one question
MOST_WAITING = 8  # pages that wait until the journal is read
AT_ONCE = 2  # of those, for each that comes then: the system is not kept waiting for all of them
_OTHER = "_there"
_ROW, _ALIVE = "_row", "_alive"
_WAIT_S = 0.002, 0.05  # first and longest, between two looks whether the journal has come so far

Kind = Literal["missing", "extra", "different"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One key on which the two sides do not agree."""

    key: str  # canonical key text
    kind: Kind  # missing: no event holds the row; extra: the events hold a row that is not there
    fields: tuple[str, ...] = ()  # that differ


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a comparison."""

    rows: int  # of the other side
    keys: int  # alive in the journal
    differences: tuple[Difference, ...]  # in order of key
    unsettled: tuple[str, ...]  # keys that changed at every look, or that cannot be asked for again
    rejected: int  # rows that the contract rejects, or that wait behind one: they are dead letters, or would be
    not_held: int  # rows whose events the journal no longer holds, or that may be among those without a readable key
    looks: int
    seconds: float
    own_keys: pa.RecordBatch | None = None  # the system's key columns of what is missing or different, in that order

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs for certain."""
        return not self.differences


class Barrier(Protocol):
    """Knows when the journal holds all that the other side held at a moment."""

    def mark(self) -> object:
        """This moment."""

    def is_passed(self, mark: object) -> bool:
        """Whether the journal holds every change that was visible at the mark."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to look again."""

    looks: int = 10
    wait_s: float = 60.0  # for the journal to catch up, at each look


def passes(barrier: Barrier, patience: Patience, *, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Wait until the journal holds what there is at this moment; False when it does not come so far in time."""
    mark, deadline = barrier.mark(), time.monotonic() + patience.wait_s
    wait_s, longest_s = _WAIT_S
    while not barrier.is_passed(mark):
        if time.monotonic() >= deadline:
            return False
        sleep(wait_s)
        wait_s = min(2 * wait_s, longest_s)
    return True


def compare(
    ours: Replayed,
    theirs: Side,
    barrier: Barrier,
    *,
    patience: Patience,
    progress: Callable[[str, int], None] = lambda _step, _count: None,
    waiting: Callable[[], frozenset[str]] = frozenset,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Compare whole sides, then look again at what may be under way.

    Args:
        ours: the journal's side, not read yet.
        theirs: the other side.
        barrier: when the journal holds what the other side held.
        patience: how often and how long.
        progress: told what is done and how many rows so far.
        waiting: keys whose changes wait behind a dead letter now.
        sleep: waits.
    Raises: SourceUnavailable, SourceRefused, JournalCorrupt.
    """
    return _Comparison(ours, theirs, barrier, patience=patience, progress=progress, sleep=sleep).run(waiting)


class _Comparison:
    def __init__(
        self,
        ours: Replayed,
        theirs: Side,
        barrier: Barrier,
        *,
        patience: Patience,
        progress: Callable[[str, int], None],
        sleep: Callable[[float], None],
    ) -> None:
        self._ours = ours
        self._theirs = theirs
        self._barrier = barrier
        self._patience = patience
        self._progress = progress
        self._sleep = sleep
        self._is_given_up = False
        self._row_count = 0
        self._rejected: list[str | None] = []  # keys, None where one has none
        self._settled: list[Difference] = []
        self._own_keys: list[pa.RecordBatch] = []  # of the rows that did not agree at once
        self._rows: dict[str, int] = {}  # of settled differences: which of `_own_keys`

    def run(self, waiting: Callable[[], frozenset[str]]) -> Report:
        started = time.monotonic()
        before = self._ours.last()
        seen = self._first_look()
        is_apart = bool(seen.height or len(self._alone(seen)))
        is_passed = is_apart and self._wait()  # where all agree there is nothing to wait for
        found = self._judge(seen, self._alone(seen), before=before if is_passed else None) if is_apart else seen
        open_keys = found.select(KEY).join(seen.select(KEY, _ROW), on=KEY, how="left")
        looks = 1
        while open_keys.height and is_passed and looks < self._patience.looks:
            if looks > 1 and open_keys[_ROW].is_null().all():
                break  # seen on no look, so that they cannot be asked for: no look would settle them
            looks += 1
            self._progress("looking again", open_keys.height)
            open_keys, is_passed = self._again(open_keys)
        unsettled = open_keys[KEY].to_list()
        return self._report(unsettled, waiting(), looks=looks, seconds=time.monotonic() - started)

    def _report(self, unsettled: list[str], waiting: frozenset[str], *, looks: int, seconds: float) -> Report:
        """What is settled, and what is not; of keys whose rows are rejected or wait nothing else is said."""
        self._rejected += {*(one.key for one in self._settled), *unsettled} & waiting - set(self._rejected)
        rejected = set(self._rejected)
        settled = sorted((one for one in self._settled if one.key not in rejected), key=lambda one: one.key)
        # Where retention took the first events, no row can be said to be missing: it may have had one; of two streams
        # on either side.
        untold = {"missing": self._ours.first > 1, "extra": not self._theirs.is_whole}
        differences = [one for one in settled if not untold.get(one.kind, False)]
        rows = [self._rows[one.key] for one in differences if one.key in self._rows]
        return Report(
            rows=self._row_count,
            keys=self._ours.key_count,
            differences=tuple(differences),
            unsettled=tuple(sorted(set(unsettled) - rejected)),
            rejected=len(self._rejected),
            not_held=len(settled) - len(differences),
            looks=looks,
            seconds=seconds,
            own_keys=self._own(rows) if rows else None,
        )

    def _first_look(self) -> pl.DataFrame:
        """Read both sides, and keep the rows that do not agree: `_key`, the fields' prints, `_row` of `_own_keys`."""
        waiting: deque[Seen] = deque()
        apart = [pl.DataFrame(schema=self._schema())]
        with ThreadPoolExecutor(1, "compare") as beside, self._wanted(), closing(self._theirs.look()) as pages:
            reading = beside.submit(self._ours.catch_up, self._turned)  # one side rests where the other works
            for seen in pages:
                self._row_count += seen.row_count
                self._progress("rows", self._row_count)
                waiting.append(seen)
                if reading.done() or len(waiting) == MOST_WAITING:
                    reading.result()
                    apart += [self._apart(waiting.popleft()) for _ in range(min(AT_ONCE, len(waiting)))]
            reading.result()
        apart += map(self._apart, waiting)
        return pl.concat(apart).unique(KEY, keep="last", maintain_order=True)

    @contextmanager
    def _wanted(self) -> Iterator[None]:
        """Whoever gives up does not wait until a large journal is read."""
        try:
            yield
        except BaseException:
            self._is_given_up = True
            raise

    def _turned(self) -> None:
        if self._is_given_up:
            raise SourceUnavailable("the comparison was given up")

    def _apart(self, seen: Seen) -> pl.DataFrame:
        """The rows that do not agree with the newest event of their key."""
        self._rejected += seen.rejected
        rows = np.flatnonzero(~self._ours.held.meet(digests(seen.prints, self._theirs.fields.names)))
        first = sum(batch.num_rows for batch in self._own_keys)
        self._own_keys.append(seen.keys.take(pa.array(rows)))
        return seen.prints[rows].with_columns(pl.Series(_ROW, np.arange(first, first + len(rows))))

    def _alone(self, seen: pl.DataFrame) -> Places:
        """Keys that are alive in the journal, and that the other side does not have."""
        is_alone = self._ours.held.keys.flags & (ALIVE | AGREED) == ALIVE
        is_alone[self._alive(self._places(seen))] = False
        return np.flatnonzero(is_alone)

    def _wait(self) -> bool:
        """Read the journal once it holds what was there to be seen; False when it does not come that far in time."""
        is_passed = passes(self._barrier, self._patience, sleep=self._sleep)
        self._ours.catch_up()
        return is_passed

    def _judge(self, seen: pl.DataFrame, alone: Places, *, before: int | None) -> pl.DataFrame:
        """Settle the differences of keys that have no event above `before`; the keys of the others are returned.

        Args:
            seen: rows of the other side; see `_first_look`.
            alone: keys that are alive in the journal, and that the other side does not have.
            before: None: the journal did not come far enough, so that nothing can be settled.
        Returns: `_key`.
        """
        names = self._theirs.fields.names
        wrong, places = self._compared(seen)
        held = self._ours.told(np.concatenate([places, alone]))
        joined = wrong.join(held, on=KEY, how="full", suffix=_OTHER, coalesce=False)
        unlike = [pl.col(name) != pl.col(name + _OTHER) for name in names]
        joined = joined.filter(
            pl.col(KEY).is_null() | pl.col(KEY + _OTHER).is_null() | pl.any_horizontal(unlike).fill_null(value=False)
        ).with_columns(_k=pl.coalesce(KEY, KEY + _OTHER))
        if before is None:
            return joined.select(pl.col("_k").alias(KEY))
        is_open = self._ours.held.truncated_at > before
        number = pl.coalesce(NUMBER, NUMBER + _OTHER)
        is_untold = pl.col(_ALIVE).fill_null(value=False) & pl.col(KEY + _OTHER).is_null()
        joined = joined.with_columns(_open=pl.lit(is_open) | (number > before) | is_untold)
        self._settled += [self._difference(row, names) for row in joined.filter(~pl.col("_open")).iter_rows(named=True)]
        return joined.filter("_open").select(pl.col("_k").alias(KEY))

    def _compared(self, seen: pl.DataFrame) -> tuple[pl.DataFrame, Places]:
        """The rows that do not agree by their digests, and where the journal's side has those of them that are alive.

        With `_number`, that of the key's newest event, 0 for none, and `_alive`, what the key is by it.
        """
        found, held = digests(seen, self._theirs.fields.names), self._ours.held
        rows = np.flatnonzero(~held.meet(found))
        place = held.find(found.first[rows], found.second[rows])
        known = np.flatnonzero(place != NOWHERE)
        number, is_alive = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.bool_)
        number[known] = held.keys.number[place[known]]
        is_alive[known] = held.keys.flags[place[known]] & ALIVE != 0
        return seen[rows].with_columns(pl.Series(NUMBER, number), pl.Series(_ALIVE, is_alive)), place[is_alive]

    def _difference(self, row: dict[str, object], names: list[str]) -> Difference:
        key = str(row["_k"])
        if row[KEY] is not None:
            self._rows.setdefault(key, int(str(row[_ROW])))
        if row[KEY + _OTHER] is None:
            return Difference(key, "missing")
        if row[KEY] is None:
            return Difference(key, "extra")
        return Difference(key, "different", differing(row, names, _OTHER))  # type: ignore[arg-type]  # prints

    def _again(self, open_keys: pl.DataFrame) -> tuple[pl.DataFrame, bool]:
        """Look at keys once more; those that cannot be asked for, having been seen on no look, stay open."""
        known, unknown = open_keys.filter(pl.col(_ROW).is_not_null()), open_keys.filter(pl.col(_ROW).is_null())
        before, found = self._ours.number, [pl.DataFrame(schema=self._schema())]
        for part in known.iter_slices(AGAIN_KEYS):
            for seen in self._theirs.look(self._own(part.get_column(_ROW).to_list())):
                self._rejected += set(seen.rejected).difference(self._rejected)
                found.append(seen.prints.join(known, on=KEY))
        is_passed = self._wait()
        if not is_passed:
            return open_keys, False
        seen_now = pl.concat(found).unique(KEY, keep="last", maintain_order=True)
        gone = self._places(known.join(seen_now, on=KEY, how="anti"))
        again = self._judge(seen_now, self._alive(gone), before=before)
        is_there = np.isin(self._places(unknown), self._alive(self._places(unknown)))
        return pl.concat([known.join(again, on=KEY, how="semi"), unknown.filter(pl.Series(is_there))]), True

    def _places(self, rows: pl.DataFrame) -> Places:
        return self._ours.held.find(*key_hashes(rows.get_column(KEY)))

    def _alive(self, places: Places) -> Places:
        known: Places = places[places != NOWHERE]
        alive: Places = known[self._ours.held.keys.flags[known] & ALIVE != 0]
        return alive

    def _own(self, rows: list[int]) -> pa.RecordBatch:
        """The other side's key columns of rows, for a question."""
        return pa.Table.from_batches(self._own_keys).combine_chunks().take(pa.array(rows)).to_batches()[0]

    def _schema(self) -> dict[str, type[pl.DataType]]:
        return {KEY: pl.String, **dict.fromkeys(self._theirs.fields.names, pl.UInt64), _ROW: pl.Int64}
