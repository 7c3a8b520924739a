"""The commands that reach a legacy system, and those that talk to a running daemon, on a real server."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.erp import build
from demo.processes import free_port
from demo.server import Database, PostgresServer
from tests.daemon import PORTS

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0


class Bridge:
    """The reference deployment in a folder of its own, on an ERP of its own."""

    def __init__(self, folder: Path, erp: Database) -> None:
        self.erp = erp
        self.slot = f"bridge_{uuid.uuid4().hex[:12]}"
        self.config = folder / "bridge.yaml"
        self.config.write_text(
            (ROOT / "bridge.yaml")
            .read_text()
            .replace("contracts/", f"{ROOT}/contracts/")
            .replace("views/", f"{ROOT}/views/")
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "BRIDGE_"))}
        self.environment = kept | {
            "PGHOST": erp.server.host,
            "PGPORT": str(erp.server.port),
            "BRIDGE_SYSTEMS__ERP__POSTGRES__DATABASE": erp.name,
            "BRIDGE_SYSTEMS__ERP__POSTGRES__SLOT": self.slot,
            "BRIDGE_NAME": self.slot.replace("_", "-"),  # so that no bridge takes another's sessions for its own
            "BRIDGE_HTTP__PORT": str(free_port(PORTS)),
        }

    def start(self, *arguments: str, more: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "bridge", "--config", str(self.config), *arguments]
        environment = self.environment | dict(more or {})
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)

    def finish(self, *arguments: str, more: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command."""
        process = self.start(*arguments, more=more)
        out, err = process.communicate(timeout=DEADLINE_S)
        return process.returncode, out, err

    def run(self, *arguments: str) -> str:
        """Stdout of a command that must succeed."""
        code, out, err = self.finish(*arguments)
        assert code == 0, err
        return out

    def events(self, stream: str, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run("events", stream, "--json", *arguments).splitlines()]

    def is_loaded(self) -> bool:
        """Whether every first load is complete."""
        code, out, _ = self.finish("status", "--json")
        loads = json.loads(out)["sources"][0]["snapshots"].values() if code == 0 else ()
        return bool(loads) and all(load["phase"] == "done" for load in loads)


@pytest.fixture(scope="module")
def erp(postgres_server: PostgresServer) -> Iterator[Database]:
    """One ERP for this file; each bridge has a slot of its own."""
    built = build(postgres_server, f"erp_{uuid.uuid4().hex[:12]}")
    yield built
    built.drop()


@pytest.fixture
def bridge(tmp_path: Path, erp: Database) -> Bridge:
    """A deployment whose daemon does not run."""
    return Bridge(tmp_path, erp)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, erp: Database) -> Iterator[Bridge]:
    """A deployment whose daemon runs and has read every table."""
    shared = Bridge(tmp_path_factory.mktemp("running"), erp)
    with daemon(shared):
        yield shared


@contextmanager
def daemon(bridge: Bridge) -> Iterator["subprocess.Popen[bytes]"]:
    """A daemon that has read every table; stopped at the end."""
    log_file = bridge.config.parent / "daemon.log"
    with log_file.open("wb") as log:
        command = [sys.executable, "-m", "bridge", "run", "--config", str(bridge.config)]
        process = subprocess.Popen(command, env=bridge.environment, stdout=log, stderr=log)
        try:
            wait(bridge.is_loaded, process, log_file)
            yield process
        finally:
            process.terminate()
            process.wait(DEADLINE_S)


def test_check_online_passes_where_the_dba_did_their_part(bridge: Bridge) -> None:
    """Every table is seen, and nothing is refused."""
    report = json.loads(bridge.run("check", "--online", "--json"))
    assert report["ok"]
    captured = {finding["subject"] for finding in report["findings"] if finding["code"] == "table.captured"}
    assert captured >= {"sales.arcust", "sales.oeordh"}
    assert "refuse" not in bridge.run("check", "--online")


def test_check_online_refuses_a_login_that_could_write(bridge: Bridge) -> None:
    """Exit 1, with what is wrong and what to do about it."""
    superuser = {"BRIDGE_SYSTEMS__ERP__POSTGRES__USER": "postgres"}
    code, out, _ = bridge.finish("check", "--online", "--json", more=superuser)
    refused = [finding for finding in json.loads(out)["findings"] if finding["level"] == "refuse"]
    assert code == 1
    assert refused
    assert all(finding["fix"] for finding in refused)


def test_a_system_that_is_down_is_a_finding_not_a_traceback(bridge: Bridge) -> None:
    code, out, err = bridge.finish("check", "--online", "--json", more={"PGPORT": "1"})
    (finding,) = json.loads(out)["findings"]
    assert (code, finding["level"], finding["code"]) == (1, "refuse", "source.unavailable")
    assert "Traceback" not in err


def test_the_dba_script_is_printed_with_its_undoing(bridge: Bridge) -> None:
    script = bridge.run("dba-script", "erp")
    assert "CREATE ROLE bridge_ro" in script.replace('"', "")
    assert "DROP ROLE" in script
    assert bridge.finish("dba-script", "wms")[0] == 66


