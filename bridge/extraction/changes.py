"""What a reading found, as changes of the stream."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.extraction.extractor import Page
from bridge.model import CHANGE_COLUMNS, Column, Op, RawBatch, Shape

FoundBy = Literal["cursor", "compare", "sweep"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where changes stand: in which run, behind how many others, found how and when."""

    stream: str
    run: int  # what `_position` says
    index: int
    found_by: FoundBy
    at: datetime


def found(page: Page, rows: NDArray[np.int64], ops: NDArray[np.uint8], place: Place) -> RawBatch:
    """Rows of a page."""
    raw = RawBatch(place.stream, page.shape, _changes(ops, place), page.columns, page.marks)
    if len(rows) == page.columns.num_rows:
        return raw
    index = pa.array(rows)
    marks = {name: mark.take(rows, page.columns.num_rows) for name, mark in page.marks.items()}
    marks = {name: mark for name, mark in marks.items() if mark.rows.size}
    return RawBatch(place.stream, page.shape, raw.changes, page.columns.take(index), marks)


def deleted(shape: Shape, keys: Mapping[str, pa.Array], count: int, place: Place) -> RawBatch:
    """Rows of which only the key is known."""
    columns = [Column(one.name, one.type, _fitting(one, keys)) for one in shape.columns]
    arrays = [keys[one.name].cast(one.arrow) if one.name in keys else pa.nulls(count, one.arrow) for one in columns]
    ops = np.full(count, int(Op.DELETE), np.uint8)
    batch = pa.RecordBatch.from_arrays(arrays, names=[one.name for one in columns])
    return RawBatch(place.stream, Shape(shape.table, tuple(columns)), _changes(ops, place), batch)


def _fitting(column: Column, keys: Mapping[str, pa.Array]) -> pa.DataType:
    """The column's type, or the key's where it was another one and does not fit: then a person must see it."""
    if column.name not in keys:
        return column.arrow
    try:
        keys[column.name].cast(column.arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return keys[column.name].type
    return column.arrow


def _changes(ops: NDArray[np.uint8], place: Place) -> pa.RecordBatch:
    count = len(ops)
    of = {field.name: field.type for field in CHANGE_COLUMNS}
    note = pa.scalar(f'{{"found_by": "{place.found_by}"}}', of["_note"])
    arrays = [
        pa.array(ops),
        pa.repeat(pa.scalar(place.at, of["_commit_at"]), count),
        pa.repeat(pa.scalar(place.run, of["_position"]), count),
        pa.nulls(count, of["_tx"]),
        pa.array(np.arange(place.index, place.index + count, dtype=np.uint32)),
        pa.repeat(pa.scalar(value=False), count),
        pa.nulls(count, of["_snapshot"]),
        pa.repeat(note, count),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=CHANGE_COLUMNS)
