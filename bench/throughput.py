"""A claim about draining a change log that was written beforehand: ours, the limit and the peer read the same bytes."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

from bench import daemon, debezium, program, source
from bench.claim import Readers, Sample


def draining(rows: int, *, rows_per_transaction: int) -> Callable[[], AbstractContextManager[Readers]]:
    """Prepare a change log of so many inserts, and the readers that drain it."""

    @contextlib.contextmanager
    def prepare() -> Iterator[Readers]:
        count = source.scaled(rows)
        with source.serving() as erp:
            erp.log(count, rows_per_transaction=rows_per_transaction)

            def outside(module: str, way: str) -> Sample:
                with erp.slot() as slot:
                    return program.measure(module, way, erp.dsn, slot, str(count))

            ways = {way: outside("bench.receive", way).values["rate"] for way in ("stream", "drain", "recvlogical")}
            fastest = max(ways, key=lambda way: ways[way])
            yield Readers(
                ours=lambda: draining_once(erp, count),
                limit=lambda: outside("bench.receive", fastest),
                peer=lambda: outside("bench.debezium", "stream"),
                notes=(
                    *source.notes(),
                    "limit: "
                    + ", ".join(f"{way} {rate:,.0f}/s" for way, rate in ways.items())
                    + f"; {fastest} is taken",
                    "peer: " + ", ".join(f"{name}={value}" for name, value in debezium.TUNING.items()),
                    f"peer's Java: {' '.join(debezium.JVM)}",
                ),
            )

    return prepare


def draining_once(erp: source.Source, count: int, *, sinks: Mapping[str, Any] = MappingProxyType({})) -> Sample:
    """Ours: rows a second that a daemon with these sinks journals from the prepared log."""
    with erp.slot() as slot, daemon.running(erp.dsn, slot, sinks=sinks) as running:
        began_at = daemon.attached(running, erp.dsn, slot)
        looks = daemon.follow(running, count)
        return Sample({"rate": count / (looks[-1].at - began_at)}, running.peak.rss_mb)