def test_decommission_takes_the_slot_and_says_that_nothing_is_left(bridge: Bridge) -> None:
    """A dry run takes nothing; the real one leaves nothing; a second one finds nothing."""
    bridge.erp.sql(f"SELECT pg_create_logical_replication_slot('{bridge.slot}', 'pgoutput')")
    slots = f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{bridge.slot}'"
    bridge.run("decommission", "erp", "--dry-run")
    assert bridge.erp.sql(slots) == [(1,)]
    assert "left: nothing" in bridge.run("decommission", "erp", "--yes")
    assert bridge.erp.sql(slots) == [(0,)]
    assert json.loads(bridge.run("decommission", "erp", "--yes", "--json"))["slot_dropped"] is False


def test_a_follower_sees_a_commit_of_the_legacy_system(running: Bridge) -> None:
    """From COMMIT in the ERP to a line of JSON in another process."""
    (last,) = running.events("customers")[-1:]
    follower = running.start("events", "customers", "--follow", "--json", "--after", str(int(last["sequence"])))
    running.erp.sql(
        "UPDATE sales.arcust SET cust_nm = 'Renamed' WHERE cust_no = (SELECT min(cust_no) FROM sales.arcust)"
    )
    assert follower.stdout is not None
    event = json.loads(follower.stdout.readline())
    follower.send_signal(signal.SIGINT)
    follower.communicate(timeout=DEADLINE_S)
    assert event["type"] == "com.acme.erp.customers.updated.v1"
    assert "Renamed" in event["data"].values()


def test_a_running_daemon_is_asked_to_pause_resume_and_read_again(running: Bridge) -> None:
    """Parked rows come back in order; a re-read adds a read event for every row."""
    running.run("stream", "pause", "items")
    before = len(running.events("items"))
    running.erp.sql("UPDATE sales.icitem SET uom = 'EA' WHERE item_no = (SELECT min(item_no) FROM sales.icitem)")
    wait(lambda: stream_row(running, "items")["parked"] == 1)
    assert len(running.events("items")) == before
    running.run("stream", "resume", "items")
    wait(lambda: len(running.events("items")) == before + 1)
    running.run("snapshot", "items", "--wait")
    reads = [
        event for event in running.events("items", "--after", str(before + 1)) if event["type"].endswith(".read.v1")
    ]
    row_count = running.erp.sql("SELECT count(*) FROM sales.icitem")[0][0]
    letters = running.run("dead", "list", "--stream", "items", "--json").splitlines()
    assert len(reads) >= row_count - len(letters)
    trail = [json.loads(line) for line in running.run("audit", "--json").splitlines()]
    assert [entry["action"] for entry in trail if entry["subject"] == "items"] == [
        "stream.pause",
        "stream.resume",
        "snapshot.start",
    ]


def test_health_status_and_doctor_agree_with_a_running_daemon(running: Bridge) -> None:
    """All three reach it."""
    assert running.finish("health")[0] == 0
    assert running.finish("health", "--ready")[0] == 0
    assert json.loads(running.run("status", "--json"))["daemon"]["reachable"] is True
    subjects = {probe["subject"]: probe["status"] for probe in json.loads(running.finish("doctor", "--json")[1])}
    assert (subjects["daemon"], subjects["journal"]) == ("ok", "ok")


def test_a_reload_is_whole_or_not_at_all(running: Bridge) -> None:
    """A mistake is told before the daemon is asked; a good file is taken over, once."""
    whole = running.config.read_text()
    running.config.write_text(whole.replace("slot_gigabytes: 10", "slot_gigabytes: ten"))
    assert running.finish("reload")[0] == 78
    running.config.write_text(whole.replace("slot_gigabytes: 10", "slot_gigabytes: 9"))
    assert "slot_gigabytes" in running.finish("reload")[2]
    assert "neither keys nor contracts had changed" in running.finish("reload")[2]


def test_letters_can_be_mended_without_a_daemon(bridge: Bridge) -> None:
    """A stopped daemon leaves with 0; then the command becomes the journal's owner and does it itself."""
    with daemon(bridge) as process:
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    first, *others = [json.loads(line) for line in bridge.run("dead", "list", "--json").splitlines()]
    bridge.run("dead", "discard", str(first["id"]), "--reason", "known damage", "--yes")
    assert json.loads(bridge.run("dead", "replay", "--all", "--json"))["still_rejected"] == len(others)
    shown = json.loads(bridge.run("dead", "show", str(first["id"]), "--json"))
    assert (shown["state"], "known damage" in shown["reason"]) == ("discarded", True)


def stream_row(bridge: Bridge, stream: str) -> dict[str, Any]:
    """What `stream list` says of one stream."""
    rows: list[dict[str, Any]] = json.loads(bridge.run("stream", "list", "--json"))
    return next(row for row in rows if row["stream"] == stream)


def wait(
    condition: Callable[[], bool], process: "subprocess.Popen[bytes] | None" = None, log: Path | None = None
) -> None:
    """Until the condition holds. A process that ends meanwhile fails the test with its log."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        said = log.read_text()[-2000:] if log else ""
        assert process is None or process.poll() is None, said
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
