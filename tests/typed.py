"""Columns as an application declares them, values that it may put there, and what must come out of each.

What comes out is said in the plainest form: dates as days and times as microseconds, which hold every year. Nothing
here asks the bridge, nor lets a server print what it holds.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bridge.model import Mark
from bridge.sources.view.extractor import ViewExtractor
from bridge.sources.view.session import Session
from bridge.sources.view.viewfile import View
from tests.legacy import Legacy

BERLIN = ZoneInfo("Europe/Berlin")
_EPOCH = date(1970, 1, 1).toordinal()
# Both sides of every change that Berlin's clocks make, and of the days on which software counts from or to.
_EDGES = (
    datetime(2025, 3, 30, 2, 30), datetime(2025, 3, 30, 3), datetime(2025, 10, 26, 2, 30), datetime(2025, 10, 26, 3),  # noqa: DTZ001  wall
    datetime(2038, 1, 19, 3, 14, 7), datetime(1970, 1, 1), datetime(1899, 12, 30), datetime(1582, 10, 10),  # noqa: DTZ001  clock
    datetime(2000, 2, 29), datetime(1980, 4, 6, 2, 30),  # noqa: DTZ001  readings
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Marked:
    """A cell that has no value of its column's type."""

    kind: Mark
    raw: bytes


@dataclass(frozen=True, slots=True)
class Given:
    """A value as the application's driver is given it, and what must come out."""

    bound: Any
    comes: Any  # in its plainest form; None; or Marked


NOTHING = Given(None, None)


@dataclass(frozen=True, slots=True)
class Typed:
    """One column."""

    sql: str  # its declared type
    values: st.SearchStrategy[Given]
    put: str = ""  # what stands for a value in the application's INSERT, where that is no plain placeholder


class Ground(ABC):
    """A database in which columns of many types are made."""

    types: Mapping[str, Typed]
    names: st.SearchStrategy[str]  # that a table or column may have
    dialect: str  # sqlglot's name of its SQL

    def __init__(self, legacy: Legacy) -> None:
        self.legacy = legacy

    @abstractmethod
    def fill(self, table: str, columns: Mapping[str, Typed], rows: Sequence[Sequence[Given]]) -> None:
        """Make a table whose first column is `id`, the number of the row, as the application does."""

    @abstractmethod
    def session(self) -> Session:
        """One of our login."""

    def run(self, *statements: str) -> Sequence[Sequence[Any]]:
        """Run statements as the owner; the rows of the last."""
        return self.legacy.run(*statements)

    def quote(self, name: str) -> str:
        """A name in SQL."""
        return self.legacy.quote(name)

    def named(self, table: str) -> str:
        """A table in a view's SQL."""
        return self.quote(table)

    def reads(self, table: str, **how: Any) -> ViewExtractor:  # noqa: ANN401  as `View`
        """Reads a view of a table as the stream `s`: the whole of it by `id`, unless said otherwise."""
        return ViewExtractor("any", self.session(), {"s": view_of(self.named(table), **how)}, dialect=self.dialect)


def drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """So many values, as the property tests try them; they go into one table together."""
    found: list[Any] = []

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:  # noqa: ANN401  the strategy's
        found.append(value)

    while len(found) < count:
        collect()
    return found[:count]


def rows_of(types: Mapping[str, Typed]) -> st.SearchStrategy[tuple[Given, ...]]:
    """Rows of these columns; a value is nothing now and then."""
    return st.tuples(*(mostly(one.values, st.just(NOTHING)) for one in types.values()))


def mostly(
    ordinary: st.SearchStrategy[Any], odd: st.SearchStrategy[Any], *, one_in: int = 30
) -> st.SearchStrategy[Any]:
    """One value in so many is an odd one, so that most rows are whole."""
    return st.integers(1, one_in).flatmap(lambda number: odd if number == one_in else ordinary)


def same(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Given]:
    """Values that come out as they are."""
    return values.map(lambda value: Given(value, value))


def forms(
    values: st.SearchStrategy[Any], bound: Callable[[Any], Any], comes: Callable[[Any], Any]
) -> st.SearchStrategy[Given]:
    """Values with how they are bound and what comes out."""
    return values.map(lambda value: Given(bound(value), comes(value)))


