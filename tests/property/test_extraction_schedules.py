"""A writer, faults, kills and operators against every mode, at random: each mode keeps its promise and no more is told.

The writer commits late, at equal moments, without a cursor, with a clock that steps; it deletes and inserts again. One
thread turns the loops in the order that the schedule says. A kill drops every object; all that is left is the journal.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import pytest

from bridge.errors import SourceRefused, SourceUnavailable
from bridge.extraction import ending
from bridge.extraction.ahead import Beside
from bridge.extraction.budget import Limits
from bridge.replay import open_letters
from bridge.testing import FakeClock
from bridge.testing.extractor import ScriptedExtractor, ScriptedTable
from tests import polled, shelf
from tests.mortal import FaultyJournal, Killed
from tests.polled import OVERLAP_S, Mode, Process, row

EXAMPLES = int(os.environ.get("BRIDGE_SCHEDULES", "10000"))
KEYS = range(8)
Kind = Literal["incremental", "swept", "full", "append"]

Happening = str | tuple[str, int, int]

# How often each thing happens; a schedule is made of the number that names it, so that each can be played again.
WRITES = {"put": 3, "late": 2, "very late": 1, "without": 1, "remove": 2}
HAPPENINGS = {
    "pump": 24,
    "store": 14,
    "write": 16,
    "tick": 3,
    "step back": 1,
    "run": 4,
    "sweep": 2,
    "down": 1,
    "refuse": 0.3,
    "kill": 0.5,
    "killed before commit": 0.5,
    "killed after commit": 0.5,
    "append fails": 0.5,
    "append fails late": 0.5,
    "cancel": 0.4,
    "forget memory": 0.7,
}


def schedule_of(draw: random.Random, length: int) -> list[Happening]:
    found: list[Happening] = []
    for what in draw.choices(list(HAPPENINGS), list(HAPPENINGS.values()), k=length):
        if what == "write":
            (how,) = draw.choices(list(WRITES), list(WRITES.values()))
            found.append((how, draw.choice(KEYS), draw.choice([-1, 0, 1, 2, 3, 4])))
        else:
            found.append(what)
    return found


@dataclass
class Writer:
    """Whoever changes the legacy table, and what is promised of each of its rows."""

    table: ScriptedTable
    mode: Mode
    now: int = 100  # the legacy system's clock, seconds
    highest: int = 0  # cursor that was ever to be seen
    serial: int = 0
    certain: dict[int, bool] = field(default_factory=dict)  # whether the cursor shows the newest change of a key
    used: set[tuple[int, int]] = field(default_factory=set)  # a key never has a cursor again

    def write(self, what: str, key: int, amount: int) -> None:
        if what == "remove":
            if self.mode != "append":
                self.table.remove(id=key)
            return
        number = key
        if self.mode == "append":  # never the same twice
            self.serial += 1
            number = 1000 + self.serial
        if what == "without":
            self.table.put(**row(number, amount, at=None))
            self.certain[number] = True
            return
        late = {"put": 0, "late": OVERLAP_S, "very late": 4 * OVERLAP_S}[what]
        at = self.now - late
        while (number, at) in self.used:
            at += 1
        self.used.add((number, at))
        self.highest = max(self.highest, at)
        self.table.put(**row(number, amount, at=at))
        self.certain[number] = at >= self.highest - OVERLAP_S


class Life:
    """The bridge from start to end, however often it dies."""

    def __init__(self, kind: Kind, *, budget: bool, page_rows: int) -> None:
        self.kind = kind
        self.mode: Mode = "incremental" if kind == "swept" else kind
        self.table = polled.table(self.mode, page_rows=page_rows)
        self.clock, self.journal = FakeClock(), FaultyJournal()
        self.system = ScriptedExtractor("erp", self.table, now=self.clock)
        self.writer = Writer(self.table, self.mode)
        self.limits = Limits(active_seconds_per_minute=60, rows_per_run=5 if budget else 0)
        for key in KEYS:
            self.writer.now = 50 + key
            self.writer.write("put", key, 1)
        self.writer.now = 100
        self.start()

    def start(self) -> None:
        self.journal.next_append = ""
        self.process = Process(self.journal, self.system, clock=self.clock, limits=self.limits)

    def happen(self, what: Happening) -> None:
        if isinstance(what, tuple):
            self.writer.write(*what)
        elif what in _ACTS:
            _ACTS[what](self)
        else:
            self.journal.next_append = what

    def tick(self) -> None:
        self.clock.advance(5)
        self.writer.now += 5

    def step_back(self) -> None:
        self.writer.now = max(self.writer.highest - OVERLAP_S, 50)

    def ask(self, kind: Literal["run", "sweep"]) -> None:
        self.process.read()  # it is open then
        self.process.source.ask("item", "run" if self.kind == "incremental" else kind, actor="ann")

    def cancel(self) -> None:
        self.process.read()
        self.process.source.cancel("item", actor="ann")

    def die(self) -> None:
        raise Killed

    def forget_memory(self) -> None:
        one = self.process.source._readers.get("item")
        if one is not None and not one.is_running:
            while self.process.flow.waiting:
                self.process.store()
            one.rest()

    def finish(self) -> None:
        """Until a whole run, and a whole sweep where there is one, have seen the table at rest."""
        self.system.faults.clear()
        self.process.settle()
        for kind in ("run", "sweep") if self.kind == "swept" else ("run",):
            before = len(self.journal.runs(limit=10_000))
            while not self.is_whole(before):
                self.process.run(kind=kind)

    def is_whole(self, before: int) -> bool:
        """Whether a reading that began after so many runs is complete; one that was under way is not enough."""
        runs = self.journal.runs(limit=10_000)[::-1][before:]
        wholes = [run for run in runs if run.state == "done" and "next goes on" not in run.detail]
        return len(wholes) > (2 if self.limits.rows_per_run else 1)


_ACTS: Mapping[str, Callable[[Life], object]] = {
    "pump": lambda life: life.process.read(),
    "store": lambda life: life.process.store(),
    "tick": Life.tick,
    "step back": Life.step_back,
    "run": lambda life: life.ask("run"),
    "sweep": lambda life: life.ask("sweep"),
    "down": lambda life: life.system.faults.append(SourceUnavailable("a test")),
    "refuse": lambda life: life.system.faults.append(SourceRefused("a test")),
    "kill": Life.die,
    "cancel": Life.cancel,
    "forget memory": Life.forget_memory,
}


def play(kind: Kind, schedule: list[Happening], *, budget: bool, ahead: bool, page_rows: int) -> Life:
    life = Life(kind, budget=budget, page_rows=page_rows)
    life.system.asks_ahead = ahead
    life.start()
    for what in [*schedule, "finish"]:
        try:
            life.finish() if what == "finish" else life.happen(what)
        except Killed:
            life.start()
            if what == "finish":
                life.finish()
    return life


def check(life: Life) -> None:
    """Every claim about what is left."""
    journal = life.journal
    rows = shelf.rows(journal)
    letters = journal.letters(state=None, limit=10_000)
    # Nothing is told twice, and every row that was told has a place of its own, in order.
    places = [(event["_position"], event["_tx_index"]) for event in rows]
    assert places == sorted(set(places))
    assert len({letter.event_id for letter in letters}) == len(letters)
    counts: Counter[str] = Counter()
    for run in journal.runs(limit=10_000):
        counts.update(run.counts)
    assert sum(counts.values()) == len(rows) + len(letters)
    # No delete of what was not there, no create of what was.
    alive: dict[str, bool] = {}
    rejected = {letter.key for letter in letters}
    for event in rows:
        op, key = chr(event["_op"]), event["_key"]
        if key not in rejected:
            assert alive.get(key, False) == (op in "ud"), (op, key)
        alive[key] = op != "d"
    # What a reader of the events has is what the mode promises, but for keys with an open letter.
    has, holds = polled.read(journal), polled.held(life.table)
    doubtful = {letter.key for letter in open_letters(journal, "item")}
    keys = {key for key in {*has, *holds} if str(key) not in doubtful}
    if life.kind in ("full", "swept"):
        assert {key: has.get(key) for key in keys} == {key: holds.get(key) for key in keys}
    else:
        sure = {key for key in keys if key in holds and life.writer.certain[key]}
        assert {key: has.get(key) for key in sure} == {key: holds[key] for key in sure}
    # The image is what it says, and nothing of a reading is left behind.
    progress = life.process.source._readers["item"].progress
    assert list(journal.image("item", progress.generation, {"seen"})) == []
    life.process.source._readers["item"].rest()
    life.process.source._readers["item"]._course.index()


def live(number: int) -> None:
    """One schedule. Some copy images at every turn, some have runs of a few rows, some ask for a page ahead."""
    draw = random.Random(number)  # noqa: S311  not a secret
    kind: Kind = draw.choice(["incremental", "swept", "full", "append"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Beside, "do", lambda _, work: work())  # at once: the same whenever it is played
        if draw.random() < 0.5:
            patch.setattr(ending, "MANY_ROWS", 2)
            patch.setattr(ending, "MANY_BLOCKS", 5)
            patch.setattr(ending, "STEP_ROWS", 2)
        try:
            schedule = schedule_of(draw, draw.randint(20, 160))
            budget, ahead = draw.random() < 0.2, draw.random() < 0.5
            page_rows = draw.choice([1, 2])  # of rows; pages of keys have four times as many
            check(play(kind, schedule, budget=budget, ahead=ahead, page_rows=page_rows))
        except BaseException as error:
            error.add_note(f"schedule {number}, {kind}")
            raise


@pytest.mark.parametrize("part", range(4))
def test_each_mode_keeps_its_promise_whatever_happens(part: int) -> None:
    """I3, I4, I8 for polled streams."""
    for number in range(part * 50, part * 50 + 50):
        live(number)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
def test_many_schedules(part: int) -> None:
    """The same over 10,000."""
    share = EXAMPLES // 20
    for number in range(1_000 + part * share, 1_000 + (part + 1) * share):
        live(number)
