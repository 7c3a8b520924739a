"""First run of a view over 1 M rows of 12 columns: read, held to the contract, journalled."""

import contextlib
import subprocess
import time
from collections.abc import Iterator

import psycopg

from bench import daemon, program, source
from bench.claim import Claim, Measure, Readers, Sample, Target
from demo.server import VERSIONS

ROWS = 1_000_000
SESSION = "SELECT FROM pg_stat_activity WHERE application_name = 'legacy-bridge/bench/views'"


def read_once(erp: source.Source, rows: int) -> Sample:
    """Ours: rows a second from the first sight of the bridge's session until all are journalled."""
    with daemon.running(erp.dsn, "none", config="view.yaml", files=("orders.sql", "orders.odcs.yaml")) as running:
        began_at = seen(running, erp.dsn)
        looks = daemon.follow(running, rows)
        return Sample({"rate": rows / (looks[-1].at - began_at)}, running.peak.rss_mb)


def seen(running: daemon.Daemon, dsn: str) -> float:
    """When the daemon's session for views was there."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in running.looks(every_s=0.001):
            if connection.execute(SESSION).fetchone() is not None:
                return time.time()
    raise AssertionError


def throw_away(dsn: str, rows: int) -> Sample:
    """The limit: psql's COPY to nowhere, timed as a whole."""
    psql = next(folder / "psql" for folder in VERSIONS.values() if (folder / "psql").exists())
    command = [str(psql), "--no-psqlrc", "--dbname", dsn, "--command", f"COPY {source.TABLE} TO STDOUT"]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Sample({"rate": rows / (time.perf_counter() - started)})


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """A table of a million orders, at rest."""
    rows = source.scaled(ROWS)
    with source.serving() as erp:
        erp.fill(rows, rows_per_transaction=10_000)
        erp.database.sql("VACUUM ANALYZE sales.orders")
        ways = {way: peer(way, erp.dsn, rows).values["rate"] for way in ("connectorx", "adbc", "dlt", "dlt-connectorx")}
        best = max(("dlt", "dlt-connectorx"), key=lambda way: ways[way])
        yield Readers(
            ours=lambda: read_once(erp, rows),
            limit=lambda: throw_away(erp.dsn, rows),
            peer=lambda: peer(best, erp.dsn, rows),
            notes=(
                *source.notes(),
                "parse only: " + ", ".join(f"{way} {ways[way]:,.0f}/s" for way in ("connectorx", "adbc")),
                "peers, to Parquet: " + ", ".join(f"{way} {ways[way]:,.0f}/s" for way in ("dlt", "dlt-connectorx"))
                + f"; {best} is taken",
            ),
        )  # fmt: skip


def peer(way: str, dsn: str, rows: int) -> Sample:
    """One of the peers, in a process of its own."""
    return program.measure("bench.view_peer", way, dsn, str(rows))


CLAIM = Claim(
    name="view_pg",
    about="1 M rows x 12 read by a view, through the contract, journalled",
    measures=(Measure("rate", "rows/s", Target(of_limit=0.4, of_peer=2.0, rss_mb=512)),),
    open=prepare,
)
