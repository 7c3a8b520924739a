"""The values that move through the bridge."""

import numpy as np
import pytest

from bridge.model import Mark, Marks, Op, Position, RawBatch, event_id
from tests.shelf import gap, raw

C, D = Op.CREATE, Op.DELETE


@pytest.mark.parametrize(
    ("op", "moved", "expected"),
    [(C, False, "item:2:1F:3"), (D, True, "item:2:1F:3d"), (C, True, "item:2:1F:3c")],
    ids=["change", "old key", "new key"],
)
def test_the_id_of_a_log_change_names_its_place(op: Op, *, moved: bool, expected: str) -> None:
    assert event_id("item", 2, op=op, position=31, tx_index=3, moved=moved, snapshot=None, key="7") == expected


def test_the_id_of_a_re_read_row_names_re_read_and_key() -> None:
    """And not where it was woven in, which differs from run to run."""
    ids = {event_id("item", 1, op=Op.READ, position=at, tx_index=at, moved=False, snapshot=4, key="7") for at in (1, 9)}
    assert ids == {"item:s4:7"}


def test_positions_are_ordered_by_epoch_first() -> None:
    assert Position(1, (900, 5)) < Position(2, (1, 0)) < Position(2, (1, 1)) < Position(2, (2, 0))


def test_every_op_has_its_word() -> None:
    assert [op.word for op in Op] == ["created", "updated", "deleted", "read", "truncated", "gap"]


def with_marks(batch: RawBatch, rows: list[int]) -> RawBatch:
    kinds = np.array([Mark.UNREADABLE] * len(rows), np.uint8)
    marks = {"name": Marks(np.array(rows, np.int64), kinds, tuple(b"%d" % row for row in rows))}
    return RawBatch(batch.stream, batch.shape, batch.changes, batch.columns, marks)


def test_rows_are_taken_with_their_marks_in_the_order_asked_for() -> None:
    batch = with_marks(raw((C, 1, 1), (C, 2, 2), (C, 3, 3), (C, 4, 4)), [1, 3])
    taken = batch.take(np.array([3, 0, 1], np.int64))
    assert taken.columns.column("id").to_pylist() == [4, 1, 2]
    assert taken.changes.column("_tx_index").to_pylist() == [3, 0, 1]
    assert taken.marks["name"].rows.tolist() == [0, 2]
    assert taken.marks["name"].raw == (b"3", b"1")


def test_marks_of_rows_left_out_are_gone() -> None:
    batch = with_marks(raw((C, 1, 1), (C, 2, 2)), [1])
    assert batch.take(np.array([0], np.int64)).marks == {}


def test_rows_without_columns_can_be_taken() -> None:
    assert gap(at=3).take(np.array([0], np.int64)).row_count == 1
