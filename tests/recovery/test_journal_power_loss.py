"""A4: the power fails at any moment of the journal's life; what was acknowledged is there, whole."""

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest

from bridge.journal.database import Database
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Commit, LetterState, Position
from tests import journal_samples as sample
from tests.recovery.power_loss import RecordingDisk, Step, image, lay_out

COMMITS = 40


@dataclass(frozen=True, slots=True)
class Life:
    """Everything a journal did to its disk."""

    steps: list[Step]
    acknowledged: list[tuple[int, int]]  # (steps done when a commit was acknowledged, orders it had then)
    ends: frozenset[int]  # numbers of orders after each whole window


@pytest.fixture
def folder() -> Iterator[Path]:
    """On memory where there is one: an image per power loss is much to write."""
    shared = Path("/dev/shm")  # noqa: S108  # a folder of its own is made below
    made = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
    yield made
    shutil.rmtree(made)


def live(folder: Path, chance: random.Random) -> Life:
    """Append windows of varied size, with letters, upkeep and checkpoints between."""
    acknowledged: list[tuple[int, int]] = []
    total = 0
    with RecordingDisk() as disk:
        journal = SqliteJournal.open(folder / "journal.db", owner=True)
        for at in range(1, COMMITS + 1):
            count = chance.choice((1, 1, 3, 40, 300))
            window = sample.commit(sample.events(count=count, start=total), sample.events("customers", 1), at=at)
            journal.append(window)
            total += count
            acknowledged.append((len(disk.steps), total))
            if chance.random() < 0.1:
                journal.append(Commit(letters=(sample.letters(),)))
                journal.append(Commit(settled={journal.letters()[0].id: (LetterState.DISCARDED, "")}))
            if chance.random() < 0.2:
                journal.tend(sample.START)
        steps = list(disk.steps)
        journal.close()
    return Life(steps, acknowledged, frozenset({0, *(orders for _, orders in acknowledged)}))


def lose_power(life: Life, folder: Path, seed: int) -> bool:
    """Crash at a random moment and start again; returns whether what was acknowledged is missing."""
    chance = random.Random(seed)  # noqa: S311  # seeded, not secret
    moment = chance.randrange(len(life.steps) + 1)
    at, acknowledged = max(
        ((at, orders) for at, (steps, orders) in enumerate(life.acknowledged, 1) if steps <= moment), default=(0, 0)
    )
    here = folder / str(seed)
    here.mkdir()
    lay_out(image(life.steps[:moment], chance), here)
    journal = SqliteJournal.open(here / "journal.db", owner=True)
    try:
        found = sample.order_numbers(journal.read("orders"))
        assert journal.verify() == []
        assert found == [f"N{number}" for number in range(len(found))]
        assert len(found) in life.ends
        position, _ = journal.position("erp")
        return len(found) < acknowledged or (position or Position(1, (0, 0))) < Position(1, (at, 0))
    finally:
        journal.close()
        shutil.rmtree(here)


def losses(folder: Path, first_seed: int, count: int) -> int:
    """How many of `count` power losses, over several lives, lost what was acknowledged."""
    lost = 0
    lives = 10
    for number in range(lives):
        home = folder / f"life-{number}"
        home.mkdir()
        life = live(home, random.Random(first_seed + number))  # noqa: S311  # seeded, not secret
        for seed in range(first_seed + number, first_seed + count, lives):
            lost += lose_power(life, folder, seed)
    return lost


def test_no_power_loss_loses_what_was_acknowledged(folder: Path) -> None:
    assert losses(folder, first_seed=0, count=1_000) == 0


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_no_power_loss_of_very_many_loses_what_was_acknowledged(folder: Path) -> None:
    runs = int(os.environ.get("POWER_LOSSES", "100000"))
    for start in range(0, runs, 5_000):
        shutil.rmtree(folder)
        folder.mkdir()
        assert losses(folder, first_seed=start, count=5_000) == 0


def test_the_shim_sees_the_loss_that_a_weaker_setting_allows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof can fail: synchronous=NORMAL, which does not sync the WAL at each commit, loses."""

    connect = Database._connect

    def weaker(self: Database, *, query_only: bool = False) -> apsw.Connection:
        connection = connect(self, query_only=query_only)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    monkeypatch.setattr(Database, "_connect", weaker)
    assert losses(folder, first_seed=0, count=50) > 0
