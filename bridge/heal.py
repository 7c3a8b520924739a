"""After a gap and its re-read: the deletes that the gap hid.

A re-read finds every row that exists, so a key that was alive in the journal before the gap, and of which the new epoch
has neither an event nor a dead letter, was deleted in the gap. Works on journal columns alone, whatever the source.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import pyarrow as pa

from bridge.model import Block, EventBatch, Op
from bridge.ports import Journal

_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Ending:
    """The window that ends a re-read after a gap, as far as one stream is concerned; not stored yet."""

    stream: str
    epoch: int  # the one that began with the gap
    position: int  # where the window ends, as events say it
    at: datetime  # when the re-read ended
    snapshot: int  # the re-read's number
    events: pa.RecordBatch | None
    lettered: Iterable[str | None]  # keys about to be dead-lettered: alive at the source


def missing_deletes(journal: Journal, ending: Ending, *, key_fields: tuple[str, ...]) -> EventBatch | None:
    """One delete event for each key that vanished in the gap; None when none did.

    Cost: one pass over the stream's keys; memory grows with the number of distinct keys.
    """
    alive, newest = _alive_before(journal, ending, key_fields)
    if alive is None or newest is None:
        return None
    found = [_keys(block.batch) for block in journal.read(ending.stream) if block.epoch >= ending.epoch]
    found += [_keys(ending.events)] if ending.events is not None else []
    found.append(pl.Series("_key", [*ending.lettered, *_lettered(journal, ending)], pl.String))
    gone = alive.filter(~pl.col("_key").is_in(pl.concat(found).unique().implode()))
    if not gone.height:
        return None
    return EventBatch(ending.stream, ending.epoch, newest.contract, _deletes(gone, ending, newest.batch.schema))


def _alive_before(
    journal: Journal, ending: Ending, key_fields: tuple[str, ...]
) -> tuple[pl.DataFrame | None, Block | None]:
    """The keys whose last event before the epoch is not a delete, with their key fields; and the newest block."""
    newest: pl.DataFrame | None = None
    block = None
    for block in journal.read(ending.stream):
        if block.epoch >= ending.epoch:
            continue
        page = pl.DataFrame(pl.from_arrow(block.batch.select(["_op", "_key", *key_fields])))
        truncates = page["_op"] == Op.TRUNCATE
        if truncates.any():
            newest, page = None, page.slice(int(truncates.arg_true()[-1]) + 1)
        newest = page if newest is None else pl.concat([newest, page])
        newest = newest.filter(pl.col("_key").is_not_null()).unique("_key", keep="last", maintain_order=True)
    return (newest.filter(pl.col("_op") != Op.DELETE) if newest is not None else None), block


def _keys(batch: pa.RecordBatch) -> pl.Series:
    return pl.Series("_key", pl.from_arrow(batch.column("_key"))).cast(pl.String)


def _lettered(journal: Journal, ending: Ending) -> list[str]:
    """Keys of the epoch's dead letters, settled ones too."""
    keys: list[str] = []
    after = 0
    while page := journal.letters(stream=ending.stream, state=None, limit=_PAGE, after=after):
        keys += [letter.key for letter in page if letter.key is not None and letter.epoch >= ending.epoch]
        after = page[-1].id
    return keys


def _deletes(gone: pl.DataFrame, ending: Ending, schema: pa.Schema) -> pa.RecordBatch:
    """Delete events in the form of the stream's other events: the key fields, and nothing else."""
    count = gone.height
    keys = gone.drop("_op").to_arrow()
    same = {
        "_op": int(Op.DELETE),
        "_commit_at": ending.at,
        "_position": ending.position,
        "_moved": False,
        "_snapshot": ending.snapshot,
        "_note": '{"found_by": "reread"}',
    }
    columns = []
    for field in schema:
        if field.name in same:
            columns.append(pa.repeat(pa.scalar(same[field.name], field.type), count))
        elif field.name == "_tx_index":
            columns.append(pa.array(range(count), field.type))
        elif field.name in keys.column_names:
            columns.append(keys.column(field.name).combine_chunks().cast(field.type))
        else:
            columns.append(pa.nulls(count, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)
