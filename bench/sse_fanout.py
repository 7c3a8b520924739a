"""A thousand idle and fifty live clients while a thousand events a second are journalled."""

import asyncio
import contextlib
import re
import resource
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench import shop
from bench.claim import Claim, Measure, Readers, Sample, Target
from bench.source import scaled

IDLE, LIVE, PER_SECOND, SECONDS = 1_000, 50, 1_000, 10
TIMED = 5  # live clients whose events are timed; the others count theirs
_TIME = re.compile(rb'"time":"([^"]+)"')


@dataclass(slots=True)
class Counts:
    """What all clients saw."""

    events: int = 0
    delays_ms: list[float] = field(default_factory=list)


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """A journal with a few events to begin with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8_192)), hard))
    with tempfile.TemporaryDirectory(prefix="bench-door-") as name:
        shop.fill(Path(name), 1_000)

        def ours() -> Sample:
            with shop.serving(Path(name)) as served:
                counts = asyncio.run(_fan_out(served))
                expected = LIVE * PER_SECOND * SECONDS
                delays = sorted(counts.delays_ms)
                values = {
                    "p50": statistics.median(delays),
                    "p99": delays[int(len(delays) * 0.99)],
                    "delivered": counts.events / expected,
                }
                return Sample(values, served.peak.rss_mb)

        yield Readers(ours, notes=(f"{scaled(IDLE)} idle clients, {LIVE} live, {PER_SECOND} events/s, {SECONDS} s",))


async def _fan_out(served: shop.Shop) -> Counts:
    counts = Counts()
    idle = [await _connect(served, "quiet") for _ in range(scaled(IDLE))]
    live = [await _connect(served, "orders") for _ in range(LIVE)]
    readers = [asyncio.create_task(_follow(each[0], counts, timed=i < TIMED)) for i, each in enumerate(live)]
    served.sell(PER_SECOND)
    await asyncio.sleep(SECONDS)
    served.sell(0)
    await asyncio.sleep(1)  # for what is under way
    for reader in readers:
        reader.cancel()
    for _, writer in (*idle, *live):
        writer.close()
    return counts


async def _connect(served: shop.Shop, stream: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    head = f"GET /v1/streams/{stream}/events/live HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {served.key}\r\n\r\n"
    writer.write(head.encode())
    await reader.readuntil(b": welcome\n\n")
    return reader, writer


async def _follow(reader: asyncio.StreamReader, counts: Counts, *, timed: bool) -> None:
    while data := await reader.read(1 << 16):
        counts.events += data.count(b"\ndata: ")  # those cut in two are few, and not timed either
        if timed:
            now = datetime.now(UTC)
            counts.delays_ms += [
                (now - datetime.fromisoformat(at.decode())).total_seconds() * 1e3 for at in _TIME.findall(data)
            ]


CLAIM = Claim(
    name="sse_fanout",
    about="1,000 idle and 50 live clients at 1,000 events/s; from before the commit to the client",
    measures=(
        Measure("p50", "ms"),
        Measure("p99", "ms", Target(at_most=50)),
        Measure("delivered", "of all", Target(at_least=0.98)),
    ),
    open=prepare,
)
