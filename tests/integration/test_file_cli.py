"""`file` shows layouts and samples, `check` names their mistakes, and a bad record is a dead letter, whole."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bridge.cli import cli
from tests.daemon import wait_for
from tests.files import LENGTH, FileDaemon, content, put, record


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FileDaemon]:
    with FileDaemon(tmp_path) as made:
        yield made


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli, list(arguments))
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def test_a_layout_and_the_first_rows_of_a_file_are_shown(daemon: FileDaemon, tmp_path: Path) -> None:
    layout = str(tmp_path / "article.yaml")
    columns = [json.loads(line) for line in run("file", "show", layout, "--json").splitlines()]
    assert columns[2] == {"name": "amount", "from": 16, "length": 4, "written": "signed packed(7)", "type": "int64"}
    assert "from byte" in run("file", "show", layout)
    path = put(daemon.drop, "X.DAT", content([1, 2]) + b"\xff" * LENGTH)
    rows = [json.loads(line) for line in run("file", "sample", layout, str(path), "--json", code=1).splitlines()]
    assert rows[1] == {"record": 2, "offset": 19, "fault": None, "values": {"id": 2, "name": "N2", "amount": 1}}
    assert rows[2]["values"]["id"] == "(unreadable) ffffffffff"
    assert "N1" in run("file", "sample", layout, str(path), "--rows", "1")


def test_a_mistake_in_a_layout_is_told_by_check(daemon: FileDaemon, tmp_path: Path) -> None:
    assert "no mistakes" in run("--config", str(daemon.path), "check")
    (tmp_path / "article.cpy").write_text("       01  A.\n           05  ID PIC 9(9) COMP-9.\n")
    found = json.loads(run("--config", str(daemon.path), "check", "--json", code=78))
    assert found["mistakes"] == [f"{tmp_path}/article.cpy:2: `COMP-9` is not supported"]
    (tmp_path / "article.cpy").write_text("       01  A.\n           05  ID PIC 9(9).\n           05 NAMES PIC X.\n")
    found = json.loads(run("--config", str(daemon.path), "check", "--json", code=78))
    assert "has no column `name` (did you mean names?)" in found["mistakes"][0]


def test_a_folder_that_cannot_be_looked_into_is_told_by_check(daemon: FileDaemon) -> None:
    run("--config", str(daemon.path), "check", "--online")
    daemon.drop.rmdir()
    found = json.loads(run("--config", str(daemon.path), "check", "--online", "--json", code=1))
    assert [(finding["system"], finding["code"]) for finding in found["findings"]] == [("host", "source.unavailable")]


def test_a_bad_record_is_a_dead_letter_that_is_replayed_when_the_layout_is_mended(
    daemon: FileDaemon, tmp_path: Path
) -> None:
    wrong = (tmp_path / "article.cpy").read_text().replace("S9(7)", "S9(6)")
    right = (tmp_path / "article.cpy").read_text()
    (tmp_path / "article.cpy").write_text(wrong)
    daemon.start()
    put(daemon.drop, "A1.DAT", record(1) + record(2, amount=5_000_000) + record(3)[:7])
    wait_for(daemon.archived, why=daemon.log_tail)
    daemon.stop()
    given = ("--config", str(daemon.path))
    letters = [json.loads(line) for line in run(*given, "dead", "list", "--json").splitlines()]
    assert len(letters) == 2
    shown = json.loads(run(*given, "dead", "show", str(letters[0]["id"]), "--json"))
    values = shown["raw"]
    assert (values["$file"], values["$number"], values["$offset"]) == ("A1.DAT", 2, LENGTH)
    assert values["$record"] == record(2, amount=5_000_000).hex()
    shown = json.loads(run(*given, "dead", "show", str(letters[1]["id"]), "--json"))
    values = shown["raw"]
    assert values["$fault"] == "the file ends after 7 of 19 bytes"
    (tmp_path / "article.cpy").write_text(right)
    run(*given, "dead", "replay", str(letters[0]["id"]))
    assert daemon.rows("articles") == {1: ("N1", 1), 2: ("N2", 5_000_000)}
    [listed] = [json.loads(line) for line in run(*given, "file", "list", "host", "--json").splitlines()]
    assert (listed["name"], listed["outcome"], listed["rows"], listed["faults"]) == ("A1.DAT", "taken", 3, 1)


def test_a_table_that_lacks_most_rows_waits_for_a_person_who_allows_it(daemon: FileDaemon) -> None:
    daemon.document["streams"]["articles"]["mode"] = "full"
    daemon.write()
    daemon.start()
    put(daemon.drop, "A1.DAT", content(range(300)))
    wait_for(daemon.archived, why=daemon.log_tail)
    put(daemon.drop, "A2.DAT", content(range(100)))
    ailment = daemon.wait_ailment("file.refused:host")
    assert "200 of 300 rows are gone" in str(ailment)
    given = ("--config", str(daemon.path))
    [stream] = json.loads(run(*given, "status", "--json"))["streams"]
    assert stream["last_run"]["state"] == "failed"
    daemon.document["streams"]["articles"]["most_deletes"] = 1
    daemon.write()
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: len(daemon.archived()) == 2, why=daemon.log_tail)
    daemon.stop()
    assert sorted(daemon.rows("articles")) == list(range(100))
    newest = json.loads(run(*given, "runs", "--json"))[0]
    assert (newest["state"], newest["cause"]) == ("done", "file A2.DAT")
