"""Random values of every type through a real server come out as it printed them, and as the plain twin reads them.

PROPERTY_VALUES sets how many values a type is tried with; 300 unless told.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.cells import FEW_ROWS
from bridge.model import Mark
from bridge.postgres.types import LOOKUP_SQL, PINNED_SETTINGS, Kind, PgType, builtin, described
from demo.server import PostgresServer
from tests.postgres_text import (
    MARKED_KINDS,
    TOKENS,
    Raw,
    decode_copied,
    decode_one,
    physical,
    printed,
    same_float,
    twin,
)

VALUE_COUNT = int(os.environ.get("PROPERTY_VALUES", "300"))
MANY = 40

HOSTILE = {
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kolkata",
    "extra_float_digits": "-5",
    "bytea_output": "escape",
    "lc_monetary": "C.UTF-8",
}
SETUP = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'very, "happy"');
CREATE DOMAIN price AS numeric(12,2) CHECK (value >= 0);
CREATE DOMAIN prices AS price[];
CREATE TYPE spot AS (x int, label text, price price);
CREATE TYPE span AS RANGE (subtype = price);
"""


@dataclass(frozen=True)
class Session:
    connection: psycopg.Connection

    def types(self, name: str) -> PgType:
        """The type that a column declared so has."""
        result = self.connection.execute(f"SELECT NULL::{name} AS value").pgresult  # names of this file
        assert result is not None
        key = result.ftype(0), result.fmod(0)
        known = builtin(*key)
        if known is not None:
            return known
        rows = self.connection.execute(LOOKUP_SQL, {"oids": [key[0]], "modifiers": [key[1]]}).fetchall()
        return described(rows)[key]

    def output(self, name: str, values: list[str | None]) -> list[Raw]:
        """What the server prints for these input texts."""
        query = f"SELECT value::{name} FROM unnest(%s::text[]) WITH ORDINALITY AS _ (value, n) ORDER BY n"
        result = self.connection.execute(query, [values]).pgresult
        assert result is not None
        return [result.get_value(row, 0) for row in range(result.ntuples)]


@pytest.fixture(scope="module")
def session(postgres_server: PostgresServer) -> Iterator[Session]:
    """A pinned session on a database whose own settings would print everything differently."""
    database = postgres_server.create_database(f"values_{os.getpid()}")
    for name, value in HOSTILE.items():
        database.sql(f"ALTER DATABASE {database.name} SET {name} = '{value}'")
    options = " ".join(f"-c {name}={value}" for name, value in PINNED_SETTINGS.items())
    with psycopg.connect(database.dsn, options=options, autocommit=True) as connection:
        connection.execute(SETUP)
        yield Session(connection)
    database.drop()


def numbers(digits: int, scale: int, *, infinities: bool = True) -> st.SearchStrategy[str]:
    special = ["NaN"] + ([] if not infinities else ["Infinity", "-Infinity"])
    return st.one_of(
        st.decimals(
            min_value=-(10 ** (digits - scale)) + 1, max_value=10 ** (digits - scale) - 1, places=scale, allow_nan=False
        ).map(lambda number: format(number, "f")),
        st.sampled_from([*special, "0", "-0", "1", "-1"]),
    )


def integers(bits: int) -> st.SearchStrategy[str]:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return st.one_of(st.integers(low, high), st.sampled_from([low, high, 0, -1])).map(str)


def dates(last_year: int = 294_276) -> st.SearchStrategy[str]:
    """Any era; days up to 28 exist in every month."""
    ordinary = st.dates().map(str)
    far = st.builds(
        lambda year, month, day, bc: (
            f"{min(year, 4713) if bc else year:04d}-{month:02d}-{day:02d}{' BC' if bc else ''}"
        ),
        st.integers(1, last_year),
        st.integers(2, 12),
        st.integers(1, 28),
        st.booleans(),
    )
    edges = [
        "infinity",
        "-infinity",
        "4713-01-01 BC",
        "0001-01-01",
        "0001-12-31 BC",
        "1582-10-10",
        "1899-12-30",
        "9999-12-31",
    ]
    return st.one_of(ordinary, far, st.sampled_from([*edges, "10000-01-01", "2024-02-29"]))


