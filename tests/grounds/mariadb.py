"""MariaDB, with columns of every type that it knows; see `tests.typed`."""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
import pymysql
from hypothesis import strategies as st

from bridge.model import Mark
from bridge.sources.view.dialects.mysql.session import MysqlSession
from bridge.sources.view.session import Session
from tests.legacy import MariaLegacy
from tests.typed import (
    JSON_TEXTS,
    LAST,
    LETTERS,
    TIMES,
    Given,
    Ground,
    Marked,
    Typed,
    day_micros,
    days,
    decimals,
    forms,
    instants,
    iso,
    letters_of,
    micros,
    moments,
    mostly,
    names,
    same,
    texts,
    whole,
)


def _span(seconds: int) -> Given:
    """A TIME beyond a day, or below nothing."""
    sign, rest = ("-" if seconds < 0 else ""), abs(seconds)
    text = f"{sign}{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}.000000"
    return Given(text, Marked(Mark.UNREADABLE, text.encode()))


def _latin1(raw: bytes) -> Given:
    try:
        return Given(raw, raw.decode("cp1252"))
    except UnicodeDecodeError:
        return Given(raw, Marked(Mark.UNREADABLE, raw))


def _no_dates(*known: str) -> st.SearchStrategy[Given]:
    return st.sampled_from(known).map(lambda text: Given(text, Marked(Mark.UNREADABLE, text.encode())))


_SPANS = st.one_of(st.integers(86_400, 3_020_399), st.integers(-3_020_399, -1)).map(_span)
# The server knows no minus nothing, no NaN and no infinity.
_FLOATS = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)
_SINGLES = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False).map(lambda n: n + 0.0)
_LOW = datetime(1000, 1, 1)  # noqa: DTZ001  a wall clock reading
_INSTANTS = instants(datetime(1970, 1, 3), datetime(2038, 1, 18))  # noqa: DTZ001  as above
TYPES: Mapping[str, Typed] = {
    "instant": Typed("TIMESTAMP(6) NULL", forms(
        _INSTANTS, lambda at: np.datetime64(micros(at), "us").item(), micros)),
    "wall": Typed("DATETIME(6)", mostly(
        forms(moments(_LOW, LAST), iso, micros),
        _no_dates("0000-00-00 00:00:00.000000", "2026-02-31 10:00:00.000000", "2026-00-10 00:00:00.000000"))),
    "day": Typed("DATE", mostly(
        forms(st.dates(date(1000, 1, 1)), str, days), _no_dates("0000-00-00", "2025-02-30", "2025-11-00"))),
    "clock": Typed("TIME(6)", mostly(forms(TIMES, str, day_micros), _SPANS)),
    "amount": Typed("DECIMAL(12,2)", same(decimals(12, 2))),
    "wide": Typed("DECIMAL(38,30)", same(decimals(38, 30))),
    "widest": Typed("DECIMAL(65,30)", same(decimals(65, 30))),
    "double": Typed("DOUBLE", same(_FLOATS.filter(lambda f: not f or abs(f) > 1e-300))),
    "single": Typed("FLOAT", same(_SINGLES)),
    "unsigned": Typed("BIGINT UNSIGNED", same(st.one_of(st.integers(0, 2**64 - 1), st.just(2**64 - 1)))),
    "big": Typed("BIGINT", same(whole(64))),
    "tiny": Typed("TINYINT(1)", same(whole(8))),
    "year": Typed("YEAR", same(st.integers(1901, 2155))),
    "bits": Typed("BIT(64)", same(st.integers(0, 2**64 - 1))),
    "text": Typed("TEXT CHARACTER SET utf8mb4", same(texts())),
    "western": Typed("VARCHAR(40) CHARACTER SET latin1", same(texts(letters_of("cp1252")))),
    "damaged": Typed("VARCHAR(20) CHARACTER SET latin1", st.binary(max_size=20).map(_latin1)),
    "central": Typed("VARCHAR(40) CHARACTER SET latin2", same(texts(letters_of("iso8859-2")))),
    "cyrillic": Typed("VARCHAR(40) CHARACTER SET cp1251", same(texts(letters_of("cp1251")))),
    "old": Typed("VARCHAR(40) CHARACTER SET utf8mb3", same(texts(LETTERS))),
    "two": Typed("VARCHAR(40) CHARACTER SET ucs2", same(texts(LETTERS))),
    "japanese": Typed("VARCHAR(20) CHARACTER SET sjis", same(texts(st.sampled_from("abc 日本語テスト表ソ"), most=20))),
    "short": Typed("VARCHAR(9)", same(texts(most=9))),
    "padded": Typed("CHAR(8)", forms(texts(most=8), str, lambda text: text.rstrip(" "))),
    "json": Typed("JSON", same(JSON_TEXTS)),
    "bytes": Typed("VARBINARY(20)", same(st.binary(max_size=20))),
    "filled": Typed("BINARY(4)", forms(st.binary(max_size=4), bytes, lambda raw: raw.ljust(4, b"\0"))),
    "kind": Typed("ENUM('b','a','ö','')", same(st.sampled_from(["b", "a", "ö", ""]))),
    "set": Typed("SET('x','y')", same(st.sampled_from(["", "x", "y", "x,y"]))),
}  # fmt: skip


class MariaGround(Ground):
    """See `Ground`."""

    legacy: MariaLegacy
    types = TYPES
    dialect = "mysql"
    names = names(LETTERS, most=64)

    def fill(self, table: str, columns: Mapping[str, Typed], rows: Sequence[Sequence[Given]]) -> None:
        """See `Ground`."""
        quote = self.legacy.quote
        declared = ", ".join(f"{quote(name)} {one.sql}" for name, one in columns.items())
        self.legacy.run(f"CREATE TABLE {quote(table)} (id INTEGER PRIMARY KEY, {declared})")
        connection = self.legacy.database.server.connect(database=self.legacy.database.name)
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute("SET sql_mode = 'STRICT_ALL_TABLES,ALLOW_INVALID_DATES', time_zone = '+00:00'")
            into = f"INSERT INTO {quote(table).replace('%', '%%')} VALUES ({', '.join(['%s'] * (len(columns) + 1))})"
            for at in range(0, len(rows), 200):
                block = [(at + n, *map(_sent, row)) for n, row in enumerate(rows[at : at + 200])]
                cursor.executemany(into, block)

    def session(self) -> Session:
        """See `Ground`."""
        return MysqlSession(self.legacy.settings())


def _sent(cell: Given) -> Any:  # noqa: ANN401  what PyMySQL takes
    return pymysql.Binary(cell.bound) if isinstance(cell.bound, bytes) else cell.bound
