"""The JSON of columns: what is written one by one is what whole columns are written as."""

import struct
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import figures, jsontext

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_DOUBLES = st.binary(min_size=8, max_size=8).map(lambda raw: float(struct.unpack("d", raw)[0]))
_TINY = st.builds(lambda digits, places: digits * 10.0**-places, st.integers(-(10**6), 10**6), st.integers(0, 18))
_MICROS = st.integers(-70_000_000_000_000_000, 270_000_000_000_000_000)  # from before the year 1 to after 9999
COLUMNS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): _TEXT,
    pa.large_string(): _TEXT,
    pa.bool_(): st.booleans(),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float64(): _TINY | _DOUBLES.filter(lambda one: one - one == 0),
    pa.decimal128(38, 10): st.decimals(-(10**27), 10**27, places=10),
    pa.decimal128(5, 0): st.decimals(-99_999, 99_999, places=0),
    pa.date32(): st.integers(-800_000, 3_000_000),  # likewise, in days
    pa.timestamp("us", "UTC"): _MICROS,
    pa.timestamp("us"): _MICROS,
    pa.time64("us"): st.times(),
    pa.large_binary(): st.binary(max_size=9),
}


def texts(column: pa.Array) -> list[str]:
    found: list[str] = jsontext.join(*jsontext.value(column), "").to_pylist()
    return found


@pytest.mark.parametrize("of", COLUMNS, ids=str)
def test_a_few_values_are_written_as_a_whole_column_is(of: pa.DataType, monkeypatch: pytest.MonkeyPatch) -> None:
    @settings(deadline=None)
    @given(st.lists(st.none() | COLUMNS[of], min_size=1, max_size=figures.FEW))
    def agree(values: list[Any]) -> None:
        bits = pa.array(values, pa.int32() if of == pa.date32() else pa.int64() if pa.types.is_timestamp(of) else of)
        column = bits.view(of) if bits.type != of else bits
        few = texts(column)
        with monkeypatch.context() as patched:
            patched.setattr(jsontext, "FEW", 0)
            assert few == texts(column)

    agree()
