"""Random workloads over random tables: what the journal holds is what an independent reader sees, value by value.

Each case is a few tables of random columns and a list of transactions on them. It goes through source, judge and
journal, with restarts anywhere, and is then played back and compared with what psycopg reads as text.

PROPERTY_WORKLOADS sets how many cases are tried; a failure prints how to repeat it. It is not made smaller: every try
takes a database.
"""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from bridge.health import HealthBoard
from bridge.ingest import Ingest
from bridge.journal.sqlite import SqliteJournal
from bridge.judge import StreamJudge
from bridge.metrics import Metrics
from bridge.model import Column, Mark, Op, Shape
from bridge.operate import Desk
from bridge.ports import Journal
from bridge.postgres.session import connect
from bridge.pump import Flow, Handoff
from bridge.sources.postgres import reader
from bridge.sources.postgres.tables import Capture, Tables
from demo.server import Database, PostgresServer
from tests.contracts import document_for, fields_of
from tests.postgres_text import Raw, printed
from tests.reading import Change, Reading, held, publish, replay, type_of

WORKLOADS = int(os.environ.get("PROPERTY_WORKLOADS", "15"))
KEYS = 4  # few, so that the same rows are hit again and again

_text = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)
_long = st.integers(0, 9).map(lambda n: str(n) * 5000)
_int = st.integers(-(2**31), 2**31 - 1).map(str)
_decimal = st.decimals(-(10**6), 10**6, places=2, allow_nan=False).map(str)
_stamp = st.datetimes().map(lambda moment: moment.isoformat(" "))
# Values of a type as text that the server reads.
VALUES: dict[str, st.SearchStrategy[str]] = {
    "integer": _int,
    "smallint": st.integers(-(2**15), 2**15 - 1).map(str),
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "numeric(10,2)": _decimal,
    "numeric": st.one_of(_decimal, st.sampled_from(["1e40", "0.000000000000000000000000000000000000001"])),
    "money": _decimal,
    "double precision": st.floats().map(repr),
    "text": _text,
    "character varying(9)": _text.map(lambda value: value[:9]),
    "character(5)": st.text("ab é🚚", max_size=5),
    "long": st.one_of(_text, _long),
    "boolean": st.sampled_from(["t", "f"]),
    "date": st.dates().map(str),
    "timestamp without time zone": _stamp,
    "timestamp with time zone": _stamp.map(lambda value: f"{value}+00"),
    "time without time zone": st.times().map(str),
    "interval": st.timedeltas().map(lambda span: f"{span.days} days {span.seconds} seconds"),
    "uuid": st.uuids().map(str),
    "jsonb": st.dictionaries(_text, st.integers(), max_size=3).map(json.dumps),
    "mood": st.sampled_from(["sad", "ok", 'very, "happy"']),
    "bytea": st.binary(max_size=9).map(lambda value: f"\\x{value.hex()}"),
    "integer[]": st.lists(st.one_of(_int, st.just("NULL")), max_size=3).map(lambda values: f"{{{','.join(values)}}}"),
    "spot": st.tuples(_int, _int).map(lambda pair: f"({pair[0]},{pair[1]})"),
}
KEY_TYPES = ("integer", "text", "numeric(10,2)", "uuid", "date", "character(5)")
SETUP = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'very, "happy"'); CREATE TYPE spot AS (x int, y int);
CREATE DOMAIN long AS text;
"""
TOKENS = {Mark.NAN: b"NaN", Mark.PLUS_INFINITY: b"Infinity", Mark.MINUS_INFINITY: b"-Infinity"}


@dataclass(frozen=True)
class Made:
    """A table of a case: its first columns are the key."""

    name: str
    types: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]  # the keys its rows may have
    identity: str

    @property
    def columns(self) -> list[str]:
        return [f"c{n}" for n in range(len(self.types))]

    @property
    def key(self) -> list[str]:
        return self.columns[: len(self.keys[0])]


@dataclass(frozen=True)
class Step:
    """One statement of a transaction."""

    verb: str
    table: Made
    key: tuple[str, ...]
    other: tuple[str, ...]  # where the key moves to
    values: tuple[str | None, ...]
    changed: int  # how many of the values an update sets


@dataclass(frozen=True)
class Transaction:
    steps: tuple[Step, ...]
    ending: str
    restart: bool  # of the source behind it


VERBS = ("insert",) * 4 + ("update",) * 4 + ("delete", "move", "move", "truncate", "savepoint", "undo", "release")


@st.composite
def tables(draw: st.DrawFn, name: str) -> Made:
    key_types = draw(st.lists(st.sampled_from(KEY_TYPES), min_size=1, max_size=2))
    keys = draw(st.lists(st.tuples(*(VALUES[of] for of in key_types)), min_size=KEYS, max_size=KEYS, unique=True))
    others = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=6))
    return Made(name, (*key_types, *others), tuple(keys), draw(st.sampled_from(["DEFAULT", "DEFAULT", "FULL"])))


@st.composite
def steps(draw: st.DrawFn, made: tuple[Made, ...]) -> Step:
    table = draw(st.sampled_from(made))
    types = table.types[len(table.key) :]
    return Step(
        draw(st.sampled_from(VERBS)),
        table,
        draw(st.sampled_from(table.keys)),
        draw(st.sampled_from(table.keys)),
        draw(st.tuples(*(st.none() | VALUES[of] for of in types))),
        draw(st.integers(1, len(types))),
    )


@st.composite
def workloads(draw: st.DrawFn) -> tuple[tuple[Made, ...], list[Transaction]]:
    made = tuple(draw(tables(f"t{n}")) for n in range(draw(st.integers(1, 3))))
    endings = st.sampled_from(["COMMIT"] * 6 + ["ROLLBACK"] * 3 + ["PREPARE"])
    parts = st.lists(steps(made), min_size=1, max_size=12).map(tuple)
    return made, draw(st.lists(st.builds(Transaction, parts, endings, st.booleans()), min_size=1, max_size=10))


def run(connection: psycopg.Connection, transaction: Transaction) -> None:
    """Commit or roll back one transaction."""
    connection.execute("BEGIN")
    depth = 0
    for step in transaction.steps:
        if step.verb == "savepoint":
            depth += 1
            connection.execute("SAVEPOINT s")
        elif step.verb in {"undo", "release"}:
            if depth:
                connection.execute("ROLLBACK TO s" if step.verb == "undo" else "RELEASE s")
                depth -= step.verb == "release"
        else:
            connection.execute(*statement(step))
    if transaction.ending == "PREPARE":
        connection.execute("PREPARE TRANSACTION 'workload'")
        connection.execute("COMMIT PREPARED 'workload'")
    else:
        connection.execute(sql.SQL(transaction.ending))


def statement(step: Step) -> tuple[sql.Composed, list[str | None]]:
    """A statement that succeeds whatever the table holds."""
    table = step.table
    name, key_count = sql.Identifier(table.name), len(table.key)
    typed = [sql.SQL("%s::{}").format(sql.SQL(of)) for of in table.types]
    columns = [sql.Identifier(column) for column in table.columns]
    key = sql.SQL("ROW({}) = ROW({})").format(_list(columns[:key_count]), _list(typed[:key_count]))
    if step.verb == "truncate":
        return sql.SQL("TRUNCATE {}").format(name), []
    if step.verb == "insert":
        insert = sql.SQL("INSERT INTO {} VALUES ({}) ON CONFLICT DO NOTHING").format(name, _list(typed))
        return insert, [*step.key, *step.values]
    if step.verb == "delete":
        return sql.SQL("DELETE FROM {} WHERE {}").format(name, key), list(step.key)
    stop = key_count + step.changed
    if step.verb == "update":
        pairs = [
            sql.SQL("{} = {}").format(*pair) for pair in zip(columns[key_count:stop], typed[key_count:], strict=False)
        ]
        return sql.SQL("UPDATE {} SET {} WHERE {}").format(name, _list(pairs), key), [
            *step.values[: step.changed],
            *step.key,
        ]
    pairs = [sql.SQL("{} = {}").format(*pair) for pair in zip(columns[:key_count], typed, strict=False)]
    moved = sql.SQL("UPDATE {} SET {} WHERE {} AND NOT EXISTS (SELECT FROM {} WHERE {})")
    return moved.format(name, _list(pairs), key, name, key), [*step.other, *step.key, *step.other]


def _list(parts: Sequence[sql.Composable]) -> sql.Composed:
    return sql.Composed([sql.SQL(", ").join(parts)])


class Whole:
    """Source, judges and journal of one case, stepped by hand."""

    def __init__(self, database: Database, made: tuple[Made, ...], folder: Path) -> None:
        captures = tuple(Capture(table.name, f"public.{table.name}", tuple(sorted(table.key))) for table in made)
        self.log = Reading(database, *captures, chunk_rows=3)
        self.journal: Journal = SqliteJournal.open(folder / "journal.db", owner=True)
        with connect(self.log.source._settings.connect, purpose="test") as connection:
            described = Tables(connection, captures, ("bridge",))
            self.shapes = {capture.stream: described.describe(capture).shape for capture in captures}
        judges = {
            table.name: StreamJudge(
                table.name,
                document_for(folder, table.name, self.shapes[table.name], *table.key),
                on_reject="pass",
                state=None,
            )
            for table in made
        }
        self._handoff = Handoff()
        self._flow = Flow(self.log.source, frozenset(judges), None, {})
        desk = Desk(self.journal, judges)
        self._ingest = Ingest(
            self.journal,
            self._handoff,
            judges,
            board=HealthBoard(),
            metrics=Metrics(),
            desk=desk,
            stop=threading.Event(),
        )

    def read(self) -> None:
        """One window, if there is one, into the journal."""
        if self.log.read(confirm=False) is not None:
            assert self._handoff.give(self._flow, self.log.windows[-1], timeout_s=1.0)
            assert self._ingest.step(timeout_s=0.0)

    def restart(self) -> None:
        """As after a kill: only what the journal holds is left."""
        self.log.position, self.log.state = self.journal.position("erp")
        self.log.open()

    def changes(self, table: Made) -> list[Change]:
        """The journal's events of a table, in order, as the server's own text."""
        shape = self.shapes[table.name]
        return [change for block in self.journal.read(table.name) for change in events_of(block.batch, shape)]


def events_of(batch: Any, shape: Shape) -> Iterator[Change]:  # noqa: ANN401  a RecordBatch
    """Events with their values as the server's own text, under the legacy names."""
    fields = fields_of(shape)
    legacy = {column.name: column.type for column in shape.columns}
    texts = {
        name: printed(batch.column(field), None, type_of(Column(name, legacy[name], batch.column(field).type)))
        for name, field in fields.items()
    }
    names = {field: name for name, field in fields.items()}
    for number, row in enumerate(batch.to_pylist()):
        values: dict[str, Raw] = {name: column[number] for name, column in texts.items()}
        for mark in row["_marks"] or ():
            values[names[mark["field"]]] = ... if mark["kind"] == Mark.UNCHANGED else TOKENS[Mark(mark["kind"])]
        yield Change(Op(row["_op"]), values, row["_position"], row["_tx_index"], row["_moved"], row["_snapshot"])


