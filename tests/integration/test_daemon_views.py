"""The daemon reads one table by its log and another by a view, from one system."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.server import Database
from tests.daemon import Daemon, prepare, wait_for

VIEW = "-- mode: full\n-- key: id\nSELECT id, name, amount FROM shop.shelves\n"


@pytest.fixture
def daemon(tmp_path: Path, database: Database) -> Iterator[Daemon]:
    prepare(database, "articles", "shelves")
    (tmp_path / "shelves.sql").write_text(VIEW)
    with Daemon(tmp_path, database, "articles", "shelves") as made:
        section = made.document["streams"]["shelves"]
        del section["log"]
        section |= {"view": "shelves.sql", "every": "1s"}
        yield made


def test_a_table_is_read_by_log_and_another_by_view_with_its_deletes(daemon: Daemon) -> None:
    daemon.database.sql("INSERT INTO shop.shelves VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)")
    daemon.write()
    daemon.start()
    wait_for(lambda: len(daemon.changes("shelves")) >= 3, why=daemon.log_tail)
    daemon.database.sql("INSERT INTO shop.articles VALUES (7, 'n', 1)")
    daemon.database.sql("UPDATE shop.shelves SET amount = 9 WHERE id = 1; DELETE FROM shop.shelves WHERE id = 2")
    daemon.database.sql("INSERT INTO shop.shelves VALUES (4, 'd', 4)")
    wait_for(lambda: len(daemon.changes("shelves")) >= 6, why=daemon.log_tail)
    wait_for(lambda: daemon.changes("articles"), why=daemon.log_tail)
    daemon.kill()
    daemon.database.sql("DELETE FROM shop.shelves WHERE id = 3")
    daemon.start()
    wait_for(lambda: len(daemon.changes("shelves")) >= 7, why=daemon.log_tail)
    found = daemon.changes("shelves")
    assert sorted(found[:3]) == [("read", 1), ("read", 2), ("read", 3)]
    assert sorted(found[3:6]) == [("created", 4), ("deleted", 2), ("updated", 1)]
    assert found[6:] == [("deleted", 3)]
    assert daemon.changes("articles") == [("created", 7)]
