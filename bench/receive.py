"""The limit: receive a replication stream, or a COPY, and throw it away.

``python -m bench.receive stream|drain|recvlogical|copy DSN SLOT ROWS`` prints ``{"rate": rows per second}``. The rate
is that of the rows after the first, from its arrival to the arrival of the last; `recvlogical`, which cannot be asked
for that, is timed as a whole.
"""

import contextlib
import json
import subprocess
import sys
import time

import numpy as np
import psycopg
from psycopg import pq

from bench.source import PUBLICATION, TABLE
from bridge.postgres.copying import Received
from bridge.sources.postgres.wire import Wire
from demo.server import VERSIONS

XLOG_DATA = ord("w")
INSERT = ord("I")
DRAIN_BYTES = 8 << 20
LINGER_S = 0.001
MESSAGE = 25  # where the message begins: kind, start and end position, clock


def receive_stream(dsn: str, slot: str, rows: int) -> float:
    """Receive so many inserts over psycopg's libpq wrapper."""
    options = "replication=database options='-c wal_sender_timeout=0'"
    connection = pq.PGconn.connect(f"{dsn} {options}".encode())
    plugin = f"proto_version '1', publication_names '{PUBLICATION}'"
    started = connection.exec_(f"START_REPLICATION SLOT {slot} LOGICAL 0/0 ({plugin})".encode())
    if started.status != pq.ExecStatus.COPY_BOTH:
        raise RuntimeError(connection.get_error_message())
    seen, first_at = 0, 0.0
    while seen < rows:
        _, payload = connection.get_copy_data(0)
        if payload[0] == XLOG_DATA and payload[MESSAGE] == INSERT:
            seen += 1
            if seen == 1:
                first_at = time.perf_counter()
    seconds = time.perf_counter() - first_at
    connection.finish()
    return (rows - 1) / seconds


def receive_by_drain(dsn: str, slot: str, rows: int) -> float:
    """Receive so many inserts as the bridge does, with nothing behind it: a server that need not wake its reader for
    every message sends faster.
    """  # noqa: D205  one sentence
    with contextlib.closing(psycopg.connect(f"{dsn} replication=database", autocommit=True)) as connection:
        wire = Wire(connection)
        wire.replicate(slot, 0, (PUBLICATION,))
        seen, started = 0, 0.0
        while seen < rows:
            received = Received()
            wire.drain(received, DRAIN_BYTES)
            run = received.run()
            if run is None:
                time.sleep(LINGER_S)
                continue
            started = started or time.perf_counter()
            seen += int(np.count_nonzero(run.buffer[np.minimum(run.starts + MESSAGE, run.buffer.size - 1)] == INSERT))
        return rows / (time.perf_counter() - started)


def receive_by_tool(dsn: str, slot: str, rows: int) -> float:
    """Let pg_recvlogical write the stream to /dev/null."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    if row is None:
        raise RuntimeError("the server has no position")
    tool = next(folder / "pg_recvlogical" for folder in VERSIONS.values() if (folder / "pg_recvlogical").exists())
    command = [str(tool), "--dbname", dsn, "--slot", slot, "--start", "--file", "/dev/null", "--no-loop"]
    command += ["--endpos", row[0], "-o", "proto_version=1", "-o", f"publication_names={PUBLICATION}"]
    started = time.perf_counter()
    subprocess.run(command, check=True)
    return rows / (time.perf_counter() - started)


def receive_copy(dsn: str, _slot: str, rows: int) -> float:
    """COPY the table to nowhere."""
    with (
        psycopg.connect(dsn) as connection,
        connection.cursor() as cursor,
        cursor.copy(f"COPY {TABLE} TO STDOUT".encode()) as copy,
    ):
        started = time.perf_counter()
        for _ in copy:
            pass
        return rows / (time.perf_counter() - started)


WAYS = {"stream": receive_stream, "drain": receive_by_drain, "recvlogical": receive_by_tool, "copy": receive_copy}

if __name__ == "__main__":
    way, dsn, slot, rows = sys.argv[1:]
    print(json.dumps({"rate": WAYS[way](dsn, slot, int(rows))}))
