"""The page that is asked for while the one before it is dealt with: whose it is, what it costs, and when it is not."""

import threading
from collections import deque
from datetime import UTC, datetime, time

import pytest

from bridge.errors import BridgeError, InternalError, SourceRefused, SourceUnavailable
from bridge.extracted import Charge, RunKind
from bridge.extraction.ahead import Ahead
from bridge.extraction.budget import Limits, QuietHours
from bridge.extraction.extractor import Load, Page, Question
from bridge.testing import FakeClock, MemoryJournal
from bridge.testing.extractor import ScriptedExtractor, ScriptedTable
from tests import polled
from tests.polled import Process, held, read, row, told

PATIENCE_S = 30.0
START = datetime(2025, 1, 1, tzinfo=UTC)


class Apart(ScriptedExtractor):
    """A system that works by itself: pages take until they are let go, and a cancelled one fails.

    It insists on what the port says: nothing but `cancel` is called while a page is read.
    """

    def __init__(self, *tables: ScriptedTable, now: FakeClock) -> None:
        super().__init__("erp", *tables, now=now)
        self.asks_ahead = True
        self.gates: deque[threading.Event] = deque()  # of the next pages; those behind it take no time
        self.begun = threading.Semaphore(0)  # pages
        self._is_reading = threading.Lock()
        self._waits_at: threading.Event | None = None
        self._is_cancelled = False

    def page(self, question: Question) -> Page:
        with self._alone():
            self._is_cancelled = False
            self._waits_at = self.gates.popleft() if self.gates else None
            self.begun.release()
            if self._waits_at is not None:
                assert self._waits_at.wait(PATIENCE_S)
            if self._is_cancelled:
                self.questions.append(question)
                raise SourceUnavailable("reading: it was cancelled")
            return super().page(question)

    def cancel(self) -> None:
        super().cancel()
        self._is_cancelled = True
        if self._waits_at is not None:
            self._waits_at.set()

    def open(self) -> None:
        with self._alone():
            super().open()

    def close(self) -> None:
        with self._alone():
            super().close()

    def probe(self) -> Load:
        with self._alone():
            return super().probe()

    def wait_begun(self, pages: int = 1) -> None:
        """Until so many more pages were asked for."""
        for _ in range(pages):
            assert self.begun.acquire(timeout=PATIENCE_S)

    def _alone(self) -> "threading.Lock":
        if self._is_reading.locked():
            raise InternalError("the session is used by two at once")
        return self._is_reading


class World:
    """A table of ten rows in pages of three, and a run of it that has read one page."""

    def __init__(
        self,
        *,
        mode: polled.Mode = "full",
        page_rows: int = 3,
        limits: Limits | None = None,
        streams: tuple[str, ...] = ("item",),
    ) -> None:
        self.clock, self.journal = FakeClock(), MemoryJournal()
        tables = [polled.table(mode, stream=stream, page_rows=page_rows) for stream in streams]
        for table in tables:
            for number in range(10):
                table.put(**row(number))
        self.table = tables[0]
        self.system = Apart(*tables, now=self.clock)
        self.process = Process(self.journal, self.system, clock=self.clock, limits=limits)
        self.source = self.process.source
        self.process.read()

    def read_one(self, *gates: threading.Event, kind: RunKind = "run") -> None:
        """The first page, and behind it those that wait at these gates."""
        open_gate = threading.Event()
        open_gate.set()
        self.system.gates.extend([open_gate, *gates])
        self.source.ask("item", kind, actor="ann")
        assert self.process.read()
        self.system.wait_begun()

    def bill(self) -> Charge:
        """All that was asked, as the journal has it."""
        charges = self.journal.bill(since=START)
        return Charge(
            "erp",
            "",
            START,
            queries=sum(one.queries for one in charges),
            rows=sum(one.rows for one in charges),
        )


def test_the_next_page_is_asked_for_while_the_last_one_is_stored_and_no_page_behind_it() -> None:
    world = World()
    gates = [threading.Event() for _ in range(3)]
    world.read_one(*gates)
    world.system.wait_begun()  # the second page, and only the first was handed over
    assert world.process.flow.waiting == 1
    assert not world.system.begun.acquire(blocking=False), "a third page"
    for gate in gates:
        gate.set()
    world.process.settle()
    assert told(world.journal) == [("r", number, 1) for number in range(10)]
    places = [str(question.resume) for question in world.system.questions]
    assert len(places) == len(set(places)) == world.bill().queries == 5, "each page is asked for once"


def test_a_run_that_is_cancelled_pays_for_the_page_that_nobody_wants() -> None:
    world = World()
    gate = threading.Event()
    world.read_one(gate)
    world.system.wait_begun()
    world.source.cancel("item", actor="bob")
    gate.set()
    world.process.settle()
    assert [run.state for run in world.journal.runs()] == ["cancelled"]
    assert len(told(world.journal)) == 3
    assert (world.bill().queries, world.bill().rows) == (2, 6)
    world.process.run()
    assert read(world.journal) == held(world.table)


