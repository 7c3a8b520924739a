"""A3 for polled systems: killed in every phase of a reading, the bridge loses and doubles nothing."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.journal.sqlite import SqliteJournal
from tests import polled, shelf
from tests.daemon import ROOT

ON_READINGS = ("extraction.page_read", "extraction.before_step")
POINTS = (
    *ON_READINGS,
    "ingest.judged",
    "ingest.before_append",
    "ingest.after_append",
    "ingest.before_confirm",
    "ingest.after_confirm",
)
KINDS = {"full": ("run",), "incremental": ("run", "sweep"), "append": ("run",)}


class Table:
    """The legacy table, in a file, and the journal beside it."""

    def __init__(self, folder: Path, mode: polled.Mode, draw: random.Random) -> None:
        self.journal_file, self.file = folder / "journal.db", folder / "table.json"
        self.mode, self.draw = mode, draw
        self.now = 100
        self.rows: dict[int, list[Any]] = {number: [number, 1, number] for number in range(20)}

    def change(self) -> None:
        """A few rows come, change and go."""
        self.now += 1
        for _ in range(6):
            number = self.draw.randrange(40)
            if self.mode == "append":
                number = 100 + len(self.rows)
            elif self.draw.random() < 0.4:
                self.rows.pop(number, None)
                continue
            self.rows[number] = [number, self.draw.randrange(100), self.now]

    def live(self, *, failpoint: str | None = None) -> int:
        """One life; returns how it ended."""
        self.file.write_text(json.dumps({"mode": self.mode, "rows": list(self.rows.values())}))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **({"BRIDGE_FAILPOINT": failpoint} if failpoint else {})}
        command = [sys.executable, "-m", "tests.recovery.poller", str(self.journal_file), str(self.file)]
        done = subprocess.run(
            [*command, *KINDS[self.mode]], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode in {0, -signal.SIGKILL}, done.stderr
        return done.returncode

    def reckon(self) -> None:
        """What a reader of the events has is the table, and nothing was told twice."""
        journal = SqliteJournal.open(self.journal_file, owner=False)
        try:
            events = shelf.rows(journal)
            places = [(event["_position"], event["_tx_index"]) for event in events]
            assert places == sorted(set(places))
            assert shelf.image(shelf.told(journal)) == {number: row[1] for number, row in self.rows.items()}
            told = sum(sum(run.counts.values()) for run in journal.runs(limit=10_000))
            assert told == len(events)
            assert journal.verify() == []
        finally:
            journal.close()


def die(folder: Path, mode: polled.Mode, deaths: list[tuple[str, int]]) -> None:
    table = Table(folder, mode, random.Random(len(deaths)))  # noqa: S311  not a secret
    for point, count in deaths:
        ended = table.live(failpoint=f"{point}:crash@{count}")
        assert ended == -signal.SIGKILL, f"{point} was not reached {count} times"
        table.change()
    assert table.live() == 0  # what was under way
    assert table.live() == 0  # and once more, with the table at rest
    table.reckon()


@pytest.mark.parametrize("mode", ["full", "incremental", "append"])
def test_a_death_in_a_reading_loses_and_doubles_nothing(tmp_path: Path, mode: polled.Mode) -> None:
    die(tmp_path, mode, [*((point, 1) for point in POINTS), *((point, 2) for point in ON_READINGS)])


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["full", "incremental", "append"])
@pytest.mark.parametrize("point", POINTS)
def test_ten_deaths_in_a_reading_lose_and_double_nothing(tmp_path: Path, mode: polled.Mode, point: str) -> None:
    most = 2 if point == "extraction.before_step" else 5
    die(tmp_path, mode, [(point, 1 + count % most) for count in range(10)])
