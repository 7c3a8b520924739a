"""Values of every type, through a real server, a view, the contract and the journal: each comes out as it was put in.

A case is one row of some twenty columns under names of any kind. Many cases share a table: what fails names its row and
column by itself. PROPERTY_ROWS sets how many cases `make soak` tries for each database.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest

from bridge.contract import document
from bridge.contract.document import ContractDocument
from bridge.extraction.extractor import Question
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Letter, Mark, Marks, Op, RawBatch, Shape
from bridge.ports import Journal
from bridge.testing import FakeClock
from tests.contracts import document_for, fields_of
from tests.grounds.sqlite import SqliteGround
from tests.legacy import pages
from tests.polled import Process
from tests.postgres_text import physical
from tests.typed import Given, Ground, Marked, Typed, days, drawn, in_utc, micros, rows_of

ROWS = int(os.environ.get("PROPERTY_ROWS", "10000"))
BATCH = 1000
_RULES = {
    Mark.UNREADABLE: "unreadable",
    Mark.NAN: "nan",
    Mark.PLUS_INFINITY: "infinity",
    Mark.MINUS_INFINITY: "infinity",
}


def cells(array: pa.Array, marks: Marks | None) -> list[Any]:
    """A column in its plainest form."""
    found = physical(array)
    if marks is not None:
        for row, kind, raw in zip(marks.rows.tolist(), marks.kinds.tolist(), marks.raw, strict=True):
            assert found[row] is None
            found[row] = Marked(Mark(kind), raw or b"")
    return found


def is_same(found: Any, wanted: Any) -> bool:  # noqa: ANN401  cells
    """Bit by bit: minus nothing is not nothing, and 1.50 is not 1.5."""
    if isinstance(wanted, Decimal):
        return isinstance(found, Decimal) and found == wanted
    if isinstance(wanted, float):
        return isinstance(found, float) and repr(float(found)) == repr(float(wanted))
    return bool(found == wanted) and isinstance(found, bool) == isinstance(wanted, bool)


def named(ground: Ground, types: Mapping[str, Typed]) -> dict[str, Typed]:
    """The columns under names of any kind."""
    pool = dict.fromkeys(["id", *(name for name in drawn(ground.names, 12))])
    distinct = {name.casefold(): name for name in reversed(pool)}
    odd = [name for name in distinct.values() if name != "id"]
    labels = [*odd, *list(types)[len(odd) :]]
    return dict(zip(labels, types.values(), strict=True))


def held_by_sqlite(legacy: Path, table: str, column: str, sql: str) -> list[Any]:
    """What comes of the values that a SQLite file holds, by the rule for the column's declared type."""
    with contextlib.closing(sqlite3.connect(legacy)) as connection:
        connection.text_factory = bytes
        name, of = (part.replace('"', '""') for part in (column, table))
        rows = connection.execute(f'SELECT typeof("{name}"), "{name}" FROM "{of}" ORDER BY id').fetchall()
    return [_by_rule(sql, value.decode() if kind == b"text" else value) for kind, value in rows]


_INFINITE = {
    float("inf"): Marked(Mark.PLUS_INFINITY, b"Infinity"),
    float("-inf"): Marked(Mark.MINUS_INFINITY, b"-Infinity"),
}


def _by_rule(sql: str, value: Any) -> Any:  # noqa: ANN401, C901, PLR0911  one way for each declared type
    if value is None:
        return None
    text = value if isinstance(value, str) else value.decode("latin1") if isinstance(value, bytes) else repr(value)
    bad = Marked(Mark.UNREADABLE, value if isinstance(value, bytes) else text.encode())
    try:
        match sql.partition("(")[0]:
            case "DATETIME" if isinstance(value, str):
                read = datetime.fromisoformat(value)
                return micros(read) if read.tzinfo is None else bad
            case "DATE" if isinstance(value, str):
                return days(date.fromisoformat(value))
            case "DECIMAL" | "NUMERIC" if isinstance(value, (int, float, str)):
                scale = int(sql.rstrip(")").partition(",")[2])
                number = Decimal(text)
                return number if number.is_finite() and _fits(number, 18 if scale == 0 else 12, scale) else bad
            case "DOUBLE" if isinstance(value, float) and value in _INFINITE:
                return _INFINITE[value]
            case "DOUBLE" if isinstance(value, (int, float)):
                return float(value) if float(value) == value else bad
            case "BIGINT" if isinstance(value, int):
                return value
            case "BOOLEAN" if value in (0, 1):
                return bool(value)
            case "BLOB" if isinstance(value, bytes):
                return value
            case "TEXT" | "VARCHAR" | "JSON" | "TIME" if isinstance(value, str):
                return value
            case "":
                return bad if isinstance(value, bytes) else json.dumps(value) if isinstance(value, float) else text
    except (ValueError, ArithmeticError):
        pass
    return bad


