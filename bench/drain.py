"""A million events that wait for one sink: Parquet files, and JSON lines into /dev/null.

Ours is the delivery loop, which reads, selects, sends and stores progress. The limit is the same sink fed with the same
parcels one after the other: for Parquet the time of the sink's calls alone; for lines, where putting an event into
words is most of the work whoever does it, reading and rendering count too. `flat` is the peak memory of the second half
of the events over that of the first; the first half holds what a process takes to begin with.
"""

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import program, waiting
from bench.claim import Claim, Measure, Readers, Sample, Target
from bench.source import scaled
from bridge.deliver.feed import Feed, Look
from bridge.deliver.route import Route
from bridge.journal.sqlite import SqliteJournal
from bridge.parcel import Parcel, Progress
from bridge.ports import Sink
from bridge.routing import build_routes

EVENTS = 1_000_000
SINKS = ("parquet", "stdout")


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """A full journal for either sink."""
    with contextlib.ExitStack() as stack:
        folders = {}
        for sink in SINKS:
            folders[sink] = stack.enter_context(tempfile.TemporaryDirectory(prefix="legacy-bridge-bench-"))
            settings: dict[str, Any] = {"folder": "parquet"} if sink == "parquet" else {}
            waiting.configure(Path(folders[sink]), {sink: {sink: settings}})
            waiting.fill(Path(folders[sink]), scaled(EVENTS))

        def ours() -> Sample:
            samples = {sink: program.measure("bench.delivery", folders[sink], sink) for sink in SINKS}
            values = {sink: sample.values["rate"] for sink, sample in samples.items()}
            for sink, sample in samples.items():
                values |= {f"{sink} {half} half": sample.values[half] for half in ("first", "second")}
                values[f"{sink} flat"] = sample.values["flat"]
            return Sample(values, max(sample.peak_rss_mb for sample in samples.values()))

        def limit() -> Sample:
            samples = {sink: program.measure("bench.drain", folders[sink]) for sink in SINKS}
            return Sample({sink: sample.values["rate"] for sink, sample in samples.items()})

        notes = ("limit of parquet: the sink's calls alone", "limit of stdout: reading, rendering and the sink's calls")
        yield Readers(ours, limit=limit, notes=notes)


async def _limit(folder: Path) -> float:
    """Events a second that the folder's sink takes without a delivery loop."""
    route, sink = build_routes(*waiting.opened(folder))[0]
    look = route.looks[waiting.STREAM]
    shutil.rmtree(folder / "parquet", ignore_errors=True)
    with contextlib.closing(SqliteJournal.open(folder / "journal.db", owner=False)) as journal:
        await sink.open()
        try:
            return await _fed(sink, route, look, journal)
        finally:
            await sink.close()


async def _fed(sink: Sink, route: Route, look: Look, journal: SqliteJournal) -> float:
    feed = Feed(look, progress=Progress(), one_a_key=False)
    last, busy_s, other_s = 0, 0.0, 0.0
    while True:
        began_at = time.perf_counter()
        chunk = feed.read(journal, after=last, last=None, limit=route.batch_events, budget_bytes=route.read_bytes)
        if chunk is None:
            return last / (busy_s + other_s * (look.form != "columns"))
        read_at = time.perf_counter()
        await sink.send(Parcel(look.stream, chunk.messages, chunk.rows, chunk.lines))
        other_s += read_at - began_at
        busy_s += time.perf_counter() - read_at
        last = chunk.last


CLAIM = Claim(
    name="drain",
    about=f"{EVENTS:,} events waiting for one sink",
    measures=(
        *(Measure(sink, "events/s", Target(of_limit=0.6)) for sink in SINKS),
        *(Measure(f"{sink} flat", "second/first half", Target(at_most=1.1)) for sink in SINKS),
        *(Measure(f"{sink} {half} half", "MB") for sink in SINKS for half in ("first", "second")),
    ),
    open=prepare,
)

if __name__ == "__main__":
    answer = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    found = {"rate": asyncio.run(_limit(Path(sys.argv[1])))}
    os.write(answer, f"{json.dumps(found)}\n".encode())
