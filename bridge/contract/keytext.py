"""The canonical text of a contract's key, the same for the same key for ever.

One field: its text. Several: their texts joined by commas, with "%" and "," percent-escaped inside each. Numbers are
exact decimals of the field's scale, dates and times ISO 8601. Null when any part is null.
"""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl
import pyarrow as pa

from bridge.contract.compiler import Steps, Typed
from bridge.contract.kinds import Kind

_AS_TEXT = "key as text"


def expression(parts: Sequence[Typed], steps: Steps) -> pl.Expr:
    """The key text of each row, from the columns of the key's fields; null without any.

    Args:
        parts: the key's fields in order.
        steps: where they come from; a lone number that is an input is read as text at once.
    """
    if not parts:
        return pl.lit(None, dtype=pl.String)
    if len(parts) == 1:
        known = steps.input_of(parts[0])
        if known is not None and parts[0].type.kind is Kind.INTEGER:
            steps.inputs[_AS_TEXT] = replace(known, arrow=pa.large_string())
            return pl.col(_AS_TEXT)
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
    if part.type.kind is Kind.TIME:
        return column.dt.to_string("%H:%M:%S%.f")  # a cast leaves out what is below a second
    if part.type.kind is Kind.DOUBLE:
        column = pl.when(column == 0).then(0.0).otherwise(column)  # -0.0 is the same key
    return column.cast(pl.String)
