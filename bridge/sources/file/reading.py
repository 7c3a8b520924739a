"""Reading our copy of a file from anywhere in it: piece by piece, each a bounded number of records."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bridge.errors import SourceUnavailable
from bridge.sources.file.codepages import page
from bridge.sources.file.decode import Reading
from bridge.sources.file.frames import LONGEST, Frames
from bridge.sources.file.layout import FileRefused, Flat, Format, Layout, Rows

LEAST_BYTES, MOST_BYTES = 64 << 10, 4 << 20  # of a piece
_ROWS = 32_768  # in a piece, about
_CELLS = 16 << 20  # bytes of records that are filled up to the longest one
_ASCII = Reading(page("ascii"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file a record begins."""

    offset: int  # bytes before it
    number: int  # of the record, from 1


@dataclass(frozen=True, slots=True)
class Piece:
    """Records that follow each other."""

    first: Place
    next: Place
    rows: Rows
    at_end: bool


class Reader:
    """One file under one layout.

    Args:
        path: our copy.
        layout: how it is read.
    Raises: FileRefused when it is not of its layout as a whole.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self._path = path
        self._layout = layout
        self.format: Format = layout.begin(path)
        size = path.stat().st_size
        self._end = size if self.format.end is None else min(size, self.format.end)
        self._last: int | None = None  # number of the trailer
        width = self.format.width if isinstance(self.format, Flat) else 0
        self._most = max(1, _CELLS // width) if width else 0  # records of a piece; 0: any number
        self._piece = max(LEAST_BYTES, min(MOST_BYTES, width * _ROWS)) if width else MOST_BYTES // 4

    @property
    def start(self) -> Place:
        """Where the first record begins."""
        return Place(self.format.start, 1)

    def check(self) -> Iterator[None]:
        """Hold the file to its trailer, step by step. Raises: FileRefused."""
        trailer = self._layout.trailer
        if trailer is None:
            return
        place, last, told = self.start, 0, None
        while place.offset < self._end:
            frames, at_end = self._frames(place.offset)
            last = place.number + frames.count - 1
            if at_end and frames.count:
                told = trailer.count(frames, frames.count - 1, self._reading)
            place = Place(place.offset + frames.end, last + 1)
            yield
        counted = last - 1 - self._layout.header_records
        if told is None:
            raise FileRefused("its last record is no trailer with a count")
        if told != counted:
            raise FileRefused(f"its trailer counts {told} records, and there are {counted}")
        self._last = last

    @property
    def _reading(self) -> Reading:
        """How a trailer is read: it has no code page of its own."""
        return self.format.reading if isinstance(self.format, Flat) else _ASCII

    def piece(self, at: Place, wanted: tuple[str, ...]) -> Piece | None:
        """The records from a place on; None at the end."""
        if at.offset >= self._end:
            return None
        frames, at_end = self._frames(at.offset)
        if self._most and frames.count > self._most:  # short records of a wide layout
            fewer = self.format.frame(frames.data[: int(frames.starts[self._most])], at_end=False)
            if fewer.count:  # else they are one block
                frames, at_end = fewer, False
                self._piece = max(LEAST_BYTES, frames.end)
        numbers = np.arange(at.number, at.number + frames.count)
        kept = numbers > self._layout.header_records
        if self._last is not None:
            kept &= numbers != self._last
        whole = frames if kept.all() else _only(frames, np.flatnonzero(kept))
        rows = self.format.rows(whole, wanted)
        if whole is not frames:
            rows = Rows(rows.frames, np.flatnonzero(kept)[rows.numbers], rows.columns, rows.marks, rows.faults)
        after = Place(at.offset + frames.end, at.number + frames.count)
        return Piece(at, after, rows, at_end=at_end)

    def _frames(self, offset: int) -> tuple[Frames, bool]:
        """At least one record, or the end of the file."""
        size = self._piece
        while True:
            data = self._read(offset, min(size, self._end - offset))
            at_end = offset + len(data) >= self._end
            frames = self.format.frame(data, at_end=at_end)
            if frames.is_lost:
                return self._given_up(frames, offset), True
            if frames.end or at_end:
                return frames, at_end
            if size > LONGEST:
                start = np.zeros(1, np.int64)
                fault = {0: f"no record ends within {len(data)} bytes"}
                return Frames(data, start, start, np.array([len(data)]), len(data), fault), at_end
            size *= 4

    def _given_up(self, frames: Frames, offset: int) -> Frames:
        """Nothing behind the last record is read: what looks like a record there may be none."""
        last = frames.count - 1
        rest = self._end - offset - int(frames.starts[last])
        fault = f"{frames.faults[last]}; {rest} bytes to the end of the file are not read"
        return replace(frames, faults={**frames.faults, last: fault}, end=self._end - offset)

    def _read(self, offset: int, size: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
        if len(data) != size:
            raise SourceUnavailable(f"{self._path}: our copy is cut short", hint="Leave the folder of copies alone.")
        return data


def _only(frames: Frames, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Frames:
    place = {int(row): at for at, row in enumerate(rows.tolist())} if frames.faults else {}
    faults = {place[row]: what for row, what in frames.faults.items() if row in place}
    return Frames(frames.data, frames.starts[rows], frames.bodies[rows], frames.lengths[rows], frames.end, faults)
