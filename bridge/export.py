"""Journal blocks as the outside reads them: CloudEvents 1.0 in JSON, and plain columns for files.

Promises: the same event is the same text for ever, whatever block it is read from; no value is rounded (decimals are
JSON strings, times RFC 3339 with microseconds, binary base64); a field without a value of its type is absent from
`data` and named in the extension `unchanged` or `marks`, never null and never a sentinel. Works on columns: the rows
of a block are grouped by which attributes and fields they carry, and each group is encoded at once. Does no I/O.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from bridge.model import META, Block, Mark, Op
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
_RFC3339 = "%Y-%m-%dT%H:%M:%S%.6fZ"
# What decides which attributes a row has: rows alike in all of these are encoded together.
_LAYOUT = ("_op", "_moved", "_unchanged", "_marked", "_timed", "_keyed", "_in_tx")


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


def cloudevents(events: Block | Rows, envelope: Envelope, *, key: str | None = None) -> list[bytes]:
    """Render events as CloudEvents in structured JSON mode, one line each, in order.

    Args:
        events: of the envelope's stream; fields that are not among their columns are not shown.
        envelope: what they have in common.
        key: only the events with this key text.
    Returns: one UTF-8 JSON object per event, without line ends.
    Source: CloudEvents 1.0.2, "JSON Event Format"; extensions `sequence` and `partitionkey` as registered, `unchanged`,
    `marks`, `withheld`, `counterpart` and `transactionid` our own.
    """
    rows = _rows(events)
    return _texts(_attributes(_numbered(rows, key=key), rows, envelope), rows, envelope).to_list()


def messages(rows: Rows, envelope: Envelope) -> tuple[Message, ...]:
    """Each event rendered by itself, with what a sink needs to know of it."""
    frame = _attributes(_numbered(rows, key=None), rows, envelope)
    texts = _texts(frame, rows, envelope)
    columns_ = (frame.get_column(name).to_list() for name in ("_seq", "_id", "_key"))
    return tuple(map(Message, *columns_, texts.to_list()))


def columns(events: Block | Rows, *, key: str | None = None) -> pa.Table:
    """Events as columns for a file: `_seq`, `_id`, `_op` in words, then their other columns."""
    rows = _rows(events)
    frame = _numbered(rows, key=key)
    words = {int(op): op.word for op in Op}
    frame = frame.with_columns(
        _id=_event_id(rows, swapped=False), _op=pl.col("_op").replace_strict(words, return_dtype=pl.String)
    )
    return frame.select("_seq", "_id", "_op", pl.exclude("_seq", "_id", "_op")).to_arrow(
        compat_level=pl.CompatLevel.oldest()  # plain strings: not every reader knows string views
    )


def _rows(events: Block | Rows) -> Rows:
    return Rows.of(events) if isinstance(events, Block) else events


def _numbered(rows: Rows, *, key: str | None) -> pl.DataFrame:
    """The rows as a frame with their sequence numbers, cut to one key where asked."""
    frame = pl.DataFrame(pa.Table.from_batches([rows.batch])).with_columns(
        pl.Series("_seq", rows.numbers, dtype=pl.Int64)
    )
    return frame if key is None else frame.filter(pl.col("_key") == key)


def _texts(frame: pl.DataFrame, rows: Rows, envelope: Envelope) -> pl.Series:
    """The JSON text of each row, in order."""
    if frame.is_empty():
        return pl.Series("text", [], pl.Binary)
    groups = frame.partition_by(_LAYOUT, maintain_order=True) if _is_mixed(frame) else [frame]
    texts = [_encode(group, rows, envelope) for group in groups]
    if len(texts) > 1:
        order = pl.concat([group.get_column("_seq") for group in groups]).arg_sort()
        text = pl.concat(texts).gather(order)
    else:
        text = texts[0]
    return text.cast(pl.Binary)


def _is_mixed(frame: pl.DataFrame) -> bool:
    """Whether the rows differ in layout."""
    return frame.height > 1 and frame.select(pl.struct(_LAYOUT).n_unique()).item() > 1


def _attributes(frame: pl.DataFrame, rows: Rows, envelope: Envelope) -> pl.DataFrame:
    """Add the attributes that differ by row, and the layout columns that say which of them a row has."""
    frame = _with_marks(frame, envelope)
    return frame.with_columns(
        _id=_event_id(rows, swapped=False),
        _counterpart=_event_id(rows, swapped=True),
        _time=pl.col("_commit_at").dt.strftime(_RFC3339),
        _sequence=pl.col("_seq").cast(pl.String).str.zfill(20),
        _timed=pl.col("_commit_at").is_not_null(),
        _keyed=pl.col("_key").is_not_null(),
        _in_tx=pl.col("_tx").is_not_null(),
    )


def _event_id(rows: Rows, *, swapped: bool) -> pl.Expr:
    """The ids of `bridge.model.event_id` as one expression; swapped gives the other half of a key change."""
    delete, create = ("c", "d") if swapped else ("d", "c")
    half = (
        pl.when(~pl.col("_moved")).then(pl.lit(""))
        .when(pl.col("_op") == int(Op.DELETE)).then(pl.lit(delete))
        .otherwise(pl.lit(create))
    )  # fmt: skip
    logged = pl.concat_str(
        pl.lit(f"{rows.stream}:{rows.epoch}:"),
        pl.col("_position").map_batches(_hexadecimal, return_dtype=pl.String),
        pl.lit(":"),
        pl.col("_tx_index").cast(pl.String),
        half,
    )
    reread = pl.concat_str(
        pl.lit(f"{rows.stream}:s"), pl.col("_snapshot").cast(pl.String), pl.lit(":"), pl.col("_key").fill_null("")
    )
    return pl.when(pl.col("_snapshot").is_null()).then(logged).otherwise(reread)


def _hexadecimal(positions: pl.Series) -> pl.Series:
    """Unsigned 64-bit integers as upper-case hexadecimal text without leading zeros."""
    big_endian = np.ascontiguousarray(positions.to_numpy().astype(">u8"))
    raw = pa.FixedSizeBinaryArray.from_buffers(pa.binary(8), len(positions), [None, pa.py_buffer(big_endian)])
    text = pl.Series(positions.name, pl.from_arrow(raw.cast(pa.binary())), dtype=pl.Binary).bin.encode("hex")
    return text.str.to_uppercase().str.replace("^0{1,15}", "")


def _with_marks(frame: pl.DataFrame, envelope: Envelope) -> pl.DataFrame:
    """Add `_unchanged` and `_marked`: the row's marked fields as the extensions show them, "" where there are none.

    A delete carries its key fields only, so only their marks count there.
    """
    if frame.get_column("_marks").null_count() == frame.height:
        return frame.with_columns(_unchanged=pl.lit(""), _marked=pl.lit(""))
    cells = (  # one row a marked cell: they are sparse
        frame.lazy()
        .select("_seq", "_op", "_marks")
        .filter(pl.col("_marks").is_not_null())
        .explode("_marks")
        .unnest("_marks")
        .filter((pl.col("_op") != int(Op.DELETE)) | pl.col("field").is_in(envelope.key_fields))
    )
    words = {int(mark): word for mark, word in MARK_WORDS.items()}
    marked = (
        cells.with_columns(word=pl.col("kind").replace_strict(words, default=None, return_dtype=pl.String))
        .group_by("_seq")
        .agg(
            _unchanged=pl.col("field").filter(pl.col("word").is_null()).str.join(","),
            _marked=(pl.col("field") + "=" + pl.col("word")).filter(pl.col("word").is_not_null()).str.join(","),
        )
    )
    joined = frame.lazy().join(marked, on="_seq", how="left", maintain_order="left")
    return joined.with_columns(pl.col("_unchanged", "_marked").fill_null("")).collect()


def _encode(group: pl.DataFrame, rows: Rows, envelope: Envelope) -> pl.Series:
    """The JSON text of rows that carry the same attributes and fields."""
    layout = dict(zip(_LAYOUT, group.select(_LAYOUT).row(0), strict=True))
    op = Op(layout["_op"])
    names = list(_field_names(op, layout, rows, envelope))
    shape = list(_event_attributes(op, layout, rows, envelope))
    if names or op is Op.GAP:
        shape.append(pl.lit(CONTENT_TYPE).alias("datacontenttype"))
    if names:
        shape.append(pl.struct(_as_json(pl.col(name), group.schema[name]).alias(name) for name in names).alias("data"))
    text = pl.struct(shape).struct.json_encode()
    if op is Op.GAP:  # its note is a JSON object already; gaps are rare, so one by one
        note = pl.col("_note").map_elements(_compact, return_dtype=pl.String, skip_nulls=False)
        text = pl.concat_str(text.str.strip_suffix("}"), pl.lit(',"data":'), note, pl.lit("}"))
    return group.select(text.alias("text")).get_column("text")


def _event_attributes(op: Op, layout: dict[str, object], rows: Rows, envelope: Envelope) -> Iterator[pl.Expr]:
    """The context attributes of a group, in order; an attribute without a value is left out, as the spec asks."""
    yield pl.lit("1.0").alias("specversion")
    yield pl.col("_id").alias("id")
    yield pl.lit(envelope.source).alias("source")
    yield pl.lit(envelope.type(op, version=rows.contract)).alias("type")
    if layout["_keyed"]:
        yield pl.col("_key").alias("subject")
    if layout["_timed"]:
        yield pl.col("_time").alias("time")
    if op in _WITH_FIELDS:
        yield pl.lit(envelope.schema(version=rows.contract)).alias("dataschema")
    yield pl.col("_sequence").alias("sequence")
    if layout["_keyed"]:
        yield pl.col("_key").alias("partitionkey")
    if layout["_in_tx"]:
        yield pl.col("_tx").cast(pl.String).alias("transactionid")
    if layout["_moved"]:
        yield pl.col("_counterpart").alias("counterpart")
    if layout["_unchanged"]:
        yield pl.col("_unchanged").alias("unchanged")
    if layout["_marked"]:
        yield pl.col("_marked").alias("marks")
    if rows.withheld and op in _WITH_FIELDS:
        yield pl.lit(",".join(rows.withheld)).alias("withheld")


def _field_names(op: Op, layout: dict[str, object], rows: Rows, envelope: Envelope) -> Iterator[str]:
    """The contract fields that `data` has in a group."""
    if op in (Op.TRUNCATE, Op.GAP):
        return
    absent = set(str(layout["_unchanged"]).split(","))
    absent.update(cell.rpartition("=")[0] for cell in str(layout["_marked"]).split(","))
    shown = rows.batch.schema.names[len(META) :]
    wanted = [name for name in envelope.key_fields if name in shown] if op is Op.DELETE else shown
    yield from (name for name in wanted if name not in absent)


def _as_json(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A value in a type that JSON holds exactly."""
    if isinstance(dtype, pl.List):
        inner = _as_json(pl.element(), dtype.inner)  # type: ignore[arg-type] # the inner type of data is an instance
        return value.list.eval(inner)
    if isinstance(dtype, pl.Datetime):
        return value.dt.strftime(_RFC3339 if dtype.time_zone else _RFC3339.removesuffix("Z"))
    if isinstance(dtype, pl.Time):
        return value.dt.to_string("%H:%M:%S%.6f")
    if isinstance(dtype, pl.Binary):
        return value.bin.encode("base64")
    if isinstance(dtype, pl.Decimal | pl.Date | pl.Duration):
        return value.cast(pl.String)
    return value


def _compact(note: str | None) -> str:
    """A JSON object on one line."""
    return json.dumps(json.loads(note or "{}"), ensure_ascii=False, separators=(",", ":"))
