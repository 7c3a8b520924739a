"""Compile contract expressions to Polars, once per shape of the legacy table.

Promises: arithmetic on integers and decimals is exact, and nothing is silently rounded, cut or turned into null (I5):
an operation that cannot give a value for an input leaves a *fault*, a mask of the rows it failed on. Results that may
fail are computed once into a named intermediate column (*step*), so that faults cost one comparison. Overflow beyond 38
digits raises at evaluation; the caller finds the row.
"""
# ruff: noqa: D102 - one method per SQL construct, named in the tables at the end

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import reduce
from typing import Any

import polars as pl
from sqlglot import exp

from bridge.contract import expression, functions, strings
from bridge.contract.casts import CastFailure, convert
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

RAW = "raw "  # prefix of legacy columns in the working frame; fields have their own names


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
    """Intermediate columns, by level: each level reads only legacy columns and levels below."""

    levels: list[list[pl.Expr]] = field(default_factory=list)
    count: int = 0

    def add(self, value: Typed) -> Typed:
        """Give a value a column of its own, so that reading it again costs nothing."""
        while len(self.levels) <= value.level:
            self.levels.append([])
        name = f"step {self.count}"
        self.count += 1
        self.levels[value.level].append(value.expr.alias(name))
        return replace(value, expr=pl.col(name), level=value.level + 1)


