"""Reading a source: windows are handed over in order, faults are recovered from, nothing is lost on the way."""

import threading

import pytest

from bridge.errors import (
    BridgeError,
    InternalError,
    PositionLost,
    SecretUnavailable,
    SourceRefused,
    SourceUnavailable,
)
from bridge.health import HealthBoard
from bridge.model import Op, Window
from bridge.points import Points
from bridge.pump import QUEUED_WINDOWS, Flow, Handoff, Pump
from bridge.resilience.retry import Backoff
from bridge.testing import FakeClock, ScriptedSource
from tests import shelf
from tests.shelf import create, gap, raw

DEADLINE_S = 20.0


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.pump.WAIT_S", 0.01)


class Reading:
    """A pump, and the other end of its queue."""

    def __init__(self, *script: Window | BridgeError) -> None:
        self.source = ScriptedSource("erp", *script)
        self.flow = Flow(self.source, frozenset({"item", "order"}), None, {})
        self.handoff = Handoff()
        self.board = HealthBoard()
        self.stop = threading.Event()
        self.points = Points(now=FakeClock())
        self.pump = Pump(self.flow, self.handoff, self.board, self.stop, points=self.points)
        self.pump._backoff = Backoff(first_s=0.001, limit_s=0.001)
        self.thread = threading.Thread(target=self.pump.run, daemon=True)

    def take(self) -> Window:
        """The next window, journalled as the ingest thread would."""
        taken = self.handoff.take(timeout_s=DEADLINE_S)
        assert taken is not None, self.board.report()
        _, window = taken
        with self.flow.settled:
            self.flow.position, self.flow.state = window.position, window.state
            self.flow.waiting -= 1
            self.flow.settled.notify_all()
        return window

    def end(self) -> None:
        """Stop the pump's thread."""
        self.stop.set()
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive()

    def what(self) -> str:
        """What health says of the source."""
        (found,) = self.board.ailments()
        assert (found.component, found.blocks) == ("source:erp", ("item", "order"))
        return found.what


@pytest.mark.parametrize("fault", [SourceUnavailable("it is down"), SecretUnavailable("no file")])
def test_a_source_that_fails_is_opened_again_where_the_journal_stands(fault: BridgeError) -> None:
    """Nothing is skipped and nothing is read twice."""
    reading = Reading(create(1, at=1), fault, create(2, at=2), fault, fault, create(3, at=3))
    reading.thread.start()
    assert [reading.take().position.at[0] for _ in range(3)] == [1, 2, 3]
    reading.end()
    assert reading.board.ailments() == []


def test_a_source_is_opened_only_when_everything_handed_over_is_journalled() -> None:
    """Else it would begin too early and read windows twice."""
    reading = Reading(create(1, at=1), SourceUnavailable("it is down"), create(2, at=2))
    reading.pump.step(timeout_s=0)
    with pytest.raises(SourceUnavailable):
        reading.pump.step(timeout_s=0)
    reading.pump._recover(SourceUnavailable("it is down"))
    reading.thread.start()
    assert reading.handoff.take(timeout_s=0) is not None  # taken, and not journalled yet
    assert reading.handoff.take(timeout_s=0.05) is None
    with reading.flow.settled:
        reading.flow.position, reading.flow.state = create(1, at=1).position, create(1, at=1).state
        reading.flow.waiting -= 1
        reading.flow.settled.notify_all()
    assert reading.take().position.at == (2, 0)
    reading.end()


def test_a_stop_opens_nothing_while_a_window_waits_for_the_journal() -> None:
    """The position is an old one then: what would be read from there is on its way already."""
    reading = Reading(create(1, at=1), create(2, at=2))
    reading.pump.step(timeout_s=0)
    reading.pump._recover(SourceUnavailable("it is down"))
    reading.stop.set()
    assert not reading.pump.step(timeout_s=0)
    assert not reading.source._is_open
    assert reading.handoff.take(timeout_s=0) is not None
    assert reading.handoff.is_empty()


def test_a_full_queue_holds_the_source_back_and_keeps_its_session_alive() -> None:
    reading = Reading(*(create(number, at=number) for number in range(1, 9)))
    reading.thread.start()
    while not reading.source.keep_alive_count:
        assert reading.thread.is_alive()
    assert reading.flow.waiting <= QUEUED_WINDOWS + 1
    assert [reading.take().position.at[0] for _ in range(8)] == [*range(1, 9)]
    reading.end()
    assert reading.flow.waiting == 0


