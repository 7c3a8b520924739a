"""What `bridge.ports.Journal` promises about extraction, on every adapter."""

from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest

from bridge.errors import InternalError, JournalCorrupt
from bridge.extracted import Charge, Extracted, Forgotten, ImageBlock, Part, Run
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Commit, Position
from bridge.ports import Retention
from bridge.testing import FakeClock, MemoryJournal
from tests import journal_samples as sample
from tests.conformance.conftest import OpenJournal

AnyJournal = SqliteJournal | MemoryJournal
RUN = Run("erp", 7, "orders", "full", "every 5m", "running", sample.START)


def block(*numbers: int, stream: str = "orders", generation: int = 1, part: Part = "rows") -> ImageBlock:
    return ImageBlock(stream, generation, part, numbers[0], pa.record_batch({"number": pa.array(numbers, pa.uint32())}))


def append(journal: AnyJournal, extracted: Extracted, at: int = 1) -> None:
    journal.append(Commit(source="erp", position=Position(1, (at, 0)), extracted=extracted))


def held(journal: AnyJournal, *parts: Part, generation: int = 1) -> list[list[int]]:
    return [one.batch.column(0).to_pylist() for one in journal.image("orders", generation, parts)]


def test_an_image_comes_back_in_the_order_it_was_stored(journal: AnyJournal) -> None:
    append(journal, Extracted((block(5, 6), block(1, part="gone"), block(2), block(9, stream="other"))))
    assert held(journal, "rows") == [[5, 6], [2]]
    assert held(journal, "rows", "gone") == [[5, 6], [1], [2]]
    assert [one.first for one in journal.image("orders", 1, ["rows"])] == [5, 2]


def test_what_is_forgotten_of_an_image_is_gone_before_the_new_blocks_are_stored(journal: AnyJournal) -> None:
    append(journal, Extracted((block(1), block(2, part="seen"), block(3, generation=2))))
    append(journal, Extracted((block(4, part="seen"),), (Forgotten("orders", part="seen"),)), at=2)
    assert held(journal, "rows", "seen") == [[1], [4]]
    append(journal, Extracted(forgotten=(Forgotten("orders", generation=1),)), at=3)
    assert (held(journal, "rows", "seen"), held(journal, "rows", generation=2)) == ([], [[3]])


def test_an_image_is_part_of_the_commit_or_not_stored_at_all(journal: AnyJournal) -> None:
    append(journal, Extracted((block(1),)), at=2)
    with pytest.raises(InternalError):
        append(journal, Extracted((block(2),), runs=(RUN,), charges=(Charge("erp", "orders", sample.START, 1),)), at=1)
    assert held(journal, "rows") == [[1]]
    assert list(journal.runs()) == []
    assert list(journal.bill(since=sample.START)) == []


def test_a_run_replaces_what_was_known_of_it(journal: AnyJournal) -> None:
    append(journal, Extracted(runs=(RUN, replace(RUN, number=8, stream="other"))))
    done = replace(RUN, state="done", ended_at=sample.START, rows=3, counts={"c": 2}, seconds=0.5, detail="ä")
    append(journal, Extracted(runs=(done,)), at=2)
    assert list(journal.runs(stream="orders")) == [done]
    assert [run.number for run in journal.runs(source="erp")] == [8, 7]
    assert list(journal.runs(number=9)) == []


def test_rows_that_were_rejected_count_for_the_run_of_their_stream(journal: AnyJournal) -> None:
    skipped = replace(RUN, number=8, state="skipped", moments=3)
    for at, rejected in ((1, 2), (2, 3)):
        position = Position(1, (at, 0))
        judged = {"orders": (10, rejected), "other": (0, 9)}
        journal.append(Commit(source="erp", position=position, extracted=Extracted(runs=(RUN, skipped)), judged=judged))
    assert {run.number: (run.rejected, run.moments) for run in journal.runs()} == {7: (5, 1), 8: (0, 3)}


def test_charges_add_up_by_hour_system_and_stream(journal: AnyJournal) -> None:
    one = Charge("erp", "orders", sample.START, queries=1, seconds=0.5, rows=10, size_bytes=100)
    append(journal, Extracted(charges=(one, one, replace(one, system="crm"))))
    append(journal, Extracted(charges=(replace(one, at=sample.START + timedelta(hours=1)),)), at=2)
    hour = sample.START.replace(minute=0, second=0, microsecond=0)
    first = replace(one, at=hour, queries=2, seconds=1.0, rows=20, size_bytes=200)
    assert list(journal.bill(system="erp", since=sample.START)) == [first, replace(one, at=hour + timedelta(hours=1))]
    assert len(journal.bill(since=sample.START)) == 3


def test_small_states_can_be_part_of_a_commit(journal: AnyJournal) -> None:
    append(journal, Extracted(kept={("extraction", "a"): {"n": 1}, ("extraction", "b"): {"n": 2}}))
    append(journal, Extracted(kept={("extraction", "a"): None}), at=2)
    assert journal.kept("extraction") == {"b": {"n": 2}}


def test_sqlite_forgets_runs_and_bills_past_their_age(open_journal: OpenJournal, clock: FakeClock) -> None:
    journal = open_journal(Retention(age=timedelta(days=1)))
    if isinstance(journal, MemoryJournal):
        return
    ended = replace(RUN, state="done", ended_at=clock())
    append(journal, Extracted(runs=(ended, replace(RUN, number=8)), charges=(Charge("erp", "orders", clock(), 1),)))
    journal.tend(clock() + timedelta(days=2))
    assert [run.number for run in journal.runs()] == [8]
    assert journal.bill(since=clock() - timedelta(days=9)) == []


def test_sqlite_finds_damage_in_an_image(open_journal: OpenJournal) -> None:
    journal = open_journal(Retention())
    if isinstance(journal, MemoryJournal):
        return
    append(journal, Extracted((block(1), block(2))))
    assert journal.verify() == []
    with journal._database.writing() as connection:
        connection.execute("UPDATE image SET first = 3 WHERE first = 2")
    assert journal.verify() == ["table image: the checksum of block 2 is wrong"]
    with pytest.raises(JournalCorrupt):
        held(journal, "rows")
