"""Which rows of a chunk are older than what was streamed."""

import numpy as np
import pyarrow as pa
import pytest

from bridge.model import CHANGE_COLUMNS, Op, RawBatch, Shape
from bridge.sources.postgres.touched import Touched
from bridge.sources.postgres.visibility import Visibility


def streamed(*changes: tuple[int, int | None, Op], stream: str = "t") -> RawBatch:
    """Changes as (xid, key, op)."""
    nothing = {"_commit_at": None, "_position": 1, "_tx_index": 0, "_moved": False, "_snapshot": None, "_note": None}
    rows = [{"_op": int(op), "_tx": xid, **nothing} for xid, _, op in changes]
    keys = pa.RecordBatch.from_pydict({"id": pa.array([key for _, key, _ in changes], pa.int64())})
    return RawBatch(stream, Shape("s.t", ()), pa.RecordBatch.from_pylist(rows, schema=CHANGE_COLUMNS), keys)


def stale(touched: Touched, visibility: str, *keys: int) -> list[bool]:
    columns = pa.RecordBatch.from_pydict({"id": pa.array(keys, pa.int64())})
    return list(touched.watch("t").stale_rows(columns, Visibility.parse(visibility)).tolist())


def test_a_row_is_stale_when_a_transaction_it_may_not_include_touched_its_key() -> None:
    touched = Touched()
    touched.watch("t")
    touched.record(streamed((10, 1, Op.UPDATE), (11, 2, Op.DELETE), (12, 3, Op.CREATE)), ["id"])
    assert stale(touched, "11:12:11", 1, 2, 3, 4) == [False, True, True, False]


def test_what_a_chunk_has_seen_is_forgotten_and_the_rest_is_not() -> None:
    touched = Touched()
    watch = touched.watch("t")
    touched.record(streamed((10, 1, Op.UPDATE), (12, 1, Op.UPDATE), (12, 2, Op.UPDATE)), ["id"])
    watch.forget_seen(Visibility.parse("11:11:"))
    assert [xids.tolist() for xids, _ in watch.touched] == [[12, 12]]
    assert stale(touched, "13:13:", 1, 2) == [False, False]
    assert watch.touched == []


def test_all_rows_are_stale_behind_a_truncate_that_was_not_seen() -> None:
    touched = Touched()
    touched.watch("t")
    touched.record(streamed((10, None, Op.TRUNCATE)), ["id"])
    assert stale(touched, "10:10:", 1, 2) == [True, True]
    assert stale(touched, "11:11:", 1, 2) == [False, False]


def test_a_watch_is_blind_until_a_snapshot_includes_what_was_streamed_before_it() -> None:
    """Of any stream, since its keys were not remembered."""
    touched = Touched()
    touched.record(streamed((10, 1, Op.UPDATE), stream="other"), ["id"])
    watch = touched.watch("t")
    assert watch.is_blind(Visibility.parse("9:10:"))
    assert not watch.is_blind(Visibility.parse("11:11:"))
    assert not watch.is_blind(Visibility.parse("9:10:"))  # asked once, answered for good
    assert watch.before.dtype == np.uint64


def test_the_last_transactions_are_remembered_in_memory_that_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.sources.postgres.touched._REMEMBERED_TRANSACTIONS", 5)
    touched = Touched()
    size_bytes = touched._recent.nbytes
    touched.record(streamed((1, 1, Op.UPDATE), (2, 2, Op.UPDATE)), ["id"])
    assert sorted(touched.watch("a").before.tolist()) == [1, 2]
    for xid in range(3, 14):
        touched.record(streamed((xid, 1, Op.UPDATE)), ["id"])
    assert sorted(touched.watch("b").before.tolist()) == [9, 10, 11, 12, 13]
    touched.record(streamed(*((xid, 1, Op.UPDATE) for xid in range(20, 29))), ["id"])
    assert sorted(touched.watch("c").before.tolist()) == [24, 25, 26, 27, 28]
    assert touched._recent.nbytes == size_bytes
