"""A re-read gives long values that the change log leaves out, also of rows that change while it runs."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bridge.model import CHANGE_COLUMNS, Column, Mark, Marks, Op, RawBatch, Shape
from bridge.postgres.copying import Run
from bridge.postgres.types import builtin
from bridge.sources.postgres.snapshot import Chunk, merge
from bridge.sources.postgres.tables import Table
from bridge.sources.postgres.touched import Watch
from bridge.sources.postgres.visibility import Visibility

NAMES = ("id", "qty", "note")
TYPES = tuple(found for oid in (20, 23, 25) if (found := builtin(oid, -1)) is not None)
SHAPE = Shape("s.t", tuple(Column(name, of.name, of.arrow) for name, of in zip(NAMES, TYPES, strict=True)))
BEFORE = Visibility.parse("100:100:")  # sees no transaction from 100 on


def changes(ops: list[Op], xids: list[int]) -> pa.RecordBatch:
    """What a log says of its changes."""
    values: dict[str, Any] = {"_op": ops, "_tx": xids, "_position": xids, "_tx_index": [0] * len(ops)}
    values["_moved"] = [False] * len(ops)
    arrays = [pa.array(values.get(field.name, [None] * len(ops)), field.type) for field in CHANGE_COLUMNS]
    return pa.RecordBatch.from_arrays(arrays, schema=CHANGE_COLUMNS)


def copied(*given: tuple[int, int | None, str | None]) -> Run:
    """Rows in COPY's text format."""
    sent = ["\t".join(map(str, row)).encode() + b"\n" for row in given]
    return Run.join(sent or [b""], [len(row) for row in sent])


def rows(*given: tuple[int, int | None, str | None]) -> pa.RecordBatch:
    """Legacy columns."""
    return pa.RecordBatch.from_arrays(
        [pa.array([row[i] for row in given], column.arrow) for i, column in enumerate(SHAPE.columns)], list(NAMES)
    )


def streamed(op: Op, row: tuple[int, int | None, str | None], *, xid: int, note_left_out: bool) -> RawBatch:
    """One change from the log."""
    unchanged = Marks(np.array([0]), np.array([Mark.UNCHANGED], np.uint8), (None,))
    return RawBatch("t", SHAPE, changes([op], [xid]), rows(row), {"note": unchanged} if note_left_out else {})


def read_events(watch: Watch, *given: tuple[int, int | None, str | None]) -> list[tuple[Any, ...]]:
    """What a chunk with these rows becomes."""
    chunk = Chunk(Table("t", SHAPE, TYPES, (0,)), 1, BEFORE, 500, 0, copied(*given), len(given), ("9",), is_final=True)
    batch = merge(chunk, watch)
    assert not batch.marks
    return list(zip(*(column.to_pylist() for column in batch.columns.columns), strict=True))


@pytest.fixture
def watch() -> Watch:
    """A watch that begins now."""
    return Watch(np.empty(0, np.uint64))


def record(watch: Watch, *batches: RawBatch) -> None:
    """Stream batches."""
    for batch in batches:
        watch.record(batch, batch.changes.column("_tx").to_numpy(), ("id",))


def test_a_value_no_change_has_follows_the_newest_change(watch: Watch) -> None:
    """The row as it now is: the change's columns, and the long value as it was read."""
    record(
        watch,
        streamed(Op.UPDATE, (1, 11, None), xid=101, note_left_out=True),
        streamed(Op.UPDATE, (1, 12, None), xid=102, note_left_out=True),
    )
    assert read_events(watch, (1, 10, "long"), (2, 20, "other")) == [(2, 20, "other"), (1, 12, "long")]


def test_a_value_some_change_has_is_not_read_again(watch: Watch) -> None:
    """The chunk's value is older than the one that was streamed."""
    record(
        watch,
        streamed(Op.UPDATE, (1, 11, "newer"), xid=101, note_left_out=False),
        streamed(Op.UPDATE, (1, 12, None), xid=102, note_left_out=True),
    )
    assert read_events(watch, (1, 10, "long")) == []


def test_a_row_deleted_since_is_not_read_again(watch: Watch) -> None:
    """The newest change says it is gone."""
    record(
        watch,
        streamed(Op.UPDATE, (1, 11, None), xid=101, note_left_out=True),
        streamed(Op.DELETE, (1, None, None), xid=102, note_left_out=False),
    )
    assert read_events(watch, (1, 10, "long")) == []


def test_a_whole_newer_row_is_not_read_again(watch: Watch) -> None:
    """The newest change has everything."""
    record(
        watch,
        streamed(Op.UPDATE, (1, 11, None), xid=101, note_left_out=True),
        streamed(Op.UPDATE, (1, 12, "newer"), xid=102, note_left_out=False),
    )
    assert read_events(watch, (1, 10, "long")) == []


def test_a_change_the_chunk_includes_is_forgotten(watch: Watch) -> None:
    """Its row is not stale, and nothing is added to it."""
    record(watch, streamed(Op.UPDATE, (1, 10, None), xid=99, note_left_out=True))
    assert read_events(watch, (1, 10, "long")) == [(1, 10, "long")]
