"""dBase III to IV, FoxPro and Visual FoxPro tables: columns from the file's own header, memos from the file beside it.

Columns have their names in lower case. Rows that are marked as deleted are left out unless they are asked for. Refused:
dBase 7, and Visual FoxPro's nullable and variable columns, whose nulls would be lost. Source: the published
descriptions of the DBF, DBT and FPT formats by Borland and Microsoft.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bridge.model import Mark, Marks
from bridge.sources.file import codepages
from bridge.sources.file.codepages import CodePage
from bridge.sources.file.decode import Reading
from bridge.sources.file.fields import TEXT, Field, Form, Kind, Placed, UnreadableLayout
from bridge.sources.file.frames import Bytes, Frames, fixed, matrix
from bridge.sources.file.layout import FileRefused, Flat, Rows, Shown, Trailer, Types, shown_of
from bridge.sources.file.memo import Memo

_HEAD = Struct("<BBBBIHH17xBxx")
_COLUMN = Struct("<11sc4xBB14x")
_LEVEL_7 = 4
_VISUAL = (0x30, 0x31, 0x32)
_END = 0x0D
_PAGES = {
    0x01: "cp437", 0x02: "cp850", 0x03: "cp1252", 0x57: "cp1252", 0x58: "cp1252", 0x59: "cp1252", 0x64: "cp852",
    0x65: "cp866", 0x66: "cp865", 0x67: "cp861", 0x6A: "cp737", 0x6B: "cp857", 0x87: "cp852", 0xC8: "cp1250",
    0xC9: "cp1251", 0xCA: "cp1254", 0xCB: "cp1253", 0xCC: "cp1257",
}  # fmt: skip
_JULIAN_1970 = 2_440_588  # the day's number
_FIRST_DAY, _LAST_DAY = 1_721_426, 5_373_484  # of the years 1 and 9999
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Dbase:
    """The layout of tables. See `Layout`."""

    page: CodePage | None  # None: the one that the file names, else ASCII
    takes_deleted: bool = False
    folds: bool = True  # blanks at the end of texts are left out
    trailer: Trailer | None = None
    header_records: int = 0

    def begin(self, path: Path) -> "Table":
        """See the port. The memo file lies beside the table under its name, with the suffix .dbt or .fpt."""
        with path.open("rb") as file:
            head = file.read(1 << 16)
            size = file.seek(0, 2)
        if len(head) < _HEAD.size:
            raise FileRefused("it has no header")
        version, _, _, _, count, start, length, language = _HEAD.unpack_from(head)
        if version & 7 == _LEVEL_7:
            raise FileRefused("dBase 7 is not supported")
        if start > len(head) or length < 1 or size < start + count * length:
            raise FileRefused(f"it is cut short: {count} records of {length} bytes do not fit into {size}")
        with path.open("rb") as file:
            file.seek(start + count * length)
            more = file.read(length)
        if len(more) == length and more[:1] in (b" ", b"*"):  # what wrote it died before it counted
            raise FileRefused(f"its header counts {count} records, and more of {length} bytes follow")
        page = self.page or codepages.page(_PAGES.get(language, "ascii"))
        columns = _columns(head[:start], is_visual=version in _VISUAL)
        if sum(column.length for column in columns) + 1 != length:
            raise FileRefused("its columns are not as long as its records")
        gone = () if self.takes_deleted else ("*",)
        if len({column.name for column in columns}) < len(columns):
            raise FileRefused("its header names a column twice")
        flat = Flat(
            Placed(tuple(_plain(column) for column in columns), length),
            fixed(length),
            Reading(page, keeps_blanks=not self.folds, empty_is_null=True),
            types=Types(Field("deleted", 0, 1, TEXT), ("", " ", "*"), gone),
            start=start,
            end=start + count * length,
        )
        memo = Memo.beside(path, version) if any(column.type in "MGP" for column in columns) else None
        return Table(flat, tuple(columns), memo)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column as the header has it."""

    name: str
    type: str
    offset: int
    length: int
    decimals: int


def _columns(head: bytes, *, is_visual: bool) -> list[_Column]:
    columns: list[_Column] = []
    at, offset = 32, 1
    while at + _COLUMN.size <= len(head) and head[at] != _END:
        name, type_, length, decimals = _COLUMN.unpack_from(head, at)
        kind = type_.decode("latin-1")
        if kind not in "CNFDLIBYTMGP@+" or (kind in "@+" and not is_visual):
            raise FileRefused(f"its column {len(columns) + 1} is of type {kind!r}, which is not supported")
        if kind == "B" and not is_visual:
            kind = "M"
        if kind == "C" and not is_visual:
            length, decimals = length | decimals << 8, 0
        columns.append(_Column(name.split(b"\0")[0].decode("latin-1").lower(), kind, offset, length, decimals))
        offset += length
        at += _COLUMN.size
    return columns


def _plain(column: _Column) -> Field:
    """The column as a field; of a memo, the number of its block."""
    form = _form(column)
    try:
        form.arrow(column.length)
    except UnreadableLayout as error:
        raise FileRefused(f"its column {column.name}: {error}") from error
    return Field(column.name, column.offset, column.length, form)


