"""The canonical text of a contract's key, the same for the same key for ever.

One field: its text. Several: their texts joined by commas, with "%" and "," percent-escaped inside each. Numbers are
exact decimals of the field's scale, dates and times ISO 8601. Null when any part is null.
"""

from collections.abc import Sequence

import polars as pl

from bridge.contract.compiler import Typed
from bridge.contract.kinds import Kind


def expression(parts: Sequence[Typed]) -> pl.Expr:
    """The key text of each row, from the columns of the key's fields; null without any."""
    if not parts:
        return pl.lit(None, dtype=pl.String)
    if len(parts) == 1:
        return _text(parts[0])
    escaped = [_text(part).str.replace_all("%", "%25", literal=True).str.replace_all(",", "%2C", literal=True)
               if part.type.kind is Kind.TEXT else _text(part) for part in parts]  # fmt: skip
    return pl.concat_str(escaped, separator=",")


def _text(part: Typed) -> pl.Expr:
    column = part.expr
    if part.type.kind is Kind.TEXT:
        return column
    if part.type.kind is Kind.INSTANT:
        return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    if part.type.kind is Kind.TIMESTAMP:
        return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")
    return column.cast(pl.String)
