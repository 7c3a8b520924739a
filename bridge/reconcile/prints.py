"""Fingerprints: 64 bits a field, so that millions of rows of two sides can be held and joined by key.

Both sides of a comparison are printed by one process under one contract; a print is never stored. Null in place of a
print means that the row does not say what the field holds (the log left an unchanged value out), and is no difference.
"""

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from bridge.latest import KEY
from bridge.model import Mark

_SEED = 1


def prints(events: pa.RecordBatch, fields: pa.Schema) -> pl.DataFrame:
    """The prints of event rows.

    Args:
        events: rows with the columns of META and the contract's fields, of any version of the contract.
        fields: fields to print, as the present contract has them; one that the rows lack, or have in another type that
            cannot be cast without loss, is not said.
    Returns: `_key` and a column a field, UInt64.
    """
    columns = {field.name: column for field in fields if (column := _cast(events, field)) is not None}
    frame = pl.DataFrame(pl.from_arrow(pa.table({KEY: events.column(KEY), **columns})))
    found = frame.select(
        pl.col(KEY),
        *(
            pl.col(name).hash(_SEED) if name in columns else pl.lit(None, pl.UInt64).alias(name)
            for name in fields.names
        ),
    )
    return _with_marks(found, events.column("_marks"))


def differing(row: dict[str, int | None], fields: Sequence[str], other: str) -> tuple[str, ...]:
    """The fields in which the two sides of a joined row differ; the other side's columns end with `other`."""
    return tuple(
        name for name in fields if None not in (row[name], row[name + other]) and row[name] != row[name + other]
    )


def _cast(events: pa.RecordBatch, field: pa.Field) -> pa.Array | None:
    place = events.schema.get_field_index(field.name)
    if place < 0:
        return None
    column = events.column(place)
    if column.type == field.type:
        return column
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _with_marks(found: pl.DataFrame, marks: pa.Array) -> pl.DataFrame:
    """Marked cells are printed as what they are marked with; marks are sparse, so this goes row by row."""
    if marks.null_count == len(marks):
        return found
    cells: dict[str, dict[int, int | None]] = {}
    for row in marks.is_valid().to_numpy(zero_copy_only=False).nonzero()[0].tolist():
        for mark in marks[row].as_py():
            if mark["field"] in found.columns:
                said = None if mark["kind"] == Mark.UNCHANGED else hash((mark["kind"], mark["raw"])) & (1 << 64) - 1
                cells.setdefault(mark["field"], {})[row] = said
    return found.with_columns(
        found[name].scatter(list(values), pl.Series(list(values.values()), dtype=pl.UInt64))
        for name, values in cells.items()
    )
