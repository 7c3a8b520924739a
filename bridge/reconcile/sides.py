"""The sides of a comparison as prints: the journal's events, and rows of a legacy system under the same contract."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from bridge.contract.compiled import CompiledContract, Drift, compile_contract, schema_of
from bridge.contract.document import ContractDocument
from bridge.errors import SourceRefused, SourceUnavailable
from bridge.extraction.extractor import Extractor, Page, Question
from bridge.latest import KEY, Latest, after_truncate
from bridge.model import CHANGE_COLUMNS, META, Op, RawBatch
from bridge.ports import Journal
from bridge.reconcile.prints import prints

NUMBER = "_number"
_OP = "_op"


def fields_of(document: ContractDocument) -> pa.Schema:
    """The contract's fields, which are what is compared."""
    return pa.schema([each for each in schema_of(document) if each.name not in META.names])


class Replayed:
    """What the events of a stream amount to: the prints of each key's row, as far as the journal is read."""

    def __init__(self, journal: Journal, stream: str, fields: pa.Schema) -> None:
        self._journal = journal
        self.stream = stream
        self._fields = fields
        self._latest = Latest(fill=fields.names)
        self.number = 0  # of the last event read
        self.first = 1  # the first event that the journal still held when it was read first

    def last(self) -> int:
        """The number of the stream's newest event now."""
        extent = self._journal.extents().get(self.stream)
        return extent.last if extent is not None else 0

    def catch_up(self, turned: Callable[[], None] = lambda: None) -> None:
        """Read what the journal holds by now. Raises: JournalCorrupt."""
        for block in self._journal.read(self.stream, after=self.number):
            turned()
            if not self.number:
                self.first = block.first
            numbers = np.arange(block.first, block.last + 1)
            page = prints(block.batch, self._fields).with_columns(
                pl.Series(_OP, block.batch.column(_OP).to_numpy()), pl.Series(NUMBER, numbers)
            )
            rest, is_truncated = after_truncate(page)
            if is_truncated:
                self._latest.clear()
            self._latest.add(rest.filter(pl.col(_OP) != Op.GAP))
            self.number = block.last

    def rows(self) -> pl.DataFrame:
        """One row a key that is alive: `_key`, the fields' prints, `_number` of its newest event."""
        found = self._latest.rows()
        if found is None:
            schema = {KEY: pl.String, **dict.fromkeys(self._fields.names, pl.UInt64), NUMBER: pl.Int64}
            return pl.DataFrame(schema=schema)
        return found.filter(pl.col(_OP) != Op.DELETE).drop(_OP)

    def touched(self, after: int) -> pl.DataFrame:
        """Keys, deleted ones too, with an event above a number: `_key`."""
        found = self._latest.rows()
        return (
            pl.DataFrame(schema={KEY: pl.String}) if found is None else found.filter(pl.col(NUMBER) > after).select(KEY)
        )


@dataclass(slots=True)
class Looked:
    """What a look at the legacy side found."""

    prints: list[pl.DataFrame] = field(default_factory=list)  # `_key` and fields
    keys: list[pa.RecordBatch] = field(default_factory=list)  # the legacy key columns of the same rows
    events: list[pa.RecordBatch] = field(default_factory=list)  # the rows themselves; only of a look at some keys
    rejected: list[str | None] = field(default_factory=list)  # keys of rows that the contract rejects
    rows: int = 0

    def frame(self, fields: pa.Schema) -> pl.DataFrame:
        """One row a key, with `_row`: its number among `keys`; of rows with one key the last."""
        if not self.prints:
            return pl.DataFrame(schema={KEY: pl.String, **dict.fromkeys(fields.names, pl.UInt64), "_row": pl.UInt32})
        found = pl.concat(self.prints).with_row_index("_row")
        return found.filter(pl.col(KEY).is_not_null()).unique(KEY, keep="last", maintain_order=True)

    def legacy_keys(self, rows: NDArray[np.int64]) -> pa.RecordBatch:
        """The key columns of rows, for a question."""
        return pa.Table.from_batches(self.keys).combine_chunks().take(pa.array(rows)).to_batches()[0]


class Side(Protocol):
    """What the journal's side is compared with."""

    fields: pa.Schema  # that are compared

    def look(self, keys: pa.RecordBatch | None = None, *, turned: Callable[[int], None] = lambda _rows: None) -> Looked:
        """Read all rows, or those of some of its own keys.

        Args:
            keys: as `Looked.keys` has them; None: every row.
            turned: told the number of rows so far, now and then.
        Raises: SourceUnavailable, SourceRefused, JournalCorrupt.
        """