def test_an_error_of_a_page_asked_ahead_is_that_of_its_own_run() -> None:
    world = World(streams=("item", "other"))
    gate = threading.Event()
    world.system.faults.extend([None, SourceRefused("the view is gone")])
    world.read_one(gate)
    world.system.wait_begun()
    world.source.ask("other", "run", actor="ann")
    gate.set()
    world.process.settle()
    ended = {run.stream: (run.state, run.detail, run.pages) for run in world.journal.runs()}
    assert ended["item"] == ("failed", "the view is gone", 1)
    assert ended["other"][0] == "done"
    assert len(told(world.journal, "other")) == 10


@pytest.mark.parametrize("fault", [SourceUnavailable("gone"), SourceUnavailable("later", retry_after_s=60)])
def test_a_page_asked_ahead_that_fails_is_asked_for_again_and_nothing_is_lost(fault: BridgeError) -> None:
    world = World()
    world.system.faults.extend([None, fault])
    world.read_one()
    world.process.settle()
    world.clock.advance(61)
    world.process.settle()
    assert told(world.journal) == [("r", number, 1) for number in range(10)]
    assert world.bill().queries == len(world.system.questions) == 6


def test_a_pause_ends_the_page_that_was_asked_ahead_and_leaves_no_session() -> None:
    world = World()
    world.read_one(threading.Event())
    world.system.wait_begun()
    is_asking = [world.source.is_asking]
    world.source.hold("year's end")
    assert [*is_asking, world.source.is_asking] == [True, False]
    world.process.settle()
    assert world.source.rests
    assert not world.system.is_open
    assert len(told(world.journal)) == 3
    world.source.release()
    world.process.settle()
    assert told(world.journal) == [("r", number, 1) for number in range(10)]
    assert world.bill().queries == len(world.system.questions) == 6, "the one that was ended is paid for"


def test_a_source_that_is_closed_gives_up_the_page_that_was_asked_ahead() -> None:
    world = World()
    world.read_one(threading.Event())
    world.system.wait_begun()
    world.source.close()
    assert (world.system.is_open, world.source.is_asking, world.source._asker.ahead) == (False, False, None)
    world.process.pump._is_open = False
    world.process.settle()
    assert told(world.journal) == [("r", number, 1) for number in range(10)]
    assert world.bill().queries == len(world.system.questions)


LIMITS = {
    "nothing is in the way": Limits(active_seconds_per_minute=60),
    "it is to be left in peace": Limits(active_seconds_per_minute=30),
    "the run has read its rows": Limits(active_seconds_per_minute=60, rows_per_run=3),
    "the run has read its bytes": Limits(active_seconds_per_minute=60, bytes_per_run=1),
    "it is quiet hours": Limits(active_seconds_per_minute=60, quiet_hours=(QuietHours(time(0, 1), time(1)),)),
    "it is to be looked whether it is busy": Limits(active_seconds_per_minute=60, busy_sessions=5),
}


