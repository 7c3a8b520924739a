"""Marked cells: how marks on legacy columns become excuses, refusals and marks on fields."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.contract.terms import Field
from bridge.model import META, Mark, Marks, RawBatch

Rows = NDArray[np.bool_]
MARKS_TYPE = META.field("_marks").type

_RULES = {
    Mark.UNREADABLE: ("unreadable", "expected a readable value"),
    Mark.NAN: ("nan", "expected a number"),
    Mark.PLUS_INFINITY: ("infinity", "expected a finite value"),
    Mark.MINUS_INFINITY: ("infinity", "expected a finite value"),
}


@dataclass(slots=True)
class FieldMarks:
    """What the marks of a batch mean for its fields; rows are numbers in the raw batch."""

    excused: dict[str, Rows] = field(default_factory=dict)  # the field is null and no rule speaks of it
    refused: list[tuple[str, str, str, Rows]] = field(default_factory=list)  # rule, field, detail, rows
    kept: list[tuple[str, Marks]] = field(default_factory=list)  # marks the events carry

    def excuse(self, name: str, rows: NDArray[np.int64], count: int) -> None:
        """No rule speaks of the field on these rows."""
        self.excused.setdefault(name, np.zeros(count, dtype=np.bool_))[rows] = True


def read(raw: RawBatch, fields: Sequence[Field], sources: Mapping[str, Iterable[str]]) -> FieldMarks:
    """Propagate the marks of legacy columns to the fields that read them.

    Args:
        raw: the batch.
        fields: the contract's fields.
        sources: legacy columns that each field reads.
    """
    found = FieldMarks()
    for one in fields:
        for column in sources[one.name]:
            marks = raw.marks.get(column)
            if marks is not None:
                _apply(found, one, marks, raw.row_count)
    return found


def _apply(found: FieldMarks, one: Field, marks: Marks, count: int) -> None:
    for kind in np.unique(marks.kinds):
        chosen = marks.kinds == kind
        rows = marks.rows[chosen]
        rule, detail = _RULES.get(Mark(int(kind)), ("key", "expected a key that is sent with every change"))
        if one.key_position is not None:
            rule = "key"
        elif kind == Mark.UNCHANGED or rule in one.marks_allowed:
            found.excuse(one.name, rows, count)
            raws = tuple(marks.raw[i] for i in np.flatnonzero(chosen))
            found.kept.append((one.name, Marks(rows, marks.kinds[chosen], raws)))
            continue
        hits = np.zeros(count, dtype=np.bool_)
        hits[rows] = True
        found.excuse(one.name, rows, count)
        found.refused.append((rule, one.name, detail, hits))


def column(kept: Sequence[tuple[str, Marks]], accepted: NDArray[np.int64]) -> pa.Array:
    """The `_marks` column of the accepted rows: null where a row has no marked cell."""
    count = len(accepted)
    rows = np.concatenate([marks.rows for _, marks in kept]) if kept else np.empty(0, np.int64)
    place = np.searchsorted(accepted, rows)
    stays = np.isin(rows, accepted)
    order = np.flatnonzero(stays)[np.argsort(place[stays], kind="stable")]
    if not len(order):
        return pa.nulls(count, MARKS_TYPE)
    names = pa.array([name for name, _ in kept], pa.string())
    which = np.repeat(np.arange(len(kept)), [len(marks.rows) for _, marks in kept])
    cells = pa.StructArray.from_arrays(
        [
            names.take(pa.array(which[order])),
            pa.array(np.concatenate([marks.kinds for _, marks in kept])[order], pa.uint8()),
            pa.array([cell for _, marks in kept for cell in marks.raw], pa.binary()).take(pa.array(order)),
        ],
        fields=list(MARKS_TYPE.value_type),
    )
    counts = np.bincount(place[order], minlength=count)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), cells, type=MARKS_TYPE, mask=pa.array(counts == 0))
