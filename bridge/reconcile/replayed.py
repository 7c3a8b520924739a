"""The journal's side of a comparison: what the events of a stream amount to.

All of it is held as numbers; the prints of single keys are read again from the journal when they are asked for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bridge.latest import KEY, Latest, after_truncate
from bridge.model import Op
from bridge.ports import Journal
from bridge.reconcile.held import ALIVE, WHOLE, Held, Keys, Places
from bridge.reconcile.prints import digests, prints

NUMBER = "_number"
_OP = "_op"
_TYPES: Mapping[str, type[pl.DataType]] = {KEY: pl.String, NUMBER: pl.Int64}

_TOGETHER_ROWS = 20_000
_ENDED = 0  # in place of a print: the row that said it is gone

_Events = tuple[pa.RecordBatch, NDArray[np.int64]]  # and their numbers


class Replayed:
    """What the events of a stream amount to, as far as the journal is read."""

    def __init__(self, journal: Journal, stream: str, fields: pa.Schema) -> None:
        self.stream = stream
        self.held = Held()
        self.number = 0  # of the last event read
        self.first = 1  # the first event that the journal still held when it was read first
        self._journal = journal
        self._fields = fields

    def last(self) -> int:
        """The number of the stream's newest event now."""
        extent = self._journal.extents().get(self.stream)
        return extent.last if extent is not None else 0

    def catch_up(self, turned: Callable[[], None] = lambda: None) -> None:
        """Read what the journal holds by now. Raises: JournalCorrupt."""
        if not self.number and (extent := self._journal.extents().get(self.stream)) is not None:
            self.first = extent.first
        blocks = self._journal.read(self.stream, after=self.number)
        for batch, numbers in _together((block.batch, np.arange(block.first, block.last + 1)) for block in blocks):
            turned()
            page = self._page(batch, numbers)
            rest, is_truncated = after_truncate(page)
            if is_truncated:
                self.held.truncate(int(numbers[-1]) - rest.height)
            rest = rest.filter(pl.col(KEY).is_not_null())
            found = digests(rest, self._fields.names)
            ops = rest.get_column(_OP).to_numpy()
            self.held.add(Keys.of(found, rest.get_column(NUMBER).to_numpy(), ops != Op.DELETE))
            self.number = int(numbers[-1])
        self.held.settle()

    @property
    def key_count(self) -> int:
        """Keys that are alive."""
        return int(np.count_nonzero(self.held.keys.flags & ALIVE))

    def told(self, places: Places) -> pl.DataFrame:
        """Keys, read again: `_key`, the fields' prints, `_number`; those that retention took since are left out."""
        keys = self.held.keys.take(places)
        names = [KEY, *self._fields.names, NUMBER]
        events = _together(self._events(np.sort(keys.number)))
        frames = [self._page(batch, numbers).select(names) for batch, numbers in events]
        if not frames:
            return pl.DataFrame(schema={name: _TYPES.get(name, pl.UInt64) for name in names})
        found = pl.concat(frames)
        partial = keys.number[keys.flags & WHOLE == 0]
        if not len(partial):
            return found
        is_partial = pl.col(NUMBER).is_in(pl.Series(partial).implode())
        filled = self._filled(found.filter(is_partial).get_column(KEY))
        return pl.concat([found.filter(~is_partial), filled.select(names)])

    def _page(self, events: pa.RecordBatch, numbers: NDArray[np.int64]) -> pl.DataFrame:
        return prints(events, self._fields).with_columns(
            pl.Series(_OP, events.column(_OP).to_numpy()), pl.Series(NUMBER, numbers)
        )

    def _events(self, numbers: NDArray[np.int64]) -> Iterator[_Events]:
        """The events with these numbers, which are in order; blocks without any are passed over."""
        left = numbers
        while len(left):
            for block in self._journal.read(self.stream, after=int(left[0]) - 1):
                wanted, left = np.split(left, [np.searchsorted(left, block.last, "right")])
                held = wanted[wanted >= block.first]
                if len(held):
                    yield block.batch.take(pa.array(held - block.first)), held
                if not len(held) or not len(left):
                    break
            else:
                return

    def _filled(self, keys: pl.Series) -> pl.DataFrame:
        """The rows of keys whose newest events leave a field unsaid: an event before them says it."""
        names = self._fields.names
        latest = Latest(fill=names)
        wanted = pa.array(keys.to_list(), pa.large_string())
        for block in self._journal.read(self.stream, limit=self.number - self.first + 1):
            is_one = pc.is_in(block.batch.column(KEY), wanted)
            is_truncate = pc.equal(block.batch.column(_OP), int(Op.TRUNCATE))
            chosen = np.flatnonzero(pc.or_(is_one, is_truncate).to_numpy(zero_copy_only=False))
            page = self._page(block.batch.take(pa.array(chosen)), chosen + block.first)
            rest, is_truncated = after_truncate(page)
            if is_truncated:
                latest.clear()
            # What a row was before its delete is not what the next one with its key leaves unsaid.
            is_said = pl.col(_OP) != Op.DELETE
            latest.add(rest.with_columns(pl.when(is_said).then(pl.col(names)).otherwise(_ENDED)))
        found = latest.rows()
        assert found is not None  # noqa: S101  the newest events of the keys were there just now
        return found.with_columns(pl.col(names).replace(_ENDED, None))


def _together(parts: Iterable[_Events]) -> Iterator[_Events]:
    """Small portions as one, where their columns are alike: each that is printed costs as much as thousands of rows."""
    waiting: list[_Events] = []
    count = 0  # of their rows
    for part in parts:
        count += part[0].num_rows
        if waiting and (count > _TOGETHER_ROWS or waiting[0][0].schema != part[0].schema):
            yield _joined(waiting)
            waiting, count = [], part[0].num_rows
        waiting.append(part)
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[_Events]) -> _Events:
    batches, numbers = zip(*parts, strict=True)
    return pa.concat_batches(batches), np.concatenate(numbers)
