"""What every extractor promises, on a real database each, and on an API."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from bridge.errors import SourceRefused, SourceUnavailable
from bridge.extraction.extractor import Extractor, Question
from tests.legacy import VIEWS, Legacy, SqliteLegacy, pages, rows
from tests.machine import Waits

ORDERS = "-- mode: incremental\n-- key: id\n-- cursor: rev\nSELECT id, rev, name FROM orders\n"
FULL = "-- mode: full\n-- key: id\nSELECT id, rev, name FROM orders\n"
DEADLINE_S = 30.0

Open = Callable[..., Extractor]
# No API can be asked for rows without a cursor, or without a key; what else it lacks and bounds is in test_rest.
of_views = pytest.mark.parametrize("legacy", VIEWS, indirect=True)


@pytest.fixture
def opened(legacy: Legacy) -> Iterator[Open]:
    """Makes extractors that are closed after the test; `orders` has 25 rows whose `rev` comes in threes."""
    legacy.run("CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, rev BIGINT, name VARCHAR(60))")
    legacy.run(*(f"INSERT INTO orders VALUES ({n}, {n // 3}, 'order {n}')" for n in range(1, 26)))
    made: list[Extractor] = []

    def make(**views: str) -> Extractor:
        most_bytes = int(views.pop("most_bytes", 0)) or None
        made.append(legacy.extractor(most_bytes=most_bytes, **views))
        made[-1].open()
        return made[-1]

    yield make
    for extractor in made:
        extractor.close()


def ids(found: list[dict[str, int]]) -> list[int]:
    return [row["id"] for row in found]


def test_a_reading_by_key_has_each_row_once_in_order(opened: Open) -> None:
    found = pages(opened(orders=FULL), Question("orders", 7))
    assert [row["id"] for page in found for row in page.columns.to_pylist()] == list(range(1, 26))
    assert all(page.columns.num_rows <= 7 for page in found)


def test_a_reading_by_cursor_passes_through_equal_cursors(opened: Open) -> None:
    found = rows(opened(orders=ORDERS), Question("orders", 2))
    assert [(row["rev"], row["id"]) for row in found] == [(n // 3, n) for n in range(1, 26)]


def test_a_reading_since_a_cursor_begins_with_it(opened: Open) -> None:
    found = rows(opened(orders=ORDERS), Question("orders", 4, since=pa.scalar(7, pa.int64())))
    assert ids(found) == list(range(21, 26))


@of_views
def test_rows_without_a_cursor_are_read_apart(opened: Open, legacy: Legacy) -> None:
    legacy.run("UPDATE orders SET rev = NULL WHERE id IN (3, 9, 24)")
    extractor = opened(orders=ORDERS)
    assert ids(rows(extractor, Question("orders", 5))) == [n for n in range(1, 26) if n not in {3, 9, 24}]
    assert ids(rows(extractor, Question("orders", 2, is_without_cursor=True))) == [3, 9, 24]


@of_views
def test_a_cursor_of_another_type_than_its_column_has_begins_anew(opened: Open) -> None:
    since = pa.scalar(datetime(2026, 1, 1, tzinfo=UTC), pa.timestamp("us", "UTC"))
    extractor = opened(orders=ORDERS)
    extractor.page(Question("orders", 1))  # with which every driver has told the type
    assert ids(rows(extractor, Question("orders", 4, since=since))) == list(range(1, 26))


@of_views
def test_columns_of_one_name_in_two_views_are_each_read_as_what_they_are(opened: Open, legacy: Legacy) -> None:
    """A type that was settled for one view says nothing of another."""
    legacy.run("CREATE TABLE others (id INTEGER NOT NULL PRIMARY KEY, rev VARCHAR(9))")
    legacy.run("INSERT INTO others VALUES (1, 'a')")
    extractor = opened(orders=ORDERS, others="-- mode: full\n-- key: id\nSELECT id, rev FROM others\n")
    for _ in range(2):
        questions = (Question(name, 100, is_by_key=True) for name in ("orders", "others"))
        assert [extractor.page(each).columns.column("rev")[0].as_py() for each in questions] == [0, "a"]


def test_a_range_of_keys_is_open_below_and_closed_above(opened: Open) -> None:
    first = opened(orders=ORDERS).page(Question("orders", 1, is_by_key=True)).columns.column("id")
    key = first.type
    question = Question("orders", 4, after_key=(pa.scalar(5, key),), to_key=(pa.scalar(15, key),))
    assert ids(rows(opened(orders=ORDERS), question)) == list(range(6, 16))


def test_keys_come_with_the_cursor_alone(opened: Open) -> None:
    found = pages(opened(orders=ORDERS), Question("orders", 10, want="keys"))
    assert found[0].columns.schema.names == ["id", "rev"]
    assert [column.name for column in found[0].shape.columns] == ["id", "rev"]
    assert ids([row for page in found for row in page.columns.to_pylist()]) == list(range(1, 26))


def test_whole_rows_come_by_key_when_asked_for(opened: Open, legacy: Legacy) -> None:
    legacy.run("UPDATE orders SET rev = 1000 - id", "UPDATE orders SET rev = NULL WHERE id = 4")
    assert ids(rows(opened(orders=ORDERS), Question("orders", 6, is_by_key=True))) == list(range(1, 26))


def test_a_reading_goes_on_after_a_reconnect(opened: Open, legacy: Legacy) -> None:
    first = opened(orders=ORDERS).page(Question("orders", 10))
    kept = json.loads(json.dumps(first.resume))
    legacy.run("INSERT INTO orders VALUES (0, 0, 'came late')")  # behind us: not seen, and nothing is seen twice
    found = rows(opened(orders=ORDERS), Question("orders", 10, resume=kept))
    assert ids(first.columns.to_pylist()) + ids(found) == list(range(1, 26))


def test_keys_of_text_go_on_behind_any_text(opened: Open, legacy: Legacy) -> None:
    legacy.run("CREATE TABLE names (a VARCHAR(20) NOT NULL, b INTEGER NOT NULL, PRIMARY KEY (a, b))")
    texts = ["", "'", '"', "\\", "%s", ":x", "?", "a b", "ärger", "zoë", "Ω", "--", "/*"]
    for text in texts:
        written = text.replace("'", "''").replace("\\", "\\\\" if legacy.has_escapes else "\\")
        legacy.run(*(f"INSERT INTO names VALUES ('{written}', {n})" for n in (1, 2)))
    extractor = opened(names="-- mode: full\n-- key: a, b\nSELECT a, b FROM names\n")
    found = [(row["a"], row["b"]) for row in rows(extractor, Question("names", 1))]
    assert sorted(found) == sorted((text, n) for text in texts for n in (1, 2))


def test_rows_without_a_whole_key_come_last(opened: Open, legacy: Legacy) -> None:
    legacy.run("CREATE TABLE loose (a INTEGER, b INTEGER)")
    legacy.run(*(f"INSERT INTO loose VALUES ({n}, {n})" for n in range(5)))
    without = [(None, 7), (8, None), (None, None)]
    legacy.run("INSERT INTO loose VALUES (NULL, 7)", "INSERT INTO loose VALUES (8, NULL)")
    legacy.run("INSERT INTO loose VALUES (NULL, NULL)")
    extractor = opened(loose="-- mode: full\n-- key: a, b\nSELECT a, b FROM loose\n")
    for limit in (2, 1):  # of a page, which holds for rows that can be gone on behind
        found = [(row["a"], row["b"]) for row in rows(extractor, Question("loose", limit))]
        assert found[:5] == [(n, n) for n in range(5)]
        assert sorted(found[5:], key=str) == sorted(without, key=str)


@of_views
def test_a_page_without_a_key_never_ends_within_equal_cursors(opened: Open) -> None:
    extractor = opened(orders="-- mode: append\n-- cursor: rev\nSELECT rev, name FROM orders\n")
    found = pages(extractor, Question("orders", 4))
    ends = [page.columns.column("rev")[-1].as_py() for page in found if page.columns.num_rows]
    starts = [page.columns.column("rev")[0].as_py() for page in found if page.columns.num_rows]
    assert all(start > end for start, end in zip(starts[1:], ends, strict=False))
    assert sum(page.columns.num_rows for page in found) == 25


@of_views
def test_rows_with_neither_a_key_nor_a_cursor_are_one_page(opened: Open, legacy: Legacy) -> None:
    legacy.run("UPDATE orders SET rev = NULL WHERE id IN (3, 9, 24)")
    extractor = opened(orders="-- mode: append\n-- cursor: rev\nSELECT rev, name FROM orders\n")
    found = rows(extractor, Question("orders", 2, is_without_cursor=True))
    assert sorted(row["name"] for row in found) == ["order 24", "order 3", "order 9"]


def test_a_page_says_what_it_cost_and_when_it_was_read(opened: Open) -> None:
    page = opened(orders=FULL).page(Question("orders", 100))
    assert abs(page.read_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert page.size_bytes > 0
    assert page.queries >= 1
    assert page.seconds >= 0


def test_the_load_can_be_asked_for(opened: Open) -> None:
    busy = opened(orders=FULL).probe().busy_sessions
    assert busy is None or busy >= 0


@of_views
def test_an_answer_that_is_too_large_is_read_in_smaller_pages(opened: Open, legacy: Legacy) -> None:
    legacy.run("CREATE TABLE notes (id INTEGER NOT NULL PRIMARY KEY, note VARCHAR(4000))")
    legacy.run(*(f"INSERT INTO notes VALUES ({n}, '{'x' * 3000}')" for n in range(200)))
    extractor = opened(notes="-- mode: full\n-- key: id\nSELECT id, note FROM notes\n", most_bytes="100000")
    found = pages(extractor, Question("notes", 1000))
    assert [row["id"] for page in found for row in page.columns.to_pylist()] == list(range(200))
    assert len(found) > 2


@of_views
def test_what_a_view_lacks_is_said(opened: Open) -> None:
    with pytest.raises(SourceRefused, match="nowhere"):
        opened(orders="-- mode: full\n-- key: nowhere\nSELECT id FROM orders\n").page(Question("orders", 1))
    with pytest.raises(SourceRefused):
        opened(orders="-- mode: full\n-- key: id\nSELECT id FROM no_such_table\n").page(Question("orders", 1))


def test_a_cancel_ends_a_statement_within_a_second(opened: Open, legacy: Legacy) -> None:
    extractor = opened(slow=f"-- mode: full\n-- key: n\n-- statement_timeout: 60s\n{legacy.slow}\n", orders=FULL)
    failures: list[BaseException] = []

    def read() -> None:
        try:
            extractor.page(Question("slow", 1))
        except SourceUnavailable as error:
            failures.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    wait_until(lambda: legacy.working() > 0)
    with Waits() as waits:
        began = time.monotonic()
        extractor.cancel()
        reading.join(DEADLINE_S)
        took_s = time.monotonic() - began
        assert took_s - waits.so_far_s() < 1.0
        wait_until(lambda: legacy.working() == 0)
        assert time.monotonic() - began < 2.0 + waits.so_far_s()
    assert not reading.is_alive()
    assert failures
    assert extractor.page(Question("orders", 3)).columns.num_rows == 3


def test_a_runaway_view_is_stopped_at_its_time_limit(opened: Open, legacy: Legacy) -> None:
    extractor = opened(slow=f"-- mode: full\n-- key: n\n-- statement_timeout: 1500ms\n{legacy.slow}\n", orders=FULL)
    with Waits() as waits:
        began = time.monotonic()
        with pytest.raises(SourceUnavailable):
            extractor.page(Question("slow", 1))
        took_s = time.monotonic() - began
        assert 1.4 < took_s < 1.5 + 1.0 + waits.so_far_s()
        wait_until(lambda: legacy.working() == 0)
        assert time.monotonic() - began < 1.5 + 2.0 + waits.so_far_s()
    assert extractor.page(Question("orders", 3)).columns.num_rows == 3


def test_names_may_be_anything(opened: Open, legacy: Legacy) -> None:
    names = ["select", "Mixed Case", "semi;colon", "quo'te", "per%cent", "größe"]
    columns = ", ".join(f"{legacy.quote(name)} INTEGER NOT NULL" for name in names)
    legacy.run(f"CREATE TABLE odd ({columns})", f"INSERT INTO odd VALUES ({', '.join('1' * len(names))})")
    wanted = ", ".join(legacy.quote(name) for name in names)
    text = f"-- mode: full\n-- key: {names[0]}, {names[1]}\nSELECT {wanted} FROM odd\n"
    assert rows(opened(odd=text), Question("odd", 1)) == [dict.fromkeys(names, 1)]


def test_closing_twice_is_fine_and_opening_again_too(opened: Open) -> None:
    extractor = opened(orders=FULL)
    extractor.close()
    extractor.close()
    extractor.open()
    assert extractor.page(replace(Question("orders", 2), limit=3)).columns.num_rows == 3


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("legacy", ["sqlite"], indirect=True)
def test_a_file_that_took_the_place_of_the_one_that_is_read_is_read(opened: Open, legacy: SqliteLegacy) -> None:
    extractor = opened(orders=ORDERS)
    assert ids(rows(extractor, Question("orders", 100))) == list(range(1, 26))
    other = SqliteLegacy(legacy.path.with_suffix(".new"))
    other.run("CREATE TABLE orders (id INTEGER PRIMARY KEY, rev BIGINT, name VARCHAR(60))")
    other.run("INSERT INTO orders VALUES (99, 1, 'of the other file')")
    other.path.replace(legacy.path)
    assert ids(rows(extractor, Question("orders", 100))) == [99]
    legacy.path.unlink()
    with pytest.raises(SourceRefused, match="unable to open"):
        extractor.page(Question("orders", 100))
