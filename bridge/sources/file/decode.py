"""From framed records to columns: every wanted field of every record at once.

A cell that cannot be read is null and marked with its bytes. A record that cannot be what its layout says (too short,
too long, a counter out of bounds) has a fault, and all its cells are marked. Python loops run over marked cells only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from bridge.contract import kinds
from bridge.contract.kinds import ValueType
from bridge.inbox import typed
from bridge.model import Mark, Marks
from bridge.sources.file import codepages, numbers, patterns
from bridge.sources.file.codepages import CodePage
from bridge.sources.file.fields import Counter, Field, Form, Kind, Placed
from bridge.sources.file.frames import Bytes, Integers
from bridge.sources.file.record import Record

_DIGITS = (Kind.ZONED, Kind.PACKED, Kind.BINARY, Kind.FLOAT, Kind.HEXFLOAT)
Cell = tuple[pa.Array, NDArray[np.uint8]]  # values of a field, and of each a Mark or 0


@dataclass(frozen=True, slots=True)
class Reading:
    """How fields are read, whatever the layout."""

    page: CodePage
    keeps_blanks: bool = False  # at the end of texts
    empty_is_null: bool = False  # a number of blanks or of zero bytes


@dataclass(frozen=True, slots=True)
class Decoded:
    """What records say."""

    columns: Mapping[str, pa.Array]
    marks: Mapping[str, Marks]
    faults: Mapping[int, str]  # by record


def decode(
    cells: Bytes, lengths: Integers, record: Record | Placed, wanted: Sequence[str], *, reading: Reading,
    faults: Mapping[int, str],
) -> Decoded:  # fmt: skip
    """Read fields of records.

    Args:
        cells: n records of the layout's full width.
        lengths: how many bytes each had before it was filled up or cut.
        record: the layout.
        wanted: names of the fields that are read.
        reading: how they are read.
        faults: what framing found.
    """
    count = len(cells)
    wrong = dict(faults)
    if isinstance(record, Placed) or not record.counters or not count:
        found = _fields(cells, record.fields, wanted, reading)
    else:
        found = _variable(cells, lengths, record, wanted, reading=reading, faults=wrong)
    broken = np.zeros(count, np.bool_)
    broken[list(wrong)] = True
    columns, marks = {}, {}
    places = {field.name: field for field in record.fields}
    for name in wanted:
        values, marked = found[name]
        if broken.any():
            marked = np.where(broken, np.uint8(Mark.UNREADABLE), marked)
            values = pl.select(pl.when(pl.lit(pl.Series(~broken))).then(pl.lit(pl.Series(values)))).to_series()
            values = values.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(places[name].arrow)
        columns[name] = values
        if marked.any():
            marks[name] = _marks(cells, places[name], marked, broken)
    return Decoded(columns, marks, wrong)


def _marks(cells: Bytes, field: Field, marked: NDArray[np.uint8], broken: NDArray[np.bool_]) -> Marks:
    rows = np.flatnonzero(marked)
    raw = tuple(None if broken[row] else cells[row, field.offset : field.end].tobytes() for row in rows)
    return Marks(rows.astype(np.int64), marked[rows], raw)


def _fields(cells: Bytes, fields: Sequence[Field], wanted: Sequence[str], reading: Reading) -> dict[str, Cell]:
    names = set(wanted)
    return {field.name: cell(cells, field, reading) for field in fields if field.name in names}


def _variable(
    cells: Bytes, lengths: Integers, record: Record, wanted: Sequence[str], *, reading: Reading, faults: dict[int, str]
) -> dict[str, Cell]:  # fmt: skip
    """Records whose tables have different sizes, those of the same sizes together."""
    counts = np.stack([_count(cells, counter, reading) for counter in record.counters], axis=1)
    for row in np.flatnonzero((counts < 0).any(axis=1)).tolist():  # rejected rows
        faults.setdefault(row, "a counter of its tables is out of bounds")
    counts = np.maximum(counts, 0)
    kinds_of, group = np.unique(counts, axis=0, return_inverse=True)
    group = group.reshape(-1)
    parts: dict[str, list[Cell]] = {name: [] for name in wanted}
    order = []
    forms = {field.name: field for field in record.fields}
    for number, sizes in enumerate(kinds_of.tolist()):
        rows = np.flatnonzero(group == number)
        order.append(rows)
        placed = record.at(tuple(sizes), tuple(wanted))
        right = (lengths[rows] == placed.length) | (lengths[rows] == record.length)  # or filled up to the longest
        for row in rows[~right].tolist():  # rejected rows
            faults.setdefault(row, f"it has {lengths[row]} bytes; its tables need {placed.length}")
        found = _fields(cells[rows], placed.fields, wanted, reading)
        for name in wanted:
            absent = pa.nulls(len(rows), forms[name].arrow), np.zeros(len(rows), np.uint8)
            parts[name].append(found.get(name, absent))
    back = pa.array(np.argsort(np.concatenate(order), kind="stable"))
    return {
        name: (
            pa.concat_arrays([values for values, _ in given]).take(back),
            np.concatenate([marked for _, marked in given])[back.to_numpy()],
        )
        for name, given in parts.items()
    }


def _count(cells: Bytes, counter: Counter, reading: Reading) -> Integers:
    """The value of a counter in each record; -1 where it is none that its table may have."""
    values, marked = cell(cells, counter.field, reading)
    numbers_ = values.cast(pa.int64()).fill_null(-1).to_numpy()
    good = (marked == 0) & (numbers_ >= counter.least) & (numbers_ <= counter.most)
    return np.where(good, numbers_, -1)


def cell(cells: Bytes, field: Field, reading: Reading) -> Cell:
    """One field of every record."""
    given = cells[:, field.offset : field.end]
    form, page = field.form, reading.page
    if form.kind in _DIGITS:
        values, bad = numbers.column(given, form, is_ebcdic=page.is_ebcdic, arrow=field.arrow)
        if form.kind in (Kind.FLOAT, Kind.HEXFLOAT):
            return _finite(values)
        if reading.empty_is_null and bad.any():
            blank = page.byte(" ")
            bad &= ~((given == blank).all(axis=1) | (given == 0).all(axis=1))
        return values, bad * np.uint8(Mark.UNREADABLE)
    if form.kind is Kind.TEXT:
        texts, bad = codepages.column(given, page, trims=not reading.keeps_blanks)
        return texts, bad * np.uint8(Mark.UNREADABLE)
    texts, bad = codepages.column(given, page)
    values, wrong = written(texts, form, empty_is_null=reading.empty_is_null or form.kind is not Kind.NUMBER)
    return values, (bad | wrong) * np.uint8(Mark.UNREADABLE)


def written(texts: pa.Array, form: Form, *, empty_is_null: bool) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Values as people write them, from text; and which could not be read. Null stays null."""
    text = pl.Series("text", texts).str.strip_chars(" ")
    if empty_is_null:
        text = text.set(text == "", None)
    arrow = form.arrow(0)
    frame = pl.DataFrame({"text": text})
    if form.pattern:
        frame = frame.select(pl.when(pl.col("text").str.contains(patterns.shape(form.pattern))).then(pl.col("text")))
    if form.kind is Kind.DATE:
        made = frame.select(pl.col("text").str.to_date(form.pattern, strict=False)).to_series()
    elif form.kind is Kind.TIMESTAMP:
        made = frame.select(pl.col("text").str.to_datetime(form.pattern, time_unit="us", strict=False)).to_series()
    elif form.kind is Kind.BOOLEAN:
        word = pl.col("text").str.to_lowercase()
        made = frame.select(
            pl.when(word.is_in(["t", "y"])).then(pl.lit(value=True))
            .when(word.is_in(["f", "n"])).then(pl.lit(value=False))
        ).to_series()  # fmt: skip
        text = text.set(text == "?", None)
    elif form.kind is Kind.NUMBER:
        made = typed.column(_number(text, comma=form.comma), _value_type(arrow))
        if pa.types.is_decimal(arrow):
            made = _within(made, arrow)
    else:
        return texts, np.zeros(len(texts), np.bool_)
    bad = (made.is_null() & text.is_not_null()).to_numpy()
    return made.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(arrow), bad


