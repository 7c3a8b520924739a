"""A6, A7, A9 and kills: real processes, real locks, real failures of the disk."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.errors import JournalLocked, JournalUnavailable
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Position
from tests import journal_samples as sample

ROOT = Path(__file__).parents[2]


def command(path: Path, windows: int) -> list[str]:
    return [sys.executable, "-m", "tests.recovery.journal_writer", str(path), str(windows)]


@contextmanager
def owner(path: Path, windows: int = 0) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the journal, killed at the end; begins once it has opened it."""
    process = subprocess.Popen(
        command(path, windows), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def acknowledged(said: str) -> int:
    """The last number of windows that was acknowledged; a line cut by a kill was not."""
    numbers = [int(line) for line in said.splitlines(keepends=True) if line.endswith("\n") and line.strip().isdigit()]
    return max(numbers, default=0)


def found(path: Path) -> int:
    """Windows that a journal holds, having checked that each is there once, whole and in order."""
    journal = SqliteJournal.open(path, owner=True)
    try:
        position, _ = journal.position("erp")
        windows = 0 if position is None else position.at[0]
        assert sample.order_numbers(journal.read("orders")) == [f"N{number}" for number in range(3 * windows)]
        assert sample.order_numbers(journal.read("customers")) == [f"N{number}" for number in range(windows)]
        assert journal.verify() == []
        return windows
    finally:
        journal.close()


def test_a_second_owner_is_refused_while_the_first_lives_even_stopped(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with owner(path) as first:
        for stop in (False, True):
            if stop:
                first.send_signal(signal.SIGSTOP)
            with pytest.raises(JournalLocked, match=f"process {first.pid}"):
                SqliteJournal.open(path, owner=True)
        first.kill()
        first.wait()
        SqliteJournal.open(path, owner=True).close()


def test_other_processes_read_and_ask_while_the_owner_lives(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with owner(path, windows=5) as process:
        process.wait(30)
        journal = SqliteJournal.open(path, owner=True)
        guest = SqliteJournal.open(path, owner=False)
        before = journal.version()
        number = guest.request("stream.pause", {"stream": "orders"}, "ann")
        assert journal.version() != before
        assert [one.id for one in journal.requests()] == [number]
        assert sum(block.batch.num_rows for block in guest.read("orders")) == 15
        guest.close()
        journal.close()


def kill_at_random(path: Path, runs: int, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  # seeded, not secret
    windows = 0
    for _ in range(runs):
        with owner(path, windows=1_000_000) as process:
            assert process.stdout is not None
            said = "".join(process.stdout.readline() for _ in range(chance.randrange(1, 120)))
            process.kill()
            said += process.communicate()[0]
        holds = found(path)
        assert holds >= acknowledged(said) >= windows
        windows = holds


def test_no_kill_loses_or_doubles_what_was_acknowledged(tmp_path: Path) -> None:
    kill_at_random(tmp_path / "journal.db", runs=8, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_no_kill_of_very_many_loses_or_doubles_what_was_acknowledged(tmp_path: Path) -> None:
    for seed in range(30):
        kill_at_random(tmp_path / f"journal-{seed}.db", runs=10, seed=seed)


def require_strace() -> str:
    strace = shutil.which("strace")
    if strace is None:
        reason = "strace, which makes a sync fail, is not installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return strace


def run_with_failing_sync(path: Path, nth: str) -> str:
    """40 windows by a process whose `nth` sync of a file reports an I/O error; what it said, up to its death or end."""
    inject = f"inject=fdatasync,fsync:error=EIO:when={nth}"
    traced = [require_strace(), "-f", "-qq", "-o", os.devnull, "-e", "trace=fdatasync,fsync", "-e", inject]
    return subprocess.run(
        [*traced, *command(path, 40)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    ).stdout


@pytest.mark.parametrize("nth", [1, 2, 5, 9])
def test_a_sync_that_fails_while_the_file_is_made_leaves_one_that_can_be_opened(tmp_path: Path, nth: int) -> None:
    said = run_with_failing_sync(tmp_path / "journal.db", str(nth))
    assert found(tmp_path / "journal.db") == acknowledged(said)


@pytest.mark.parametrize("nth", [25, 32, 41, 50])
def test_a_failed_sync_is_never_acknowledged(tmp_path: Path, nth: int) -> None:
    said = run_with_failing_sync(tmp_path / "journal.db", str(nth))
    assert said.count("unavailable") == 1
    assert found(tmp_path / "journal.db") == acknowledged(said) == 40


def test_syncs_that_fail_again_and_again_lose_nothing(tmp_path: Path) -> None:
    said = run_with_failing_sync(tmp_path / "journal.db", "25+4")
    assert said.count("unavailable") > 5
    assert found(tmp_path / "journal.db") == acknowledged(said) == 40


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = Path(tempfile.mkdtemp())
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        folder.rmdir()
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


def test_a_full_disk_stores_nothing_and_passes_when_there_is_room(small_disk: Path) -> None:
    journal = SqliteJournal.open(small_disk / "journal.db", owner=True)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    at = 0
    try:
        while at < 1_000:
            journal.append(sample.commit(sample.events(count=300, start=300 * at), at=at + 1))
            at += 1
    except JournalUnavailable:
        pass
    assert 1 < at < 1_000
    assert journal.position("erp")[0] == Position(1, (at, 0))
    with pytest.raises(JournalUnavailable):
        journal.append(sample.commit(sample.events(count=3_000, start=300 * at), at=at + 1))
    ballast.unlink()
    journal.append(sample.commit(sample.events(count=300, start=300 * at), at=at + 1))
    assert sample.order_numbers(journal.read("orders")) == [f"N{number}" for number in range(300 * (at + 1))]
    assert journal.verify() == []
    journal.close()
