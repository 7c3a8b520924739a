"""Compare what the events of a stream amount to with the rows they speak of, while both go on changing.

The journal's end is noted, journal and rows are read, then the rest of the journal once it holds every change that the
rows may have had. A key that differs and has no event since stood still on both sides: the difference is real. One that
has is looked at again. So a change under way is never taken for a loss, and a loss never for a change under way.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import polars as pl
import pyarrow as pa

from bridge.latest import KEY
from bridge.reconcile.prints import differing
from bridge.reconcile.sides import Looked, Replayed, Side

AGAIN_KEYS = 1_000  # asked for in one question
_OTHER = "_there"
_WAIT_S = 0.05

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
    rejected: int  # rows that the contract rejects: they are dead letters, or would be
    not_held: int  # rows whose events the journal no longer holds
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
    while not barrier.is_passed(mark):
        if time.monotonic() >= deadline:
            return False
        sleep(_WAIT_S)
    return True


def compare(
    ours: Replayed,
    theirs: Side,
    barrier: Barrier,
    *,
    patience: Patience,
    progress: Callable[[str, int], None] = lambda _step, _count: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Compare whole sides, then look again at what may be under way.

    Args:
        ours: the journal's side, not read yet.
        theirs: the other side.
        barrier: when the journal holds what the other side held.
        patience: how often and how long.
        progress: told what is done and how many rows so far.
        sleep: waits.
    Raises: SourceUnavailable, SourceRefused, JournalCorrupt.
    """
    return _Comparison(ours, theirs, barrier, patience=patience, progress=progress, sleep=sleep).run()


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
        self._settled: list[Difference] = []
        self._rows: dict[str, int] = {}  # of settled differences: where the first look saw their rows

    def run(self) -> Report:
        started = time.monotonic()
        before = self._ours.last()
        with ThreadPoolExecutor(1, "compare") as beside:  # one side rests where the other works
            reading = beside.submit(self._ours.catch_up)
            looked = self._theirs.look(turned=lambda rows: self._progress("rows", rows))
            reading.result()
        seen = looked.frame(self._theirs.fields)
        is_passed = self._wait()
        open_keys = self._judge(seen, self._ours.rows(), before=before if is_passed else None)
        not_held = self._forgotten()
        looks = 1
        while open_keys.height and is_passed and looks < self._patience.looks:
            looks += 1
            self._progress("looking again", open_keys.height)
            open_keys, is_passed = self._again(open_keys, looked, seen)
        rejected = {key for key in looked.rejected if key is not None}
        found = sorted((one for one in self._settled if one.key not in rejected), key=lambda one: one.key)
        rows = np.array([self._rows[one.key] for one in found if one.key in self._rows], np.int64)
        return Report(
            rows=looked.rows,
            keys=self._ours.rows().height,
            differences=tuple(found),
            unsettled=tuple(sorted(set(open_keys[KEY].to_list()) - rejected)),
            rejected=len(looked.rejected),
            not_held=not_held,
            looks=looks,
            seconds=time.monotonic() - started,
            own_keys=looked.legacy_keys(rows) if rows.size else None,
        )

    def _wait(self) -> bool:
        """Read the journal once it holds what was there to be seen; False when it does not come that far in time."""
        is_passed = passes(self._barrier, self._patience, sleep=self._sleep)
        self._ours.catch_up()
        return is_passed

    def _judge(self, seen: pl.DataFrame, held: pl.DataFrame, *, before: int | None) -> pl.DataFrame:
        """Settle the differences of keys that have no event above `before`; the keys of the others are returned.

        None: the journal did not come far enough, so that nothing can be settled.
        """
        joined = seen.join(held, on=KEY, how="full", suffix=_OTHER, coalesce=False)
        names = self._theirs.fields.names
        unlike = [pl.col(name) != pl.col(name + _OTHER) for name in names]
        wrong = joined.filter(
            pl.col(KEY).is_null() | pl.col(KEY + _OTHER).is_null() | pl.any_horizontal(unlike).fill_null(value=False)
        ).with_columns(_k=pl.coalesce(KEY, KEY + _OTHER))
        if before is None:
            return wrong.select(pl.col("_k").alias(KEY))
        moving = self._ours.touched(before).rename({KEY: "_k"})
        still = wrong.join(moving, on="_k", how="anti")
        self._settled += [self._difference(row, names) for row in still.iter_rows(named=True)]
        return wrong.join(moving, on="_k", how="semi").select(pl.col("_k").alias(KEY))

    def _difference(self, row: dict[str, object], names: list[str]) -> Difference:
        key = str(row["_k"])
        if row[KEY] is not None:
            self._rows.setdefault(key, int(str(row["_row"])))
        if row[KEY + _OTHER] is None:
            return Difference(key, "missing")
        if row[KEY] is None:
            return Difference(key, "extra")
        return Difference(key, "different", differing(row, names, _OTHER))  # type: ignore[arg-type]  # prints

    def _again(self, keys: pl.DataFrame, looked: Looked, seen: pl.DataFrame) -> tuple[pl.DataFrame, bool]:
        """Look at keys once more; those that cannot be asked for, having been seen on no look, stay open."""
        known = keys.join(seen.select(KEY, "_row"), on=KEY)
        unknown = keys.join(seen.select(KEY), on=KEY, how="anti")
        frames = []
        before = self._ours.number
        for part in known.iter_slices(AGAIN_KEYS):
            legacy = looked.legacy_keys(part["_row"].to_numpy().astype(np.int64))
            again = self._theirs.look(legacy).frame(self._theirs.fields).drop("_row")
            frames.append(again.join(seen.select(KEY, "_row"), on=KEY))
        is_passed = self._wait()
        if frames and is_passed:
            held = self._ours.rows().join(known.select(KEY), on=KEY, how="semi")
            open_keys = self._judge(pl.concat(frames), held, before=before)
        else:
            open_keys = known.select(KEY)
        gone = unknown.join(self._ours.rows().select(KEY), on=KEY, how="anti")  # deleted since: both sides lack it
        return pl.concat([open_keys, unknown.join(gone, on=KEY, how="anti")]), is_passed

    def _forgotten(self) -> int:
        """Rows whose events retention took are not missing; where it took any, no row can be said to be missing."""
        if self._ours.first <= 1:
            return 0
        missing = [one for one in self._settled if one.kind == "missing"]
        self._settled = [one for one in self._settled if one.kind != "missing"]
        return len(missing)
