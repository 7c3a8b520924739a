"""The HTTP door of a running daemon: real keys, real events, and a changed configuration."""

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from demo.server import Database
from tests.daemon import Daemon, prepare, wait_for


@pytest.fixture
def daemon(tmp_path: Path, database: Database) -> Iterator[Daemon]:
    prepare(database, "articles")
    with Daemon(tmp_path, database, "articles") as made:
        made.document["principals"] = {"shop": {"streams": ["articles"], "acts": ["read", "operate"]}}
        made.write()
        yield made.start()


def ask(daemon: Daemon, key: str, path: str, method: str = "GET") -> tuple[int, Any]:
    """Status and JSON of an answer of the daemon's door."""
    with closing(http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)) as connection:
        connection.request(method, path, headers={"Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def test_a_key_opens_what_its_principal_may_and_events_come_live(daemon: Daemon) -> None:
    key = daemon.ask("key", "create", "shop").split()[-1]
    assert ask(daemon, "lbk_wrong", "/v1/streams")[0] == 401
    assert ask(daemon, key, "/v1/audit")[0] == 403
    assert [each["name"] for each in ask(daemon, key, "/v1/streams")[1]["streams"]] == ["articles"]
    with closing(http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)) as connection:
        connection.request("GET", "/v1/streams/articles/events/live", headers={"Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        assert response.readline() == b": welcome\n"
        daemon.database.sql("INSERT INTO shop.articles VALUES (1, 'n', 5)")
        while not (line := response.readline()).startswith(b"data: "):
            assert line, "the connection ended"
        live = json.loads(line[6:])
        response.close()
    _, page = ask(daemon, key, "/v1/streams/articles/events")
    assert page["events"] == [live]
    status, paused = ask(daemon, key, "/v1/streams/articles/pause", "POST")
    assert (status, paused["actor"], paused["result"]["phase"]) == (200, "api:shop", "paused")


def test_the_command_line_follows_a_stream_through_the_door_over_a_change_of_configuration(
    daemon: Daemon, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(daemon.ask("key", "create", "shop").split()[-1])
    command = [sys.executable, "-m", "bridge", "events", "articles", "--follow", "--limit", "3"]
    command += ["--server", f"http://127.0.0.1:{daemon.port}", "--key-file", str(tmp_path / "key")]
    daemon.database.sql("INSERT INTO shop.articles VALUES (1, 'n', 5)")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        subjects = [json.loads(following.stdout.readline())["subject"]]
        daemon.database.sql("INSERT INTO shop.articles VALUES (2, 'n', 5)")
        subjects.append(json.loads(following.stdout.readline())["subject"])
        daemon.document["principals"]["shop"]["acts"] = ["read"]
        daemon.write()
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: daemon.logged("daemon.reloaded"), why=daemon.log_tail)
        daemon.database.sql("INSERT INTO shop.articles VALUES (3, 'n', 5)")
        subjects.append(json.loads(following.stdout.readline())["subject"])
        assert following.wait(60) == 0
    assert subjects == ["1", "2", "3"]


def test_a_changed_configuration_stands_behind_the_door_at_once(daemon: Daemon) -> None:
    key = daemon.ask("key", "create", "shop").split()[-1]
    assert ask(daemon, key, "/v1/runs")[0] == 200
    daemon.document["principals"]["shop"]["acts"] = ["read"]
    daemon.write()
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: ask(daemon, key, "/v1/runs")[0] == 403, why=daemon.log_tail)
    assert ask(daemon, key, "/v1/streams")[0] == 200


def test_the_command_line_speaks_through_the_door_as_a_principal(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(daemon.ask("key", "create", "shop").split()[-1])
    daemon.database.sql("INSERT INTO shop.articles VALUES (1, 'n', 5)")
    wait_for(lambda: daemon.changes("articles"), why=daemon.log_tail)

    def remote(*arguments: str, url: str = f"http://127.0.0.1:{daemon.port}") -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "bridge", *arguments, "--server", url, "--key-file", str(tmp_path / "key")]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert json.loads(remote("events", "articles", "--json").stdout)["subject"] == "1"
    assert "articles" in remote("status").stdout
    paused = remote("stream", "pause", "articles")
    assert (paused.returncode, paused.stdout) == (0, "stream: articles, phase: paused\n")
    assert json.loads(remote("stream", "list", "--json").stdout)[0]["why"] == "paused by api:shop"
    with daemon.journal() as journal:
        assert [each.entry.actor for each in journal.audit_trail(action="stream.pause")] == ["api:shop"]
    said = remote("sink", "breaker", "crm", "open", "--dry-run").stderr
    assert said.startswith("would ask http://127.0.0.1:")
    assert said.endswith('for POST /v1/sinks/crm/breaker with {"force": "open"}\n')
    assert remote("stream", "resume", "articles", "--dry-run").returncode == 0
    assert remote("stream", "snapshot", "articles", "--cancel").returncode == 1, "none is under way"
    assert json.loads(remote("stream", "list", "--json").stdout)[0]["phase"] == "paused"
    held = remote("system", "pause", "erp", "--reason", "month end")
    assert held.returncode == 0, held.stderr
    (standing,) = json.loads(remote("system", "list", "--json").stdout)
    assert (standing["by"], standing["reason"]) == ("api:shop", "month end")
    assert json.loads(remote("system", "resume", "erp", "--json").stdout) == {"system": "erp", "paused": False}
    assert json.loads(remote("bill", "erp", "--json").stdout) == []
    assert json.loads(remote("runs", "--stream", "articles", "--limit", "5", "--json").stdout) == []
    assert remote("runs").returncode == 2
    assert remote("runs", "show", "1", "--stream", "articles").returncode == 66
    assert remote("runs", "start", "articles").returncode == 1, "it is not polled"
    assert remote("dead", "list").returncode == 77
    assert remote("events", "nowhere").returncode == 66
    assert remote("status", url="http://127.0.0.1:9").returncode == 69
    clear = remote("status", url="http://bridge.example")
    assert (clear.returncode, "in the clear" in clear.stderr) == (78, True)
