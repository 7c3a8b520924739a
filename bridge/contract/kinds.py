"""The kinds of value an expression has and a field may hold, and how Arrow types map to them."""

from dataclasses import dataclass
from enum import StrEnum

import polars as pl
import pyarrow as pa

MAX_DIGITS = 38


class Kind(StrEnum):
    """What sort of value; the exact numbers are INTEGER and DECIMAL."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"  # a wall clock reading
    INSTANT = "instant"  # a point in time, UTC
    TIME = "time"
    NULL = "null"  # the bare literal


@dataclass(frozen=True, slots=True)
class ValueType:
    """A kind with, for decimals, the digits after the point."""

    kind: Kind
    scale: int = 0

    def __str__(self) -> str:
        return f"decimal({MAX_DIGITS},{self.scale})" if self.kind is Kind.DECIMAL else self.kind.value

    @property
    def is_exact(self) -> bool:
        """Whether arithmetic on it is exact."""
        return self.kind in {Kind.INTEGER, Kind.DECIMAL}

    @property
    def polars(self) -> pl.DataType:
        """How Polars holds it."""
        if self.kind is Kind.DECIMAL:
            return pl.Decimal(MAX_DIGITS, self.scale)
        return _POLARS[self.kind]

    @property
    def arrow(self) -> pa.DataType:
        """How an event holds it."""
        if self.kind is Kind.DECIMAL:
            return pa.decimal128(MAX_DIGITS, self.scale)
        return _ARROW[self.kind]


TEXT = ValueType(Kind.TEXT)
INTEGER = ValueType(Kind.INTEGER)
DOUBLE = ValueType(Kind.DOUBLE)
BOOLEAN = ValueType(Kind.BOOLEAN)
DATE = ValueType(Kind.DATE)
TIMESTAMP = ValueType(Kind.TIMESTAMP)
INSTANT = ValueType(Kind.INSTANT)
TIME = ValueType(Kind.TIME)
NULL = ValueType(Kind.NULL)

_POLARS: dict[Kind, pl.DataType] = {
    Kind.TEXT: pl.String(),
    Kind.INTEGER: pl.Int64(),
    Kind.DOUBLE: pl.Float64(),
    Kind.BOOLEAN: pl.Boolean(),
    Kind.DATE: pl.Date(),
    Kind.TIMESTAMP: pl.Datetime("us"),
    Kind.INSTANT: pl.Datetime("us", "UTC"),
    Kind.TIME: pl.Time(),
    Kind.NULL: pl.Null(),
}
_ARROW: dict[Kind, pa.DataType] = {
    Kind.TEXT: pa.large_string(),
    Kind.INTEGER: pa.int64(),
    Kind.DOUBLE: pa.float64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.DATE: pa.date32(),
    Kind.TIMESTAMP: pa.timestamp("us"),
    Kind.INSTANT: pa.timestamp("us", "UTC"),
    Kind.TIME: pa.time64("us"),
}


def of_arrow(arrow: pa.DataType) -> ValueType | None:
    """The value type of a legacy column; None for what expressions cannot read (bytes, lists, wider decimals)."""
    if pa.types.is_integer(arrow):
        return ValueType(Kind.DECIMAL) if arrow == pa.uint64() else INTEGER  # exact, and as wide as it takes
    if pa.types.is_decimal128(arrow):
        return ValueType(Kind.DECIMAL, arrow.scale) if arrow.scale >= 0 else None
    if pa.types.is_floating(arrow):
        return DOUBLE
    if pa.types.is_timestamp(arrow) and arrow.unit != "ns":
        return TIMESTAMP if arrow.tz is None else INSTANT
    if pa.types.is_time64(arrow):
        return TIME
    return {
        pa.string(): TEXT,
        pa.large_string(): TEXT,
        pa.string_view(): TEXT,
        pa.bool_(): BOOLEAN,
        pa.date32(): DATE,
    }.get(arrow)
