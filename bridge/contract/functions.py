"""The legacy functions of contract expressions, as Polars expressions over whole columns.

Each returns null where its input is null, and null for an input it cannot read, which the caller reports as a fault;
nothing here guesses. The documentation page lists them; a test holds each against a plain row-by-row twin.
"""

from collections.abc import Sequence
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl

_CALENDAR_DAYS = 94_000_000  # on either side of 1970; Polars' calendar panics, or is silent, past year 262142
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097  # after which weekdays and leap years come again
_RULED_YEARS = (2071, 2098)  # the last 28 years, in which each form of a year occurs, that zones have rules for
_LAST_CYYMMDD = 1_991_231
_NO_DAY = -1_000_000
_DAMAGED = "[\u00c2-\u00f4][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u2122]"


@cache
def _days_by_cyymmdd() -> pl.Series:
    """Dates at index CYYMMDD, null where there is no such day: 8 MB, made when a contract first needs it."""
    days = np.arange(np.datetime64("1900-01-01"), np.datetime64("2100-01-01"))
    months = days.astype("datetime64[M]")
    year, month = months.astype("datetime64[Y]").astype(np.int64) + 70, months.astype(np.int64) % 12 + 1
    table = np.full(_LAST_CYYMMDD + 1, _NO_DAY, np.int32)
    table[year * 10_000 + month * 100 + (days - months).astype(np.int64) + 1] = days.astype(np.int32)
    known = pl.Series(table).to_frame("day").select(pl.when(pl.col("day") > _NO_DAY).then("day"))
    return known.to_series().cast(pl.Date)


def cyymmdd(number: pl.Expr) -> pl.Expr:
    """The date of a CYYMMDD number (C: 0 = 19xx, 1 = 20xx); null for 0 and for impossible dates."""
    return pl.lit(_days_by_cyymmdd()).gather(number.cast(pl.UInt32, strict=False), null_on_oob=True)


def in_calendar(moment: pl.Expr, *, days: bool) -> pl.Expr:
    """A date (`days`) or timestamp that calendars reach; null for one some 250,000 years away."""
    bound = _CALENDAR_DAYS if days else _CALENDAR_DAYS * 86_400_000_000
    return pl.when(moment.to_physical().is_between(-bound, bound)).then(moment).otherwise(None)


def shift_point(number: pl.Expr, scale: int, *, places: int) -> pl.Expr:
    """An exact number of `scale` divided by 10**places: a decimal of scale + places, nothing rounded.

    Raises at evaluation when the result has more than 38 digits.
    """
    wider = pl.Decimal(38, scale + places)
    return number.cast(wider) * pl.lit(10**-places if places == 0 else f"0.{'0' * (places - 1)}1").cast(wider)


def code(value: pl.Expr, pairs: Sequence[tuple[str, str]]) -> pl.Expr:
    """The meaning of a code; null for one that is not in the list."""
    result = pl.lit(None, dtype=pl.String)
    for written, meaning in reversed(pairs):
        result = pl.when(value == written).then(pl.lit(meaning)).otherwise(result)
    return result


def repair_charset(text: pl.Expr, charset: str) -> pl.Expr:
    """Text whose UTF-8 was read as latin1 or cp1252 ("MÃ¼ller"), read right; all other text unchanged.

    Text that cannot be turned back whole stays as it is. Only damaged values are touched one by one.
    """

    def repair(column: pl.Series) -> pl.Series:
        damaged = column.str.contains(_DAMAGED)
        if not damaged.any():
            return column
        written = column.filter(damaged).unique()
        repaired = pl.Series([repair_text(value, charset) for value in written], dtype=pl.String)
        return column.replace(written, repaired)

    return text.map_batches(repair, return_dtype=pl.String, is_elementwise=True)


def repair_text(text: str, charset: str) -> str:
    """One damaged text read right, or unchanged where the damage cannot be turned back."""
    try:
        return b"".join(_byte_of(letter, charset) for letter in text).decode()
    except UnicodeError:
        return text


def _byte_of(letter: str, charset: str) -> bytes:
    """The byte a letter stood for; browsers and most tools read cp1252's five holes as latin1."""
    if charset == "cp1252":
        try:
            return letter.encode("cp1252")
        except UnicodeEncodeError:
            if not "\x80" <= letter <= "\x9f":
                raise
    return letter.encode("latin1")


def local_time(timestamp: pl.Expr, zone: str) -> pl.Expr:
    """The UTC instant of a wall clock reading in `zone`: the earlier of two in a fold, null inside a gap.

    Polars' rules of zones end with 2099. A later reading is looked up on the same day of a year before that which
    begins on the same weekday and has as many days: summer begins and ends by weekdays.
    """
    reached = in_calendar(timestamp, days=False)
    year = reached.dt.year()
    days = year.floordiv(_CYCLE_YEARS) * _CYCLE_DAYS + pl.lit(_days_to_alike()).gather(year.mod(_CYCLE_YEARS))
    ahead = pl.when(year > _RULED_YEARS[1]).then(pl.duration(days=days)).otherwise(pl.duration(days=0))
    instant = (reached - ahead).dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return instant.dt.convert_time_zone("UTC") + ahead


@cache
def _days_to_alike() -> pl.Series:
    """By year of the calendar's cycle: days from New Year of the year that it is like to its own."""
    new_years = np.array([np.datetime64(f"{year:04d}-01-01") for year in range(_CYCLE_YEARS + 1)])
    ruled = range(_RULED_YEARS[0], _RULED_YEARS[1] + 1)

    def form(year: int) -> tuple[int, int]:
        begin, end = (new_years[year % _CYCLE_YEARS + n].astype(np.int64) for n in (0, 1))
        return int(begin) % 7, int(end - begin)

    alike = {form(year): np.datetime64(f"{year}-01-01") for year in ruled}
    days = [(new_years[year] - alike[form(year)]).astype(np.int64) for year in range(_CYCLE_YEARS)]
    return pl.Series(days, dtype=pl.Int64)


def is_zone(zone: str) -> bool:
    """Whether the time zone database knows the name."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
