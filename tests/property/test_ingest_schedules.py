"""Random schedules of windows, gaps, faults, kills and operators: each change ends in the journal exactly once.

The legacy table is a dictionary; its changes become a script. One thread turns the loops in the order that the schedule
says, so that every failure can be played again. A kill drops every object; all that is left is the journal.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.errors import BridgeError, PositionLost, SourceUnavailable
from bridge.health import HealthBoard
from bridge.ingest import Ingest
from bridge.metrics import Metrics
from bridge.model import Op, RawBatch, Window
from bridge.operate import Desk
from bridge.pump import QUEUED_WINDOWS, Flow, Handoff, Pump
from bridge.replay import open_letters, place_of, waiting_keys
from bridge.resilience.retry import Backoff
from bridge.testing import ScriptedSource
from tests import shelf
from tests.mortal import FaultyJournal, Killed
from tests.shelf import Change, gap, image, raw, window

EXAMPLES = int(os.environ.get("BRIDGE_SCHEDULES", "2000"))
IDS = range(5)

writes = st.lists(st.tuples(st.sampled_from(IDS), st.integers(-1, 3)), min_size=1, max_size=4)
# What may happen while the loops turn: steps of the two, faults, kills, requests.
happenings = st.sampled_from(
    [
        "pump",
        "pump",
        "pump",
        "ingest",
        "ingest",
        "ingest",
        "source down",
        "append fails",
        "append fails late",
        "kill",
        "killed before commit",
        "killed after commit",
        "pause",
        "resume",
        "replay",
    ]
)


@dataclass
class Legacy:
    """The legacy table and the windows its changes make."""

    table: dict[int, int] = field(default_factory=dict)
    script: list[Window | BridgeError] = field(default_factory=list)
    at: int = 0
    epoch: int = 1
    snapshot: int = 0  # number of the last re-read
    is_read: bool = False  # whether it is complete

    def change(self, number: int, amount: int) -> Change:
        """Create, update or, for an amount of 3, delete."""
        known = number in self.table
        if known and amount == 3:
            del self.table[number]
            return Op.DELETE, number, None
        self.table[number] = amount
        return (Op.UPDATE if known else Op.CREATE), number, amount

    def write(self, changes: list[tuple[int, int]]) -> None:
        """A transaction that is seen."""
        self.at += 1
        rows = [self.change(number, amount) for number, amount in changes]
        self.script.append(self._window(raw(*rows, at=self.at)))

    def lose(self, unseen: list[tuple[int, int]]) -> None:
        """A transaction that is not: a gap, and the first chunk of a re-read."""
        for number, amount in unseen:
            self.change(number, amount)
        self.at, self.epoch, self.snapshot, self.is_read = self.at + 1, self.epoch + 1, self.snapshot + 1, False
        self.script += [PositionLost("a test"), self._window(gap(at=self.at))]
        self._read(lambda number: number < 2, is_final=False)

    def read_on(self) -> None:
        """The last chunk of the re-read, where one is under way."""
        if self.snapshot and not self.is_read:
            self._read(lambda number: number >= 2, is_final=True)

    def _read(self, part: Callable[[int], bool], *, is_final: bool) -> None:
        self.at, self.is_read = self.at + 1, is_final
        rows: list[Change] = [(Op.READ, number, amount) for number, amount in self.table.items() if part(number)]
        batches = (raw(*rows, at=self.at, snapshot=self.snapshot),) if rows else ()
        self.script.append(self._window(*batches, is_final=is_final))

    def _window(self, *batches: RawBatch, is_final: bool = False) -> Window:
        made = window(*batches, at=self.at, epoch=self.epoch)
        reread = {"number": self.snapshot, "phase": "done" if self.is_read else "running", "heals": True}
        state = {"snapshots": {"item": reread} if self.snapshot else {}}
        return Window(made.batches, made.position, state, reread=("item",) if is_final else ())


class Process:
    """One life of the daemon."""

    def __init__(
        self, journal: FaultyJournal, script: list[Window | BridgeError], on_reject: Literal["pass", "hold"]
    ) -> None:
        position, state = journal.position("erp")
        self.journal = journal
        self.source = ScriptedSource("erp", *script, journal=journal)
        self.flow = Flow(self.source, frozenset({"item"}), position, state)
        self.handoff, stop, board = Handoff(), threading.Event(), HealthBoard()
        self.pump = Pump(self.flow, self.handoff, board, stop)
        judge = shelf.judge(
            on_reject=on_reject, state=journal.stream_states().get("item"), waiting=waiting_keys(journal, "item")
        )
        desk = Desk(journal, {"item": judge}, systems={"item": "erp"})
        self.ingest = Ingest(
            journal, self.handoff, {"item": judge}, board=board, metrics=Metrics(), desk=desk, stop=stop
        )
        self.pump._backoff = self.ingest._backoff = Backoff(first_s=1e-9, limit_s=1e-9)

    def turn(self, happening: str) -> None:
        """One bounded pass of a loop, or a preparation for the next."""
        if happening == "pump":
            self.read()
        elif happening == "source down":
            self.read(down=True)
        elif happening in ("pause", "resume"):
            self.journal.request(f"stream.{happening}", {"stream": "item"}, "ann")
        elif happening == "replay":
            self.journal.request("dead.replay", {"all": True}, "ann")
        elif happening == "ingest":
            self.ingest._poll_at = 0.0
            self.ingest.step(timeout_s=0)
        else:
            self.journal.next_append = happening

    def read(self, *, down: bool = False) -> None:
        """One step of the pump; the ingest loop makes room first where the pump would wait for it."""
        while self.flow.waiting >= QUEUED_WINDOWS or (self.flow.waiting and (down or not self.pump._is_open)):
            self.ingest.step(timeout_s=0)
        try:
            if down:
                raise SourceUnavailable("a test")
            self.pump.step(timeout_s=0)
        except BridgeError as error:
            while self.flow.waiting:
                self.ingest.step(timeout_s=0)
            self.pump._recover(error)

    def finish(self) -> None:
        """Until everything was read and journalled, and the stream runs."""
        self.turn("resume")
        while self.source._at < len(self.source._script) or self.flow.waiting or self.journal.requests():
            self.turn("pump")
            self.turn("ingest")
            self.turn("ingest")


@st.composite
def lives(draw: st.DrawFn) -> Legacy:
    """What happens at the legacy system."""
    legacy = Legacy()
    for what in draw(st.lists(st.sampled_from(["write", "write", "write", "lose", "read on"]), max_size=10)):
        if what == "write":
            legacy.write(draw(writes))
        elif what == "lose":
            legacy.lose(draw(writes))
        else:
            legacy.read_on()
    legacy.read_on()
    return legacy


def play(legacy: Legacy, schedule: list[str], on_reject: Literal["pass", "hold"]) -> FaultyJournal:
    """Live through it all; returns what is left."""
    journal = FaultyJournal()
    process = Process(journal, legacy.script, on_reject)
    for happening in [*schedule, "finish"]:
        try:
            if happening == "kill":
                raise Killed  # noqa: TRY301  the schedule kills here
            process.finish() if happening == "finish" else process.turn(happening)
        except Killed:
            journal.next_append = ""
            process = Process(journal, legacy.script, on_reject)
    if happening == "finish":
        process.finish()
    return journal


def check(legacy: Legacy, journal: FaultyJournal, on_reject: Literal["pass", "hold"]) -> None:
    """Every claim about what is left."""
    rows = shelf.rows(journal)
    letters = journal.letters(state=None, limit=1000)
    assert journal.parked_counts() == {}
    # I3, I4: every change is an event or a letter, and none is either twice.
    seen = [batch for step in legacy.script if isinstance(step, Window) for batch in step.batches]
    changes = sum(batch.row_count for batch in seen)
    found = [row for row in rows if row["_note"] is None or row["_op"] == Op.GAP]
    places = Counter((row["epoch"], row["_position"], row["_tx_index"]) for row in found)
    assert max(places.values(), default=1) == 1
    replayed = sum(letter.state == "replayed" for letter in letters)
    assert len(found) + len(letters) - replayed == changes
    # I5: no key goes back.
    newest: dict[str, tuple[int, int, int]] = {}
    for row in rows:
        if row["_key"] is not None:
            place = (row["epoch"], row["_position"], row["_tx_index"] if row["_note"] is None else 9)
            assert newest.get(row["_key"], (0, 0, 0)) <= place
            newest[row["_key"]] = place
    # A reader of the events has the table, but for keys with an open letter.
    read = image(shelf.told(journal))
    open_keys = {letter.key for letter in open_letters(journal, "item")}
    clean = {number for number in {*read, *legacy.table} if str(number) not in open_keys}
    assert {n: read.get(n) for n in clean} == {n: legacy.table.get(n) for n in clean}
    if on_reject == "hold":
        broken = {letter.key for letter in open_letters(journal, "item") if letter.breaches[0].rule != "held"}
        assert open_keys == broken  # nothing waits behind nothing
        for letter in open_letters(journal, "item"):  # I5: and nothing went past
            whole = journal.letter(letter.id)
            assert whole is not None
            assert newest.get(letter.key or "", (0, 0, 0)) < place_of(whole)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(lives(), st.lists(happenings, max_size=40), st.sampled_from(["pass", "hold"]))
def test_every_change_is_journalled_once_and_in_order_whatever_happens(
    legacy: Legacy, schedule: list[str], on_reject: Literal["pass", "hold"]
) -> None:
    """I3, I4, I5, I8."""
    check(legacy, play(legacy, schedule, on_reject), on_reject)


@pytest.mark.soak
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lives(), st.lists(happenings, max_size=120), st.sampled_from(["pass", "hold"]))
def test_many_long_schedules(legacy: Legacy, schedule: list[str], on_reject: Literal["pass", "hold"]) -> None:
    """The same over thousands of longer ones."""
    check(legacy, play(legacy, schedule, on_reject), on_reject)
