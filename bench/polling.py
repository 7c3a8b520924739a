"""A table polled by a view, in a process of its own, as the daemon polls it: pump, contract, journal.

``python -m bench.polling extract DSN TABLE KIND`` reads every page of KIND (rows, keys) and throws it away.
``python -m bench.polling compare DSN TABLE KIND CHANGE`` reads the table once, runs the SQL of CHANGE, and measures the
run of KIND (full or sweep) that finds out what it did. Both print rows per second; `compare` also what was told.
"""

import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg

from bridge.bell import Bell
from bridge.contract import document
from bridge.extracted import RunKind
from bridge.extraction.budget import Budget, Limits
from bridge.extraction.extractor import Extractor, Question, Subject
from bridge.extraction.plan import Plan
from bridge.extraction.source import PolledSource
from bridge.health import HealthBoard
from bridge.ingest import Ingest
from bridge.journal.sqlite import SqliteJournal
from bridge.judge import StreamJudge
from bridge.metrics import Metrics
from bridge.operate import Desk
from bridge.postgres.session import ConnectSettings
from bridge.pump import Flow, Handoff, Pump
from bridge.sources.view.dialects.postgres import PostgresSession
from bridge.sources.view.extractor import ViewExtractor
from bridge.sources.view.viewfile import parse

STREAM = "polled"
PAGE_ROWS = 50_000
VIEWS = {
    "full": "-- key: id\n-- mode: full\n-- page_rows: {rows}\nSELECT * FROM {table}\n",
    "sweep": "-- key: id\n-- mode: incremental\n-- cursor: updated_at\n-- page_rows: {rows}\nSELECT * FROM {table}\n",
}
CONTRACTS = {"full": "orders.odcs.yaml", "sweep": "keys.odcs.yaml"}
NO_LIMIT = Limits(active_seconds_per_minute=60, page_seconds=600)


def extractor(dsn: str, table: str, kind: str, *, page_rows: int = PAGE_ROWS) -> ViewExtractor:
    """What reads the table."""
    told = psycopg.conninfo.conninfo_to_dict(dsn)
    settings = ConnectSettings(
        "bench", host=str(told["host"]), port=int(told["port"] or 5432), database=str(told["dbname"]), user="bridge_ro"
    )
    view = parse(VIEWS[kind].format(rows=page_rows, table=table), Path(f"{STREAM}.sql"))
    session = PostgresSession(settings, waivers=frozenset({"public_temp"}))
    return ViewExtractor("bench", session, {STREAM: view}, dialect="postgres", asks_ahead=True)


def extract(dsn: str, table: str, kind: str, *, page_rows: int = PAGE_ROWS) -> float:
    """Rows per second of reading all pages."""
    made = extractor(dsn, table, "full" if kind == "rows" else "sweep", page_rows=page_rows)
    made.open()
    rows, began_at = 0, time.perf_counter()
    resume, is_over = None, False
    while not is_over:
        want = Question(STREAM, _limit(made, kind), "keys" if kind == "keys" else "rows", is_by_key=True, resume=resume)
        page = made.page(want)
        rows, resume, is_over = rows + page.columns.num_rows, page.resume, page.resume is None
    rate = rows / (time.perf_counter() - began_at)
    made.close()
    return rate


def _limit(made: Extractor, kind: str) -> int:
    subject: Subject = made.subjects[STREAM]
    return subject.page_rows * (4 if kind == "keys" else 1)


class Polling:
    """The loops over the table, running."""

    def __init__(self, folder: Path, made: Extractor, contract: Path) -> None:
        self.journal = SqliteJournal.open(folder / "journal.db", owner=True)
        self.source = PolledSource(
            "bench", "bench", made, plans=[Plan(STREAM)], budget=Budget(NO_LIMIT), images=self.journal.image
        )
        self._stop = threading.Event()
        flow = Flow(self.source, frozenset({STREAM}), None, {})
        handoff, board = Handoff(), HealthBoard()
        judges = {STREAM: StreamJudge(STREAM, document.load(contract), on_reject="pass", state=None)}
        desk = Desk(self.journal, judges, bell=Bell())
        ingest = Ingest(self.journal, handoff, judges, board=board, metrics=Metrics(), desk=desk, stop=self._stop)
        pump = Pump(flow, handoff, board, self._stop)
        self._threads = [threading.Thread(target=loop.run, daemon=True) for loop in (pump, ingest)]
        for thread in self._threads:
            thread.start()

    def run(self, kind: RunKind) -> tuple[float, dict[str, int]]:
        """Seconds of one run until it is journalled, and the events it told by letter of their op."""
        before = max((run.number for run in self.journal.runs(limit=1)), default=0)
        began_at = time.perf_counter()
        self.source.ask(STREAM, kind, actor="bench")
        while True:
            newest = next(iter(self.journal.runs(limit=1)), None)
            if newest is not None and newest.number > before and newest.state != "running":
                if newest.state != "done":
                    raise RuntimeError(newest.detail)
                return time.perf_counter() - began_at, dict(newest.counts)
            time.sleep(0.02)

    def end(self) -> None:
        """Stop the loops."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.journal.close()


def compare(dsn: str, table: str, kind: RunKind, change: str) -> dict[str, float]:
    """Rows per second of the run that compares."""
    with tempfile.TemporaryDirectory(prefix="legacy-bridge-bench-") as folder:
        contract = Path(__file__).parent / CONTRACTS[kind]
        polling = Polling(Path(folder), extractor(dsn, table, kind), contract)
        polling.run("run")
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(change.encode())
            connection.execute(f"VACUUM ANALYZE {table}".encode())
        seconds, counts = polling.run(kind)
        rows = polling.journal.position("bench")[1]["streams"][STREAM]["held"]
        polling.end()
    return {"rate": rows / seconds, "events": float(sum(counts.values()))}


if __name__ == "__main__":
    command, *given = sys.argv[1:]
    if command == "extract":
        print(json.dumps({"rate": extract(given[0], given[1], given[2])}))
    else:
        asked: RunKind = "sweep" if given[2] == "sweep" else "full"
        print(json.dumps(compare(given[0], given[1], asked, given[3])))
