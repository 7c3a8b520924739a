"""The daemon as its own process on a real database, driven from outside: signals, files, pages and commands.

Every table has one shape: `shop.<stream> (id bigint PRIMARY KEY, name text, amount int)`. `Load` writes to it as a
legacy application would and keeps what the server acknowledged: the oracle for "nothing lost, nothing doubled".
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import polars as pl
import psycopg
import yaml

from bridge.journal.sqlite import SqliteJournal
from bridge.model import Op
from demo.processes import DIES_WITH_US, free_port
from demo.server import Database

DEADLINE_S = 60.0
PORTS = range(12_000, 20_000)  # apart from those of servers
LOGIN = "bridge_ro"
ROOT = Path(__file__).parents[1]
_CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: shop-{stream}
name: {stream}
version: {version}
status: active
description: {{purpose: What is on the shelf.}}
slaProperties:
  - {{property: errorRate, value: {error_percent}, unit: percent, description: Rows rejected.,
     customProperties: [{{property: bridge.validity_window, value: 1h}}]}}
schema:
  - name: {stream}
    physicalName: shop.{stream}
    logicalType: object
    description: One row per article.
    properties:
      - {{name: id, description: Its number., logicalType: integer, primaryKey: true, primaryKeyPosition: 1}}
      - {{name: name, description: What it is called., logicalType: string}}
      - {{name: amount, description: How many there are., logicalType: integer,
         logicalTypeOptions: {{minimum: {minimum}}},
         customProperties: [{{property: bridge.unit, value: piece}}]}}
"""


def wait_for(
    what: Callable[[], Any],
    *,
    within_s: float = DEADLINE_S,
    why: Callable[[], object] = lambda: "",
    every_s: float = 0.02,
) -> Any:  # noqa: ANN401  the answer
    """Ask until the answer is true; another process acts in its own time."""
    deadline = time.monotonic() + within_s
    while not (answer := what()):
        assert time.monotonic() < deadline, why()
        time.sleep(every_s)
    return answer


def prepare(database: Database, *streams: str) -> None:
    """What the DBA does once: tables, a login that may only read, a publication."""
    database.sql(
        f"DO $$ BEGIN CREATE ROLE {LOGIN} LOGIN REPLICATION; EXCEPTION WHEN duplicate_object OR unique_violation"
        f" THEN NULL; END $$; CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO {LOGIN}"
    )
    database.sql("CREATE PUBLICATION legacy_bridge")
    for stream in streams:
        add_table(database, stream)


def add_table(database: Database, stream: str) -> None:
    """One more table that the login may read."""
    database.sql(
        f"CREATE TABLE shop.{stream} (id bigint PRIMARY KEY, name text, amount int);"
        f" GRANT SELECT ON shop.{stream} TO {LOGIN}; ALTER PUBLICATION legacy_bridge ADD TABLE shop.{stream}"
    )


