"""A running daemon and its files: a changed configuration is taken over whole or not at all (H4)."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from demo.processes import DIES_WITH_US
from demo.server import Database
from tests.daemon import DEADLINE_S, ROOT, Daemon, Load, add_table, prepare, reckon, wait_for
from tests.inbox import InboxDaemon


@pytest.fixture
def daemon(tmp_path: Path, database: Database) -> Iterator[Daemon]:
    prepare(database, "articles")
    with Daemon(tmp_path, database, "articles") as made:
        yield made.start()


def insert(daemon: Daemon, *numbers: int, stream: str = "articles", amount: int = 1) -> None:
    for number in numbers:
        daemon.database.sql(f"INSERT INTO shop.{stream} VALUES ({number}, 'n', {amount})")


def journalled(daemon: Daemon, *numbers: int, stream: str = "articles") -> None:
    """Wait until exactly these were created, in this order."""
    wait_for(lambda: len(daemon.changes(stream)) >= len(numbers), why=daemon.log_tail)
    assert daemon.changes(stream) == [("created", number) for number in numbers]


def test_a_broken_file_is_refused_with_file_and_line_and_the_old_one_keeps_running(daemon: Daemon) -> None:
    good = daemon.path.read_text()
    lines = good.splitlines()
    wrong = next(number for number, line in enumerate(lines, 1) if "log: shop.articles" in line)
    daemon.path.write_text(good.replace("log: shop.articles", "log: articles"))
    daemon.signal(signal.SIGHUP)
    ailment = daemon.wait_ailment("configuration")
    assert f"{daemon.path}:{wrong}" in ailment["what"]
    assert f"{daemon.path}:{wrong}" in daemon.logged("reload.refused")[0]["error"]
    insert(daemon, 1)
    journalled(daemon, 1)
    daemon.path.write_text(good)
    daemon.signal(signal.SIGHUP)
    daemon.wait_well("configuration")


def test_the_command_line_hears_why_a_reload_is_refused(daemon: Daemon) -> None:
    daemon.document["bridge"]["name"] = "other"
    daemon.write()
    refused = daemon.cli("reload")
    assert refused.returncode == 1
    assert "needs a restart: bridge.name" in refused.stderr


def test_a_stream_comes_and_goes_while_another_flows(daemon: Daemon) -> None:
    """Nothing of the stream that stays is lost; the new one is read from its first row; the old one is forgotten."""
    add_table(daemon.database, "shelves")
    insert(daemon, 1, 2, stream="shelves")
    with Load(daemon.database, "articles", per_second=100) as load:
        daemon.add_stream("shelves")
        daemon.write()
        assert "streams.shelves" in daemon.cli("reload").stderr
        wait_for(lambda: daemon.rows("shelves") == daemon.table("shelves"), why=daemon.log_tail)
        insert(daemon, 3, stream="shelves")
        wait_for(lambda: daemon.rows("shelves") == daemon.table("shelves"), why=daemon.log_tail)
        daemon.wait_well("stream:shelves", "stream:articles", "source:erp")
        del daemon.document["streams"]["shelves"]
        daemon.write()
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: "stream:shelves" not in daemon.health(), why=daemon.log_tail)
        insert(daemon, 4, stream="shelves")
        written = len(load.acknowledged)
        wait_for(lambda: len(load.acknowledged) > written + 20)
    reckon(daemon, "articles", [load])
    assert 4 not in daemon.rows("shelves")


def test_many_reloads_under_load_lose_and_double_nothing(daemon: Daemon) -> None:
    with Load(daemon.database, "articles") as load:
        for number in range(4):
            daemon.document["streams"]["articles"]["on_reject"] = "hold" if number % 2 else "pass"
            daemon.write()
            daemon.signal(signal.SIGHUP)
            wait_for(lambda: len(daemon.logged("daemon.reloaded")) > number, why=daemon.log_tail)  # noqa: B023  called at once
    reckon(daemon, "articles", [load])


HELD_UP = """
import pathlib, sys, time
from bridge import app, daemon
end, folder = app.Loops.end, pathlib.Path(sys.argv[1]).parent
def held_up(loops):
    (folder / "ending").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    end(loops)
app.Loops.end = held_up
sys.exit(daemon.run(pathlib.Path(sys.argv[1])))
"""


def test_a_reload_is_answered_when_what_it_took_over_is_in_force(tmp_path: Path) -> None:
    command = [*DIES_WITH_US, sys.executable, "-c", HELD_UP, str(tmp_path / "bridge.yaml")]
    with (
        InboxDaemon(tmp_path) as daemon,
        subprocess.Popen(command, cwd=ROOT, env=daemon.environment) as process,
        ExitStack() as stack,
    ):
        stack.callback(process.kill)
        wait_for(lambda: daemon.page("/readyz")[0] == 200)
        asked = daemon.request("reload")
        wait_for((tmp_path / "ending").exists)
        daemon.wait_settled(daemon.request("stream.pause", stream="articles"))  # the former loops are at work still
        with daemon.journal() as journal:
            assert [request.id for request in journal.requests()] == [asked]
        (tmp_path / "go").touch()
        assert daemon.wait_settled(asked) == {"changes": []}
        process.terminate()
        assert process.wait(DEADLINE_S) == 0


def test_a_published_contract_changed_in_place_is_refused_at_reload_and_at_start(daemon: Daemon) -> None:
    """Under a new version the same change is taken."""
    daemon.write_contract("articles", minimum=-5)
    refused = daemon.cli("reload")
    assert refused.returncode == 1
    assert "version 1.0.0 of shop-articles was published with other content" in refused.stderr
    insert(daemon, 1)
    insert(daemon, 2, amount=-1)  # the running contract still holds
    journalled(daemon, 1)
    wait_for(lambda: daemon.letter_keys("articles"), why=daemon.log_tail)
    daemon.stop()
    daemon.launch()
    assert daemon.wait() == 78
    assert "was published with other content" in daemon.log_tail()
    daemon.write_contract("articles", version="2.0.0", minimum=-5)
    daemon.start()
    insert(daemon, 3, amount=-1)
    journalled(daemon, 1, 3)


def test_a_reload_names_the_contracts_that_are_others(daemon: Daemon) -> None:
    assert "neither keys nor contracts had changed" in daemon.cli("reload").stderr
    assert json.loads(daemon.cli("reload", "--json").stdout) == {"changes": []}
    daemon.write_contract("articles", version="1.1.0", minimum=-5)
    assert "reloaded: contract of articles: 1.0.0 to 1.1.0" in daemon.cli("reload").stderr
    insert(daemon, 1, amount=-1)
    journalled(daemon, 1)
