"""The journal as a file: who may open it, what it looks like on the disk, copies of it, older and newer ones."""

import os
import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from bridge.errors import ConfigError, InternalError, JournalCorrupt, JournalLocked, JournalUnavailable
from bridge.journal import migrations
from bridge.journal.backup import restore
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Position, StreamPhase
from bridge.ports import Retention
from bridge.testing import FakeClock
from tests import journal_samples as sample

GOLDEN = Path(__file__).parents[1] / "golden" / "journal-v1.db"


def fill(path: Path, *, windows: int = 3) -> SqliteJournal:
    journal = SqliteJournal.open(path, owner=True)
    for at in range(windows):
        journal.append(sample.commit(sample.events(start=3 * at), at=at))
    return journal


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_every_file_is_its_users_alone(tmp_path: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        journal = fill(tmp_path / "journal.db")
        journal.backup(tmp_path / "backup.db")
    finally:
        os.umask(old)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(
        ("journal.db", "journal.db-wal", "journal.db-shm", "journal.db.lock", "backup.db"), 0o600
    )
    journal.close()


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    fill(tmp_path / "journal.db").close()
    (tmp_path / "journal.db").chmod(0o644)
    SqliteJournal.open(tmp_path / "journal.db", owner=True).close()
    assert stat.S_IMODE((tmp_path / "journal.db").stat().st_mode) == 0o600


def test_what_is_settled_at_creation_is_settled(tmp_path: Path) -> None:
    fill(tmp_path / "journal.db").close()
    connection = apsw.Connection(str(tmp_path / "journal.db"))
    found = {name: connection.pragma(name) for name in ("journal_mode", "page_size", "auto_vacuum", "user_version")}
    connection.close()
    assert found == {
        "journal_mode": "wal",
        "page_size": 8192,
        "auto_vacuum": 2,
        "user_version": len(migrations.steps()),
    }


def test_a_guest_does_not_create_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="there is no journal"):
        SqliteJournal.open(tmp_path / "journal.db", owner=False)
    assert list(tmp_path.iterdir()) == []


def test_a_guest_reads_and_asks_but_neither_appends_nor_tends(tmp_path: Path) -> None:
    journal = fill(tmp_path / "journal.db")
    guest = SqliteJournal.open(tmp_path / "journal.db", owner=False)
    assert len(sample.order_numbers(guest.read("orders"))) == 9
    with pytest.raises(InternalError):
        guest.append(sample.commit(at=9))
    with pytest.raises(InternalError):
        guest.tend(sample.START)
    guest.settle(guest.request("stream.pause", {}, "ann"), ok=True, result={})
    assert journal.requests() == []
    guest.close()
    journal.close()


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = fill(tmp_path / "journal.db")
    journal.close()
    for use in (lambda: journal.append(sample.commit()), lambda: journal.position("erp"), journal.version):
        with pytest.raises(JournalUnavailable, match="is closed"):
            use()


def test_the_lock_is_free_after_close(tmp_path: Path) -> None:
    journal = fill(tmp_path / "journal.db")
    with pytest.raises(JournalLocked, match=f"process {os.getpid()}"):
        SqliteJournal.open(tmp_path / "journal.db", owner=True)
    journal.close()
    SqliteJournal.open(tmp_path / "journal.db", owner=True).close()


def test_a_backup_taken_between_appends_holds_whole_windows_and_the_owner_goes_on(tmp_path: Path) -> None:
    journal = fill(tmp_path / "journal.db")
    journal.backup(tmp_path / "backup.db")
    journal.append(sample.commit(sample.events(start=9), at=3))
    copy = SqliteJournal.open(tmp_path / "backup.db", owner=False)
    assert sample.order_numbers(copy.read("orders")) == [f"N{number}" for number in range(9)]
    assert copy.position("erp")[0] == Position(1, (2, 0))
    assert len(sample.order_numbers(journal.read("orders"))) == 12
    copy.close()
    journal.close()


def test_a_backup_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    journal = fill(tmp_path / "journal.db")
    with pytest.raises(JournalUnavailable):
        journal.backup(tmp_path / "absent" / "backup.db")
    (tmp_path / "taken").mkdir()
    with pytest.raises(JournalUnavailable):
        journal.backup(tmp_path / "taken")
    assert not list(tmp_path.glob("*partial*"))
    journal.close()