class Compiler:
    """Compiles the expressions of one contract against known columns.

    Args:
        columns: value type and column expression by name as written in the contract.
        steps: where intermediate columns go; shared by all expressions of a contract.
    """

    def __init__(self, columns: Mapping[str, Typed], steps: Steps) -> None:
        self._columns = columns
        self._steps = steps

    def compile(self, tree: exp.Expression) -> Typed:
        """Compile one admitted expression. Raises: Misfit when its types do not fit."""
        return _COMPILERS[type(tree)](self, tree)

    def fallible(
        self, given: Typed, make: Callable[[pl.Expr], pl.Expr], gives: ValueType, *, detail: str, rule: str = "type"
    ) -> Typed:
        """An operation that gives null where it fails: its result as a step, with a fault for the failures."""
        held = given if given.expr.meta.is_column() else self._steps.add(given)
        result = self._steps.add(Typed(make(held.expr), gives, level=held.level))
        failed = held.expr.is_not_null() & result.expr.is_null()
        nulls = (held.expr.meta.output_name(), result.expr.meta.output_name())
        return replace(result, faults=(*given.faults, Fault(rule, failed, detail, nulls)))

    def cast(self, given: Typed, target: ValueType, *, digits: int | None = None, name: str = "") -> Typed:
        """Convert strictly: a value that does not fit leaves a fault."""
        try:
            plan = convert(given.type, target, digits=digits)
        except CastFailure as failure:
            raise Misfit(str(failure)) from failure
        if not plan.may_fail:
            return replace(given, expr=plan.make(given.expr), type=target, literal=None)
        return self.fallible(given, plan.make, target, detail=f"expected {name or target}")

    # -- leaves
    def column(self, node: exp.Expression) -> Typed:
        name = expression.name_of(node)
        if name not in self._columns:
            raise Misfit(f"there is no column `{name}`")
        return self._columns[name]

    def literal(self, node: exp.Expression) -> Typed:
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

    def boolean(self, node: exp.Expression) -> Typed:
        return Typed(pl.lit(bool(node.this)), BOOLEAN, literal=bool(node.this))

    def null(self, node: exp.Expression) -> Typed:  # noqa: ARG002 - the table's signature
        return Typed(pl.lit(None), NULL)

    def paren(self, node: exp.Expression) -> Typed:
        return self.compile(node.this)

    # -- arithmetic
    def negate(self, node: exp.Expression) -> Typed:
        if isinstance(node.this, exp.Literal) and not node.this.args["is_string"]:
            value = self.literal(node.this)
            return replace(value, expr=-value.expr, literal=-value.literal)
        zero = Typed(pl.lit(0, dtype=pl.Int64), INTEGER)
        return self._arithmetic(zero, self.compile(node.this), lambda a, b: a - b)

    def add(self, node: exp.Expression) -> Typed:
        return self._arithmetic(self.compile(node.this), self.compile(node.expression), lambda a, b: a + b)

    def subtract(self, node: exp.Expression) -> Typed:
        return self._arithmetic(self.compile(node.this), self.compile(node.expression), lambda a, b: a - b)

    def multiply(self, node: exp.Expression) -> Typed:
        left, right = self.compile(node.this), self.compile(node.expression)
        scale = left.type.scale + right.type.scale
        return self._arithmetic(left, right, lambda a, b: a * b, scale=scale)

    def divide(self, node: exp.Expression) -> Typed:
        left, right = self.compile(node.this), self.compile(node.expression)
        if left.type == DOUBLE and right.type == DOUBLE:
            return self._arithmetic(left, right, lambda a, b: a / b)
        places = _power_of_ten(right.literal)
        if not left.type.is_exact or places is None or left.type.scale + places > MAX_DIGITS:
            raise Misfit("exact division is by 1, 10, 100 …; multiply, or cast both sides to double")
        of = ValueType(Kind.DECIMAL, left.type.scale + places)
        return replace(left, expr=functions.shift_point(left.expr, left.type.scale, places=places), type=of)

    def modulo(self, node: exp.Expression) -> Typed:
        left, right = self.compile(node.this), self.compile(node.expression)
        if not right.literal:
            raise Misfit("the right side of % must be a number other than 0")
        return self._arithmetic(left, right, lambda a, b: pl.when(a < 0).then(-(-a % b.abs())).otherwise(a % b.abs()))

    def _arithmetic(
        self, left: Typed, right: Typed, make: Callable[[pl.Expr, pl.Expr], pl.Expr], *, scale: int | None = None
    ) -> Typed:
        if left.type == DOUBLE and right.type == DOUBLE:
            return _joined(make(left.expr, right.expr), DOUBLE, left, right)
        if not (left.type.is_exact and right.type.is_exact):
            raise Misfit(f"{left.type} and {right.type} cannot be calculated with; cast one side")
        of = ValueType(Kind.DECIMAL, max(left.type.scale, right.type.scale) if scale is None else scale)
        if of.scale > MAX_DIGITS:
            raise Misfit("the result has more than 38 digits after the point")
        return _joined(make(left.expr.cast(of.polars), right.expr.cast(of.polars)), of, left, right)

    def absolute(self, node: exp.Expression) -> Typed:
        value = self.compile(node.this)
        if value.type == INTEGER:
            value = replace(value, expr=value.expr.cast(pl.Decimal(MAX_DIGITS, 0)), type=ValueType(Kind.DECIMAL))
        if not value.type.is_exact and value.type != DOUBLE:
            raise Misfit(f"abs takes a number, not {value.type}")
        return replace(value, expr=value.expr.abs(), literal=None)

    def round(self, node: exp.Expression) -> Typed:
        value = self.compile(node.this)
        places = _whole(self.compile(node.args["decimals"])) if node.args.get("decimals") else 0
        if not 0 <= places <= 18:  # noqa: PLR2004 - doubles carry 17 digits
            raise Misfit("round takes 0 to 18 decimals")
        if value.type == DOUBLE:  # through its shortest decimal text, as PostgreSQL casts it
            wide = ValueType(Kind.DECIMAL, 18)
            value = self.fallible(
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

    # -- comparison and logic
    def compare(self, node: exp.Expression) -> Typed:
        left, right = self._alike(self.compile(node.this), self.compile(node.expression))
        return _joined(_compared(type(node), left.expr, right.expr), BOOLEAN, left, right)

    def _alike(self, left: Typed, right: Typed) -> tuple[Typed, Typed]:
        """Both sides in kinds that can be compared; a text literal takes the other side's kind."""
        if left.type.kind is right.type.kind or (left.type.is_exact and right.type.is_exact):
            return left, right
        if NULL in {left.type, right.type}:
            return left, right
        if isinstance(right.literal, str):
            return left, self._cast_literal(right, left.type)
        if isinstance(left.literal, str):
            return self._cast_literal(left, right.type), right
        if DOUBLE in {left.type, right.type} and (left.literal is not None or right.literal is not None):
            return tuple(replace(side, expr=side.expr.cast(pl.Float64)) for side in (left, right))  # type: ignore[return-value]
        raise Misfit(f"{left.type} and {right.type} cannot be compared; cast one side")

    def _cast_literal(self, literal: Typed, target: ValueType) -> Typed:
        plan = self.cast(literal, target).type  # raises Misfit where there is no such cast
        made = pl.select(convert(TEXT, target).make(pl.lit(literal.literal))).to_series()
        if made[0] is None:
            raise Misfit(f"a literal is not a {target}")
        return Typed(pl.lit(made[0], dtype=target.polars), plan, literal=made[0])

    def both(self, node: exp.Expression) -> Typed:
        return self._logic(node, lambda a, b: a & b)

    def either(self, node: exp.Expression) -> Typed:
        return self._logic(node, lambda a, b: a | b)

    def _logic(self, node: exp.Expression, make: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> Typed:
        left, right = self.condition(node.this), self.condition(node.expression)
        return _joined(make(left.expr, right.expr), BOOLEAN, left, right)

    def condition(self, node: exp.Expression) -> Typed:
        """A boolean expression."""
        value = self.compile(node)
        if value.type == NULL:
            return replace(value, expr=pl.lit(None, dtype=pl.Boolean), type=BOOLEAN)
        if value.type != BOOLEAN:
            raise Misfit(f"a condition is expected, not {value.type}")
        return value

    def invert(self, node: exp.Expression) -> Typed:
        value = self.condition(node.this)
        return replace(value, expr=~value.expr, literal=None)

    def is_(self, node: exp.Expression) -> Typed:
        value = self.compile(node.this)
        if isinstance(node.expression, exp.Null):
            found = value.expr.is_null()
        elif isinstance(node.expression, exp.Boolean) and value.type == BOOLEAN:
            wanted = value.expr if node.expression.this else ~value.expr
            found = wanted.fill_null(value=False)
        else:
            raise Misfit("`is` takes null, or true and false after a condition")
        return replace(value, expr=~found if node.args.get("negate") else found, type=BOOLEAN, literal=None)

    def among(self, node: exp.Expression) -> Typed:
        if not node.expressions:
            raise Misfit("`in` takes a list of values")
        value = self.compile(node.this)
        pairs = [self._alike(value, self.compile(item)) for item in node.expressions]
        found = reduce(lambda a, b: a | b, [_compared(exp.EQ, left.expr, right.expr) for left, right in pairs])
        return _joined(found, BOOLEAN, *[side for pair in pairs for side in pair])

    def between(self, node: exp.Expression) -> Typed:
        value = self.compile(node.this)
        low, bottom = self._alike(value, self.compile(node.args["low"]))
        high, top = self._alike(value, self.compile(node.args["high"]))
        return _joined(
            _compared(exp.GTE, low.expr, bottom.expr) & _compared(exp.LTE, high.expr, top.expr),
            BOOLEAN,
            low,
            bottom,
            top,
        )

    def like(self, node: exp.Expression) -> Typed:
        value, pattern = self.text(node.this), self.compile(node.expression).literal
        if not isinstance(pattern, str):
            raise Misfit("the pattern of like is a text literal")
        found = value.expr.str.contains(strings.like_regex(pattern, fold=isinstance(node, exp.ILike)))
        return replace(value, expr=~found if node.args.get("negate") else found, type=BOOLEAN, literal=None)

    # -- choice
    def case(self, node: exp.Expression) -> Typed:
        subject = node.this
        conditions, values = [], []
        for branch in node.args["ifs"]:
            test = exp.EQ(this=subject, expression=branch.this) if subject is not None else branch.this
            conditions.append(self.condition(test))
            values.append(self.compile(branch.args["true"]))
        default = node.args.get("default")
        values.append(self.compile(default) if default is not None else Typed(pl.lit(None), NULL))
        values = self._unify(values)
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

    def coalesce(self, node: exp.Expression) -> Typed:
        values = self._unify([self.compile(item) for item in [node.this, *node.expressions]])
        faults: list[Fault] = list(values[0].faults)
        for index, value in enumerate(values[1:], 1):
            missing = pl.all_horizontal([earlier.expr.is_null() for earlier in values[:index]])
            faults += _guarded(value.faults, missing)
        expr = pl.coalesce([value.expr for value in values])
        return Typed(expr, values[0].type, tuple(faults), max(value.level for value in values))

    def nullif(self, node: exp.Expression) -> Typed:
        value = self.compile(node.this)
        left, right = self._alike(value, self.compile(node.expression))
        same = _compared(exp.EQ, left.expr, right.expr).fill_null(value=False)
        return _joined(pl.when(same).then(None).otherwise(value.expr), value.type, left, right)

    def _unify(self, values: Sequence[Typed]) -> list[Typed]:
        types = {value.type for value in values} - {NULL}
        if not types:
            raise Misfit("at least one value must not be null")
        if len(types) > 1 and not all(of.is_exact for of in types):
            raise Misfit(f"{', '.join(sorted(map(str, types)))} cannot be mixed; cast them")
        common = types.pop() if len(types) == 1 else ValueType(Kind.DECIMAL, max(of.scale for of in types))
        return [replace(value, expr=value.expr.cast(common.polars), type=common) for value in values]

    # -- text
    def text(self, node: exp.Expression) -> Typed:
        """A text expression."""
        value = self.compile(node)
        if value.type != TEXT:
            raise Misfit(f"text is expected, not {value.type}; cast it")
        return replace(value, literal=None)

    def concat(self, node: exp.Expression) -> Typed:
        left, right = self.text(node.this), self.text(node.expression)
        return _joined(left.expr + right.expr, TEXT, left, right)

    def textual(self, node: exp.Expression) -> Typed:
        value = self.text(node.this)
        arguments = {
            name: self.compile(part).literal if isinstance(part, exp.Expression) else part
            for name, part in node.args.items()
            if name != "this" and part is not None
        }
        try:
            expr, gives = strings.apply(type(node), value.expr, arguments)
        except ValueError as error:
            raise Misfit(str(error)) from error
        return replace(value, expr=expr, type=gives)

    def pad(self, node: exp.Expression) -> Typed:
        value = self.text(node.this)
        width = _whole(self.compile(node.expression))
        fill = self.compile(node.args["fill_pattern"]).literal if node.args.get("fill_pattern") else " "
        if not node.args.get("is_left") or not isinstance(fill, str) or len(fill) != 1 or not 0 < width <= 1000:  # noqa: PLR2004 - bound on memory
            raise Misfit("lpad takes a width up to 1000 and one fill character")

        def make(expr: pl.Expr) -> pl.Expr:
            return pl.when(expr.str.len_chars() <= width).then(expr.str.pad_start(width, fill)).otherwise(None)

        return self.fallible(value, make, TEXT, detail=f"expected at most {width} characters")

    # -- conversions and dates
    def cast_(self, node: exp.Expression) -> Typed:
        value = self.compile(node.this)
        target, digits, name = _target(node.args["to"])
        if value.type == NULL:
            return Typed(pl.lit(None, dtype=target.polars), target)
        if isinstance(value.literal, str) and target.kind is not Kind.TEXT:
            return self._cast_literal(value, target)
        return self.cast(value, target, digits=digits, name=name)

    def date_trunc(self, node: exp.Expression) -> Typed:
        value, unit = self.compile(node.this), str(node.args["unit"].this).lower()
        every = {"minute": "1m", "hour": "1h", "day": "1d", "week": "1w", "month": "1mo", "quarter": "1q", "year": "1y"}
        if unit not in every or value.type not in {DATE, TIMESTAMP, INSTANT}:
            raise Misfit(f"date_trunc takes one of {', '.join(every)} and a date or timestamp")
        return replace(value, expr=value.expr.dt.truncate(every[unit]))

    def extract(self, node: exp.Expression) -> Typed:
        value, part = self.compile(node.expression), str(node.this.this).lower()
        parts: dict[str, Callable[[pl.Expr], pl.Expr]] = {
            "year": lambda e: e.dt.year(), "quarter": lambda e: e.dt.quarter(), "month": lambda e: e.dt.month(),
            "week": lambda e: e.dt.week(), "day": lambda e: e.dt.day(), "doy": lambda e: e.dt.ordinal_day(),
            "dow": lambda e: e.dt.weekday() % 7, "hour": lambda e: e.dt.hour(), "minute": lambda e: e.dt.minute(),
        }  # fmt: skip
        if part not in parts or value.type not in {DATE, TIMESTAMP, INSTANT}:
            raise Misfit(f"extract takes one of {', '.join(parts)} from a date or timestamp")
        if value.type == DATE and part in {"hour", "minute"}:
            raise Misfit(f"a date has no {part}")
        return replace(value, expr=parts[part](value.expr).cast(pl.Int64), type=INTEGER)

    # -- functions of ours
    def legacy(self, node: exp.Expression) -> Typed:
        value, rest = self.compile(node.expressions[0]), [self.compile(item).literal for item in node.expressions[1:]]
        return _LEGACY[str(node.this).lower()](self, value, rest)

    def cyymmdd(self, value: Typed, rest: list[Any]) -> Typed:
        if not value.type.is_exact or value.type.scale:
            raise Misfit(f"cyymmdd takes a whole number, not {value.type}")
        if rest:
            _zone(rest[0])

        absent = pl.when(value.expr != 0).then(value.expr).otherwise(None)
        return self.fallible(
            replace(value, expr=absent),
            lambda expr: functions.cyymmdd(expr.cast(pl.Int32, strict=False)),
            DATE,
            detail="expected a CYYMMDD date",
        )

    def implied_decimal(self, value: Typed, rest: list[Any]) -> Typed:
        places = rest[0]
        if not value.type.is_exact or value.type.scale or not isinstance(places, int) or not 0 <= places <= 18:  # noqa: PLR2004 - digits of a bigint
            raise Misfit("implied_decimal takes a whole number and 0 to 18 decimals")
        of = ValueType(Kind.DECIMAL, places)
        return replace(value, expr=functions.shift_point(value.expr, 0, places=places), type=of)

    def code(self, value: Typed, rest: list[Any]) -> Typed:
        if value.type != TEXT or len(rest) % 2 or not all(isinstance(item, str) for item in rest):
            raise Misfit("code takes a text and pairs of text literals: code(x, 'A', 'active', 'C', 'cancelled')")
        pairs = list(zip(rest[::2], rest[1::2], strict=True))
        known = ", ".join(written for written, _ in pairs)
        return self.fallible(
            value, lambda e: functions.code(e, pairs), TEXT, detail=f"expected one of {known}", rule="code"
        )

    def repair_charset(self, value: Typed, rest: list[Any]) -> Typed:
        if value.type != TEXT or rest[0] not in {"latin1", "cp1252"}:
            raise Misfit("repair_charset takes a text and 'latin1' or 'cp1252'")
        return replace(value, expr=functions.repair_charset(value.expr, rest[0]))

    def local_time(self, value: Typed, rest: list[Any]) -> Typed:
        if value.type != TIMESTAMP:
            raise Misfit(f"local_time takes a timestamp without time zone, not {value.type}")
        zone = _zone(rest[0])
        detail = f"expected a time that exists in {zone}"
        return self.fallible(value, lambda e: functions.local_time(e, zone), INSTANT, detail=detail)


def _joined(expr: pl.Expr, of: ValueType, *parts: Typed) -> Typed:
    faults = {id(fault): fault for part in parts for fault in part.faults}  # sides of one value share its faults
    return Typed(expr, of, tuple(faults.values()), max(part.level for part in parts))


def _compared(operator: type[exp.Expression], left: pl.Expr, right: pl.Expr) -> pl.Expr:
    """A comparison with the constant side on the right.

    Polars 2.1 gives one row for a constant compared with a sorted column of nulls, unless the column stands first.
    """
    if not left.meta.root_names():
        return _COMPARISONS[_MIRRORED.get(operator, operator)](right, left)
    return _COMPARISONS[operator](left, right)


def _guarded(faults: Sequence[Fault], taken: pl.Expr) -> list[Fault]:
    return [replace(fault, mask=taken & fault.mask, nulls=None) for fault in faults]


def _power_of_ten(value: object) -> int | None:
    if not isinstance(value, int) or value < 1 or str(value).strip("0") != "1":
        return None
    return len(str(value)) - 1


def _whole(value: Typed) -> int:
    if not isinstance(value.literal, int):
        raise Misfit("a whole number is expected")
    return value.literal


def _zone(zone: object) -> str:
    if not isinstance(zone, str) or not functions.is_zone(zone):
        raise Misfit("a time zone name such as 'America/Chicago' is expected")
    return zone


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

_COMPILERS: dict[type[exp.Expression], Callable[[Compiler, exp.Expression], Typed]] = {
    exp.Column: Compiler.column, exp.Literal: Compiler.literal, exp.Boolean: Compiler.boolean, exp.Null: Compiler.null,
    exp.Paren: Compiler.paren, exp.Neg: Compiler.negate, exp.Add: Compiler.add, exp.Sub: Compiler.subtract,
    exp.Mul: Compiler.multiply, exp.Div: Compiler.divide, exp.Mod: Compiler.modulo, exp.DPipe: Compiler.concat,
    exp.Abs: Compiler.absolute, exp.Round: Compiler.round, **dict.fromkeys(_COMPARISONS, Compiler.compare),
    exp.And: Compiler.both, exp.Or: Compiler.either, exp.Not: Compiler.invert, exp.Is: Compiler.is_,
    exp.In: Compiler.among, exp.Between: Compiler.between, exp.Like: Compiler.like, exp.ILike: Compiler.like,
    exp.Case: Compiler.case, exp.Coalesce: Compiler.coalesce, exp.Nullif: Compiler.nullif, exp.Cast: Compiler.cast_,
    exp.Lower: Compiler.textual, exp.Upper: Compiler.textual, exp.Trim: Compiler.textual,
    exp.Substring: Compiler.textual, exp.Left: Compiler.textual, exp.Right: Compiler.textual,
    exp.Replace: Compiler.textual, exp.Length: Compiler.textual, exp.Pad: Compiler.pad,
    exp.TimestampTrunc: Compiler.date_trunc, exp.Extract: Compiler.extract, exp.Anonymous: Compiler.legacy,
}  # fmt: skip

_LEGACY: dict[str, Callable[[Compiler, Typed, list[Any]], Typed]] = {
    "cyymmdd": Compiler.cyymmdd,
    "implied_decimal": Compiler.implied_decimal,
    "code": Compiler.code,
    "repair_charset": Compiler.repair_charset,
    "local_time": Compiler.local_time,
}
