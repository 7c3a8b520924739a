"""The other side of a comparison as prints: rows of a legacy system under the stream's contract, or another stream."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import polars as pl
import pyarrow as pa

from bridge.contract.compiled import CompiledContract, Drift, compile_contract, schema_of
from bridge.contract.document import ContractDocument
from bridge.errors import SourceRefused, SourceUnavailable
from bridge.extraction.ahead import Ahead, Beside
from bridge.extraction.extractor import Extractor, Page, Question
from bridge.latest import KEY
from bridge.model import CHANGE_COLUMNS, META, Op, RawBatch
from bridge.reconcile.held import ALIVE, NOWHERE
from bridge.reconcile.prints import key_hashes, prints
from bridge.reconcile.replayed import NUMBER, Replayed

_STREAMED_ROWS = 1_000_000  # of a stream that are read again at once


def fields_of(document: ContractDocument) -> pa.Schema:
    """The contract's fields, which are what is compared."""
    return pa.schema([each for each in schema_of(document) if each.name not in META.names])


@dataclass(frozen=True, slots=True)
class Seen:
    """Some rows of the other side."""

    row_count: int  # those that the contract rejects counted
    prints: pl.DataFrame  # `_key`, never null, and the fields
    keys: pa.RecordBatch  # the side's own key columns of the same rows
    events: pa.RecordBatch | None = None  # the rows themselves, where they were asked for by key
    rejected: tuple[str | None, ...] = ()  # keys of rows that the contract rejects


class Side(Protocol):
    """What the journal's side is compared with."""

    fields: pa.Schema  # that are compared

    @property
    def is_whole(self) -> bool:
        """Whether a key that no look showed is not there: it can have been neither forgotten nor unreadable."""

    def look(self, keys: pa.RecordBatch | None = None) -> Generator[Seen]:
        """Read all rows, or those of some of its own keys.

        Args:
            keys: as `Seen.keys` has them; None: every row.
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

    @property
    def is_whole(self) -> bool:
        """See `Side`: retention took nothing."""
        return self._other.first <= 1

    def look(self, keys: pa.RecordBatch | None = None) -> Generator[Seen]:
        """See `Side`. Raises: SourceUnavailable when the other stream does not come up to date in time."""
        if not self._arrives():
            raise SourceUnavailable(f"stream {self._other.stream} does not come up to date", hint="Is it read now?")
        self._other.catch_up()
        held = self._other.held.keys
        if keys is None:
            places = np.arange(len(held))
        else:
            places = self._other.held.find(*key_hashes(pl.Series(keys.column(0).to_pylist(), dtype=pl.String)))
            places = places[places != NOWHERE]
        places = places[held.flags[places] & ALIVE != 0]
        places = places[np.argsort(held.number[places])]  # so that the journal is gone through once
        for first in range(0, len(places), _STREAMED_ROWS):
            rows = self._other.told(places[first : first + _STREAMED_ROWS]).drop(NUMBER)
            own = pa.RecordBatch.from_arrays([rows.get_column(KEY).to_arrow().cast(pa.large_string())], [KEY])
            yield Seen(rows.height, rows, own)


class Pace(Protocol):
    """What a reading may cost; it waits where it must."""

    def before(self, rows: int) -> int:
        """Wait until a page may be read; how many rows it may have, `rows` at most.

        Raises: SourceUnavailable after `end`.
        """

    def after(self, page: Page) -> None:
        """A page was read."""

    def rest(self, seconds: float) -> None:
        """The system wants no page for so long."""

    def end(self) -> None:
        """No page is read any more; callable from any thread."""


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
        self._is_whole = True

    @property
    def is_whole(self) -> bool:
        """See `Side`: each row had a key that could be read, or the system may have rows without."""
        return self._is_whole

    def look(self, keys: pa.RecordBatch | None = None) -> Generator[Seen]:
        """See `Side`. Raises: SourceRefused where the rows do not fit the contract."""
        for page in self._pages(keys):
            if page.columns.num_rows:
                yield self._seen(page, keeps=keys is not None)

    def _pages(self, keys: pa.RecordBatch | None) -> Iterator[Page]:
        """One page is read, and waited for where the budget says so, while the one before it is looked at."""
        limit = self._extractor.subjects[self._stream].page_rows
        beside = Beside(f"compare-{self._stream}")
        asked: Ahead | None = self._asked(Question(self._stream, limit=limit, keys=keys), beside)
        try:
            while asked is not None:
                page, question, asked = asked.wait(), asked.question, None
                if page.resume is not None:
                    asked = self._asked(replace(question, resume=page.resume), beside)
                yield page
        except BaseException:  # whoever gives up waits for neither the budget nor the system
            self._pace.end()
            self._extractor.cancel()
            raise
        finally:
            beside.end(waits=False)

    def _asked(self, question: Question, beside: Beside) -> Ahead:
        asked = Ahead(question, self._page)
        if self._extractor.asks_ahead:
            beside.do(asked.run)
        else:
            asked.run()
        return asked

    def _page(self, question: Question) -> Page:
        while True:
            asked = replace(question, limit=self._pace.before(question.limit))
            try:
                page = self._extractor.page(asked)
            except SourceUnavailable as error:
                if error.retry_after_s is None:
                    raise
                self._pace.rest(error.retry_after_s)
            else:
                self._pace.after(page)
                return page

    def _seen(self, page: Page, *, keeps: bool) -> Seen:
        count = page.columns.num_rows
        verdict = self._contract(page).check(
            RawBatch(self._stream, page.shape, _reads(count), page.columns, page.marks)
        )
        events, rows = verdict.events, verdict.rows
        is_keyed = events.column(KEY).is_valid()
        if events.column(KEY).null_count:
            events, rows = events.filter(is_keyed), rows[is_keyed.to_numpy(zero_copy_only=False)]
        subject = self._extractor.subjects[self._stream]
        own = page.columns.select(list(subject.key))
        if subject.names_all and any(column.null_count for column in own.columns):
            self._is_whole = False
        return Seen(
            row_count=count,
            prints=prints(events, self.fields),
            keys=own if len(rows) == count else own.take(pa.array(rows)),
            events=events if keeps else None,
            rejected=verdict.rejected.keys if verdict.rejected is not None else (),
        )

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
