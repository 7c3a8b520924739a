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

from bench import memory, waiting
from bridge import keys
from bridge.bell import Bell
from bridge.config.access import PrincipalConfig
from bridge.config.load import load
from bridge.contract import document
from bridge.health import HealthBoard
from bridge.journal.attempts import AttemptLog, beside
from bridge.journal.sqlite import SqliteJournal
from bridge.metrics import Metrics
from bridge.model import Commit
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


def fill(folder: Path, count: int) -> None:
    """Make a journal with so many events in the folder."""
    (folder / "bridge.yaml").write_text(CONFIG)
    waiting.fill(folder, count)


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
        maker, due_at = waiting.Maker(Path()), time.monotonic()
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
