"""Whole tables in files, in random order, damaged, late and doubled, with deaths anywhere: always what they promise."""

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.extraction import ending
from bridge.sources.file import reading
from bridge.sources.file.dumps import Comparing
from tests.files import LENGTH, Driven, put, record

Table = dict[int, int]


@pytest.fixture(autouse=True, scope="module")
def _small_steps() -> Iterator[None]:
    """Pieces and lists of deletes of a few rows, so that every file takes several windows; images copied often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_ROWS", 3)
        patch.setattr(reading, "LEAST_BYTES", 1)
        patch.setattr(ending, "STEP_ROWS", 2)
        patch.setattr(ending, "MANY_ROWS", 3)
        yield


class Host:
    """A host that writes its table, and what a reader of the events has to have after each file."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._draw = random.Random(seed)  # noqa: S311  not a secret
        self._driven = Driven(folder, compares=Comparing(("id",)))
        self._table: Table = {}
        self._written: list[tuple[Table, bytes, int]] = []
        self._days = 100  # so that an earlier one can come
        self._last: tuple[str, bytes] | None = None
        self.expected: Table = {}

    def day(self) -> None:
        """Some rows change, and a file is written: of today, or of a day before the last."""
        for _ in range(self._draw.choice((0, 1, 5))):
            number = self._draw.randrange(12)
            if number in self._table and self._draw.random() < 0.4:
                del self._table[number]
            else:
                self._table[number] = self._draw.randrange(4)
        is_late = self._last is not None and self._draw.random() < 0.2
        self._days += 1
        name = f"A{self._days - 100 if is_late else self._days:04}.DAT"
        rows = [record(number, amount=amount) for number, amount in self._table.items()]
        self._draw.shuffle(rows)
        whole, lost = self._damaged(rows)
        if self._written and self._draw.random() < 0.2:  # the table is what it was once
            self._table, whole, lost = self._draw.choice(self._written)
        self._written.append((dict(self._table), whole, lost))
        path = put(self._driven.drop, name, whole)
        self._expect(name, whole, lost, is_late=is_late)
        self._take()
        assert self._told() == self.expected
        path.unlink(missing_ok=True)  # one that was refused
        self._driven.restart()

    def _damaged(self, rows: list[bytes]) -> tuple[bytes, int]:
        """The file, and how many of its rows cannot be read."""
        if not rows or self._draw.random() < 0.7:
            return b"".join(rows), 0
        if self._draw.random() < 0.5:
            return b"".join(rows)[: -self._draw.randrange(1, LENGTH)], 1
        at = self._draw.randrange(len(rows))
        return b"".join([*rows[:at], b"\xff" * 5 + rows[at][5:], *rows[at + 1 :]]), 1

    def _expect(self, name: str, whole: bytes, lost: int, *, is_late: bool) -> None:
        if not whole or (is_late and (self._last is None or whole != self._last[1])):
            return
        if self._last is not None and whole == self._last[1]:
            self._last = (max(name, self._last[0]), whole)
            return
        self._last = (name, whole)
        there = _readable(whole)
        self.expected = {**self.expected, **there} if lost else there

    def _take(self) -> None:
        driven = self._driven
        while (window := driven.window()) is not None:
            if self._draw.random() < 0.3:
                driven.restart()  # before it was journalled
                continue
            driven.journal(window)
            if self._draw.random() < 0.3:
                driven.restart()

    def _told(self) -> Table:
        table: Table = {}
        places = set()
        for window in self._driven.windows:
            for batch in window.batches:
                changes = (batch.changes.column(name).to_pylist() for name in ("_op", "_position", "_tx_index"))
                columns = (batch.columns.column(name).to_pylist() for name in ("id", "amount"))
                for op, position, index, number, amount in zip(*changes, *columns, strict=True):
                    assert (position, index) not in places
                    places.add((position, index))
                    if number is None:
                        continue  # a bad record: the contract rejects it
                    assert (number in table) == (chr(op) in "ud")
                    if chr(op) == "d":
                        del table[number]
                    else:
                        table[number] = amount
        return table


def _readable(whole: bytes) -> Table:
    rows = [whole[at : at + LENGTH] for at in range(0, len(whole), LENGTH)]
    good = [row for row in rows if len(row) == LENGTH and row[:5] != b"\xff" * 5]
    return {int(row[:5].hex()[:9]): int(row[15:].hex()[:7]) for row in good}


@given(seed=st.integers(0, 2**32), days=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_events_replayed_give_the_last_table_whatever_came(seed: int, days: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        host = Host(Path(folder), seed)
        for _ in range(days):
            host.day()


@pytest.mark.soak
@given(seed=st.integers(0, 2**32), days=st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_events_replayed_give_the_last_table_whatever_came_in_two_hundred_months(seed: int, days: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        host = Host(Path(folder), seed)
        for _ in range(days):
            host.day()
