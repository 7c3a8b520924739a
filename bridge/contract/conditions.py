"""Comparison, logic and choice in contract expressions, with SQL's three values of truth."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce

import polars as pl
from sqlglot import exp

from bridge.contract import strings
from bridge.contract.compiler import Compiler, Construct, Fault, Misfit, Typed, joined
from bridge.contract.kinds import BOOLEAN, NULL, Kind, ValueType


def _compare(compiler: Compiler, node: exp.Expression) -> Typed:
    left, right = compiler.alike(compiler.compile(node.this), compiler.compile(node.expression))
    return joined(_compared(type(node), left.expr, right.expr), BOOLEAN, left, right)


def _both(compiler: Compiler, node: exp.Expression) -> Typed:
    return _logic(compiler, node, lambda a, b: a & b)


def _either(compiler: Compiler, node: exp.Expression) -> Typed:
    return _logic(compiler, node, lambda a, b: a | b)


def _logic(compiler: Compiler, node: exp.Expression, make: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> Typed:
    left, right = compiler.condition(node.this), compiler.condition(node.expression)
    return joined(make(left.expr, right.expr), BOOLEAN, left, right)


def _invert(compiler: Compiler, node: exp.Expression) -> Typed:
    value = compiler.condition(node.this)
    return replace(value, expr=~value.expr, literal=None)


def _is(compiler: Compiler, node: exp.Expression) -> Typed:
    value = compiler.compile(node.this)
    if isinstance(node.expression, exp.Null):
        found = value.expr.is_null()
    elif isinstance(node.expression, exp.Boolean) and value.type == BOOLEAN:
        wanted = value.expr if node.expression.this else ~value.expr
        found = wanted.fill_null(value=False)
    else:
        raise Misfit("`is` takes null, or true and false after a condition")
    return replace(value, expr=~found if node.args.get("negate") else found, type=BOOLEAN, literal=None)


def _among(compiler: Compiler, node: exp.Expression) -> Typed:
    if not node.expressions:
        raise Misfit("`in` takes a list of values")
    value = compiler.compile(node.this)
    pairs = [compiler.alike(value, compiler.compile(item)) for item in node.expressions]
    found = reduce(lambda a, b: a | b, [_compared(exp.EQ, left.expr, right.expr) for left, right in pairs])
    return joined(found, BOOLEAN, *[side for pair in pairs for side in pair])


def _between(compiler: Compiler, node: exp.Expression) -> Typed:
    value = compiler.compile(node.this)
    low, bottom = compiler.alike(value, compiler.compile(node.args["low"]))
    high, top = compiler.alike(value, compiler.compile(node.args["high"]))
    return joined(
        _compared(exp.GTE, low.expr, bottom.expr) & _compared(exp.LTE, high.expr, top.expr),
        BOOLEAN,
        low,
        bottom,
        top,
    )


def _like(compiler: Compiler, node: exp.Expression) -> Typed:
    value, pattern = compiler.text(node.this), compiler.compile(node.expression).literal
    if not isinstance(pattern, str):
        raise Misfit("the pattern of like is a text literal")
    found = value.expr.str.contains(strings.like_regex(pattern, fold=isinstance(node, exp.ILike)))
    return replace(value, expr=~found if node.args.get("negate") else found, type=BOOLEAN, literal=None)


def _case(compiler: Compiler, node: exp.Expression) -> Typed:
    subject = node.this
    conditions, values = [], []
    for branch in node.args["ifs"]:
        test = exp.EQ(this=subject, expression=branch.this) if subject is not None else branch.this
        conditions.append(compiler.condition(test))
        values.append(compiler.compile(branch.args["true"]))
    default = node.args.get("default")
    values.append(compiler.compile(default) if default is not None else Typed(pl.lit(None), NULL))
    values = _unify(values)
    faults: list[Fault] = []
    result, open_rows = values[-1].expr, pl.lit(value=True)
    for test, value in zip(conditions, values, strict=False):
        taken = open_rows & test.expr.fill_null(value=False)
        faults += _guarded(test.faults, open_rows) + _guarded(value.faults, taken)
        open_rows &= ~test.expr.fill_null(value=False)
    for test, value in zip(reversed(conditions), reversed(values[:-1]), strict=True):
        result = pl.when(test.expr).then(value.expr).otherwise(result)
    faults += _guarded(values[-1].faults, open_rows)
    return Typed(result, values[0].type, tuple(faults), max(v.level for v in [*conditions, *values]))


def _coalesce(compiler: Compiler, node: exp.Expression) -> Typed:
    values = _unify([compiler.compile(item) for item in [node.this, *node.expressions]])
    faults: list[Fault] = list(values[0].faults)
    for index, value in enumerate(values[1:], 1):
        missing = pl.all_horizontal([earlier.expr.is_null() for earlier in values[:index]])
        faults += _guarded(value.faults, missing)
    expr = pl.coalesce([value.expr for value in values])
    return Typed(expr, values[0].type, tuple(faults), max(value.level for value in values))


def _nullif(compiler: Compiler, node: exp.Expression) -> Typed:
    value = compiler.compile(node.this)
    left, right = compiler.alike(value, compiler.compile(node.expression))
    same = _compared(exp.EQ, left.expr, right.expr).fill_null(value=False)
    return joined(pl.when(same).then(None).otherwise(value.expr), value.type, left, right)


def _unify(values: Sequence[Typed]) -> list[Typed]:
    types = {value.type for value in values} - {NULL}
    if not types:
        raise Misfit("at least one value must not be null")
    if len(types) > 1 and not all(of.is_exact for of in types):
        raise Misfit(f"{', '.join(sorted(map(str, types)))} cannot be mixed; cast them")
    common = types.pop() if len(types) == 1 else ValueType(Kind.DECIMAL, max(of.scale for of in types))
    return [replace(value, expr=value.expr.cast(common.polars), type=common) for value in values]


def _compared(operator: type[exp.Expression], left: pl.Expr, right: pl.Expr) -> pl.Expr:
    """A comparison with the constant side on the right.

    Polars 2.1 gives one row for a constant compared with a sorted column of nulls, unless the column stands first.
    """
    if not left.meta.root_names():
        return _COMPARISONS[_MIRRORED.get(operator, operator)](right, left)
    return _COMPARISONS[operator](left, right)


def _guarded(faults: Sequence[Fault], taken: pl.Expr) -> list[Fault]:
    return [replace(fault, mask=taken & fault.mask, nulls=None) for fault in faults]


_COMPARISONS: dict[type[exp.Expression], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    exp.EQ: lambda a, b: a == b,
    exp.NEQ: lambda a, b: a != b,
    exp.LT: lambda a, b: a < b,
    exp.LTE: lambda a, b: a <= b,
    exp.GT: lambda a, b: a > b,
    exp.GTE: lambda a, b: a >= b,
}

_MIRRORED: dict[type[exp.Expression], type[exp.Expression]] = {
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
}

CONSTRUCTS: dict[type[exp.Expression], Construct] = {
    **dict.fromkeys(_COMPARISONS, _compare), exp.And: _both, exp.Or: _either, exp.Not: _invert, exp.Is: _is,
    exp.In: _among, exp.Between: _between, exp.Like: _like, exp.ILike: _like, exp.Case: _case,
    exp.Coalesce: _coalesce, exp.Nullif: _nullif,
}  # fmt: skip
