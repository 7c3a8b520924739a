"""What operators ask of streams: pause, resume, remove, re-reads, reload."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from bridge.contract.document import ContractDocument
from bridge.errors import ConfigError, JournalCorrupt, JournalUnavailable, SourceRefused
from bridge.model import Commit, LetterState, NewParked, Op, Position, RawBatch, StreamPhase, StreamState
from bridge.operate import Desk, conclude, perform
from bridge.ports import Request
from bridge.testing import FakeClock, MemoryJournal
from tests import shelf
from tests.shelf import NARROWER, SHAPE, START, WIDER, gap, raw, told

C, U, R = Op.CREATE, Op.UPDATE, Op.READ


class Office:
    """A desk on a fresh journal; its judges as a daemon would build them."""

    def __init__(self, phase: StreamPhase | None = None, *, contract: ContractDocument | None = None) -> None:
        self.clock = FakeClock()
        self.journal = MemoryJournal(now=self.clock)
        if phase is not None:
            self.journal.append(Commit(streams=(StreamState("item", phase, START, "a test", SHAPE),)))
        self.asked: list[str] = []
        self.beats = 0
        self.restart(contract=contract)

    def restart(self, *, contract: ContractDocument | None = None, reload: Any = None) -> None:  # noqa: ANN401  a callable
        """Build everything anew from the journal."""
        self.judge = shelf.judge(state=self.journal.stream_states().get("item"), made_for=contract)
        self.desk = Desk(
            self.journal,
            {"item": self.judge},
            {"item": self.asked.append},
            reload=reload,
            systems={"item": "erp"},
            turned=self.beat,
            now=self.clock,
        )

    def know_reread(self, *, number: int, phase: str) -> None:
        """What the source's last window says of the stream's re-read."""
        state = {"snapshots": {"item": {"number": number, "phase": phase}}}
        self.journal.append(Commit(source="erp", position=Position(1, (1, 0)), state=state))

    def beat(self) -> None:
        self.beats += 1

    def park(self, *batches: RawBatch, epoch: int = 1) -> None:
        """Rows as they were parked."""
        self.journal.append(Commit(parked=tuple(NewParked(epoch, batch) for batch in batches)))

    def ask(self, kind: str, **args: Any) -> Mapping[str, Any]:  # noqa: ANN401  JSON
        """Have it done; returns the result, with `ok`."""
        return self.perform(self.request(kind, **args))

    def request(self, kind: str, **args: Any) -> Request:  # noqa: ANN401  JSON
        number = self.journal.request(kind, args, "ann")
        return next(request for request in self.journal.requests() if request.id == number)

    def perform(self, request: Request) -> Mapping[str, Any]:
        perform(self.desk, request)
        settled = next(one for one in self.journal.requests(open_only=False) if one.id == request.id)
        assert settled.result is not None
        return {"ok": settled.ok, **settled.result}

    @property
    def state(self) -> StreamState:
        """What the journal remembers of the stream; the judge must know the same."""
        held = self.journal.stream_states()["item"]
        assert held == self.judge.state
        return held

    def actions(self) -> list[str]:
        """The audit trail."""
        return [one.entry.action for one in self.journal.audit_trail()]


def test_a_paused_stream_parks_what_comes_and_says_who() -> None:
    office = Office(StreamPhase.RUNNING)
    assert office.ask("stream.pause", stream="item") == {"ok": True, "stream": "item", "phase": "paused"}
    assert (office.state.phase, office.state.why, office.state.shape) == (StreamPhase.PAUSED, "paused by ann", SHAPE)
    assert office.judge.judge(raw((C, 1, 1)), epoch=1, now=START).parked is not None
    assert office.actions() == ["stream.pause"]


def test_a_stream_can_be_paused_before_its_first_row() -> None:
    office = Office()
    assert office.ask("stream.pause", stream="item")["ok"]
    assert office.state.shape is None


def test_a_stream_in_drift_is_not_paused() -> None:
    office = Office(StreamPhase.DRIFT)
    assert "parked already" in office.ask("stream.pause", stream="item")["error"]
    assert office.state.phase is StreamPhase.DRIFT


def test_resume_replays_parked_rows_in_order_under_their_own_epoch() -> None:
    """I5; and each batch is a sign of life."""
    office = Office(StreamPhase.PAUSED)
    office.park(raw((C, 1, 1), (C, 2, -1), at=1), gap(at=2), epoch=1)
    office.park(raw((U, 1, 2), at=3), epoch=2)
    assert office.ask("stream.resume", stream="item") == {"ok": True, "stream": "item", "rows": 4}
    assert told(office.journal) == [("c", 1, 1), ("g", None, None), ("u", 1, 2)]
    assert [row["epoch"] for row in shelf.rows(office.journal)] == [1, 1, 2]
    assert office.journal.letter_counts() == {"item": 1}
    assert office.journal.parked_counts() == {}
    assert office.state.phase is StreamPhase.RUNNING
    assert office.beats >= 3


def test_parked_rows_count_for_validity_when_they_are_judged() -> None:
    office = Office(StreamPhase.PAUSED)
    office.park(raw((C, 1, 1), (C, 2, -1), at=1))
    assert office.journal.validity("item", since=office.clock()) == (0, 0)
    office.ask("stream.resume", stream="item")
    assert office.journal.validity("item", since=office.clock()) == (1, 1)


def test_resume_of_drift_accepts_the_new_shape() -> None:
    office = Office(StreamPhase.DRIFT)
    office.park(raw((C, 1, 1), at=1, shape=WIDER))
    assert office.ask("stream.resume", stream="item")["ok"]
    assert (office.state.phase, office.state.shape) == (StreamPhase.RUNNING, WIDER)


def test_a_shape_that_changed_during_a_pause_is_drift_and_not_accepted_in_passing() -> None:
    """A person must see it: a pause is about something else."""
    office = Office(StreamPhase.PAUSED)
    office.park(raw((C, 1, 1), at=1), raw((C, 2, 1), at=2, shape=WIDER))
    answer = office.ask("stream.resume", stream="item")
    assert "1 rows replayed; then table shop.item changed: column colour (text) is new" in answer["error"]
    assert (office.state.phase, office.state.shape) == (StreamPhase.DRIFT, SHAPE)
    assert told(office.journal) == [("c", 1, 1)]
    assert office.ask("stream.resume", stream="item") == {"ok": True, "stream": "item", "rows": 1}


def test_resume_stops_where_the_contract_does_not_fit_and_leaves_the_rest_parked() -> None:
    office = Office(StreamPhase.DRIFT)
    office.park(raw((C, 1, 1), at=1), raw((C, 2, 1), at=2, shape=NARROWER), raw((C, 3, 1), at=3))
    answer = office.ask("stream.resume", stream="item")
    assert answer["error"].startswith("1 rows replayed; the contract does not fit the next")
    assert "new version" in answer["hint"]
    assert office.journal.parked_counts() == {"item": 2}
    assert office.state.phase is StreamPhase.DRIFT


def test_resume_of_a_running_stream_changes_nothing() -> None:
    """Also what a second try finds, after the process died between doing it and saying so."""
    office = Office(StreamPhase.RUNNING)
    assert office.ask("stream.resume", stream="item") == {"ok": True, "stream": "item", "rows": 0}
    assert office.actions() == []


def test_resume_goes_on_where_a_kill_cut_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch is in the journal exactly once."""
    office = Office(StreamPhase.PAUSED)
    office.park(*(raw((C, number, 1), at=number) for number in range(1, 5)))
    request = office.request("stream.resume", stream="item")

    real, left = office.journal.append, 2

    def append(commit: Commit) -> Any:  # noqa: ANN401  as the port
        nonlocal left
        if not left:
            raise JournalUnavailable("the process is gone")
        left -= 1
        return real(commit)

    monkeypatch.setattr(office.journal, "append", append)
    with pytest.raises(JournalUnavailable):
        office.perform(request)
    monkeypatch.undo()
    office.restart()
    assert office.perform(request) == {"ok": True, "stream": "item", "rows": 2}
    assert [number for _, number, _ in told(office.journal)] == [1, 2, 3, 4]


