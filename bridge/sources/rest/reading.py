"""One reading of a resource: gathered page by page as the API lists it, given out in the order that was asked for.

An API cannot be asked for an order, for a range of keys or for keys alone; so all records of a reading are in memory
before the first is given out, within a bound. Pure. Promises: records that come twice alike, as they do when a list
moves while its pages are read, are given once; a list that is seen to move the other way, or whose count does not add
up, is not given at all; where a reading goes on is a row's own key, so that it can go on after a restart, when all is
gathered anew. Pages by offset overlap by one record, which is how a move is seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bridge.extraction import scalars
from bridge.extraction.extractor import Question, Subject
from bridge.model import Column, Marks, Shape
from bridge.sources.rest.resource import Listed, Place

MOST_EMPTY = 1_000  # pages one after the other; an API that filters late may send some

Token = Mapping[str, Any]


@dataclass(slots=True)
class Reading:
    """What was gathered for one question so far."""

    subject: Subject
    shape: Shape
    began_at: datetime
    place: Place = None  # of the page to ask for next
    pages: int = 0  # gathered
    empty: int = 0  # of those the last ones that held nothing
    row_count: int = 0
    size_bytes: int = 0
    total: int | None = None  # that the last page told of
    memory: Mapping[str, Any] = field(default_factory=dict)
    after: Token | None = None  # where giving out goes on
    restarts: int = 0
    _seen: set[int] = field(default_factory=set)  # pages by what they hold, and by where they are
    _batches: list[pa.RecordBatch] = field(default_factory=list)
    _marks: dict[str, list[tuple[int, Marks]]] = field(default_factory=dict)  # with the rows before those of its page
    _joint: tuple[Any, ...] | None = None  # key of the record that the next page is to begin with
    _sorted: "_Sorted | None" = None

    @property
    def is_gathered(self) -> bool:
        """Whether rows can be given out."""
        return self._sorted is not None

    def restart(self, now: datetime) -> None:
        """Forget what was gathered."""
        self.began_at, self.place, self.pages, self.row_count, self.size_bytes = now, None, 0, 0, 0
        self.restarts += 1
        self._seen, self._batches, self._marks, self._joint, self.total = set(), [], {}, None, None
        self.empty = 0

    def take(self, listed: Listed) -> Literal["taken", "moved", "circle"]:
        """Take one page in.

        Returns: "moved" when records went to other pages since the last one was read, so that some may never be seen;
            "circle" when this page holds what another one held, the next page is one that was read before, or there
            were only empty ones for long.
        """
        if self.total is not None and listed.total is not None and self.total != listed.total:
            return "moved"
        self.total = listed.total if listed.total is not None else self.total
        columns, marks, following = listed.columns, listed.marks, listed.following
        if self._joint is not None:
            if not columns.num_rows or _key(columns, self.subject, 0) != self._joint:
                return "moved"
            rest = np.arange(1, columns.num_rows)
            marks = {name: found.take(rows=rest, row_count=columns.num_rows) for name, found in marks.items()}
            columns = columns.slice(1)
            following = following if columns.num_rows else None
        self.empty = 0 if listed.columns.num_rows else self.empty + 1
        if self.empty > MOST_EMPTY or self._is_again(columns, marks):
            return "circle"
        self._add(columns, marks)
        self._joint = None
        if isinstance(following, int) and listed.can_overlap and listed.columns.num_rows > 1:
            self._joint = _key(columns, self.subject, columns.num_rows - 1)
            following -= self._joint is not None
        self.place = following
        is_new = hash(following) not in self._seen
        self._seen.add(hash(following))
        return "taken" if is_new else "circle"

    def _is_again(self, columns: pa.RecordBatch, marks: Mapping[str, Marks]) -> bool:
        """Whether a page is like one before, record by record: its number was not heeded, or is behind the last."""
        if marks or not columns.num_rows or _key(columns, self.subject, 0) is None:  # that say too little
            return False
        page = hash(columns.serialize().to_pybytes())
        is_again = page in self._seen
        self._seen.add(page)
        return is_again

    def _add(self, columns: pa.RecordBatch, marks: Mapping[str, Marks]) -> None:
        for name, found in marks.items():
            self._marks.setdefault(name, []).append((self.row_count, found))
        self._batches.append(columns)
        self.pages += 1
        self.row_count += columns.num_rows
        texts = (raw for found in marks.values() for raw in found.raw if raw is not None)
        self.size_bytes += columns.nbytes + sum(map(len, texts))

    def finish(self, question: Question) -> bool:
        """Put what was gathered in order. Returns: whether it is as many as the API says that there are."""
        table = pa.Table.from_batches(self._batches)
        marks = {name: _joined(found) for name, found in self._marks.items()}
        rows = _distinct(table, marks)
        if question.since is None and self.total is not None and self.total != rows.size:
            return False
        self._sorted = _Sorted.of(table, marks, rows, subject=self.subject, question=question)
        self._batches, self._marks = [], {}
        return True

    def give(self, question: Question) -> tuple[pa.RecordBatch, Mapping[str, Marks], Token | None]:
        """The rows that the question asks for next, and where to go on; None: there are no more."""
        assert self._sorted is not None  # noqa: S101  gathered before
        table, start, end, following = self._sorted.cut(self.after, question.limit)
        self.after = following
        batch = table.slice(start, end - start).combine_chunks().to_batches()
        columns = batch[0] if batch else pa.RecordBatch.from_pylist([], schema=table.schema)
        rows = np.arange(start, end)
        marks = {name: found.take(rows, table.num_rows) for name, found in self._sorted.marks.items()}
        return columns, {name: found for name, found in marks.items() if found.rows.size}, following


@dataclass(frozen=True, slots=True)
class _Sorted:
    """All rows in order: those with a whole key, then the others."""

    table: pa.Table
    marks: Mapping[str, Marks]
    keyed: int  # rows with a whole key
    order: tuple[str, ...]
    is_range: bool

    @classmethod
    def of(
        cls,
        table: pa.Table,
        marks: Mapping[str, Marks],
        rows: NDArray[np.int64],
        *,
        subject: Subject,
        question: Question,
    ) -> "_Sorted":
        order = order_of(subject, question)
        chosen = table.take(pa.array(rows))
        has_key = _all_valid(chosen, subject.key)
        keep = pc.and_(has_key, _wanted(chosen, subject, question))
        keyed = np.flatnonzero(keep.to_numpy(zero_copy_only=False))
        part = chosen.take(pa.array(keyed)).select(list(order))
        index = pc.sort_indices(part, sort_keys=[(name, "ascending") for name in order]).to_numpy()
        is_range = _is_range(question)
        loose = np.flatnonzero(~has_key.to_numpy(zero_copy_only=False))
        loose = loose[:0] if is_range or question.is_without_cursor else loose
        final = rows[np.concatenate([keyed[index], loose])]
        names = shown(subject, question, table.schema.names)
        kept = {name: found.take(final, table.num_rows) for name, found in marks.items() if name in names}
        return cls(table.take(pa.array(final)).select(names), kept, keyed.size, order, is_range)

    def cut(self, after: Token | None, limit: int) -> tuple[pa.Table, int, int, Token | None]:
        """The rows behind a place: from, to, and the place behind them."""
        if after is not None and after.get("loose"):
            return self.table, self.keyed, self.table.num_rows, None
        start = 0 if after is None else self._behind(scalars.unpack(after["row"]))
        if start + limit >= self.keyed:
            return self.table, start, self.keyed, {"loose": True} if self.table.num_rows > self.keyed else None
        last = [self.table.column(name)[start + limit - 1] for name in self.order]
        end = self._behind(last)  # no page ends between rows of one key
        row: Token = {"row": scalars.pack(last)}
        return self.table, start, end, row if end < self.table.num_rows else None

    def _behind(self, values: Sequence[pa.Scalar]) -> int:
        """How many rows are not beyond these values."""
        part = self.table.slice(0, self.keyed)
        return self.keyed - int(pc.sum(_compared(part, self.order, values)).as_py() or 0)


def order_of(subject: Subject, question: Question) -> tuple[str, ...]:
    """The columns that a reading goes by."""
    if subject.cursor is None or not is_by_cursor(subject, question):
        return subject.key
    return (subject.cursor, *(name for name in subject.key if name != subject.cursor))


def is_by_cursor(subject: Subject, question: Question) -> bool:
    """Whether a reading goes by the cursor: whole rows of a stream that has one, and no range of keys."""
    is_plain = question.want == "rows" and not question.is_by_key and not question.is_without_cursor
    return subject.cursor is not None and is_plain and not _is_range(question)


def _is_range(question: Question) -> bool:
    """Whether rows are asked for by their keys."""
    return any(part is not None for part in (question.after_key, question.to_key, question.keys))


def shown(subject: Subject, question: Question, names: Sequence[str]) -> list[str]:
    """The columns of the answer."""
    keys = {*subject.key, *([subject.cursor] if subject.cursor else [])}
    return [name for name in names if question.want == "rows" or name in keys]


def shape_of(shape: Shape, names: Sequence[str]) -> Shape:
    """The shape of these columns."""
    columns: list[Column] = [column for column in shape.columns if column.name in names]
    return Shape(shape.table, tuple(columns))


def _wanted(table: pa.Table, subject: Subject, question: Question) -> pa.ChunkedArray:
    """Which rows the question asks for, by cursor and key."""
    keep = _constant(table, value=True)
    if subject.cursor is not None and question.is_without_cursor:
        keep = pc.is_null(table.column(subject.cursor))
    elif subject.cursor is not None and is_by_cursor(subject, question):
        cursor = table.column(subject.cursor)
        keep = pc.is_valid(cursor)
        if question.since is not None:
            keep = pc.and_(keep, pc.greater_equal(cursor, question.since).fill_null(fill_value=False))
    if question.after_key is not None:
        keep = pc.and_(keep, _compared(table, subject.key, question.after_key))
    if question.keys is not None:
        keep = pc.and_(keep, _among(table, question.keys))
    if question.to_key is not None:
        keep = pc.and_(keep, pc.invert(_compared(table, subject.key, question.to_key)))
    return keep


def _among(table: pa.Table, keys: pa.RecordBatch) -> pa.ChunkedArray:
    names = keys.schema.names
    wanted = pl.DataFrame(pa.Table.from_batches([keys])).unique().with_columns(_found=pl.lit(value=True))
    marked = pl.DataFrame(table.select(names)).join(wanted, on=names, how="left", maintain_order="left")
    return pa.chunked_array([marked.get_column("_found").fill_null(value=False).to_arrow()])


def _compared(table: pa.Table, names: Sequence[str], values: Sequence[pa.Scalar]) -> pa.ChunkedArray:
    """Which rows are beyond the values, the first column counting most; never where one is null."""
    found = _constant(table, value=False)
    for name, value in reversed(list(zip(names, values, strict=True))):
        column = table.column(name)
        found = pc.or_(pc.greater(column, value), pc.and_(pc.equal(column, value), found)).fill_null(fill_value=False)
    return found


def _key(columns: pa.RecordBatch, subject: Subject, row: int) -> tuple[Any, ...] | None:
    """The key of a row; None where it is not whole."""
    found = tuple(columns.column(name)[row].as_py() for name in subject.key)
    return None if None in found else found


def _all_valid(table: pa.Table, names: Sequence[str]) -> pa.ChunkedArray:
    found = _constant(table, value=True)
    for name in names:
        found = pc.and_(found, pc.is_valid(table.column(name)))
    return found


def _constant(table: pa.Table, *, value: bool) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(np.full(table.num_rows, value))])


def _distinct(table: pa.Table, marks: Mapping[str, Marks]) -> NDArray[np.int64]:
    """The rows, of those that are alike in every column the first; a row with a marked cell is like no other."""
    frame = pl.DataFrame(table).with_row_index("_at")
    marked = sorted({int(row) for found in marks.values() for row in found.rows})
    alone = pl.when(pl.col("_at").is_in(marked)).then(pl.col("_at")).alias("_alone")
    kept = frame.with_columns(alone).unique([*table.schema.names, "_alone"], keep="first", maintain_order=True)
    return kept.get_column("_at").to_numpy().astype(np.int64)


def _joined(found: Sequence[tuple[int, Marks]]) -> Marks:
    return Marks(
        np.concatenate([marks.rows + before for before, marks in found]),
        np.concatenate([marks.kinds for _, marks in found]),
        tuple(raw for _, marks in found for raw in marks.raw),
    )
