"""What `bridge.ports.Journal` promises to sinks and other subscribers, on every adapter."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from bridge.errors import InternalError, JournalCorrupt
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Block, Commit, LetterState
from bridge.parcel import Delivered, NewUndelivered, Progress
from bridge.ports import Retention
from bridge.testing import FakeClock, MemoryJournal
from tests import journal_samples as sample

AnyJournal = SqliteJournal | MemoryJournal


def block(journal: AnyJournal, number: int) -> Block:
    """One event of the orders."""
    return next(iter(journal.read("orders", after=number - 1, limit=1)))


def letter(journal: AnyJournal, number: int) -> NewUndelivered:
    """An event that could not be delivered."""
    return NewUndelivered(block(journal, number), f"orders:{number}", f"N{number}", "HTTP 500", 3, sample.START)


def test_progress_is_kept_with_what_is_pending(journal: AnyJournal) -> None:
    journal.record([Delivered("crm", {"orders": Progress(9, ((3, 4), (7, 7)))})])
    assert journal.subscribers() == {"crm": {"orders": Progress(9, ((3, 4), (7, 7)))}}
    assert journal.cursor("crm", "orders") == 9
    journal.record([Delivered("crm", {"orders": Progress(9)})])
    assert journal.subscribers()["crm"]["orders"].settled == 9


@pytest.mark.parametrize("back", [Progress(8), Progress(9, ((3, 3),)), Progress(9, ((4, 4),))])
def test_neither_cursor_nor_what_is_settled_moves_back(journal: AnyJournal, back: Progress) -> None:
    journal.record([Delivered("crm", {"orders": Progress(9, ((5, 5),))})])
    with pytest.raises(InternalError):
        journal.record([Delivered("hook", {"orders": Progress(1)}), Delivered("crm", {"orders": back})])
    assert journal.subscribers() == {"crm": {"orders": Progress(9, ((5, 5),))}}, "all of it or nothing"


def test_a_delivery_letter_comes_back_whole(journal: AnyJournal) -> None:
    journal.append(sample.commit(sample.events(count=3), at=1))
    journal.record([Delivered("crm", {"orders": Progress(3)}, undelivered=(letter(journal, 2),))])
    assert journal.undelivered_counts() == {"crm": 1}
    (listed,) = journal.undelivered(sink="crm")
    found = journal.undelivered_one(listed.id)
    assert found is not None
    assert found.block is not None
    assert found.block.batch.equals(block(journal, 2).batch)
    assert (found.number, found.key, found.attempts, found.cause) == (2, "N2", 3, "HTTP 500")
    assert listed.block is None


def test_a_subscriber_is_forgotten_stream_by_stream_or_whole(journal: AnyJournal) -> None:
    journal.advance("crm", {"orders": 0, "returns": 0})
    journal.advance("lake", {"orders": 0})
    journal.forget_subscriber("crm", ["returns"])
    assert journal.subscribers() == {"crm": {"orders": Progress()}, "lake": {"orders": Progress()}}
    journal.forget_subscriber("crm")
    assert journal.subscribers() == {"lake": {"orders": Progress()}}


def test_a_delivery_letter_is_settled_once(journal: AnyJournal) -> None:
    journal.append(sample.commit(sample.events(count=3), at=1))
    journal.record([Delivered("crm", undelivered=(letter(journal, 1), letter(journal, 2)))])
    first, second = journal.undelivered()
    settle = Delivered("crm", settled={first.id: (LetterState.REPLAYED, "ann")})
    journal.record([settle])
    late = {first.id: (LetterState.DISCARDED, "bob")}
    journal.record([Delivered("crm", {"orders": Progress(3)}, settled=late)])
    assert journal.subscribers()["crm"]["orders"] == Progress(3), "what is recorded with it is stored all the same"
    assert [one.id for one in journal.undelivered()] == [second.id]
    assert [one.state for one in journal.undelivered(state=None)] == [LetterState.REPLAYED, LetterState.OPEN]


def test_small_states_are_replaced_and_forgotten(journal: AnyJournal) -> None:
    journal.keep("sink", {"crm": {"paused": True}, "hook": {"paused": False}})
    journal.record(
        [Delivered("crm", kept={("sink", "crm"): {"paused": False}, ("delivery", "crm"): {"state": "open"}})]
    )
    assert journal.kept("sink") == {"crm": {"paused": False}, "hook": {"paused": False}}
    journal.keep("sink", {"crm": None})
    assert journal.kept("sink") == {"hook": {"paused": False}}
    assert journal.kept("delivery") == {"crm": {"state": "open"}}


def test_messages_are_remembered_with_the_commit_that_took_them(journal: AnyJournal, clock: FakeClock) -> None:
    until = clock() + timedelta(hours=1)
    journal.append(Commit(source="shop", received=("a", "b"), received_until=until))
    assert journal.received("shop", ["a", "c"]) == {"a"}
    assert journal.received("other", ["a"]) == set()
    clock.advance(3_601)
    journal.tend(clock())
    assert journal.received("shop", ["a"]) == set()


def test_retention_waits_for_what_is_pending(open_journal: Callable[[Retention], AnyJournal], clock: FakeClock) -> None:
    journal = open_journal(Retention(age=timedelta(days=1)))
    for at in range(3):  # contracts differ, so that the blocks stay apart
        journal.append(sample.commit(sample.events(count=2, start=2 * at, contract=f"1.{at}.0"), at=at))
    journal.record([Delivered("crm", {"orders": Progress(6, ((3, 3),))})])
    clock.advance(86_401)
    while journal.tend(clock()):
        pass
    assert journal.extents()["orders"].first == 3
    journal.forget_subscriber("crm")
    while journal.tend(clock()):
        pass
    assert journal.extents()["orders"].first == 7


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE subscriber SET pending = '[[2,2]]'", "subscriber"),
        ("UPDATE kept SET value = '{}'", "kept"),
        ("UPDATE undelivered SET cause = 'none'", "undelivered"),
        ("UPDATE undelivered SET data = x'00'", "undelivered"),
    ],
)
def test_damage_is_found_and_named(tmp_path: Path, clock: FakeClock, damage: str, told: str) -> None:
    journal = SqliteJournal.open(tmp_path / "journal.db", owner=True, now=clock)
    journal.append(sample.commit(sample.events(count=3), at=1))
    kept = {("sink", "crm"): {"paused": True}}
    journal.record([Delivered("crm", {"orders": Progress(3)}, undelivered=(letter(journal, 2),), kept=kept)])
    connection = apsw.Connection(str(tmp_path / "journal.db"))
    connection.execute(damage)
    connection.close()
    assert any(told in finding for finding in journal.verify())
    with pytest.raises(JournalCorrupt):
        (journal.subscribers(), journal.kept("sink"), journal.undelivered())
    journal.close()
