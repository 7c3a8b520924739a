"""Cells are found and decoded exactly; what cannot be held is marked and keeps its bytes."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from bridge.errors import MalformedRecord
from bridge.model import Mark
from bridge.postgres.columns import decode, walk_copy, walk_tuples
from bridge.postgres.types import PgType, builtin
from tests.postgres_text import Raw, copy_tuple, decode_one, joined, tuple_data

FEW, MANY = 3, 50  # rows; one goes row by row, the other column by column


def known(oid: int, modifier: int = -1) -> PgType:
    found = builtin(oid, modifier)
    assert found is not None
    return found


BIGINT, TEXT, FLOAT, DATE, TIMESTAMP, NUMERIC = (known(oid) for oid in (20, 25, 701, 1082, 1114, 1700))
CENTS = known(1700, (12 << 16 | 2) + 4)
GOOD = {
    16: b"t",
    17: b"\\x00ff",
    20: b"-42",
    21: b"7",
    25: "é".encode(),
    701: b"1.5e-07",
    790: b"-$1,234.50",
    1082: b"2024-02-29",
    1083: b"12:34:56.789",
    1114: b"2024-02-29 12:34:56",
    1184: b"2024-02-29 12:34:56.5+00",
    1700: b"-0.10",
    1007: b"{1,NULL,3}",
    1009: b'{"a,b",c}',
}


@pytest.mark.parametrize("count", [FEW, MANY])
@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (lambda row: b"\0\2" + row[2:], "does not have 1 columns"),
        (lambda row: row[:2] + b"b" + row[3:], "has a value that is not text"),
        (lambda row: row[:3] + b"\xff\xff\xff\xfe" + row[7:], "has a negative length"),
        (lambda row: row[:3] + b"\x7f\xff\xff\xff" + row[7:], "is cut short"),
        (lambda row: row[:-1], "is cut short"),
        (lambda row: row[:4], "is cut short"),
        (lambda row: row[:1], "is cut short"),
    ],
)
def test_a_torn_tuple_is_named_by_its_row(count: int, harm: Callable[[bytes], bytes], complaint: str) -> None:
    rows = [tuple_data([b"some value"])] * count
    rows[-1] = harm(rows[-1])
    buffer, starts, limits = joined(rows)
    with pytest.raises(MalformedRecord, match=f"row {count - 1} .* {complaint}"):
        walk_tuples(buffer, starts, 1, limits=limits)
    with pytest.raises(MalformedRecord, match=f"row {count - 1} .* {complaint}"):
        walk_tuples(buffer, starts, 1)


def test_a_tuple_may_not_reach_into_its_neighbour() -> None:
    for count in (FEW, MANY):
        buffer, starts, limits = joined([tuple_data([b"abc"])] * count)
        with pytest.raises(MalformedRecord, match="row 1 of the batch is cut short"):
            walk_tuples(buffer, starts, 1, limits=limits - (np.arange(count) == 1))


@pytest.mark.parametrize("count", [1, FEW, MANY])
def test_copy_rows_and_log_rows_give_the_same_columns(count: int) -> None:
    rows: list[list[bytes | None]] = [[b"%d" % i, None if i % 3 else b"x" * i] for i in range(count)]
    types, names = [BIGINT, TEXT], ["n", "t"]
    logged, starts, limits = joined([tuple_data(row) for row in rows])
    copied, copy_starts, copy_limits = joined([copy_tuple(row) for row in rows])
    cells, ends = walk_tuples(logged, starts, 2)
    copy_cells, copy_ends = walk_copy(copied, copy_starts, 2)
    assert (ends == limits).all()
    assert (copy_ends == copy_limits).all()
    assert all((column.starts < logged.size).all() for column in cells)
    assert all((column.starts < copied.size).all() for column in copy_cells)
    batch, marks = decode(cells, types, names, logged)
    assert not marks
    assert batch.to_pydict() == {
        "n": list(range(count)),
        "t": [None if text is None else text.decode() for _, text in rows],
    }
    assert decode(copy_cells, types, names, copied)[0].equals(batch)


def test_no_rows_are_an_empty_batch_of_the_right_types() -> None:
    nothing = np.empty(0, np.uint8)
    cells, ends = walk_tuples(nothing, np.empty(0, np.int64), 2)
    batch, marks = decode(cells, [BIGINT, DATE], ["a", "b"], nothing)
    assert batch.schema.types == [pa.int64(), pa.date32()]
    assert batch.num_rows == len(ends) == len(marks) == 0


@pytest.mark.parametrize("count", [FEW, MANY])
@pytest.mark.parametrize("oid", GOOD)
def test_a_value_that_does_not_parse_is_marked_and_hurts_no_other(count: int, oid: int) -> None:
    good, bad = GOOD[oid], b"\xffbroken"
    sound, nothing = decode_one([good] * count, known(oid))
    array, marks = decode_one([*[good] * (count - 2), bad, None], known(oid))
    assert nothing is None
    assert marks is not None
    assert (marks.rows.tolist(), marks.kinds.tolist(), marks.raw) == ([count - 2], [Mark.UNREADABLE], (bad,))
    assert array.to_pylist() == [*sound.to_pylist()[:-2], None, None]


@pytest.mark.parametrize(
    ("type_", "damaged"),
    [
        (BIGINT, [b"0x1f", b"9223372036854775808", b"1.0", b""]),
        (known(21), [b"32768", b"-32769"]),
        (known(26), [b"1e3"]),
        (FLOAT, [b"1e400", b"-1e400", b"nan", b"inf", b"0x1p3"]),
        (known(700), [b"3.5e+38"]),
        (CENTS, [b"1.234", b"12345678901.00", b"1e3", b"nan"]),
        (NUMERIC, [b"1e3", b"nan"]),
        (known(16), [b"true", b"T", b""]),
        (known(17), [b"\\xf", b"\\xfg", b"xx00", b"\\001", b""]),
        (known(790), [b"1.00 EUR", b"$1.234"]),
        (DATE, [b"2023-02-29", b"2024-13-01", b"01.02.2024", b"epoch"]),
        (TIMESTAMP, [b"2024-01-01T00:00:00", b"2024-01-01 24:00:00", b"2023-02-29 00:00:00"]),
        (known(1083), [b"24:00:00", b"12:60:00", b"12:00:60", b"12:0a:00", b"12:00:00.", b"12:00", b"12-00-00"]),
        (known(1007), [b"1,2", b"{1,2", b'{"1}', b"{1}}", b"{1,x}", b"{"]),
    ],
)
def test_damage_is_told_from_data_in_every_type(type_: PgType, damaged: list[bytes]) -> None:
    """Row by row and by column alike: what the server would not print is never taken for a value."""
    for raw in damaged:
        for filler in (0, MANY):
            array, marks = decode_one([raw, *[None] * filler], type_)
            assert array.null_count == len(array)
            assert marks is not None
            assert (marks.rows.tolist(), marks.kinds.tolist(), marks.raw) == ([0], [Mark.UNREADABLE], (raw,))


@pytest.mark.parametrize("count", [FEW, MANY])
@pytest.mark.parametrize("oid", GOOD)
def test_a_column_may_be_all_null_or_all_unchanged(count: int, oid: int) -> None:
    array, marks = decode_one([None] * count, known(oid))
    assert (array.null_count, marks) == (count, None)
    array, marks = decode_one([...] * count, known(oid))
    assert array.null_count == count
    assert marks is not None
    assert (marks.kinds == Mark.UNCHANGED).all()
    assert marks.raw == (None,) * count


@pytest.mark.parametrize("count", [FEW, MANY])
def test_marks_come_in_the_order_of_rows(count: int) -> None:
    raws: list[Raw] = [b"NaN", ..., None, b"1.5", b"-Infinity", b"oops", b"Infinity"] * count
    _, marks = decode_one(raws, FLOAT)
    assert marks is not None
    kinds = [Mark.NAN, Mark.UNCHANGED, Mark.MINUS_INFINITY, Mark.UNREADABLE, Mark.PLUS_INFINITY]
    assert marks.kinds.tolist() == kinds * count
    assert marks.rows.tolist() == [7 * i + j for i in range(count) for j in (0, 1, 4, 5, 6)]


@pytest.mark.parametrize("count", [FEW, MANY])
def test_a_character_cut_between_two_values_is_in_neither(count: int) -> None:
    """End to end the bytes would be valid UTF-8."""
    array, marks = decode_one([*["é".encode()] * count, b"\xc3", b"\xa9"], TEXT)
    assert marks is not None
    assert marks.rows.tolist() == [count, count + 1]
    assert array.to_pylist() == [*["é"] * count, None, None]


def test_years_beyond_four_digits_and_before_christ_are_exact() -> None:
    raws: list[Raw] = [*[b"2024-01-01"] * MANY, b"0044-03-15 BC", b"0001-02-29 BC", b"5874897-12-31"]
    array, marks = decode_one(raws, DATE)
    assert marks is None
    expected = [np.datetime64(day, "D") for day in ("-0043-03-15", "0000-02-29", "+5874897-12-31")]
    assert array.cast(pa.int32()).to_pylist()[MANY:] == [int(day.astype(np.int64)) for day in expected]


def test_a_timestamp_that_64_bits_cannot_hold_is_marked_not_wrapped() -> None:
    raws: list[Raw] = [b"294247-01-10 04:00:54.775807", b"294247-01-10 04:00:54.775808"]
    for filler in (0, MANY):
        array, marks = decode_one([*raws, *[b"2024-01-01 00:00:00"] * filler], TIMESTAMP)
        assert marks is not None
        assert marks.rows.tolist() == [1]
        assert array.cast(pa.int64())[0].as_py() == 2**63 - 1


def test_a_number_without_scale_keeps_every_digit() -> None:
    raw = b"-" + b"9" * 60 + b"." + b"0" * 40
    assert decode_one([raw] * MANY, NUMERIC)[0].to_pylist() == [raw.decode()] * MANY


@pytest.mark.parametrize("longest", [5, 64, 65, 100_000])
def test_values_of_very_different_lengths_keep_their_bytes(longest: int) -> None:
    raws: list[Raw] = [b"", *[b"%d" % i for i in range(MANY)], b"y" * longest, b"z"]
    array, _ = decode_one(raws, TEXT)
    assert array.to_pylist() == [raw.decode() for raw in raws if isinstance(raw, bytes)]


def test_an_array_with_more_dimensions_or_other_bounds_is_kept_raw() -> None:
    for count in (FEW, MANY):
        odd = [b"{{1,2},{3,4}}", b"[0:1]={1,2}", b"{1,NaN}"]
        array, marks = decode_one([*[b"{1,NULL}", b"{}"] * count, *odd], known(1007))
        assert marks is not None
        assert marks.raw == tuple(odd)
        assert array.to_pylist() == [*[[1, None], []] * count, None, None, None]
