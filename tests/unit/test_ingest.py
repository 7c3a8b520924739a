"""Journalling windows: all or nothing, confirmed afterwards, and stopped loudly where it cannot be done."""

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal

import pytest

from bridge.errors import InternalError, JournalCorrupt, JournalUnavailable
from bridge.health import HealthBoard
from bridge.ingest import Ingest
from bridge.judge import StreamJudge
from bridge.metrics import Metrics
from bridge.model import Commit, LetterState, Op, Position, StreamPhase, StreamState, Window
from bridge.operate import Desk
from bridge.pump import Flow, Handoff
from bridge.resilience.retry import Backoff
from bridge.testing import MemoryJournal, ScriptedSource
from tests import shelf
from tests.shelf import SHAPE, START, WIDER, create, gap, raw, told, window

C, U, R = Op.CREATE, Op.UPDATE, Op.READ
Fault = Callable[[], None]


def unavailable() -> None:
    raise JournalUnavailable("the disk is full")


def corrupt() -> None:
    raise JournalCorrupt("a block is damaged")


class FaultyJournal(MemoryJournal):
    """A journal whose calls fail as scripted, by name: before they do anything, or after they did."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, list[Fault]] = {}
        self.after: dict[str, list[Fault]] = {}
        self.commits: list[Commit] = []

    def _meet(self, faults: dict[str, list[Fault]], name: str) -> None:
        if faults.get(name):
            faults[name].pop(0)()

    def append(self, commit: Commit) -> dict[str, tuple[int, int]]:
        self._meet(self.before, "append")
        given = super().append(commit)
        self.commits.append(commit)
        self._meet(self.after, "append")
        return given

    def position(self, source: str) -> tuple[Position | None, dict[str, Any]]:
        self._meet(self.before, "position")
        return super().position(source)

    def letters(self, **asked: Any) -> list[Any]:  # noqa: ANN401  as the port
        self._meet(self.before, "letters")
        return super().letters(**asked)

    def tend(self, now: datetime) -> bool:
        self._meet(self.before, "tend")
        return super().tend(now)

    def settle(self, request_id: int, *, ok: bool, result: Mapping[str, Any]) -> None:
        self._meet(self.before, "settle")
        super().settle(request_id, ok=ok, result=result)


class Ingesting:
    """An ingest loop and a source that hears its confirmations."""

    def __init__(
        self,
        *,
        on_reject: Literal["pass", "hold"] = "pass",
        state: StreamState | None = None,
        judges: Mapping[str, StreamJudge] | None = None,
    ) -> None:
        self.journal = FaultyJournal()
        self.source = ScriptedSource("erp", journal=self.journal)
        self.flow = Flow(self.source, frozenset({"item"}), None, {})
        self.handoff, self.board, self.stop = Handoff(), HealthBoard(), threading.Event()
        self.judges = judges or {"item": shelf.judge(on_reject=on_reject, state=state)}
        self.ingest = Ingest(
            self.journal,
            self.handoff,
            self.judges,
            board=self.board,
            metrics=Metrics(),
            desk=Desk(self.journal, self.judges, systems={"item": "erp"}),
            stop=self.stop,
        )
        self.ingest._backoff = Backoff(first_s=0.0001, limit_s=0.0001)

    def give(self, *windows: Window) -> None:
        """Journal these windows, one a step."""
        for each in windows:
            assert self.handoff.give(self.flow, each, timeout_s=0)
            self.ingest.step(timeout_s=0)

    def run(self, *windows: Window) -> None:
        """Hand these over, say stop, and let the loop end."""
        for each in windows:
            assert self.handoff.give(self.flow, each, timeout_s=0)
        self.stop.set()
        self.ingest.run()


def test_a_window_is_one_commit_with_everything_in_it() -> None:
    """I4: events, letters, position and state go in together."""
    ingesting = Ingesting()
    ingesting.give(window(raw((C, 1, 5), (C, 2, -1), at=3), at=3))
    (commit,) = ingesting.journal.commits
    assert commit.source == "erp"
    assert commit.position == Position(1, (3, 0))
    assert commit.state == {"snapshots": {}}
    assert [events.row_count for events in commit.events] == [1]
    assert [letters.rejected.keys for letters in commit.letters] == [("2",)]
    assert commit.judged == {"item": (1, 1)}
    assert [state.phase for state in commit.streams] == [StreamPhase.RUNNING]


def test_a_window_without_batches_moves_the_position() -> None:
    ingesting = Ingesting()
    ingesting.give(window(at=5))
    assert ingesting.journal.position("erp")[0] == Position(1, (5, 0))
    assert ingesting.source.confirmed == [Position(1, (5, 0))]


def test_the_source_is_told_after_the_commit() -> None:
    """I1: the scripted source refuses a confirmation of what the journal does not hold."""
    ingesting = Ingesting()
    ingesting.give(create(1, at=1), create(2, at=2))
    assert ingesting.source.confirmed == [Position(1, (1, 0)), Position(1, (2, 0))]
    assert (ingesting.flow.position, ingesting.flow.waiting) == (Position(1, (2, 0)), 0)


def test_a_journal_that_cannot_be_written_is_tried_again_and_nothing_is_told_meanwhile() -> None:
    """I1: health is red while it lasts and green after."""
    ingesting = Ingesting()
    seen: list[tuple[list[Position], str]] = []

    def look_and_fail() -> None:
        seen.append((list(ingesting.source.confirmed), ingesting.board.report()["status"]))
        unavailable()

    ingesting.journal.before["append"] = [look_and_fail, look_and_fail, look_and_fail]
    ingesting.give(create(1, at=1))
    assert seen == [([], "pass"), ([], "fail"), ([], "fail")]
    assert told(ingesting.journal) == [("c", 1, 1)]
    assert ingesting.board.ailments() == []


def test_a_commit_that_went_in_after_all_is_not_stored_twice() -> None:
    """I4: only the journal knows; its position and state tell."""
    ingesting = Ingesting()
    ingesting.journal.after["append"] = [unavailable]
    ingesting.give(create(1, at=1))
    assert told(ingesting.journal) == [("c", 1, 1)]
    assert ingesting.source.confirmed == [Position(1, (1, 0))]
    assert ingesting.board.ailments() == []


def test_a_chunk_of_a_re_read_that_went_in_after_all_is_told_by_the_state() -> None:
    """Its position is that of the window before; tuples in the state are lists in the journal."""
    ingesting = Ingesting()
    ingesting.give(create(1, at=1))
    ingesting.journal.before["append"] = [unavailable]
    ingesting.journal.after["append"] = [unavailable]
    chunk = Window((raw((R, 7, 1), at=1, snapshot=1),), Position(1, (1, 0)), {"snapshots": {}, "last": ("7",)})
    ingesting.give(chunk)
    assert told(ingesting.journal) == [("c", 1, 1), ("r", 7, 1)]


def test_a_journal_that_cannot_be_asked_either_is_asked_again() -> None:
    ingesting = Ingesting()
    ingesting.journal.after["append"] = [unavailable]
    ingesting.journal.before["position"] = [unavailable, unavailable]
    ingesting.give(create(1, at=1))
    assert told(ingesting.journal) == [("c", 1, 1)]


def test_a_full_disk_does_not_keep_the_daemon_from_stopping() -> None:
    """Nothing was confirmed, so the source sends it again; the exit tells of it."""
    ingesting = Ingesting()
    ingesting.journal.before["append"] = [unavailable] * 1000
    ingesting.run(create(1, at=1))
    assert isinstance(ingesting.ingest.failure, JournalUnavailable)
    assert ingesting.source.confirmed == []


def test_what_was_handed_over_is_journalled_before_the_end() -> None:
    ingesting = Ingesting()
    ingesting.run(create(1, at=1), create(2, at=2))
    assert [number for _, number, _ in told(ingesting.journal)] == [1, 2]
    assert ingesting.ingest.failure is None


def test_damage_stops_the_loop_and_is_kept_for_the_exit_code() -> None:
    ingesting = Ingesting()
    ingesting.journal.before["append"] = [corrupt]
    ingesting.run(create(1, at=1), create(2, at=2))
    assert isinstance(ingesting.ingest.failure, JournalCorrupt)
    (ailment,) = ingesting.board.ailments()
    assert (ailment.component, ailment.blocks) == ("journal", ("item",))
    assert ingesting.source.confirmed == []


def test_a_bug_in_a_judge_stops_the_loop_and_nothing_is_confirmed() -> None:
    """I3: what cannot be judged stops its source; the log and health say where, without a row's value."""

    class Broken(StreamJudge):
        def judge(self, *_: object, **__: object) -> Any:  # noqa: ANN401  never returns
            raise KeyError("a row's value")

    broken = Broken("item", shelf.contract(), on_reject="pass", state=None)
    ingesting = Ingesting(judges={"item": broken})
    ingesting.run(create(1, at=1))
    assert isinstance(ingesting.ingest.failure, InternalError)
    assert ingesting.ingest.failure.detail == "the ingest loop was stopped by KeyError"
    assert (ingesting.journal.commits, ingesting.source.confirmed) == ([], [])


