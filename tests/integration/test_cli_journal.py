"""The commands that live on the journal: on a real journal file, with and without an owner beside them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from bridge.cli import cli
from bridge.errors import JournalCorrupt
from bridge.journal.sqlite import SqliteJournal
from bridge.model import (
    CHANGE_COLUMNS,
    META,
    AuditEntry,
    Breach,
    Column,
    Commit,
    EventBatch,
    NewLetters,
    Op,
    Position,
    RawBatch,
    Rejected,
    Shape,
    StreamPhase,
    StreamState,
)
from tests.daemon import wait_for

AT = datetime(2026, 11, 2, 3, 4, 5, tzinfo=UTC)
FIELDS = [
    pa.field("order_no", pa.large_string()),
    pa.field("ordered_on", pa.date32()),
    pa.field("status", pa.large_string()),
    pa.field("amount", pa.decimal128(13, 2)),
]
CHANGE: dict[str, Any] = {
    "_op": int(Op.CREATE), "_commit_at": AT, "_position": 0xAB, "_tx": 7, "_tx_index": 0, "_moved": False,
    "_snapshot": None, "_note": None,
}  # fmt: skip


def orders(first: int, count: int) -> EventBatch:
    """Orders number `first` and on, one transaction each."""
    rows = [
        CHANGE
        | {"_position": 0xAB00 + number, "_key": f"A-{number}", "_marks": None}
        | {"order_no": f"A-{number}", "ordered_on": date(2026, 11, 1), "status": "open", "amount": Decimal("12.50")}
        for number in range(first, first + count)
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema=pa.schema([*META, *FIELDS]))
    return EventBatch(stream="orders", epoch=1, contract="1.0.0", batch=batch)


def rejected(number: int) -> NewLetters:
    """One order whose status is not in the contract's code list."""
    shape = Shape("public.orders", (Column("ord_no", "character(8)", pa.large_string()),))
    changes = pa.RecordBatch.from_pylist([CHANGE | {"_position": 0xCD00 + number}], schema=CHANGE_COLUMNS)
    columns = pa.RecordBatch.from_pydict({"ord_no": pa.array([f"B-{number}  "], pa.large_string())})
    breach = Breach("code", "status", "one of O, S, X")
    rows = Rejected(RawBatch("orders", shape, changes, columns), (f"B-{number}",), ((breach,),))
    return NewLetters(stream="orders", epoch=1, contract="1.0.0", rejected=rows)


class Project:
    """A starter project with a journal."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "bridge.yaml"
        self.file = folder / "var" / "journal.db"
        self.environment = dict(os.environ) | {"NO_COLOR": "1"}
        self.started: list[subprocess.Popen[str]] = []

    @contextmanager
    def owned(self) -> Iterator[SqliteJournal]:
        """The journal, owned as a daemon would."""
        self.file.parent.mkdir(exist_ok=True)
        journal = SqliteJournal.open(self.file, owner=True)
        try:
            yield journal
        finally:
            journal.close()

    def run(self, *arguments: str) -> str:
        """Stdout of a command that must succeed."""
        result = CliRunner().invoke(cli, ["--config", str(self.config), *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json_lines(self, *arguments: str) -> list[Any]:
        return [json.loads(line) for line in self.run(*arguments, "--json").splitlines()]

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """A command as a process of its own."""
        command = [sys.executable, "-m", "bridge", "--config", str(self.config), *arguments]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=self.environment)
        self.started.append(process)
        return process

    def finish(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A starter project; its journal holds ten orders, two dead letters, a paused stream and an audit entry."""
    assert CliRunner().invoke(cli, ["init", str(tmp_path / "acme")]).exit_code == 0
    made = Project(tmp_path / "acme")
    with made.owned() as journal:
        state = {"snapshots": {"orders": {"number": 1, "rows": 10, "of": 10, "phase": "done"}}}
        paused = StreamState("orders", StreamPhase.PAUSED, AT, "year end")
        journal.append(
            Commit(
                source="erp", position=Position(1, (0xAB0A, 0)), state=state, events=(orders(1, 10),),
                letters=(rejected(1), rejected(2)), streams=(paused,), judged={"orders": (10, 2)},
                audit=(AuditEntry("cli:ann", "stream.pause", "orders", "year end"),),
            )
        )  # fmt: skip
    yield made
    for process in made.started:  # nothing is left behind when a test fails
        process.kill()


