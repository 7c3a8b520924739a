"""Hashes of rows and keys: stable, and the same as a plain row-by-row twin says of what is equal."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from bridge.extraction import fingerprint
from bridge.model import Mark, Marks

GOLDEN_ROWS = [8277787446251118594, 1234701122649048830]
GOLDEN_KEYS = [[14131332118360853073, 2307089557100000942], [11291755851260541432, 8389620703426026897]]
X = fingerprint.salt("x")
SAMPLES = [
    pa.array([1, 2, None, -1], pa.int16()),
    pa.array([0.5, None, 1.5], pa.float64()),
    pa.array([True, False, None]),
    pa.array(["", "a", "ä", "abcdefgh", "abcdefghi", "abcdefg\0", " ", None, "x" * 500], pa.large_string()),
    pa.array([b"abc", None, b"abd"], pa.binary(3)),
    pa.array([Decimal("1.5"), None, Decimal(10) ** 40], pa.decimal256(50, 3)),
    pa.array([1, 2, None], pa.timestamp("us", "UTC")),
    pa.array([[1, 2], [2, 1], [], None, [None], [None, None]], pa.list_(pa.int32())),
    pa.array([["a", "b"], ["ab"], ["b", "a"]], pa.list_(pa.string())),
    pa.array([{"a": 1}, {"a": None}, None], pa.struct([("a", pa.int32())])),
    pa.array([(1, 2, 3), (1, 2, 4), None], pa.month_day_nano_interval()),
    pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int32())),
    pa.array(["abc", "abd", None], pa.string_view()),
]


@pytest.mark.parametrize("array", SAMPLES, ids=lambda array: str(array.type))
def test_cells_that_differ_hash_differently_wherever_they_stand(array: pa.Array) -> None:
    hashes = fingerprint.cells(array, X)
    assert len(set(hashes.tolist())) == len(array)
    assert all(hash_ != 0 for hash_, cell in zip(hashes.tolist(), array, strict=True) if cell.is_valid)
    alone = [fingerprint.cells(array.slice(at, 1), X)[0] for at in range(len(array))]
    assert hashes.tolist() == alone
    assert fingerprint.cells(pa.concat_arrays([array, array]).slice(len(array)), X).tolist() == alone


def test_texts_hash_alike_whether_they_are_gone_through_by_place_or_all_at_once() -> None:
    array = pa.array(["ab" * length for length in range(100)], pa.large_string())
    by_place = [fingerprint.cells(array.slice(at, 1), X)[0] for at in range(60)]
    at_once = fingerprint.cells(array, X)[:60]  # the longest decides
    assert at_once.tolist() == by_place


def test_hashes_stay_the_same_from_release_to_release() -> None:
    """They are stored: another function would take every row for changed."""
    batch = pa.record_batch(
        {
            "id": pa.array([1, 2], pa.int32()),
            "name": pa.array(["Müller", None]),
            "price": pa.array([Decimal("1.50"), Decimal("-2.25")], pa.decimal128(12, 2)),
            "at": pa.array([0, 1_700_000_000_000_000], pa.timestamp("us", "UTC")),
        }
    )
    assert fingerprint.rows(batch).tolist() == GOLDEN_ROWS
    assert [half.tolist() for half in fingerprint.keys([batch.column(0), batch.column(1)])] == GOLDEN_KEYS


def test_a_row_is_the_same_in_another_order_of_columns_and_with_a_new_column_of_nulls() -> None:
    batch = pa.record_batch({"a": pa.array([1, 2]), "b": pa.array(["x", "y"])})
    wider = pa.record_batch({"b": batch["b"], "c": pa.nulls(2, pa.int32()), "a": batch["a"].cast(pa.int32())})
    swapped = pa.record_batch({"b": batch["a"], "a": batch["b"]})
    assert fingerprint.rows(batch).tolist() == fingerprint.rows(wider).tolist()
    assert not (fingerprint.rows(batch) == fingerprint.rows(swapped)).any()


def test_what_is_marked_counts() -> None:
    batch = pa.record_batch({"a": pa.array([1, None, None], pa.float64())})

    def hashes(kind: Mark, raw: bytes | None) -> list[int]:
        marks = {"a": Marks(np.array([1], np.int64), np.array([kind], np.uint8), (raw,))}
        found: list[int] = fingerprint.rows(batch, marks).tolist()
        return found

    plain = fingerprint.rows(batch).tolist()
    nan, other, raw = hashes(Mark.NAN, b"NaN"), hashes(Mark.PLUS_INFINITY, b"NaN"), hashes(Mark.NAN, b"x")
    assert nan[0::2] == plain[0::2]
    assert len({plain[1], nan[1], other[1], raw[1]}) == 4


def test_zero_is_one_key_whatever_its_sign_and_two_values() -> None:
    zeros = pa.record_batch({"a": pa.array([0.0, -0.0, 1.0])})
    first, second = (half.tolist() for half in fingerprint.keys([zeros["a"]]))
    assert (first[0], second[0]) == (first[1], second[1]) != (first[2], second[2])
    assert len(set(fingerprint.rows(zeros).tolist())) == 3


def test_keys_are_told_apart_by_place_and_their_halves_are_apart() -> None:
    numbers, others = pa.array([1, 2]), pa.array([2, 1])
    first, second = fingerprint.keys([numbers, others])
    assert first[0] != first[1]
    assert not (first == second).any()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1_000, 100_000])
@pytest.mark.parametrize("shift", [0, 3, 40])
@pytest.mark.parametrize("most", [1, 5, 1 << 20, (1 << 64) - 1])
def test_hashes_come_in_the_order_that_a_stable_sort_gives(count: int, shift: int, most: int) -> None:
    """Few bits that differ, low ones or high ones, make many that are alike but for the bits of their places."""
    hashes = np.random.default_rng(count).integers(0, most, count, np.uint64, endpoint=True) << np.uint64(shift)
    assert (fingerprint.in_order(hashes) == np.argsort(hashes, kind="stable")).all()