def test_a_resume_whose_last_commit_went_in_after_all_strands_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was parked before the second try follows; the letters of the first try hold up their keys."""
    office = Office(StreamPhase.PAUSED)
    office.judge = shelf.judge(state=office.journal.stream_states()["item"], on_reject="hold")
    office.desk = replace(office.desk, judges={"item": office.judge})
    office.park(raw((C, 1, -1), at=1))
    request, real = office.request("stream.resume", stream="item"), office.journal.append

    def append(commit: Commit) -> Any:  # noqa: ANN401  as the port
        real(commit)
        raise JournalUnavailable("no answer came")

    for _ in range(2):  # the replay, then the new phase
        with monkeypatch.context() as broken:
            broken.setattr(office.journal, "append", append)
            with pytest.raises(JournalUnavailable):
                office.perform(request)
    office.park(raw((U, 1, 5), (C, 2, 5), at=2))
    assert office.perform(request)["ok"]
    assert told(office.journal) == [("c", 2, 5)]
    assert office.journal.parked_counts() == {}
    assert office.journal.letter_counts() == {"item": 2}


def test_a_shape_whose_commit_went_in_after_all_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next rows would be drift again."""
    office = Office(StreamPhase.DRIFT)
    office.park(raw((C, 1, 1), at=1, shape=WIDER))
    request, real = office.request("stream.resume", stream="item"), office.journal.append

    def append(commit: Commit) -> Any:  # noqa: ANN401  as the port
        real(commit)
        raise JournalUnavailable("no answer came")

    with monkeypatch.context() as broken:
        broken.setattr(office.journal, "append", append)
        with pytest.raises(JournalUnavailable):
            office.perform(request)
    assert office.perform(request)["ok"]
    assert (office.state.phase, office.state.shape) == (StreamPhase.RUNNING, WIDER)


