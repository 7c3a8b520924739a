"""Read page by page, a view gives each of its rows once, whatever its nulls, ties, page size and dialect."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from bridge.extraction.extractor import Question, Subject
from bridge.sources.view.paging import Grammar, Place, next_place, order_of, page_sql
from bridge.sources.view.statement import rendered, statement
from bridge.sources.view.viewfile import parse

Row = tuple[int | None, int | None, int | None]
ROWS = some.lists(some.tuples(*[some.none() | some.integers(0, 4)] * 3), max_size=25)
GRAMMARS = [Grammar(lambda name: f'"{name}"', has_row_values=known) for known in (True, False)]
BODY = statement(parse("-- key: a, b\n-- mode: full\nSELECT a, b, c FROM t", Path("v.sql")), "sqlite")


def read(rows: list[Row], subject: Subject, question: Question, grammar: Grammar) -> list[Row]:
    """All pages of one reading, each row as it was read."""
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (a, b, c)")
    database.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
    found: list[Row] = []
    place: Place | None = Place()
    while place is not None:
        text, values = rendered(
            page_sql(BODY, subject, question, place=place, grammar=grammar), lambda _value, _number: "?"
        )
        page = database.execute(text, [plain_value(value.value) for value in values]).fetchall()
        assert len(page) <= question.limit or not subject.key
        last = [page[-1]["abc".index(name)] for name in order_of(subject, question)] if page else []
        place = Place.of(place.dump()) if place.after else place
        place = next_place(subject, question, place, row_count=len(page), last=last)
        found += page
    database.close()
    return found


def plain_value(value: object) -> object:
    """What SQLite binds."""
    return value.as_py() if isinstance(value, pa.Scalar) else value


def plain(row: Sequence[int | None]) -> tuple[int, ...]:
    """For sorting: null below everything."""
    return tuple(-1 if value is None else value for value in row)


def distinct_keys(rows: list[Row]) -> list[Row]:
    """Rows of distinct keys; few enough without a whole key for one page."""
    unique = list({row[:2]: row for row in rows if None not in row[:2]}.values())
    return unique + [row for row in rows if None in row[:2]][:1]


@pytest.mark.parametrize("grammar", GRAMMARS, ids=["row values", "spelled out"])
@given(rows=ROWS, limit=some.integers(1, 7))
@settings(deadline=None)
def test_a_full_reading_gives_each_row_once(rows: list[Row], limit: int, grammar: Grammar) -> None:
    rows = distinct_keys(rows)
    subject = Subject("s", ("a", "b"), None, "full", limit)
    found = read(rows, subject, Question("s", limit), grammar)
    assert sorted(map(plain, found)) == sorted(map(plain, rows))


@pytest.mark.parametrize("grammar", GRAMMARS, ids=["row values", "spelled out"])
@given(rows=ROWS, limit=some.integers(1, 7), since=some.none() | some.integers(0, 4))
@settings(deadline=None)
def test_a_reading_by_cursor_gives_each_row_from_there_on_once(
    rows: list[Row], limit: int, since: int | None, grammar: Grammar
) -> None:
    rows = distinct_keys(rows)
    subject = Subject("s", ("a", "b"), "c", "incremental", limit)
    found = read(rows, subject, Question("s", limit, since=since), grammar)
    wanted = [row for row in rows if row[2] is not None and (since is None or row[2] >= since)]
    assert sorted(map(plain, found)) == sorted(map(plain, wanted))
    by_key = read(rows, subject, Question("s", limit, is_by_key=True), grammar)
    assert sorted(map(plain, by_key)) == sorted(map(plain, rows))
    without = read(rows, subject, Question("s", limit, is_without_cursor=True), grammar)
    assert sorted(map(plain, without)) == sorted(map(plain, [row for row in rows if row[2] is None]))


@given(rows=ROWS, limit=some.integers(1, 7))
@settings(deadline=None)
def test_rows_of_one_cursor_come_in_one_page_where_there_is_no_key(rows: list[Row], limit: int) -> None:
    subject = Subject("s", (), "c", "append", limit)
    found = read(rows, subject, Question("s", limit), GRAMMARS[0])
    assert sorted(map(plain, found)) == sorted(map(plain, [row for row in rows if row[2] is not None]))


@pytest.mark.parametrize("grammar", GRAMMARS, ids=["row values", "spelled out"])
@given(rows=ROWS, low=some.tuples(*[some.integers(0, 4)] * 2), high=some.tuples(*[some.integers(0, 4)] * 2))
@settings(deadline=None)
def test_a_range_of_keys_begins_behind_one_and_ends_with_another(
    rows: list[Row], low: tuple[int, int], high: tuple[int, int], grammar: Grammar
) -> None:
    rows = distinct_keys(rows)
    subject = Subject("s", ("a", "b"), "c", "incremental", 3)
    question = Question("s", 3, after_key=low, to_key=high)
    wanted = [row for row in rows if None not in row[:2] and low < row[:2] <= high]
    assert sorted(map(plain, read(rows, subject, question, grammar))) == sorted(map(plain, wanted))


@given(rows=ROWS, limit=some.integers(1, 7))
@settings(deadline=None)
def test_a_reading_of_keys_gives_each_key_with_its_cursor_once(rows: list[Row], limit: int) -> None:
    rows = distinct_keys(rows)
    subject = Subject("s", ("a", "b"), "c", "incremental", limit)
    found = read(rows, subject, Question("s", limit, want="keys"), GRAMMARS[0])
    assert sorted(map(plain, found)) == sorted(map(plain, rows))


@given(rows=ROWS, asked=some.lists(some.tuples(*[some.integers(0, 4)] * 2), max_size=6, unique=True))
@settings(deadline=None)
def test_a_question_for_some_keys_gives_their_rows(rows: list[Row], asked: list[tuple[int, int]]) -> None:
    rows = distinct_keys(rows)
    subject = Subject("s", ("a", "b"), "c", "incremental", 3)
    keys = pa.record_batch({name: pa.array([key[i] for key in asked], pa.int64()) for i, name in enumerate("ab")})
    found = read(rows, subject, Question("s", 1000, keys=keys), GRAMMARS[0])
    assert sorted(map(plain, found)) == sorted(plain(row) for row in rows if row[:2] in asked)


@pytest.mark.parametrize("key", [("a",), ("a", "b")], ids=["one column", "several columns"])
@given(rows=ROWS, keys=some.lists(some.tuples(some.integers(0, 4), some.integers(0, 4)), max_size=5))
@settings(deadline=None)
def test_rows_are_found_by_their_keys(rows: list[Row], keys: list[tuple[int, int]], key: tuple[str, ...]) -> None:
    asked = pa.RecordBatch.from_pylist(
        [dict(zip(key, each, strict=False)) for each in keys], pa.schema([(name, pa.int64()) for name in key])
    )
    found = read(rows, Subject("s", key, None, "full", 100), Question("s", 100, keys=asked), GRAMMARS[0])
    wanted = {each[: len(key)] for each in keys}
    assert sorted(map(plain, found)) == sorted(plain(row) for row in rows if row[: len(key)] in wanted)