def test_a_ruling_counts_only_once_it_is_stored() -> None:
    """With hold, a letter that could not be stored holds nothing up."""
    ingesting = Ingesting(on_reject="hold")
    ingesting.journal.before["append"] = [corrupt]
    ingesting.run(create(1, -1, at=1))
    ruling = ingesting.judges["item"].judge(raw((U, 1, 5)), epoch=1, now=START)
    assert ruling.letters is None


def test_with_hold_a_stored_letter_holds_up_the_windows_after_it() -> None:
    """I5."""
    ingesting = Ingesting(on_reject="hold")
    ingesting.give(create(1, -1, at=1), window(raw((U, 1, 5), (C, 2, 5), at=2), at=2))
    assert told(ingesting.journal) == [("c", 2, 5)]
    assert ingesting.journal.letter_counts() == {"item": 2}


# -- re-reads after a gap


def test_the_end_of_a_re_read_after_a_gap_states_hidden_deletes_and_settles_old_letters() -> None:
    """In the same commit as the last chunk."""
    ingesting = Ingesting()
    ingesting.give(window(raw((C, 1, 1), (C, 2, 1), (C, 3, -1), at=1), at=1))
    ingesting.give(window(gap(at=5), at=5, epoch=2))
    ingesting.give(window(raw((R, 1, 1), at=6, snapshot=1), at=6, epoch=2, reread={"item": 1}))
    assert told(ingesting.journal)[-2:] == [("r", 1, 1), ("d", 2, None)]
    letter = ingesting.journal.letter(1)
    assert letter is not None
    assert letter.state is LetterState.SUPERSEDED
    assert len(ingesting.journal.commits) == 3