def test_a_gap_whose_re_read_ended_while_parked_is_healed_by_the_resume() -> None:
    """Its rows come first, else every key would look gone."""
    office = Office(StreamPhase.RUNNING)
    ruling = office.judge.check(raw((C, 1, 1), (C, 2, 1), (C, 3, -1), at=1), epoch=1)
    assert ruling.events is not None
    assert ruling.letters is not None
    office.journal.append(Commit(events=(ruling.events,), letters=(ruling.letters,)))
    office.ask("stream.pause", stream="item")
    office.park(gap(at=5), raw((R, 1, 1), at=6, snapshot=1), epoch=2)
    state = {"snapshots": {"item": {"number": 1, "phase": "done", "heals": True}}}
    office.journal.append(Commit(source="erp", position=Position(2, (7, 0)), state=state))
    assert office.ask("stream.resume", stream="item")["ok"]
    assert told(office.journal)[2:] == [("g", None, None), ("r", 1, 1), ("d", 2, None)]
    assert [letter.state for letter in office.journal.letters(state=None)] == [LetterState.SUPERSEDED]


def test_a_gap_whose_re_read_goes_on_is_not_healed_by_the_resume() -> None:
    office = Office(StreamPhase.RUNNING)
    ruling = office.judge.check(raw((C, 1, 1), at=1), epoch=1)
    assert ruling.events is not None
    office.journal.append(Commit(events=(ruling.events,)))
    office.ask("stream.pause", stream="item")
    office.park(gap(at=5), epoch=2)
    state = {"snapshots": {"item": {"number": 1, "phase": "running", "heals": True}}}
    office.journal.append(Commit(source="erp", position=Position(2, (7, 0)), state=state))
    assert office.ask("stream.resume", stream="item")["ok"]
    assert told(office.journal) == [("c", 1, 1), ("g", None, None)]


def test_an_unknown_stream_is_declined_with_the_known_ones() -> None:
    answer = Office().ask("stream.pause", stream="itme")
    assert (answer["ok"], answer["error"]) == (False, "there is no stream 'itme'")
    assert answer["hint"] == "The streams are: item."


