"""Arithmetic of contract expressions: exact on integers and decimals up to 38 digits, IEEE on doubles."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl
from sqlglot import exp

from bridge.contract.compiler import Compiler, Construct, Misfit, Typed, joined
from bridge.contract.kinds import DOUBLE, INTEGER, MAX_DIGITS, Kind, ValueType


def _negate(compiler: Compiler, node: exp.Expression) -> Typed:
    if isinstance(node.this, exp.Literal) and not node.this.args["is_string"]:
        value = compiler.compile(node.this)
        return replace(value, expr=-value.expr, literal=-value.literal)
    zero = Typed(pl.lit(0, dtype=pl.Int64), INTEGER)
    return _arithmetic(zero, compiler.compile(node.this), lambda a, b: a - b)


def _add(compiler: Compiler, node: exp.Expression) -> Typed:
    return _arithmetic(compiler.compile(node.this), compiler.compile(node.expression), lambda a, b: a + b)


def _subtract(compiler: Compiler, node: exp.Expression) -> Typed:
    return _arithmetic(compiler.compile(node.this), compiler.compile(node.expression), lambda a, b: a - b)


def _multiply(compiler: Compiler, node: exp.Expression) -> Typed:
    left, right = compiler.compile(node.this), compiler.compile(node.expression)
    scale = left.type.scale + right.type.scale
    return _arithmetic(left, right, lambda a, b: a * b, scale=scale)


def _divide(compiler: Compiler, node: exp.Expression) -> Typed:
    left, right = compiler.compile(node.this), compiler.compile(node.expression)
    if left.type == DOUBLE and right.type == DOUBLE:
        return _arithmetic(left, right, lambda a, b: a / b)
    places = _power_of_ten(right.literal)
    if not left.type.is_exact or places is None or left.type.scale + places > MAX_DIGITS:
        raise Misfit("exact division is by 1, 10, 100 …; multiply, or cast both sides to double")
    return compiler.shift(left, places)


def _modulo(compiler: Compiler, node: exp.Expression) -> Typed:
    left, right = compiler.compile(node.this), compiler.compile(node.expression)
    if not right.literal:
        raise Misfit("the right side of % must be a number other than 0")
    return _arithmetic(left, right, lambda a, b: pl.when(a < 0).then(-(-a % b.abs())).otherwise(a % b.abs()))


def _arithmetic(
    left: Typed,
    right: Typed,
    make: Callable[[pl.Expr, pl.Expr], pl.Expr],
    *,
    scale: int | None = None,
) -> Typed:
    if left.type == DOUBLE and right.type == DOUBLE:
        return joined(make(left.expr, right.expr), DOUBLE, left, right)
    if not (left.type.is_exact and right.type.is_exact):
        raise Misfit(f"{left.type} and {right.type} cannot be calculated with; cast one side")
    of = ValueType(Kind.DECIMAL, max(left.type.scale, right.type.scale) if scale is None else scale)
    if of.scale > MAX_DIGITS:
        raise Misfit("the result has more than 38 digits after the point")
    return joined(make(left.expr.cast(of.polars), right.expr.cast(of.polars)), of, left, right)


def _absolute(compiler: Compiler, node: exp.Expression) -> Typed:
    value = compiler.compile(node.this)
    if value.type == INTEGER:
        value = replace(value, expr=value.expr.cast(pl.Decimal(MAX_DIGITS, 0)), type=ValueType(Kind.DECIMAL))
    if not value.type.is_exact and value.type != DOUBLE:
        raise Misfit(f"abs takes a number, not {value.type}")
    return replace(value, expr=value.expr.abs(), literal=None)


def _round(compiler: Compiler, node: exp.Expression) -> Typed:
    value = compiler.compile(node.this)
    places = compiler.whole(node.args["decimals"]) if node.args.get("decimals") else 0
    if not 0 <= places <= 18:  # noqa: PLR2004 - doubles carry 17 digits
        raise Misfit("round takes 0 to 18 decimals")
    if value.type == DOUBLE:  # through its shortest decimal text, as PostgreSQL casts it
        wide = ValueType(Kind.DECIMAL, 18)
        value = compiler.fallible(
            value,
            lambda expr: expr.cast(pl.String).cast(wide.polars, strict=False),
            wide,
            detail="expected a finite number",
        )
    if not value.type.is_exact:
        raise Misfit(f"round takes a number, not {value.type}")
    of = ValueType(Kind.DECIMAL, places)
    rounded = value.expr.cast(pl.Decimal(MAX_DIGITS, value.type.scale))
    if places < value.type.scale:
        rounded = rounded.round(places, mode="half_away_from_zero")
    return replace(value, expr=rounded.cast(of.polars), type=of, literal=None)


def _power_of_ten(value: object) -> int | None:
    if not isinstance(value, int) or value < 1 or str(value).strip("0") != "1":
        return None
    return len(str(value)) - 1


CONSTRUCTS: dict[type[exp.Expression], Construct] = {
    exp.Neg: _negate, exp.Add: _add, exp.Sub: _subtract, exp.Mul: _multiply, exp.Div: _divide, exp.Mod: _modulo,
    exp.Abs: _absolute, exp.Round: _round,
}  # fmt: skip
