"""A whole bridge inside the test's process: the daemon's own loops in threads, on a real journal and a real server.

Built from a configuration file and contracts as the daemon builds itself; only signals, pages and the process are left
out. The tables are those of `tests.daemon`.
"""

import json
import threading
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import polars as pl

from bridge import app, operate
from bridge.config.load import load
from bridge.health import Ailment, HealthBoard
from bridge.ingest import Ingest
from bridge.journal.sqlite import SqliteJournal
from bridge.metrics import Metrics
from bridge.model import Op
from bridge.pump import Flow, Handoff, Pump
from bridge.sources.postgres.reader import PostgresSource
from bridge.watch import Watch
from bridge.ways import build_postgres
from demo.server import Database
from tests.daemon import DEADLINE_S, Daemon, wait_for
from tests.machine import Waits

DECLARED_WITHIN_S = 10.0  # of a loss, from when the bridge can see it


class Bridge:
    """One configuration in a folder of its own, and its loops while they run.

    Args:
        folder: for configuration, contracts and journal; the journal stays there over `stop` and `start`.
        database: the legacy one, `prepare`d.
        streams: tables below `shop`.
        settings: fields of the source's settings that have no key.

    Attributes:
        daemon: the same configuration, to be run as a process.
        system: the system's section of it; takes effect with the next start.
    """

    def __init__(self, folder: Path, database: Database, *streams: str, **settings: Any) -> None:  # noqa: ANN401  as above
        self.database = database
        self.streams = streams
        self.daemon = Daemon(folder, database, *streams)
        self.system: dict[str, Any] = self.daemon.document["systems"]["erp"]
        self.board = HealthBoard()
        self._settings = settings

    @property
    def postgres(self) -> dict[str, Any]:
        """The system's `postgres` section."""
        section: dict[str, Any] = self.system["postgres"]
        return section

    def start(self) -> Self:
        """Start the loops, as the daemon does."""
        self.daemon.write()
        config = load(self.daemon.path)
        documents = app.load_contracts(config)
        self.journal = SqliteJournal.open(self.daemon.journal_file, owner=True)
        judges = app.build_judges(config, documents, self.journal)
        self._stop, handoff, metrics = threading.Event(), Handoff(), Metrics()
        source = build_postgres(config, "erp", documents, stopping=self._stop.is_set)
        self.source = PostgresSource(replace(source._settings, **self._settings))
        position, state = self.journal.position("erp")
        self.flow = Flow(self.source, frozenset(self.streams), position, state)
        self.pump = Pump(self.flow, handoff, self.board, self._stop)
        control = {stream: partial(app._control, self.source, stream) for stream in self.streams}
        self.ingest = Ingest(
            self.journal,
            handoff,
            judges,
            board=self.board,
            metrics=metrics,
            desk=operate.Desk(self.journal, judges, control, systems=app.systems_of(config)),
            stop=self._stop,
        )
        self.watch = Watch(self.journal, {"erp": self.flow}, judges, board=self.board, metrics=metrics)
        self._threads = [threading.Thread(target=loop.run, daemon=True) for loop in (self.pump, self.ingest)]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Stop as the daemon does; callable twice."""
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        self.watch.end()
        self.journal.close()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- what is seen from outside

    def ailment(self, component: str) -> Ailment | None:
        """What the health page says of a component now, as the daemon's main thread keeps it."""
        self.watch._due_at = 0.0
        self.watch.step()
        return next((found for found in self.board.ailments() if found.component == component), None)

    def wait_ailment(self, component: str, *, within_s: float = DEADLINE_S) -> Ailment:
        """Wait for the health page to say so."""
        found: Ailment = wait_for(lambda: self.ailment(component), within_s=within_s, why=self.board.report)
        return found

    def events(self, stream: str) -> pl.DataFrame:
        """All events of a stream in the journal's order."""
        pages = [
            pl.DataFrame(pl.from_arrow(block.batch)).with_columns(epoch=block.epoch)
            for block in self.journal.read(stream)
        ]
        return pl.concat(pages) if pages else pl.DataFrame({"_op": [], "_key": [], "_note": []})

    def gaps(self, stream: str) -> list[dict[str, Any]]:
        """The gaps declared on a stream."""
        events = self.events(stream)
        return [json.loads(note) for note in events.filter(pl.col("_op") == Op.GAP)["_note"].to_list()]

    def wait_gap(self, stream: str) -> dict[str, Any]:
        """Wait for a gap; the newest of the stream."""
        with Waits() as waits:
            began = time.monotonic()
            gaps = wait_for(lambda: self.gaps(stream), why=self.board.report)
            assert time.monotonic() - began <= DECLARED_WITHIN_S + waits.so_far_s()
        newest: dict[str, Any] = gaps[-1]
        return newest

    def wait_reached(self, position: int) -> None:
        """Wait until the journal holds everything before this LSN."""
        wait_for(lambda: self.flow.position and self.flow.position.at[0] >= position, why=self.board.report)

    def wait_reported(self) -> None:
        """Wait until the server knows what the journal holds."""
        wait_for(lambda: self.flow.position is not None and self.source._reported >= self.flow.position.at[0])

    def replayed(self, stream: str) -> dict[int, tuple[int, str | None, int | None]]:
        """The rows a reader of all events ends up with."""
        rows: dict[int, tuple[int, str | None, int | None]] = {}
        events = self.events(stream)
        if not events.height:
            return rows
        for op, number, name, amount in events.select("_op", "id", "name", "amount").iter_rows():
            if op == Op.TRUNCATE:
                rows.clear()
            elif op == Op.DELETE:
                rows.pop(number, None)
            elif op != Op.GAP:
                rows[number] = (number, name, amount)
        return rows

    def table(self, stream: str) -> dict[int, tuple[int, str | None, int | None]]:
        """The rows the legacy table holds."""
        return {row[0]: (row[0], row[1], row[2]) for row in self.database.sql(f"SELECT * FROM shop.{stream}")}

    def is_level(self, *streams: str) -> bool:
        """Whether the journal says what the tables hold."""
        return all(self.replayed(stream) == self.table(stream) for stream in streams or self.streams)

    def wait_level(self, *streams: str, within_s: float = DEADLINE_S) -> None:
        """Wait until the journal says what the tables hold."""
        wait_for(lambda: self.is_level(*streams), within_s=within_s, why=self.board.report)

    def wait_loaded(self) -> None:
        """Wait until every re-read is complete."""
        wait_for(self._is_loaded, why=self.board.report)

    def _is_loaded(self) -> bool:
        rereads = self.journal.position("erp")[1].get("snapshots", {})
        return bool(rereads) and all(reread["phase"] == "done" for reread in rereads.values())

    def doubled(self, stream: str) -> list[tuple[Any, ...]]:
        """Changes that are in the journal more than once."""
        changes = self.events(stream).filter(pl.col("_snapshot").is_null() & (pl.col("_op") != Op.GAP))
        counts = Counter(changes.select("epoch", "_position", "_tx_index", "_op", "_key").iter_rows())
        return [change for change, count in counts.items() if count > 1]
