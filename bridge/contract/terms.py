"""The terms of a contract as plain values: its fields, row rules and validity level."""

from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from bridge.contract.kinds import ValueType


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the contract."""

    name: str
    type: ValueType
    expression: exp.Expression  # over legacy columns
    place: str  # file:line
    required: bool = False
    key_position: int | None = None  # from 1; None outside the key
    precision: int | None = None  # digits of a decimal
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None  # in Rust's syntax
    written_pattern: str | None = None  # as the contract has it
    minimum: Any = None
    maximum: Any = None
    exclusive_minimum: Any = None
    exclusive_maximum: Any = None
    multiple_of: Any = None
    allowed: tuple[Any, ...] = ()  # values; empty allows all
    marks_allowed: frozenset[str] = frozenset()  # "nan", "infinity"
    description: str = ""
    unit: str | None = None
    classification: str = ""  # lower case; "" and "public" may go to everybody


@dataclass(frozen=True, slots=True)
class RowRule:
    """A condition over fields that every row must not contradict; null passes, as in a SQL CHECK."""

    name: str
    expression: exp.Expression
    description: str
    place: str


@dataclass(frozen=True, slots=True)
class ValidityLevel:
    """At most `error_percent` of the rows judged within `window_s` may be rejected."""

    error_percent: float
    window_s: int
