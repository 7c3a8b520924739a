"""The command line itself: its help, its options, its exit codes, its page in the docs."""

import gc
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from bridge import __version__
from bridge.__main__ import main
from bridge.cli import EXIT_CODES, cli, hoisted
from bridge.cli.ask import actor
from bridge.errors import BridgeError

ROOT = Path(__file__).parents[2]
FOR_PEOPLE = {"init", "draft", "run", "dba-script", "dba-letter", "audit export", "demo"}
HEAVY = ("apsw", "numpy", "polars", "psycopg", "pyarrow", "rich", "sqlglot", "starlette", "yaml")


def commands() -> list[str]:
    """Every command as it is typed, "dead list" included."""
    found = []
    for name, command in group(get_command(cli)).items():
        inner = group(command)
        found += [f"{name} {each}" for each in inner] if inner else [name]
    return found


def group(command: Any) -> dict[str, Any]:  # noqa: ANN401 - typer's own classes
    """The commands below one; none when it is no group."""
    found: dict[str, Any] = getattr(command, "commands", {})
    return found


def test_help_imports_nothing_heavy() -> None:
    """Help is quick because it imports no data library; counting modules says so without a clock.

    Below the first level typer itself imports pydantic.
    """
    script = f"""
import sys
from contextlib import suppress
from bridge.cli import cli
for command in {["", *commands()]!r}:
    with suppress(SystemExit):
        cli([*command.split(), "--help"])
    assert command or "pydantic" not in sys.modules
print("heavy:", *sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.count("Usage:") == len(commands()) + 1
    assert done.stdout.splitlines()[-1] == "heavy:"


def test_a_comparison_imports_nothing_that_only_the_daemon_needs() -> None:
    """Its start-up is a part of its time."""
    script = """
import sys
import bridge.cli.compare, bridge.comparing, bridge.config.load, bridge.correct, bridge.journal.sqlite
import bridge.sources.postgres.snapshot, bridge.sources.view.dialects.postgres
heavy = {"apscheduler", "httpx2", "opentelemetry", "rich", "starlette", "structlog"}
print("heavy:", *sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "heavy:\n"


@pytest.mark.parametrize("command", sorted({*commands()} - FOR_PEOPLE))
def test_every_command_answers_a_program(command: str) -> None:
    """All but those that make files or documents, or run until they are stopped."""
    found = get_command(cli)
    for name in command.split():
        found = group(found)[name]
    options = {option for parameter in found.params for option in parameter.opts}
    assert "--json" in options


@pytest.mark.parametrize("command", commands())
def test_every_command_is_documented(command: str) -> None:
    """docs/commands.md has a heading for each command and names each of its options."""
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    _, found, section = page.partition(f"\n### `{command}")
    assert found, f"docs/commands.md has no heading for {command}"
    section = section.partition("\n### ")[0]
    here = get_command(cli)
    for word in command.split():
        here = group(here)[word]
    options = [name for each in here.params for name in each.opts if name.startswith("--") and name != "--help"]
    missing = [name for name in options if name not in section]
    assert not missing, f"{command}: {missing} are not explained"


def test_every_exit_code_is_in_the_help_and_in_the_docs() -> None:
    """An operator can look up what a script saw."""

    def codes(error: type[BridgeError]) -> set[int]:
        return {error.exit_code}.union(*(codes(each) for each in error.__subclasses__()))

    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for code in sorted(codes(BridgeError)):
        assert f" {code} " in EXIT_CODES.replace("\n", " "), f"exit code {code} is not in --help"
        assert f"| {code} |" in page, f"exit code {code} is not in docs/commands.md"


def test_the_configuration_may_be_named_anywhere_on_the_line() -> None:
    """Service units write it last; after `--` nothing is an option any more."""
    assert hoisted(["run", "--config", "a.yaml"]) == ["--config", "a.yaml", "run"]
    assert hoisted(["dead", "list", "--config=a.yaml", "--json"]) == ["--config=a.yaml", "dead", "list", "--json"]
    assert hoisted(["status", "--server", "http://a", "--json"]) == ["--server", "http://a", "status", "--json"]
    assert hoisted(["dead", "discard", "--", "--config"]) == ["dead", "discard", "--", "--config"]
    assert hoisted(["run", "--config"]) == ["--config", "run"]


def test_a_mistake_prints_error_and_hint_and_no_traceback(tmp_path: Path) -> None:
    """What went wrong, what to do, and the code of its class."""
    command = [sys.executable, "-m", "bridge", "status", "--config", str(tmp_path / "none.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert done.stderr.splitlines()[0] == f"error: {tmp_path / 'none.yaml'}: no such file"
    assert done.stderr.splitlines()[1].startswith("hint: ")
    assert done.stdout == ""


def test_a_fault_of_our_own_is_70_with_a_traceback() -> None:
    """A script must not take a crash for a failed check, which is 1."""
    script = """
import sys
from bridge import __main__, cli
cli.cli.command("broken")(lambda: 1 / 0)
sys.argv = ["legacy-bridge", "broken"]
__main__.main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 70
    assert "ZeroDivisionError" in done.stderr


def test_the_audit_trail_is_told_the_real_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment can say anything; the process's user cannot."""
    monkeypatch.setenv("LOGNAME", "somebody-else")
    assert actor() == f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


def test_the_version_is_the_packages() -> None:
    assert CliRunner().invoke(cli, ["--version"]).stdout == f"legacy-bridge {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["events", "orders", "--json", "--arrow", "x"],
        ["events", "orders", "--parquet", "x", "--follow"],
        ["dead", "replay"],
        ["dead", "replay", "1", "--all"],
        ["dead", "discard", "1", "--reason", " "],
        ["snapshot", "orders", "--pause", "--resume"],
    ],
)
def test_contradictions_are_wrong_usage(arguments: list[str]) -> None:
    """Told before anything is opened."""
    assert CliRunner().invoke(cli, arguments).exit_code == 2


def test_a_command_ends_without_going_through_all_that_it_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is frozen is not looked at by the collector, which Python runs more than once at its end."""
    monkeypatch.setattr(sys, "argv", ["legacy-bridge", "--version"])
    threshold = gc.get_threshold()
    try:
        with pytest.raises(SystemExit):
            main()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
