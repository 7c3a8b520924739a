"""The delivery log: found by what is asked, bounded, and never in the way of delivery."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge.errors import JournalCorrupt
from bridge.journal.attempts import AttemptLog, beside
from bridge.parcel import Attempt

NOW = datetime.now(UTC).replace(microsecond=123456)


def attempt(number: int, *, sink: str = "crm", stream: str = "orders", age: timedelta = timedelta(0)) -> Attempt:
    return Attempt(sink, stream, number, f"{stream}:1:{number:X}:0", NOW - age, "unavailable", 12.5, "HTTP 503", 2)


def numbers(log: AttemptLog, **wanted: object) -> list[int]:
    return [found.number for _, found in log.find(**wanted)]  # type: ignore[arg-type] # of find


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return beside(tmp_path / "var" / "journal.db")


@pytest.fixture
def log(path: Path) -> Iterator[AttemptLog]:
    with closing(AttemptLog(path)) as log:
        yield log


def test_an_attempt_is_found_as_it_was_recorded(log: AttemptLog) -> None:
    log.record([attempt(7)])
    assert [found for _, found in log.find()] == [attempt(7)]


def test_attempts_are_found_newest_first_by_all_that_is_asked(log: AttemptLog) -> None:
    log.record([attempt(n) for n in range(1, 6)])
    log.record([attempt(3, sink="dwh"), attempt(3, stream="items")])
    assert numbers(log, limit=3) == [3, 3, 5]
    assert [(one.sink, one.stream) for _, one in log.find(number=3)] == [
        ("crm", "items"), ("dwh", "orders"), ("crm", "orders")
    ]  # fmt: skip
    assert numbers(log, sink="crm", stream="orders", event_id="orders:1:4:0", number=4) == [4]
    assert numbers(log, sink="nobody") == []


def test_pages_follow_one_another_without_a_hole(log: AttemptLog) -> None:
    log.record([attempt(n) for n in range(1, 26)])
    seen: list[int] = []
    before: int | None = None
    while page := log.find(limit=10, before=before):
        seen += [found.number for _, found in page]
        before = page[-1][0]
    assert seen == list(range(25, 0, -1))


def test_a_missing_file_is_empty_and_stays_missing(log: AttemptLog, path: Path) -> None:
    assert log.find() == []
    assert not path.exists()


def test_rows_are_bounded_and_the_newest_are_kept(path: Path) -> None:
    with closing(AttemptLog(path, rows=500)) as log:
        for start in range(0, 5000, 50):
            log.record([attempt(n) for n in range(start, start + 50)])
        assert numbers(log, limit=10_000) == list(range(4999, 4499, -1))


def test_what_is_too_old_goes_in_small_steps(path: Path) -> None:
    with closing(AttemptLog(path)) as log:
        log.record([attempt(n, age=timedelta(days=2)) for n in range(2000)])
    with closing(AttemptLog(path, days=1)) as log:
        log.record([attempt(1)])
        assert 1700 < len(log.find(limit=10_000)) < 2001
        for _ in range(20):
            log.record([attempt(1)])
        assert {found.at for _, found in log.find(limit=10_000)} == {NOW}


def test_the_file_is_its_users_alone(log: AttemptLog, path: Path) -> None:
    log.record([attempt(1)])
    assert [file.stat().st_mode & 0o777 for file in path.parent.iterdir()] == [0o600] * 3


def test_another_process_reads_while_this_one_writes(log: AttemptLog, path: Path) -> None:
    reader = (
        "import sys, pathlib, json; from bridge.journal.attempts import AttemptLog;"
        "print(json.dumps([a.number for _, a in AttemptLog(pathlib.Path(sys.argv[1])).find()]))"
    )
    log.record([attempt(1), attempt(2)])
    done = subprocess.run([sys.executable, "-c", reader, str(path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [2, 1]
    log.record([attempt(3)])
    assert numbers(log) == [3, 2, 1]


def test_it_is_read_when_nobody_writes_any_more(path: Path) -> None:
    with closing(AttemptLog(path)) as log:
        log.record([attempt(1)])
    assert numbers(AttemptLog(path)) == [1]


@pytest.mark.parametrize("content", [b"this is no database at all" * 100, b"\0" * 8192])
def test_a_damaged_file_is_set_aside_and_begun_anew(log: AttemptLog, path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with capture_logs() as lines:
        log.record([attempt(1)])
    assert numbers(log) == [1]
    if content.startswith(b"this"):
        assert Path(f"{path}.damaged").read_bytes() == content
        assert [line["event"] for line in lines] == ["deliveries.begun_anew"]


def test_damage_during_the_run_loses_the_log_and_nothing_else(log: AttemptLog, path: Path) -> None:
    for start in range(0, 20_000, 1000):
        log.record([attempt(n) for n in range(start, start + 1000)])
    log.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(JournalCorrupt, match=r"deliveries\.db"):
        log.find()
    with capture_logs() as lines:
        log.record([attempt(1)])
    assert numbers(log) == [1]
    assert [line["event"] for line in lines] == ["deliveries.begun_anew"]


def test_a_file_of_another_making_is_set_aside(log: AttemptLog, path: Path) -> None:
    other = AttemptLog(path)
    other.record([attempt(1)])
    other._open().execute("DROP TABLE attempts")
    other.close()
    log.record([attempt(2)])
    assert numbers(log) == [2]


def test_a_place_that_cannot_be_written_is_said_once_and_recovers(tmp_path: Path) -> None:
    place = tmp_path / "var"
    place.write_text("a file where a folder should be")
    with closing(AttemptLog(place / "x.db")) as log, capture_logs() as lines:
        log.record([attempt(1)])
        log.record([attempt(2)])
        place.unlink()
        log.record([attempt(3)])
        assert numbers(log) == [3]
    assert [line["event"] for line in lines] == ["deliveries.not_logged", "deliveries.logged_again"]


def test_a_detail_is_short_and_printable(log: AttemptLog) -> None:
    log.record([Attempt("crm", "orders", 1, "x", NOW, "refused", 1.0, "a\x1b[31m\n" + "b" * 5000)])
    ((_, found),) = log.find()
    assert found.detail.isprintable()
    assert len(found.detail) < 250


def test_threads_record_side_by_side(log: AttemptLog) -> None:
    def record() -> None:
        for number in range(50):
            log.record([attempt(number)])

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.find(limit=1000)) == 200
