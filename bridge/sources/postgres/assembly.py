"""Put the tuples of one table's messages together as one raw batch in wire order.

New and old tuples are decoded separately, column by column, and interleaved only where old ones are needed: deletes,
and updates that change the key, which become a delete of the old key and a create of the new one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.cells import gather
from bridge.errors import MalformedRecord
from bridge.model import CHANGE_COLUMNS, Marks, Op, RawBatch
from bridge.postgres.columns import Cells, decode, walk_tuples
from bridge.sources.postgres.framing import DELETE, INSERT, TRUNCATE, UPDATE, XLOG_HEADER, Frames
from bridge.sources.postgres.relation import Captured

_TUPLE_AT = 5  # type byte, relation oid; then 'N', 'K' or 'O' and the tuple
_NEW, _KEY, _OLD = (ord(c) for c in "NKO")
_UNCHANGED, _TEXT = ord("u"), ord("t")


@dataclass(frozen=True, slots=True)
class _Rows:
    """Decoded rows of one table and the change (index into Frames.changes) each belongs to."""

    change: NDArray[np.int64]
    op: NDArray[np.uint8]
    moved: NDArray[np.bool_]
    columns: pa.RecordBatch
    marks: Mapping[str, Marks]


def assemble(frames: Frames, captured: Captured, which: NDArray[np.int64]) -> RawBatch:
    """The raw batch of the changes `which` (indices into `frames.changes`, rising), all of `captured`'s relation.

    Raises: MalformedRecord naming the first message that does not follow the format.
    Source: PostgreSQL manual, "Logical Replication Message Formats", Insert, Update, Delete, Truncate.
    """
    at = frames.starts[frames.changes[which]]
    kinds = frames.buffer[at]
    is_row = kinds != TRUNCATE
    tags = np.where(is_row, frames.buffer[np.minimum(at + _TUPLE_AT, frames.buffer.size - 1)], 0)
    has_old = is_row & (tags != _NEW)
    has_new = is_row & (kinds != DELETE)
    if not (has_old == (is_row & ((tags == _KEY) | (tags == _OLD)))).all() or (has_old & (kinds == INSERT)).any():
        raise MalformedRecord(f"a change of {captured.shape.table} has no new, old or key tuple where it must")
    new_at = at + _TUPLE_AT + 1
    limits = _ends(frames)[frames.changes[which]]
    old: Sequence[Cells] = ()
    both = _Overlap(has_new, has_old)
    if has_old.any():
        old, ends = walk_tuples(frames.buffer, new_at[has_old], len(captured.types), limits=limits[has_old])
        new_at = new_at.copy()
        new_at[has_old] = ends + 1  # an update's new tuple follows the old one and its own 'N'
    new, _ = walk_tuples(frames.buffer, new_at[has_new], len(captured.types), limits=limits[has_new])
    if both.in_new.size:
        _fill_unchanged(new, old, both)
    names = captured.shape.names()
    columns, marks = decode(new, captured.types, names, frames.buffer)
    op = np.where(kinds[has_new] == INSERT, Op.CREATE, Op.UPDATE).astype(np.uint8)
    rows = _Rows(which[has_new], op, np.zeros(op.size, np.bool_), columns, marks)
    parts = [rows]
    if has_old.any():
        moved = _moved(new, old, both, key=captured.key, buffer=frames.buffer)
        rows.op[both.in_new[moved]] = Op.CREATE
        rows.moved[both.in_new[moved]] = True
        is_kept = kinds[has_old] == DELETE
        is_kept[both.in_old[moved]] = True
        if is_kept.any():
            parts.append(_deleted(frames, captured, old, which=which[has_old], kept=np.flatnonzero(is_kept)))
    if not is_row.all():
        truncated = which[~is_row]
        ops = np.full(truncated.size, Op.TRUNCATE, np.uint8)
        nothing = _nulls(columns.schema, truncated.size)
        parts.append(_Rows(truncated, ops, np.zeros(truncated.size, np.bool_), nothing, {}))
    return _batch(frames, captured, _interleave(parts) if len(parts) > 1 else rows)


class _Overlap:
    """Where the changes that have both tuples stand among the new ones and among the old ones."""

    def __init__(self, has_new: NDArray[np.bool_], has_old: NDArray[np.bool_]) -> None:
        both = has_new & has_old
        self.in_new = (np.cumsum(has_new) - 1)[both]
        self.in_old = (np.cumsum(has_old) - 1)[both]


def _fill_unchanged(new: Sequence[Cells], old: Sequence[Cells], both: _Overlap) -> None:
    """Take a value that was not sent again (TOAST) from the old tuple where that has it (replica identity full)."""
    for new_cells, old_cells in zip(new, old, strict=True):
        fillable = (new_cells.kinds[both.in_new] == _UNCHANGED) & (old_cells.kinds[both.in_old] == _TEXT)
        if fillable.any():
            target, source = both.in_new[fillable], both.in_old[fillable]
            new_cells.kinds[target] = _TEXT
            new_cells.starts[target] = old_cells.starts[source]
            new_cells.lengths[target] = old_cells.lengths[source]


def _moved(
    new: Sequence[Cells], old: Sequence[Cells], both: _Overlap, *, key: tuple[int, ...], buffer: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Which of the changes that have both tuples changed the key: its text is another; an old null says nothing."""
    moved = np.zeros(both.in_new.size, np.bool_)
    for number in key:
        after, before = new[number].take(both.in_new), old[number].take(both.in_old)
        is_other = (after.kinds != before.kinds) | (after.lengths != before.lengths)
        alike = np.flatnonzero(~is_other)
        texts, offsets = gather(buffer, after.starts[alike], after.lengths[alike])
        former, _ = gather(buffer, before.starts[alike], before.lengths[alike])
        is_other[alike[np.searchsorted(offsets, np.flatnonzero(texts != former), "right") - 1]] = True
        moved |= is_other & (before.kinds == _TEXT)
    return moved