def test_healing_waits_for_a_journal_that_cannot_be_read_now() -> None:
    ingesting = Ingesting()
    ingesting.give(create(1, at=1), window(gap(at=5), at=5, epoch=2))
    ingesting.journal.before["letters"] = [unavailable, unavailable]
    ingesting.give(window(at=6, epoch=2, reread={"item": 1}))
    assert told(ingesting.journal)[-1] == ("d", 1, None)
    assert ingesting.board.ailments() == []


def test_a_parked_stream_is_not_healed_before_its_rows_are_journalled() -> None:
    """What the re-read found is parked: every key would look gone."""
    ingesting = Ingesting(state=StreamState("item", StreamPhase.RUNNING, START, "", SHAPE))
    ingesting.give(create(1, at=1), window(gap(at=5), at=5, epoch=2))
    ingesting.journal.request("stream.pause", {"stream": "item"}, "ann")
    ingesting.ingest._poll_at = 0.0
    ingesting.ingest.step(timeout_s=0)
    ingesting.give(window(raw((R, 1, 1), at=6, snapshot=1), at=6, epoch=2, reread={"item": 1}))
    assert told(ingesting.journal) == [("c", 1, 1), ("g", None, None)]
    assert ingesting.journal.parked_counts() == {"item": 1}


def test_a_re_read_that_ends_in_drift_is_healed_by_the_resume() -> None:
    """The last chunk is what shows the drift: it is parked, and so are the keys it found."""
    ingesting = Ingesting(state=StreamState("item", StreamPhase.RUNNING, START, "", SHAPE))
    ingesting.give(window(raw((C, 1, 1), (C, 2, 1), at=1), at=1), window(gap(at=5), at=5, epoch=2))
    last = raw((R, 1, 1), at=6, snapshot=1, shape=WIDER)
    ingesting.give(window(last, at=6, epoch=2, reread={"item": 1}))
    assert told(ingesting.journal)[2:] == [("g", None, None)]
    ingesting.journal.request("stream.resume", {"stream": "item"}, "ann")
    ingesting.ingest._poll_at = 0.0
    ingesting.ingest.step(timeout_s=0)
    assert told(ingesting.journal)[3:] == [("r", 1, 1), ("d", 2, None)]


