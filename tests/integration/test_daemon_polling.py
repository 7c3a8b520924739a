"""The daemon polls views of a real PostgreSQL in each mode beside its change log, and goes on after a kill."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.pump import QUEUED_WINDOWS
from demo.server import Database
from tests.daemon import Daemon, prepare, wait_for

VIEW = """-- key: id
-- mode: full
-- page_rows: 7
SELECT id, name, amount FROM shop.{table}
"""
CURSOR_VIEW = """-- key: id
-- mode: incremental
-- cursor: changed
-- page_rows: 7
SELECT id, name, amount, changed FROM shop.parts
"""


@pytest.fixture
def daemon(tmp_path: Path, database: Database) -> Iterator[Daemon]:
    """`articles` by the change log, `shelves` by a full view, `parts` by a cursor."""
    prepare(database, "articles", "shelves", "parts")
    database.sql("ALTER TABLE shop.parts ADD changed timestamptz DEFAULT clock_timestamp()")
    database.sql("INSERT INTO shop.shelves SELECT n, 'n', n FROM generate_series(1, 30) n")
    database.sql("INSERT INTO shop.parts SELECT n, 'n', n FROM generate_series(1, 30) n")
    with Daemon(tmp_path, database, "articles") as made:
        (tmp_path / "shelves.sql").write_text(VIEW.format(table="shelves"))
        (tmp_path / "parts.sql").write_text(CURSOR_VIEW)
        made.add_stream("shelves", view="shelves.sql", every="1s")
        made.add_stream("parts", view="parts.sql", every="1s", sweep="2s")
        for name in ("shelves", "parts"):
            del made.document["streams"][name]["log"]
        made.write()
        yield made


def first(count: int) -> list[tuple[str, int]]:
    return [("read", number) for number in range(1, count + 1)]


def test_views_are_polled_beside_the_change_log(daemon: Daemon) -> None:
    daemon.start()
    daemon.database.sql("INSERT INTO shop.articles VALUES (1, 'n', 1)")
    for stream in ("shelves", "parts"):
        wait_for(lambda: len(daemon.changes(stream)) >= 30, why=daemon.log_tail)  # noqa: B023  called at once
        assert daemon.changes(stream) == first(30)
    daemon.database.sql("DELETE FROM shop.shelves WHERE id = 3; UPDATE shop.shelves SET amount = 99 WHERE id = 4")
    daemon.database.sql("DELETE FROM shop.parts WHERE id = 3")
    daemon.database.sql("UPDATE shop.parts SET amount = 99, changed = clock_timestamp() WHERE id = 4")
    wait_for(lambda: len(daemon.changes("shelves")) >= 32, why=daemon.log_tail)
    wait_for(lambda: len(daemon.changes("parts")) >= 32, why=daemon.log_tail)
    assert sorted(daemon.changes("shelves")[30:]) == [("deleted", 3), ("updated", 4)]
    assert sorted(daemon.changes("parts")[30:]) == [("deleted", 3), ("updated", 4)]
    wait_for(lambda: daemon.changes("articles") == [("created", 1)], why=daemon.log_tail)
    daemon.stop()


def test_a_polled_system_goes_on_where_it_was_after_a_kill(daemon: Daemon) -> None:
    # By then the pages before are with the thread that journals, which is at most three behind, and has stored one.
    daemon.launch(failpoint=f"extraction.page_read:{QUEUED_WINDOWS + 3}")
    assert daemon.wait() < 0
    assert 0 < len(daemon.changes("shelves")) + len(daemon.changes("parts")) < 60
    daemon.start()
    for stream in ("shelves", "parts"):
        wait_for(lambda: len(daemon.changes(stream)) >= 30, why=daemon.log_tail)  # noqa: B023  as above
    with daemon.journal() as journal:
        newest = journal.runs(stream="shelves")[0].number
        wait_for(lambda: journal.runs(stream="shelves")[0].number > newest + 1, why=daemon.log_tail)
    assert daemon.changes("shelves") == first(30)
    assert daemon.changes("parts") == first(30)
