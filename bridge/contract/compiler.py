"""The compiler of contract expressions: what its parts hand each other, and what they all need.

Promises: arithmetic on integers and decimals is exact, and nothing is silently rounded, cut or turned into null (I5):
an operation that cannot give a value for an input leaves a *fault*, a mask of the rows it failed on. Results that may
fail are computed once into a named intermediate column (*step*), so that faults cost one comparison. Overflow beyond 38
digits raises at evaluation; the caller finds the row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
from sqlglot import exp

from bridge.contract import functions
from bridge.contract.casts import CastFailure, convert
from bridge.contract.inputs import Input
from bridge.contract.kinds import BOOLEAN, DOUBLE, MAX_DIGITS, NULL, TEXT, Kind, ValueType


class Misfit(Exception):
    """An expression does not fit the columns it is given; the caller turns it into drift."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Rows on which one operation had an input it could not read."""

    rule: str  # "type" or "code"
    mask: pl.Expr
    detail: str
    nulls: tuple[str, str] | None = None  # columns in and out: it struck exactly where out has more nulls than in


@dataclass(frozen=True, slots=True)
class Typed:
    """A compiled expression: what computes it, what comes out, and where it fails."""

    expr: pl.Expr
    type: ValueType
    faults: tuple[Fault, ...] = ()
    level: int = 0  # the number of step levels that must be computed before it
    literal: Any = None  # value of a literal


@dataclass(slots=True)
class Steps:
    """The columns of the working frame: inputs, and by level what is computed of them and of the levels below."""

    inputs: dict[str, Input] = field(default_factory=dict)
    levels: list[list[pl.Expr]] = field(default_factory=list)
    count: int = 0

    def add(self, value: Typed) -> Typed:
        """Give a value a column of its own, so that reading it again costs nothing."""
        if value.expr.meta.is_column():
            return value
        while len(self.levels) <= value.level:
            self.levels.append([])
        name = f"step {self.count}"
        self.count += 1
        self.levels[value.level].append(value.expr.cast(value.type.polars).alias(name))
        return replace(value, expr=pl.col(name), level=value.level + 1)

    def input_of(self, value: Typed) -> Input | None:
        """The input that a value is, as it stands."""
        meta = value.expr.meta
        return self.inputs.get(meta.output_name()) if meta.is_column() else None


