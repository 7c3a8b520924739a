"""Fetch values the change log left out because they did not change (TOAST), where that is exact.

A row's present value belongs to a change only if the row was not written since: its xmin is the change's transaction,
and the change is the last one of its key in it. Any other row keeps its mark, since a later change of it is on its way.
So no field is ever newer than its event (I5). A change made inside a savepoint has another xmin: it keeps its mark too.
"""

from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from psycopg import sql

from bridge.model import Mark, Marks, RawBatch
from bridge.postgres.columns import decode
from bridge.postgres.session import Connection, read_only, translated
from bridge.postgres.tuples import NULL, TEXT, Cells
from bridge.postgres.types import PgType
from bridge.sources.postgres.relation import Captured


def fill_unchanged(connection: Connection, batch: RawBatch, captured: Captured, *, unfinished: int) -> RawBatch:
    """The batch with unchanged values filled where the table still holds exactly that version of the row.

    Args:
        unfinished: commit LSN of a transaction of which more is to come; 0 for none.
    Raises: SourceUnavailable, SourceRefused when the table may not be read.
    """
    key = batch.columns.select([captured.shape.columns[number].name for number in captured.key])
    if not captured.key or any(pa.types.is_list(column.type) for column in key.columns):
        return batch
    is_last = _last_of_key(batch.changes, key) & (batch.changes.column("_position").to_numpy() != unfinished)
    missing = {name: marks.rows[marks.kinds == Mark.UNCHANGED] for name, marks in batch.marks.items()}
    missing = {name: rows[is_last[rows]] for name, rows in missing.items() if is_last[rows].any()}
    if not missing:
        return batch
    rows = np.unique(np.concatenate(list(missing.values())))
    found = _select(connection, captured, batch.take(rows), list(missing))
    for place, (name, unchanged) in enumerate(missing.items()):
        values = {int(rows[number]): texts[place] for number, texts in found.items()}
        known = {row: values[row] for row in unchanged.tolist() if row in values}
        if known:
            batch = _fill(batch, name, captured.types[captured.shape.names().index(name)], known)
    return batch


def _last_of_key(changes: pa.RecordBatch, key: pa.RecordBatch) -> NDArray[np.bool_]:
    """Which changes are the last ones of their key in their transaction."""
    table = pa.table([changes.column("_tx"), *key.columns], names=["_tx", *(str(n) for n in range(key.num_columns))])
    frame = pl.DataFrame(pl.from_arrow(table))
    return frame.select(pl.struct(pl.all()).is_last_distinct()).to_series().to_numpy()


def _select(
    connection: Connection, captured: Captured, asked: RawBatch, wanted: list[str]
) -> dict[int, list[bytes | None]]:
    """Of each asked row whose version is still there, by its number: the wanted columns as text."""
    key = [captured.shape.columns[number] for number in captured.key]
    parameters = [asked.changes.column("_tx"), *(asked.columns.column(column.name) for column in key)]
    aliases = [sql.Identifier(f"k{number}") for number in range(len(key))]
    match = sql.SQL(" AND ").join(
        sql.SQL("t.{} = a.{}::{}").format(sql.Identifier(column.name), alias, sql.SQL(column.type))
        for column, alias in zip(key, aliases, strict=True)
    )
    query = sql.SQL(
        "SELECT a.n, {values} FROM unnest({asked}) WITH ORDINALITY a(xid, {aliases}, n)"
        " JOIN {table} t ON {match} AND t.xmin::text = a.xid"
    ).format(
        values=sql.SQL(", ").join(sql.SQL("t.{}::text").format(sql.Identifier(name)) for name in wanted),
        asked=sql.SQL(", ").join([sql.SQL("%s::text[]")] * len(parameters)),
        aliases=sql.SQL(", ").join(aliases),
        table=sql.Identifier(captured.relation.schema, captured.relation.name),
        match=match,
    )
    texts = [_texts(column) for column in parameters]
    with translated(f"re-selecting from {captured.relation.qualified}"), read_only(connection):
        rows = connection.execute(query, texts).fetchall()
    return {int(row[0]) - 1: [_bytes(value) for value in row[1:]] for row in rows}


def _texts(column: pa.Array) -> list[str | None]:
    """Values as the server reads them; None, which matches no row, for a time before the year 1."""
    if pa.types.is_large_binary(column.type):
        return [None if value is None else rf"\x{value.hex()}" for value in column.to_pylist()]
    texts = column.cast(pa.large_string())
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        texts = pc.if_else(pc.greater(pc.year(column), 0), texts, None)
    return list(texts.to_pylist())


def _bytes(value: str | None) -> bytes | None:
    """As the server sent it, also where that is no UTF-8."""
    return None if value is None else value.encode("utf-8", "surrogateescape")


def _fill(batch: RawBatch, name: str, of: PgType, known: dict[int, bytes | None]) -> RawBatch:
    """Put values, given as text by row, in place of the column's marks."""
    filled, texts = list(known), list(known.values())
    lengths = np.array([len(text or b"") for text in texts], np.int64)
    kinds = np.array([NULL if text is None else TEXT for text in texts], np.uint8)
    buffer = np.frombuffer(b"".join(text or b"" for text in texts) or b"\0", np.uint8)
    decoded, unreadable = decode([Cells(kinds, np.cumsum(lengths) - lengths, lengths)], [of], [name], buffer)
    index = batch.columns.schema.get_field_index(name)
    both = pa.concat_arrays([batch.columns.column(index), decoded.column(0)])
    order = np.arange(batch.row_count)
    order[filled] = batch.row_count + np.arange(len(filled))
    column = both.take(pa.array(order))
    marked = batch.marks[name]
    kept = np.flatnonzero(~np.isin(marked.rows, filled))
    rest = Marks(marked.rows[kept], marked.kinds[kept], tuple(marked.raw[place] for place in kept))
    marks = {**batch.marks, name: _joined(rest, unreadable.get(name), filled)}
    return replace(
        batch,
        columns=batch.columns.set_column(index, batch.columns.schema.field(index), column),
        marks={name: left for name, left in marks.items() if left.rows.size},
    )


def _joined(rest: Marks, more: Marks | None, filled: list[int]) -> Marks:
    """The marks that stay and those of the values just read, in row order."""
    if more is None:
        return rest
    rows = np.concatenate((rest.rows, np.array(filled, np.int64)[more.rows]))
    order = np.argsort(rows)
    raw = rest.raw + more.raw
    return Marks(rows[order], np.concatenate((rest.kinds, more.kinds))[order], tuple(raw[i] for i in order))
