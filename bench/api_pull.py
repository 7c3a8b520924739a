"""One client pulls a whole stream by pages, as JSON and as Arrow; the peer serves the same rows one by one."""

import contextlib
import http.client
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import shop
from bench.claim import Claim, Measure, Readers, Sample, Target
from bench.source import scaled
from bridge.journal.sqlite import SqliteJournal

EVENTS = 1_000_000
PEER_EVENTS = 30_000
FORMATS = ("json", "arrow")


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """A full journal, and the three ways through it."""
    count = scaled(EVENTS)
    with tempfile.TemporaryDirectory(prefix="bench-door-") as name:
        folder = Path(name)
        shop.fill(folder, count)

        def ours() -> Sample:
            with shop.serving(folder) as served:
                rates = {form: count / pull(served.port, served.key, form, count) for form in FORMATS}
                return Sample(rates, served.peak.rss_mb)

        def limit() -> Sample:
            rate = count / read(folder, count)
            return Sample(dict.fromkeys(FORMATS, rate))

        def peer() -> Sample:
            from bench.api_peer import serving  # noqa: PLC0415  of the bench extra

            wanted = min(count, PEER_EVENTS)
            with serving(folder) as port:
                rate = wanted / pull(port, "", "json", wanted, limit=10_000)
                return Sample(dict.fromkeys(FORMATS, rate))

        yield Readers(
            ours,
            limit=limit,
            peer=peer,
            notes=("limit: the journal's blocks alone", "peer: FastAPI and pydantic, a model a row, pages of 10,000"),
        )


def read(folder: Path, count: int) -> float:
    """Seconds to read the journal and throw the blocks away."""
    with contextlib.closing(SqliteJournal.open(folder / "journal.db", owner=False)) as journal:
        began_at = time.perf_counter()
        found = sum(block.batch.num_rows for block in journal.read("orders"))
        elapsed_s = time.perf_counter() - began_at
    if found != count:
        raise RuntimeError(f"{found} of {count} events were read")
    return elapsed_s


def pull(port: int, key: str, form: str, count: int, *, limit: int = 100_000) -> float:
    """Seconds to pull so many events by pages on one connection; the bodies are thrown away."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    after, buffer = 0, memoryview(bytearray(1 << 20))
    connection.request("GET", "/v1/streams", headers={"Authorization": f"Bearer {key}"})  # before time counts
    connection.getresponse().read()
    began_at = time.perf_counter()
    while after < count:
        path = f"/v1/streams/orders/events?after={after}&limit={limit}&format={form}"
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise RuntimeError(f"{response.status}: {response.read()[:300]!r}")
        while response.readinto(buffer):
            pass
        after = int(response.headers["x-bridge-next"])
    elapsed_s = time.perf_counter() - began_at
    connection.close()
    return elapsed_s


CLAIM = Claim(
    name="api_pull",
    about=f"{EVENTS:,} events pulled through the HTTP door by one client",
    measures=(
        Measure("json", "events/s", Target(of_peer=10, at_least=200_000)),
        Measure("arrow", "events/s", Target(of_peer=10, at_least=1_000_000)),
    ),
    open=prepare,
)
