"""The rules of a contract as masks: one boolean expression per rule, true on the rows that break it.

Masks read the columns that hold the fields and the steps that made them. A null mask means that the rule does not speak
of the row. Nothing here evaluates anything.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import polars as pl

from bridge.contract import expression, normalise
from bridge.contract.compiler import Compiler, Steps, Typed
from bridge.contract.kinds import Kind
from bridge.contract.terms import Field, RowRule


@dataclass(frozen=True, slots=True)
class Mask:
    """One rule over the working frame."""

    rule: str
    field: str | None  # None for a rule over several fields
    detail: str  # what is expected
    reads: frozenset[str]  # fields; a row on which one of them is unchanged is excused
    broken: pl.Expr
    nulls: tuple[str | None, str] | None = None  # broken exactly where the second column has more nulls than the first


def field_masks(field: Field, value: Typed) -> list[Mask]:
    """The rules of one field whose value is a column, what its expression could not read first."""
    column, reads = value.expr, frozenset({field.name})
    masks = [Mask(fault.rule, field.name, fault.detail, reads, fault.mask, fault.nulls) for fault in value.faults]
    if field.required:
        rule = "required" if field.key_position is None else "key"
        nulls = (None, column.meta.output_name())
        masks.append(Mask(rule, field.name, "expected a value", reads, column.is_null(), nulls))
    if field.type.kind is Kind.DOUBLE:
        if "nan" not in field.marks_allowed:
            masks.append(Mask("nan", field.name, "expected a number", reads, column.is_nan()))
        if "infinity" not in field.marks_allowed:
            masks.append(Mask("infinity", field.name, "expected a finite number", reads, column.is_infinite()))
    limits = [*_length_limits(field, column), *_value_limits(field, column)]
    return masks + [Mask(rule, field.name, detail, reads, broken) for rule, detail, broken in limits]


def row_mask(rule: RowRule, compiler: Compiler) -> list[Mask]:
    """The masks of one cross-field rule. Raises: Misfit when its types do not fit."""
    condition = compiler.condition(rule.expression)
    reads = expression.columns(rule.expression)
    masks = [Mask(rule.name, None, fault.detail, reads, fault.mask, fault.nulls) for fault in condition.faults]
    return [*masks, Mask(rule.name, None, rule.description, reads, ~condition.expr)]


def over_fields(values: Mapping[str, Typed], steps: Steps) -> Compiler:
    """A compiler whose columns are the contract's own fields, for row rules; what made them is judged already."""
    return normalise.compiler({name: replace(value, faults=(), literal=None) for name, value in values.items()}, steps)


def _length_limits(field: Field, column: pl.Expr) -> Iterator[tuple[str, str, pl.Expr]]:
    if field.min_length:
        yield (
            "minLength",
            f"expected at least {field.min_length} characters",
            (column.str.len_chars() < field.min_length),
        )
    if field.max_length is not None:
        yield "maxLength", f"expected at most {field.max_length} characters", column.str.len_chars() > field.max_length
    if field.pattern is not None:
        yield "pattern", f"expected {field.written_pattern}", ~column.str.contains(field.pattern)


def _value_limits(field: Field, column: pl.Expr) -> Iterator[tuple[str, str, pl.Expr]]:
    def lit(value: object) -> pl.Expr:
        return pl.lit(value).cast(field.type.polars)

    if field.minimum is not None:
        yield "minimum", f"expected at least {field.minimum}", column < lit(field.minimum)
    if field.maximum is not None:
        yield "maximum", f"expected at most {field.maximum}", column > lit(field.maximum)
    if field.exclusive_minimum is not None:
        yield (
            "exclusiveMinimum",
            f"expected more than {field.exclusive_minimum}",
            column <= lit(field.exclusive_minimum),
        )
    if field.exclusive_maximum is not None:
        yield (
            "exclusiveMaximum",
            f"expected less than {field.exclusive_maximum}",
            column >= lit(field.exclusive_maximum),
        )
    step = field.multiple_of
    if step is not None and Decimal(step) != Decimal(1).scaleb(-field.type.scale):  # a type's own step needs no rule
        yield "multipleOf", f"expected a multiple of {step}", column % lit(step) != lit(0)
    if field.allowed:
        detail = f"expected one of {', '.join(map(str, field.allowed))}"
        yield "validValues", detail, ~column.is_in(pl.Series(field.allowed, dtype=field.type.polars).implode())