def test_with_hold_a_re_read_lets_go_what_waited_behind_old_letters() -> None:
    ingesting = Ingesting(on_reject="hold")
    ingesting.give(create(1, -1, at=1), window(gap(at=5), at=5, epoch=2))
    ingesting.give(window(raw((R, 1, 4), at=6, snapshot=1), at=6, epoch=2, reread={"item": 1}))
    assert told(ingesting.journal) == [("g", None, None), ("r", 1, 4)]
    assert ingesting.journal.letter_counts() == {}
    ingesting.give(window(raw((U, 1, 5), at=7), at=7, epoch=2))
    assert told(ingesting.journal)[-1] == ("u", 1, 5)


def test_what_waits_behind_nothing_since_a_kill_goes_on_at_the_start() -> None:
    """The letter before it was settled, and the process died before the rest could follow."""
    ingesting = Ingesting(on_reject="hold")
    ruling = shelf.judge(on_reject="hold").check(raw((C, 1, -1), (U, 1, 5), at=1), epoch=1)
    assert ruling.letters is not None
    ingesting.journal.append(Commit(letters=(ruling.letters,)))
    ingesting.journal.append(Commit(settled={1: (LetterState.SUPERSEDED, "a test")}))
    ingesting.ingest.step(timeout_s=0)
    assert told(ingesting.journal) == [("u", 1, 5)]


# -- requests and upkeep


def test_requests_are_carried_out_between_windows() -> None:
    ingesting = Ingesting()
    request = ingesting.journal.request("stream.pause", {"stream": "item"}, "ann")
    ingesting.ingest.step(timeout_s=0)
    (settled,) = ingesting.journal.requests(open_only=False)
    assert (settled.id, settled.ok) == (request, True)


def test_a_request_that_could_not_be_settled_is_carried_out_again() -> None:
    ingesting = Ingesting()
    ingesting.journal.request("stream.pause", {"stream": "item"}, "ann")
    ingesting.journal.before["settle"] = [unavailable]
    ingesting.ingest.step(timeout_s=0)
    assert ingesting.journal.requests()
    assert ingesting.board.report()["checks"]["journal"]["status"] == "fail"
    ingesting.ingest._poll_at = 0.0
    ingesting.ingest.step(timeout_s=0)
    assert ingesting.journal.requests() == []


def test_a_request_that_meets_a_bug_is_refused_and_the_loop_goes_on() -> None:
    """Left open it would stop every start after this one."""
    ingesting = Ingesting()
    ingesting.journal.request("dead.replay", {"ids": 17}, "ann")
    ingesting.give(create(1, at=1))
    (settled,) = ingesting.journal.requests(open_only=False)
    assert settled.ok is False
    assert settled.result is not None
    assert settled.result["error"] == "dead.replay was stopped by TypeError"
    assert ingesting.source.confirmed == [Position(1, (1, 0))]


def test_upkeep_that_fails_is_said_and_taken_back_when_it_works() -> None:
    ingesting = Ingesting()
    ingesting.journal.before["tend"] = [unavailable]
    for status, blocks in (("fail", ["item"]), ("pass", [])):
        ingesting.ingest._tend_at = 0.0
        ingesting.ingest.step(timeout_s=0)
        found = ingesting.board.report()["checks"]["journal"]
        assert (found["status"], found.get("blocks", [])) == (status, blocks)


def test_damage_found_by_upkeep_stops_the_loop() -> None:
    ingesting = Ingesting()
    ingesting.journal.before["tend"] = [corrupt]
    ingesting.ingest._tend_at = 0.0
    ingesting.run(create(1, at=1))
    assert isinstance(ingesting.ingest.failure, JournalCorrupt)


@pytest.mark.parametrize("batch", [gap(at=4), raw((C, 1, 5), at=4)], ids=["gap", "rows"])
def test_a_parked_window_moves_the_position_all_the_same(batch: Any) -> None:  # noqa: ANN401  any batch
    """A stream that stands still holds up no other."""
    ingesting = Ingesting(state=StreamState("item", StreamPhase.PAUSED, START, "", SHAPE))
    ingesting.give(window(batch, at=4, epoch=2))
    assert ingesting.source.confirmed == [Position(2, (4, 0))]
    (parked,) = ingesting.journal.parked("item")
    assert (parked.epoch, parked.raw.row_count) == (2, 1)
    assert told(ingesting.journal) == []
