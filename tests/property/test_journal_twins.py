"""Random lives of a journal: the one on disk and the one in memory answer alike."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import InternalError
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Commit, EventBatch, LetterState, NewLetters, NewParked
from bridge.testing import FakeClock, MemoryJournal
from tests import journal_samples as sample

AnyJournal = SqliteJournal | MemoryJournal

streams = st.sampled_from(["orders", "customers"])
counts = st.integers(0, 5)
starts = st.integers(0, 1_000)
contracts = st.sampled_from(["1.0.0", "1.1.0"])


@st.composite
def events(draw: st.DrawFn) -> EventBatch:
    return sample.events(draw(streams), draw(counts), start=draw(starts), contract=draw(contracts))


@st.composite
def letters(draw: st.DrawFn) -> NewLetters:
    return sample.letters(draw(streams), draw(st.integers(1, 3)), start=draw(starts))


@st.composite
def parked(draw: st.DrawFn) -> NewParked:
    return NewParked(draw(st.integers(1, 2)), sample.raw(draw(streams), draw(st.integers(1, 3)), start=draw(starts)))


@st.composite
def commits(draw: st.DrawFn) -> Commit:
    moved = sample.commit(at=draw(st.integers(0, 9)), epoch=draw(st.integers(1, 2)))
    ids = st.integers(1, 12)
    return Commit(
        source=draw(st.sampled_from([None, "erp", "wms"])),
        position=draw(st.sampled_from([None, moved.position])),
        state=draw(st.sampled_from([None, moved.state])),
        events=tuple(draw(st.lists(events(), max_size=3))),
        letters=tuple(draw(st.lists(letters(), max_size=2))),
        parked=tuple(draw(st.lists(parked(), max_size=2))),
        settled=dict.fromkeys(draw(st.lists(ids, max_size=1)), (LetterState.REPLAYED, "mended")),
        judged={draw(streams): (draw(counts), draw(counts))},
    )


# A cursor to advance, a number of parked batches to release, or a commit.
windows_read = st.tuples(st.integers(0, 20), st.integers(1, 30))  # after, limit
steps = st.one_of(commits(), st.tuples(streams, st.integers(0, 20)), st.tuples(streams, st.none()))
Step = Commit | tuple[str, int | None]


def take(journal: AnyJournal, step: Step) -> object:
    """What a step gives, refusal included."""
    try:
        if isinstance(step, Commit):
            return journal.append(step)
        stream, cursor = step
        if cursor is not None:
            return journal.advance("kafka", {stream: cursor})
        return journal.append(Commit(unparked=tuple(one.id for one in journal.parked(stream, limit=1))))
    except InternalError as refusal:
        return type(refusal)


def answers(journal: AnyJournal, stream: str, *, after: int, limit: int) -> list[object]:
    """Everything a journal says, in comparable form; blocks by event, since merging may join them."""
    extent = journal.extents().get(stream)
    found = journal.letters(stream=stream, state=None)
    rows = [
        (block.first + at, block.epoch, block.contract, row)
        for block in journal.read(stream, after=after, limit=limit)
        for at, row in enumerate(block.batch.to_pylist())
    ]
    letters_with_rows = [journal.letter(letter.id) for letter in found]
    return [
        rows,
        extent and (extent.first, extent.last, extent.last_commit_at, extent.last_journalled_at),
        [(letter.key, letter.event_id, letter.state, letter.reason, letter.breaches) for letter in found],
        [one.raw.columns.to_pylist() for one in letters_with_rows if one is not None and one.raw is not None],
        [(one.epoch, one.raw.changes.to_pylist()) for one in journal.parked(stream)],
        journal.letter_counts(),
        journal.parked_counts(),
        journal.cursor("kafka", stream),
        journal.position("erp"),
        journal.position("wms"),
        journal.validity(stream, since=sample.START.replace(year=2000)),
        journal.verify(),
    ]


@settings(max_examples=60, deadline=None)
@given(life=st.lists(steps, max_size=12), stream=streams, window=windows_read, tended=st.booleans())
def test_the_journal_on_disk_and_the_one_in_memory_answer_alike(
    life: list[Step], stream: str, window: tuple[int, int], *, tended: bool
) -> None:
    after, limit = window
    clock = FakeClock()
    memory = MemoryJournal(now=clock)
    with tempfile.TemporaryDirectory() as folder:
        disk = SqliteJournal.open(Path(folder) / "journal.db", owner=True, now=clock)
        try:
            for step in life:
                assert take(disk, step) == take(memory, step)
                clock.advance(30)
            if tended:
                disk.tend(clock())
            assert answers(disk, stream, after=after, limit=limit) == answers(memory, stream, after=after, limit=limit)
        finally:
            disk.close()