def test_events_come_as_cloudevents_in_order(project: Project) -> None:
    """One JSON object a line, sequence numbers contiguous, values exact."""
    events = project.json_lines("events", "orders")
    assert [int(event["sequence"]) for event in events] == list(range(1, 11))
    assert events[0]["type"] == "com.example.erp.orders.created.v1"
    assert events[0]["data"] == {
        "order_no": "A-1",
        "ordered_on": "2026-11-01",
        "status": "open",
        "amount": "12.50",
    }


def test_events_can_be_cut_by_number_count_and_key(project: Project) -> None:
    """--after is exclusive; --limit counts what matches --key."""
    found = project.json_lines("events", "orders", "--after", "4", "--limit", "2")
    assert [event["subject"] for event in found] == ["A-5", "A-6"]
    assert [event["subject"] for event in project.json_lines("events", "orders", "--key", "A-9", "--limit", "1")] == [
        "A-9"
    ]


def test_events_as_text_are_one_line_each(project: Project) -> None:
    """For people: number, time, what happened, key, values."""
    line = project.run("events", "orders", "--limit", "1").rstrip("\n")
    assert line.split() == [
        "1", "2026-11-02T03:04:05.000000Z", "created", "A-1",
        "order_no=A-1", "ordered_on=2026-11-01", "status=open", "amount=12.50",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_a_file_of_columns_holds_every_event(project: Project, tmp_path: Path, kind: str) -> None:
    """Both formats hold the rows with number, id and operation in words; nothing else is left beside them."""
    target = tmp_path / "files" / f"orders.{kind}"
    target.parent.mkdir()
    project.run("events", "orders", f"--{kind}", str(target), "--after", "3")
    table = pq.read_table(target) if kind == "parquet" else pa.ipc.open_file(target).read_all()
    assert table.column("_seq").to_pylist() == list(range(4, 11))
    assert set(table.column("_op").to_pylist()) == {"created"}
    assert table.column("amount").to_pylist()[0] == Decimal("12.50")
    assert list(target.parent.iterdir()) == [target]


def test_a_file_of_columns_has_the_union_of_the_contracts_fields(project: Project, tmp_path: Path) -> None:
    """A field that one contract version added and the next took away is null in the rows of the others."""
    with project.owned() as journal:
        newer = orders(11, 1)
        batch = newer.batch.append_column("channel", pa.array(["web"], pa.large_string()))
        journal.append(Commit(events=(EventBatch(stream="orders", epoch=1, contract="1.1.0", batch=batch),)))
        journal.append(Commit(events=(orders(12, 1),)))
    project.run("events", "orders", "--parquet", str(tmp_path / "all.parquet"))
    assert pq.read_table(tmp_path / "all.parquet").column("channel").to_pylist() == [None] * 10 + ["web", None]


def test_a_file_that_cannot_be_written_leaves_the_old_one(project: Project, tmp_path: Path) -> None:
    """Exit 73, and no part of a file."""
    code, _, err = project.finish("events", "orders", "--arrow", str(tmp_path / "none" / "x.arrow"))
    assert (code, err.splitlines()[0].startswith("error: ")) == (73, True)


def test_a_stream_that_is_not_configured_is_named_with_those_that_are(project: Project) -> None:
    code, out, err = project.finish("events", "ordres", "--json")
    assert (code, out) == (66, "")
    assert "ordres" in err
    assert "orders" in err.splitlines()[1]


def lines_of(process: "subprocess.Popen[str]", count: int) -> list[dict[str, Any]]:
    assert process.stdout is not None
    return [json.loads(process.stdout.readline()) for _ in range(count)]


def test_a_follower_prints_what_is_appended_and_ends_on_interrupt(project: Project) -> None:
    """New events come out of a running follower, which ends without a traceback."""
    process = project.start("events", "orders", "--follow", "--json", "--after", "8")
    assert [event["subject"] for event in lines_of(process, 2)] == ["A-9", "A-10"]
    with project.owned() as journal:
        journal.append(Commit(events=(orders(11, 2),)))
        assert [event["subject"] for event in lines_of(process, 2)] == ["A-11", "A-12"]
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 130


def test_a_follower_ends_when_its_reader_goes_away(project: Project) -> None:
    """`| head` ends the follower at once, although no event comes any more."""
    process = project.start("events", "orders", "--follow", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    lines_of(process, 10)
    process.stdout.close()
    assert process.wait(timeout=30) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


def test_status_tells_phase_letters_validity_and_that_no_daemon_answers(project: Project) -> None:
    """The figures are the journal's; the daemon's absence is said, not an error."""
    (report,) = project.json_lines("status")
    (stream,) = report["streams"]
    assert (stream["phase"], stream["why"], stream["events"], stream["dead_letters"]) == ("paused", "year end", 10, 2)
    validity = stream["validity"]
    assert (validity["valid"], validity["rejected"], validity["level"]) == (10, 2, "breached")
    assert validity["target"] == pytest.approx(0.999)
    assert report["sources"][0]["position"] == [0xAB0A, 0]
    assert report["daemon"]["reachable"] is False


def test_dead_letters_are_listed_without_values_and_shown_with_them(project: Project) -> None:
    """Only the explicit reading shows what the legacy system held."""
    listed = project.json_lines("dead", "list")
    assert [letter["key"] for letter in listed] == ["B-1", "B-2"]
    assert listed[0]["breaches"] == [{"rule": "code", "field": "status", "detail": "one of O, S, X"}]
    assert "raw" not in listed[0]
    (shown,) = project.json_lines("dead", "show", str(listed[0]["id"]))
    assert shown["raw"] == {"ord_no": "B-1  "}


def test_a_dead_letter_that_is_not_there_is_no_input(project: Project) -> None:
    code, _, err = project.finish("dead", "show", "99")
    assert code == 66
    assert "99" in err


def test_dry_runs_change_nothing(project: Project) -> None:
    """Neither a request nor an audit entry is left."""
    for command in (["stream", "resume", "orders"], ["dead", "replay", "--all"], ["snapshot", "orders"]):
        project.run(*command, "--dry-run")
    project.run("dead", "discard", "1", "--reason", "test", "--dry-run")
    with project.owned() as journal:
        assert journal.requests(open_only=False) == []
    assert len(project.json_lines("audit")) == 1


def test_the_audit_trail_names_who_did_what(project: Project) -> None:
    (entry,) = project.json_lines("audit")
    assert (entry["actor"], entry["action"], entry["subject"]) == ("cli:ann", "stream.pause", "orders")


def test_streams_are_listed_with_their_phase(project: Project) -> None:
    ((row,),) = project.json_lines("stream", "list")
    assert (row["stream"], row["phase"], row["events"]) == ("orders", "paused", 10)


def test_a_request_is_settled_by_the_daemon_that_owns_the_journal(project: Project) -> None:
    """The command waits for the owner's answer and shows it."""
    with project.owned() as journal:
        process = project.start("stream", "resume", "orders")
        (request,) = wait_for(journal.requests)
        assert (request.kind, dict(request.args)) == ("stream.resume", {"stream": "orders"})
        assert request.actor.startswith("cli:")
        journal.settle(request.id, ok=True, result={"stream": "orders", "events": 3})
        assert process.wait(timeout=30) == 0
    assert "events: 3" in process.communicate()[1]


def test_a_refusal_is_shown_with_its_reason(project: Project) -> None:
    """Exit 1, and what the daemon said."""
    with project.owned() as journal:
        process = project.start("stream", "resume", "orders")
        (request,) = wait_for(journal.requests)
        journal.settle(request.id, ok=False, result={"error": "still in drift", "hint": "mend the contract"})
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.splitlines() == ["error: still in drift", "hint: mend the contract"]


def test_a_re_read_waits_for_a_daemon(project: Project) -> None:
    """Without one the request stays queued, and that is said."""
    code, _, err = project.finish("snapshot", "orders")
    assert code == 0
    assert "queued" in err
    with project.owned() as journal:
        assert [request.kind for request in journal.requests()] == ["snapshot.start"]


def test_a_sound_journal_verifies_and_a_damaged_one_does_not(project: Project) -> None:
    """Exit 0, and 65 when a block's checksum no longer fits."""
    assert project.json_lines("journal", "verify") == [{"sound": True, "damages": []}]
    with closing(apsw.Connection(str(project.file))) as connection:
        connection.execute("UPDATE block SET crc = crc + 1")
    code, out, _ = project.finish("journal", "verify")
    assert code == JournalCorrupt.exit_code
    assert "orders" in out


def test_a_backup_takes_no_other_files_place_unless_it_is_told_to(project: Project, tmp_path: Path) -> None:
    """A file that is there stays, and with --force too where it is the journal itself."""
    taken = tmp_path / "copy.db"
    taken.write_bytes(b"precious")
    for target in (taken, tmp_path, project.file):
        for arguments in ([], ["--dry-run"]):
            assert project.finish("journal", "backup", str(target), *arguments)[0] == 73
    assert project.finish("journal", "backup", str(project.file), "--force")[0] == 73
    assert taken.read_bytes() == b"precious"
    (made,) = project.json_lines("journal", "backup", str(taken), "--force")
    assert made == {"file": str(taken), "size_bytes": taken.stat().st_size}
    (restored,) = project.json_lines("journal", "restore", str(taken), "--yes")
    assert restored["journal"] == str(project.file)
    assert Path(restored["former"]).is_file()


@pytest.mark.parametrize(
    "arguments",
    [
        ["stream", "pause", "nope"], ["snapshot", "nope"], ["runs", "start", "nope", "--dry-run"], ["events", "nope"],
        ["sink", "replay", "nope", "orders", "--from", "1", "--dry-run"], ["sink", "pause", "nope", "--dry-run"],
        ["system", "pause", "nope", "--dry-run"], ["bill", "nope"], ["dba-letter", "nope"], ["view", "sample", "nope"],
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_alike_by_every_command(project: Project, arguments: list[str]) -> None:
    code, _, err = project.finish(*arguments)
    assert (code, err.splitlines()[0].partition("'nope'")[0][:16]) == (66, "error: there is ")


def test_an_alarm_that_is_not_there_is_no_input(project: Project) -> None:
    code, _, err = project.finish("alarm", "show", "nope")
    assert (code, err.splitlines()[0]) == (66, "error: no alarm with an id 'nope'")


def test_a_dry_run_refuses_what_would_be_refused(project: Project) -> None:
    assert project.finish("system", "resume", "erp", "--dry-run")[0] == 1
    assert project.finish("sink", "replay", "crm", "orders", "--from", "5", "--to", "3", "--dry-run")[0] == 2
    assert project.finish("journal", "backup", str(project.file.parent / "absent" / "copy.db"))[0] == 73


def test_what_waits_for_a_daemon_is_told_to_a_program_too(project: Project) -> None:
    assert project.json_lines("snapshot", "orders") == [{"stream": "orders", "waits": "for a daemon"}]


def test_a_restore_of_a_backup_that_is_not_there_is_told_before_anybody_is_asked(project: Project) -> None:
    code, _, err = project.finish("journal", "restore", str(project.file.parent / "absent.db"), "--dry-run")
    assert code == 74
    assert "absent.db" in err


def test_a_backup_can_be_restored(project: Project, tmp_path: Path) -> None:
    """The copy holds what was there; the journal that was there meanwhile is set aside."""
    copy = tmp_path / "copy.db"
    project.run("journal", "backup", str(copy))
    with project.owned() as journal:
        journal.append(Commit(events=(orders(11, 5),)))
    project.run("journal", "restore", str(copy), "--yes")
    assert len(project.json_lines("events", "orders")) == 10
    assert any("before-restore" in path.name for path in project.file.parent.iterdir())


def test_a_journal_that_is_owned_is_not_replaced(project: Project, tmp_path: Path) -> None:
    """Exit 75 while a daemon lives."""
    copy = tmp_path / "copy.db"
    project.run("journal", "backup", str(copy))
    with project.owned():
        assert project.finish("journal", "restore", str(copy), "--yes")[0] == 75


def test_reading_commands_make_no_journal(tmp_path: Path) -> None:
    """A project that never ran says so, and stays as it is."""
    assert CliRunner().invoke(cli, ["init", str(tmp_path / "new")]).exit_code == 0
    fresh = Project(tmp_path / "new")
    assert fresh.finish("status")[0] == 74
    assert not fresh.file.parent.exists()


def test_the_starter_project_passes_its_own_check(project: Project) -> None:
    """What `init` makes is right as it is, and a second `init` refuses to touch it."""
    assert project.json_lines("check") == [{"ok": True, "mistakes": [], "warnings": [], "findings": []}]
    assert project.finish("init", str(project.config.parent))[0] == 73
    project.config.write_text("mine")
    project.run("init", str(project.config.parent), "--force")
    assert project.config.read_text() == "mine"


def test_check_tells_a_contracts_mistakes_with_file_and_line(project: Project) -> None:
    """Exit 78, on stderr, and the place to mend."""
    contract = project.config.parent / "contracts" / "orders.odcs.yaml"
    contract.write_text(contract.read_text().replace("transformLogic: amt", "transformLogic: amt +"))
    code, _, err = project.finish("check")
    assert code == 78
    assert "orders.odcs.yaml:" in err


def test_doctor_finds_a_journal_that_others_may_read(project: Project) -> None:
    """Each line says what is wrong and what to do; exit 1."""
    assert project.finish("doctor")[0] == 0
    project.file.chmod(0o644)
    code, out, _ = project.finish("doctor", "--json")
    (bad,) = [probe for probe in json.loads(out) if probe["status"] == "fail"]
    assert (code, bad["subject"], bad["action"]) == (1, "journal", f"chmod 600 {project.file}")


def test_health_says_when_nothing_answers(project: Project) -> None:
    assert project.finish("health", "--ready")[0] == 69


def test_the_audit_trail_can_be_exported_and_held_against_the_journal(project: Project, tmp_path: Path) -> None:
    """S14: the chain, a head that was kept, a file that was kept; an edit of any of the three is named."""
    with project.owned() as journal:
        for number in range(3):
            journal.audit(AuditEntry("cli:ann", "dead.discard", f"orders/{number}", "gr\u00f6\u00dfer"))
    file, head = tmp_path / "trail.jsonl", project.run("audit", "export", "--head").strip()
    project.run("audit", "export", "--output", str(file))
    assert file.read_text(encoding="utf-8") == project.run("audit", "export")
    whole = project.run("audit", "verify", "--head", head, "--file", str(file))
    assert whole == f"whole: 4 entries, head {head}\n"
    tail = tmp_path / "tail.jsonl"
    project.run("audit", "export", "--after", "2", "--output", str(tail))
    assert project.finish("audit", "verify", "--file", str(tail))[0] == 0
    tail.write_text(tail.read_text(encoding="utf-8").replace("orders/2", "orders/7"), encoding="utf-8")
    code, out, _ = project.finish("audit", "verify", "--file", str(tail), "--json")
    assert code == 65
    assert json.loads(out)["findings"] == [f"{tail}: audit entry 4 is not what was written"]
    code, out, _ = project.finish("audit", "verify", "--head", f"4:{'0' * 64}")
    assert (code, "rewritten" in out) == (65, True)


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--head", "4"], 2), (["--file", "bridge.yaml"], 65), (["--file", "none.jsonl"], 65)]
)
def test_what_is_no_head_and_no_export_is_refused(project: Project, arguments: list[str], code: int) -> None:
    assert project.finish("audit", "verify", *arguments)[0] == code


def test_the_audit_trail_can_be_cut_by_actor_and_action(project: Project) -> None:
    with project.owned() as journal:
        journal.audit(AuditEntry("cli:bob", "dead.replay", "orders/1"))
    (one,) = project.json_lines("audit", "show", "--actor", "cli:bob")
    assert one["action"] == "dead.replay"
    (one,) = project.json_lines("audit", "--action", "stream")
    assert one["actor"] == "cli:ann"
