"""What an operator sees: parked streams, levels, slots, and that it goes away when it is over."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bridge.errors import JournalUnavailable
from bridge.findings import Finding, Level
from bridge.health import HealthBoard
from bridge.metrics import Metrics
from bridge.model import Commit, NewParked, Op, StreamPhase, StreamState
from bridge.parcel import Delivered, Progress
from bridge.pump import Flow
from bridge.sources.postgres.assistant import Observation
from bridge.sources.postgres.slot import MEGABYTE
from bridge.testing import FakeClock, MemoryJournal, ScriptedSource
from bridge.watch import Lateness, Watch
from tests import shelf
from tests.shelf import START, raw
from tests.unit.test_postgres_slot_judgement import HEALTHY

LOST = Finding(Level.FAIL, "slot.lost", "erp", "it fills up", "drain it")


class Watching:
    """A watch over one stream of one system."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.journal = MemoryJournal(now=self.clock)
        self.source = ScriptedSource("erp")
        self.flow = Flow(self.source, frozenset({"item"}), None, {})
        self.board, self.metrics = HealthBoard(now=self.clock), Metrics()
        self.watch = Watch(
            self.journal,
            {"erp": self.flow},
            {"item": shelf.judge()},
            board=self.board,
            metrics=self.metrics,
            now=self.clock,
        )

    def look(self) -> dict[str, Any]:
        """The health page's checks after one more look."""
        self.watch._due_at = 0.0
        self.watch.step()
        checks: dict[str, Any] = self.board.report()["checks"]
        return checks

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"bridge_{name}", labels)


@pytest.mark.parametrize(("phase", "level"), [(StreamPhase.PAUSED, "warn"), (StreamPhase.DRIFT, "fail")])
def test_a_stream_that_stands_still_is_seen_until_it_runs(phase: StreamPhase, level: str) -> None:
    watching = Watching()
    watching.journal.append(Commit(streams=(StreamState("item", phase, START, "a test"),)))
    check = watching.look()["stream:item"]
    assert (check["status"], check["what"], check["blocks"]) == (level, "rows are parked: a test", ["item"])
    watching.journal.append(Commit(streams=(StreamState("item", StreamPhase.RUNNING, START),)))
    assert watching.look()["stream:item"] == {"status": "pass"}


def test_more_rejected_rows_than_the_contract_allows_are_seen() -> None:
    watching = Watching()
    watching.journal.append(Commit(judged={"item": (50, 50)}))
    assert "50.00 % of its rows were rejected" in watching.look()["stream:item"]["what"]
    watching.clock.advance(2 * 3600)
    assert watching.look()["stream:item"] == {"status": "pass"}


def test_a_problem_of_the_source_blocks_its_streams_and_is_forgotten_when_it_is_over() -> None:
    watching = Watching()
    watching.source.problems = [LOST, Finding(Level.WARN, "slot.unlimited", "erp", "it may fill up")]
    checks = watching.look()
    assert (checks["slot.lost:erp"]["status"], checks["slot.lost:erp"]["blocks"]) == ("fail", ["item"])
    assert (checks["slot.unlimited:erp"]["status"], checks["slot.unlimited:erp"]["blocks"]) == ("warn", [])
    watching.source.problems = []
    assert not any(component.startswith("slot.") for component in watching.look())