@contextmanager
def case(server: PostgresServer, made: tuple[Made, ...]) -> Iterator[tuple[Database, psycopg.Connection]]:
    """A database with the tables of a case."""
    database = server.create_database(f"workload_{os.getpid()}_{next(_numbers)}")
    try:
        database.sql(SETUP)
        for table in made:
            columns = ", ".join(f"{name} {of}" for name, of in zip(table.columns, table.types, strict=True))
            database.sql(f"CREATE TABLE {table.name} ({columns}, PRIMARY KEY ({', '.join(table.key)}))")
            database.sql(f"ALTER TABLE {table.name} REPLICA IDENTITY {table.identity}")
            for name, of in zip(table.columns, table.types, strict=True):
                if of == "long":
                    database.sql(f"ALTER TABLE {table.name} ALTER {name} SET STORAGE EXTERNAL")
        publish(database, *(table.name for table in made))
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            yield database, connection
    finally:
        database.drop()


_numbers = count()


@given(workload=workloads(), before=st.integers(0, 4), window_bytes=st.sampled_from([400, 3000, 8 << 20]))
@settings(
    max_examples=WORKLOADS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    phases=(Phase.reuse, Phase.generate),
)
def test_the_journal_holds_what_an_independent_reader_sees(
    postgres_server: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
    *,
    workload: tuple[tuple[Made, ...], list[Transaction]],
    before: int,
    window_bytes: int,
) -> None:
    """Some transactions come before the first start, so that a re-read finds them; windows are cut anywhere."""
    made, transactions = workload
    with pytest.MonkeyPatch.context() as patch, case(postgres_server, made) as (database, connection):
        patch.setattr(reader, "WINDOW_BYTES", window_bytes)
        for transaction in transactions[:before]:
            run(connection, transaction)
        whole = Whole(database, made, tmp_path_factory.mktemp("case"))
        whole.log.open()
        for transaction in transactions[before:]:
            run(connection, transaction)
            whole.read()
            if transaction.restart:
                whole.restart()
        whole.log.catch_up(whole.read)
        whole.log.close()
        assert whole.journal.letters() == []
        for table in made:
            changes = whole.changes(table)
            wanted = held(database, table.name, *table.key)
            fields = fields_of(whole.shapes[table.name])
            assert len({(change.id, change.snapshot, str(change.row)) for change in changes}) == len(changes)
            assert whole.log.replayed(table.name, *table.key) == wanted
            assert replay(changes, *table.key) == {
                key: {name: value for name, value in row.items() if name in fields} for key, row in wanted.items()
            }
        whole.journal.close()