def _within(made: pl.Series, arrow: pa.DataType) -> pl.Series:
    """Null where a decimal has more digits than its type."""
    if arrow.precision == kinds.MAX_DIGITS:
        return made
    limit = pl.lit("1" + "0" * (arrow.precision - arrow.scale)).cast(pl.Decimal(kinds.MAX_DIGITS, 0))
    return pl.DataFrame({"n": made}).select(pl.when(pl.col("n").abs() < limit).then(pl.col("n"))).to_series()


def _number(text: pl.Series, *, comma: bool) -> pl.Series:
    """Plain digits with a point: the sign to the front, thousands' marks of the other kind gone."""
    frame = pl.DataFrame({"text": text})
    point, mark = (",", ".") if comma else (".", ",")
    value = pl.col("text")
    grouped = value.str.contains(rf"^[+-]?[0-9]{{1,3}}(\{mark}[0-9]{{3}})+(\{point}[0-9]*)?-?$")
    value = pl.when(grouped).then(value.str.replace_all(mark, "", literal=True)).otherwise(value)
    value = value.str.replace(point, "\ue000", literal=True)
    value = pl.when(value.str.contains(mark, literal=True)).then(None).otherwise(value)
    value = value.str.replace("\ue000", ".", literal=True)
    value = value.str.replace(r"^([0-9.]+)-$", "-${1}").str.replace(r"^\+([0-9.])", "${1}")
    return frame.select(value.str.replace(r"^(-?)\.([0-9])", "${1}0.${2}")).to_series()


def _value_type(arrow: pa.DataType) -> ValueType:
    found = kinds.of_arrow(arrow)
    assert found is not None  # noqa: S101  forms have types that expressions read
    return found


def _finite(values: pa.Array) -> Cell:
    numbers_ = values.to_numpy(zero_copy_only=False)
    if np.isfinite(numbers_).all():
        return values, np.zeros(len(numbers_), np.uint8)
    marked = np.select(
        [np.isnan(numbers_), np.isposinf(numbers_), np.isneginf(numbers_)],
        [np.uint8(Mark.NAN), np.uint8(Mark.PLUS_INFINITY), np.uint8(Mark.MINUS_INFINITY)],
        np.uint8(0),
    )
    return pa.array(numbers_, mask=marked > 0), marked
