"""The kill switch: what is paused is not read, says so, and goes on where it was."""

import threading
from typing import Any

import pytest

from bridge import halt
from bridge.errors import SourceUnavailable
from bridge.health import HealthBoard
from bridge.operate import Desk, conclude, perform
from bridge.ports import Request
from bridge.pump import Flow, Handoff, Pump
from bridge.testing import FakeClock, MemoryJournal, ScriptedSource
from tests.shelf import create

DEADLINE_S = 20.0


class Reader:
    """Something that reads a system, as a desk sees it."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.rests = False

    def halt(self, why: str) -> None:
        self.told.append(why)

    def release(self) -> None:
        self.told.append("go on")


class Office:
    """A desk that can pause system erp, which two sources read."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.journal = MemoryJournal(now=self.clock)
        self.readers = Reader(), Reader()
        self.desk = Desk(self.journal, {}, halts={"erp": self.readers, "crm": ()}, now=self.clock)

    def leave(self, kind: str, **args: Any) -> Request:  # noqa: ANN401  JSON
        number = self.journal.request(kind, args, "cli:ann")
        return next(one for one in self.journal.requests() if one.id == number)

    def settled(self, request: Request) -> Request:
        return next(one for one in self.journal.requests(open_only=False) if one.id == request.id)

    def ask(self, kind: str, **args: Any) -> Request:  # noqa: ANN401  JSON
        request = self.leave(kind, **args)
        perform(self.desk, request)
        return self.settled(request)


def test_a_pause_is_kept_audited_and_done_when_every_source_is_at_rest() -> None:
    office = Office()
    request = office.leave("system.pause", system="erp", reason="month end")
    awaited = perform(office.desk, request)
    assert awaited is not None
    assert not conclude(office.desk, awaited)
    (held,) = halt.halts(office.journal).values()
    assert (held.by, held.reason, held.since) == ("cli:ann", "month end", office.clock())
    assert [one.told for one in office.readers] == [[held.why], [held.why]]
    assert held.why.startswith("paused by cli:ann since 20")
    office.readers[0].rests = office.readers[1].rests = True
    assert conclude(office.desk, awaited)
    assert office.settled(request).result == {"system": "erp", "paused": True}
    assert [(one.entry.action, one.entry.subject, one.entry.reason) for one in office.journal.audit_trail()] == [
        ("system.pause", "erp", "month end")
    ]


def test_a_pause_is_performed_again_after_a_kill_and_not_by_somebody_else() -> None:
    office = Office()
    request = office.leave("system.pause", system="erp")
    first, again = perform(office.desk, request), perform(office.desk, request)
    assert first is not None
    assert again is not None
    assert len(office.journal.audit_trail()) == 1
    other = office.ask("system.pause", system="erp")
    assert other.ok is False
    assert "paused by cli:ann" in str(other.result)


def test_a_resume_lets_every_source_go_on() -> None:
    office = Office()
    office.ask("system.pause", system="crm")
    assert office.ask("system.resume", system="crm").result == {"system": "crm", "paused": False}
    assert halt.halts(office.journal) == {}
    refused = office.ask("system.resume", system="crm")
    assert refused.ok is False
    office.leave("system.pause", system="erp")
    assert office.ask("system.pause", system="nowhere").ok is False


class Reading:
    """A pump on a thread, and the other end of its queue."""

    def __init__(self, source: ScriptedSource) -> None:
        self.source = source
        self.flow = Flow(self.source, frozenset({"item"}), None, {})
        self.handoff, self.board, self.stop = Handoff(), HealthBoard(), threading.Event()
        self.pump = Pump(self.flow, self.handoff, self.board, self.stop)
        self.thread = threading.Thread(target=self.pump.run, daemon=True)

    def take(self) -> Any:  # noqa: ANN401  a window
        taken = self.handoff.take(timeout_s=DEADLINE_S)
        assert taken is not None
        with self.flow.settled:
            self.flow.position, self.flow.state = taken[1].position, taken[1].state
            self.flow.waiting -= 1
            self.flow.settled.notify_all()
        return taken[1]

    def rested(self) -> bool:
        for _ in range(2_000):
            if self.pump.rests:
                return True
            self.stop.wait(0.01)
        return False

    def end(self) -> None:
        self.stop.set()
        self.thread.join(DEADLINE_S)


