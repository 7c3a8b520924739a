"""A door to measure: a journal full of orders, and a process of its own that serves it.

``python -m bench.shop FOLDER`` serves the folder's journal with a real gate and prints its port; every line on standard
input, a number, makes it journal so many events a second from then on. It ends with its input.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from bench import memory
from bench.contract_check import BATCH_ROWS, CONTRACT, SHAPE, order_batch
from bridge import keys
from bridge.bell import Bell
from bridge.config.access import PrincipalConfig
from bridge.config.load import load
from bridge.contract import document
from bridge.contract.compiled import CompiledContract, compile_contract
from bridge.health import HealthBoard
from bridge.journal.attempts import AttemptLog, beside
from bridge.journal.sqlite import SqliteJournal
from bridge.metrics import Metrics
from bridge.model import Commit, EventBatch
from bridge.web.app import Doorway
from bridge.web.authentication import Gatekeeper
from bridge.web.door import Door, Witness
from bridge.web.health import build
from bridge.web.keyring import KeyRing
from bridge.web.live import Feeds
from bridge.web.server import listen, serve

CONFIG = """
bridge: {name: bench, type_prefix: com.example, journal: {sqlite: journal.db}}
systems: {erp: {postgres: {}}}
streams:
  orders: {system: erp, log: sales.orders, contract: orders.odcs.yaml}
  quiet: {system: erp, log: sales.quiet, contract: orders.odcs.yaml}
"""
STREAMS = ("orders", "quiet")


@dataclass(slots=True)
class Shop:
    """A served journal."""

    port: int
    key: str
    pid: int
    orders: IO[str]  # its standard input
    peak: memory.Peak

    def sell(self, per_second: int) -> None:
        """Journal so many events a second from now on."""
        self.orders.write(f"{per_second}\n")
        self.orders.flush()


class Maker:
    """Makes batches of orders, each with numbers of its own."""

    def __init__(self) -> None:
        contract = compile_contract(document.load(Path("orders.odcs.yaml")), "orders", SHAPE)
        if not isinstance(contract, CompiledContract):
            raise TypeError("the bench's contract fits its table")
        self._batch = contract.check(order_batch(BATCH_ROWS)).events
        self._next = 1

    def make(self, count: int) -> EventBatch:
        """The next orders, committed now."""
        batch = self._batch.slice(0, count)
        numbers = np.arange(self._next, self._next + count)
        self._next += count
        now = pa.scalar(datetime.now(UTC), pa.timestamp("us", "UTC"))
        changed = {
            "_position": pa.array(numbers, pa.uint64()),
            "_commit_at": pa.repeat(now, count),
            "_key": pa.array(numbers).cast(pa.large_string()),
            "id": pa.array(numbers),
        }
        arrays = [changed.get(name, batch.column(name)) for name in batch.schema.names]
        return EventBatch("orders", 1, "1.0.0", pa.RecordBatch.from_arrays(arrays, schema=batch.schema))


def fill(folder: Path, count: int) -> None:
    """Make a journal with so many events in the folder."""
    (folder / "orders.odcs.yaml").write_text(CONTRACT)
    (folder / "bridge.yaml").write_text(CONFIG)
    with contextlib.chdir(folder), contextlib.closing(SqliteJournal.open(Path("journal.db"), owner=True)) as journal:
        maker = Maker()
        for start in range(0, count, BATCH_ROWS):
            journal.append(Commit(events=(maker.make(min(BATCH_ROWS, count - start)),)))


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Shop]:
    """Serve a folder from a process of its own."""
    command = [sys.executable, "-m", "bench.shop", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("pipes were asked for")
        try:
            port, key = process.stdout.readline().split()
            with memory.watched(process.pid) as peak:
                yield Shop(int(port), key, process.pid, process.stdin, peak)
        finally:
            process.stdin.close()
            process.wait(30)


def main() -> None:
    """Serve until standard input ends."""
    os.chdir(sys.argv[1])
    config = load(Path("bridge.yaml"))
    journal = SqliteJournal.open(config.bridge.journal.sqlite, owner=True)
    text, stored = keys.create("bench", now=datetime.now(UTC))
    journal.keep(keys.KIND, {stored.prefix: stored.to_kept()})
    bench = PrincipalConfig(streams=("*",), requests_per_minute=1_000_000, connections=5_000)
    board, bell = HealthBoard(), Bell()
    doorway = Doorway(build(board=board, metrics=Metrics(), alive=lambda: True, ready={}))
    doorway.swap(
        Door(
            config=config,
            documents={name: document.load(stream.contract) for name, stream in config.streams.items()},
            journal=journal,
            board=board,
            gate=Gatekeeper(journal, {"bench": bench}, ring=KeyRing(journal)),
            feeds=Feeds(journal, bell),
            witness=Witness(journal),
            attempts=AttemptLog(beside(Path("journal.db"))),
        )
    )
    listener, stop = listen("127.0.0.1", 0), threading.Event()
    server = threading.Thread(target=serve, args=(doorway, listener), kwargs={"stop": stop})
    server.start()
    pace = _Pace(journal, bell)
    pace.start()
    print(listener.getsockname()[1], text, flush=True)
    for line in sys.stdin:
        pace.per_second = int(line)
    pace.ended = stop
    stop.set()
    doorway.swap(None)
    server.join()
    pace.join()
    journal.close()


class _Pace(threading.Thread):
    """Journals what is due, in one commit, at a pace that may change."""

    def __init__(self, journal: SqliteJournal, bell: Bell) -> None:
        super().__init__(name="pace", daemon=True)
        self.per_second = 0
        self.ended = threading.Event()
        self._journal = journal
        self._bell = bell

    def run(self) -> None:
        """Until the end; what a slow commit made late is made up for at once."""
        maker, due_at = Maker(), time.monotonic()
        while not self.ended.is_set():
            if not self.per_second:
                due_at = time.monotonic() + 0.01
                self.ended.wait(0.01)
                continue
            count = int((time.monotonic() - due_at) * self.per_second)
            if not count:
                time.sleep(max(0.0, due_at + 1 / self.per_second - time.monotonic()))
                count = 1
            due_at += count / self.per_second
            self._journal.append(Commit(events=(maker.make(count),)))
            self._bell.ring()


if __name__ == "__main__":
    main()