def _form(column: _Column) -> Form:
    length, form = _SIZED.get(column.type, (column.length, TEXT))
    if column.length != length or not length:
        raise FileRefused(f"its column {column.name} is {column.length} bytes long")
    if column.type in "NF":
        return Form(Kind.NUMBER, digits=min(length, 38), scale=column.decimals, signed=True)
    if column.type in "MGP":
        return _INTEGER if length == _INTEGER_BYTES else Form(Kind.NUMBER, digits=min(length, 18))
    return form


_INTEGER_BYTES = 4
_INTEGER = Form(Kind.BINARY, digits=9, signed=True, little=True, full=True)
_LONG = Form(Kind.BINARY, digits=18, signed=True, little=True, full=True)
_SIZED = {
    "I": (4, _INTEGER),
    "+": (4, _INTEGER),
    "B": (8, Form(Kind.FLOAT, little=True)),
    "Y": (8, replace(_LONG, scale=4)),
    "T": (8, _LONG),
    "@": (8, _LONG),
    "D": (8, Form(Kind.DATE, pattern="%Y%m%d")),
    "L": (1, Form(Kind.BOOLEAN)),
}


@dataclass(frozen=True, slots=True)
class Table:
    """One table. See `Format`."""

    flat: Flat
    columns: tuple[_Column, ...]
    memo: Memo | None

    @property
    def start(self) -> int:
        """See the port."""
        return self.flat.start

    @property
    def end(self) -> int | None:
        """See the port."""
        return self.flat.end

    @property
    def shown(self) -> Sequence[Shown]:
        """See the port."""
        fields = shown_of(self.flat.record.fields)
        types = {column.name: column.type for column in self.columns}
        return [replace(one, type=types[one.name], arrow=_TYPES.get(types[one.name], one.arrow)) for one in fields]

    def frame(self, data: bytes, *, at_end: bool) -> Frames:
        """See the port."""
        return self.flat.frame(data, at_end=at_end)

    def rows(self, frames: Frames, wanted: Sequence[str]) -> Rows:
        """See the port."""
        found = self.flat.rows(frames, wanted)
        own = [column for column in self.columns if column.name in found.columns and column.type in _TYPES]
        if not own:
            return found
        columns, marks = dict(found.columns), dict(found.marks)
        cells = matrix(found.frames, self.flat.width, blank=0)
        for column in own:
            given = cells[:, column.offset : column.offset + column.length]
            made, bad = _moments(given) if column.type in "T@" else self._memos(columns[column.name], given, column)
            columns[column.name] = made
            if bad:
                marks[column.name] = _marked(marks.get(column.name), bad)
        return replace(found, columns=columns, marks=marks)

    def _memos(self, blocks: pa.Array, given: Bytes, column: _Column) -> tuple[pa.Array, dict[int, bytes]]:
        """The memos of a column, each read where its block is; and of those that cannot be read their bytes."""
        bodies: list[bytes | None] = []
        bad: dict[int, bytes] = {}
        for row, block in enumerate(blocks.to_pylist()):
            body = self.memo.read(block) if block and self.memo is not None else None
            if block and body is None:
                bad[row] = given[row].tobytes()
            bodies.append(body)
        if column.type != "M":
            return pa.array(bodies, pa.large_binary()), bad
        cells = pa.array([body or b"" for body in bodies], pa.large_binary())
        offsets = np.frombuffer(cells.buffers()[1], np.int64)[: len(cells) + 1]
        texts, wrong = codepages.text(b"".join(body or b"" for body in bodies), offsets, self.flat.reading.page)
        absent = pa.array([body is None for body in bodies])
        made = pc.if_else(absent, pa.scalar(None, pa.large_string()), texts)
        return made, bad | {int(row): bodies[row] or b"" for row in np.flatnonzero(wrong)}


def _marked(before: Marks | None, bad: Mapping[int, bytes]) -> Marks:
    """What was marked before, and these."""
    raw: dict[int, bytes | None] = dict(bad)
    if before is not None:
        raw.update(zip(before.rows.tolist(), before.raw, strict=True))
    rows = sorted(raw)
    kinds = np.full(len(rows), Mark.UNREADABLE, np.uint8)
    return Marks(np.array(rows, np.int64), kinds, tuple(raw[row] for row in rows))


_TYPES = {"T": pa.timestamp("us"), "@": pa.timestamp("us"), "M": pa.large_string(), "G": pa.large_binary(),
          "P": pa.large_binary()}  # fmt: skip


def _moments(cells: Bytes) -> tuple[pa.Array, dict[int, bytes]]:
    """Day and milliseconds as timestamps, a day of 0 or blanks being none; and the bytes of what is no moment."""
    parts = np.ascontiguousarray(cells).view("<u4").reshape(-1, 2).astype(np.int64)
    day, millis = parts[:, 0], parts[:, 1]
    empty = (day == 0) | (cells == 0x20).all(axis=1)  # noqa: PLR2004  a blank
    wrong = ~empty & ((day < _FIRST_DAY) | (day > _LAST_DAY) | (millis > _DAY_MS))
    micros = (day - _JULIAN_1970) * (_DAY_MS * 1000) + millis * 1000
    made = pa.array(np.where(empty | wrong, 0, micros), pa.int64(), mask=empty | wrong).cast(pa.timestamp("us"))
    return made, {int(row): cells[row].tobytes() for row in np.flatnonzero(wrong)}
