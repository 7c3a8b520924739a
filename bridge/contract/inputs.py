"""What expressions read of a legacy table: its columns as Arrow arrays of the types that events hold.

Promises: no value is changed on the way in, and a column that an event holds as it stands is handed on, not copied. The
digits of a decimal are the same digits under more precision or with the point further left, so such a change of type
costs nothing either. Columns of types that Polars does not hold exactly cannot be read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl
import pyarrow as pa

from bridge.contract import kinds
from bridge.contract.kinds import MAX_DIGITS, ValueType
from bridge.model import Shape

_UNSIGNED = kinds.ValueType(kinds.Kind.DECIMAL).arrow  # what 64 bits without a sign are read as
RAW = "raw "  # prefix of legacy columns in the working frame; fields have their own names


@dataclass(frozen=True, slots=True)
class Input:
    """One legacy column, and how it is read."""

    column: str
    arrow: pa.DataType  # what it is read as
    digits: int | None = None  # of a decimal: no value has more in all

    def shifted(self, places: int) -> "Input | None":
        """The same digits with the point moved to the left; None when that is no decimal."""
        if not pa.types.is_decimal128(self.arrow) or self.arrow.scale + places > MAX_DIGITS:
            return None
        scale = self.arrow.scale + places
        return replace(self, arrow=pa.decimal128(MAX_DIGITS, scale))


def of(shape: Shape) -> tuple[dict[str, Input], Mapping[str, tuple[pl.Expr, ValueType]]]:
    """The inputs of a table by their name in the working frame, and expression and type of each readable column."""
    inputs: dict[str, Input] = {}
    columns: dict[str, tuple[pl.Expr, ValueType]] = {}
    for column in shape.columns:
        value = kinds.of_arrow(column.arrow)
        if value is None:
            continue
        name = RAW + column.name
        expr, arrow = pl.col(name), value.arrow
        if pa.types.is_temporal(column.arrow) and column.arrow != arrow:  # other units and zones
            arrow = column.arrow
            expr = (expr.dt.convert_time_zone("UTC") if value == kinds.INSTANT else expr).cast(value.polars)
        digits = column.arrow.precision if pa.types.is_decimal(column.arrow) else None
        inputs[name] = Input(column.name, arrow, digits)
        columns[column.name] = (expr, value)
    return inputs, columns


def read(columns: pa.RecordBatch, one: Input) -> pa.Array:
    """An input's values of one batch."""
    array = columns.column(one.column)
    if array.type == pa.uint64():
        array = array.cast(_UNSIGNED)
    if array.type == one.arrow:
        return array
    if pa.types.is_decimal128(array.type) and pa.types.is_decimal128(one.arrow):
        return pa.Array.from_buffers(one.arrow, len(array), array.buffers(), offset=array.offset)
    return array.cast(one.arrow)
