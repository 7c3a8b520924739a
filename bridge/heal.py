"""After a gap and its re-read: the deletes that the gap hid.

A re-read finds every row that exists. So a key that was alive in the journal before the gap, and of which there is
neither an event nor a dead letter since, was deleted in the gap; and an open letter from before the gap is overtaken:
its row was read again as it is now, or is gone. Before and since are told by epoch, since a gap begins one and a change
may be journalled late. Works on journal columns alone, whatever the source.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from bridge.contract.compiled import schema_of
from bridge.contract.document import ContractDocument
from bridge.latest import Latest, after_truncate
from bridge.model import EventBatch, LetterState, Op
from bridge.ports import Journal

_PAGE = 1_000
_NONE = pl.DataFrame(schema={"_op": pl.UInt8, "_key": pl.String, "_formed": pl.Boolean})


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a re-read after a gap, as far as one stream is concerned."""

    stream: str
    epoch: int  # of the source now
    position: int  # where the source stands, as events say it
    at: datetime  # when the re-read ended
    snapshot: int  # the re-read's number
    events: pa.RecordBatch | None = None  # about to be appended in the same commit
    lettered: Iterable[str | None] = ()  # keys about to be dead-lettered: alive at the source


@dataclass(frozen=True, slots=True)
class Healing:
    """What becomes part of the commit that ends the re-read."""

    deletes: EventBatch | None  # one for each key that vanished in the gap
    settled: Mapping[int, tuple[LetterState, str]]  # open letters from before the gap, as `Commit` settles them


def healing_number(state: Mapping[str, Any], stream: str) -> int | None:
    """The number of a stream's re-read where it followed a gap and is complete, by the source's stored state."""
    reread = state.get("snapshots", {}).get(stream)
    return int(reread["number"]) if reread and reread["heals"] and reread["phase"] == "done" else None


def heal(journal: Journal, ending: Ending, contract: ContractDocument, *, turned: Callable[[], None]) -> Healing:
    """What the gap hid; nothing the second time, and nothing where no events are from before it.

    Cost: one pass over the stream; memory grows with the number of distinct keys.

    Args:
        journal: with every event of the stream up to the end of the re-read but those in `ending`.
        ending: of the re-read.
        contract: the stream's; keys of another form, from an older contract, are not compared.
        turned: called once a block.
    """
    schema = schema_of(contract)
    wanted = ["_op", "_key", *contract.key_fields]
    formed = pa.schema([schema.field(name) for name in wanted])
    before, since, gap_epoch = Latest(), Latest(), 0
    for block in journal.read(ending.stream):
        turned()
        if pc.any(pc.equal(block.batch.column("_op"), Op.GAP)).as_py():
            gap_epoch = block.epoch
            before.add(_rows(since))
            since.clear()
        names = wanted if _fits(block.batch.schema, formed) else wanted[:2]
        page = _page(block.batch, names).with_columns(_formed=pl.lit(names is wanted))
        _note(since if 0 < gap_epoch <= block.epoch else before, before, page)
    if ending.events is not None:
        _note(since, before, _page(ending.events, wanted[:2]))
    lettered, settled = _letters(journal, ending, gap_epoch)
    since.add(pl.DataFrame({"_key": [*ending.lettered, *lettered]}, schema={"_key": pl.String}))
    alive = _rows(before).filter((pl.col("_op") != Op.DELETE) & pl.col("_formed"))
    gone = alive.join(_rows(since), on="_key", how="anti")
    if not gap_epoch or not gone.height:
        return Healing(None, settled)
    batch = _deletes(gone.select(wanted), ending, schema)
    deletes = EventBatch(ending.stream, ending.epoch, contract.version, batch)
    return Healing(deletes, settled)


def _rows(keys: Latest) -> pl.DataFrame:
    found = keys.rows()
    return _NONE if found is None else found


def _fits(schema: pa.Schema, formed: pa.Schema) -> bool:
    """Whether events of a schema have these fields."""
    return all(schema.get_field_index(field.name) >= 0 and schema.field(field.name) == field for field in formed)


def _page(batch: pa.RecordBatch, names: list[str]) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(batch.select(names)))


def _note(keys: Latest, before: Latest, page: pl.DataFrame) -> None:
    """Add a page to one of the two. A truncate ends every key from before it; none of them is left to be deleted."""
    rest, is_truncated = after_truncate(page)
    if is_truncated:
        before.clear()
        keys.clear()
    keys.add(rest)


def _letters(journal: Journal, ending: Ending, gap_epoch: int) -> tuple[list[str], dict[int, tuple[LetterState, str]]]:
    """Keys of letters since the gap, settled ones too; and how open letters from before it are settled."""
    keys: list[str] = []
    settled: dict[int, tuple[LetterState, str]] = {}
    reason = LetterState.SUPERSEDED, f"read again after a gap, re-read number {ending.snapshot}"
    after = 0
    while page := journal.letters(stream=ending.stream, state=None, limit=_PAGE, after=after):
        keys += [letter.key for letter in page if letter.key is not None and letter.epoch >= gap_epoch]
        settled |= {one.id: reason for one in page if one.epoch < gap_epoch and one.state is LetterState.OPEN}
        after = page[-1].id
    return keys, settled


def _deletes(gone: pl.DataFrame, ending: Ending, schema: pa.Schema) -> pa.RecordBatch:
    """Delete events of these keys."""
    given = {
        "_commit_at": ending.at,
        "_position": ending.position,
        "_moved": False,
        "_snapshot": ending.snapshot,
        "_note": '{"found_by": "reread"}',
    }
    return declared(gone.drop("_op").to_arrow(), Op.DELETE, schema, given)


def declared(rows: pa.Table, op: Op, schema: pa.Schema, given: Mapping[str, Any], *, first: int = 0) -> pa.RecordBatch:
    """Rows that no source brought as events, in the form of the stream's others.

    Args:
        rows: `_key` and fields; what `schema` has besides becomes null.
        op: of all of them.
        schema: of the stream's events.
        given: the same for each row, by column.
        first: index of the first row.
    """
    count = rows.num_rows
    same = {**given, "_op": int(op)}
    columns = []
    for field in schema:
        if field.name in same:
            columns.append(pa.repeat(pa.scalar(same[field.name], field.type), count))
        elif field.name == "_tx_index":
            columns.append(pa.array(range(first, first + count), field.type))
        elif field.name in rows.schema.names and field.name != "_tx":
            columns.append(rows.column(field.name).combine_chunks().cast(field.type))
        else:
            columns.append(pa.nulls(count, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)