def test_a_restore_puts_the_backup_in_place_and_the_old_journal_aside(tmp_path: Path) -> None:
    path, backup = tmp_path / "journal.db", tmp_path / "backup.db"
    journal = fill(path)
    journal.backup(backup)
    journal.append(sample.commit(sample.events(start=9), at=3))
    journal.close()
    aside = restore(backup, path, now=FakeClock())
    assert aside == tmp_path / "journal.db.before-restore-20260101T000000000000Z"
    for file, rows in ((path, 9), (aside, 12), (backup, 9)):
        opened = SqliteJournal.open(file, owner=False)
        assert len(sample.order_numbers(opened.read("orders"))) == rows
        opened.close()
    assert not list(tmp_path.glob("*restoring*"))


def test_a_restore_keeps_what_the_old_journal_had_only_in_its_wal(tmp_path: Path) -> None:
    path, backup = tmp_path / "journal.db", tmp_path / "backup.db"
    journal = fill(path)
    journal.backup(backup)
    journal.append(sample.commit(sample.events(start=9), at=3))
    crashed = tmp_path / "crashed.db"
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{crashed}{suffix}")
    journal.close()
    aside = restore(backup, crashed)
    assert aside is not None
    for file, rows in ((crashed, 9), (aside, 12)):
        opened = SqliteJournal.open(file, owner=True)
        assert len(sample.order_numbers(opened.read("orders"))) == rows
        assert opened.verify() == []
        opened.close()


def test_a_restore_is_refused_while_an_owner_lives(tmp_path: Path) -> None:
    journal = fill(tmp_path / "journal.db")
    journal.backup(tmp_path / "backup.db")
    with pytest.raises(JournalLocked):
        restore(tmp_path / "backup.db", tmp_path / "journal.db")
    assert len(sample.order_numbers(journal.read("orders"))) == 9
    journal.close()


def test_a_damaged_backup_is_not_restored(tmp_path: Path) -> None:
    path, backup = tmp_path / "journal.db", tmp_path / "backup.db"
    journal = fill(path)
    journal.backup(backup)
    journal.close()
    connection = apsw.Connection(str(backup))
    connection.execute("UPDATE block SET epoch = 9 WHERE first = 4")
    connection.close()
    with pytest.raises(JournalCorrupt, match="block 4-6 of stream orders"):
        restore(backup, path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["backup.db", "journal.db", "journal.db.lock"]


def test_a_restore_needs_no_journal_to_be_there(tmp_path: Path) -> None:
    journal = fill(tmp_path / "journal.db")
    journal.backup(tmp_path / "backup.db")
    journal.close()
    assert restore(tmp_path / "backup.db", tmp_path / "new" / "journal.db") is None
    SqliteJournal.open(tmp_path / "new" / "journal.db", owner=True).close()


def test_a_journal_of_version_1_still_loads(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN, tmp_path / "journal.db"))
    journal = SqliteJournal.open(path, owner=True)
    assert journal.verify() == []
    (block,) = journal.read("orders")
    assert block.batch.equals(sample.events(count=3).batch, check_metadata=True)
    assert journal.position("erp") == (Position(1, (7, 0)), {"page": 7})
    assert journal.cursor("kafka", "orders") == 2
    assert [letter.key for letter in journal.letters()] == [None, "N1"]
    assert sample.same_raw(journal.parked("orders")[0].raw, sample.raw(count=2))
    state = journal.stream_states()["orders"]
    assert (state.phase, state.shape) == (StreamPhase.DRIFT, sample.SHAPE)
    assert [one.kind for one in journal.requests()] == ["stream.resume"]
    assert journal.pin("orders", "1.0.0", "xyz") == "abc"
    assert journal.append(sample.commit(sample.events(start=3), at=8)) == {"orders": (4, 6)}
    journal.close()


