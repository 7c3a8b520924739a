"""PostgreSQL, with columns of every type that it knows; see `tests.typed`."""

from collections.abc import Mapping, Sequence
from datetime import time as clock
from datetime import timedelta
from decimal import Decimal

import numpy as np
import psycopg
from hypothesis import strategies as st
from psycopg import sql

from bridge.model import Mark
from bridge.sources.view.session import Session
from tests.legacy import PostgresLegacy
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
    day_micros,
    days,
    decimals,
    far_days,
    forms,
    instants,
    iso,
    micros,
    moments,
    mostly,
    names,
    same,
    texts,
    whole,
)


def _special(*known: tuple[str, Mark]) -> st.SearchStrategy[Given]:
    return st.sampled_from(known).map(lambda one: Given(one[0], Marked(one[1], one[0].encode())))


_ENDLESS = (("infinity", Mark.PLUS_INFINITY), ("-infinity", Mark.MINUS_INFINITY))
_INFINITE = (("Infinity", Mark.PLUS_INFINITY), ("-Infinity", Mark.MINUS_INFINITY))
_NAN = ("NaN", Mark.NAN)


def _far_day(year: int, month: int, day: int) -> Given:
    text = f"{year:04d}-{month:02d}-{day:02d}" if year > 0 else f"{1 - year:04d}-{month:02d}-{day:02d} BC"
    return Given(text, far_days(year, month, day))


def _far_moment(day: Given, time: clock) -> Given:
    head, _, era = day.bound.partition(" ")
    return Given(f"{head} {time}{' ' + era if era else ''}", day.comes * 86_400_000_000 + day_micros(time))


_FAR = st.builds(_far_day, st.integers(-4711, 290_000), st.integers(2, 12), st.integers(1, 28))


def _float(value: float) -> Given:
    """A float as it is written; NaN and the infinities have marks."""
    if value != value:  # noqa: PLR0124  NaN
        return Given("NaN", Marked(Mark.NAN, b"NaN"))
    if abs(value) == float("inf"):
        word, kind = _INFINITE[value < 0]
        return Given(word, Marked(kind, word.encode()))
    return Given(repr(value), value)


def _single(value: float) -> Given:
    found = _float(value)
    return found if isinstance(found.comes, Marked) else Given(repr(value), np.float32(value))


def _numeral(value: Decimal) -> str:
    """The text of a number without a declared scale: minus nothing is nothing."""
    text = format(value, "f")
    return text.removeprefix("-") if not value else text


TYPES: Mapping[str, Typed] = {
    "instant": Typed("timestamptz", mostly(
        forms(instants(FIRST, LAST - timedelta(2)), iso, micros), _special(*_ENDLESS))),
    "wall": Typed("timestamp", mostly(forms(moments(FIRST, LAST), iso, micros), _special(*_ENDLESS))),
    "far": Typed("timestamp(6)", st.builds(_far_moment, _FAR, TIMES)),
    "day": Typed("date", mostly(st.one_of(forms(st.dates(), str, days), _FAR), _special(*_ENDLESS))),
    "clock": Typed("time", mostly(
        forms(TIMES, str, day_micros), st.just(Given("24:00:00", Marked(Mark.UNREADABLE, b"24:00:00"))))),
    "amount": Typed("numeric(12,2)", mostly(forms(decimals(12, 2), str, lambda n: n), _special(_NAN))),
    "wide": Typed("numeric(38,30)", forms(decimals(38, 30), str, lambda n: n)),
    "free": Typed("numeric", mostly(
        forms(st.one_of(decimals(60, 25), decimals(20, 5), st.just(Decimal("1e400"))), str, _numeral), _special(_NAN))),
    "double": Typed("double precision", st.one_of(st.floats(), st.sampled_from([1250.50, -0.0, 5e-324])).map(_float)),
    "single": Typed("real", st.floats(width=32).map(_single)),
    "big": Typed("bigint", forms(whole(64), str, int)),
    "small": Typed("smallint", forms(whole(16), str, int)),
    "text": Typed("text", same(texts())),
    "short": Typed("varchar(9)", same(texts(most=9))),
    "padded": Typed("char(8)", forms(texts(most=8), str, lambda text: text.ljust(8))),
    "json": Typed("json", same(JSON_TEXTS)),
    "bytes": Typed("bytea", forms(st.binary(max_size=20), lambda raw: "\\x" + raw.hex(), lambda raw: raw)),
    "flag": Typed("boolean", forms(st.booleans(), str, bool)),
    "uuid": Typed("uuid", forms(st.uuids(), str, str)),
}  # fmt: skip


class PostgresGround(Ground):
    """See `Ground`."""

    legacy: PostgresLegacy
    types = TYPES
    dialect = "postgres"
    names = names(LETTERS, most=63, more=["🛢 tanks"])

    def __init__(self, legacy: PostgresLegacy) -> None:
        super().__init__(legacy)
        # Its own ways of printing differ, and the server stands in another zone.
        for name, value in (("datestyle", "German"), ("timezone", "Asia/Kolkata"), ("extra_float_digits", "-5")):
            legacy.database.sql(f"ALTER DATABASE {legacy.database.name} SET {name} = '{value}'")

    def fill(self, table: str, columns: Mapping[str, Typed], rows: Sequence[Sequence[Given]]) -> None:
        """See `Ground`."""
        named = sql.SQL(", ").join(sql.Identifier(name) + sql.SQL(" " + one.sql) for name, one in columns.items())
        with psycopg.connect(self.legacy.database.dsn, autocommit=True, options="-c datestyle=ISO") as connection:
            made = sql.SQL("CREATE TABLE {} (id integer PRIMARY KEY, {})").format(sql.Identifier(table), named)
            connection.execute(made)
            connection.execute(sql.SQL("GRANT SELECT ON {} TO legacy_reader").format(sql.Identifier(table)))
            into = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))
            with connection.cursor() as cursor, cursor.copy(into) as copy:
                for number, row in enumerate(rows):
                    copy.write_row([number, *(cell.bound for cell in row)])

    def named(self, table: str) -> str:
        """See `Ground`."""
        return sql.Identifier("public", table).as_string()

    def session(self) -> Session:
        """See `Ground`."""
        return self.legacy.session()
