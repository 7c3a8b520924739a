"""Delimited text: CSV, TSV and their like.

Promises: a row that has not the header's number of fields, a quote inside a field or one that is never closed is a
fault of that row alone, and the rows around it pass. Quoting is that of RFC 4180 (quotes are doubled inside quotes).
Rows are found here, fields are cut by Arrow's reader, which takes exactly what is left. An empty field is null; an
empty quoted one is an empty text.
"""

import csv
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from bridge.errors import InternalError
from bridge.model import Mark, Marks
from bridge.sources.file import codepages, decode
from bridge.sources.file.codepages import CodePage
from bridge.sources.file.fields import TEXT, Form, Kind
from bridge.sources.file.frames import LONGEST, Frames, Integers, text_end
from bridge.sources.file.layout import FileRefused, Rows, Shown, Trailer

_HEADER_BYTES = 1 << 20
_LF, _CR = 0x0A, 0x0D
_OPEN = "a quote is not closed"


@dataclass(frozen=True, slots=True)
class Column:
    """A column that is read."""

    name: str
    title: str  # as the header has it
    form: Form = TEXT


@dataclass(frozen=True, slots=True)
class Delimited:
    """The layout of delimited text. See `Layout`."""

    columns: tuple[Column, ...]
    page: CodePage
    delimiter: str = ","
    quote: str = '"'  # empty for none
    has_header: bool = True
    multiline: bool = False  # quoted fields may hold line ends
    trailer: Trailer | None = None
    header_records: int = 0

    def begin(self, path: Path) -> "Table":
        """See the port."""
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
        start = len(BOM_UTF8) if head.startswith(BOM_UTF8) else 0
        titles = [column.title for column in self.columns]
        if self.has_header:
            titles, start = self._header(head, start)
            lost = [column.title for column in self.columns if column.title not in titles]
            if lost:
                raise FileRefused(f"its header lacks {', '.join(lost)}")
            double = [column.title for column in self.columns if titles.count(column.title) > 1]
            if double:  # of what nobody reads there may be several, like titles that are empty
                raise FileRefused(f"its header names {', '.join(double)} twice")
        return Table(self, tuple(titles), start)

    def _header(self, head: bytes, start: int) -> tuple[list[str], int]:
        end = head.find(b"\n", start)
        if end < 0 and len(head) == _HEADER_BYTES:
            raise FileRefused(f"its first {_HEADER_BYTES} bytes hold no end of a line; expected a header")
        line = head[start:] if end < 0 else head[start:end]
        texts, bad = codepages.text(line, np.array([0, len(line)], np.int64), self.page)
        if bad[0] or not line.strip():
            raise FileRefused("it has no header")
        rows = csv.reader(
            [texts[0].as_py()],
            delimiter=self.delimiter,
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
        )
        try:
            titles = next(rows)
        except csv.Error as error:
            raise FileRefused(f"its first {len(line)} bytes are no header; expected one line of titles") from error
        return [title.strip() for title in titles], len(head) if end < 0 else end + 1


