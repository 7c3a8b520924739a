"""A daemon that polls a view: by schedule and on demand, within its budget, over kills, every moment on record."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.server import Database
from tests.daemon import Daemon, prepare, wait_for

VIEW = "-- mode: full\n-- key: id\nSELECT id, name, amount FROM shop.item\n"
ALL_DAY = ["00:00-24:00"]


@pytest.fixture
def daemon(database: Database, tmp_path: Path) -> Iterator[Daemon]:
    """Reads one table of five rows by a view, when somebody asks."""
    prepare(database, "item")
    database.sql("INSERT INTO shop.item SELECT n, 'article', n FROM generate_series(1, 5) n")
    (tmp_path / "item.sql").write_text(VIEW)
    made = Daemon(tmp_path, database, "item")
    plan(made)
    with made:
        yield made


def plan(daemon: Daemon, **schedule: Any) -> None:  # noqa: ANN401  keys of the stream
    """How the view is read from now on."""
    stream = {"system": "erp", "view": "item.sql", "contract": "item.odcs.yaml"}
    daemon.document["streams"]["item"] = {**stream, **schedule}
    daemon.write()


def reload(daemon: Daemon) -> None:
    """Take over what was written."""
    done = daemon.cli("reload")
    assert done.returncode == 0, done.stderr
    count = len(daemon.logged("daemon.reloaded"))
    wait_for(lambda: len(daemon.logged("daemon.reloaded")) >= max(1, count), why=daemon.log_tail)


def runs(daemon: Daemon) -> list[dict[str, Any]]:
    """The runs on record, oldest first."""
    found: list[dict[str, Any]] = json.loads(daemon.ask("runs", "--json"))
    return found[::-1]


def bill(daemon: Daemon) -> list[dict[str, Any]]:
    """What the system was asked for."""
    found: list[dict[str, Any]] = json.loads(daemon.ask("bill", "erp", "--json"))
    return found


def test_a_schedule_goes_on_over_a_kill_and_says_what_it_missed(daemon: Daemon) -> None:
    plan(daemon, every="1s")
    daemon.launch()
    daemon.wait_reading()
    wait_for(lambda: len(daemon.rows("item")) == 5, why=daemon.log_tail)
    daemon.database.sql("DELETE FROM shop.item WHERE id = 5; UPDATE shop.item SET amount = 9 WHERE id = 1")
    wait_for(lambda: daemon.rows("item") == daemon.table("item"), why=daemon.log_tail)
    daemon.kill()
    down_until = time.monotonic() + 3
    wait_for(lambda: time.monotonic() > down_until)
    daemon.launch()
    wait_for(
        lambda: any(run["state"] == "skipped" and "down" in run["detail"] for run in runs(daemon)), why=daemon.log_tail
    )
    missed = [run for run in runs(daemon) if run["state"] == "skipped" and "down" in run["detail"]]
    assert sum(run["moments"] for run in missed) >= 2
    wait_for(lambda: runs(daemon)[-1]["number"] > missed[-1]["number"], why=daemon.log_tail)
    assert {run["cause"] for run in runs(daemon)} >= {"the first", "every 1s"}
    assert daemon.doubled("item") == []
    wait_for(lambda: sum(one["rows"] for one in bill(daemon)) >= 10, why=lambda: bill(daemon))  # with the run under way
    assert sum(one["seconds"] for one in bill(daemon)) > 0


def test_a_run_that_was_asked_for_waits_for_quiet_hours_to_end(daemon: Daemon) -> None:
    daemon.document["systems"]["erp"]["budget"] = {"quiet_hours": ALL_DAY}
    daemon.write()
    daemon.launch()
    daemon.wait_reading()
    told = json.loads(daemon.ask("runs", "start", "item", "--json"))
    assert told["waits"] == "until it may begin"
    daemon.kill()
    daemon.launch()
    daemon.wait_reading()
    assert daemon.rows("item") == {}
    daemon.document["systems"]["erp"]["budget"] = {"quiet_hours": []}
    daemon.write()
    reload(daemon)
    wait_for(lambda: len(daemon.rows("item")) == 5, why=daemon.log_tail)
    (run,) = wait_for(lambda: [run for run in runs(daemon) if run["state"] == "done"], why=daemon.log_tail)
    assert run["cause"].startswith("asked for by cli:")
    assert json.loads(daemon.ask("status", "--json"))["streams"][0]["last_run"]["number"] == run["number"]


def test_a_paused_system_is_not_polled_and_its_moments_are_on_record(daemon: Daemon) -> None:
    plan(daemon, every="1s")
    daemon.launch()
    daemon.wait_reading()
    wait_for(lambda: len(daemon.rows("item")) == 5, why=daemon.log_tail)
    told = json.loads(daemon.ask("system", "pause", "erp", "--reason", "month end", "--json"))
    assert told["left"] == "nothing", "a view has no slot"
    ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'legacy-bridge/test/%'"
    ours += f" AND datname = '{daemon.database.name}'"
    wait_for(lambda: daemon.database.sql(ours) == [(0,)])  # the server ends a closed session in its own time
    wait_for(lambda: any("month end" in run["detail"] for run in runs(daemon)), why=daemon.log_tail)
    for command in (["view", "sample", "item"], ["view", "explain", "item"], ["compare", "item"]):
        refused = daemon.cli(*command)
        assert refused.returncode == 1, command
        assert "month end" in refused.stderr, refused.stderr
    daemon.database.sql("INSERT INTO shop.item VALUES (6, 'article', 6)")
    daemon.kill()
    daemon.launch()
    wait_for(lambda: "month end" in json.dumps(daemon.health()), why=daemon.log_tail)
    assert 6 not in daemon.rows("item")
    assert daemon.database.sql(ours) == [(0,)]
    daemon.ask("system", "resume", "erp")
    wait_for(lambda: 6 in daemon.rows("item"), why=daemon.log_tail)
    daemon.stop()
