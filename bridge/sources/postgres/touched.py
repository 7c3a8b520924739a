"""Which keys the change log touched lately, so that a chunk of a re-read never overwrites a newer state (I5).

A row of a chunk is stale when a transaction that may not be included in it, and that was streamed before the chunk is
handed on, touched its key.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from bridge.model import Op, RawBatch
from bridge.sources.postgres.completion import Key, Partials, complete, keys_of
from bridge.sources.postgres.visibility import Visibility

_REMEMBERED_TRANSACTIONS = 65_536
_PLACE = "place among the changes watched"


@dataclass(slots=True)
class Watch:
    """What was streamed of one stream since its re-read began.

    `is_blind` is for the thread that reads chunks, all else for the one that reads the change log.
    """

    before: NDArray[np.uint64]  # transactions streamed not long before, until a snapshot has included them all
    touched: list[tuple[NDArray[np.uint64], pa.RecordBatch]] = field(
        default_factory=list
    )  # transactions, keys and places
    truncated: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    partials: Partials = field(default_factory=Partials)
    _count: int = 0  # changes recorded

    def is_blind(self, visibility: Visibility) -> bool:
        """Whether a snapshot misses a transaction that was streamed before the keys were watched.

        True only for an instant: a transaction is streamed once its commit is on disk, and visible right after.
        """
        if not visibility.sees(self.before).all():
            return True
        self.before = np.empty(0, np.uint64)
        return False

    def record(self, raw: RawBatch, xids: NDArray[np.uint64], key: Sequence[str]) -> None:
        """Remember the keys of a streamed batch."""
        places = np.arange(self._count, self._count + raw.row_count)
        self._count += raw.row_count
        keys = raw.columns.select(list(key)).append_column(_PLACE, pa.array(places))
        self.touched.append((xids, keys))
        self.partials.record(raw, places)
        truncates = raw.changes.column("_op").to_numpy() == Op.TRUNCATE
        self.truncated = np.concatenate((self.truncated, np.unique(xids[truncates])))

    def forget_seen(self, visibility: Visibility) -> None:
        """Forget what this snapshot includes: every later one does too."""
        self.truncated = self.truncated[~visibility.sees(self.truncated)]
        masks = [~visibility.sees(xids) for xids, _ in self.touched]
        self.touched = [
            (xids[mask], keys.filter(pa.array(mask)))
            for (xids, keys), mask in zip(self.touched, masks, strict=True)
            if mask.any()
        ]
        self.partials.forget_seen(visibility)

    def stale_rows(self, columns: pa.RecordBatch, visibility: Visibility) -> NDArray[np.bool_]:
        """Which rows of a chunk are older than what was streamed."""
        self.forget_seen(visibility)
        stale = np.full(columns.num_rows, self.truncated.size > 0)
        if self.touched and columns.num_rows and not self.truncated.size:
            touched = _frame([keys for _, keys in self.touched]).drop(_PLACE).unique()
            rows = _frame([columns.select(touched.columns)]).with_row_index("row")
            stale[rows.join(touched, on=touched.columns, how="semi")["row"].to_numpy()] = True
        return stale

    def left_out(self, stale: RawBatch) -> list[RawBatch]:
        """The stale rows of a chunk that are needed all the same, as they now are; see `completion`."""
        if not self.touched or self.truncated.size:
            return []
        key = [name for name in self.touched[0][1].schema.names if name != _PLACE]
        wanted = self.partials.keys(key)
        if not wanted:
            return []
        seen: dict[Key, tuple[int, int]] = {}
        for _, keys in self.touched:
            for place, one in zip(keys.column(_PLACE).to_pylist(), keys_of(keys, key), strict=True):
                if one in wanted:
                    seen[one] = (seen.get(one, (0, 0))[0] + 1, place)
        return complete(self.partials, stale, key, seen)


@dataclass(slots=True)
class Touched:
    """The watches of one source; for the thread that reads the change log."""

    _recent: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(_REMEMBERED_TRANSACTIONS, np.uint64))  # a ring
    _recent_count: int = 0  # written to it so far
    _watches: dict[str, Watch] = field(default_factory=dict)

    def watch(self, stream: str) -> Watch:
        """The stream's watch, from now on where there is none."""
        if stream not in self._watches:
            self._watches[stream] = Watch(self._recent[: self._recent_count].copy())
        return self._watches[stream]

    def forget(self, stream: str) -> None:
        """Its re-read is over."""
        self._watches.pop(stream, None)

    def record(self, raw: RawBatch, key: Sequence[str]) -> None:
        """Remember a streamed batch; called before it is handed on."""
        xids = raw.changes.column("_tx").to_numpy()
        distinct = np.unique(xids)[-self._recent.size :].astype(np.uint64)
        places = np.arange(self._recent_count, self._recent_count + distinct.size) % self._recent.size
        self._recent[places] = distinct
        self._recent_count += distinct.size
        if raw.stream in self._watches:
            self._watches[raw.stream].record(raw, xids, key)


def _frame(batches: list[pa.RecordBatch]) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(pa.Table.from_batches(batches)))
