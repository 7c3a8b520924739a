"""Strict conversions between kinds: each gives the exact value or null, never a rounded or shortened one (I5)."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from bridge.contract.functions import in_calendar
from bridge.contract.kinds import MAX_DIGITS, Kind, ValueType

_TRUE = ["t", "true", "y", "yes", "on", "1"]
_FALSE = ["f", "false", "n", "no", "off", "0"]


class CastFailure(Exception):
    """There is no such conversion."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """How to convert; one that may fail gives null where the value does not fit."""

    make: Callable[[pl.Expr], pl.Expr]
    may_fail: bool = True


def convert(given: ValueType, target: ValueType, *, digits: int | None = None) -> Conversion:
    """The conversion from one value type to another.

    Args:
        given: what the expression has.
        target: what is wanted.
        digits: for a decimal all its digits, for an integer its bits.
    Raises: CastFailure naming both when there is none.
    """
    if given == target and (digits is None or target.kind is not Kind.DECIMAL) and (digits or 64) == 64:  # noqa: PLR2004 - bits
        return Conversion(lambda expr: expr, may_fail=False)
    if given.is_exact and target.is_exact:
        return _exact(given, target, digits)
    made = _BY_KIND.get((given.kind, target.kind))
    if made is not None:
        return made
    if given.kind is Kind.TEXT and target.is_exact:
        return _from_text(target, digits)
    if given.kind is Kind.DOUBLE and target.kind is Kind.DECIMAL:
        text = _from_text(target, digits)
        wide = pl.Decimal(MAX_DIGITS, 18)
        return Conversion(lambda expr: text.make(expr.cast(pl.String).cast(wide, strict=False).cast(pl.String)))
    raise CastFailure(f"{given} does not become {target}")


def _bounds(target: ValueType, digits: int | None) -> Callable[[pl.Expr], pl.Expr]:
    """Null for values outside the integer's bits or the decimal's digits."""
    if target.kind is Kind.INTEGER:
        if digits in {None, 64}:
            return lambda expr: expr
        limit = 1 << (digits or 64) - 1
        return lambda expr: pl.when(expr.is_between(-limit, limit - 1)).then(expr).otherwise(None)
    if digits is None or digits == MAX_DIGITS:
        return lambda expr: expr
    limit_text = f"1{'0' * (digits - target.scale)}"
    bound = pl.lit(limit_text).cast(pl.Decimal(MAX_DIGITS, 0))
    return lambda expr: pl.when(expr.abs() < bound).then(expr).otherwise(None)


def _exact(given: ValueType, target: ValueType, digits: int | None) -> Conversion:
    bounded = _bounds(target, digits)
    if given.kind is Kind.INTEGER and target.kind is Kind.DECIMAL and digits is None and target.scale <= 18:  # noqa: PLR2004 - 38 less the digits of a bigint
        return Conversion(lambda expr: expr.cast(target.polars), may_fail=False)
    if given.kind is Kind.INTEGER or (target.kind is Kind.DECIMAL and target.scale >= given.scale):
        return Conversion(lambda expr: bounded(expr.cast(target.polars, strict=False)))

    def narrow(expr: pl.Expr) -> pl.Expr:
        made = expr.cast(target.polars, strict=False)
        return bounded(pl.when(made.cast(given.polars, strict=False) == expr).then(made).otherwise(None))

    return Conversion(narrow)


def _from_text(target: ValueType, digits: int | None) -> Conversion:
    bounded = _bounds(target, digits)
    form = rf"^ *-?[0-9]+(\.[0-9]{{0,{target.scale}}}0*)? *$"
    if target.kind is Kind.INTEGER:
        form = r"^ *-?[0-9]+ *$"

    def make(expr: pl.Expr) -> pl.Expr:
        made = expr.str.strip_chars(" ").cast(target.polars, strict=False)
        return bounded(pl.when(expr.str.contains(form)).then(made).otherwise(None))

    return Conversion(make)


def _text_to_date(expr: pl.Expr) -> pl.Expr:
    shaped = pl.when(expr.str.contains("^[0-9]{4}-[0-9]{2}-[0-9]{2}$")).then(expr).otherwise(None)
    return shaped.str.to_date("%Y-%m-%d", strict=False)


def _text_to_timestamp(expr: pl.Expr) -> pl.Expr:
    form = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,6})?$"
    shaped = pl.when(expr.str.contains(form)).then(expr.str.replace("T", " ", literal=True)).otherwise(None)
    return shaped.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)


def _text_to_boolean(expr: pl.Expr) -> pl.Expr:
    word = expr.str.strip_chars(" ").str.to_lowercase()
    return pl.when(word.is_in(_TRUE)).then(pl.lit(value=True)).when(word.is_in(_FALSE)).then(pl.lit(value=False))


def _text_to_double(expr: pl.Expr) -> pl.Expr:
    made = expr.str.strip_chars(" ").cast(pl.Float64, strict=False)
    return pl.when(made.is_finite()).then(made).otherwise(None)


def _to_text(expr: pl.Expr) -> pl.Expr:
    return expr.cast(pl.String)


_BY_KIND: dict[tuple[Kind, Kind], Conversion] = {
    (Kind.INTEGER, Kind.TEXT): Conversion(_to_text, may_fail=False),
    (Kind.DECIMAL, Kind.TEXT): Conversion(_to_text, may_fail=False),
    (Kind.DATE, Kind.TEXT): Conversion(lambda expr: _to_text(in_calendar(expr, days=True))),
    (Kind.BOOLEAN, Kind.TEXT): Conversion(_to_text, may_fail=False),
    (Kind.INTEGER, Kind.DOUBLE): Conversion(lambda expr: expr.cast(pl.Float64), may_fail=False),
    (Kind.DECIMAL, Kind.DOUBLE): Conversion(lambda expr: expr.cast(pl.Float64), may_fail=False),
    (Kind.INTEGER, Kind.BOOLEAN): Conversion(lambda expr: expr != 0, may_fail=False),
    (Kind.BOOLEAN, Kind.INTEGER): Conversion(lambda expr: expr.cast(pl.Int64), may_fail=False),
    (Kind.DATE, Kind.TIMESTAMP): Conversion(lambda expr: in_calendar(expr, days=True).cast(pl.Datetime("us"))),
    (Kind.TIMESTAMP, Kind.DATE): Conversion(lambda expr: expr.dt.date(), may_fail=False),
    (Kind.TEXT, Kind.DATE): Conversion(_text_to_date),
    (Kind.TEXT, Kind.TIMESTAMP): Conversion(_text_to_timestamp),
    (Kind.TEXT, Kind.BOOLEAN): Conversion(_text_to_boolean),
    (Kind.TEXT, Kind.DOUBLE): Conversion(_text_to_double),
}