def timestamps() -> st.SearchStrategy[str]:
    def at(day: str, time: str) -> str:
        head, space, era = day.partition(" ")
        return day if "infinity" in day else f"{head} {time}{space}{era}"

    edges = ["294246-12-31 23:59:59.999999", "294276-12-31 23:59:59.999999", "294247-01-10 04:00:54.775807"]
    return st.one_of(st.builds(at, dates(), st.times().map(str)), st.sampled_from(edges))


def texts(**limits: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), **limits)


def floats(width: int) -> st.SearchStrategy[str]:
    return st.floats(width=32 if width == 32 else 64).map(repr)


def arrays(values: st.SearchStrategy[str], *, nested: bool = False) -> st.SearchStrategy[str]:
    def quote(value: str | None) -> str:
        return "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    flat = st.lists(st.none() | values, max_size=6).map(lambda items: "{" + ",".join(map(quote, items)) + "}")
    return flat | st.just("{{" + quote(None) + "},{NULL}}") | st.just("[0:1]={NULL,NULL}") if nested else flat


def intervals() -> st.SearchStrategy[str]:
    return st.builds(lambda m, d, us: f"{m} months {d} days {us} microseconds", *[st.integers(-(10**6), 10**6)] * 3)


def batches(values: st.SearchStrategy[str | None]) -> st.SearchStrategy[list[str | None]]:
    """Half of them short enough to be read row by row, half long enough to be read by column."""
    return st.one_of(
        st.lists(values, min_size=1, max_size=FEW_ROWS), st.lists(values, min_size=MANY, max_size=2 * MANY)
    )


WORDS = st.text("ab,{}\"\\ NUL'\té€\n", max_size=6)
TYPES: dict[str, Callable[[], st.SearchStrategy[str]]] = {
    "smallint": lambda: integers(16),
    "integer": lambda: integers(32),
    "bigint": lambda: integers(64),
    "oid": lambda: st.integers(0, 2**32 - 1).map(str),
    "xid8": lambda: st.integers(0, 2**64 - 1).map(str),
    "numeric": lambda: st.one_of(numbers(60, 30), st.just("1e400"), st.just("1e-300")),
    "numeric(12,2)": lambda: numbers(12, 2, infinities=False),
    "numeric(38,30)": lambda: numbers(38, 30, infinities=False),
    "numeric(38,0)": lambda: numbers(38, 0, infinities=False),
    "numeric(50,10)": lambda: numbers(50, 10, infinities=False),
    "numeric(3,-2)": lambda: st.integers(-99_900, 99_900).map(str),
    "numeric(3,5)": lambda: st.integers(-999, 999).map(lambda n: f"{n}e-5"),
    "real": lambda: floats(32),
    "double precision": lambda: floats(64),
    "money": lambda: st.integers(-(2**63), 2**63 - 1).map(
        lambda n: f"{n // 100}.{n % 100:02d}" if n >= 0 else f"-{-n // 100}.{-n % 100:02d}"
    ),
    "boolean": lambda: st.sampled_from("tf"),
    "text": texts,
    "character varying(9)": lambda: texts(max_size=9),
    "character(9)": lambda: texts(max_size=9),
    "name": lambda: texts(max_size=12),
    '"char"': lambda: st.sampled_from(["a", "", "\\377", " "]),
    "bytea": lambda: st.binary().map(lambda data: "\\x" + data.hex()),
    "date": lambda: dates(5_874_897),
    "timestamp": timestamps,
    "timestamptz": timestamps,
    "timestamp(3)": timestamps,
    "time": lambda: st.times().map(str) | st.just("24:00:00"),
    "timetz": lambda: st.times().map(lambda time: f"{time}+05:30"),
    "interval": intervals,
    "uuid": lambda: st.uuids().map(str),
    "json": lambda: st.sampled_from(['{"a": [1,  "é"]}', "null", '"x"']),
    "jsonb": lambda: st.sampled_from(['{"a": [1,  "é"]}', "null", '"x"']),
    "inet": lambda: st.ip_addresses().map(str),
    "macaddr": lambda: st.binary(min_size=6, max_size=6).map(lambda data: data.hex(":")),
    "bit(5)": lambda: st.text("01", min_size=5, max_size=5),
    "bit varying(5)": lambda: st.text("01", max_size=5),
    "int4range": lambda: st.integers(-9, 9).map(lambda n: f"[{n},{n + 2}]"),
    "point": lambda: st.tuples(*[st.integers(-9, 9)] * 2).map(str),
    "tsvector": lambda: st.text("ab c", max_size=9),
    "mood": lambda: st.sampled_from(["sad", "ok", 'very, "happy"']),
    "price": lambda: st.integers(0, 10**12 - 1).map(lambda n: f"{n / 100:.2f}"),
    "spot": lambda: st.sampled_from(['(1,"a, b",2.50)', "(,,)"]),
    "span": lambda: st.just("[1.00,2.00)"),
    "integer[]": lambda: arrays(integers(32), nested=True),
    "numeric(12,2)[]": lambda: arrays(numbers(12, 2, infinities=False)),
    "text[]": lambda: arrays(WORDS, nested=True),
    "date[]": lambda: arrays(dates()),
    "timestamptz[]": lambda: arrays(timestamps()),
    "boolean[]": lambda: arrays(st.sampled_from("tf")),
    "double precision[]": lambda: arrays(floats(64)),
    "bytea[]": lambda: arrays(st.binary(max_size=5).map(lambda data: "\\x" + data.hex())),
    "mood[]": lambda: arrays(st.sampled_from(["sad", "ok", 'very, "happy"'])),
    "prices": lambda: arrays(st.integers(0, 999).map(str)),
    "point[]": lambda: arrays(st.just("(1,2)")),
}