class AskingSource(ScriptedSource):
    """Its `read` is busy with a query until somebody interrupts it."""

    def __init__(self) -> None:
        super().__init__("erp")
        self.asking, self.interrupted, self.closed = threading.Event(), threading.Event(), threading.Event()

    def read(self, timeout_s: float, **_rest: Any) -> Any:  # noqa: ANN401  a window
        self.asking.set()
        assert self.interrupted.wait(DEADLINE_S + timeout_s)
        raise SourceUnavailable("the query was cancelled")

    def interrupt(self) -> None:
        self.interrupted.set()

    def close(self) -> None:
        super().close()
        self.closed.set()


def test_the_board_says_why_before_a_source_is_called_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(AskingSource())
    assert isinstance(reading.source, AskingSource)
    fail = reading.board.fail
    rested: list[bool] = []

    def told(*said: Any, **how: Any) -> None:  # noqa: ANN401  as `HealthBoard.fail`
        rested.append(reading.pump.rests)
        fail(*said, **how)

    monkeypatch.setattr(reading.board, "fail", told)
    reading.thread.start()
    assert reading.source.asking.wait(DEADLINE_S)
    reading.pump.halt("paused by ann since 12:00")
    assert reading.rested()
    assert rested[0] is False
    reading.end()


def test_a_query_that_runs_is_interrupted_and_its_session_closed() -> None:
    reading = Reading(AskingSource())
    source = reading.source
    assert isinstance(source, AskingSource)
    reading.thread.start()
    assert source.asking.wait(DEADLINE_S)
    assert not reading.pump.rests
    reading.pump.halt("paused by ann since 12:00")
    assert reading.rested()
    assert source.closed.is_set()
    (ailment,) = reading.board.ailments()
    assert (ailment.component, ailment.what, ailment.level) == ("source:erp", "paused by ann since 12:00", "warn")
    assert ailment.blocks == ("item",)
    reading.end()


def test_a_source_goes_on_behind_what_the_journal_holds() -> None:
    reading = Reading(ScriptedSource("erp", create(1, at=1), create(2, at=2)))
    reading.pump.halt("paused")
    reading.thread.start()
    assert reading.rested()
    assert reading.handoff.take(timeout_s=0.05) is None
    reading.pump.release()
    assert [reading.take().position.at[0] for _ in range(2)] == [1, 2]
    reading.pump.halt("paused again")
    assert reading.rested()
    reading.end()
    assert reading.pump.rests


def test_a_window_that_the_journal_cannot_take_keeps_no_session_open() -> None:
    windows = [create(number, at=number) for number in range(1, 9)]
    reading = Reading(ScriptedSource("erp", *windows))
    reading.thread.start()  # nobody takes: the queue is full soon
    for _ in range(500):
        if reading.flow.waiting >= 3:
            break
        reading.stop.wait(0.01)
    reading.pump.halt("paused")
    assert reading.rested()
    reading.pump.release()
    seen: list[int] = []
    while len(seen) < 8:
        seen.append(reading.take().position.at[0])
    assert seen == list(range(1, 9))
    reading.end()


@pytest.mark.parametrize("kind", ["log", "view"])
def test_what_stays_on_a_system_is_said(kind: str, tmp_path: Any) -> None:  # noqa: ANN401  a path
    from bridge.config.load import load  # noqa: PLC0415  only here

    (tmp_path / "c.yaml").touch()
    (tmp_path / "v.sql").touch()
    origin = "log: s.t" if kind == "log" else "view: v.sql"
    (tmp_path / "bridge.yaml").write_text(
        "bridge: {name: acme, type_prefix: com.acme}\nsystems: {erp: {postgres: {}}}\n"
        f"streams: {{orders: {{system: erp, {origin}, contract: c.yaml}}}}\n"
    )
    config = load(tmp_path / "bridge.yaml", environ={})
    assert ("slot legacy_bridge stays" in halt.left(config, "erp")) == (kind == "log")
    (standing,) = halt.standings(MemoryJournal(), config)
    assert (standing["system"], standing["paused"], standing["streams"]) == ("erp", False, ["orders"])
