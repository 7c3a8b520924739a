"""What a person at a terminal sees: a real pseudo-terminal stands behind stdout."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bridge.cli import cli
from bridge.journal.sqlite import SqliteJournal
from bridge.model import AuditEntry, Commit


def on_terminal(*arguments: str, **more: str) -> str:
    """What a command writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "bridge", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_COLOR")}
    with subprocess.Popen(command, stdout=theirs, env=environment | {"TERM": "xterm-256color"} | more) as process:
        os.close(theirs)
        written = b""
        while chunk := read(ours):
            written += chunk
    os.close(ours)
    assert process.returncode == 0
    return written.decode()


def read(terminal: int) -> bytes:
    """The next bytes; none when the other end is closed, which Linux tells as an error."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A starter project whose audit trail holds a name that would steer a terminal."""
    assert CliRunner().invoke(cli, ["init", str(tmp_path / "acme")]).exit_code == 0
    file = tmp_path / "acme" / "var" / "journal.db"
    file.parent.mkdir()
    journal = SqliteJournal.open(file, owner=True)
    journal.append(Commit(audit=(AuditEntry("cli:ann", "dead.discard", "orders/1", "\x1b[2Jgone"),)))
    journal.close()
    return str(tmp_path / "acme" / "bridge.yaml")


def test_a_terminal_gets_a_table_and_no_control_characters_from_data(config: str) -> None:
    """Headings stand out; what came from a legacy system is shown escaped."""
    shown = on_terminal("audit", "--config", config)
    assert "\x1b[1m" in shown
    assert "\x1b[2J" not in shown
    assert "\\x1b[2Jgone" in shown


def test_no_color_is_obeyed_on_a_terminal(config: str) -> None:
    """NO_COLOR leaves no colour; emphasis may stay."""
    assert "\x1b[32m" in on_terminal("status", "--config", config)
    assert "\x1b[3" not in on_terminal("status", "--config", config, NO_COLOR="1")
