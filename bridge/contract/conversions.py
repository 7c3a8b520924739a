"""Text, casts and dates in contract expressions; a value that does not fit leaves a fault."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl
from sqlglot import exp

from bridge.contract import functions, strings
from bridge.contract.compiler import Compiler, Construct, Misfit, Typed, joined
from bridge.contract.kinds import (
    BOOLEAN,
    DATE,
    DOUBLE,
    INSTANT,
    INTEGER,
    MAX_DIGITS,
    NULL,
    TEXT,
    TIMESTAMP,
    Kind,
    ValueType,
)


def _concat(compiler: Compiler, node: exp.Expression) -> Typed:
    left, right = compiler.text(node.this), compiler.text(node.expression)
    return joined(left.expr + right.expr, TEXT, left, right)


def _textual(compiler: Compiler, node: exp.Expression) -> Typed:
    value = compiler.text(node.this)
    arguments = {
        name: compiler.compile(part).literal if isinstance(part, exp.Expression) else part
        for name, part in node.args.items()
        if name != "this" and part is not None
    }
    try:
        expr, gives = strings.apply(type(node), value.expr, arguments)
    except ValueError as error:
        raise Misfit(str(error)) from error
    return replace(value, expr=expr, type=gives)


def _pad(compiler: Compiler, node: exp.Expression) -> Typed:
    value = compiler.text(node.this)
    width = compiler.whole(node.expression)
    fill = compiler.compile(node.args["fill_pattern"]).literal if node.args.get("fill_pattern") else " "
    if not node.args.get("is_left") or not isinstance(fill, str) or len(fill) != 1 or not 0 < width <= 1000:  # noqa: PLR2004 - bound on memory
        raise Misfit("lpad takes a width up to 1000 and one fill character")

    def make(expr: pl.Expr) -> pl.Expr:
        return pl.when(expr.str.len_chars() <= width).then(expr.str.pad_start(width, fill)).otherwise(None)

    return compiler.fallible(value, make, TEXT, detail=f"expected at most {width} characters")


def _cast(compiler: Compiler, node: exp.Expression) -> Typed:
    value = compiler.compile(node.this)
    target, digits, name = _target(node.args["to"])
    if value.type == NULL:
        return Typed(pl.lit(None, dtype=target.polars), target)
    if isinstance(value.literal, str) and target.kind is not Kind.TEXT:
        return compiler.cast_literal(value, target)
    return compiler.cast(value, target, digits=digits, name=name)


def _date_trunc(compiler: Compiler, node: exp.Expression) -> Typed:
    value, unit = compiler.compile(node.this), str(node.args["unit"].this).lower()
    every = {"minute": "1m", "hour": "1h", "day": "1d", "week": "1w", "month": "1mo", "quarter": "1q", "year": "1y"}
    if unit not in every or value.type not in {DATE, TIMESTAMP, INSTANT}:
        raise Misfit(f"date_trunc takes one of {', '.join(every)} and a date or timestamp")
    return _on_calendar(compiler, value, lambda e: e.dt.truncate(every[unit]), value.type)


def _extract(compiler: Compiler, node: exp.Expression) -> Typed:
    value, part = compiler.compile(node.expression), str(node.this.this).lower()
    parts: dict[str, Callable[[pl.Expr], pl.Expr]] = {
        "year": lambda e: e.dt.year(), "quarter": lambda e: e.dt.quarter(), "month": lambda e: e.dt.month(),
        "week": lambda e: e.dt.week(), "day": lambda e: e.dt.day(), "doy": lambda e: e.dt.ordinal_day(),
        "dow": lambda e: e.dt.weekday() % 7, "hour": lambda e: e.dt.hour(), "minute": lambda e: e.dt.minute(),
    }  # fmt: skip
    if part not in parts or value.type not in {DATE, TIMESTAMP, INSTANT}:
        raise Misfit(f"extract takes one of {', '.join(parts)} from a date or timestamp")
    if value.type == DATE and part in {"hour", "minute"}:
        raise Misfit(f"a date has no {part}")
    return _on_calendar(compiler, value, lambda e: parts[part](e).cast(pl.Int64), INTEGER)


def _on_calendar(compiler: Compiler, value: Typed, make: Callable[[pl.Expr], pl.Expr], gives: ValueType) -> Typed:
    days = value.type == DATE
    detail = "expected a date within 250,000 years"
    return compiler.fallible(value, lambda e: make(functions.in_calendar(e, days=days)), gives, detail=detail)


_TARGETS: dict[Any, tuple[ValueType, int | None]] = {
    exp.DataType.Type.SMALLINT: (INTEGER, 16),
    exp.DataType.Type.INT: (INTEGER, 32),
    exp.DataType.Type.BIGINT: (INTEGER, 64),
    exp.DataType.Type.TEXT: (TEXT, None),
    exp.DataType.Type.DATE: (DATE, None),
    exp.DataType.Type.TIMESTAMP: (TIMESTAMP, None),
    exp.DataType.Type.BOOLEAN: (BOOLEAN, None),
    exp.DataType.Type.DOUBLE: (DOUBLE, None),
}


def _target(to: exp.Expression) -> tuple[ValueType, int | None, str]:
    """Value type, digits (bits for integers) and name of a cast's target."""
    name = to.sql("postgres").lower()
    if to.this == exp.DataType.Type.DECIMAL and len(to.expressions) == 2:  # noqa: PLR2004 - precision and scale
        precision, scale = (int(str(part.this.this)) for part in to.expressions)
        if 0 <= scale <= precision <= MAX_DIGITS and precision:
            return ValueType(Kind.DECIMAL, scale), precision, name
    if to.this not in _TARGETS or to.expressions:
        raise Misfit(
            f"cast to {name} is not available: smallint, integer, bigint, decimal(p,s), text, date, timestamp, "
            "boolean, double precision"
        )
    return *_TARGETS[to.this], name


CONSTRUCTS: dict[type[exp.Expression], Construct] = {
    exp.DPipe: _concat, exp.Lower: _textual, exp.Upper: _textual, exp.Trim: _textual, exp.Substring: _textual,
    exp.Left: _textual, exp.Right: _textual, exp.Replace: _textual, exp.Length: _textual, exp.Pad: _pad,
    exp.Cast: _cast, exp.TimestampTrunc: _date_trunc, exp.Extract: _extract,
}  # fmt: skip