def _fits(number: Decimal, digits: int, scale: int) -> bool:
    return number == round(number, scale) and abs(number) < 10 ** (digits - scale)


def wanted(ground: Ground, table: str, columns: Mapping[str, Typed], rows: Sequence[Sequence[Given]]) -> dict[str, Any]:
    """What must come out, by column."""
    found: dict[str, Any] = {"id": list(range(len(rows)))}
    for place, (name, one) in enumerate(columns.items()):
        found[name] = [row[place].comes for row in rows]
        if isinstance(ground, SqliteGround):
            said = held_by_sqlite(ground.legacy.path, table, name, one.sql) if not one.put else found[name]
            known = [(mine, twin) for mine, twin in zip(found[name], said, strict=True) if mine is not ...]
            assert [both for both in known if not is_same(*both)] == [], one.sql
            found[name] = said
    return found


def read(ground: Ground, table: str) -> tuple[Shape, dict[str, list[Any]]]:
    """A whole reading in pages of odd sizes: the cells by column."""
    found: dict[str, list[Any]] = {}
    with contextlib.closing(ground.reads(table)) as extractor:
        whole = pages(extractor, Question("s", 397))
    for page in whole:
        page.columns.validate(full=True)
        for number, name in enumerate(page.columns.schema.names):
            found.setdefault(name, []).extend(cells(page.columns.column(number), page.marks.get(name)))
    return whole[0].shape, found


def contract_of(folder: Path, shape: Shape, wall: str) -> ContractDocument:
    """Every column as it is, and a clock's reading in Berlin as a point in time."""
    file = Path(document_for(folder, "s", shape, "id").file)
    written = json.loads(file.read_text(encoding="utf-8"))
    quoted = '"' + wall.replace('"', '""') + '"'
    berlin = {
        "name": "berlin", "description": "As it was in Berlin.", "logicalType": "timestamp",
        "transformLogic": f"local_time({quoted}, 'Europe/Berlin')", "transformSourceObjects": [wall],
    }  # fmt: skip
    written["schema"][0]["properties"].append(berlin)
    file.write_text(json.dumps(written, ensure_ascii=False), encoding="utf-8")
    return document.load(file)


def broken(columns: Mapping[str, list[Any]], fields: Mapping[str, str], shape: Shape, row: int) -> set[tuple[str, str]]:
    """The rules that a row breaks, by field."""
    found: set[tuple[str, str]] = set()
    for column in shape.columns:
        cell = columns[column.name][row]
        if column.name not in fields or not isinstance(cell, Marked):
            continue
        if not (pa.types.is_floating(column.arrow) and cell.kind is not Mark.UNREADABLE):  # the contract allows these
            found.add((_RULES[cell.kind], fields[column.name]))
    return found