@pytest.mark.parametrize("name", TYPES)
def test_every_value_comes_out_as_the_server_printed_it(session: Session, name: str) -> None:
    """Exact, or marked with the server's own text; COPY and the vector decoder agree with the plain twin."""
    type_ = session.types(name)

    def form(raw: Raw) -> Raw:
        return same_float(raw, type_) if type_.kind is Kind.FLOAT and isinstance(raw, bytes) else raw

    @settings(
        max_examples=max(2, 2 * VALUE_COUNT // MANY),
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(batches(st.none() | TYPES[name]()))
    def check(values: list[str | None]) -> None:
        sent = session.output(name, values)
        array, marks = decode_one(sent, type_)
        if type_.element is None or type_.element.kind is not Kind.FLOAT:
            assert [form(raw) for raw in printed(array, marks, type_)] == [form(raw) for raw in sent]
        copied, copied_marks = decode_copied(sent, type_)
        assert copied.equals(array)
        assert (copied_marks and copied_marks.raw) == (marks and marks.raw)
        marked = {} if marks is None else dict(zip(marks.rows.tolist(), marks.kinds.tolist(), strict=True))
        seen = [(value, marked.get(row)) for row, value in enumerate(physical(array))]
        assert seen == [twin(raw, type_) for raw in sent]
        specials = {row: TOKENS[raw] for row, raw in enumerate(sent) if isinstance(raw, bytes) and raw in TOKENS}
        if type_.kind in MARKED_KINDS:
            assert {row: kind for row, kind in marked.items() if kind != Mark.UNREADABLE} == specials

    check()


def test_a_mark_for_unreadable_is_given_only_where_arrow_cannot_hold_the_value(session: Session) -> None:
    held = {
        "timestamp": "294246-12-31 23:59:59",
        "time": "23:59:59.999999",
        "integer[]": "{1}",
        "date[]": "{2024-01-01}",
    }
    not_held = {"timestamp": "294276-12-31", "time": "24:00", "integer[]": "{{1}}", "date[]": "{infinity}"}
    for name, text in held.items():
        assert decode_one(session.output(name, [text]), session.types(name))[1] is None
    for name, text in not_held.items():
        _, marks = decode_one(session.output(name, [text]), session.types(name))
        assert marks is not None
        assert marks.kinds.tolist() == [Mark.UNREADABLE]
