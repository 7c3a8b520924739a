"""The kill switch and the budget of polling, measured on the server's side: what PostgreSQL says of our sessions."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import psycopg

from bridge.extracted import Run
from bridge.extraction.budget import Budget, Limits
from bridge.extraction.plan import Plan
from bridge.extraction.source import PolledSource
from bridge.health import HealthBoard
from bridge.model import Window
from bridge.postgres.session import ConnectSettings
from bridge.pump import QUEUED_WINDOWS, Flow, Handoff, Pump
from bridge.sources.view.dialects.postgres import PostgresSession
from bridge.sources.view.extractor import ViewExtractor
from bridge.sources.view.viewfile import parse
from bridge.testing import MemoryJournal
from demo.server import Database
from tests.daemon import LOGIN, Daemon, prepare, wait_for
from tests.loops import Bridge
from tests.machine import Waits

PATIENCE_S = 10.0  # for what takes less than a second on a machine at rest; the queries would run for a minute
_OURS = "application_name LIKE 'legacy-bridge/%' AND datname = current_database()"


@contextmanager
def looking(database: Database) -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    """A session of the DBA's."""
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        yield connection


def sessions(dba: "psycopg.Connection[tuple[Any, ...]]") -> list[tuple[Any, ...]]:
    """Our sessions and locks, as the server sees them."""
    found = dba.execute(f"SELECT pid, state, query FROM pg_stat_activity WHERE {_OURS}").fetchall()
    locks = "SELECT pid, mode, 'lock' FROM pg_locks WHERE pid IN (SELECT pid FROM pg_stat_activity WHERE " + _OURS + ")"
    return found + dba.execute(locks).fetchall()


def at_work(dba: "psycopg.Connection[tuple[Any, ...]]") -> bool:
    """Whether a query of ours runs now."""
    return bool(dba.execute(f"SELECT 1 FROM pg_stat_activity WHERE {_OURS} AND state = 'active'").fetchall())


@dataclass
class Polled:
    """One view of a database, polled by a pump on a thread of its own; its windows count as journalled."""

    database: Database
    limits: Limits = field(default_factory=Limits)
    page_rows: int = 10
    stores: bool = True  # from the beginning; else once `is_storing` is set

    def __post_init__(self) -> None:
        server = self.database.server
        settings = ConnectSettings("test", host=server.host, port=server.port, database=self.database.name, user=LOGIN)
        text = f"-- mode: full\n-- key: id\n-- page_rows: {self.page_rows}\nSELECT * FROM shop.slow\n"
        session = PostgresSession(settings, waivers=frozenset({"public_temp"}))
        views = {"slow": parse(text, Path("slow.sql"))}
        extractor = ViewExtractor("erp", session, views, dialect="postgres", asks_ahead=True)
        self.source = PolledSource(
            "erp",
            "erp",
            extractor,
            plans=[Plan("slow", every=timedelta(seconds=1))],
            budget=Budget(self.limits),
            images=MemoryJournal().image,
        )
        self.flow, self.handoff, self.board = Flow(self.source, frozenset({"slow"}), None, {}), Handoff(), HealthBoard()
        self.stop = threading.Event()
        self.pump = Pump(self.flow, self.handoff, self.board, self.stop)
        self.windows: list[Window] = []
        self.is_storing = threading.Event()
        if self.stores:
            self.is_storing.set()
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self.pump.run, self._take)]

    def _take(self) -> None:
        while not self.stop.is_set():
            taken = self.handoff.take(timeout_s=0.05) if self.is_storing.wait(0.05) else None
            if taken is None:
                continue
            window = taken[1]
            self.windows.append(window)
            with self.flow.settled:
                self.flow.position, self.flow.state = window.position, window.state
                self.flow.waiting -= 1
                self.flow.settled.notify_all()
            self.source.confirm(window.position)

    def runs(self) -> list[Run]:
        """What was told of runs."""
        return [run for window in tuple(self.windows) if window.extracted for run in window.extracted.runs]

    def skipped(self) -> set[str]:
        """Why runs did not take place."""
        return {run.detail for run in self.runs() if run.state == "skipped"}

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.source.interrupt()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()


