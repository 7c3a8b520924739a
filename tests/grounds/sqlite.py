"""SQLite, with columns of every type that it knows; see `tests.typed`."""

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from decimal import Decimal

from hypothesis import strategies as st

from bridge.model import Mark
from bridge.sources.view.dialects.sqlite.session import SqliteSession
from bridge.sources.view.session import Session
from tests.legacy import SqliteLegacy
from tests.typed import (
    FIRST,
    JSON_TEXTS,
    LAST,
    LETTERS,
    TIMES,
    Given,
    Ground,
    Marked,
    Typed,
    days,
    decimals,
    forms,
    iso,
    micros,
    moments,
    mostly,
    names,
    same,
    texts,
    whole,
)

_STORED = st.one_of(
    whole(64), st.floats(allow_nan=False), texts(most=12), st.binary(max_size=6),
    st.sampled_from(["1250.50", "2026-03-29 02:30:00", "2026-02-30", "1899-12-30", "007", "1e3", " 5", "1.0"]),
)  # fmt: skip


def _sqlite(ordinary: st.SearchStrategy[Given], *, odd: bool = True) -> st.SearchStrategy[Given]:
    """What a column is for, and now and then anything: what comes of it is said by what SQLite holds."""
    return mostly(ordinary, _STORED.map(lambda value: Given(value, ...)), one_in=20) if odd else ordinary


def _double(number: float) -> Given:
    """SQLite knows no minus nothing."""
    if abs(number) == float("inf"):
        return Given(number, ...)
    return Given(number + 0.0, number + 0.0)


TYPES: Mapping[str, Typed] = {
    "wall": Typed("DATETIME", _sqlite(forms(moments(FIRST, LAST), iso, micros))),
    "day": Typed("DATE", _sqlite(forms(st.dates(), str, days))),
    "clock": Typed("TIME", _sqlite(forms(TIMES, str, str))),
    "amount": Typed("DECIMAL(12,2)", _sqlite(forms(decimals(12, 2), float, lambda n: n))),
    "whole": Typed("NUMERIC(18,0)", _sqlite(forms(st.integers(-(10**15), 10**15), int, Decimal))),
    "double": Typed("DOUBLE", _sqlite(st.floats(allow_nan=False).map(_double))),
    "big": Typed("BIGINT", _sqlite(same(whole(64)))),
    "flag": Typed("BOOLEAN", _sqlite(forms(st.booleans(), int, bool))),
    "text": Typed("TEXT", _sqlite(same(texts()))),
    "short": Typed("VARCHAR(9)", _sqlite(same(texts(most=9)))),
    "json": Typed("JSON", _sqlite(same(JSON_TEXTS))),
    "bytes": Typed("BLOB", _sqlite(same(st.binary(max_size=20)))),
    "damaged": Typed("VARCHAR(20)", st.binary(max_size=6).map(
        lambda raw: Given(raw + b"\xff", Marked(Mark.UNREADABLE, raw + b"\xff"))), put="CAST(? AS TEXT)"),
    "anything": Typed("", _STORED.map(lambda value: Given(value, ...))),
}  # fmt: skip


class SqliteGround(Ground):
    """See `Ground`."""

    legacy: SqliteLegacy
    types = TYPES
    dialect = "sqlite"
    names = names(LETTERS, most=64, more=["🛢 tanks"])

    def fill(self, table: str, columns: Mapping[str, Typed], rows: Sequence[Sequence[Given]]) -> None:
        """See `Ground`."""
        quote = self.legacy.quote
        declared = ", ".join(f"{quote(name)} {one.sql}" for name, one in columns.items())
        puts = ", ".join(["?", *(one.put or "?" for one in columns.values())])
        with contextlib.closing(sqlite3.connect(self.legacy.path)) as connection:
            connection.execute(f"CREATE TABLE {quote(table)} (id INTEGER PRIMARY KEY, {declared})")
            into = f"INSERT INTO {quote(table)} VALUES ({puts})"
            connection.executemany(into, [(n, *(cell.bound for cell in row)) for n, row in enumerate(rows)])
            connection.commit()

    def session(self) -> Session:
        """See `Ground`."""
        return SqliteSession(self.legacy.path)
