"""What a gap hid: deletes of rows that are gone, letters that were overtaken."""

from dataclasses import replace

import pytest

from bridge.heal import Ending, Healing, heal, healing_number
from bridge.model import Commit, LetterState, Op, RawBatch
from bridge.ports import Journal
from bridge.testing import MemoryJournal
from tests import shelf
from tests.shelf import START, gap, raw

C, U, D, R, T = Op.CREATE, Op.UPDATE, Op.DELETE, Op.READ, Op.TRUNCATE


def put(journal: Journal, batch: RawBatch, *, epoch: int) -> None:
    """What the ingest loop makes of a batch."""
    ruling = shelf.judge().check(batch, epoch=epoch)
    journal.append(
        Commit(
            events=(ruling.events,) if ruling.events else (),
            letters=(ruling.letters,) if ruling.letters else (),
        )
    )


def healed(journal: Journal, epoch: int) -> Healing:
    """The healing after re-read 7 of an epoch."""
    return heal(journal, Ending("item", epoch, 90, START, 7), shelf.contract(), turned=lambda: None)


def gone(healing: Healing) -> list[int]:
    """The ids that were deleted in the gap."""
    return sorted(healing.deletes.batch.column("id").to_pylist()) if healing.deletes else []


@pytest.fixture
def journal() -> MemoryJournal:
    """Articles 1 to 4 are alive, 5 was deleted; then a gap."""
    journal = MemoryJournal()
    put(journal, raw((C, 1, 1), (C, 2, 1), (C, 3, 1), at=1), epoch=1)
    put(journal, raw((C, 4, 1), (C, 5, 1), (D, 5, None), (U, 1, 2), at=2), epoch=1)
    put(journal, gap(at=10), epoch=2)
    return journal


def test_a_key_that_the_re_read_did_not_find_was_deleted_in_the_gap(journal: MemoryJournal) -> None:
    put(journal, raw((R, 1, 2), (R, 3, 1), at=11, snapshot=7), epoch=2)
    healing = healed(journal, 2)
    assert gone(healing) == [2, 4]
    assert healing.deletes is not None
    row = healing.deletes.batch.to_pylist()[0]
    assert (row["_op"], row["_position"], row["_snapshot"], row["_key"], row["name"]) == (Op.DELETE, 90, 7, "2", None)
    assert healing.deletes.epoch == 2


def test_events_of_the_new_epoch_count_as_found(journal: MemoryJournal) -> None:
    """A row that was deleted after the gap has its delete already; one that was created again is alive."""
    put(journal, raw((D, 1, None), (C, 2, 1), (U, 3, 1), at=12), epoch=2)
    assert gone(healed(journal, 2)) == [4]


def test_rows_of_the_window_that_ends_the_re_read_count_as_found(journal: MemoryJournal) -> None:
    ruling = shelf.judge().check(raw((R, 1, 1), (R, 2, -1), at=12, snapshot=7), epoch=2)
    assert ruling.events is not None
    assert ruling.letters is not None
    keys = ruling.letters.rejected.keys
    ending = Ending("item", 2, 90, START, 7, events=ruling.events.batch, lettered=keys)
    assert gone(heal(journal, ending, shelf.contract(), turned=lambda: None)) == [3, 4]


def test_a_letter_of_the_new_epoch_counts_as_found_settled_or_not(journal: MemoryJournal) -> None:
    put(journal, raw((R, 1, -1), (R, 2, -1), at=12, snapshot=7), epoch=2)
    journal.append(Commit(settled={1: (LetterState.DISCARDED, "a test")}))
    assert gone(healed(journal, 2)) == [3, 4]


def test_open_letters_from_before_the_gap_are_overtaken() -> None:
    """Their rows were read again as they are now, or are gone: replayed later they would bring old rows back."""
    journal = MemoryJournal()
    put(journal, raw((C, 1, -1), (C, 2, -1), (C, 3, -1), at=1), epoch=1)
    journal.append(Commit(settled={2: (LetterState.DISCARDED, "a test")}))
    put(journal, gap(at=10), epoch=2)
    put(journal, raw((R, 1, -1), at=12, snapshot=7), epoch=2)
    healing = healed(journal, 2)
    assert {number: state for number, (state, _) in healing.settled.items()} == {
        1: LetterState.SUPERSEDED,
        3: LetterState.SUPERSEDED,
    }
    assert gone(healing) == []  # none of them was ever an event


def test_a_truncate_before_the_gap_leaves_nothing_to_delete() -> None:
    journal = MemoryJournal()
    put(journal, raw((C, 1, 1), (T, 0, None), (C, 2, 1), at=1), epoch=1)
    put(journal, gap(at=10), epoch=2)
    assert gone(healed(journal, 2)) == [2]


