"""From the rows of a file to a raw batch: the columns that a contract reads, and where each row comes from.

Beside the layout's columns stand `$file`, `$number` (of the record, from 1), `$offset` (of its first byte), `$fault`
(why it is no row) and `$record` (its own bytes), so that a dead letter can be found again, and read again when the
layout was mended. A contract may read the first three like any other column.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.contract import expression
from bridge.contract.document import ContractDocument
from bridge.model import CHANGE_COLUMNS, RECORD_TYPE, Column, Op, RawBatch, Shape
from bridge.sources.file.frames import Frames
from bridge.sources.file.layout import FileRefused, Flat, Format, Layout, Rows
from bridge.sources.file.positions import Positions

FILE, NUMBER, OFFSET, FAULT, RECORD = "$file", "$number", "$offset", "$fault", "$record"
_OURS = (
    Column(FILE, "text", pa.large_string()),
    Column(NUMBER, "number of the record", pa.int64()),
    Column(OFFSET, "bytes before it", pa.int64()),
    Column(FAULT, "text", pa.large_string()),
    Column(RECORD, RECORD_TYPE, pa.large_binary()),
)
_DIGEST_BITS = 40  # of a position; the rest counts files


@dataclass(frozen=True, slots=True)
class Origin:
    """Which file rows come from."""

    name: str
    changed_at: datetime
    position: int


def position_of(ordinal: int, digest: str) -> int:
    """What `_position` is for the rows of a file: grows from file to file, and no two contents share one."""
    return ordinal << _DIGEST_BITS | int(digest[: _DIGEST_BITS // 4], 16)


@dataclass(frozen=True, slots=True)
class RecordMapper:
    """Turns the rows of one stream into batches.

    Args:
        stream: its name.
        origin: where its files come in, "host/ORD*.DAT".
        layout: of its files.
        wanted: names that its contract reads.
    """

    stream: str
    origin: str
    layout: Layout
    wanted: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, stream: str, origin: str, layout: Layout, document: ContractDocument) -> "RecordMapper":
        """The mapper of a stream under a contract."""
        names = sorted({name for one in document.fields for name in expression.columns(one.expression)})
        return cls(stream, origin, layout, tuple(name for name in names if not name.startswith("$")))

    def lacks(self, format_: Format) -> list[str]:
        """The columns that the contract reads and a file has not."""
        known = {shown.name for shown in format_.shown}
        return [name for name in self.wanted if name not in known]

    def shape(self, format_: Format) -> Shape:
        """The columns of a file's rows. Raises: FileRefused when the contract reads one that is not there."""
        lost = self.lacks(format_)
        if lost:
            raise FileRefused(f"it has no column {', '.join(lost)}")
        types = {shown.name: shown for shown in format_.shown}
        columns = [Column(name, types[name].type, types[name].arrow) for name in self.wanted]
        return Shape(self.origin, (*columns, *_OURS))

    def batch(self, rows: Rows, shape: Shape, origin: Origin, *, first: int, offset: int) -> RawBatch:
        """Rows of a piece of a file as creations.

        Args:
            rows: the rows.
            shape: of the file.
            origin: the file.
            first: number of the piece's first record, from 1.
            offset: bytes before the piece.
        """
        numbers = rows.numbers + first
        places = rows.frames.starts + offset
        columns = self._columns(rows, [_names(len(numbers), origin.name),
                                       pa.array(numbers), pa.array(places)])  # fmt: skip
        return RawBatch(
            self.stream,
            shape,
            _changes(numbers, origin),
            pa.RecordBatch.from_arrays(columns, names=shape.names()),
            dict(rows.marks),
        )

    def remake(self, raw: RawBatch) -> RawBatch:
        """The same records under the present layout and contract, where records say enough by themselves."""
        names = raw.columns.schema.names
        if not isinstance(self.layout, Positions) or RECORD not in names or raw.columns.column(RECORD).null_count:
            return raw
        flat = self.layout.flat
        try:
            shape = self.shape(flat)
        except FileRefused:
            return raw
        rows = _again(flat, raw.columns.column(RECORD), self.wanted)
        if len(rows.numbers) != raw.row_count:  # now of a type that is left out
            return raw
        columns = self._columns(rows, [raw.columns.column(name) for name in (FILE, NUMBER, OFFSET)])
        return RawBatch(
            self.stream,
            shape,
            raw.changes,
            pa.RecordBatch.from_arrays(columns, names=shape.names()),
            dict(rows.marks),
        )

    def _columns(self, rows: Rows, ours: Sequence[pa.Array]) -> list[pa.Array]:
        count = rows.frames.count
        faults = pa.nulls(count, pa.large_string())
        if rows.faults:
            faults = pa.array([rows.faults.get(row) for row in range(count)], pa.large_string())
        return [*(rows.columns[name] for name in self.wanted), *ours, faults, _records(rows.frames)]


def _again(flat: Flat, records: pa.Array, wanted: Sequence[str]) -> Rows:
    bodies = [record.as_py() for record in records]  # dead letters, one at a time
    lengths = np.array([len(body) for body in bodies], np.int64)
    starts = np.cumsum(lengths) - lengths
    return flat.rows(Frames(b"".join(bodies), starts, starts, lengths, int(lengths.sum())), wanted)


def _records(frames: Frames) -> pa.Array:
    """The records' own bytes."""
    ends = frames.bodies + frames.lengths
    if frames.count and (frames.bodies[1:] == ends[:-1]).all():
        offsets = np.append(frames.bodies, ends[-1])
        data: bytes | NDArray[np.uint8] = frames.data
    else:
        given = np.frombuffer(frames.data, np.uint8)
        edges = np.zeros(len(given) + 1, np.int8)
        kept = frames.lengths > 0
        np.add.at(edges, frames.bodies[kept], 1)
        np.add.at(edges, ends[kept], -1)
        data = given[np.cumsum(edges[:-1], dtype=np.int8).astype(np.bool_)]
        offsets = np.concatenate([[0], np.cumsum(frames.lengths)]).astype(np.int64)
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), frames.count, [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )


def _changes(numbers: NDArray[np.int64], origin: Origin) -> pa.RecordBatch:
    before, after = _alike(len(numbers), origin)
    indexes = pa.array(numbers.astype(np.uint32))
    return pa.RecordBatch.from_arrays([*before, indexes, *after], schema=CHANGE_COLUMNS)


@lru_cache(maxsize=2)
def _alike(count: int, origin: Origin) -> tuple[tuple[pa.Array, ...], tuple[pa.Array, ...]]:
    """What so many rows of a file have in common, before and behind their index; most pieces have as many."""
    return (
        pa.repeat(pa.scalar(int(Op.CREATE), pa.uint8()), count),
        pa.repeat(pa.scalar(origin.changed_at, pa.timestamp("us", "UTC")), count),
        pa.repeat(pa.scalar(origin.position, pa.uint64()), count),
        pa.nulls(count, pa.uint64()),
    ), (
        pa.repeat(pa.scalar(value=False), count),
        pa.nulls(count, pa.uint32()),
        pa.nulls(count, pa.large_string()),
    )


@lru_cache(maxsize=2)
def _names(count: int, name: str) -> pa.Array:
    """A file's name, so often."""
    return pa.repeat(pa.scalar(name, pa.large_string()), count)
