"""`legacy-bridge key` on a real journal, beside a gate that reads it: shown once, revoked within a second, audited."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bridge.cli import cli
from bridge.config.access import PrincipalConfig
from bridge.errors import JournalUnavailable
from bridge.journal.sqlite import SqliteJournal
from bridge.web.authentication import Gatekeeper
from bridge.web.keyring import LOOK_S, KeyRing
from bridge.web.problems import Problem
from tests.gate import scope


class Project:
    """A starter project with the principal crm."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "bridge.yaml"
        assert CliRunner().invoke(cli, ["init", str(folder)]).exit_code == 0
        with self.config.open("a", encoding="utf-8") as file:
            file.write("\nprincipals:\n  crm: {streams: [orders]}\n")
        self.journal_path = folder / "var" / "journal.db"

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["--config", str(self.config), *arguments])

    def json(self, *arguments: str) -> list[dict[str, str | None]]:
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "acme")


@pytest.fixture
def gate(project: Project) -> Iterator[tuple[Gatekeeper, list[float]]]:
    """A gate as a daemon runs it, and the clock by which it looks for changes."""
    journal, clock = SqliteJournal.open(project.journal_path, owner=True), [0.0]
    ring = KeyRing(journal, monotonic=lambda: clock[0])
    yield Gatekeeper(journal, {"crm": PrincipalConfig()}, ring=ring), clock
    ring.close()
    journal.close()


def answer(gate: tuple[Gatekeeper, list[float]], text: str) -> str:
    """What the gate says when it looks again."""
    keeper, clock = gate
    clock[0] += LOOK_S
    try:
        return asyncio.run(keeper.admit(scope(f"Bearer {text}"))).principal.name
    except Problem as problem:
        return str(problem.status)


def test_a_key_opens_a_running_gate_until_it_is_revoked(project: Project, gate: tuple[Gatekeeper, list[float]]) -> None:
    (made,) = project.json("key", "create", "crm", "--note", "nightly job")
    text, prefix = str(made["key"]), str(made["prefix"])
    assert answer(gate, text) == "crm"
    gate[0].step()
    (listed,) = project.json("key", "list")
    assert (listed["prefix"], listed["state"], listed["note"]) == (prefix, "good", "nightly job")
    assert listed["last_used_hour"] is not None
    assert project.json("key", "revoke", prefix) == [{"prefix": prefix, "principal": "crm"}]
    assert answer(gate, text) == "401"
    assert project.json("key", "list") == []


def test_a_rotated_key_is_good_beside_the_new_one_for_a_while(
    project: Project, gate: tuple[Gatekeeper, list[float]]
) -> None:
    (old,) = project.json("key", "create", "crm", "--expires", "90d")
    (new,) = project.json("key", "rotate", str(old["prefix"]), "--overlap", "2h")
    assert answer(gate, str(old["key"])) == answer(gate, str(new["key"])) == "crm"
    expiries = {row["prefix"]: str(row["expires_at"]) for row in project.json("key", "list")}
    assert expiries[old["prefix"]] < expiries[new["prefix"]]


def test_a_key_is_shown_once_and_kept_nowhere(project: Project) -> None:
    """Neither in the file, nor in the list, nor in the audit trail, which names who made it; the first command makes
    the journal."""
    text = project.run("key", "create", "crm").stdout.strip()
    secret = text[13:]
    stored = b"".join(file.read_bytes() for file in project.journal_path.parent.iterdir())
    assert secret.encode() not in stored
    trail = project.run("audit", "--json").stdout
    assert secret not in trail + project.run("key", "list").stdout
    (entry,) = [json.loads(line) for line in trail.splitlines()]
    assert (entry["action"], entry["subject"]) == ("key.create", text[:12])
    assert entry["actor"].startswith("cli:")


def test_what_only_takes_away_makes_no_journal(project: Project) -> None:
    for command in ("revoke", "rotate"):
        assert isinstance(project.run("key", command, "lbk_00000000", "--dry-run").exception, JournalUnavailable)
    assert not project.journal_path.exists()


def test_a_dry_run_makes_and_takes_nothing(project: Project) -> None:
    project.run("key", "create", "crm", "--dry-run")
    (made,) = project.json("key", "create", "crm")
    prefix = str(made["prefix"])
    project.run("key", "rotate", prefix, "--dry-run")
    project.run("key", "revoke", prefix, "--dry-run")
    assert [row["prefix"] for row in project.json("key", "list")] == [prefix]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["create", "nobody"], 66),
        (["create", "crm", "--expires", "soon"], 2),
        (["revoke", "lbk_00000000"], 66),
        (["revoke", f"lbk_00000000_{'s' * 43}"], 2),
    ],
)
def test_what_cannot_be_done_is_said_without_repeating_a_secret(
    project: Project, arguments: list[str], code: int
) -> None:
    project.run("key", "create", "crm")
    project.run("key", "create", "crm")
    done = project.run("key", *arguments)
    assert (done.exit_code if done.exception is None else getattr(done.exception, "exit_code", done.exit_code)) == code
    assert "sss" not in done.output
