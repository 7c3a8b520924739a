"""What three receivers that are down cost reading the source: `pg_bulk` with them against `pg_bulk` without sinks."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from bench import daemon, source
from bench.answering import refusing
from bench.claim import Claim, Measure, Readers, Sample, Target
from bench.throughput import draining_once

ROWS = 1_000_000
DEAD = 3


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """A change log as `pg_bulk` has it."""
    count = source.scaled(ROWS)
    with source.serving() as erp, refusing() as url:
        erp.log(count, rows_per_transaction=10_000)
        dead: Mapping[str, Any] = {f"dead-{n}": daemon.webhook(url) for n in range(DEAD)}

        def ours() -> Sample:
            return draining_once(erp, count, sinks=dead)

        def limit() -> Sample:
            return draining_once(erp, count)

        yield Readers(ours, limit=limit, notes=(*source.notes(), f"limit: the same daemon without its {DEAD} sinks"))


CLAIM = Claim(
    name="ingest_with_dead_sinks",
    about="1 M rows in transactions of 10,000 while three webhooks refuse connections",
    measures=(Measure("rate", "rows/s", Target(of_limit=0.97)),),
    open=prepare,
)
