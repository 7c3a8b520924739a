"""Twenty endpoints, a request an event: one is dead, one answers after a second, the others must not feel it.

Ours is the delivery loop with real sinks: it signs, checks where it connects to, keeps keys in order, stores progress
and logs every attempt. The limit sends the same bodies to the same healthy endpoints with as many requests under way
and does none of it. The peer has a task an event, deferred beforehand, for the healthy endpoints only. All run as
processes of their own against the same server, which shares the machine with them.
"""

import asyncio
import contextlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx2

from bench import program, source, waiting
from bench.answering import answering, refusing
from bench.claim import Claim, Measure, Readers, Sample, Target
from demo.server import PostgresServer

EVENTS = 2_000  # for each endpoint
CONCURRENCY = 8  # requests under way to each
HEALTHY = tuple(f"healthy-{number:02}" for number in range(18))
IN_ALL = CONCURRENCY * len(HEALTHY)
HEADERS = {"content-type": "application/cloudevents+json; charset=UTF-8"}


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """A full journal twice, for all endpoints and for the healthy ones alone, a receiver and the peer's server."""
    count, names = source.scaled(EVENTS), itertools.count(1)
    with (
        tempfile.TemporaryDirectory(prefix="legacy-bridge-bench-") as all_, answering() as url,
        tempfile.TemporaryDirectory(prefix="legacy-bridge-bench-") as healthy, refusing() as dead,
        PostgresServer.start(settings=source.SETTINGS) as server,
    ):  # fmt: skip
        good = {name: sink(f"{url}/{name}", Path(healthy)) for name in HEALTHY}
        bad = {"dead": dead, "slow": f"{url}/slow"}
        waiting.configure(Path(healthy), good)
        waiting.configure(Path(all_), good | {name: sink(to, Path(healthy)) for name, to in bad.items()})
        for folder in (healthy, all_):
            waiting.fill(Path(folder), count)

        def ours() -> Sample:
            without = program.measure("bench.delivery", healthy, *HEALTHY)
            with_ = program.measure("bench.delivery", all_, *HEALTHY)
            share = with_.values["p99"] / without.values["p99"]
            return Sample({"rate": with_.values["rate"], "p99": share}, with_.peak_rss_mb)

        def limit() -> Sample:
            return program.measure("bench.webhook_out", healthy, url)

        def peer() -> Sample:
            return program.measure(
                "bench.webhook_peer", healthy, url, server.create_database(f"peer_{next(names)}").dsn
            )

        notes = (
            f"{count} events for each of {len(HEALTHY) + 2} endpoints, {CONCURRENCY} requests under way to each",
            f"limit: httpx2 {httpx2.__version__}, a client an endpoint",
            f"peer: procrastinate {metadata.version('procrastinate')}, one worker, {IN_ALL} tasks at once",
        )
        yield Readers(ours, limit=limit, peer=peer, notes=notes)


def sink(url: str, folder: Path) -> dict[str, Any]:
    """The section of a sink that sends to an endpoint of this machine, signed with the folder's secret."""
    secret = f"${{file:{folder / waiting.SECRET}}}"
    return {"webhook": {"url": url, "secrets": [secret], "allow_networks": ["127.0.0.0/8"]}}


async def _limit(folder: Path, url: str) -> float:
    texts = waiting.texts(folder)

    async def lane(client: httpx2.AsyncClient, to: str, share: Sequence[bytes]) -> None:
        for text in share:
            (await client.post(to, content=text, headers=HEADERS)).raise_for_status()

    async with contextlib.AsyncExitStack() as stack:
        lanes = []
        for name in HEALTHY:
            client = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False))
            lanes += [lane(client, f"{url}/{name}", texts[number::CONCURRENCY]) for number in range(CONCURRENCY)]
        began_at = time.perf_counter()
        await asyncio.gather(*lanes)
        return len(texts) * len(HEALTHY) / (time.perf_counter() - began_at)


CLAIM = Claim(
    name="webhook_out",
    about="20 endpoints, a request an event, one endpoint dead and one slow",
    measures=(
        Measure("rate", "events/s", Target(of_limit=0.5, of_peer=2)),
        Measure("p99", "with/without the bad two", Target(at_most=1.2)),
    ),
    open=prepare,
)

if __name__ == "__main__":
    print(json.dumps({"rate": asyncio.run(_limit(Path(sys.argv[1]), sys.argv[2]))}))
