"""Every adapter of the journal, opened fresh under a clock that stands still."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.journal.sqlite import SqliteJournal
from bridge.ports import Retention
from bridge.testing import FakeClock, MemoryJournal
from tests.legacy import VIEWS, Legacy

AnyJournal = SqliteJournal | MemoryJournal
OpenJournal = Callable[[Retention], AnyJournal]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sqlite", "memory"])
def open_journal(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[OpenJournal]:
    """Opens a journal that keeps what it is told to."""
    opened: list[AnyJournal] = []

    def open_one(retain: Retention) -> AnyJournal:
        if request.param == "sqlite":
            opened.append(SqliteJournal.open(tmp_path / "journal.db", owner=True, retain=retain, now=clock))
        else:
            opened.append(MemoryJournal(retain=retain, now=clock))
        return opened[-1]

    yield open_one
    for journal in opened:
        journal.close()


@pytest.fixture
def journal(open_journal: OpenJournal) -> AnyJournal:
    """A fresh journal that keeps everything."""
    return open_journal(Retention())


@pytest.fixture(params=[*VIEWS, "listed"])
def legacy(request: pytest.FixtureRequest) -> Legacy:
    """A fresh legacy system of each kind: databases, and an API."""
    found: Legacy = request.getfixturevalue(f"{request.param}_legacy")
    return found
