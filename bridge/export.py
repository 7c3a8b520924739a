"""Journal blocks as the outside reads them: CloudEvents 1.0 in JSON, and plain columns for files.

Promises: the same event is the same text for ever, whatever block it is read from; no value is rounded (decimals are
JSON strings, times RFC 3339 with microseconds, binary base64); a field without a value of its type is absent from
`data` and named in the extension `unchanged` or `marks`, never null and never a sentinel. Works on columns: the rows
of a block are grouped by which attributes and fields they carry, and the text of each group is put together from
whole columns. Does no I/O.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bridge import figures, jsontext
from bridge.figures import TEXT
from bridge.jsontext import Piece
from bridge.model import MESSAGE_TYPE, META, Block, Mark, Op, RawBatch
from bridge.parcel import Message, Rows

CONTENT_TYPE = "application/json"

# Words of the extension `marks`; UNCHANGED has an extension of its own.
MARK_WORDS = {
    Mark.UNREADABLE: "unreadable",
    Mark.NAN: "nan",
    Mark.PLUS_INFINITY: "infinity",
    Mark.MINUS_INFINITY: "-infinity",
}

_WITH_FIELDS = (Op.CREATE, Op.UPDATE, Op.READ)
_WORDS = pa.array([Op(number).word if number in set(Op) else "" for number in range(128)], TEXT)
_TRACED = r'^{"traceparent": ?"(?P<traceparent>[0-9a-f-]{55})"}$'


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the events of one stream have in common besides their columns."""

    instance: str  # bridge.name of the configuration
    type_prefix: str  # reverse-DNS, "com.acme.erp"
    system: str
    stream: str
    contract_id: str
    key_fields: tuple[str, ...]  # the contract's key; empty for a keyless stream

    @property
    def source(self) -> str:
        """CloudEvents `source`."""
        return f"/bridge/{self.instance}/{self.system}/{self.stream}"

    def type(self, op: Op, *, version: str) -> str:
        """CloudEvents `type` of one operation under one contract version."""
        return f"{self.type_prefix}.{self.stream}.{op.word}.v{version.partition('.')[0]}"

    def schema(self, *, version: str) -> str:
        """CloudEvents `dataschema`: under the domain whose reverse is the type prefix."""
        domain = ".".join(reversed(self.type_prefix.split(".")))
        return f"https://{domain}/contracts/{self.contract_id}/{version}/schema.json"


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which attributes and fields rows have; those alike in all of it are rendered together."""

    op: int
    moved: bool
    timed: bool
    keyed: bool
    in_tx: bool
    traced: bool = False
    unchanged: str = ""
    marked: str = ""


def cloudevents(events: Block | Rows, envelope: Envelope, *, key: str | None = None) -> list[bytes]:
    """Render events as CloudEvents in structured JSON mode, one line each, in order.

    Args:
        events: of the envelope's stream; fields that are not among their columns are not shown.
        envelope: what they have in common.
        key: only the events with this key text.
    Returns: one UTF-8 JSON object per event, without line ends.
    Source: CloudEvents 1.0.2, "JSON Event Format"; extensions `sequence`, `partitionkey` and `traceparent` as
    registered, `unchanged`, `marks`, `withheld`, `counterpart` and `transactionid` our own.
    """
    return _lines(_texts(_rows(events, key=key), envelope))


def joined(rows: Rows, envelope: Envelope, *, end: str) -> memoryview:
    """The texts of `cloudevents`, each followed by `end`, in one piece."""
    return figures.contents(_texts(rows, envelope, end=end))


def frames(rows: Rows, envelope: Envelope) -> memoryview:
    """The events as server-sent events, in one piece; the id of each is its sequence number."""
    return figures.contents(_texts(rows, envelope, numbered=True, end="\n\n"))


def messages(rows: Rows, envelope: Envelope) -> tuple[Message, ...]:
    """Each event rendered by itself, with what a sink needs to know of it."""
    ids = _ids(rows, swapped=False)
    texts = _lines(_texts(rows, envelope, ids=ids))
    return tuple(map(Message, rows.numbers.tolist(), ids.to_pylist(), rows.batch.column("_key").to_pylist(), texts))


def columns(events: Block | Rows, *, key: str | None = None) -> pa.Table:
    """Events as columns for a file: `_seq`, `_id`, `_op` in words, then their other columns."""
    rows = _rows(events, key=key)
    shown = {"_seq": pa.array(rows.numbers), "_id": _ids(rows, swapped=False)}
    shown["_op"] = _WORDS.take(rows.batch.column("_op"))
    others = {name: rows.batch.column(name) for name in rows.batch.schema.names if name not in shown}
    return pa.table(shown | others)


def legacy_values(raw: RawBatch) -> dict[str, Any]:
    """The values of a raw batch of one row as its source sent them, by legacy column.

    Text where Arrow has no value and for a message as it came, other bytes as hexadecimal.
    """
    values: dict[str, Any] = raw.columns.to_pylist()[0]
    for name, marks in raw.marks.items():
        if len(marks.rows):
            absent = "(unchanged)" if marks.kinds[0] == Mark.UNCHANGED else "(unreadable)"
            values[name] = absent if marks.raw[0] is None else _readable(marks.raw[0])
    whole = [
        column.name for column in raw.shape.columns if column.type == MESSAGE_TYPE and values[column.name] is not None
    ]
    values |= {name: _readable(values[name]) for name in whole}
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}


def _readable(raw: bytes) -> str:
    return raw.decode("utf-8", errors="backslashreplace")


def _rows(events: Block | Rows, *, key: str | None) -> Rows:
    rows = Rows.of(events) if isinstance(events, Block) else events
    if key is None:
        return rows
    hits = pc.equal(rows.batch.column("_key"), key).fill_null(fill_value=False)
    return rows.take(np.flatnonzero(hits.to_numpy(zero_copy_only=False)))


def _lines(texts: pa.LargeStringArray) -> list[bytes]:
    lines: list[bytes] = texts.cast(pa.large_binary()).to_pylist()
    return lines


def _texts(
    rows: Rows,
    envelope: Envelope,
    *,
    ids: pa.LargeStringArray | None = None,
    numbered: bool = False,
    end: str = "",
) -> pa.LargeStringArray:
    """The JSON text of each row, in order.

    Args:
        rows: the events.
        envelope: what they have in common.
        ids: theirs, where they are known already.
        numbered: whether what a server-sent event begins with stands before it.
        end: what stands behind it.
    """
    if not rows.row_count:
        return pa.array([], TEXT)
    ids = _ids(rows, swapped=False) if ids is None else ids
    groups = list(_groups(rows, envelope))
    if len(groups) == 1:
        layout, _, part = groups[0]
        return _encode(part, ids, layout, envelope, numbered=numbered, end=end)
    texts = [
        _encode(part, ids.take(pa.array(index)), layout, envelope, numbered=numbered, end=end)
        for layout, index, part in groups
    ]
    order = np.argsort(np.concatenate([index for _, index, _ in groups]))
    return pa.concat_arrays(texts).take(pa.array(order))


def _groups(rows: Rows, envelope: Envelope) -> Iterator[tuple[_Layout, NDArray[np.int64], Rows]]:
    """The rows by layout, each with where they stand among all."""
    batch = rows.batch
    kinds: dict[str, Any] = {
        "op": batch.column("_op").to_numpy(),
        "moved": batch.column("_moved").to_numpy(zero_copy_only=False),
        "timed": _is_there(batch, "_commit_at"),
        "keyed": _has_key(batch),
        "in_tx": _is_there(batch, "_tx"),
    }
    if batch.column("_note").null_count < rows.row_count:
        traced = _traceparents(batch).is_valid().to_numpy(zero_copy_only=False)
        kinds["traced"] = traced & (kinds["op"] != int(Op.GAP))
    has_marks = batch.column("_marks").null_count < rows.row_count
    if not has_marks and all((values == values[0]).all() for values in kinds.values()):
        yield _Layout(**{name: values[0].item() for name, values in kinds.items()}), np.zeros(0, np.int64), rows
        return
    frame = pl.DataFrame(kinds)
    frame = frame.hstack(_mark_words(rows, envelope)) if has_marks else frame
    for values, found in frame.with_row_index("_at").group_by(frame.columns, maintain_order=True):
        index = found.get_column("_at").to_numpy().astype(np.int64)
        yield _Layout(**dict(zip(frame.columns, values, strict=True))), index, rows.take(index)


def _is_there(batch: pa.RecordBatch, name: str) -> NDArray[np.bool_]:
    column = batch.column(name)
    if not column.null_count:
        return np.ones(batch.num_rows, np.bool_)
    found: NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return found


def _has_key(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    """Where there is a key text to show: an attribute that is empty is none to CloudEvents."""
    sizes = pc.binary_length(batch.column("_key"))
    found: NDArray[np.bool_] = (sizes.fill_null(0) if sizes.null_count else sizes).to_numpy() > 0
    return found


def _traceparents(batch: pa.RecordBatch) -> pa.LargeStringArray:
    """The trace that each change came in with, as `bridge.tracing.note` put it down; null where it had none."""
    return pc.struct_field(pc.extract_regex(batch.column("_note").cast(TEXT), _TRACED), "traceparent")


def _mark_words(rows: Rows, envelope: Envelope) -> pl.DataFrame:
    """`unchanged` and `marked`: each row's marked fields as the extensions show them, "" where there are none.

    A delete carries its key fields only, so only their marks count there.
    """
    frame = pl.DataFrame(pa.table({"_op": rows.batch.column("_op"), "_marks": rows.batch.column("_marks")}))
    frame = frame.with_row_index("_at")
    cells = (  # one row a marked cell: they are sparse
        frame.lazy()
        .filter(pl.col("_marks").is_not_null())
        .explode("_marks")
        .unnest("_marks")
        .filter((pl.col("_op") != int(Op.DELETE)) | pl.col("field").is_in(envelope.key_fields))
    )
    words = {int(mark): word for mark, word in MARK_WORDS.items()}
    found = (
        cells.with_columns(word=pl.col("kind").replace_strict(words, default=None, return_dtype=pl.String))
        .group_by("_at")
        .agg(
            unchanged=pl.col("field").filter(pl.col("word").is_null()).str.join(","),
            marked=(pl.col("field") + "=" + pl.col("word")).filter(pl.col("word").is_not_null()).str.join(","),
        )
    )
    joined_ = frame.lazy().select("_at").join(found, on="_at", how="left", maintain_order="left")
    return joined_.select(pl.col("unchanged", "marked").fill_null("")).collect()


def _ids(rows: Rows, *, swapped: bool) -> pa.LargeStringArray:
    """The ids of `bridge.model.event_id`; swapped gives the other half of a key change."""
    batch = rows.batch
    snapshots = batch.column("_snapshot")
    if snapshots.null_count == rows.row_count:
        return _logged_ids(rows, swapped=swapped)
    keys = batch.column("_key").cast(TEXT).fill_null("")
    numbers = figures.decimal(snapshots.fill_null(0).to_numpy())
    reread = jsontext.join(f"{rows.stream}:s", numbers, ":", keys)
    if not snapshots.null_count:
        return reread
    return pc.if_else(snapshots.is_null(), _logged_ids(rows, swapped=swapped), reread)


def _logged_ids(rows: Rows, *, swapped: bool) -> pa.LargeStringArray:
    batch = rows.batch
    position = figures.hexadecimal(batch.column("_position").to_numpy())
    pieces = [f"{rows.stream}:{rows.epoch}:", position, ":", figures.decimal(batch.column("_tx_index").to_numpy())]
    moved = batch.column("_moved")
    if pc.any(moved).as_py():
        delete, create = ("c", "d") if swapped else ("d", "c")
        half = pc.if_else(pc.equal(batch.column("_op"), int(Op.DELETE)), delete, create)
        pieces.append(pc.if_else(moved, half, "").cast(TEXT))
    return jsontext.join(*pieces)


def _encode(
    rows: Rows, ids: pa.LargeStringArray, layout: _Layout, envelope: Envelope, *, numbered: bool, end: str
) -> pa.LargeStringArray:
    """The JSON text of rows of one layout."""
    op = Op(layout.op)
    pieces: list[Piece] = ["id: ", figures.decimal(rows.numbers), "\ndata: {"] if numbered else ["{"]
    pieces += _event_attributes(rows, ids, layout, envelope)
    names = list(_field_names(op, layout, rows, envelope))
    if names or op is Op.GAP:
        pieces.append(f',"datacontenttype":{jsontext.constant(CONTENT_TYPE)},"data":')
    if op is Op.GAP:  # its note is a JSON object already; gaps are rare, so one by one
        pieces.append(pa.array([_compact(note) for note in rows.batch.column("_note").to_pylist()], TEXT))
    start = "{"
    for name in names:
        pieces += [f"{start}{jsontext.constant(name)}:", *jsontext.value(rows.batch.column(name))]
        start = ","
    return jsontext.join(*pieces, ("}" if names else "") + "}" + end)


def _event_attributes(rows: Rows, ids: pa.LargeStringArray, layout: _Layout, envelope: Envelope) -> Iterator[Piece]:
    """The context attributes, in order; an attribute without a value is left out, as the spec asks."""
    batch, op = rows.batch, Op(layout.op)
    yield '"specversion":"1.0","id":'
    yield from jsontext.value(ids)
    kind = jsontext.constant(envelope.type(op, version=rows.contract))
    yield f',"source":{jsontext.constant(envelope.source)},"type":{kind}'
    key = list(jsontext.value(batch.column("_key"))) if layout.keyed else []
    if layout.keyed:
        yield from (',"subject":', *key)
    if layout.timed:
        yield from (',"time":', *jsontext.value(batch.column("_commit_at")))
    if op in _WITH_FIELDS:
        yield f',"dataschema":{jsontext.constant(envelope.schema(version=rows.contract))}'
    yield from (',"sequence":"', figures.decimal(rows.numbers, width=20), '"')
    if layout.keyed:
        yield from (',"partitionkey":', *key)
    if layout.in_tx:
        yield from (',"transactionid":"', figures.decimal(batch.column("_tx").to_numpy()), '"')
    yield from _rare_attributes(rows, layout)
    if rows.withheld and op in _WITH_FIELDS:
        yield f',"withheld":{jsontext.constant(",".join(rows.withheld))}'


def _rare_attributes(rows: Rows, layout: _Layout) -> Iterator[Piece]:
    if layout.moved:
        yield from (',"counterpart":', *jsontext.value(_ids(rows, swapped=True)))
    if layout.traced:
        yield from (',"traceparent":"', _traceparents(rows.batch), '"')
    if layout.unchanged:
        yield f',"unchanged":{jsontext.constant(layout.unchanged)}'
    if layout.marked:
        yield f',"marks":{jsontext.constant(layout.marked)}'


def _field_names(op: Op, layout: _Layout, rows: Rows, envelope: Envelope) -> Iterator[str]:
    """The contract fields that `data` has."""
    if op in (Op.TRUNCATE, Op.GAP):
        return
    absent = set(layout.unchanged.split(","))
    absent.update(cell.rpartition("=")[0] for cell in layout.marked.split(","))
    shown = rows.batch.schema.names[len(META) :]
    wanted = [name for name in envelope.key_fields if name in shown] if op is Op.DELETE else shown
    yield from (name for name in wanted if name not in absent)


def _compact(note: str | None) -> str:
    """A JSON object on one line."""
    return json.dumps(json.loads(note or "{}"), ensure_ascii=False, separators=(",", ":"))
