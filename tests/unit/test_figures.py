"""Columns of numbers and times as text: each equal to Python's own way, one by one."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from bridge.figures import Texts, contents, decimal, hexadecimal, is_plain, rfc3339

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NUMBERS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 300), max_size=20)
MOMENTS = st.lists(st.datetimes(timezones=st.just(UTC)), max_size=20)


def list_of(texts: Texts) -> list[str]:
    found: list[str] = texts if isinstance(texts, list) else texts.to_pylist()
    return found


@given(NUMBERS)
def test_numbers_are_written_as_python_writes_them(numbers: list[int]) -> None:
    values = np.array(numbers, np.uint64)
    assert list_of(decimal(values)) == [f"{number:d}" for number in numbers]
    assert list_of(decimal(values, width=20)) == [f"{number:020}" for number in numbers]
    assert list_of(hexadecimal(values)) == [f"{number:X}" for number in numbers]


@given(st.sampled_from([(0, 300), (7, 7), (0, 2**32), (10**19, 2**64 - 1)]), st.integers(17, 40))
def test_long_columns_of_numbers_are_written_the_same(ends: tuple[int, int], count: int) -> None:
    least, most = ends
    numbers = [least + (most - least) * row // (count - 1) for row in range(count)]
    values = np.array(numbers, np.uint64)
    assert list_of(decimal(values)) == [f"{number:d}" for number in numbers]
    assert list_of(decimal(values, width=20)) == [f"{number:020}" for number in numbers]
    assert list_of(hexadecimal(values)) == [f"{number:X}" for number in numbers]


@given(MOMENTS)
def test_times_are_written_as_python_writes_them(moments: list[datetime]) -> None:
    micros = np.array([(moment - EPOCH) // timedelta(microseconds=1) for moment in moments], np.int64)
    texts = rfc3339(micros)
    assert texts is not None
    assert texts.to_pylist() == [moment.isoformat(timespec="microseconds")[:26] + "Z" for moment in moments]


def test_a_year_of_five_digits_is_left_to_others() -> None:
    assert rfc3339(np.array([0, 253_402_300_800_000_000], np.int64)) is None


@given(
    st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=8), st.integers(0, 3)
)
def test_contents_and_plainness_are_those_of_the_visible_texts(texts: list[str | None], skip: int) -> None:
    array = pa.array(texts, pa.large_string())[skip:]
    visible = [text or "" for text in texts[skip:]]
    assert bytes(contents(array)).decode() == "".join(visible)
    assert is_plain(array) == all(json.dumps(text, ensure_ascii=False)[1:-1] == text for text in visible)
