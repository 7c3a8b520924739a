"""First load of 1 M rows while the legacy application updates 500 of them a second."""

import contextlib
import time
from collections.abc import Iterator

import numpy as np

from bench import daemon, program, source
from bench.claim import Claim, Measure, Readers, Sample, Target

ROWS = 1_000_000
RATE = 500


def follow_rows(running: daemon.Daemon, rows: int, *, began_at: float) -> float:
    """Rows per second until each is in the journal, by the journal's own clock.

    A row that is updated meanwhile may come as that update alone: what counts is that its key is there.
    """
    journal = running.journal()
    present = np.zeros(rows + 1, np.bool_)
    after = 0
    for _ in running.looks(every_s=0.25):
        for block in journal.read(daemon.STREAM, after=after):
            present[block.batch.column("id").to_numpy()] = True
            after = block.last
            if np.count_nonzero(present) >= rows:  # asked here: with updates going on, reading itself never ends
                journal.close()
                return rows / (block.journalled_at.timestamp() - began_at)
    raise AssertionError


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """A table of a million orders, at rest."""
    rows = source.scaled(ROWS)
    with source.serving() as erp:
        erp.fill(rows, rows_per_transaction=10_000)
        erp.database.sql("VACUUM ANALYZE sales.orders")

        def ours() -> Sample:
            name = f"snapshot_{time.monotonic_ns()}"
            try:
                with source.updating(erp.dsn, RATE), daemon.running(erp.dsn, name, snapshot="initial") as running:
                    began_at = daemon.attached(running, erp.dsn, name)
                    return Sample({"rate": follow_rows(running, rows, began_at=began_at)}, running.peak.rss_mb)
            finally:
                erp.drop_slot(name)

        def limit() -> Sample:
            with source.updating(erp.dsn, RATE):
                return program.measure("bench.receive", "copy", erp.dsn, "-", str(rows))

        def peer() -> Sample:
            name = f"snapshot_{time.monotonic_ns()}"
            try:
                with source.updating(erp.dsn, RATE):
                    return program.measure("bench.debezium", "snapshot", erp.dsn, name, str(rows))
            finally:
                erp.drop_slot(name)

        yield Readers(ours, limit=limit, peer=peer, notes=(*source.notes(), f"{RATE} updates/s meanwhile"))


CLAIM = Claim(
    name="pg_snapshot",
    about=f"1 M rows re-read while {RATE} updates/s go on",
    measures=(Measure("rate", "rows/s", Target(of_limit=0.4)),),
    open=prepare,
)