def test_a_step_forward_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN, tmp_path / "journal.db"))
    connection = apsw.Connection(str(path))
    steps = (*migrations.steps(), "CREATE TABLE extra (id INTEGER PRIMARY KEY) STRICT")
    with pytest.raises(apsw.SQLError):
        migrations.migrate(connection, (*steps, "CREATE TABLE half (id INTEGER); CREATE NONSENSE"))
    connection.close()
    connection = apsw.Connection(str(path))
    assert connection.pragma("user_version") == 1
    migrations.migrate(connection, steps)
    assert connection.pragma("user_version") == len(steps)
    assert connection.table_exists("main", "extra")
    connection.close()
    with pytest.raises(ConfigError, match=f"version {len(steps)}, this program knows versions up to {len(steps) - 1}"):
        SqliteJournal.open(path, owner=True)
    with pytest.raises(ConfigError, match=f"version {len(steps)}"):
        SqliteJournal.open(path, owner=False)


def test_a_guest_waits_for_the_owner_to_bring_a_file_forward(tmp_path: Path) -> None:
    (tmp_path / "journal.db").touch()
    with pytest.raises(JournalUnavailable, match="version 0"):
        SqliteJournal.open(tmp_path / "journal.db", owner=False)


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "books.db"))
    connection.execute("CREATE TABLE book (title TEXT)")
    connection.close()
    with pytest.raises(ConfigError, match="not a journal"):
        SqliteJournal.open(tmp_path / "books.db", owner=True)


def test_merging_keeps_every_event_under_its_number(tmp_path: Path) -> None:
    journal = fill(tmp_path / "journal.db", windows=400)
    under_way = journal.read("orders")
    early = [next(under_way) for _ in range(5)]
    truth = list(journal.read("orders"))
    while journal.tend(sample.START):
        pass
    assert journal.extents()["orders"].blocks < 40
    assert journal.verify() == []
    assert sample.order_numbers(journal.read("orders")) == sample.order_numbers(truth)
    assert sample.order_numbers([*early, *under_way]) == sample.order_numbers(truth)
    assert sample.order_numbers(journal.read("orders", after=700, limit=9)) == [f"N{n}" for n in range(700, 709)]
    journal.close()


def test_a_merged_block_is_as_young_as_its_youngest_event(tmp_path: Path) -> None:
    clock = FakeClock()
    journal = SqliteJournal.open(tmp_path / "journal.db", owner=True, now=clock)
    for at in range(16):
        journal.append(sample.commit(sample.events(count=1, start=at), at=at))
        clock.advance(1)
    journal.tend(clock())
    (block,) = journal.read("orders")
    assert block.journalled_at == clock() - timedelta(seconds=1)
    journal.close()


def test_space_goes_back_to_the_file_system(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = SqliteJournal.open(path, owner=True, retain=Retention(size_bytes=1))
    for at in range(30):
        journal.append(sample.commit(sample.events(count=20_000, start=20_000 * at), at=at))
    assert journal.extents()["orders"].bytes > 8 << 20
    while journal.tend(sample.START):
        pass
    journal.tend(sample.START)
    assert path.stat().st_size < 6 << 20
    assert Path(f"{path}-wal").stat().st_size == 0
    journal.close()


def test_threads_append_advance_read_and_tend_at_the_same_time(tmp_path: Path) -> None:
    """Nothing is refused, and what was appended is there."""
    journal = fill(tmp_path / "journal.db", windows=1)
    windows = 150
    done = threading.Event()

    def append() -> None:
        try:
            for at in range(1, windows):
                journal.append(sample.commit(sample.events(start=3 * at), at=at))
        finally:
            done.set()

    def follow() -> None:
        after, last_pass = 0, False
        while not last_pass:
            last_pass = done.is_set()
            journal.version()
            for block in journal.read("orders", after=after):
                assert block.first == after + 1
                after = block.last
            journal.advance("kafka", {"orders": after})

    def tend() -> None:
        while not done.is_set():
            journal.tend(sample.START)

    with ThreadPoolExecutor() as threads:
        running = [threads.submit(work) for work in (append, follow, tend, tend)]
        for one in running:
            one.result(60)
    assert journal.cursor("kafka", "orders") == 3 * windows
    assert journal.verify() == []
    journal.close()