def _deleted(
    frames: Frames, captured: Captured, old: Sequence[Cells], *, which: NDArray[np.int64], kept: NDArray[np.int64]
) -> _Rows:
    """Of the old rows, each of the change `which` names, the ones worth keeping: of deletes and of key changes."""
    cells = [column.take(kept) for column in old]
    columns, marks = decode(cells, captured.types, captured.shape.names(), frames.buffer)
    change = which[kept]
    is_update = frames.kinds[frames.changes[change]] == UPDATE
    return _Rows(change, np.full(kept.size, Op.DELETE, np.uint8), is_update, columns, marks)


def _interleave(parts: list[_Rows]) -> _Rows:
    """All parts in wire order; of two rows of one change the delete comes first."""
    change = np.concatenate([part.change for part in parts])
    op = np.concatenate([part.op for part in parts])
    order = np.lexsort((op != Op.DELETE, change))
    table = pa.Table.from_batches([part.columns for part in parts]).combine_chunks()
    total = change.size
    marks: dict[str, Marks] = {}
    offset = 0
    for part in parts:
        for name, found in part.marks.items():
            shifted = replace(found, rows=found.rows + offset)
            marks[name] = shifted if name not in marks else _concat_marks(marks[name], shifted)
        offset += part.change.size
    return _Rows(
        change[order],
        op[order],
        np.concatenate([part.moved for part in parts])[order],
        table.take(pa.array(order)).to_batches()[0] if total else parts[0].columns,
        take_marks(marks, order, total),
    )


def take_marks(marks: Mapping[str, Marks], rows: NDArray[np.int64], row_count: int) -> dict[str, Marks]:
    """The marks of the rows taken from a batch of `row_count` rows; columns left without any are dropped."""
    taken = {name: found.take(rows, row_count) for name, found in marks.items()}
    return {name: found for name, found in taken.items() if found.rows.size}


def _concat_marks(first: Marks, second: Marks) -> Marks:
    return Marks(
        np.concatenate((first.rows, second.rows)), np.concatenate((first.kinds, second.kinds)), first.raw + second.raw
    )


def _ends(frames: Frames) -> NDArray[np.int64]:
    """The offset behind each message: no tuple may reach into the next one."""
    return np.append(frames.starts[1:] - XLOG_HEADER, frames.buffer.size)


def _nulls(schema: pa.Schema, row_count: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(row_count, field.type) for field in schema], schema=schema)


def _batch(frames: Frames, captured: Captured, rows: _Rows) -> RawBatch:
    """The rows with what their messages say of them."""
    count = rows.change.size
    changes = pa.RecordBatch.from_arrays(
        [
            pa.array(rows.op),
            pa.array(frames.commit_us[rows.change]).view(CHANGE_COLUMNS.field("_commit_at").type),
            pa.array(frames.position[rows.change]),
            pa.array(frames.xid[rows.change]),
            pa.array(frames.tx_index[rows.change]),
            pa.array(rows.moved),
            pa.nulls(count, pa.uint32()),
            pa.nulls(count, pa.large_string()),
        ],
        schema=CHANGE_COLUMNS,
    )
    return RawBatch(captured.stream, captured.shape, changes, rows.columns, rows.marks)