def view_that_stops(database: Database, *, rows: int, at: int) -> None:
    """A view whose rows come at once up to a number, and not at all behind it."""
    slow_view(database, seconds=0, rows=rows)
    late = f"pg_sleep(CASE WHEN id > {at} THEN 60 ELSE 0 END) IS NOT NULL"
    database.sql(f"CREATE OR REPLACE VIEW shop.slow AS SELECT id, name FROM shop.item WHERE {late}")


def slow_view(database: Database, *, seconds: float, rows: int) -> None:
    """A view each row of which takes its time."""
    prepare(database, "item")
    database.sql(
        f"INSERT INTO shop.item SELECT n, 'article', n FROM generate_series(1, {rows}) n;"
        f" CREATE VIEW shop.slow AS SELECT id, name FROM shop.item WHERE pg_sleep({seconds}) IS NOT NULL;"
        f" GRANT SELECT ON shop.slow TO {LOGIN}"
    )


def test_a_long_query_of_a_view_ends_at_once_and_nothing_stays_on_the_server(database: Database) -> None:
    slow_view(database, seconds=30, rows=2)
    with looking(database) as dba, Polled(database) as polled:
        wait_for(lambda: at_work(dba), why=polled.board.report)
        with Waits() as waits:
            began = time.monotonic()
            polled.pump.halt("paused by ann since noon")
            wait_for(lambda: not sessions(dba), within_s=PATIENCE_S, why=lambda: sessions(dba))
            assert time.monotonic() - began < 1.0 + waits.so_far_s()
        wait_for(lambda: polled.pump.rests)
        assert [one.component for one in polled.board.ailments() if one.level == "fail"] == []
        wait_for(lambda: any("paused by ann since noon" in why for why in polled.skipped()), why=polled.skipped)
        assert sessions(dba) == []
        polled.pump.release()
        wait_for(lambda: at_work(dba), why=polled.board.report)


def test_a_page_that_is_asked_ahead_ends_at_once_while_the_one_before_waits_to_be_stored(database: Database) -> None:
    """The kill switch reaches what no reader waits for yet."""
    view_that_stops(database, rows=35, at=30)
    with looking(database) as dba, Polled(database, stores=False) as polled:
        wait_for(lambda: polled.flow.waiting == QUEUED_WINDOWS + 1 and at_work(dba), why=polled.board.report)
        polled.pump.halt("paused")
        wait_for(lambda: not sessions(dba), within_s=PATIENCE_S, why=lambda: sessions(dba))
        assert polled.flow.waiting == QUEUED_WINDOWS + 1
        polled.is_storing.set()
        wait_for(lambda: polled.pump.rests)
        assert [one.component for one in polled.board.ailments() if one.level == "fail"] == []


def test_no_transaction_is_open_and_one_page_is_read_ahead_while_the_journal_stands_still(database: Database) -> None:
    slow_view(database, seconds=0, rows=400)
    with looking(database) as dba, Polled(database, stores=False) as polled:
        wait_for(lambda: polled.flow.waiting == QUEUED_WINDOWS + 1, why=polled.board.report)
        wait_for(lambda: not polled.source.is_asking)
        found = [row[1:] for row in sessions(dba)]
        assert [state for state, _ in found] == ["idle"], found
        polled.is_storing.set()
        wait_for(lambda: any(run.state == "done" for run in polled.runs()), why=polled.board.report)
        charges = [charge for window in polled.windows if window.extracted for charge in window.extracted.charges]
        assert sum(charge.rows for charge in charges[:42]) == 400
        assert len(charges) >= 42, "forty pages, one behind them, one of rows without a key"
        assert all(charge.rows == 10 for charge in charges[:40]), "none was asked for twice"


