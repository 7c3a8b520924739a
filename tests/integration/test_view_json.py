"""JSON that is deep or huge, through a view, the contract and the journal: nothing on the way reads it or fails."""

import contextlib
import threading
from pathlib import Path
from typing import Self

import psutil
import pytest
from hypothesis import strategies as st

from bridge.extraction.extractor import Question
from bridge.journal.sqlite import SqliteJournal
from bridge.testing import FakeClock
from tests.contracts import document_for
from tests.grounds.firebird import FirebirdGround
from tests.grounds.mariadb import MariaGround
from tests.grounds.postgres import PostgresGround
from tests.grounds.sqlite import SqliteGround
from tests.polled import Process
from tests.typed import Given, Typed

HUGE_BYTES = 20_000_000
MOST_TIMES = 10  # of its size that a value takes in memory, at most: as it came, decoded, judged, packed
DEEP = "[" * 10_000 + "]" * 10_000
HUGE = '{"a": "' + "x" * HUGE_BYTES + '", "a": 9007199254740993}'
GROUNDS = {
    "postgres": (PostgresGround, "text"),
    "mariadb": (MariaGround, "LONGTEXT"),
    "sqlite": (SqliteGround, "JSON"),
    "firebird": (FirebirdGround, "BLOB SUB_TYPE TEXT"),
}


class Peak:
    """The most memory of this process while it lasts."""

    def __enter__(self) -> Self:
        self._process, self._is_over = psutil.Process(), threading.Event()
        self.before = self.most = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(0.005):
            self.most = max(self.most, self._process.memory_info().rss)


@pytest.mark.parametrize("kind", GROUNDS)
def test_deep_and_huge_json_comes_through_as_it_is(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    """D6: order of keys, keys that come twice and large numbers with it."""
    make, of = GROUNDS[kind]
    ground = make(request.getfixturevalue(f"{kind}_legacy"))
    texts = ["{}", DEEP, HUGE, '{"b": 1, "a": 1, "b": 2}']
    ground.fill("documents", {"j": Typed(of, st.nothing())}, [[Given(text, text)] for text in texts])
    with (
        contextlib.closing(ground.reads("documents")) as extractor,
        contextlib.closing(SqliteJournal.open(tmp_path / "journal.db", owner=True)) as journal,
    ):
        shape = extractor.page(Question("s", 1)).shape
        life = Process(journal, extractor, clock=FakeClock(), made_for=document_for(tmp_path, "s", shape, "id"))
        with Peak() as peak:
            life.run("s")
        found = [text for block in journal.read("s") for text in block.batch.column("f1").to_pylist()]
        assert journal.letters() == []
    assert found == texts
    assert peak.most - peak.before < MOST_TIMES * HUGE_BYTES
