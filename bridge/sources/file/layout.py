"""What every layout offers to those who read files: pieces become records, records become columns.

A `Layout` is what the operator describes. Opened on one file it gives a `Format`, which knows what only the file says:
where records begin, how many there should be, in which order columns stand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.model import Marks
from bridge.sources.file import decode
from bridge.sources.file.decode import Reading
from bridge.sources.file.fields import Field, Form, Kind, Placed
from bridge.sources.file.frames import Framer, Frames, matrix
from bridge.sources.file.record import Record


class FileRefused(Exception):
    """A file is not of its layout as a whole: nothing of it is taken, and it stays where it is."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A column of a layout, for people."""

    name: str
    type: str  # how it is written
    arrow: pa.DataType
    offset: int | None = None  # from the record's first byte; None where records have no places
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """What a piece of a file says."""

    frames: Frames  # the records that are rows, in order
    numbers: NDArray[np.int64]  # of each row, its place among the records of the piece
    columns: Mapping[str, pa.Array]  # null where a cell is marked
    marks: Mapping[str, Marks]
    faults: Mapping[int, str]  # by row: why it is none


class Format(Protocol):
    """One file under one layout."""

    @property
    def start(self) -> int:
        """Bytes before its first record."""

    @property
    def end(self) -> int | None:
        """Where its records end; None where they fill the file."""

    @property
    def shown(self) -> Sequence[Shown]:
        """Its columns."""

    def frame(self, data: bytes, *, at_end: bool) -> Frames:
        """Whole records at the beginning of `data`; see `frames`."""

    def rows(self, frames: Frames, wanted: Sequence[str]) -> Rows:
        """Wanted columns of the records that are rows."""


class Layout(Protocol):
    """How files of one kind are read."""

    @property
    def trailer(self) -> "Trailer | None":
        """The last record, where it counts those before it."""

    @property
    def header_records(self) -> int:
        """How many records at a file's beginning are no rows."""

    def begin(self, path: Path) -> Format:
        """The format of one file. Raises: FileRefused, OSError."""


@dataclass(frozen=True, slots=True)
class Trailer:
    """A last record that says how many came before it."""

    field: Field

    def count(self, frames: Frames, row: int, reading: Reading) -> int | None:
        """The number in a record; None where there is none."""
        body = frames.data[int(frames.bodies[row]) : int(frames.bodies[row] + frames.lengths[row])]
        if len(body) < self.field.end:
            return None
        cells = np.frombuffer(body, np.uint8).reshape(1, -1)
        values, marked = decode.cell(cells, self.field, reading)
        value = values[0].as_py()
        return None if marked[0] or value is None else int(value)


@dataclass(frozen=True, slots=True)
class Types:
    """Records of several types in one file: which are rows, and which are knowingly left out."""

    field: Field
    take: tuple[str, ...]
    skip: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Flat:
    """A format whose fields stand at places in each record. See `Format`."""

    record: Record | Placed
    framer: Framer
    reading: Reading
    fills_up: bool = False  # short records are filled with blanks (lines)
    types: Types | None = None
    start: int = 0
    end: int | None = None
    shown: tuple[Shown, ...] = field(default=())

    @property
    def width(self) -> int:
        """Bytes of the longest record."""
        return self.record.length

    def frame(self, data: bytes, *, at_end: bool) -> Frames:
        """See the port."""
        return self.framer(data, at_end=at_end)

    def rows(self, frames: Frames, wanted: Sequence[str]) -> Rows:
        """See the port."""
        numbers = np.arange(frames.count, dtype=np.int64)
        blank = self.reading.page.byte(" ")
        cells = matrix(frames, self.width, blank=blank)
        faults = dict(frames.faults)
        if self.types is not None:
            kept, strange = self._chosen(cells, frames)
            faults |= strange
            if not kept.all():
                numbers = np.flatnonzero(kept)
                place = {int(row): at for at, row in enumerate(numbers.tolist())} if faults else {}
                faults = {place[row]: what for row, what in faults.items()}
                frames, cells = _taken(frames, numbers), cells[numbers]
        faults = self._misfits(frames) | faults
        lengths = np.maximum(frames.lengths, self.width) if self.fills_up else frames.lengths
        found = decode.decode(cells, lengths, self.record, wanted, reading=self.reading, faults=faults)
        return Rows(frames, numbers, found.columns, found.marks, found.faults)

    def _misfits(self, frames: Frames) -> dict[int, str]:
        """Records that are too short or too long."""
        least = 0 if self.fills_up else self._least
        return {
            row: f"it has {frames.lengths[row]} bytes, the layout {self.width}"
            for row in np.flatnonzero((frames.lengths > self.width) | (frames.lengths < least)).tolist()
        }

    @property
    def _least(self) -> int:
        if isinstance(self.record, Record) and self.record.counters:
            return self.record.at(tuple(counter.least for counter in self.record.counters)).length
        return self.width

    def _chosen(self, cells: NDArray[np.uint8], frames: Frames) -> tuple[NDArray[np.bool_], dict[int, str]]:
        """Which records are rows, or no one knows what; and why the latter are. Other types have other lengths."""
        types = self.types
        assert types is not None  # noqa: S101  asked before
        values, _ = decode.cell(cells, types.field, self.reading)
        texts = values.cast(pa.large_string()).fill_null("").to_numpy(zero_copy_only=False)
        skipped = np.isin(texts, types.skip)
        strange = ~skipped & ~np.isin(texts, types.take)
        whole = np.full(frames.count, self.fills_up) | (frames.lengths >= types.field.end)
        whole[list(frames.faults)] = False  # of a part of a record nobody knows what it was
        return ~(skipped & whole), dict.fromkeys(
            np.flatnonzero(strange & whole).tolist(), "the layout does not name its type of record"
        )


def _taken(frames: Frames, rows: NDArray[np.int64]) -> Frames:
    return Frames(frames.data, frames.starts[rows], frames.bodies[rows], frames.lengths[rows], frames.end)


def shown_of(fields: Sequence[Field]) -> tuple[Shown, ...]:
    """The columns of fields at their places."""
    return tuple(Shown(one.name, one.form.described(), one.arrow, one.offset, one.length) for one in fields)


def digits(at: int, length: int) -> Field:
    """A field of written digits."""
    return Field("count", at, length, Form(Kind.NUMBER, digits=min(length, 18), signed=True))
