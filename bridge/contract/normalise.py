"""Compile contract expressions to Polars, once per shape of the legacy table.

What each construct becomes stands in the modules this one gathers; `compiler` says what they promise together.
"""

from collections.abc import Mapping
from decimal import Decimal

import polars as pl
from sqlglot import exp

from bridge.contract import arithmetic, conditions, conversions, expression, inputs, legacy
from bridge.contract.compiler import Compiler, Construct, Misfit, Steps, Typed
from bridge.contract.kinds import BOOLEAN, INTEGER, MAX_DIGITS, NULL, TEXT, Kind, ValueType
from bridge.model import Shape


def over_table(shape: Shape) -> Compiler:
    """A compiler whose columns are those of a legacy table."""
    known, readable = inputs.of(shape)
    return compiler({name: Typed(expr, of) for name, (expr, of) in readable.items()}, Steps(known))


def compiler(columns: Mapping[str, Typed], steps: Steps) -> Compiler:
    """A compiler of all that `expression.parse` admits.

    Args:
        columns: value type and column expression by name as written in the contract.
        steps: where intermediate columns go; shared by all expressions of a contract.
    """
    return Compiler(columns, steps, _CONSTRUCTS)


def _column(compiler: Compiler, node: exp.Expression) -> Typed:
    name = expression.name_of(node)
    if name not in compiler.columns:
        raise Misfit(f"there is no column `{name}`")
    return compiler.columns[name]


def _literal(_: Compiler, node: exp.Expression) -> Typed:
    text = str(node.this)
    if node.args["is_string"]:
        return Typed(pl.lit(text, dtype=pl.String), TEXT, literal=text)
    try:
        value = Decimal(text)
        places = max(0, -int(value.as_tuple().exponent))
        if abs(value) >= Decimal(10) ** (MAX_DIGITS - places):
            raise Misfit("a number has more than 38 digits")
    except ArithmeticError as error:
        raise Misfit(f"`{text[:40]}` is not a number") from error
    if "." not in text and "e" not in text.lower() and abs(value) < 2**63:
        return Typed(pl.lit(int(text), dtype=pl.Int64), INTEGER, literal=int(text))
    of = ValueType(Kind.DECIMAL, places)
    return Typed(pl.lit(format(value, "f")).cast(of.polars), of, literal=value)


def _boolean(_: Compiler, node: exp.Expression) -> Typed:
    return Typed(pl.lit(bool(node.this)), BOOLEAN, literal=bool(node.this))


def _null(_: Compiler, __: exp.Expression) -> Typed:
    return Typed(pl.lit(None), NULL)


def _paren(compiler: Compiler, node: exp.Expression) -> Typed:
    return compiler.compile(node.this)


_CONSTRUCTS: dict[type[exp.Expression], Construct] = {
    exp.Column: _column, exp.Literal: _literal, exp.Boolean: _boolean, exp.Null: _null, exp.Paren: _paren,
    **arithmetic.CONSTRUCTS, **conditions.CONSTRUCTS, **conversions.CONSTRUCTS, exp.Anonymous: legacy.call,
}  # fmt: skip
