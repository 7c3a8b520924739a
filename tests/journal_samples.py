"""Batches and commits for tests of the journal: small, varied, the same for the same arguments."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa

from bridge.model import (
    CHANGE_COLUMNS,
    META,
    Block,
    Breach,
    Column,
    Commit,
    EventBatch,
    Mark,
    Marks,
    NewLetters,
    Op,
    Position,
    RawBatch,
    Rejected,
    Shape,
)

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
FIELDS = [
    pa.field("order_no", pa.large_string()),
    pa.field("amount", pa.decimal128(12, 2)),
    pa.field("due", pa.date32()),
]
SHAPE = Shape(
    "sales.oeordh",
    (
        Column("ordno", "character(8)", pa.large_string()),
        Column("amt", "numeric(12,2)", pa.decimal128(12, 2)),
        Column("note", "text", pa.large_string()),
    ),
)


def changes(count: int, *, start: int = 0) -> pa.RecordBatch:
    """The columns every change has; row i has position start + i."""
    rows = range(start, start + count)
    return pa.record_batch(
        [
            pa.array([Op.CREATE] * count, pa.uint8()),
            pa.array([START + timedelta(seconds=row) for row in rows], pa.timestamp("us", "UTC")),
            pa.array(rows, pa.uint64()),
            pa.array(rows, pa.uint64()),
            pa.array([0] * count, pa.uint32()),
            pa.array([False] * count, pa.bool_()),
            pa.nulls(count, pa.uint32()),
            pa.nulls(count, pa.large_string()),
        ],
        schema=CHANGE_COLUMNS,
    )


def events(
    stream: str = "orders", count: int = 3, *, start: int = 0, epoch: int = 1, contract: str = "1.0.0"
) -> EventBatch:
    """Accepted events with order numbers start, start + 1, ..."""
    rows = range(start, start + count)
    keys = pa.array([f"N{row}" for row in rows], pa.large_string())
    amounts = pa.array([Decimal(row) / 4 for row in rows], pa.decimal128(12, 2))
    due = pa.array([row % 9_000 for row in rows], pa.int32()).cast(pa.date32())
    marks = pa.nulls(count, META.field("_marks").type)
    columns = [*changes(count, start=start).columns, keys, marks, keys, amounts, due]
    return EventBatch(stream, epoch, contract, pa.record_batch(columns, schema=pa.schema([*META, *FIELDS])))


def raw(stream: str = "orders", count: int = 3, *, start: int = 0) -> RawBatch:
    """Raw rows; the last one's amount is NaN and its note unchanged."""
    rows = range(start, start + count)
    columns = pa.record_batch(
        [
            pa.array([f"{row:8}" for row in rows], pa.large_string()),
            pa.array([*(Decimal(row) for row in rows[:-1]), None], pa.decimal128(12, 2)),
            pa.array([*("free text" for _ in rows[:-1]), None], pa.large_string()),
        ],
        names=SHAPE.names(),
    )
    last = np.array([count - 1], np.int64)
    marks = {
        "amt": Marks(last, np.array([Mark.NAN], np.uint8), (b"NaN",)),
        "note": Marks(last, np.array([Mark.UNCHANGED], np.uint8), (None,)),
    }
    return RawBatch(stream, SHAPE, changes(count, start=start), columns, marks)


def letters(stream: str = "orders", count: int = 2, *, start: int = 0) -> NewLetters:
    """Rejected rows with a breach each; the first has no key."""
    keys = (None, *(f"N{row}" for row in range(start + 1, start + count)))
    breaches = tuple((Breach("pattern", "order_no", "8 digits"), Breach("sum", None, "lines add up")) for _ in keys)
    return NewLetters(stream, 1, "1.0.0", Rejected(raw(stream, count, start=start), keys, breaches))


def commit(*batches: EventBatch, at: int = 0, epoch: int = 1) -> Commit:
    """A commit of one source that stands at `at` after it."""
    return Commit(source="erp", position=Position(epoch, (at, 0)), state={"page": at}, events=batches)


def order_numbers(blocks: Iterable[Block]) -> list[str]:
    """The events of blocks by order number, in order."""
    return [number for block in blocks for number in block.batch.column("order_no").to_pylist()]


def same_raw(left: RawBatch, right: RawBatch) -> bool:
    """Whether two raw batches hold the same, value by value."""
    marks = left.marks.keys() == right.marks.keys() and all(
        np.array_equal(mark.rows, right.marks[name].rows)
        and np.array_equal(mark.kinds, right.marks[name].kinds)
        and mark.raw == right.marks[name].raw
        for name, mark in left.marks.items()
    )
    return (
        marks
        and (left.stream, left.shape) == (right.stream, right.shape)
        and left.changes.equals(right.changes)
        and left.columns.equals(right.columns)
    )
