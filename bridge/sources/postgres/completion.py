"""Rows that a re-read must give although a newer change of them was streamed: the change left long values out.

A chunk's row is dropped as stale when a change of its key was streamed that the chunk may not include. If all such
changes left the same long value out (TOAST, unchanged), no event has it, and the chunk's row is the only one that does.
Nobody changed the value since, so the newest change together with the chunk's value is the row as it now is: it follows
that change as a read event. Rows are looked at one by one here: only these few.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.model import Mark, Marks, RawBatch
from bridge.sources.postgres.visibility import Visibility

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Change:
    """The newest partial change of one key."""

    place: int  # in the order of all changes watched
    row: RawBatch  # it alone
    left_out: dict[str, int]  # column -> how many changes of the key left it out


@dataclass(slots=True)
class Partials:
    """Streamed changes that leave values out, as long as a chunk may be waiting that does not include them."""

    _batches: list[tuple[NDArray[np.int64], RawBatch]] = field(default_factory=list)  # places, changes

    def record(self, raw: RawBatch, places: NDArray[np.int64]) -> None:
        """Keep what leaves something out of a streamed batch; `places` is where each change stands in the stream."""
        rows = [marks.rows[marks.kinds == Mark.UNCHANGED] for marks in raw.marks.values()]
        partial = np.unique(np.concatenate([np.empty(0, np.int64), *rows]))
        if partial.size:
            self._batches.append((places[partial], raw.take(partial)))

    def forget_seen(self, visibility: Visibility) -> None:
        """Forget what this snapshot includes: every later one does too."""
        kept = []
        for places, raw in self._batches:
            unseen = np.flatnonzero(~visibility.sees(raw.changes.column("_tx").to_numpy()))
            if unseen.size:
                kept.append((places[unseen], raw.take(unseen)))
        self._batches = kept

    def keys(self, key: Sequence[str]) -> set[Key]:
        """The keys whose changes left something out."""
        return {found for _, raw in self._batches for found in keys_of(raw.columns, key)}

    def newest(self, key: Sequence[str]) -> dict[Key, _Change]:
        """Of each key, its newest partial change."""
        found: dict[Key, _Change] = {}
        for places, raw in self._batches:
            out = {name: set(marks.rows[marks.kinds == Mark.UNCHANGED].tolist()) for name, marks in raw.marks.items()}
            for row, one in enumerate(keys_of(raw.columns, key)):
                counts = dict(found[one].left_out) if one in found else {}
                for name in (name for name, rows in out.items() if row in rows):
                    counts[name] = counts.get(name, 0) + 1
                found[one] = _Change(int(places[row]), raw.take(np.array([row])), counts)
        return found


def complete(
    partials: Partials, chunk: RawBatch, key: Sequence[str], changes: dict[Key, tuple[int, int]]
) -> list[RawBatch]:
    """The rows of a chunk, one batch each, that no streamed change gives whole.

    Args:
        partials: what was streamed and left something out.
        chunk: the chunk's stale rows, as read events.
        key: its key columns.
        changes: of each key in `partials.keys`, how many changes were streamed and where the newest one stands.
    """
    newest, given = partials.newest(key), []
    for row, one in enumerate(keys_of(chunk.columns, key)):
        change = newest.get(one)
        if change is None or changes[one][1] != change.place:
            continue  # its newest change is a delete, or is whole
        missing = [name for name, count in change.left_out.items() if count == changes[one][0]]
        still_out = [name for name in missing if name in change.row.marks]
        if still_out:
            given.append(_compose(chunk.take(np.array([row])), change.row, still_out))
    return given


def keys_of(columns: pa.RecordBatch, key: Sequence[str]) -> list[Key]:
    """The key of each row."""
    return list(zip(*(columns.column(name).to_pylist() for name in key), strict=True))


def _compose(read: RawBatch, change: RawBatch, missing: list[str]) -> RawBatch:
    """The change's row with the missing values as they were read; a read event."""
    columns = [
        (read if name in missing else change).columns.column(name) if name in change.columns.schema.names else column
        for name, column in zip(read.shape.names(), read.columns.columns, strict=True)
    ]
    marks: dict[str, Marks] = {name: found for name, found in change.marks.items() if name not in missing}
    marks |= {name: found for name, found in read.marks.items() if name in missing}
    return RawBatch(
        read.stream, read.shape, read.changes, pa.RecordBatch.from_arrays(columns, read.shape.names()), marks
    )


def concat(batches: Sequence[RawBatch]) -> RawBatch:
    """Batches of one stream and shape as one."""
    marks: dict[str, Marks] = {}
    offset = 0
    for batch in batches:
        for name, found in batch.marks.items():
            before = marks.get(name, Marks(np.empty(0, np.int64), np.empty(0, np.uint8), ()))
            marks[name] = Marks(
                np.concatenate((before.rows, found.rows + offset)),
                np.concatenate((before.kinds, found.kinds)),
                before.raw + found.raw,
            )
        offset += batch.row_count
    first = batches[0]
    return RawBatch(
        first.stream,
        first.shape,
        pa.concat_batches([batch.changes for batch in batches]),
        pa.concat_batches([batch.columns for batch in batches]),
        marks,
    )
