"""`runs`, `bill`, `system` and `status` beside a journal that knows of runs; no daemon runs."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bridge.cli import cli
from bridge.errors import ConfigError
from bridge.extracted import Charge, Extracted, Run
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Commit, Position

NOW = datetime.now(UTC).replace(microsecond=0)
CONFIG = """
bridge: {name: acme, type_prefix: com.acme.erp, journal: {sqlite: journal.db}}
systems: {erp: {postgres: {}}}
streams:
  orders: {system: erp, view: orders.sql, every: 5m, contract: orders.odcs.yaml}
  items: {system: erp, view: orders.sql, contract: orders.odcs.yaml}
  log: {system: erp, log: s.t, contract: orders.odcs.yaml}
"""
RUN = Run("erp/views", 1, "orders", "run", "every 5m", "done", NOW - timedelta(hours=2))
Ask = Callable[..., Result]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Runs a command beside a journal with seven runs, one that was skipped, and a bill."""
    for name in ("orders.sql", "orders.odcs.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "bridge.yaml").write_text(CONFIG)
    journal = SqliteJournal.open(tmp_path / "journal.db", owner=True)
    runs = [
        replace(
            RUN,
            number=number,
            started_at=at,
            ended_at=at + timedelta(seconds=10 * number),
            rows=100,
            queries=2,
            counts={"r": 100},
        )
        for number in range(1, 7)
        for at in [NOW - timedelta(minutes=60 - number)]
    ]
    long = replace(RUN, number=7, state="running", started_at=NOW - timedelta(minutes=20), ended_at=None)
    skipped = replace(RUN, number=8, state="skipped", started_at=NOW, ended_at=NOW, moments=3, detail="run 7 was busy")
    charges = [
        Charge("erp", stream, NOW - timedelta(hours=hours), queries=2, seconds=0.5, rows=100, size_bytes=1_000)
        for stream, hours in (("orders", 0), ("", 0), ("orders", 1), ("orders", 30))
    ]
    state = {"timetable": {"seen_at": NOW.isoformat(), "anchors": {"orders": (NOW - timedelta(hours=1)).isoformat()}}}
    extracted = Extracted(runs=(*runs, long, skipped), charges=tuple(charges))
    journal.append(Commit("erp/views", Position(1, (1,)), state, judged={"orders": (90, 10)}, extracted=extracted))
    journal.close()

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["--config", str(tmp_path / "bridge.yaml"), *arguments])

    return run


def listed(ask: Ask, *arguments: str) -> Any:  # noqa: ANN401  JSON
    done = ask(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_runs_are_listed_newest_first_with_what_is_usual(ask: Ask) -> None:
    skipped, long, *done = listed(ask, "runs")
    assert (skipped["detail"], skipped["moments"], skipped["took_s"]) == ("run 7 was busy", 3, None)
    assert (long["usually_s"], long["took_s"] >= 1_200) == (35.0, True)
    assert [one["number"] for one in done] == [6, 5, 4, 3, 2, 1]
    assert len(listed(ask, "runs", "--stream", "orders", "--limit", "2")) == 2
    assert listed(ask, "runs", "--stream", "items") == []
    text = ask("runs").stdout
    assert "run 7 was busy (3 times)" in text
    assert isinstance(ask("runs", "--stream", "nowhere").exception, ConfigError)


def test_one_run_is_shown_whole(ask: Ask) -> None:
    assert listed(ask, "runs", "show", "7")["state"] == "running"
    text = ask("runs", "show", "3").stdout
    assert "every 5m" in text
    assert "100 read" in text
    assert ask("runs", "show", "99").exit_code != 0


def test_a_run_that_is_only_thought_of_is_of_a_stream_that_is_there(ask: Ask) -> None:
    assert ask("runs", "start", "orders", "--dry-run").exit_code == 0
    for act in ("start", "cancel"):
        assert isinstance(ask("runs", act, "nowhere", "--dry-run").exception, ConfigError)


def test_files_are_listed_of_systems_that_leave_some(ask: Ask) -> None:
    assert "leaves no files" in str(ask("file", "list", "erp").exception)


def test_a_bill_adds_up_by_hour(ask: Ask) -> None:
    charges = listed(ask, "bill", "erp")
    assert sum(one["queries"] for one in charges) == 6
    assert {one["stream"] for one in charges} == {"orders", ""}
    lines = ask("bill", "erp", "--hours", "48").stdout.splitlines()
    assert lines[-1].split() == ["all", "8", "2.000", "400", "4000"]
    assert len(lines) == 5
    assert isinstance(ask("bill", "nowhere").exception, ConfigError)


def test_status_shows_the_last_and_the_next_run(ask: Ask) -> None:
    asked_at = datetime.now(UTC)
    report = listed(ask, "status")
    streams = {one["stream"]: one for one in report["streams"]}
    assert streams["orders"]["last_run"]["number"] == 7
    next_at = datetime.fromisoformat(streams["orders"]["next_run_at"])
    assert asked_at < next_at <= datetime.now(UTC) + timedelta(minutes=5)
    assert streams["log"]["next_run_at"] is None
    assert streams["items"]["next_run_at"] is None


def test_what_is_to_be_paused_must_be_there(ask: Ask) -> None:
    assert ask("system", "pause", "erp", "--dry-run").exit_code == 0
    assert listed(ask, "system", "list")[0]["paused"] is False
    assert isinstance(ask("system", "pause", "nowhere").exception, ConfigError)
