"""A stream of 1 M rows compared with its table, 0.01 % of them lost to the stream, while 200 updates/s go on.

Two measures: the comparison itself beside the reading of both sides, by the same readers and without any start-up; and
the command as a whole beside the peer's.

``python -m bench.compare DSN FOLDER ROWS`` reads both sides once, one after the other, and prints rows per second.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from bench import daemon, polling, program, source
from bench.claim import Claim, Measure, Readers, Sample, Target
from bench.memory import watched
from bridge.extractors import PAGE_ROWS
from bridge.journal.sqlite import SqliteJournal

ROWS = 1_000_000
RATE = 200
LOST_EVERY = 10_000
COPY = "sales.orders_there"
# An update since brings the row whole, and the loss is none any more.
LEFT = f"""
SELECT count(*) FROM {source.TABLE} JOIN generate_series({LOST_EVERY}, %s, {LOST_EVERY}) id USING (id)
WHERE updated_at < timestamptz '2021-01-01'
"""  # noqa: S608  names of ours
RELADIFF = Path(sys.executable).parent / "reladiff"


def lose(dsn: str) -> None:
    """Changes that the change log does not bring: the table is out of the publication for a transaction."""
    with psycopg.connect(dsn) as connection:
        connection.execute(f"ALTER PUBLICATION {source.PUBLICATION} DROP TABLE {source.TABLE}".encode())
        connection.execute(f"UPDATE {source.TABLE} SET note = 'lost' WHERE id % {LOST_EVERY} = 0".encode())  # noqa: S608  names of ours
        connection.execute(f"ALTER PUBLICATION {source.PUBLICATION} ADD TABLE {source.TABLE}".encode())


def lost(dsn: str, rows: int) -> int:
    """How many rows the stream still holds as they were before the loss."""
    with psycopg.connect(dsn) as connection:
        found = connection.execute(LEFT.encode(), (rows,)).fetchone()
    return int(found[0]) if found is not None else 0


def compare(running: daemon.Daemon, dsn: str, rows: int) -> Sample:
    """Ours. Raises: RuntimeError when it finds anything but the loss."""
    most = lost(dsn, rows)
    command = [str(daemon.COMMAND), "--config", str(running.folder / "bridge.yaml"), "compare", "orders", "--json"]
    started = time.perf_counter()
    with subprocess.Popen(command, env=dict(running.environment), stdout=subprocess.PIPE) as process:
        with watched(process.pid) as peak:
            out, _ = process.communicate()
        took_s = time.perf_counter() - started
    said = json.loads(out)
    found, least = len(said["differences"]), lost(dsn, rows)
    if not least <= found <= most or said["unsettled"]:
        raise RuntimeError(f"{found} differences, {len(said['unsettled'])} unsettled keys; {least} to {most} are lost")
    return Sample({"rate": rows / said["seconds"], "command": rows / took_s}, peak.rss_mb)


def read_both(dsn: str, folder: Path, rows: int) -> float:
    """The limit: rows per second of reading the table's pages, then the journal's blocks, which are thrown away."""
    table_s = rows / polling.extract(dsn, source.TABLE, "rows", page_rows=PAGE_ROWS)
    journal = SqliteJournal.open(folder / "journal.db", owner=False)
    started = time.perf_counter()
    read = sum(block.batch.num_rows for block in journal.read(daemon.STREAM))
    journal_s = time.perf_counter() - started
    journal.close()
    if read < rows:
        raise RuntimeError(f"the journal holds {read} events")
    return rows / (table_s + journal_s)


def reladiff(dsn: str, rows: int) -> Sample:
    """The peer: the table and a copy of it on the same server, in which the same rows differ."""
    given = conninfo_to_dict(dsn)
    url = f"postgresql://{given['user']}@{given['host']}:{given['port']}/{given['dbname']}"
    with psycopg.connect(dsn) as connection:
        described = connection.execute(f"SELECT * FROM {source.TABLE} LIMIT 0".encode()).description or ()  # noqa: S608  a name of ours
    columns = [part for column in described if column.name != "id" for part in ("-c", column.name)]
    command = [str(RELADIFF), url, source.TABLE, url, COPY, "-k", "id", *columns, "--stats"]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    if "rows" not in done.stdout:
        raise RuntimeError(f"reladiff says: {done.stdout}{done.stderr}")
    return Sample({"command": rows / (time.perf_counter() - started)})


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """A journalled table with a loss in it."""
    rows = source.scaled(ROWS)
    with source.serving() as erp:
        erp.fill(rows, rows_per_transaction=10_000)
        with daemon.running(erp.dsn, "compared", snapshot="initial") as running:
            daemon.follow(running, rows)
            erp.database.sql(f"CREATE TABLE {COPY} AS TABLE {source.TABLE}; ALTER TABLE {COPY} ADD PRIMARY KEY (id)")
            lose(erp.dsn)
            erp.database.sql("VACUUM ANALYZE")
            with source.updating(erp.dsn, RATE):
                yield Readers(
                    ours=lambda: compare(running, erp.dsn, rows),
                    limit=lambda: program.measure("bench.compare", erp.dsn, str(running.folder), str(rows)),
                    peer=lambda: reladiff(erp.dsn, rows),
                    notes=(
                        *source.notes(),
                        f"{RATE} updates/s meanwhile",
                        "no budget; peer: reladiff, every column as ours",
                    ),
                )


CLAIM = Claim(
    name="compare",
    about=f"1 M rows compared with their stream, 0.01 % different, under {RATE} updates/s",
    measures=(
        Measure("rate", "rows/s", Target(of_limit=1 / 1.5)),
        Measure("command", "rows/s", Target(of_peer=1.0)),
    ),
    open=prepare,
)

if __name__ == "__main__":
    print(json.dumps({"rate": read_both(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))}))
