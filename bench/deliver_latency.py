"""From a COMMIT that has returned at the source to the signed request of a webhook that has come in.

Open loop, 200 transactions a second for 60 s; writer, daemon and receiver are processes of their own. For comparison,
Sequin publishes 55 ms on average and 253 ms for the 99th of a hundred.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import daemon, source
from bench.answering import answering
from bench.claim import Claim, Measure, Readers, Sample, Target
from bench.pg_latency import fresh_slot, latencies_ms, quantiles, read_times, writing

RATE = 200
SECONDS = 60


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """A server with an empty order table."""
    count = source.scaled(RATE * SECONDS)
    with source.serving() as erp, tempfile.TemporaryDirectory(prefix="legacy-bridge-bench-") as name:
        returned, seen = Path(name) / "returned", Path(name) / "seen"

        def ours() -> Sample:
            with fresh_slot(erp) as slot:
                with (
                    answering(str(seen)) as url,
                    daemon.running(erp.dsn, slot, sinks={"crm": daemon.webhook(url)}) as running,
                    writing(erp.dsn, slot, returned, rate=RATE, count=count) as writer,
                ):
                    daemon.delivered(running, "crm", count)
                    writer.wait()
                return Sample(quantiles(latencies_ms(read_times(returned), read_times(seen))), running.peak.rss_mb)

        yield Readers(ours, notes=(*source.notes(), f"{RATE} tx/s, {count} tx"))


CLAIM = Claim(
    name="deliver_latency",
    about=f"COMMIT returns to webhook received, {RATE} tx/s",
    measures=(Measure("p50", "ms", Target(at_most=15)), Measure("p99", "ms", Target(at_most=50))),
    open=prepare,
)
