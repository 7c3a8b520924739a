"""The legacy side of a claim: a tuned server, a 12-column order table, and a change log written beforehand.

Every reader gets a slot of its own, copied from one base slot, so that all of them read the same bytes from the same
position.
"""

import contextlib
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from demo.server import Database, PostgresServer

SETTINGS = {
    "checkpoint_timeout": "1h",
    "logical_decoding_work_mem": "256MB",
    "max_slot_wal_keep_size": "60GB",
    "max_wal_size": "16GB",
    "shared_buffers": "512MB",
    "wal_buffers": "64MB",
}
TABLE = "sales.orders"
UPDATING_S = 1_800  # at most
PUBLICATION = "legacy_bridge"
READER = "bridge_ro"
END_READER = "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = %s AND active"
DROP_SLOT = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
_NAMES = itertools.count(1)

SCHEMA = """
CREATE SCHEMA sales;
CREATE TABLE sales.orders (
  id bigint PRIMARY KEY, customer_no text NOT NULL, status char(2) NOT NULL, amount numeric(12,2) NOT NULL,
  currency char(3) NOT NULL, order_date date NOT NULL, created_at timestamp NOT NULL, qty int NOT NULL, note text,
  flag boolean, weight double precision, updated_at timestamptz);
CREATE PUBLICATION legacy_bridge FOR TABLE sales.orders;
CREATE PUBLICATION legacy_bridge_inserts WITH (publish = 'insert');
CREATE ROLE bridge_ro LOGIN REPLICATION;
GRANT USAGE ON SCHEMA sales TO bridge_ro;
GRANT SELECT ON sales.orders TO bridge_ro;
CREATE PROCEDURE sales.fill(rows bigint, step bigint) LANGUAGE plpgsql AS $$ BEGIN
  FOR start IN 1..rows BY step LOOP
    INSERT INTO sales.orders
    SELECT n, 'C' || lpad((n % 50000)::text, 7, '0'), (ARRAY['OP','CH','SH','CX'])[1 + n % 4], (n % 1000000) / 100.0,
           (ARRAY['USD','EUR','CAD'])[1 + n % 3], date '2020-01-01' + (n % 2000)::int,
           timestamp '2020-01-01 08:00' + n * interval '1 second', 1 + n % 500,
           CASE WHEN n % 3 = 0 THEN 'leave at gate ' || n END, n % 2 = 0, n / 7.0,
           timestamptz '2020-01-01 08:00+00' + n * interval '1 second'
    FROM generate_series(start, least(start + step - 1, rows)) n;
    COMMIT;
  END LOOP;
END $$;
"""


def scaled(count: int) -> int:
    """A size as the environment asks for it: BENCH_SCALE=0.01 makes it a hundredth."""
    return max(1, int(count * float(os.environ.get("BENCH_SCALE", "1"))))


@dataclass(frozen=True, slots=True)
class Source:
    """A server with the order table."""

    database: Database

    @property
    def dsn(self) -> str:
        """As superuser, who writes."""
        return self.database.dsn

    def fill(self, rows: int, *, rows_per_transaction: int) -> None:
        """Append rows 1..rows to the empty table in transactions of equal size."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("SET synchronous_commit = off")
            connection.execute("CALL sales.fill(%s, %s)", (rows, rows_per_transaction))

    def log(self, rows: int, *, rows_per_transaction: int) -> None:
        """Write a change log of so many inserts behind the base slot, and let the server come to rest."""
        self.database.sql("SELECT pg_create_logical_replication_slot('base', 'pgoutput')")
        self.fill(rows, rows_per_transaction=rows_per_transaction)
        self.database.sql("VACUUM ANALYZE sales.orders")
        self.database.sql("CHECKPOINT")

    @contextlib.contextmanager
    def slot(self) -> Iterator[str]:
        """A slot of one's own at the base slot's position."""
        name = f"reader_{next(_NAMES)}"
        self.database.sql(f"SELECT pg_copy_logical_replication_slot('base', '{name}')")
        try:
            yield name
        finally:
            self.drop_slot(name)

    def drop_slot(self, name: str) -> None:
        """Drop a slot once its reader, which has ended or is told to, has let go of it; nothing when there is none."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for _ in range(1000):
                connection.execute(END_READER, (name,))
                with contextlib.suppress(psycopg.errors.ObjectInUse):
                    connection.execute(DROP_SLOT, (name,))
                    return
        raise RuntimeError(f"slot {name} is still in use")


@contextlib.contextmanager
def serving() -> Iterator[Source]:
    """A running tuned server with the empty order table."""
    with PostgresServer.start(settings=SETTINGS) as server:
        source = Source(server.create_database("bench"))
        source.database.sql(SCHEMA)
        yield source


@contextlib.contextmanager
def updating(dsn: str, rate: int) -> Iterator[None]:
    """The legacy application at work, with so many updates a second, while the block runs."""
    with tempfile.TemporaryDirectory(prefix="legacy-bridge-bench-") as folder:
        arguments = [dsn, "update", str(rate), str(rate * UPDATING_S), str(Path(folder) / "times")]
        process = subprocess.Popen([sys.executable, "-m", "bench.writer", *arguments])
        try:
            yield
        finally:
            process.kill()
            process.wait()


def notes() -> tuple[str, ...]:
    """The server's settings, for whoever repeats the measurement."""
    return ("server: " + ", ".join(f"{name}={value}" for name, value in SETTINGS.items()),)