def test_an_unknown_request_is_declined() -> None:
    assert Office().ask("stream.dance")["error"] == "unknown request 'stream.dance'"


@pytest.mark.parametrize("error", [JournalUnavailable("the disk is full"), JournalCorrupt("a block is damaged")])
def test_a_journal_that_fails_leaves_the_request_open(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office()

    def fail(_: Commit) -> Any:  # noqa: ANN401  as the port
        raise error

    monkeypatch.setattr(office.journal, "append", fail)
    with pytest.raises(type(error)):
        office.ask("stream.pause", stream="item")
    assert len(office.journal.requests()) == 1


# -- remove


def test_a_removed_stream_gives_up_its_parked_rows_and_its_shape() -> None:
    office = Office()
    office.journal.append(Commit(streams=(StreamState("old", StreamPhase.DRIFT, START, "", SHAPE),)))
    office.park(*(raw((C, number, 1), (C, 9, 1), at=number, stream="old") for number in range(1, 40)))
    assert office.ask("stream.remove", stream="old") == {"ok": True, "stream": "old", "parked_rows_given_up": 78}
    assert office.journal.parked_counts() == {}
    assert office.journal.stream_states()["old"].shape is None
    assert [one.entry.reason for one in office.journal.audit_trail()] == ["78 parked rows given up"]


@pytest.mark.parametrize(("stream", "why"), [("item", "is configured"), ("never", "there is no stream")])
def test_a_stream_in_use_or_never_seen_is_not_removed(stream: str, why: str) -> None:
    assert why in Office(StreamPhase.RUNNING).ask("stream.remove", stream=stream)["error"]


# -- re-reads and reload


@pytest.mark.parametrize("action", ["start", "pause", "resume", "cancel"])
def test_a_re_read_is_asked_of_the_source(action: str) -> None:
    office = Office()
    office.know_reread(number=1, phase="paused" if action == "resume" else "running")
    awaited = perform(office.desk, office.request(f"snapshot.{action}", stream="item"))
    assert awaited is not None
    assert office.asked == [action]
    assert not conclude(office.desk, awaited)
    phases = {"start": "running", "pause": "paused", "resume": "running", "cancel": "cancelled"}
    if action != "resume":
        assert office.actions() == []
    office.know_reread(number=2 if action == "start" else 1, phase=phases[action])
    assert conclude(office.desk, awaited)
    assert office.actions() == [f"snapshot.{action}"]
    assert office.journal.requests() == []


@pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
def test_what_is_not_under_way_cannot_be_told_to_stop(action: str) -> None:
    assert "no re-read" in Office().ask(f"snapshot.{action}", stream="item")["error"]


def test_a_re_read_of_what_is_not_read_is_declined() -> None:
    assert "is not read" in Office().ask("snapshot.start", stream="other")["error"]


def test_a_source_that_refuses_a_re_read_is_quoted() -> None:
    office = Office()

    def refuse(_: str) -> None:
        raise SourceRefused("the table has no key")

    office.desk = replace(office.desk, rereads={"item": refuse})
    assert office.ask("snapshot.start", stream="item")["error"] == "the table has no key"
    assert office.actions() == []


def test_a_reload_is_told_of_and_left_open_for_who_changes_over() -> None:
    office = Office()
    office.restart(reload=lambda number: [f"what request {number} asks for"])
    request = office.request("reload")
    awaited = perform(office.desk, request)
    assert awaited is not None
    assert not conclude(office.desk, awaited)
    assert office.journal.requests() == [request]
    assert [one.entry.reason for one in office.journal.audit_trail()] == [f"what request {request.id} asks for"]


def test_a_reload_of_a_wrong_file_is_declined_with_its_mistakes() -> None:
    def refuse(_number: int) -> list[str]:
        raise ConfigError("bridge.yaml:3: no such key")

    office = Office()
    office.restart(reload=refuse)
    assert office.ask("reload")["error"] == "bridge.yaml:3: no such key"
    assert office.actions() == []


def test_without_a_daemon_there_is_nothing_to_reload() -> None:
    assert Office().ask("reload")["error"] == "no daemon runs"
