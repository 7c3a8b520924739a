"""A9: two daemons on one journal, and two on one slot."""

import signal
from pathlib import Path

from demo.server import Database
from tests.daemon import Daemon, Load, prepare, reckon, wait_for


def test_a_second_daemon_is_refused_while_the_first_lives_also_when_it_is_stopped(
    tmp_path: Path, database: Database
) -> None:
    """Continued, the first goes on; only after its end the second may start. Nothing is lost or doubled."""
    prepare(database, "articles")
    with Daemon(tmp_path, database, "articles") as first, Daemon(tmp_path, database, "articles") as second:
        first.write()
        first.start()
        second.write()
        with Load(database, "articles", per_second=100) as load:
            for turn, number in enumerate((signal.SIGCONT, signal.SIGSTOP), 1):
                first.signal(number)
                second.launch()
                assert second.wait() == 75
                refusals = [line for line in second.log_tail(10_000).splitlines() if line.startswith("error: ")]
                assert len(refusals) == turn
                assert f"process {first.process.pid}" in refusals[-1]
            first.signal(signal.SIGCONT)
            written = len(load.acknowledged)
            wait_for(lambda: len(first.changes("articles")) >= written, why=first.log_tail)
            first.kill()
            second.start()
        reckon(second, "articles", [load])


def test_a_second_daemon_with_a_journal_of_its_own_does_not_read_the_slot_of_the_first(
    tmp_path: Path, database: Database
) -> None:
    """It says so and takes nothing away: the server lets one session read a slot."""
    prepare(database, "articles")
    (tmp_path / "second").mkdir()
    with Daemon(tmp_path, database, "articles") as first, Daemon(tmp_path / "second", database, "articles") as second:
        first.start()
        with Load(database, "articles", per_second=100) as load:
            second.launch()
            ailment = second.wait_ailment("source:erp")
            assert first.slot in ailment["what"]
            assert second.changes("articles") == []
            second.kill()
        reckon(first, "articles", [load])
