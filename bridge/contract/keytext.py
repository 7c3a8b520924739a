"""The canonical text of a contract's key, the same for the same key for ever.

One field: its text. Several: their texts joined by commas, with "%" and "," percent-escaped inside each. Numbers are
exact decimals of the field's scale, dates and times ISO 8601. Null when any part is null.
"""

from collections.abc import Sequence

import polars as pl

from bridge.contract.kinds import Kind
from bridge.contract.terms import Field


def expression(fields: Sequence[Field]) -> pl.Expr:
    """The key text of each row of a frame that has the fields; null without key fields."""
    if not fields:
        return pl.lit(None, dtype=pl.String)
    if len(fields) == 1:
        return _text(fields[0])
    escaped = [_text(field).str.replace_all("%", "%25", literal=True).str.replace_all(",", "%2C", literal=True)
               if field.type.kind is Kind.TEXT else _text(field) for field in fields]  # fmt: skip
    return pl.concat_str(escaped, separator=",")


def _text(field: Field) -> pl.Expr:
    column = pl.col(field.name)
    if field.type.kind is Kind.TEXT:
        return column
    if field.type.kind is Kind.INSTANT:
        return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    if field.type.kind is Kind.TIMESTAMP:
        return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")
    return column.cast(pl.String)
