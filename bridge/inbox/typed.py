"""Text to typed columns, strictly: a value is exact or it is not there, and then it is named (I5)."""

from collections.abc import Callable

import polars as pl

from bridge.contract import casts, kinds
from bridge.contract.kinds import Kind, ValueType

_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[0-9]{2}:[0-9]{2}:[0-5][0-9]"
_FRACTION = r"(?:\.[0-9]{1,6}0*)?"
_NUMBER = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$"


def column(texts: pl.Series, wanted: ValueType) -> pl.Series:
    """A column of texts as values of the wanted type; null where a text is not exactly one."""
    frame = texts.to_frame()
    return frame.select(_make(wanted)(pl.col(texts.name))).to_series()


def _make(wanted: ValueType) -> Callable[[pl.Expr], pl.Expr]:
    own = _OWN.get(wanted.kind)
    return own or casts.convert(kinds.TEXT, wanted).make


def _boolean(text: pl.Expr) -> pl.Expr:
    return pl.when(text == "true").then(pl.lit(value=True)).when(text == "false").then(pl.lit(value=False))


def _double(text: pl.Expr) -> pl.Expr:
    number = _shaped(text, _NUMBER).cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def _instant(text: pl.Expr) -> pl.Expr:
    shaped = _shaped(text, rf"^{_DAY}[Tt ]{_CLOCK}{_FRACTION}(?:[Zz]|[+-][0-9]{{2}}:[0-9]{{2}})$")
    moment = _plain(shaped.str.replace(r"[Zz]$", "+00:00")).str.replace(r"(\.[0-9]{6})0*", "${1}")
    return moment.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%:z", time_unit="us", time_zone="UTC", strict=False)


def _timestamp(text: pl.Expr) -> pl.Expr:
    shaped = _plain(_shaped(text, rf"^{_DAY}[Tt ]{_CLOCK}{_FRACTION}$")).str.replace(r"(\.[0-9]{6})0*", "${1}")
    return shaped.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)


def _time(text: pl.Expr) -> pl.Expr:
    shaped = _shaped(text, rf"^{_CLOCK}{_FRACTION}$").str.replace(r"(\.[0-9]{6})0*", "${1}")
    return shaped.str.to_time("%H:%M:%S%.f", strict=False)


def _shaped(text: pl.Expr, form: str) -> pl.Expr:
    return pl.when(text.str.contains(form)).then(text)


def _plain(text: pl.Expr) -> pl.Expr:
    """With a space between day and time."""
    return text.str.replace(r"^(.{10})[Tt]", "${1} ")


_OWN: dict[Kind, Callable[[pl.Expr], pl.Expr]] = {
    Kind.BOOLEAN: _boolean,
    Kind.DOUBLE: _double,
    Kind.INSTANT: _instant,
    Kind.TIMESTAMP: _timestamp,
    Kind.TIME: _time,
}
