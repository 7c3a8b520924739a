"""From a COMMIT that has returned to another process reading the change from the journal.

Open loop, 1,000 transactions a second for 60 s, writer and reader in processes of their own. The limit is what no
durable journal can do without: one fsync of one page.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import daemon, program, source
from bench.claim import Claim, Measure, Readers, Sample, Target

RATE = 1000
SECONDS = 60
FSYNCS = 1000


def quantiles(latencies_ms: list[float]) -> dict[str, float]:
    """The median and the 99th of a hundred."""
    cuts = statistics.quantiles(latencies_ms, n=100)
    return {"p50": cuts[49], "p99": cuts[98]}


def read_times(file: Path) -> dict[int, float]:
    """Order id -> time, from a file of ``id time`` lines."""
    return {int(number): float(at) for number, at in (line.split() for line in file.read_text().splitlines())}


def latencies_ms(returned: dict[int, float], seen: dict[int, float]) -> list[float]:
    """From COMMIT to sight of each order. Raises: RuntimeError when one was never seen."""
    if missing := returned.keys() - seen.keys():
        raise RuntimeError(f"{len(missing)} of {len(returned)} orders were never seen")
    return [max(0.0, seen[number] - at) * 1e3 for number, at in returned.items()]


@contextlib.contextmanager
def fresh_slot(erp: source.Source) -> Iterator[str]:
    """An empty table and a slot that reads what is written to it from now on."""
    erp.database.sql("TRUNCATE sales.orders")
    erp.database.sql("SELECT pg_create_logical_replication_slot('latency', 'pgoutput')")
    try:
        yield "latency"
    finally:
        erp.drop_slot("latency")


@contextlib.contextmanager
def writing(dsn: str, slot: str, file: Path, *, rate: int, count: int) -> Iterator[subprocess.Popen[bytes]]:
    """The writer's process; it begins when the slot has its reader."""
    arguments = [dsn, "insert", str(rate), str(count), str(file), slot]
    process = subprocess.Popen([sys.executable, "-m", "bench.writer", *arguments])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def read_journal(running: daemon.Daemon, count: int) -> dict[int, float]:
    """When each order could first be read from the journal."""
    journal, seen, after, version = running.journal(), dict[int, float](), 0, -1
    for _ in running.looks(every_s=0.0005):
        if (now := journal.version()) == version:
            continue
        version = now
        for block in journal.read(daemon.STREAM, after=after):
            at = time.monotonic()
            seen |= dict.fromkeys(block.batch.column("id").to_pylist(), at)
            after = block.last
        if len(seen) >= count:
            break
    journal.close()
    return seen


def fsync_once() -> Sample:
    """The limit: append one page and wait for the disk, again and again."""
    times = []
    with tempfile.TemporaryFile(prefix="legacy-bridge-bench-", buffering=0) as file:
        for _ in range(FSYNCS):
            started = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started) * 1e3)
    return Sample(quantiles(times))


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """A server with an empty order table; each reader sees the same orders written anew."""
    count = source.scaled(RATE * SECONDS)
    with source.serving() as erp, tempfile.TemporaryDirectory(prefix="legacy-bridge-bench-") as name:
        returned, seen = Path(name) / "returned", Path(name) / "seen"

        def ours() -> Sample:
            with fresh_slot(erp) as slot, daemon.running(erp.dsn, slot) as running:
                with writing(erp.dsn, slot, returned, rate=RATE, count=count) as writer:
                    read = read_journal(running, count)
                    writer.wait()
                return Sample(quantiles(latencies_ms(read_times(returned), read)), running.peak.rss_mb)

        def peer() -> Sample:
            with fresh_slot(erp) as slot, writing(erp.dsn, slot, returned, rate=RATE, count=count) as writer:
                sample = program.measure("bench.debezium", "stream", erp.dsn, slot, str(count), str(seen))
                writer.wait()
                latencies = latencies_ms(read_times(returned), read_times(seen))
                return Sample(quantiles(latencies), sample.peak_rss_mb)

        yield Readers(ours, limit=fsync_once, peer=peer, notes=(*source.notes(), f"{RATE} tx/s, {count} tx"))


CLAIM = Claim(
    name="pg_latency",
    about=f"COMMIT returns to journal read, {RATE:,} tx/s",
    measures=(Measure("p50", "ms", Target(at_most=5)), Measure("p99", "ms", Target(at_most=25))),
    open=prepare,
)