def whole(bits: int) -> st.SearchStrategy[int]:
    """Whole numbers with a sign, their ends more often than not."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return st.one_of(st.integers(low, high), st.sampled_from([low, high, 0, -1]))


def decimals(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    """Every digit that fits; trailing zeros are kept."""
    most = 10**digits - 1
    return st.one_of(
        st.integers(-most, most), st.sampled_from([most, -most, 0, 1, -1, 10**scale, 125050 * 10 ** max(scale - 2, 0)])
    ).map(lambda number: Decimal(f"{max(-most, min(most, number))}e-{scale}"))


def moments(low: datetime, high: datetime) -> st.SearchStrategy[datetime]:
    """Readings of a wall clock: any, and those around where clocks and calendars change."""
    near = st.builds(
        lambda edge, seconds, micros: edge + timedelta(seconds=seconds, microseconds=micros),
        st.sampled_from([edge for edge in _EDGES if low + timedelta(1) < edge < high - timedelta(1)]),
        st.integers(-5400, 5400),
        st.sampled_from([0, 1, 999_999, 123_456]),
    )
    return st.one_of(st.datetimes(low, high), near, st.sampled_from([low, high]))


def instants(low: datetime, high: datetime) -> st.SearchStrategy[datetime]:
    """Points in time, told in Berlin: an hour of autumn comes twice, and both are meant."""
    return moments(low, high).map(lambda wall: wall.replace(tzinfo=UTC).astimezone(BERLIN))


def texts(letters: st.SearchStrategy[str] | None = None, *, most: int = 40) -> st.SearchStrategy[str]:
    """Any text without a zero character or half a pair, and what programs trip over."""
    known = ["", " ", "  x  ", "'", '"', "\\", "\\N", "NULL", "null", "\t\r\n", "ÃlÃ¼", "Öl € ß", "0", "-0.0", "1e5"]
    known = [one for one in known if len(one) <= most]
    if letters is not None:
        return st.text(letters, max_size=most)
    every = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    return st.one_of(st.text(every, max_size=most), st.sampled_from(known))


JSON_TEXTS = st.one_of(
    st.sampled_from(
        [
            '{"a": 1, "a": 2}',
            '{"b": 1, "a": 9007199254740993}',
            '{"n": 1.0000000000000000000000001e400}',
            "[]",
            "null",
            '{"z": {"y": [1, 2.50, -0, "\\u00e9\\ud83d\\ude9a"]}}',
            '  {"spaced" :\n 1 }  ',
            '"\\u0000"',
            "[" * 30 + "]" * 30,
        ]
    ),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(-(10**30), 10**30)), max_size=5).map(
        lambda pairs: "{" + ", ".join(f'"{name}": {number}' for name, number in pairs) + "}"
    ),
)


def days(value: date) -> int:
    """Since 1970."""
    return value.toordinal() - _EPOCH


def far_days(year: int, month: int, day: int) -> int:
    """Of any year as astronomers count them, by the calendar of today."""
    return int(np.datetime64(f"{year:+06d}-{month:02d}-{day:02d}", "D").astype(np.int64))


def micros(value: datetime) -> int:
    """Since 1970, of a reading or a point in time."""
    naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return (naive - datetime(1970, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001  a reading


def day_micros(value: clock) -> int:
    """Since midnight."""
    return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond


def in_utc(wall_micros: int) -> int | None:
    """The point in time of a reading in Berlin: the earlier of two; None for an hour that was skipped."""
    wall = datetime(1970, 1, 1) + timedelta(microseconds=wall_micros)  # noqa: DTZ001  a reading
    instant = wall.replace(tzinfo=BERLIN, fold=0).astimezone(UTC)
    is_real = instant.astimezone(BERLIN).replace(tzinfo=None) == wall
    return micros(instant) if is_real else None


FIRST, LAST = datetime(1, 1, 3), datetime(9999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001  wall clock readings
LETTERS = st.characters(min_codepoint=32, max_codepoint=0xFFFF, exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"])
# What is no plain name in some database or other.
_ODD_NAMES = [
    "select",
    "Mixed Case",
    "semi;colon",
    "quo'te",
    'dou"ble',
    "back`tick",
    "per%cent",
    "größe",
    "ORDER",
    "%s",
    "a.b",
]


def names(letters: st.SearchStrategy[str], *, most: int, more: Sequence[str] = ()) -> st.SearchStrategy[str]:
    """Names of tables and columns, by how many bytes they may have."""
    made = st.text(letters, min_size=1, max_size=most // 4)
    return st.one_of(st.sampled_from([*_ODD_NAMES, *more]), made).filter(lambda name: len(name.encode()) <= most)


TIMES = st.one_of(st.times(), st.sampled_from([clock(0), clock(23, 59, 59, 999_999)]))


def view_of(table: str, **how: Any) -> View:  # noqa: ANN401  as `View`
    """The whole of a table, as it is named in SQL."""
    plain: dict[str, Any] = {"sql": f"SELECT * FROM {table}", "mode": "full", "key": ("id",)}
    return View(path=Path("some.sql"), name="some", statement_timeout_s=300.0, **plain | how)


def iso(value: datetime) -> str:
    """As `isoformat`, the year with its zeros."""
    return value.isoformat(" ")


def letters_of(name: str) -> st.SearchStrategy[str]:
    """Letters that a character set has."""
    return st.characters(codec=name, exclude_characters="\0", exclude_categories=["Cs"])