def test_a_session_lost_while_the_queue_is_full_is_recovered_from() -> None:
    """The window that could not be handed over is read again; nothing waits for it for ever."""
    reading = Reading(*(create(number, at=number) for number in range(1, 6)))
    reading.source.session_faults.append(SourceUnavailable("the wire was cut"))
    reading.thread.start()
    while reading.source.session_faults:
        assert reading.thread.is_alive()
    assert [reading.take().position.at[0] for _ in range(5)] == [*range(1, 6)]
    reading.end()


def test_a_lost_position_begins_an_epoch_with_what_the_source_declares() -> None:
    """I2: the gap is handed over before anything of the new history."""
    new = shelf.window(gap(at=7), at=7, epoch=2)
    reading = Reading(create(1, at=1), PositionLost("the slot is gone"), new, create(2, at=8, epoch=2))
    reading.thread.start()
    assert [reading.take().position.epoch for _ in range(3)] == [1, 2, 2]
    reading.end()
    assert reading.board.ailments() == []


def test_an_epoch_that_cannot_begin_now_begins_later() -> None:
    new = shelf.window(gap(at=7), at=7, epoch=2)
    lost, down = PositionLost("the slot is gone"), SourceUnavailable("it is down")
    reading = Reading(create(1, at=1), lost, down, lost, new)
    reading.thread.start()
    assert [reading.take().position.epoch for _ in range(2)] == [1, 2]
    reading.end()


@pytest.mark.parametrize(
    "script",
    [
        (SourceRefused("the login may write"),),
        (create(1, at=1), InternalError("an invariant broke")),
        (PositionLost("the slot is gone"), SourceRefused("no slot can be made")),
    ],
    ids=["at the start", "later", "in a new epoch"],
)
def test_a_source_that_needs_a_person_stands_still_and_says_so(script: tuple[Window | BridgeError, ...]) -> None:
    reading = Reading(*script, create(9, at=9))
    reading.thread.start()
    if isinstance(script[0], Window):
        reading.take()
    reading.thread.join(DEADLINE_S)
    assert not reading.thread.is_alive()
    assert isinstance(script[-1], BridgeError)
    assert reading.what() == script[-1].detail
    assert reading.handoff.is_empty()


def test_a_bug_stops_its_source_and_is_said() -> None:
    class Broken(ScriptedSource):
        def read(self, *_: object, **__: object) -> Window | None:
            raise KeyError("secret value")

    reading = Reading()
    reading.flow.source = Broken("erp")
    reading.thread.start()
    reading.thread.join(DEADLINE_S)
    assert reading.what() == "stopped by KeyError"


def test_stopping_waits_for_no_room() -> None:
    reading = Reading(*(create(number, at=number) for number in range(1, 9)))
    reading.thread.start()
    while not reading.source.keep_alive_count:
        assert reading.thread.is_alive()
    reading.end()
    assert reading.flow.waiting == QUEUED_WINDOWS  # what was given up is not counted


def test_a_window_may_grow_only_while_nobody_waits_for_it() -> None:
    asked: list[bool] = []

    class Asking(ScriptedSource):
        def read(self, timeout_s: float, *, is_busy: object = None) -> Window | None:
            assert callable(is_busy)
            asked.append(is_busy())
            return super().read(timeout_s)

    reading = Reading()
    reading.flow.source = Asking("erp", create(1, at=1), create(2, at=2))
    reading.pump.step(timeout_s=0)
    reading.pump.step(timeout_s=0)
    reading.take()
    reading.take()
    reading.pump.step(timeout_s=0)
    assert asked == [False, True, False]


def test_an_empty_read_is_no_window() -> None:
    reading = Reading()
    assert reading.pump.step(timeout_s=0) is False
    assert reading.handoff.is_empty()


def test_a_window_reaches_the_other_end_as_it_was_read() -> None:
    window = shelf.window(raw((Op.CREATE, 1, 5)), at=1)
    reading = Reading(window)
    assert reading.pump.step(timeout_s=0) is True
    assert reading.take() is window


def test_a_second_of_reading_counts_once_and_each_failure_counts() -> None:
    reading = Reading(create(1, at=1), create(2, at=2), SourceUnavailable("gone"), create(3, at=3))
    reading.thread.start()
    for _ in range(3):
        reading.take()
    reading.end()
    assert reading.points.within("source:erp", 60) == (2, 1)