def test_a_journal_that_cannot_be_read_is_seen_and_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what the ingest loop says of it: neither hides the other."""

    def fail() -> Any:  # noqa: ANN401  never returns
        raise JournalUnavailable("the disk is gone")

    watching = Watching()
    with monkeypatch.context() as broken:
        broken.setattr(watching.journal, "stream_states", fail)
        assert watching.look()["journal:read"]["what"] == "the disk is gone"
    assert watching.look()["journal:read"] == {"status": "pass"}
    assert "journal" not in watching.look()


@pytest.mark.parametrize(
    ("reread", "ratio"),
    [
        ({"phase": "running", "rows": 25, "of": 100}, 0.25),
        ({"phase": "running", "rows": 300, "of": 100}, 1.0),
        ({"phase": "running", "rows": 300, "of": 0}, 0.0),
        ({"phase": "done", "rows": 0, "of": 0}, 1.0),
    ],
    ids=["part", "more than reckoned", "not known", "done"],
)
def test_how_far_a_re_read_is(reread: dict[str, Any], ratio: float) -> None:
    watching = Watching()
    watching.flow.state = {"snapshots": {"item": reread}}
    watching.look()
    assert watching.value("snapshot_progress_ratio", stream="item") == ratio


def test_what_was_set_aside_is_counted() -> None:
    watching = Watching()
    ruling = shelf.judge().check(raw((Op.CREATE, 1, -1), (Op.CREATE, 2, 1)), epoch=1)
    assert ruling.events is not None
    assert ruling.letters is not None
    parked = NewParked(1, raw((Op.CREATE, 3, 1), (Op.CREATE, 4, 1), (Op.CREATE, 5, 1)))
    watching.journal.append(Commit(events=(ruling.events,), letters=(ruling.letters,), parked=(parked,)))
    watching.look()
    assert watching.value("dead_letters", stream="item") == 1
    assert watching.value("parked_rows", stream="item") == 3
    assert watching.value("journal_bytes") == ruling.events.batch.nbytes


def test_a_look_is_taken_at_most_every_so_often() -> None:
    watching = Watching()
    watching.look()
    watching.source.problems = [LOST]
    watching.watch.step()
    assert watching.board.ailments() == []


def test_what_the_slot_keeps_and_waits_for_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Watching()
    seen = Observation(HEALTHY, (), None)
    monkeypatch.setattr(watching.source, "observation", lambda: seen)
    watching.look()
    assert watching.value("slot_retained_bytes", system="erp") == 10 * MEGABYTE
    assert watching.value("source_behind_bytes", system="erp") == MEGABYTE


def test_how_late_a_source_is_and_how_far_off_its_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Watching()

    def see(after_s: float, *, current: int, confirmed: int) -> None:
        at = watching.clock.advance(after_s) + timedelta(seconds=90)  # its clock is ahead
        state = replace(HEALTHY, observed_at=at, current_lsn=current, confirmed_flush_lsn=confirmed)
        seen = Observation(state, (), None)
        monkeypatch.setattr(watching.source, "observation", lambda: seen)
        watching.look()

    see(0, current=100, confirmed=100)
    assert watching.value("source_behind_seconds", system="erp") == 0
    see(10, current=200, confirmed=100)
    see(10, current=300, confirmed=100)
    assert watching.value("source_behind_seconds", system="erp") == 10
    see(10, current=300, confirmed=200)
    assert watching.value("source_behind_seconds", system="erp") == 10
    see(10, current=300, confirmed=300)
    assert watching.value("source_behind_seconds", system="erp") == 0
    assert watching.value("clock_offset_seconds", system="erp") == 90
    watching.clock.advance(60)
    watching.look()  # at the same observation
    assert watching.value("clock_offset_seconds", system="erp") == 90


def test_a_source_that_is_behind_for_days_is_followed_within_bounds() -> None:
    lateness = Lateness()
    for number in range(10_000):
        late_s = lateness.look(at=START + timedelta(seconds=2 * number), written=number + 1, confirmed=0)
    assert late_s == 2 * 9_999
    assert len(lateness._trail) <= 1024


def test_how_far_each_sink_is_behind() -> None:
    watching = Watching()
    watching.watch = Watch(
        watching.journal, {}, {"item": shelf.judge()}, board=watching.board, metrics=watching.metrics,
        sinks={"crm": ("item",), "lake": ("item", "never_seen")}, now=watching.clock,
    )  # fmt: skip
    for number in range(1, 5):
        events = shelf.judge().check(raw((Op.CREATE, number, 1), at=number), epoch=1).events
        assert events is not None
        watching.journal.append(Commit(events=(events,)))
        watching.clock.advance(10)
    watching.journal.record([Delivered("crm", {"item": Progress(cursor=2, pending=((1, 1),))})])
    watching.look()
    assert watching.value("sink_behind_events", sink="crm", stream="item") == 2
    assert watching.value("sink_behind_seconds", sink="crm") == 20
    assert watching.value("sink_held_events", sink="crm") == 1
    assert watching.value("sink_behind_events", sink="lake", stream="item") == 4
    assert watching.value("sink_behind_seconds", sink="lake") == 40
    watching.journal.advance("lake", {"item": 4})
    watching.look()
    assert watching.value("sink_behind_seconds", sink="lake") == 0


def test_health_and_the_validity_level_are_shown_as_figures() -> None:
    watching = Watching()
    watching.journal.append(Commit(judged={"item": (50, 50)}))
    watching.look()
    assert watching.value("rejected_ratio", stream="item") == 0.5
    assert watching.value("rejected_allowed_ratio", stream="item") == 0.1
    assert watching.value("component_state", component="stream:item") == 1
    assert watching.value("component_state", component="journal:read") == 0


def test_health_names_cursors_that_nobody_moves_until_they_are_forgotten() -> None:
    watching = Watching()
    watching.watch = Watch(
        watching.journal, {}, {}, board=watching.board, metrics=watching.metrics, now=watching.clock,
        sinks={"crm": ("item",)}, readers={"shop": ("item",)},
    )  # fmt: skip
    left = {"old": "item", "crm": "returns", "api:former:nightly": "item", "api:shop:mine": "returns"}
    for subscriber in (*left, "api:shop:yours", "new:thing"):
        watching.journal.advance(subscriber, {left.get(subscriber, "item"): 0})
    found = {name: check["what"] for name, check in watching.look().items() if name.startswith("cursor:")}
    assert found == {
        "cursor:old": "old is configured no more, and retention waits for it",
        "cursor:crm": "crm is sent returns no more, and retention waits for it",
        "cursor:former/nightly": "former is configured no more, and retention waits for it",
        "cursor:shop/mine": "shop sees returns no more, and retention waits for it",
    }
    actions = {name: check["action"] for name, check in watching.look().items() if name.startswith("cursor:")}
    assert "`legacy-bridge sink forget old`" in actions["cursor:old"]
    assert "`legacy-bridge cursor forget former nightly`" in actions["cursor:former/nightly"]
    for subscriber in left:
        watching.journal.forget_subscriber(subscriber)
    assert not [name for name in watching.look() if name.startswith("cursor:")]
