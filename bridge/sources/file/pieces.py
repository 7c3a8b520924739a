"""The next rows of a file that is being taken, as a batch."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa

from bridge.errors import SourceRefused
from bridge.model import CHANGE_COLUMNS, RawBatch
from bridge.sources.file import reading
from bridge.sources.file.layout import Format
from bridge.sources.file.mapping import Origin, RecordMapper, position_of
from bridge.sources.file.progress import Taking

_MOST_RECORDS = 4_000_000_000  # of a file: their numbers are part of their ids, and have 32 bits


@dataclass(frozen=True, slots=True)
class Rows:
    """What the next piece of a file holds."""

    batch: RawBatch | None  # None: no row
    size: int  # bytes
    taking: Taking  # behind it
    is_last: bool


def next_piece(mapper: RecordMapper, file: reading.Reader, taking: Taking) -> Rows:
    """The rows behind those that were taken. Raises: SourceRefused for a file of too many."""
    if taking.number > _MOST_RECORDS:
        raise SourceRefused(f"{taking.name} has more than {_MOST_RECORDS} records", hint="Have it split up.")
    at = file.start if taking.offset is None else reading.Place(taking.offset, taking.number)
    piece = file.piece(at, mapper.wanted)
    if piece is None:
        return Rows(None, 0, taking.turned(), is_last=True)
    count = piece.rows.frames.count
    batch = None
    if count:
        origin = Origin(taking.name, moment_of(taking), position_of(taking.ordinal, taking.digest))
        batch = mapper.batch(piece.rows, mapper.shape(file.format), origin, first=at.number, offset=at.offset)
    behind = replace(
        taking,
        offset=piece.next.offset,
        number=piece.next.number,
        row_count=taking.row_count + count,
        fault_count=taking.fault_count + len(piece.rows.faults),
    )
    return Rows(batch, len(piece.rows.frames.data), behind, is_last=piece.at_end)


def empty(mapper: RecordMapper, format_: Format) -> RawBatch:
    """The batch of a piece without rows."""
    shape = mapper.shape(format_)
    columns = pa.schema([pa.field(column.name, column.arrow) for column in shape.columns])
    changes, rows = (pa.RecordBatch.from_pylist([], schema=schema) for schema in (CHANGE_COLUMNS, columns))
    return RawBatch(mapper.stream, shape, changes, rows)


def moment_of(taking: Taking) -> datetime:
    """When a file was changed last, as its folder says."""
    return datetime.fromtimestamp(taking.mtime_ns // 1000 / 1e6, UTC)
