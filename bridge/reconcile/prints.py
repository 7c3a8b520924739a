"""Fingerprints: 64 bits a field, by which two sides are told apart; and of those one number a row, and 128 bits a key.

Both sides of a comparison are printed by one process under one contract; a print is never stored. Null in place of a
print means that the row does not say what the field holds (the log left an unchanged value out), and is no difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from bridge.extraction.fingerprint import Hashes
from bridge.latest import KEY
from bridge.model import Mark

_OWN = pa.types.is_temporal, pa.types.is_boolean  # types that each system writes in its own way, and each zone
_KEY_SEEDS = 1, 2
_FIELD_SEED = 3  # of the first field; each has its own, so that values that change places are seen


@dataclass(frozen=True, slots=True)
class Digests:
    """Rows as numbers."""

    first: Hashes  # halves of the key's hash
    second: Hashes
    row: Hashes  # over all fields
    is_whole: NDArray[np.bool_]  # whether the row says what every field holds; else `row` says nothing


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
            pl.col(name).hash(seed) if name in columns else pl.lit(None, pl.UInt64).alias(name)
            for seed, name in enumerate(fields.names, _FIELD_SEED)
        ),
    )
    return _with_marks(found, events.column("_marks"))


def digests(printed: pl.DataFrame, fields: Sequence[str]) -> Digests:
    """Of rows as `prints` has them, all with a key."""
    first, second = key_hashes(printed.get_column(KEY))
    columns = [printed.get_column(name) for name in fields]
    row, is_whole = np.zeros(printed.height, np.uint64), np.ones(printed.height, np.bool_)
    for column in columns:
        if column.null_count():
            is_whole &= column.is_not_null().to_numpy()
            column = column.fill_null(0)  # noqa: PLW2901  the same prints
        row += column.to_numpy()
    return Digests(first, second, row, is_whole)


def key_hashes(keys: pl.Series) -> tuple[Hashes, Hashes]:
    """The halves of each key's hash."""
    return keys.hash(_KEY_SEEDS[0]).to_numpy(), keys.hash(_KEY_SEEDS[1]).to_numpy()


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
    if any(is_own(kind) for is_own in _OWN for kind in (column.type, field.type)):
        return None
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
                is_said = mark["kind"] != Mark.UNCHANGED
                said = hash((mark["field"], mark["kind"], mark["raw"])) & (1 << 64) - 1 if is_said else None
                cells.setdefault(mark["field"], {})[row] = said
    return found.with_columns(
        found[name].scatter(list(values), pl.Series(list(values.values()), dtype=pl.UInt64))
        for name, values in cells.items()
    )