class Daemon:
    """A configuration in a folder of its own, and the daemon while it runs.

    Args:
        folder: for configuration, contracts, journal and log.
        database: the legacy one, `prepare`d.
        streams: tables below `shop`.
        journal: where the journal is, when not in the folder.
        stream: keys of every stream's section, over system, log and contract.
        level: of the log.

    Attributes:
        document: what `write` puts into bridge.yaml.
        environment: the daemon's.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        *streams: str,
        journal: Path | None = None,
        stream: Mapping[str, Any] | None = None,
        level: str = "info",
    ) -> None:
        self.folder = folder
        self.database = database
        self.path = folder / "bridge.yaml"
        self.port = free_port(PORTS)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        self.document: dict[str, Any] = {
            "bridge": {
                "name": "test",
                "type_prefix": "com.example",
                "journal": {"sqlite": str(journal or folder / "journal.db")},
                "http": {"port": self.port},
                "log": {"level": level, "format": "json"},
            },
            "systems": {
                "erp": {
                    "postgres": {
                        "host": database.server.host,
                        "port": database.server.port,
                        "database": database.name,
                        "user": LOGIN,
                        "slot": f"bridge_{database.name}",
                    },
                    "allow": ["public_temp", "unlimited_slot"],
                }
            },
            "streams": {},
        }
        self._stream = stream or {}
        self._process: subprocess.Popen[bytes] | None = None
        for name in streams:
            self.add_stream(name)
        self.write()

    # -- the files an operator writes

    def add_stream(self, name: str, **keys: Any) -> None:  # noqa: ANN401  keys of its section
        """One more stream, with a contract of its own; `write` makes the configuration say so."""
        self.write_contract(name)
        common = {"system": "erp", "log": f"shop.{name}", "contract": f"{name}.odcs.yaml"}
        self.document["streams"][name] = {**common, **self._stream, **keys}

    def write_contract(
        self, name: str, *, version: str = "1.0.0", minimum: int = 0, error_percent: float = 50, more: str = ""
    ) -> None:
        """A contract that rejects amounts below `minimum`; `more` follows its fields."""
        text = _CONTRACT.format(stream=name, version=version, minimum=minimum, error_percent=error_percent)
        (self.folder / f"{name}.odcs.yaml").write_text(text + more)

    def write(self) -> None:
        """The configuration file."""
        self.path.write_text(yaml.safe_dump(self.document, sort_keys=False))

    @property
    def slot(self) -> str:
        """The replication slot's name."""
        return str(self.document["systems"]["erp"]["postgres"]["slot"])

    @property
    def journal_file(self) -> Path:
        """Where events are kept."""
        return Path(self.document["bridge"]["journal"]["sqlite"])

    # -- the process

    def launch(self, *, failpoint: str | None = None, around: Sequence[str] = (), **environment: str) -> Self:
        """Start the daemon and return at once.

        Args:
            failpoint: where it is to die: `name` or `name:count`.
            around: a command that runs it.
            environment: more variables.
        """
        variables = self.environment | environment
        if failpoint is not None:
            name, _, count = failpoint.partition(":")
            variables["BRIDGE_FAILPOINT"] = f"{name}:crash@{count or 1}"
        command = [sys.executable, "-m", "bridge", "run", "--config", str(self.path)]
        dies_with_parent = list(DIES_WITH_US)
        with (self.folder / "daemon.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*dies_with_parent, *(around and [*around, *dies_with_parent]), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=variables,
            )
        return self

    def start(self, **options: Any) -> Self:  # noqa: ANN401  of `launch`
        """Start it and wait until it reads its source and every table was read once.

        From then on a new row is journalled as created, and not as found by a re-read too.
        """
        self.launch(**options)
        self.wait_reading()
        wait_for(lambda: not self.is_running or self._is_loaded(), why=self.log_tail)
        return self

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The process started last."""
        assert self._process is not None, "never started"
        return self._process

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, within_s: float = DEADLINE_S) -> int:
        """Wait for its end; returns the exit code, negative for a signal."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"it runs still after {within_s} s:\n{self.log_tail()}") from late

    def kill(self) -> None:
        """SIGKILL; nothing happens when it does not run."""
        if self.is_running:
            self.process.kill()
            self.process.wait()

    def stop(self, within_s: float = DEADLINE_S) -> None:
        """Stop it as a service manager does; it must end well."""
        if self.is_running:
            self.signal(signal.SIGTERM)
            assert self.wait(within_s) == 0, self.log_tail()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    # -- what is seen from outside

    def page(self, path: str) -> tuple[int, str]:
        """One of its pages: status (0 when nothing answers) and body."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def health(self) -> dict[str, Any]:
        """Its health page by component; empty when nothing answers."""
        status, body = self.page("/health")
        found: dict[str, Any] = json.loads(body)["checks"] if status else {}
        return found

    def ailment(self, component: str) -> dict[str, Any] | None:
        """What the health page says of a component that is not well."""
        found: dict[str, Any] | None = self.health().get(component)
        return found if found is not None and found["status"] != "pass" else None

    def wait_ailment(self, component: str, *, within_s: float = DEADLINE_S) -> dict[str, Any]:
        """Wait until the health page says so."""
        found: dict[str, Any] = wait_for(lambda: self.ailment(component), within_s=within_s, why=self.log_tail)
        return found

    def wait_well(self, *components: str, within_s: float = DEADLINE_S) -> None:
        """Wait until the components are listed and well."""
        wait_for(
            lambda: all(self.health().get(name, {}).get("status") == "pass" for name in components),
            within_s=within_s,
            why=lambda: f"{self.health()}\n{self.log_tail()}",
        )

    def wait_reading(self, within_s: float = DEADLINE_S) -> None:
        """Wait until its source is open and well."""
        wait_for(self._reads_or_ended, within_s=within_s, why=self.log_tail)
        assert self.is_running, self.log_tail()

    def _reads_or_ended(self) -> bool:
        return not self.is_running or self.health().get("source:erp", {}).get("status") == "pass"

    def rereads(self) -> dict[str, Any]:
        """How far the re-read of each stream has come."""
        with self.journal() as journal:
            found: dict[str, Any] = journal.position("erp")[1].get("snapshots", {})
        return found

    def _is_loaded(self) -> bool:
        rereads = self.rereads()
        return bool(rereads) and all(reread["phase"] == "done" for reread in rereads.values())

    def log(self) -> list[dict[str, Any]]:
        """The log's lines, of every start."""
        lines = (self.folder / "daemon.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of one event."""
        return [line for line in self.log() if line["event"] == event]

    def log_tail(self, lines: int = 25) -> str:
        """The end of the log."""
        return "\n".join((self.folder / "daemon.log").read_text().splitlines()[-lines:])

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command beside the daemon, or without one."""
        return subprocess.run(
            [sys.executable, "-m", "bridge", "--config", str(self.path), *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )

    def ask(self, *arguments: str) -> str:
        """Stdout of a command that must succeed."""
        done = self.cli(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def request(self, kind: str, **args: Any) -> int:  # noqa: ANN401  as the command line leaves them
        """Leave a request in the journal without waiting for its outcome; returns its number."""
        with self.journal() as journal:
            return journal.request(kind, args, "test")

    def wait_settled(self, number: int) -> Mapping[str, Any]:
        """Wait for the outcome of a request."""

        def settled() -> list[Mapping[str, Any]]:
            with self.journal() as journal:
                return [
                    request.result or {}
                    for request in journal.requests(open_only=False)
                    if request.id == number and request.settled_at is not None
                ]

        found: list[Mapping[str, Any]] = wait_for(settled, why=self.log_tail)
        return found[0]

    # -- what is journalled

    @contextmanager
    def journal(self) -> Iterator[SqliteJournal]:
        """The journal, for reading beside the daemon."""
        journal = SqliteJournal.open(self.journal_file, owner=False)
        try:
            yield journal
        finally:
            journal.close()

    def events(self, stream: str) -> pl.DataFrame:
        """All events of a stream in the journal's order."""
        with self.journal() as journal:
            pages = [
                pl.DataFrame(pl.from_arrow(block.batch)).with_columns(epoch=pl.lit(block.epoch))
                for block in journal.read(stream)
            ]
        return pl.concat(pages) if pages else pl.DataFrame({"_op": [], "_key": [], "_snapshot": [], "id": []})

    def changes(self, stream: str) -> list[tuple[str, int]]:
        """What the journal holds of a stream's changes, in order: operation and id; re-read rows are left out."""
        found = self.events(stream).filter(pl.col("_snapshot").is_null() & pl.col("id").is_not_null())
        return [(Op(op).word, number) for op, number in found.select("_op", "id").iter_rows()]

    def doubled(self, stream: str) -> list[tuple[Any, ...]]:
        """What identifies events that are in the journal more than once."""
        identity = ["epoch", "_snapshot", "_position", "_tx_index", "_op", "_key"]
        events = self.events(stream)
        if not len(events):
            return []
        log = events.filter(pl.col("_snapshot").is_null()).select(identity)
        read = events.filter(pl.col("_snapshot").is_not_null()).select("_snapshot", "_key")
        return [row for part in (log, read) for row, count in Counter(part.iter_rows()).items() if count > 1]

    def rows(self, stream: str) -> dict[int, tuple[str | None, int | None]]:
        """The rows a reader of all events ends up with."""
        rows: dict[int, tuple[str | None, int | None]] = {}
        events = self.events(stream)
        for op, number, name, amount in events.select("_op", "id", "name", "amount").iter_rows() if len(events) else ():
            if op == Op.TRUNCATE:
                rows.clear()
            elif op == Op.DELETE:
                rows.pop(number, None)
            elif op != Op.GAP:
                rows[number] = (name, amount)
        return rows

    def table(self, stream: str) -> dict[int, tuple[str | None, int | None]]:
        """The rows the legacy table holds, read past the bridge."""
        return {row[0]: (row[1], row[2]) for row in self.database.sql(f"SELECT id, name, amount FROM shop.{stream}")}

    def letter_keys(self, stream: str) -> Counter[str | None]:
        """The keys of a stream's dead letters, settled ones too."""
        with self.journal() as journal:
            return Counter(letter.key for letter in journal.letters(stream=stream, state=None, limit=1_000_000))

    def confirmed(self) -> int:
        """The LSN up to which the server was told that everything is durable."""
        lsn = "SELECT confirmed_flush_lsn - '0/0'::pg_lsn FROM pg_replication_slots WHERE slot_name"
        rows = self.database.sql(f"{lsn} = '{self.slot}'")
        return int(rows[0][0]) if rows and rows[0][0] is not None else 0

    def position(self) -> int:
        """The LSN up to which the journal holds everything."""
        with self.journal() as journal:
            position, _ = journal.position("erp")
        return position.at[0] if position else 0


class Load:
    """A legacy application: inserts, updates and deletes rows of one table, a statement a transaction, in a thread.

    Each row is created, then changed, then every second one deleted, so every change has a name: (operation, id).

    Args:
        database, stream: where.
        per_second: transactions to aim at.
        reject_every: every so many-th row breaks the contract in its first form; 0: none.
    """

    def __init__(self, database: Database, stream: str, *, per_second: float = 200, reject_every: int = 0) -> None:
        self.acknowledged: list[tuple[str, int]] = []  # changes whose COMMIT returned, in order
        self.rejected: list[int] = []  # ids whose creation breaks the contract
        self._database = database
        self._table = f"shop.{stream}"
        self._pause_s = 1 / per_second
        self._reject_every = reject_every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop writing; callable twice."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        first = self._database.sql(f"SELECT coalesce(max(id), 0) FROM {self._table}")[0][0] + 1
        with psycopg.connect(self._database.dsn, autocommit=True) as connection:
            number = first
            while not self._stop.wait(self._pause_s):
                is_bad = self._reject_every and number % self._reject_every == 0
                self._do(connection, "created", number, f"INSERT INTO {self._table} VALUES (%(id)s, 'n', {-is_bad})")
                if is_bad:
                    self.rejected.append(number)
                if number - 3 >= first:
                    self._do(
                        connection, "updated", number - 3, f"UPDATE {self._table} SET amount = 7 WHERE id = %(id)s"
                    )
                if number % 2 and number - 6 >= first:
                    self._do(connection, "deleted", number - 6, f"DELETE FROM {self._table} WHERE id = %(id)s")
                number += 1

    def _do(self, connection: psycopg.Connection, what: str, number: int, statement: str) -> None:
        connection.execute(statement.encode(), {"id": number})
        self.acknowledged.append((what, number))


def reckon(daemon: Daemon, stream: str, loads: Sequence[Load], *, within_s: float = DEADLINE_S) -> None:
    """Wait until the journal holds what was acknowledged, then demand that it holds each change once, in order.

    Compared with what the loads know and with the table itself, read past the bridge.
    """
    rejected = {number for load in loads for number in load.rejected}
    expected = [
        change for load in loads for change in load.acknowledged if change[0] != "created" or change[1] not in rejected
    ]

    def missing() -> Counter[tuple[str, int]]:
        return Counter(expected) - Counter(daemon.changes(stream))

    wait_for(
        lambda: not missing(),
        within_s=within_s,
        every_s=0.1,
        why=lambda: f"lost: {sorted(missing().items())[:20]}\n{daemon.log_tail()}",
    )
    found = daemon.changes(stream)
    assert Counter(found) == Counter(expected), f"doubled: {(Counter(found) - Counter(expected)).most_common(20)}"
    assert daemon.doubled(stream) == []
    place = {change: index for index, change in enumerate(found)}
    for number in {number for _, number in found}:
        places = [place[word, number] for word in ("created", "updated", "deleted") if (word, number) in place]
        assert places == sorted(places), f"changes of {number} are out of order"
    wait_for(lambda: len(daemon.letter_keys(stream)) >= len(rejected), why=daemon.log_tail)
    assert daemon.letter_keys(stream) == Counter(str(number) for number in rejected)
    if not rejected:
        assert daemon.rows(stream) == daemon.table(stream)
