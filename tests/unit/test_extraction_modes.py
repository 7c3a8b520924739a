"""What each mode finds, and what it does not: the promises of docs/views-modes.md, one by one."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bridge.errors import SourceRefused, SourceUnavailable
from bridge.extracted import Extracted, Forgotten, RunKind
from bridge.extraction import compare, ending
from bridge.extraction.budget import Limits
from bridge.extraction.extractor import Page
from bridge.extraction.index import Index
from bridge.extraction.plan import Plan
from bridge.model import Column, Commit, Mark, Marks, Position, Shape, StreamPhase
from bridge.testing import FakeClock, MemoryJournal
from bridge.testing.extractor import ScriptedExtractor, ScriptedTable
from tests import polled, shelf
from tests.polled import START, Mode, Process, held, read, row, subject, told, world


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


def test_a_sweep_tells_cursors_that_are_marked_apart() -> None:
    def page(kind: Mark | None) -> Page:
        columns = pa.record_batch({"id": pa.array([1, 2]), "changed": pa.array([None, START], pa.timestamp("us"))})
        mark = Marks(np.array([0]), np.array([kind or 0], np.uint8), (b"infinity",))
        marks = {"changed": mark} if kind else {}
        return Page(Shape("shop.item", ()), columns, FakeClock()(), None, marks=marks)

    index, before = Index(), page(Mark.PLUS_INFINITY)
    compare.compare(index, subject("incremental"), before, first_number=0, once=False)
    keys = [before.columns.column("id")]
    for kind, wanted in ((Mark.PLUS_INFINITY, []), (Mark.MINUS_INFINITY, [0]), (None, [0])):
        found, _ = compare.suspects(index, keys, compare.cursor_hashes(page(kind), "changed"))
        assert found.tolist() == wanted


@pytest.mark.parametrize("mode", ["full", "incremental", "append"])
def test_the_first_run_reads_every_row_and_the_next_finds_nothing_new(mode: Mode, journal: MemoryJournal) -> None:
    table, system, clock = world(mode)
    for number in range(10):
        table.put(**row(number, at=number))
    process = Process(journal, system, clock=clock)
    process.run()
    assert sorted(told(journal)) == [("r", number, 1) for number in range(10)]
    process.run()
    assert len(told(journal)) == 10
    assert [run.state for run in journal.runs()] == ["done", "done"]


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize(("mode", "kind"), [("full", "run"), ("incremental", "run"), ("incremental", "sweep")])
@pytest.mark.parametrize(
    ("types", "make"),
    [
        ((pa.int32(), pa.int64()), int),
        ((pa.int64(), pa.decimal128(10, 0)), Decimal),
        ((pa.decimal128(10, 0), pa.int64()), int),
        ((pa.int64(), pa.large_string()), str),
        ((pa.decimal128(10, 2), pa.decimal128(12, 4)), lambda each: Decimal(each).quantize(Decimal("0.0001"))),
    ],
)
def test_a_row_stays_the_same_one_when_its_key_becomes_of_another_type(
    journal: MemoryJournal,
    mode: Mode,
    *,
    kind: RunKind,
    types: tuple[pa.DataType, pa.DataType],
    make: Callable[[Any], Any],
    is_restarted: bool,
) -> None:
    """Told as new and gone it would be gone for whoever goes by the key of the events."""
    table, system, clock = world(mode)
    table.columns["id"] = types[0]
    table.rows = [row(number, at=number) for number in range(1, 9)]
    process = Process(journal, system, clock=clock)
    process.run()
    table.columns["id"] = types[1]
    table.rows = [{**each, "id": make(each["id"])} for each in table.rows[1:]]
    if is_restarted:
        process = Process(journal, system, clock=clock)
    process.run(kind=kind)
    counts = dict(journal.runs()[0].counts)
    assert not counts.pop("u", 0) % 7
    assert counts == ({} if (mode, kind) == ("incremental", "run") else {"d": 1})


@pytest.mark.parametrize(("before", "after"), [("full", "incremental"), ("incremental", "full")])
def test_a_view_that_is_read_in_another_mode_loses_no_delete(journal: MemoryJournal, before: Mode, after: Mode) -> None:
    table, system, clock = world(before)
    for number in range(1, 10):
        table.put(**row(number, at=number))
    Process(journal, system, clock=clock).run()
    table.remove(id=4)
    table.put(**row(5, 7, at=20))
    table.subject = subject(after)
    process = Process(journal, system, clock=clock)
    process.run()
    assert read(journal) == held(table)
    table.put(**row(6, 8, at=21))
    table.remove(id=7)
    process.run()
    process.run(kind="sweep")
    assert read(journal) == held(table)
    count = len(told(journal))
    process.run(kind="sweep")
    questions = len(system.questions)
    process.run(kind="sweep")
    assert len(told(journal)) == count
    assert after == "full" or not any(question.to_key for question in system.questions[questions:]), "keys alone"


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_stream_that_was_taken_out_and_comes_back_finds_what_went_meanwhile(
    journal: MemoryJournal, *, is_removed: bool
) -> None:
    table, system, clock = world("full")
    other = ScriptedTable(subject("full", stream="other"), table.columns, [row(1)])
    system.tables["other"] = other
    for number in range(1, 10):
        table.put(**row(number))
    Process(journal, system, clock=clock).run()
    Process(journal, ScriptedExtractor("erp", other, now=clock), clock=clock).run("other")
    table.remove(id=4)
    if is_removed:
        journal.append(Commit(extracted=Extracted(forgotten=(Forgotten("item"),))))
    process = Process(journal, system, clock=clock)
    process.run()
    assert told(journal)[9:] == ([("r", n, 1) for n in range(1, 10) if n != 4] if is_removed else [("d", 4, None)])
    process.run()
    assert [run.state for run in journal.runs(stream="item")] == ["done"] * 3


def test_a_view_that_no_longer_appends_begins_anew(journal: MemoryJournal) -> None:
    table, system, clock = world("append")
    for number in range(1, 10):
        table.put(**row(number, at=100 * number))
    Process(journal, system, clock=clock).run()
    table.subject = subject("full")
    process = Process(journal, system, clock=clock)
    process.run()
    table.remove(id=4)
    process.run()
    assert read(journal) == held(table)


def test_padding_is_no_part_of_a_key() -> None:
    def page(of: str, *keys: str) -> Page:
        columns = pa.record_batch({"id": pa.array(keys, pa.large_string())})
        return Page(Shape("shop.item", (Column("id", of, pa.large_string()),)), columns, FakeClock()(), None)

    index = Index()
    compare.compare(index, subject("full"), page("character(3)", "a  ", "b  "), first_number=0, once=True)
    for of, keys, new in (("CHAR(4)", ("a   ", "c   "), 1), ("text", ("a", "b "), 1), ("varchar(3)", ("a", "b"), 0)):
        made = page(of, *keys)
        rows, _ = compare.suspects(index, compare.named(made, subject("full")), None)
        assert len(rows) == new, of


def test_full_finds_inserts_updates_and_deletes(journal: MemoryJournal) -> None:
    table, system, clock = world("full")
    for number in range(10):
        table.put(**row(number))
    process = Process(journal, system, clock=clock)
    process.run()
    table.remove(id=3)
    table.put(**row(4, 7))
    table.put(**row(12))
    process.run()
    assert told(journal, after=10) == [("u", 4, 7), ("c", 12, 1), ("d", 3, None)]
    newest = shelf.rows(journal)[-1]
    assert newest["_note"] == '{"found_by": "compare"}'
    assert (newest["_position"], newest["_tx_index"], newest["_key"]) == (2, 2, "3")


def test_a_stream_that_was_read_another_way_meanwhile_begins_anew(journal: MemoryJournal) -> None:
    table, system, clock = world("full")
    for number in range(5):
        table.put(**row(number))
    Process(journal, system, clock=clock).run()
    position, state = journal.position("erp")
    assert position is not None
    moved = Position(position.epoch, (position.at[0] + 1,))
    journal.append(Commit(source="erp", position=moved, state={**state, "streams": {}}))
    process = Process(journal, system, clock=clock)
    process.run()
    assert told(journal, after=5) == [("r", number, 1) for number in range(5)]
    table.remove(id=3)
    process.run()
    assert told(journal, after=10) == [("d", 3, None)]


def test_incremental_finds_what_its_cursor_shows_and_no_deletes(journal: MemoryJournal) -> None:
    table, system, clock = world("incremental")
    for number in range(3):
        table.put(**row(number, at=number))
    process = Process(journal, system, clock=clock)
    process.run()
    table.remove(id=1)
    table.put(**row(2, 5, at=100))
    table.put(**row(3, at=101))
    process.run()
    assert told(journal, after=3) == [("u", 2, 5), ("c", 3, 1)]
    assert shelf.rows(journal)[-1]["_note"] == '{"found_by": "cursor"}'


def test_incremental_finds_commits_that_come_late_by_less_than_its_window(journal: MemoryJournal) -> None:
    table, system, clock = world("incremental")
    table.put(**row(1, at=100))
    process = Process(journal, system, clock=clock)
    process.run()
    table.put(**row(2, at=100))  # the same moment
    table.put(**row(3, at=100 - polled.OVERLAP_S))
    process.run()
    assert sorted(told(journal, after=1)) == [("c", 2, 1), ("c", 3, 1)]


def test_incremental_leaves_a_later_commit_to_the_sweep(journal: MemoryJournal) -> None:
    table, system, clock = world("incremental")
    table.put(**row(1, at=100))
    table.put(**row(2, at=100))
    process = Process(journal, system, clock=clock)
    process.run()
    table.put(**row(2, 8, at=99 - polled.OVERLAP_S))
    table.put(**row(3, at=98 - polled.OVERLAP_S))
    process.run()
    assert len(told(journal)) == 2
    process.run(kind="sweep")
    assert sorted(told(journal, after=2)) == [("c", 3, 1), ("u", 2, 8)]
    assert shelf.rows(journal)[-1]["_note"] == '{"found_by": "sweep"}'


def test_incremental_reads_rows_without_a_cursor_in_each_run(journal: MemoryJournal) -> None:
    table, system, clock = world("incremental")
    table.put(**row(1, at=None))
    process = Process(journal, system, clock=clock)
    process.run()
    table.put(**row(1, 2, at=None))
    table.put(**row(2, at=None))
    process.run()
    assert told(journal) == [("r", 1, 1), ("u", 1, 2), ("c", 2, 1)]


def test_a_cursor_that_is_still_to_come_does_not_hide_the_present(journal: MemoryJournal) -> None:
    table, system, clock = world("incremental")
    table.put(**row(1, at=1e9))
    process = Process(journal, system, clock=clock)
    process.run()
    assert {finding.code for finding in process.source.findings()} == {"view.future_cursor"}
    table.put(**row(2, at=timedelta(hours=15).total_seconds()))
    clock.advance(timedelta(hours=15).total_seconds())
    process.run()
    assert told(journal, after=1) == [("c", 2, 1)]


def test_a_sweep_finds_deletes_and_a_key_that_came_back(journal: MemoryJournal) -> None:
    table, system, clock = world("incremental")
    for number in range(40):
        table.put(**row(number, at=number))
    process = Process(journal, system, clock=clock)
    process.run()
    for number in range(5, 20):
        table.remove(id=number)
    process.run(kind="sweep")
    assert told(journal, after=40) == [("d", number, None) for number in range(5, 20)]
    table.put(**row(7, 3, at=1))
    process.run(kind="sweep")
    assert told(journal, after=55) == [("c", 7, 3)]
    assert read(journal) == held(table)


def test_append_tells_a_row_once_and_forgets_what_is_behind_its_window(journal: MemoryJournal) -> None:
    table, system, clock = world("append", key=())
    table.rows = [row(1, at=1), row(1, at=1), row(2, at=2)]  # two alike
    process = Process(journal, system, clock=clock, has_key=False)
    process.run()
    table.rows += [row(1, at=1), row(3, at=300)]
    process.run()
    assert told(journal) == [("r", 1, 1), ("r", 1, 1), ("r", 2, 1), ("c", 1, 1), ("c", 3, 1)]
    for _ in range(2):  # the last one took two pages, so the next does not rely on it
        process.run()
    assert len(told(journal)) == 5
    assert journal.position("erp")[1]["streams"]["item"]["held"] == 1


def test_a_rejected_row_is_a_dead_letter_once(journal: MemoryJournal) -> None:
    table, system, clock = world("full")
    table.put(**row(1, -1))
    table.put(**row(2))
    process = Process(journal, system, clock=clock)
    process.run()
    process.run()
    assert journal.letter_counts() == {"item": 1}
    assert told(journal) == [("r", 2, 1)]
    table.put(**row(1, 5))
    process.run()
    assert told(journal, after=1) == [("u", 1, 5)]


def test_rows_that_share_a_key_are_told_of_and_do_not_flap(journal: MemoryJournal) -> None:
    table, system, clock = world("full", page_rows=4)
    table.rows = [row(1, 1), row(1, 2), row(2)]
    process = Process(journal, system, clock=clock)
    process.run()
    table.rows.reverse()
    process.run()
    assert len(told(journal)) == 2
    assert [finding.code for finding in process.source.findings()] == ["view.double_keys"]
    table.rows = [row(1, 1), row(2)]
    process.run()
    assert process.source.findings() == []


def test_rows_without_a_key_are_told_once_and_their_going_is_not(journal: MemoryJournal) -> None:
    table, system, clock = world("full")
    nameless = {**row(1), "id": None}
    table.rows = [nameless, row(2)]
    process = Process(journal, system, clock=clock)
    process.run()
    process.run()
    assert journal.letter_counts() == {"item": 1}  # the contract wants a key
    assert [finding.code for finding in process.source.findings()] == ["view.null_keys"]
    table.rows = [row(2)]
    process.run()
    assert told(journal) == [("r", 2, 1)]


def test_a_system_that_says_nothing_changed_is_believed(journal: MemoryJournal) -> None:
    table, system, clock = world("full")
    table.put(**row(1))
    process = Process(journal, system, clock=clock)
    process.run()
    table.is_unchanged = True
    asked = len(system.questions)
    process.run()
    assert len(system.questions) == asked + 1
    assert told(journal) == [("r", 1, 1)]


def test_a_page_that_fails_in_the_middle_is_asked_for_again(journal: MemoryJournal) -> None:
    table, system, clock = world("full")
    for number in range(10):
        table.put(**row(number))
    system.faults.extend([None, None, SourceUnavailable("a test"), None, SourceUnavailable("a test")])
    process = Process(journal, system, clock=clock)
    process.run()
    assert told(journal) == [("r", number, 1) for number in range(10)]
    assert [run.state for run in journal.runs()] == ["done"]
    bill = journal.bill(since=clock())[0]
    assert bill.queries == len(system.questions)  # those that failed cost too


def test_a_refused_page_fails_its_run_and_not_the_source(journal: MemoryJournal) -> None:
    table, other = polled.table("full"), polled.table("full", stream="other")
    system = ScriptedExtractor("erp", table, other)
    for number in range(6):
        table.put(**row(number))
        other.put(**row(number))
    process = Process(journal, system, clock=FakeClock())
    process.run()
    table.remove(id=0)
    system.faults.append(SourceRefused("no such view"))
    process.run()
    assert [run.state for run in journal.runs(stream="item")] == ["failed", "done"]
    assert [finding.code for finding in process.source.findings()] == ["view.run_failed"]
    process.run("other")
    assert len(told(journal, "other")) == 6
    process.run()
    assert told(journal, after=6) == [("d", 0, None)]
    assert process.source.findings() == []


def test_a_page_that_never_comes_fails_its_run_in_the_end(journal: MemoryJournal) -> None:
    table, system, clock = world("full")
    table.put(**row(1))
    system.faults.extend([SourceUnavailable("a test")] * 10)
    process = Process(journal, system, clock=clock)
    process.run()
    assert [run.state for run in journal.runs()] == ["failed"]
    process.run()
    assert told(journal) == [("r", 1, 1)]


def test_a_shape_that_changes_within_a_run_parks_the_rows_and_loses_none(journal: MemoryJournal) -> None:
    table, system, clock = world("full", page_rows=4)
    for number in range(30):
        table.put(**row(number))
    process = Process(journal, system, clock=clock)
    process.read()
    process.source.ask("item", "run", actor="ann")
    while len(told(journal)) < 4:
        process.read()
        process.store()
    table.columns["colour"] = pa.large_string()
    process.settle()
    assert journal.stream_states()["item"].phase is StreamPhase.DRIFT
    assert len(told(journal)) + journal.parked_counts()["item"] == 30
    process.run()
    assert len(told(journal)) + journal.parked_counts()["item"] == 30  # a column without values changes no row


def test_another_key_begins_anew_with_every_row(journal: MemoryJournal) -> None:
    table, system, clock = world("full")
    table.put(**row(1))
    Process(journal, system, clock=clock).run()
    table.subject = replace(table.subject, key=("id", "name"))
    Process(journal, system, clock=clock).run()
    assert told(journal) == [("r", 1, 1), ("r", 1, 1)]
    assert [block.generation for block in journal._images] == [2] * len(journal._images)


def test_a_run_that_its_budget_ends_is_gone_on_with_by_the_next(journal: MemoryJournal) -> None:
    table, system, clock = world("full")
    for number in range(10):
        table.put(**row(number))
    process = Process(journal, system, clock=clock, limits=Limits(active_seconds_per_minute=60, rows_per_run=6))
    process.run()
    assert len(told(journal)) == 6
    assert journal.runs()[0].detail == "ended by the budget: 6 rows a run; the next goes on"
    process.run()
    assert told(journal) == [("r", number, 1) for number in range(10)]
    table.remove(id=9)
    for _ in range(2):
        process.run()
    assert told(journal, after=10) == [("d", 9, None)]


def test_changes_come_first_where_a_sweep_takes_several_runs(journal: MemoryJournal) -> None:
    table, system, clock = world("incremental")
    for number in range(30):
        table.put(**row(number, at=number))
    Process(journal, system, clock=clock).run()
    table.remove(id=25)
    limits = Limits(active_seconds_per_minute=60, rows_per_run=12)
    process = Process(journal, system, clock=clock, limits=limits)
    process.run(kind="sweep")
    for number in (30, 31):
        table.put(**row(number, at=number))
        process = Process(journal, system, clock=clock, limits=limits)
        process.run()
        assert told(journal, after=number) == [("c", number, 1)]
    table.put(**row(1, 2, at=32))
    process.run()
    process.run()
    assert told(journal, after=32) == [("u", 1, 2), ("d", 25, None)]
    assert [run.kind for run in journal.runs()[:4]] == ["run", "run", "run", "run"]
    assert list(journal.image("item", 1, {"seen"})) == []


def test_keys_of_another_type_than_the_others_are_told_when_they_go(journal: MemoryJournal) -> None:
    """They go together where the run that came with the new type found too much gone, and failed."""
    table, system, clock = world("full", page_rows=100)
    for kind, ids, most, state in (
        (pa.large_string(), [f"x{number}" for number in range(120)], 1.0, "done"),
        (pa.int64(), range(110), 0.5, "failed"),
        (pa.int64(), range(1, 110), 1.0, "done"),
    ):
        table.columns["id"] = kind
        table.rows = [{**row(1), "id": each} for each in ids]
        process = Process(journal, system, clock=clock, plans=[Plan("item", most_deletes=most)])
        process.run()
        assert journal.runs()[0].state == state
        assert process.source._readers["item"].progress.held == {"done": len(ids), "failed": 230}[state]


def test_runs_of_two_streams_take_turns(journal: MemoryJournal) -> None:
    long, short = polled.table("full"), polled.table("full", stream="other")
    for number in range(30):
        long.put(**row(number))
    short.put(**row(1))
    system = ScriptedExtractor("erp", long, short)
    process = Process(journal, system, clock=FakeClock())
    process.read()
    process.source.ask("item", "run", actor="ann")
    process.source.ask("other", "run", actor="ann")
    process.settle()
    asked = [question.stream for question in system.questions]
    assert set(asked[:3]) == {"item", "other"}
    assert asked[-1] == "item"


def test_a_cancelled_run_leaves_a_record_and_the_next_begins_anew(journal: MemoryJournal) -> None:
    table, system, clock = world("full")
    for number in range(30):
        table.put(**row(number))
    process = Process(journal, system, clock=clock)
    process.read()
    process.source.ask("item", "run", actor="ann")
    for _ in range(3):
        process.read()
    process.source.cancel("item", actor="bob")
    process.settle()
    assert [(run.state, run.detail) for run in journal.runs()] == [("cancelled", "cancelled by bob")]
    assert len(told(journal)) < 30
    process.run()
    assert read(journal) == held(table)


def test_a_held_system_is_left_alone_until_it_is_released(journal: MemoryJournal) -> None:
    table, system, clock = world("full")
    for number in range(9):
        table.put(**row(number))
    process = Process(journal, system, clock=clock)
    process.read()
    process.source.ask("item", "run", actor="ann")
    process.read()
    asked = len(system.questions)
    process.source.hold("year's end")
    process.settle()
    assert (len(system.questions), system.is_open, system.cancel_count) == (asked, False, 1)
    assert [finding.code for finding in process.source.findings()] == ["view.paused"]
    process.source.release()
    process.settle()
    assert read(journal) == held(table)


def test_a_stream_is_read_when_its_schedule_says_so(journal: MemoryJournal) -> None:
    table, system, clock = world("full")
    table.put(**row(1))
    process = Process(journal, system, clock=clock, plans=[Plan("item", every=timedelta(minutes=5))])
    process.settle()
    assert [run.cause for run in journal.runs()] == ["the first"]
    clock.advance(299)
    process.settle()
    assert len(journal.runs()) == 1
    clock.advance(1)
    process.settle()
    assert [run.cause for run in journal.runs()] == ["every 5m", "the first"]
    assert process.source.next_at("item") == clock() + timedelta(minutes=5)


def between_pages(process: Process, system: ScriptedExtractor, pages: int) -> None:
    """A run is asked for and has read this many pages."""
    process.read()
    asked = len(system.questions)
    process.source.ask("item", "run", actor="ann")
    while len(system.questions) < asked + pages:
        process.read()
        process.store()


@pytest.mark.parametrize("mode", ["incremental", "append"])
def test_a_row_that_comes_in_behind_the_first_reading_is_found(mode: Mode, journal: MemoryJournal) -> None:
    table, system, clock = world(mode)
    for number in range(10):
        table.put(**row(number, at=100 * number))
    process = Process(journal, system, clock=clock)
    between_pages(process, system, 2)
    table.put(**row(50, at=1))
    process.settle()
    process.run()
    assert read(journal) == held(table)


@pytest.mark.parametrize("mode", ["incremental", "append"])
def test_a_row_that_comes_in_behind_a_long_reading_is_found_by_the_next(mode: Mode, journal: MemoryJournal) -> None:
    table, system, clock = world(mode)
    table.put(**row(0, at=1000))
    process = Process(journal, system, clock=clock)
    process.run()
    for number in range(1, 10):
        table.put(**row(number, at=1000 + 2 * number))
    between_pages(process, system, 2)
    table.put(**row(50, at=1006))  # late by less than the window
    table.put(**row(51, at=1100))  # and others are ahead when it is over
    process.settle()
    assert 50 not in read(journal)
    process.run()
    assert read(journal) == held(table)


def test_images_are_copied_without_what_is_gone(journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "MANY_ROWS", 5)
    monkeypatch.setattr(ending, "STEP_ROWS", 4)
    table, system, clock = world("full")
    for number in range(30):
        table.put(**row(number))
    Process(journal, system, clock=clock).run()
    for number in range(5, 30):
        table.remove(id=number)
    Process(journal, system, clock=clock).run()
    assert {(block.generation, block.part) for block in journal._images} == {(2, "rows"), (2, "shape")}
    assert sum(block.batch.num_rows for block in journal._images) == 5
    table.put(**row(1, 9))
    process = Process(journal, system, clock=clock)
    process.run()
    assert told(journal, after=55) == [("u", 1, 9)]
    assert read(journal) == held(table)


def test_a_finding_names_every_stream_that_it_is_about(journal: MemoryJournal) -> None:
    table, other = polled.table("full"), polled.table("full", stream="other")
    table.rows = other.rows = [row(1), row(1, 2)]
    process = Process(journal, ScriptedExtractor("erp", table, other), clock=FakeClock())
    process.run()
    process.run("other")
    (finding,) = process.source.findings()
    assert "stream item: 1 rows" in finding.detail
    assert "stream other: 1 rows" in finding.detail


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_a_view_that_suddenly_shows_too_little_deletes_nothing(mode: Mode, journal: MemoryJournal) -> None:
    """Its run fails and says so; an operator may allow it, and then it is believed."""
    table, system, clock = world(mode, page_rows=1_000)
    for number in range(400):
        table.put(**row(number, at=number))
    kind: RunKind = "full" if mode == "full" else "sweep"
    careful = Process(journal, system, clock=clock, plans=[Plan("item", most_deletes=0.5)])
    careful.run()
    for number in range(201):
        table.remove(id=number)
    careful.run(kind=kind)
    newest = journal.runs()[0]
    assert newest.state == "failed"
    assert "201 of 400 rows" in newest.detail
    assert len(told(journal)) == 400

    Process(journal, system, clock=clock).run(kind=kind)
    assert sorted(told(journal, after=400)) == [("d", number, None) for number in range(201)]
