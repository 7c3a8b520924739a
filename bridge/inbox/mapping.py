"""From changes to the columns of a raw batch, for the names that a stream's contract reads.

One column for every name in the contract's expressions: text for those that an expression computes with, the field's
own type where a field is the column as it stands. A name reaches into objects by dots (`"customer.id"`), unless the
object has a field of just that name; `ce_subject` and the like are a CloudEvent's attributes. A value that is not of
its column's type is marked unreadable with its text, and the message itself stands beside the columns, so that a dead
letter keeps it whole.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
import pyarrow as pa
from sqlglot import exp

from bridge import tracing
from bridge.contract import expression, kinds
from bridge.contract.document import ContractDocument
from bridge.contract.kinds import ValueType
from bridge.inbox import jsontext, typed
from bridge.inbox.cloudevents import STRUCTURED, Change
from bridge.inbox.cloudevents import changes as changes_of
from bridge.inbox.incoming import Incoming
from bridge.inbox.jsontext import Value
from bridge.model import CHANGE_COLUMNS, MESSAGE_TYPE, Column, Mark, Marks, RawBatch, Shape

MESSAGE = "$message"  # the column that holds a message as it came
HEADERS = "$headers"  # and what stood beside it: a JSON object; null where nothing did
_ATTRIBUTE = "ce_"
_TEXT = pa.large_string()


@dataclass(frozen=True, slots=True)
class Mapper:
    """Turns the changes of one stream into batches of one shape."""

    stream: str
    shape: Shape
    types: tuple[ValueType, ...]  # of every column that is read

    @classmethod
    def of(cls, stream: str, origin: str, document: ContractDocument) -> "Mapper":
        """The mapper of a stream under a contract; `origin` says where its messages come in."""
        wanted = types_of(document)
        columns = [Column(name, f"json {of}", of.arrow) for name, of in wanted.items()]
        columns.append(Column(HEADERS, "headers", _TEXT))
        columns.append(Column(MESSAGE, MESSAGE_TYPE, pa.large_binary()))
        return cls(stream, Shape(origin, tuple(columns)), tuple(wanted.values()))

    def batch(self, changes: Sequence[Change], *, first: int) -> RawBatch:
        """One row a change, in order; their positions count from `first`."""
        columns, marks = self._columns(changes)
        return RawBatch(self.stream, self.shape, _changes(changes, first), columns, marks)

    def remake(self, raw: RawBatch) -> RawBatch:
        """The same messages for this contract, when they were mapped for another."""
        if raw.shape == self.shape or MESSAGE not in raw.columns.schema.names:
            return raw
        columns, marks = self._columns([_again(*row) for row in zip(*_stored(raw), strict=True)])
        return RawBatch(self.stream, self.shape, raw.changes, columns, marks)

    def _columns(self, changes: Sequence[Change]) -> tuple[pa.RecordBatch, dict[str, Marks]]:
        marks: dict[str, Marks] = {}
        arrays: list[pa.Array] = []
        unread = [number for number, each in enumerate(changes) if each.fields is None]
        for column, wanted in zip(self.shape.columns, self.types, strict=False):
            array, found = read(column, wanted, [_text_of(each, column.name) for each in changes], unread=unread)
            arrays.append(array)
            if found is not None:
                marks[column.name] = found
        arrays.append(pa.array(map(_headers, changes), _TEXT))
        arrays.append(pa.array([each.body for each in changes], pa.large_binary()))
        return pa.RecordBatch.from_arrays(arrays, names=self.shape.names()), marks


def _headers(change: Change) -> str | None:
    """What `_again` needs besides the body."""
    if change.is_event:
        return json.dumps({"content-type": STRUCTURED})
    return json.dumps(dict(change.attributes)) if change.attributes else None


def _stored(raw: RawBatch) -> tuple[list[bytes], list[str | None], list[datetime]]:
    """Of each row the message, what stood beside it, and its time."""
    columns = raw.columns
    return (
        columns.column(MESSAGE).to_pylist(),
        columns.column(HEADERS).to_pylist(),
        raw.changes.column("_commit_at").to_pylist(),
    )


def _again(body: bytes, headers: str | None, at: datetime) -> Change:
    """A stored message, read again."""
    attributes = json.loads(headers) if headers is not None else {}
    content_type = attributes.pop("content-type", "")
    (change,) = changes_of(Incoming(body, at, content_type, attributes))
    return change


def read(
    column: Column, wanted: ValueType, values: list[str | None], *, unread: Sequence[int] = ()
) -> tuple[pa.Array, Marks | None]:
    """Texts as a column of values, each exact or null and marked.

    Args:
        column: what is made.
        wanted: of what type.
        values: its texts; None: there is no value.
        unread: rows that could not be read at all, marked too.
    """
    array, bad = _texts(values)
    if wanted != kinds.TEXT:
        array = typed.column(pl.Series("text", array), wanted).to_arrow().cast(column.arrow)
        nulls = np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist()
        bad = [row for row in nulls if values[row] is not None]
    return array, _marks(values, sorted({*bad, *unread}))


def types_of(document: ContractDocument) -> dict[str, ValueType]:
    """The names that a contract reads, with the type that each is needed in."""
    wanted: dict[str, set[ValueType]] = {}
    for field in document.fields:
        as_is = isinstance(field.expression, exp.Column)
        for name in sorted(expression.columns(field.expression)):
            wanted.setdefault(name, set()).add(field.type if as_is else kinds.TEXT)
    return {name: next(iter(types)) if len(types) == 1 else kinds.TEXT for name, types in wanted.items()}


def _text_of(change: Change, name: str) -> str | None:
    if change.attributes and name.startswith(_ATTRIBUTE):
        return change.attributes.get(name.removeprefix(_ATTRIBUTE))
    return None if change.fields is None else jsontext.text(reach(change.fields, name))


def reach(value: Value, name: str) -> Value:
    """What a name stands for in an object: its own field, or one in a field of it."""
    if not isinstance(value, dict):
        return None
    if name in value:
        return value[name]
    head, dot, rest = name.partition(".")
    return reach(value.get(head), rest) if dot else None


def _texts(values: list[str | None]) -> tuple[pa.Array, list[int]]:
    """A column of texts, and the rows whose text is none in UTF-8 (half of a surrogate pair)."""
    try:
        return pa.array(values, _TEXT), []
    except UnicodeEncodeError:
        bad = [row for row, value in enumerate(values) if value is not None and not _is_whole(value)]
        kept = [None if row in set(bad) else value for row, value in enumerate(values)]
        return pa.array(kept, _TEXT), bad


def _is_whole(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _marks(values: list[str | None], rows: list[int]) -> Marks | None:
    """Marks for the cells that could not be read, with their text; a whole message stands in its own column."""
    if not rows:
        return None
    raw = [values[row] for row in rows]
    kinds_ = np.full(len(rows), Mark.UNREADABLE, np.uint8)
    return Marks(
        np.array(rows, np.int64),
        kinds_,
        tuple(None if text is None else text.encode("utf-8", "surrogatepass") for text in raw),
    )


def _changes(changes: Sequence[Change], first: int) -> pa.RecordBatch:
    count = len(changes)
    return pa.RecordBatch.from_arrays(
        [
            pa.array([each.op for each in changes], pa.uint8()),
            pa.array([each.at for each in changes], pa.timestamp("us", "UTC")),
            pa.array(range(first, first + count), pa.uint64()),
            pa.nulls(count, pa.uint64()),
            pa.array(np.zeros(count, np.uint32)),
            pa.array([False] * count, pa.bool_()),
            pa.nulls(count, pa.uint32()),
            pa.array([tracing.note(each.traceparent) for each in changes], pa.large_string()),
        ],
        schema=CHANGE_COLUMNS,
    )
