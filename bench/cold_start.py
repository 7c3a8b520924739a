"""From the command to the first journalled event, with a slot that is there and a change that waits."""

import contextlib
import time
from collections.abc import Iterator

from bench import daemon, program, source
from bench.claim import Claim, Measure, Readers, Sample, Target


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """A change log of one row."""
    with source.serving() as erp:
        erp.log(1, rows_per_transaction=1)

        def ours() -> Sample:
            with erp.slot() as slot, daemon.running(erp.dsn, slot) as running:
                looks = daemon.follow(running, 1)
                return Sample({"seconds": looks[0].at - running.started_at}, running.peak.rss_mb)

        def peer() -> Sample:
            with erp.slot() as slot:
                started_at = time.perf_counter()
                sample = program.measure("bench.debezium", "stream", erp.dsn, slot, "1")
                return Sample({"seconds": time.perf_counter() - started_at}, sample.peak_rss_mb)

        yield Readers(ours, peer=peer)


CLAIM = Claim(
    name="cold_start",
    about="from the command to the first event in the journal",
    measures=(Measure("seconds", "s", Target(at_most=1.5)),),
    open=prepare,
    rounds=5,
)