def test_a_truncate_after_the_gap_leaves_nothing_to_delete(journal: MemoryJournal) -> None:
    put(journal, raw((R, 1, 1), (T, 0, None), (C, 2, 1), at=12), epoch=2)
    assert gone(healed(journal, 2)) == []


def test_a_truncate_between_two_gaps_leaves_nothing_to_delete(journal: MemoryJournal) -> None:
    put(journal, raw((R, 1, 1), (R, 2, 1), (T, 0, None), (C, 6, 1), at=12), epoch=2)
    put(journal, gap(at=20), epoch=3)
    assert gone(healed(journal, 3)) == [6]


def test_healing_twice_finds_nothing_the_second_time(journal: MemoryJournal) -> None:
    put(journal, raw((R, 1, 1), at=12, snapshot=7), epoch=2)
    first = healed(journal, 2)
    assert first.deletes is not None
    journal.append(Commit(events=(first.deletes,), settled=first.settled))
    assert healed(journal, 2) == Healing(None, {})


def test_after_several_gaps_everything_before_the_last_is_compared(journal: MemoryJournal) -> None:
    """Also what an interrupted re-read had found."""
    put(journal, raw((R, 1, 1), (R, 2, 1), (C, 6, 1), at=12, snapshot=6), epoch=2)
    put(journal, gap(at=20), epoch=3)
    put(journal, raw((R, 1, 1), (R, 4, 1), at=21, snapshot=7), epoch=3)
    assert gone(healed(journal, 3)) == [2, 3, 6]


def test_an_epoch_that_began_for_another_stream_divides_nothing(journal: MemoryJournal) -> None:
    """The re-read went on through it: what it had found before is found."""
    put(journal, raw((R, 1, 1), at=12, snapshot=7), epoch=2)
    put(journal, raw((R, 3, 1), at=21, snapshot=7), epoch=3)
    assert gone(healed(journal, 3)) == [2, 4]


def test_without_a_gap_nothing_is_deleted() -> None:
    journal = MemoryJournal()
    put(journal, raw((C, 1, 1), (C, 2, -1), at=1), epoch=1)
    put(journal, raw((R, 3, 1), at=21, snapshot=7), epoch=2)
    assert healed(journal, 2) == Healing(None, {})


def test_an_older_change_that_was_replayed_late_is_still_from_before_the_gap(journal: MemoryJournal) -> None:
    put(journal, raw((R, 1, 1), at=12, snapshot=7), epoch=2)
    put(journal, raw((C, 8, 1), at=3), epoch=1)
    assert gone(healed(journal, 2)) == [2, 3, 4, 8]


def test_the_first_epoch_has_nothing_to_heal() -> None:
    journal = MemoryJournal()
    put(journal, raw((C, 1, 1), at=1), epoch=1)
    assert healed(journal, 1) == Healing(None, {})


def test_keys_of_another_form_are_not_compared() -> None:
    """An older contract without such a field: its keys cannot be stated under the present one."""
    journal = MemoryJournal()
    ruling = shelf.judge().check(raw((C, 1, 1), at=1), epoch=1)
    assert ruling.events is not None
    batch = ruling.events.batch
    older = batch.rename_columns(["nr" if name == "id" else name for name in batch.schema.names])
    journal.append(Commit(events=(replace(ruling.events, batch=older),)))
    put(journal, gap(at=10), epoch=2)
    assert gone(healed(journal, 2)) == []


def test_each_block_is_a_sign_of_life(journal: MemoryJournal) -> None:
    """A pass over a long stream must not look like a loop that hangs."""
    beats: list[int] = []
    heal(journal, Ending("item", 2, 90, START, 7), shelf.contract(), turned=lambda: beats.append(1))
    assert len(beats) == 3


def test_memory_follows_the_keys_and_not_the_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.latest._COMPACT_ROWS", 10)
    journal = MemoryJournal()
    for at in range(1, 60):
        put(journal, raw((U, 1, at), (U, at % 3, at), at=at), epoch=1)
    put(journal, gap(at=70), epoch=2)
    put(journal, raw((R, 2, 1), at=71, snapshot=7), epoch=2)
    assert gone(healed(journal, 2)) == [0, 1]


@pytest.mark.parametrize(
    ("reread", "number"),
    [
        ({"number": 4, "heals": True, "phase": "done"}, 4),
        ({"number": 4, "heals": True, "phase": "running"}, None),
        ({"number": 4, "heals": False, "phase": "done"}, None),
        (None, None),
    ],
)
def test_only_a_complete_re_read_after_a_gap_heals(reread: dict[str, object] | None, number: int | None) -> None:
    assert healing_number({"snapshots": {"item": reread} if reread else {}}, "item") == number
    assert healing_number({}, "item") is None