class Streamed:
    """Another stream of the journal, in the fields that both have; a `Side`.

    Args:
        other: not read yet.
        fields: that both have.
        arrives: waits until the journal holds all that the other stream's system holds now; False: not in time.
    """

    def __init__(self, other: Replayed, fields: pa.Schema, *, arrives: Callable[[], bool]) -> None:
        self.fields = fields
        self._other = other
        self._arrives = arrives

    def look(self, keys: pa.RecordBatch | None = None, *, turned: Callable[[int], None] = lambda _rows: None) -> Looked:
        """See `Side`. Raises: SourceUnavailable when the other stream does not come up to date in time."""
        if not self._arrives():
            raise SourceUnavailable(f"stream {self._other.stream} does not come up to date", hint="Is it read now?")
        self._other.catch_up(lambda: turned(self._other.number))
        rows = self._other.rows().drop(NUMBER)
        if keys is not None:
            rows = rows.filter(pl.col(KEY).is_in(pl.Series(keys.column(0).to_pylist(), dtype=pl.String).implode()))
        own = rows.select(KEY).to_arrow().combine_chunks().to_batches()
        return Looked([rows], own or [pa.RecordBatch.from_pylist([], schema=pa.schema([(KEY, pa.large_string())]))],
                      rows=rows.height)  # fmt: skip


class Pace(Protocol):
    """What a reading may cost; it waits where it must."""

    def before(self, rows: int) -> int:
        """Wait until a page may be read; how many rows it may have, `rows` at most."""

    def after(self, page: Page) -> None:
        """A page was read."""


class Legacy:
    """Rows of a legacy system, held to the stream's contract and printed; a `Side`.

    Args:
        extractor: open, and with the stream among its subjects.
        stream: its name.
        document: the contract.
        pace: the system's budget.
    """

    def __init__(self, extractor: Extractor, stream: str, document: ContractDocument, *, pace: Pace) -> None:
        self._extractor = extractor
        self._stream = stream
        self._document = document
        self.fields = fields_of(document)
        self._pace = pace
        self._compiled: dict[Any, CompiledContract] = {}

    def look(self, keys: pa.RecordBatch | None = None, *, turned: Callable[[int], None] = lambda _rows: None) -> Looked:
        """See `Side`. Raises: SourceRefused where the rows do not fit the contract."""
        found = Looked()
        for page in self._pages(keys):
            self._take(found, page, keeps=keys is not None)
            turned(found.rows)
        return found

    def _pages(self, keys: pa.RecordBatch | None) -> Iterator[Page]:
        subject = self._extractor.subjects[self._stream]
        question = Question(self._stream, limit=subject.page_rows, keys=keys)
        while True:
            limit = self._pace.before(subject.page_rows)
            page = self._extractor.page(replace(question, limit=limit))
            self._pace.after(page)
            yield page
            if page.resume is None:
                return
            question = replace(question, resume=page.resume)

    def _take(self, found: Looked, page: Page, *, keeps: bool) -> None:
        count = page.columns.num_rows
        if not count:
            return
        compiled = self._contract(page)
        verdict = compiled.check(RawBatch(self._stream, page.shape, _reads(count), page.columns, page.marks))
        found.rows += count
        found.prints.append(prints(verdict.events, self.fields))
        subject = self._extractor.subjects[self._stream]
        found.keys.append(page.columns.select(list(subject.key)).take(pa.array(verdict.rows)))
        if keeps:
            found.events.append(verdict.events)
        if verdict.rejected is not None:
            found.rejected += verdict.rejected.keys

    def _contract(self, page: Page) -> CompiledContract:
        compiled = self._compiled.get(page.shape)
        if compiled is None:
            made = compile_contract(self._document, self._stream, page.shape)
            if isinstance(made, Drift):
                raise SourceRefused(
                    f"{page.shape.table} does not fit the contract: {'; '.join(made.problems)}",
                    hint="Compare with a table or view that has the columns the contract reads.",
                )
            compiled = self._compiled[page.shape] = made
        return compiled


def _reads(count: int) -> pa.RecordBatch:
    """The change columns of rows that were read."""
    given = {"_op": np.full(count, Op.READ, np.uint8), "_position": np.zeros(count, np.uint64),
             "_tx_index": np.arange(count, dtype=np.uint32), "_moved": np.zeros(count, np.bool_)}  # fmt: skip
    arrays = [
        pa.array(given[each.name]) if each.name in given else pa.nulls(count, each.type) for each in CHANGE_COLUMNS
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=CHANGE_COLUMNS)
