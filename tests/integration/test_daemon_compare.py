"""F-5: a stream compared with its table while both are written to: what was lost is named, and nothing else is."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from demo.server import Database
from tests.daemon import Daemon, Load, prepare, wait_for

ROWS = 3_000


@pytest.fixture
def daemon(tmp_path: Path, database: Database) -> Iterator[Daemon]:
    """A stream of 3,000 articles, journalled."""
    prepare(database, "articles", "shelves")
    with Daemon(tmp_path, database, "articles", "shelves") as made:
        made.start()
        database.sql(f"INSERT INTO shop.articles SELECT n, 'n' || n, n % 100 FROM generate_series(1, {ROWS}) n")
        wait_for(lambda: len(made.changes("articles")) >= ROWS, why=made.log_tail)
        yield made


def lose(daemon: Daemon, *statements: str) -> None:
    """Changes that the change log does not bring: the DBA took the table out of the publication for a while."""
    with psycopg.connect(daemon.database.dsn) as connection:
        connection.execute("ALTER PUBLICATION legacy_bridge DROP TABLE shop.articles")
        for statement in statements:
            connection.execute(statement)
        connection.execute("ALTER PUBLICATION legacy_bridge ADD TABLE shop.articles")


def compared(daemon: Daemon, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and what was said."""
    done = daemon.cli("compare", "articles", "--json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def found(said: dict[str, Any]) -> dict[str, tuple[str, list[str]]]:
    """The differences by key."""
    return {one["key"]: (one["kind"], one["fields"]) for one in said["differences"]}


def test_lost_changes_are_found_named_and_healed_under_load(daemon: Daemon) -> None:
    """One to a hundred changes of each kind; the table is written to all the while, in other keys."""
    numbers = random.Random(5).sample(range(1, ROWS), 100)  # noqa: S311  no secret
    altered, deleted = numbers[:60], numbers[60:]
    new = range(ROWS + 1_000_000, ROWS + 1_000_020)
    with Load(daemon.database, "articles", per_second=100) as load:
        wait_for(lambda: len(load.acknowledged) > 20, why=daemon.log_tail)
        assert compared(daemon)[0] == 0
        lose(
            daemon,
            f"UPDATE shop.articles SET amount = 1000 + amount WHERE id IN ({', '.join(map(str, altered))})",
            f"DELETE FROM shop.articles WHERE id IN ({', '.join(map(str, deleted))})",
            f"INSERT INTO shop.articles SELECT n, 'lost', 1 FROM generate_series({new[0]}, {new[-1]}) n",
        )
        code, said = compared(daemon)
        assert code == 1
        expected = {str(number): ("different", ["amount"]) for number in altered}
        expected |= {str(number): ("extra", []) for number in deleted}
        expected |= {str(number): ("missing", []) for number in new}
        assert found(said) == expected
        code, said = compared(daemon, "--heal")
        assert (code, said["corrected"], said["moved"]) == (0, len(expected), 0)
        assert compared(daemon)[0] == 0
    wait_for(lambda: daemon.rows("articles") == daemon.table("articles"), why=daemon.log_tail)
    trail = [json.loads(line) for line in daemon.ask("audit", "--json").splitlines()]
    assert [entry["action"] for entry in trail].count("stream.correct") >= 1
    assert [entry["action"] for entry in trail].count("stream.compared") == 4


def test_a_comparison_with_another_table_or_stream_says_what_it_compares(daemon: Daemon) -> None:
    daemon.database.sql("INSERT INTO shop.shelves SELECT id, name, amount FROM shop.articles WHERE id <> 7")
    code, said = compared(daemon, "--with", "shop.shelves")
    assert (code, found(said)) == (1, {"7": ("extra", [])})
    wait_for(lambda: len(daemon.changes("shelves")) == ROWS - 1, why=daemon.log_tail)
    code, said = compared(daemon, "--with", "shelves", "--patience", "10")
    assert (code, found(said), said["with"]) == (1, {"7": ("extra", [])}, "stream shelves")
    refused = daemon.cli("compare", "articles", "--with", "shelves", "--heal")
    assert refused.returncode == 78
    assert "cannot be corrected by another stream" in refused.stderr


def test_a_daemon_that_stands_still_lets_nothing_be_settled(daemon: Daemon) -> None:
    """A change the journal does not hold yet is no difference."""
    daemon.stop()
    daemon.database.sql("UPDATE shop.articles SET amount = 7 WHERE id = 5")
    code, said = compared(daemon, "--patience", "1")
    assert (code, said["differences"], said["unsettled"]) == (0, [], ["5"])