def test_a_re_read_that_waits_for_a_lock_ends_and_the_slot_stays(database: Database, tmp_path: Path) -> None:
    prepare(database, "item")
    database.sql("INSERT INTO shop.item SELECT n, 'article', n FROM generate_series(1, 10) n")
    with looking(database) as dba, looking(database) as holder, Bridge(tmp_path, database, "item") as bridge:
        bridge.wait_loaded()
        holder.execute("BEGIN; LOCK TABLE shop.item IN ACCESS EXCLUSIVE MODE")
        bridge.source.control("start", "item")
        wait_for(lambda: any("item" in str(row[2]) for row in sessions(dba) if row[1] == "active"))
        with Waits() as waits:
            began = time.monotonic()
            bridge.pump.halt("paused")
            wait_for(lambda: not sessions(dba), within_s=PATIENCE_S, why=lambda: sessions(dba))
            assert time.monotonic() - began < 1.0 + waits.so_far_s()
        wait_for(lambda: bridge.pump.rests)
        slots = dba.execute("SELECT active FROM pg_replication_slots WHERE database = current_database()").fetchall()
        assert slots == [(False,)]
        holder.execute("ROLLBACK")
        database.sql("INSERT INTO shop.item VALUES (11, 'while it was paused', 11)")
        assert bridge.ailment("source:erp") is not None
        bridge.pump.release()
        bridge.wait_level()
        assert bridge.doubled("item") == []


def test_a_pause_outlives_the_daemon_and_says_since_when_and_by_whom(database: Database, tmp_path: Path) -> None:
    prepare(database, "item")
    with looking(database) as dba, Daemon(tmp_path, database, "item") as daemon:
        daemon.start()
        told = json.loads(daemon.ask("system", "pause", "erp", "--reason", "month end", "--json"))
        assert (told["paused"], "stays" in told["left"]) == (True, True)
        wait_for(lambda: not sessions(dba), why=lambda: sessions(dba))  # the server ends a closed one in its own time
        assert daemon.cli("system", "pause", "erp").returncode == 1
        daemon.kill()
        daemon.launch()
        ailment = daemon.wait_ailment("source:erp")
        assert ailment["what"].startswith("paused by cli:")
        assert ailment["what"].endswith("month end")
        database.sql("INSERT INTO shop.item VALUES (1, 'article', 1)")
        daemon.signal(1)  # a reload reads nothing either
        wait_for(lambda: daemon.logged("daemon.reloaded"), why=daemon.log_tail)
        assert sessions(dba) == []
        (standing,) = json.loads(daemon.ask("system", "list", "--json"))
        assert (standing["paused"], standing["reason"]) == (True, "month end")
        daemon.ask("system", "resume", "erp")
        wait_for(lambda: daemon.changes("item") == [("created", 1)], why=daemon.log_tail)
        daemon.wait_well("source:erp")
        with daemon.journal() as journal:
            acts = [one.entry.action for one in journal.audit_trail(action="system")]
        assert acts == ["system.pause", "system.resume"]


def test_a_slow_database_is_at_work_for_us_no_longer_than_the_budget(database: Database) -> None:
    """Sampled on the server every few milliseconds, with a page of half a second that the budget makes smaller."""
    per_minute = 6.0
    slow_view(database, seconds=0.02, rows=400)
    limits = Limits(active_seconds_per_minute=per_minute, page_seconds=0.2)
    with looking(database) as dba, Polled(database, limits, page_rows=25) as polled:
        wait_for(lambda: at_work(dba), why=polled.board.report)
        wait_for(lambda: not at_work(dba))
        began, last, worked_s, longest_s, since = time.monotonic(), time.monotonic(), 0.0, 0.0, None
        while time.monotonic() - began < 20:
            is_active, now = at_work(dba), time.monotonic()
            worked_s += (now - last) if is_active else 0.0
            since = (since or last) if is_active else None
            longest_s = max(longest_s, now - since) if since else longest_s
            last = now
            polled.stop.wait(0.005)
        share_s = 60 * worked_s / (last - began)
        print(f"at work {worked_s:.2f} s of {last - began:.1f} s, {share_s:.1f} s a minute, a page {longest_s:.2f} s")
        assert worked_s <= (last - began) * per_minute / 60 + longest_s + 0.1
        assert worked_s > 0, "it was read meanwhile"
        rows = [batch.row_count for window in polled.windows for batch in window.batches]
        assert min(rows[2:], default=25) < 25, "pages became smaller"