class Journalled:
    """What the journal holds of one run: an event or a dead letter of each row, by the number of the row."""

    def __init__(self, ground: Ground, table: str, contract: ContractDocument, fields: Mapping[str, str]) -> None:
        self.fields = fields
        self.events: dict[int, tuple[dict[str, Any], set[str]]] = {}  # values, and the fields that are marked
        with TemporaryDirectory() as folder:
            self.journal = SqliteJournal.open(Path(folder) / "journal.db", owner=True)
            with contextlib.closing(self.journal), contextlib.closing(ground.reads(table)) as extractor:
                Process(self.journal, extractor, clock=FakeClock(), made_for=contract).run("s")
                for block in self.journal.read("s"):
                    self._take(block.batch, [field.name for field in contract.fields])
                self.letters = {int(one.key or ""): whole(self.journal, one.id) for one in self._letters()}

    def _take(self, batch: pa.RecordBatch, names: Sequence[str]) -> None:
        plain = {name: physical(batch.column(name)) for name in names}
        for row, (op, marks) in enumerate(zip(*(batch.column(n).to_pylist() for n in ("_op", "_marks")), strict=True)):
            number = plain[self.fields["id"]][row]
            assert number not in self.events
            assert op == Op.READ
            marked = {mark["field"] for mark in marks or ()}
            self.events[number] = ({name: of[row] for name, of in plain.items()}, marked)

    def _letters(self) -> list[Letter]:
        found = self.journal.letters(limit=100_000)
        assert len({letter.key for letter in found}) == len(found)
        return found


def whole(journal: Journal, letter_id: int) -> tuple[set[tuple[str, str | None]], RawBatch]:
    """The rules that a dead letter names, by field, and the row as it came."""
    letter = journal.letter(letter_id)
    assert letter is not None
    assert letter.raw is not None
    return {(breach.rule, breach.field) for breach in letter.breaches}, letter.raw


def check_journal(ground: Ground, table: str, columns: dict[str, list[Any]], shape: Shape, *, folder: Path) -> None:
    """What a whole run leaves: an event or a dead letter for each row, as its cells demand, and nothing else."""
    wall = next((one.name for one in shape.columns if one.arrow == pa.timestamp("us")), "")
    contract, fields = contract_of(folder, shape, wall), fields_of(shape)
    left = Journalled(ground, table, contract, fields)
    for row in range(len(columns["id"])):
        cell = columns[wall][row]
        instant = in_utc(cell) if isinstance(cell, int) else None
        says = broken(columns, fields, shape, row)
        if instant is None and isinstance(cell, int):
            says.add(("type", "berlin"))
        if says or isinstance(cell, Marked):
            rules, raw = left.letters.pop(row)
            assert {rule for rule in rules if not isinstance(cell, Marked) or rule[1] != "berlin"} == says, row
            for name in columns:  # nothing of a refused row is lost
                (kept,) = cells(raw.columns.column(name), raw.marks.get(name))
                assert is_same(kept, columns[name][row]), (row, name)
        else:
            values, marked = left.events.pop(row)
            assert values["berlin"] == instant, (row, cell)
            for name, field in fields.items():
                must = columns[name][row]
                assert is_same(values[field], None if isinstance(must, Marked) else must), (row, name)
                assert (field in marked) == isinstance(must, Marked), (row, name)
    assert (left.events, left.letters) == ({}, {})


def tables(ground: Ground) -> Iterator[str]:
    """Names of tables, each once."""
    names = {name.casefold(): name for name in drawn(ground.names, 60)}
    return iter([*names.values()][-20:])


def cross(ground: Ground, table: str, count: int, folder: Path) -> None:
    """So many rows, there and back."""
    columns = named(ground, ground.types)
    rows = drawn(rows_of(columns), count)
    ground.fill(table, columns, rows)
    must = wanted(ground, table, columns, rows)
    shape, found = read(ground, table)
    assert found.keys() == must.keys()
    for name, of in must.items():
        wrong = [(row, found[name][row], cell) for row, cell in enumerate(of) if not is_same(found[name][row], cell)]
        assert wrong == [], (name, columns[name].sql if name != "id" else "")
    check_journal(ground, table, must, shape, folder=folder)


def test_values_of_every_type_come_through_exactly(ground: Ground, tmp_path: Path) -> None:
    """D1, D3, D4, D5, D6, D7; I3, I5."""
    cross(ground, next(tables(ground)), 200, tmp_path)


@pytest.mark.soak
def test_many_values_of_every_type_come_through_exactly(ground: Ground, tmp_path: Path) -> None:
    """The same over 10,000 rows of each database."""
    names = tables(ground)
    for at in range(0, ROWS, BATCH):
        cross(ground, next(names), min(BATCH, ROWS - at), tmp_path)
