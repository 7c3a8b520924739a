"""Ours: the real daemon as a process, watched from outside through its journal.

A claim sees of the daemon what any consumer sees: the journal, opened for reading by another process.
"""

import base64
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg
import yaml
from psycopg.conninfo import conninfo_to_dict

from bench.memory import Peak, watched
from bridge.errors import JournalUnavailable
from bridge.journal.sqlite import SqliteJournal

STREAM = "orders"
SECRET = "BENCH_SECRET"  # noqa: S105  the name of a variable
TIMEOUT_S = 1800.0
EVERY_S = 0.005  # between looks at the journal
ACTIVE = "SELECT FROM pg_replication_slots WHERE slot_name = %s AND active"
HERE = Path(__file__).parent
COMMAND = Path(sys.executable).parent / "legacy-bridge"


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon and its journal."""

    process: subprocess.Popen[bytes]
    folder: Path
    peak: Peak
    started_at: float  # time.time, just before its command
    environment: Mapping[str, str]  # its own, for commands beside it

    def journal(self) -> SqliteJournal:
        """Its journal, for reading, as soon as it exists."""
        for _ in self.looks():
            with contextlib.suppress(JournalUnavailable):
                return SqliteJournal.open(self.folder / "journal.db", owner=False)
        raise AssertionError

    def looks(self, every_s: float = EVERY_S) -> Iterator[None]:
        """Repeat at intervals. Raises: RuntimeError when the daemon ended or nothing came in time."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            yield
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = (self.folder / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the daemon ended ({self.process.returncode}) or stands still:\n{log}")
            time.sleep(every_s)


@contextlib.contextmanager
def running(
    dsn: str,
    slot: str,
    *,
    snapshot: str = "never",
    sinks: Mapping[str, Any] = MappingProxyType({}),
    config: str = "bridge.yaml",
    files: tuple[str, ...] = ("orders.odcs.yaml",),
) -> Iterator[Daemon]:
    """A daemon with an empty journal that reads the order table and sends to sinks; killed and removed at the end."""
    server = conninfo_to_dict(dsn)
    overrides = {
        "BRIDGE_SYSTEMS__ERP__POSTGRES__HOST": str(server["host"]),
        "BRIDGE_SYSTEMS__ERP__POSTGRES__PORT": str(server["port"]),
        "BRIDGE_SYSTEMS__ERP__POSTGRES__SLOT": slot,
    } | ({"BRIDGE_STREAMS__ORDERS__SNAPSHOT": snapshot} if config == "bridge.yaml" else {})
    with tempfile.TemporaryDirectory(prefix="legacy-bridge-bench-") as name:
        folder = Path(name)
        shutil.copy(HERE / config, folder / "bridge.yaml")
        for file in files:
            shutil.copy(HERE / file, folder)
        if sinks:
            with (folder / "bridge.yaml").open("a") as settings:
                yaml.safe_dump({"sinks": dict(sinks)}, settings)
        with (folder / "log").open("wb") as log:
            started_at = time.time()
            overrides[SECRET] = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
            command = [str(COMMAND), "run", "--config", str(folder / "bridge.yaml")]
            environment = os.environ | overrides
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            with watched(process.pid) as peak:
                yield Daemon(process, folder, peak, started_at, environment)
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class Look:
    """How many events were journalled when."""

    events: int
    at: float  # time.time
    rss_mb: float  # peak so far


def follow(daemon: Daemon, events: int) -> list[Look]:
    """Watch the journal grow to so many events; one look each time it has grown."""
    journal = daemon.journal()
    looks: list[Look] = []
    for _ in daemon.looks():
        extent = journal.extents().get(STREAM)
        if extent is not None and extent.last > (looks[-1].events if looks else 0):
            looks.append(Look(extent.last, time.time(), daemon.peak.rss_mb))
        if looks and looks[-1].events >= events:
            break
    journal.close()
    return looks


def webhook(url: str) -> dict[str, Any]:
    """The section of a sink that sends signed webhooks to an endpoint of this machine."""
    return {"webhook": {"url": url, "secrets": [f"${{env:{SECRET}}}"], "allow_networks": ["127.0.0.0/8"]}}


def delivered(daemon: Daemon, sink: str, events: int) -> None:
    """Wait until a sink has so many events."""
    journal = daemon.journal()
    for _ in daemon.looks(every_s=0.05):
        if journal.cursor(sink, STREAM) >= events:
            break
    journal.close()


def attached(daemon: Daemon, dsn: str, slot: str) -> float:
    """When the daemon began to read its slot, by the clock of the machine: its start-up is over, nothing has been read.

    A window that is journalled whole holds what was received long before, so no rate may begin at the first window.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in daemon.looks(every_s=0.001):
            if connection.execute(ACTIVE, (slot,)).fetchone() is not None:
                return time.time()
    raise AssertionError