class Compiler:
    """Compiles the expressions of one contract against known columns.

    Args:
        columns: value type and column expression by name as written in the contract.
        steps: where intermediate columns go; shared by all expressions of a contract.
        constructs: how each SQL construct is compiled.
    """

    def __init__(self, columns: Mapping[str, Typed], steps: Steps, constructs: Mapping[Any, "Construct"]) -> None:
        self.columns = columns
        self.steps = steps
        self._constructs = constructs

    def compile(self, tree: exp.Expression) -> Typed:
        """Compile one admitted expression. Raises: Misfit when its types do not fit."""
        return self._constructs[type(tree)](self, tree)

    def condition(self, node: exp.Expression) -> Typed:
        """Compile a boolean expression."""
        value = self.compile(node)
        if value.type == NULL:
            return replace(value, expr=pl.lit(None, dtype=pl.Boolean), type=BOOLEAN)
        if value.type != BOOLEAN:
            raise Misfit(f"a condition is expected, not {value.type}")
        return value

    def text(self, node: exp.Expression) -> Typed:
        """Compile a text expression."""
        value = self.compile(node)
        if value.type != TEXT:
            raise Misfit(f"text is expected, not {value.type}; cast it")
        return replace(value, literal=None)

    def whole(self, node: exp.Expression) -> int:
        """The value of an integer literal."""
        found = self.compile(node).literal
        if not isinstance(found, int):
            raise Misfit("a whole number is expected")
        return found

    def fallible(
        self,
        given: Typed,
        make: Callable[[pl.Expr], pl.Expr],
        gives: ValueType,
        *,
        detail: str,
        rule: str = "type",
        absent: int | None = None,
    ) -> Typed:
        """An operation that gives null where it fails: its result as a step, with a fault for the failures.

        Args:
            given: its input.
            make: the operation.
            gives: the type of its result.
            detail: what is expected.
            rule: whose breach a failure is.
            absent: a number that stands for null.
        """
        held = self.steps.add(given)
        result = self.steps.add(Typed(make(held.expr), gives, level=held.level))
        failed, nulls = result.expr.is_null(), None
        if absent is None:
            failed &= held.expr.is_not_null()
            nulls = (held.expr.meta.output_name(), result.expr.meta.output_name())
        else:
            failed &= held.expr != absent
        return replace(result, faults=(*given.faults, Fault(rule, failed, detail, nulls)))

    def cast(self, given: Typed, target: ValueType, *, digits: int | None = None, name: str = "") -> Typed:
        """Convert strictly: a value that does not fit leaves a fault."""
        try:
            plan = convert(given.type, target, digits=digits)
        except CastFailure as failure:
            raise Misfit(str(failure)) from failure
        if given.type == target and self._fits(given, digits):
            return given
        if not plan.may_fail:
            return replace(given, expr=plan.make(given.expr), type=target, literal=None)
        return self.fallible(given, plan.make, target, detail=f"expected {name or target}")

    def _fits(self, given: Typed, digits: int | None) -> bool:
        """Whether no value of an input can have more digits than allowed."""
        known = self.steps.input_of(given)
        return known is not None and known.digits is not None and known.digits <= (digits or MAX_DIGITS)

    def shift(self, value: Typed, places: int) -> Typed:
        """An exact number divided by a power of ten, exactly; an input only has its point put elsewhere."""
        of = ValueType(Kind.DECIMAL, value.type.scale + places)
        known = self.steps.input_of(value)
        moved = known.shifted(places) if known is not None else None
        if moved is None:
            expr = functions.shift_point(value.expr, value.type.scale, places=places)
        else:
            name = f"{value.expr.meta.output_name()} e-{places}"
            self.steps.inputs[name] = moved
            expr = pl.col(name)
        return replace(value, expr=expr, type=of, literal=None)

    def alike(self, left: Typed, right: Typed) -> tuple[Typed, Typed]:
        """Both sides in kinds that can be compared; a text literal takes the other side's kind."""
        if left.type.kind is right.type.kind or (left.type.is_exact and right.type.is_exact):
            return left, right
        if NULL in {left.type, right.type}:
            return left, right
        if isinstance(right.literal, str):
            return left, self.cast_literal(right, left.type)
        if isinstance(left.literal, str):
            return self.cast_literal(left, right.type), right
        if DOUBLE in {left.type, right.type} and (left.literal is not None or right.literal is not None):
            return tuple(replace(side, expr=side.expr.cast(pl.Float64)) for side in (left, right))  # type: ignore[return-value]
        raise Misfit(f"{left.type} and {right.type} cannot be compared; cast one side")

    def cast_literal(self, literal: Typed, target: ValueType) -> Typed:
        """A text literal as a value of another kind."""
        plan = self.cast(literal, target).type  # raises Misfit where there is no such cast
        made = pl.select(convert(TEXT, target).make(pl.lit(literal.literal))).to_series()
        if made[0] is None:
            raise Misfit(f"a literal is not a {target}")
        return Typed(pl.lit(made[0], dtype=target.polars), plan, literal=made[0])


Construct = Callable[[Compiler, exp.Expression], Typed]


def joined(expr: pl.Expr, of: ValueType, *parts: Typed) -> Typed:
    """An expression made of several, with the faults of all."""
    faults = {id(fault): fault for part in parts for fault in part.faults}  # sides of one value share its faults
    return Typed(expr, of, tuple(faults.values()), max(part.level for part in parts))