@dataclass(frozen=True, slots=True)
class Table:
    """Delimited text with its header read. See `Format`."""

    layout: Delimited
    titles: tuple[str, ...]
    start: int
    end: int | None = None
    shown: tuple[Shown, ...] = field(init=False)

    def __post_init__(self) -> None:
        shown = tuple(Shown(one.name, one.form.described(), one.form.arrow(0)) for one in self.layout.columns)
        object.__setattr__(self, "shown", shown)

    # -- rows
    def frame(self, data: bytes, *, at_end: bool) -> Frames:
        """See the port."""
        if at_end and (stop := text_end(data)) < len(data):
            return replace(self.frame(data[:stop], at_end=True), end=len(data))
        frames = self._lines(data, at_end=at_end)
        if not self.layout.multiline or self._quote is None or data.find(self._quote) < 0:
            return frames
        return self._joined(data, frames, at_end=at_end)

    @property
    def _quote(self) -> bytes | None:
        return self.layout.quote.encode() if self.layout.quote else None

    def _lines(self, data: bytes, *, at_end: bool) -> Frames:
        given = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(given == _LF)
        starts = np.concatenate([[0], ends + 1]).astype(np.int64)
        if at_end and starts[-1] < len(data):
            ends = np.append(ends, len(data))
        else:
            starts = starts[:-1]
        end = len(data) if at_end else int(ends[-1]) + 1 if len(ends) else 0
        return self._framed(data, starts, ends, end=end)

    def _framed(self, data: bytes, starts: Integers, ends: Integers, *, end: int) -> Frames:
        given = np.frombuffer(data, np.uint8)
        lengths = ends - starts
        if len(lengths):
            lengths = lengths - ((lengths > 0) & (given[np.maximum(ends - 1, 0)] == _CR))
        kept = lengths > 0  # an empty line is no row
        starts, lengths = starts[kept], lengths[kept]
        faults = self._faults(given, starts, lengths)
        return Frames(data, starts, starts, lengths, end, faults)

    def _faults(self, given: NDArray[np.uint8], starts: Integers, lengths: Integers) -> dict[int, str]:
        """What is wrong with rows."""
        if not len(starts):
            return {}
        ends = starts + lengths
        marks = np.flatnonzero(given == ord(self.layout.delimiter))
        returns = np.flatnonzero(given == _CR)
        quotes = np.flatnonzero(given == self._quote[0]) if self._quote is not None else np.empty(0, np.int64)
        faults: dict[int, str] = {}
        if len(quotes):
            before = np.searchsorted(quotes, starts)
            marks, returns = (
                places[(np.searchsorted(quotes, places) - before[_row_of(places, starts)]) % 2 == 0]
                for places in (marks, returns)
            )
            faults = self._misquoted(given, quotes, starts, ends)
        for row in np.flatnonzero(np.searchsorted(returns, ends) > np.searchsorted(returns, starts)).tolist():
            faults.setdefault(row, "a carriage return stands inside it, outside of quotes")  # rejected rows
        counts = np.searchsorted(marks, ends) - np.searchsorted(marks, starts) + 1
        expected = len(self.titles)
        for row in np.flatnonzero(counts != expected).tolist():  # rejected rows
            faults.setdefault(row, f"it has {counts[row]} fields, expected {expected}")
        return faults

    def _misquoted(
        self, given: NDArray[np.uint8], quotes: Integers, starts: Integers, ends: Integers
    ) -> dict[int, str]:
        """Rows with a quote where none may stand."""
        rows = _row_of(quotes, starts)
        within = quotes < ends[rows]
        quotes, rows = quotes[within], rows[within]
        first = np.searchsorted(rows, np.arange(len(starts)))
        opens = (np.arange(len(quotes)) - first[rows]) % 2 == 0
        mark, quote = ord(self.layout.delimiter), self._quote
        assert quote is not None  # noqa: S101  asked before
        before = given[np.maximum(quotes - 1, 0)]
        after = given[np.minimum(quotes + 1, len(given) - 1)]
        bad_open = opens & (quotes != starts[rows]) & (before != mark) & (before != quote[0])
        bad_close = ~opens & (quotes + 1 != ends[rows]) & (after != mark) & (after != quote[0])
        odd = np.bincount(rows, minlength=len(starts)) % 2 == 1
        faults = dict.fromkeys(np.unique(rows[bad_open | bad_close]).tolist(), "a quote stands inside a field")
        return faults | dict.fromkeys(np.flatnonzero(odd).tolist(), _OPEN)

    def _joined(self, data: bytes, lines: Frames, *, at_end: bool) -> Frames:
        """Rows over several lines: a line with an open quote goes on until one closes it.

        A row that has no sound end, or is longer than a record may be, is its first line, and the next line is a row.
        """
        starts, ends = lines.starts, lines.starts + lines.lengths
        opened = [row for row, what in sorted(lines.faults.items()) if what == _OPEN]
        if not opened:
            return lines
        joined: list[tuple[int, int]] = []
        done, end = -1, lines.end
        for row, closes in zip(opened, [*opened[1:], None], strict=True):  # only rows with an open quote
            if row <= done:
                continue
            if closes is None:
                if not at_end and len(data) - starts[row] < LONGEST:
                    end = int(starts[row])
                    break
                continue
            whole = np.frombuffer(data[int(starts[row]) : int(ends[closes])], np.uint8)
            if not self._faults(whole, np.zeros(1, np.int64), np.array([len(whole)], np.int64)):
                joined.append((row, closes))
                done = closes
        return self._merged(data, lines, joined, end=end)

    def _merged(self, data: bytes, lines: Frames, joined: list[tuple[int, int]], *, end: int) -> Frames:
        last = lines.starts + lines.lengths
        kept = lines.starts < end
        gone = np.zeros(lines.count, np.bool_)
        faults = dict(lines.faults)
        for first, final in joined:
            last[first] = last[final]
            gone[first + 1 : final + 1] = True
            for row in range(first, final + 1):
                faults.pop(row, None)
        kept &= ~gone
        rows = np.flatnonzero(kept)
        place = {int(row): at for at, row in enumerate(rows.tolist())}
        starts = lines.starts[rows]
        return Frames(
            data, starts, starts, last[rows] - starts, end,
            {place[row]: what for row, what in faults.items() if row in place},
        )  # fmt: skip

    # -- columns
    def rows(self, frames: Frames, wanted: Sequence[str]) -> Rows:
        """See the port."""
        bad = np.zeros(frames.count, np.bool_)
        bad[list(frames.faults)] = True
        good = np.flatnonzero(~bad)
        chosen = [column for column in self.layout.columns if column.name in set(wanted)]
        cells = self._cut(frames, good, chosen)
        index = np.cumsum(~bad) - 1
        spread = pa.array(index, mask=bad) if bad.any() else None
        columns: dict[str, pa.Array] = {}
        marks: dict[str, Marks] = {}
        for column in chosen:
            values, wrong, raw = self._read(cells[column.title], column)
            columns[column.name] = values if spread is None else values.take(spread)
            found = np.concatenate([good[wrong], np.flatnonzero(bad)])
            if len(found):
                order = np.argsort(found, kind="stable")
                cell = [*(raw[row].as_py() for row in np.flatnonzero(wrong)), *[None] * int(bad.sum())]
                kinds = np.full(len(found), Mark.UNREADABLE, np.uint8)
                marks[column.name] = Marks(found[order].astype(np.int64), kinds, tuple(cell[at] for at in order))
        return Rows(frames, np.arange(frames.count, dtype=np.int64), columns, marks, frames.faults)

    def _cut(self, frames: Frames, good: Integers, chosen: Sequence[Column]) -> Mapping[str, pa.Array]:
        places = {column.title: str(self.titles.index(column.title)) for column in chosen}
        if not len(good):
            return {title: pa.array([], pa.binary()) for title in places}
        names = [str(place) for place in range(len(self.titles))]
        body = _only(frames, good)
        if body.startswith(BOM_UTF8):  # of a row, as where files were put together: Arrow passes over one
            body = BOM_UTF8 + body
        table = arrow_csv.read_csv(
            pa.BufferReader(body),
            read_options=arrow_csv.ReadOptions(column_names=names, use_threads=False, block_size=1 << 30),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self.layout.delimiter,
                quote_char=self.layout.quote or False,
                double_quote=True,
                newlines_in_values=self.layout.multiline,
                ignore_empty_lines=False,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.binary()),
                include_columns=list(places.values()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        if table.num_rows != len(good):
            raise InternalError(f"{table.num_rows} rows were cut of {len(good)}")
        return {title: table.column(place).combine_chunks() for title, place in places.items()}

    def _read(self, cells: pa.Array, column: Column) -> tuple[pa.Array, NDArray[np.bool_], pa.Array]:
        """Values of a column, which could not be read, and the bytes of all."""
        raw = cells.cast(pa.large_binary())
        filled = raw.fill_null(b"") if raw.null_count else raw
        offsets = np.frombuffer(filled.buffers()[1], np.int64)[filled.offset : filled.offset + len(filled) + 1]
        data = filled.buffers()[2]
        body = b"" if data is None else data.to_pybytes()[int(offsets[0]) : int(offsets[-1])]
        texts, bad = codepages.text(body, np.ascontiguousarray(offsets - offsets[0]), self.layout.page)
        if raw.null_count:
            texts = pc.if_else(raw.is_null(), pa.scalar(None, pa.large_string()), texts)
        if column.form.kind is Kind.TEXT:
            return texts, bad, raw
        values, wrong = decode.written(texts, column.form, empty_is_null=True)
        return values, bad | wrong, raw


def _row_of(places: Integers, starts: Integers) -> Integers:
    """The row that each place is in, or behind."""
    return np.maximum(np.searchsorted(starts, places, side="right") - 1, 0)


def _only(frames: Frames, rows: Integers) -> bytes:
    """The bytes of these rows, each with its line's end."""
    given = np.frombuffer(frames.data, np.uint8)
    starts, ends = frames.starts[rows], frames.starts[rows] + frames.lengths[rows]
    ends = np.minimum(ends + 1 + (given[np.minimum(ends, len(given) - 1)] == _CR), len(given))
    if (starts[1:] == ends[:-1]).all():
        return frames.data[int(starts[0]) : int(ends[-1])]
    edges = np.zeros(len(given) + 1, np.int8)
    edges[starts] += 1
    edges[ends] -= 1
    return given[np.cumsum(edges[:-1], dtype=np.int8).astype(np.bool_)].tobytes()
