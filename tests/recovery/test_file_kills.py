"""A3 for files: the daemon dies anywhere on a file's way, and loses and doubles nothing.

Records are appended, tables are compared; in each form that files have.
"""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import wait_for
from tests.files import LENGTH, FileDaemon, content, put, record
from tests.inbox import reckon_inbox

STEPS = (
    "file.copied",
    "ingest.judged",
    "ingest.before_append",
    "ingest.after_append",
    "ingest.before_confirm",
    "ingest.after_confirm",
    "file.before_archive",
    "file.linked",
    "file.after_archive",
)
COMPARING = ("file.before_compare", "ingest.before_append", "ingest.after_append", "ingest.before_confirm")
SIZE = 40_000  # articles of a file: two pieces
CSV = """\
csv:
  delimiter: ";"
  columns: [{name: id, type: integer}, {name: name}, {name: amount, type: integer}]
"""
LINES = """\
record: lines
fixed:
  - {name: id, at: 1, pic: 9(9)}
  - {name: name, at: 10, length: 10}
  - {name: amount, at: 20, pic: 9(7)}
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FileDaemon]:
    with FileDaemon(tmp_path) as made:
        yield made


def wait_archived(daemon: FileDaemon, count: int) -> None:
    wait_for(lambda: len(daemon.archived()) >= count, why=daemon.log_tail)


def wait_taken(daemon: FileDaemon, count: int) -> None:
    wait_archived(daemon, count)
    daemon.stop()
    assert [path.name for path in daemon.drop.iterdir() if path.is_file()] == []


def test_a_death_at_any_step_loses_and_doubles_no_record(daemon: FileDaemon) -> None:
    for at, point in enumerate(STEPS):
        number = random.choice((1, 2))  # noqa: S311  not a secret
        for half in (0, 1):  # two, so that the step is reached again after the file before was put away
            first = (2 * at + half) * SIZE
            put(daemon.drop, f"A{at:02}{half}.DAT", content(range(first, first + SIZE)))
        daemon.launch(failpoint=f"{point}:{number}")
        assert daemon.wait() == -signal.SIGKILL, (point, daemon.log_tail())
    daemon.start()
    wait_taken(daemon, 2 * len(STEPS))
    reckon_inbox(daemon, "articles", *range(2 * len(STEPS) * SIZE))


def die_in_comparisons(daemon: FileDaemon, deaths: list[tuple[str, int]]) -> None:
    """A whole table is two pieces, its deletes and the end; its first record is bad now and then."""
    mill = Mill(daemon)
    for at, (point, count) in enumerate(deaths):
        mill.put_table(at, is_damaged=at % 3 == 0)
        daemon.launch(failpoint=f"{point}:{count}")
        assert daemon.wait() == -signal.SIGKILL, (point, count, daemon.log_tail())
    mill.put_table(99)
    daemon.start()
    wait_taken(daemon, len(deaths) + 1)
    mill.reckon()


def test_a_death_at_any_step_of_a_comparison_loses_and_doubles_no_change(daemon: FileDaemon) -> None:
    die_in_comparisons(daemon, [(point, random.choice((1, 2, 3))) for point in COMPARING])  # noqa: S311  not a secret


@pytest.mark.soak
def test_deaths_at_every_step_of_a_comparison_lose_and_double_no_change(daemon: FileDaemon) -> None:
    die_in_comparisons(daemon, [(point, count) for point in COMPARING for count in (1, 2, 3)])


class Mill:
    """Files of every kind for streams of their own, and what the journal has to hold of them at the end."""

    def __init__(self, daemon: FileDaemon) -> None:
        self._daemon = daemon
        self._random = random.Random(7)  # noqa: S311  not a secret
        self._records = dict.fromkeys(("articles", "listed", "lines"), 0)
        self._table = dict.fromkeys(range(SIZE), 1)
        self.put_count = 0
        (daemon.folder / "listed.yaml").write_text(CSV)
        (daemon.folder / "lines.yaml").write_text(LINES)
        daemon.add_stream("listed", system="host", file="B*.CSV", layout="listed.yaml")
        daemon.add_stream("lines", system="host", file="C*.TXT", layout="lines.yaml")
        daemon.add_stream("tables", system="host", file="T*.DAT", layout="article.yaml", mode="full")
        daemon.write()

    def put_round(self, number: int) -> None:
        """One file for each stream; every tenth time they are read in several pieces."""
        size = SIZE if number % 10 == 0 else SIZE // 40
        for stream, name, row in (
            ("articles", f"A{number:03}.DAT", record),
            ("listed", f"B{number:03}.CSV", _cells),
            ("lines", f"C{number:03}.TXT", _line),
        ):
            first = self._records[stream]
            self._records[stream] += size
            header = b"id;name;amount\n" if stream == "listed" else b""
            put(self._daemon.drop, name, header + b"".join(map(row, range(first, first + size))))
        self.put_count += 3
        self.put_table(number)

    def put_table(self, number: int, *, is_damaged: bool = False) -> None:
        """The whole table, in which some rows have changed, come and gone."""
        for _ in range(100):
            row = self._random.randrange(2 * SIZE)
            if row in self._table and self._random.random() < 0.5:
                del self._table[row]
            else:
                self._table[row] = self._random.randrange(1000)
        bad = b"\xff" * LENGTH if is_damaged else b""
        rows = b"".join(record(row, amount=amount) for row, amount in self._table.items())
        put(self._daemon.drop, f"T{number:03}.DAT", bad + rows)
        self.put_count += 1

    def reckon(self) -> None:
        """Demand that every record was told once, and that the changes of the table give the table."""
        for stream, count in self._records.items():
            reckon_inbox(self._daemon, stream, *range(count))
        assert self._daemon.doubled("tables") == []
        rows = self._daemon.rows("tables")
        assert {number: amount for number, (_, amount) in rows.items()} == self._table
        assert len(rows) == len(self._table)


def _cells(number: int) -> bytes:
    return b"%d;N%d;1\n" % (number, number)


def _line(number: int) -> bytes:
    return b"%09d%-10s%07d\n" % (number, b"N%d" % number, 1)


def die_at_random(daemon: FileDaemon, times: int) -> None:
    """Files come while it lives and while it does not."""
    mill, random_ = Mill(daemon), random.Random(times)  # noqa: S311  not a secret
    for number in range(times):
        comes_first = random_.random() < 0.5
        if comes_first:
            mill.put_round(number)
        daemon.launch()
        if not comes_first:
            mill.put_round(number)
        taken = len(daemon.archived())
        wait_archived(daemon, random_.randint(taken, mill.put_count))  # by then it may be anywhere in the next one
        daemon.kill()
    daemon.start()
    wait_taken(daemon, mill.put_count)
    mill.reckon()


def test_deaths_at_random_lose_and_double_no_record(daemon: FileDaemon) -> None:
    die_at_random(daemon, 3)


@pytest.mark.soak
def test_a_hundred_deaths_at_random_lose_and_double_no_record(daemon: FileDaemon) -> None:
    die_at_random(daemon, int(os.environ.get("SOAK_COUNT", "100")))
