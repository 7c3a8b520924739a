"""B15, I5 and the operator's commands, on a running daemon: drift, pause, dead letters, validity levels."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.server import Database
from tests.daemon import Daemon, Load, prepare, reckon, wait_for


@pytest.fixture
def daemon(tmp_path: Path, database: Database) -> Iterator[Daemon]:
    prepare(database, "articles", "shelves")
    with Daemon(tmp_path, database, "articles", "shelves") as made:
        yield made


def insert(daemon: Daemon, number: int, *, amount: int = 1, stream: str = "articles") -> None:
    daemon.database.sql(f"INSERT INTO shop.{stream} (id, name, amount) VALUES ({number}, 'n', {amount})")


def journalled(daemon: Daemon, *changes: tuple[str, int], stream: str = "articles") -> None:
    """Wait until exactly these changes are journalled, in this order."""
    wait_for(lambda: len(daemon.changes(stream)) >= len(changes), why=daemon.log_tail)
    assert daemon.changes(stream) == list(changes)


def lettered(daemon: Daemon, *keys: str) -> None:
    """Wait until exactly these keys have dead letters."""
    wait_for(lambda: daemon.letter_keys("articles").total() >= len(keys), why=daemon.log_tail)
    assert sorted(str(key) for key in daemon.letter_keys("articles").elements()) == sorted(keys)


def parked(daemon: Daemon, stream: str = "articles") -> int:
    with daemon.journal() as journal:
        return journal.parked_counts().get(stream, 0)


def replay(daemon: Daemon) -> dict[str, int]:
    counts: dict[str, int] = json.loads(daemon.ask("dead", "replay", "--all", "--json"))
    return counts


def test_drift_parks_one_stream_and_resume_replays_it_in_order(daemon: Daemon) -> None:
    """The column a contract reads is gone; a new version of the contract fits the table again."""
    daemon.start()
    insert(daemon, 1)
    journalled(daemon, ("created", 1))
    with Load(daemon.database, "shelves", per_second=100) as load:
        daemon.database.sql("ALTER TABLE shop.articles RENAME COLUMN amount TO quantity")
        for number in (2, 3):
            daemon.database.sql(f"INSERT INTO shop.articles VALUES ({number}, 'n', 1)")
        daemon.database.sql("DELETE FROM shop.articles WHERE id = 2")
        wait_for(lambda: parked(daemon) == 3, why=daemon.log_tail)
        ailment = daemon.wait_ailment("stream:articles")
        assert "quantity" in ailment["what"]
        assert ailment["blocks"] == ["articles"]
        refused = daemon.cli("stream", "resume", "articles")
        assert refused.returncode == 1
        daemon.write_contract("articles", version="2.0.0")
        contract = daemon.folder / "articles.odcs.yaml"
        contract.write_text(contract.read_text().replace("name: amount,", "name: amount, transformLogic: quantity,"))
        daemon.ask("reload")
        daemon.ask("stream", "resume", "articles")
        daemon.database.sql("INSERT INTO shop.articles VALUES (4, 'n', 1)")
        journalled(daemon, ("created", 1), ("created", 2), ("created", 3), ("deleted", 2), ("created", 4))
    assert parked(daemon) == 0
    daemon.wait_well("stream:articles")
    reckon(daemon, "shelves", [load])


def test_a_paused_stream_parks_while_the_other_flows_and_survives_a_kill(daemon: Daemon) -> None:
    daemon.start()
    assert json.loads(daemon.ask("stream", "pause", "articles", "--json"))["phase"] == "paused"
    insert(daemon, 1)
    insert(daemon, 2, stream="shelves")
    journalled(daemon, ("created", 2), stream="shelves")
    daemon.kill()
    daemon.start()
    insert(daemon, 3)
    wait_for(lambda: parked(daemon) == 2, why=daemon.log_tail)
    assert daemon.changes("articles") == []
    daemon.ask("stream", "resume", "articles")
    journalled(daemon, ("created", 1), ("created", 3))


def test_passing_lets_later_changes_flow_and_supersedes_the_mended_letter(daemon: Daemon) -> None:
    """I5: a letter overtaken by a later change of its key is closed and not emitted late; another becomes an event."""
    daemon.start()
    insert(daemon, 1, amount=-1)
    insert(daemon, 2, amount=-1)
    daemon.database.sql("UPDATE shop.articles SET amount = 5 WHERE id = 1")
    journalled(daemon, ("updated", 1))
    lettered(daemon, "1", "2")
    assert replay(daemon)["still_rejected"] == 2
    daemon.write_contract("articles", version="2.0.0", minimum=-5)
    daemon.ask("reload")
    wait_for(lambda: daemon.logged("daemon.reloaded"), why=daemon.log_tail)
    counts = replay(daemon)
    assert (counts["replayed"], counts["superseded"]) == (1, 1)
    journalled(daemon, ("updated", 1), ("created", 2))
    states = {
        line["key"]: line["state"]
        for line in map(json.loads, daemon.ask("dead", "list", "--all", "--json").splitlines())
    }
    assert states == {"1": "superseded", "2": "replayed"}


def test_holding_makes_later_changes_of_a_key_wait_behind_it(daemon: Daemon) -> None:
    """Other keys flow; the held changes follow in order once the letter is mended, also over a kill."""
    daemon.document["streams"]["articles"]["on_reject"] = "hold"
    daemon.write()
    daemon.start()
    insert(daemon, 1, amount=-1)
    lettered(daemon, "1")
    daemon.kill()
    daemon.start()
    daemon.database.sql("UPDATE shop.articles SET amount = 5 WHERE id = 1")
    insert(daemon, 2)
    journalled(daemon, ("created", 2))
    daemon.database.sql("DELETE FROM shop.articles WHERE id = 1")
    lettered(daemon, "1", "1", "1")
    daemon.write_contract("articles", version="2.0.0", minimum=-5)
    daemon.ask("reload")
    wait_for(lambda: daemon.logged("daemon.reloaded"), why=daemon.log_tail)
    assert replay(daemon)["replayed"] == 3
    journalled(daemon, ("created", 2), ("created", 1), ("updated", 1), ("deleted", 1))
    insert(daemon, 1)
    journalled(daemon, ("created", 2), ("created", 1), ("updated", 1), ("deleted", 1), ("created", 1))


def test_a_discarded_letter_lets_go_what_waited_behind_it_and_is_audited(daemon: Daemon) -> None:
    daemon.document["streams"]["articles"]["on_reject"] = "hold"
    daemon.write()
    daemon.start()
    insert(daemon, 1, amount=-1)
    lettered(daemon, "1")
    daemon.database.sql("UPDATE shop.articles SET amount = 5 WHERE id = 1")
    lettered(daemon, "1", "1")
    number = json.loads(daemon.ask("dead", "list", "--json").splitlines()[0])["id"]
    refused = daemon.cli("dead", "discard", str(number), "--yes", "--reason", " ")
    assert refused.returncode == 2
    daemon.ask("dead", "discard", str(number), "--yes", "--reason", "typed in twice")
    journalled(daemon, ("updated", 1))
    assert "typed in twice" in daemon.ask("audit")


def test_a_breach_of_the_validity_level_shows_in_status_and_health(daemon: Daemon) -> None:
    """Half of the rows were rejected where 10 % may be."""
    daemon.write_contract("articles", error_percent=10)
    daemon.start()
    insert(daemon, 1)
    insert(daemon, 2, amount=-1)
    ailment = daemon.wait_ailment("stream:articles")
    assert ailment["status"] == "warn"
    assert "50.00 %" in ailment["what"]
    streams = {each["stream"]: each["validity"] for each in json.loads(daemon.ask("status", "--json"))["streams"]}
    assert streams["articles"]["level"] == "breached"
    assert streams["articles"]["since"] == ailment["since"]
    assert streams["shelves"]["level"] == "ok"