@pytest.mark.parametrize("why", LIMITS)
def test_no_page_is_asked_ahead_where_the_budget_would_not_have_it_asked_now(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first page takes more than a minute."""
    world = World(limits=LIMITS[why])
    answer = Apart.page

    def slow(self: Apart, question: Question) -> Page:
        page = answer(self, question)
        world.clock.advance(60)
        object.__setattr__(page, "seconds", 70.0)
        return page

    monkeypatch.setattr(Apart, "page", slow)
    world.read_one()
    is_asked = world.source._asker.ahead is not None
    world.source.close()
    assert is_asked == world.system.begun.acquire(blocking=False) == (why == "nothing is in the way")


def test_no_page_is_asked_ahead_while_another_stream_waits_for_its_turn() -> None:
    world = World(streams=("item", "other"))
    world.source.ask("other", "run", actor="ann")
    world.read_one()
    assert world.process.read()
    world.system.wait_begun()
    assert not world.system.begun.acquire(blocking=False)
    world.process.settle()
    assert len(told(world.journal)) == len(told(world.journal, "other")) == 10


def test_a_page_that_was_asked_ahead_is_taken_in_though_it_is_quiet_hours_now() -> None:
    limits = Limits(active_seconds_per_minute=60, quiet_hours=(QuietHours(time(0, 1), time(1)),))
    world = World(limits=limits)
    gate = threading.Event()
    world.read_one(gate)
    world.system.wait_begun()
    world.clock.advance(60)
    gate.set()
    world.process.settle()
    assert len(told(world.journal)) == 6
    assert len(world.system.questions) == 2


def test_a_busy_system_is_not_looked_at_in_the_middle_of_a_page_asked_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(limits=Limits(active_seconds_per_minute=60, busy_sessions=5))
    gate = threading.Event()
    world.read_one(gate)
    world.system.wait_begun()
    world.clock.advance(60)  # it was looked at before the first page
    wait = Ahead.wait

    def wanted(self: Ahead) -> Page:
        gate.set()
        return wait(self)

    monkeypatch.setattr(Ahead, "wait", wanted)
    world.process.settle()
    assert told(world.journal) == [("r", number, 1) for number in range(10)]


class Sweep(World):
    """A table whose rows were read, then changed; keys come in pages of four, rows one by one.

    Keys of rows 1, 5 and 9 are on three pages, each row is read again; row 3 is gone.
    """

    def __init__(self, *, limits: Limits | None = None, streams: tuple[str, ...] = ("item",)) -> None:
        super().__init__(mode="incremental", page_rows=1, limits=limits, streams=streams)
        self.process.run()
        self.before = len(self.system.questions)
        self.system.questions.clear()
        while self.system.begun.acquire(blocking=False):
            pass
        for number in (1, 5, 9):
            self.table.put(**row(number, 2, at=number))
        self.table.remove(id=3)

    def begin(self, *gates: threading.Event) -> None:
        """The first page of keys is read, the second is asked for; it and those behind it wait at these gates."""
        self.read_one(*gates, kind="sweep")
        self.system.wait_begun()

    def asked(self) -> str:
        """What was asked, a letter a page: keys, rows of a range."""
        return "".join("k" if one.want == "keys" else "r" for one in self.system.questions)

    def places(self) -> list[str]:
        """Where the pages of keys began."""
        return [str(one.resume) for one in self.system.questions if one.want == "keys"]

    def check(self) -> None:
        """All that was changed has been told, once."""
        self.process.settle()
        assert sorted(told(self.journal, after=10)) == [("d", 3, None), ("u", 1, 2), ("u", 5, 2), ("u", 9, 2)]
        assert read(self.journal) == held(self.table)


def test_a_page_of_keys_is_asked_ahead_and_kept_while_rows_of_the_page_before_are_read() -> None:
    world = Sweep()
    world.begin()
    world.check()
    assert world.asked().startswith("kkr")
    assert world.asked().count("k") == len(set(world.places())) == 4, "three of keys, one of rows without"
    paid_for = sum(one.queries for one in world.journal.bill(since=START))
    assert paid_for == world.before + len(world.system.questions)


def test_rows_of_a_range_are_held_to_the_budget_though_a_page_of_keys_was_asked_ahead() -> None:
    world = Sweep(limits=Limits(active_seconds_per_minute=60, quiet_hours=(QuietHours(time(0, 1), time(1)),)))
    world.begin()
    world.clock.advance(60)
    world.process.settle()
    assert world.asked() == "kk"
    world.clock.advance(3600)
    world.check()
    assert world.places()[:2] == list(dict.fromkeys(world.places()))[:2], "what was asked ahead is not asked again"


@pytest.mark.parametrize("busy_sessions", [0, 5])
def test_what_comes_in_between_waits_until_the_page_of_keys_that_was_asked_ahead_has_come(
    busy_sessions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a range; where the budget says so, a look at whether the system is busy."""
    world = Sweep(limits=Limits(active_seconds_per_minute=60, busy_sessions=busy_sessions))
    gate = threading.Event()
    world.begin(gate)
    world.clock.advance(60)
    settle = Ahead.settle

    def settled(self: Ahead) -> None:
        gate.set()
        settle(self)

    monkeypatch.setattr(Ahead, "settle", settled)
    world.check()


@pytest.mark.parametrize("fault", [SourceUnavailable("gone"), SourceUnavailable("later", retry_after_s=60)])
def test_a_page_of_keys_asked_ahead_that_fails_is_asked_for_again_after_the_rows_of_the_range(
    fault: BridgeError,
) -> None:
    world = Sweep()
    world.system.faults.extend([None, fault])
    world.begin()
    world.process.settle()
    world.clock.advance(61)
    world.check()
    assert len(world.places()) == len(set(world.places())) + 1


def test_a_pause_gives_up_the_page_of_keys_that_was_asked_ahead() -> None:
    world = Sweep()
    world.begin()
    world.source.hold("year's end")
    world.process.settle()
    assert (world.source.rests, world.system.is_open, world.source._asker.ahead) == (True, False, None)
    world.source.release()
    world.check()


def test_another_stream_has_its_turn_between_keys_and_rows_and_nothing_is_lost() -> None:
    world = Sweep(streams=("item", "other"))
    world.begin()
    world.source.ask("other", "run", actor="ann")
    world.check()
    assert len(told(world.journal, "other")) == 10
    assert len(world.places()) == len(set(world.places()))
