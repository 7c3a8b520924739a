"""Rows that a driver hands over as Python values, block by block, to Arrow columns of settled types.

The first block is small, so that rows of many megabytes show before many are held; later ones grow.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from datetime import time as clock
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bridge.model import Column, Mark, Marks

_FIRST, _LARGEST, _GROWTH = 64, 8192, 4  # rows of a block

Read = Callable[[Any], Any]
"""A driver's value as one of the column's type. Raises: ValueError, TypeError, ArithmeticError where it is none."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a column's values are read."""

    column: Column
    read: Read  # one value
    read_all: Callable[[list[Any]], pa.Array] | None = None  # a column's; any Arrow or ValueError means: one by one


def blocks(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Rows in lists of growing length."""
    each, size = iter(rows), _FIRST
    while block := list(islice(each, size)):
        yield block
        size = min(size * _GROWTH, _LARGEST)


@dataclass(slots=True)
class Gathered:
    """The blocks of one answer."""

    kinds: Sequence[Kind]
    batches: list[pa.RecordBatch] = field(default_factory=list)
    size_bytes: int = 0
    row_count: int = 0
    _marks: dict[str, list[tuple[int, Marks]]] = field(default_factory=dict)

    def add(self, batch: pa.RecordBatch, marks: Mapping[str, Marks]) -> None:
        """Take a block."""
        for name, found in marks.items():
            self._marks.setdefault(name, []).append((self.row_count, found))
        self.batches.append(batch)
        self.size_bytes += batch.nbytes
        self.row_count += batch.num_rows

    def batch(self) -> pa.RecordBatch:
        """All rows."""
        if not self.batches:
            arrays = [pa.nulls(0, kind.column.arrow) for kind in self.kinds]
            return pa.RecordBatch.from_arrays(arrays, schema=schema_of(self.kinds))
        return pa.concat_batches(self.batches)

    def marks(self) -> dict[str, Marks]:
        """The marks of all rows."""
        return {name: Marks.joined(found) for name, found in self._marks.items()}


def schema_of(kinds: Sequence[Kind]) -> pa.Schema:
    """The columns' names and types."""
    return pa.schema([pa.field(kind.column.name, kind.column.arrow) for kind in kinds])


def convert(rows: Sequence[Sequence[Any]], kinds: Sequence[Kind]) -> tuple[pa.RecordBatch, dict[str, Marks]]:
    """Rows as columns; a value that is none of its column's type is null and marked, with its bytes kept."""
    arrays: list[pa.Array] = []
    marks: dict[str, Marks] = {}
    for kind, values in zip(kinds, zip(*rows, strict=True), strict=True):
        array, marked = _column(list(values), kind)
        arrays.append(array)
        if marked is not None:
            marks[kind.column.name] = marked
    return pa.RecordBatch.from_arrays(arrays, schema=schema_of(kinds)), marks


def _column(values: list[Any], kind: Kind) -> tuple[pa.Array, Marks | None]:
    if kind.read_all is not None:
        try:
            return _finite(kind.read_all(values), None)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            pass  # some value is no ordinary one: found below
    read: list[Any] = []
    bad: list[tuple[int, bytes]] = []
    for row, value in enumerate(values):
        try:
            found = None if value is None else kind.read(value)
            pa.scalar(found, kind.column.arrow)
        except (pa.ArrowException, ValueError, TypeError, ArithmeticError):
            bad.append((row, raw_of(value)))
            found = None
        read.append(found)
    array = pa.array(read, kind.column.arrow)
    if not bad:
        return _finite(array, None)
    rows, raws = zip(*bad, strict=True)
    return _finite(array, Marks(np.array(rows, np.int64), np.full(len(bad), Mark.UNREADABLE, np.uint8), raws))


def _finite(array: pa.Array, marks: Marks | None) -> tuple[pa.Array, Marks | None]:
    """The column with its NaN and its infinities marked, as every source marks them."""
    if not pa.types.is_floating(array.type):
        return array, marks
    cells = array.to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(~np.isfinite(cells) & np.asarray(array.is_valid()))
    if not rows.size:
        return array, marks
    found = [_SPECIAL[repr(float(cell))] for cell in cells[rows]]
    kinds = np.array([kind for kind, _ in found], np.uint8)
    raws: tuple[bytes | None, ...] = tuple(raw for _, raw in found)
    if marks is not None:
        rows, kinds, raws = np.append(rows, marks.rows), np.append(kinds, marks.kinds), (*raws, *marks.raw)
    order = np.argsort(rows)
    is_gone = np.zeros(len(array), np.bool_)
    is_gone[rows] = True
    ordered = Marks(rows[order], kinds[order], tuple(raws[at] for at in order.tolist()))
    return pc.if_else(pa.array(is_gone), pa.scalar(None, array.type), array), ordered


_SPECIAL = {
    "nan": (Mark.NAN, b"NaN"),
    "inf": (Mark.PLUS_INFINITY, b"Infinity"),
    "-inf": (Mark.MINUS_INFINITY, b"-Infinity"),
}


def raw_of(value: Any) -> bytes:  # noqa: ANN401  whatever a driver gives
    """A value's own bytes, as far as a driver lets them be seen."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    return (value if isinstance(value, str) else repr(value)).encode("utf-8", "surrogatepass")


def kept(value: Any) -> Any:  # noqa: ANN401  as above
    """A value of a key or a cursor as JSON can keep it."""
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    for of, word, write in _KEPT:
        if isinstance(value, of):
            return {word: write(value)}
    raise TypeError(f"a key or cursor of the Python type {type(value).__name__} cannot be kept")


_KEPT: tuple[tuple[type | tuple[type, ...], str, Callable[[Any], str]], ...] = (
    (float, "float", repr),
    ((bytes, bytearray, memoryview), "bytes", lambda value: bytes(value).hex()),
    (Decimal, "decimal", str),
    (datetime, "moment", datetime.isoformat),
    (date, "date", date.isoformat),
    (clock, "clock", clock.isoformat),
)


def restored(value: Any) -> Any:  # noqa: ANN401  as above
    """The value that `kept` made; any other as it is, Arrow's as Python's."""
    if isinstance(value, pa.Scalar):
        return value.as_py()
    if not isinstance(value, Mapping):
        return value
    ((word, text),) = value.items()
    return _RESTORED[word](text)


_RESTORED: Mapping[str, Callable[[str], Any]] = {
    "float": float,
    "bytes": bytes.fromhex,
    "decimal": Decimal,
    "moment": datetime.fromisoformat,
    "date": date.fromisoformat,
    "clock": clock.fromisoformat,
}


def decimal_of(value: Any) -> Decimal:  # noqa: ANN401  as above
    """A number as it is written: a float by its shortest digits, so that 1250.5 stays 1250.5."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise TypeError("no number")
    try:
        found = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation as error:
        raise ValueError("no number") from error
    if not found.is_finite():
        raise ValueError("no finite number")
    return found


def decimal_within(scale: int) -> Read:
    """Reads numbers of at most so many digits behind the point; Arrow alone would make nothing of 1e-221."""

    def read(value: Any) -> Decimal:  # noqa: ANN401  as above
        found = decimal_of(value)
        sign, digits, exponent = found.as_tuple()
        assert isinstance(exponent, int)  # noqa: S101  it is finite
        more = -scale - exponent
        if more <= 0:
            return found
        if any(digits[-more:]):
            raise ValueError("more digits than its column has")
        return Decimal((sign, digits[:-more] or (0,), -scale))

    return read


def plain(arrow: pa.DataType, of: type) -> Callable[[list[Any]], pa.Array]:
    """Reads a column whose values are all of its type already; Arrow alone would make 1 of 1.5, and text of bytes."""
    known = {of, type(None)}

    def read_all(values: list[Any]) -> pa.Array:
        if not known.issuperset(map(type, values)):
            raise TypeError("values of other types")
        return pa.array(values, arrow)

    return read_all


def text_of(value: Any) -> str:  # noqa: ANN401  as above
    """Any value's text: numbers by their digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError("bytes are no text")
    return json.dumps(value) if isinstance(value, (bool, int, float)) else str(value)
