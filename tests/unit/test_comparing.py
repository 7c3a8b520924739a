"""When the journal holds what a polled system held: after a whole run of the kind that finds everything."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from bridge.comparing import Journalled, RunBarrier, TimeBarrier, prepared
from bridge.config.load import load
from bridge.errors import Declined, SourceUnavailable
from bridge.extracted import Extracted, Run
from bridge.extraction.budget import Budget, Limits, QuietHours
from bridge.model import Commit, Op, StreamPhase, StreamState
from bridge.reconcile.compare import Patience
from bridge.reconcile.pace import Paced
from bridge.testing import FakeClock, MemoryJournal
from bridge.testing.extractor import ScriptedExtractor
from tests import shelf


def barrier(journal: MemoryJournal, asked: list[tuple[str, dict[str, Any]]]) -> RunBarrier:
    """For a stream that is swept."""
    return RunBarrier(journal, "items", "sweep", lambda kind, args: asked.append((kind, args)))


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({}, True),
        ({"kind": "run"}, False),  # finds no deletes
        ({"state": "running"}, False),
        ({"state": "failed"}, False),
        ({"detail": "ended by the budget: 9 rows a run; the next goes on"}, False),
        ({"started_at": datetime.now(UTC) - timedelta(hours=1)}, False),  # may have read before the rows changed
    ],
)
def test_only_a_whole_later_run_of_its_kind_passes(change: dict[str, Any], passes: bool) -> None:  # noqa: FBT001
    journal, asked = MemoryJournal(), []  # type: ignore[var-annotated]
    there = barrier(journal, asked)
    mark = there.mark()
    assert asked == [("run.start", {"stream": "items", "kind": "sweep"})]
    run = Run("erp", 1, "items", "sweep", "asked for", "done", datetime.now(UTC) + timedelta(seconds=1))
    journal.append(Commit(extracted=Extracted(runs=(replace(run, **change),))))
    assert there.is_passed(mark) is passes


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The configuration of a stream and a copy of it."""
    (tmp_path / "v.sql").write_text("-- mode: full\n-- key: id\nSELECT id, name, amount FROM item\n")
    (tmp_path / "c.yaml").write_text(shelf.contract_text())
    (tmp_path / "bridge.yaml").write_text(
        "bridge: {name: acme, type_prefix: com.acme}\nsystems: {shop: {sqlite: {path: till.db}}}\n"
        "streams:\n  item: &item {system: shop, view: v.sql, contract: c.yaml}\n  copy: *item\n"
    )
    return tmp_path / "bridge.yaml"


def test_a_comparison_with_another_stream_waits_for_runs_of_both(copied: Path) -> None:
    """A stream that is behind is not taken for one that lacks rows: each is compared as a run since then left it."""
    journal, asked = MemoryJournal(), []

    def run(kind: str, args: dict[str, Any]) -> None:
        """What the daemon does when it is asked: the run brings the row that the stream lacks."""
        asked.append((kind, args["stream"]))
        stream, now = args["stream"], datetime.now(UTC)
        ruling = shelf.judge(stream=stream).check(shelf.raw((Op.CREATE, 1, 5), stream=stream), epoch=1)
        done = Run("shop", len(asked), stream, "run", "asked for", "done", now)
        assert ruling.events is not None
        journal.append(Commit(events=(ruling.events,), extracted=Extracted(runs=(done,))))

    config, patience = load(copied), Patience(looks=1, wait_s=5)
    with prepared(config, journal, "item", against="copy", patience=patience, ask=run) as comparison:
        report = comparison.run(lambda _step, _count: None)
    assert sorted(asked) == [("run.start", "copy"), ("run.start", "item")]
    assert (report.is_equal, report.unsettled, report.rows, report.keys) == (True, (), 1, 1)


def parked(stream: str, phase: StreamPhase = StreamPhase.DRIFT) -> Commit:
    return Commit(streams=(StreamState(stream, phase, datetime.now(UTC)),))


@pytest.mark.parametrize("stream", ["item", "copy"])
def test_a_stream_whose_rows_are_set_aside_is_not_compared(copied: Path, stream: str) -> None:
    """They would all look lost."""
    journal = MemoryJournal()
    journal.append(parked(stream))
    made = prepared(
        load(copied), journal, "item", against="copy", patience=Patience(), ask=lambda kind, _: pytest.fail(kind)
    )
    with pytest.raises(Declined, match=f"stream {stream} is parked"), made:
        pass


@pytest.mark.parametrize("on_reject", ["hold", "pass"])
def test_keys_wait_behind_a_dead_letter_where_the_stream_holds_them(
    copied: Path, on_reject: Literal["hold", "pass"]
) -> None:
    text = copied.read_text().replace("{system: shop,", f"{{system: shop, on_reject: {on_reject},")
    copied.write_text(text)
    journal = MemoryJournal()
    ruling = shelf.judge(on_reject=on_reject).check(shelf.raw((Op.CREATE, 1, -5), (Op.CREATE, 2, 5)), epoch=1)
    assert ruling.letters is not None
    journal.append(Commit(letters=(ruling.letters,)))
    made = prepared(load(copied), journal, "item", against="copy", patience=Patience(), ask=lambda *_: None)
    with made as comparison:
        assert comparison.waiting() == ({"1"} if on_reject == "hold" else frozenset())


def test_nothing_is_settled_while_rows_are_set_aside() -> None:
    """The source goes on, its rows do not reach the stream."""
    journal = MemoryJournal()
    there = Journalled(TimeBarrier(0), journal, "item")
    mark = there.mark()
    assert there.is_passed(mark)
    journal.append(parked("item", StreamPhase.PAUSED))
    assert not there.is_passed(mark)
    journal.append(parked("item", StreamPhase.RUNNING))
    assert there.is_passed(mark)


def test_a_comparison_that_is_given_up_does_not_wait_for_its_budget() -> None:
    """Quiet hours may last the whole night."""
    budget = Budget(Limits(quiet_hours=(QuietHours.of("00:00-12:00"), QuietHours.of("12:00-00:00"))))
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > 2:
            pace.end()

    why: list[str] = []
    pace = Paced("shop", "item", ScriptedExtractor("shop"), budget, told=why.append, sleep=sleep)
    with pytest.raises(SourceUnavailable, match="given up"):
        pace.before(100)
    assert len(slept) == 3
    assert len(why) == 1


def test_no_page_is_read_before_the_system_wants_to_be_asked_again() -> None:
    clock, why = FakeClock(), list[str]()

    def sleep(seconds: float) -> None:
        clock.advance(seconds)

    pace = Paced("shop", "item", ScriptedExtractor("shop"), Budget(Limits()), told=why.append, now=clock, sleep=sleep)
    started = clock()
    pace.rest(2)
    assert pace.before(100) == 100
    assert (clock() - started).total_seconds() == 2
    assert ["wants to be left alone" in each for each in why] == [True]
