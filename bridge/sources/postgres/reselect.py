"""Fetch values the change log left out because they did not change (TOAST), where that is exact.

A row's present value belongs to a change only if the row was not written since: then its xmin is the change's own
transaction. Any other row keeps its mark, since a later change of it is on its way. So no field is ever newer than its
event (I5). A change made inside a savepoint has another xmin and keeps its mark too.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from psycopg import sql

from bridge.model import Mark, Marks, RawBatch
from bridge.sources.postgres.columns import decode
from bridge.sources.postgres.relation import Captured
from bridge.sources.postgres.session import Connection, read_only, translated
from bridge.sources.postgres.tuples import NULL, TEXT, Cells


def fill_unchanged(connection: Connection, batch: RawBatch, captured: Captured) -> RawBatch:
    """The batch with unchanged values filled where the table still holds exactly that version of the row.

    Raises: SourceUnavailable, SourceRefused when the table may not be read.
    """
    missing = {name: found for name, found in batch.marks.items() if (found.kinds == Mark.UNCHANGED).any()}
    if not missing or not captured.key:
        return batch
    rows = np.unique(np.concatenate([found.rows[found.kinds == Mark.UNCHANGED] for found in missing.values()]))
    names = [captured.shape.columns[number].name for number in captured.key]
    keys = [[str(value) for value in batch.columns.column(name).take(pa.array(rows)).to_pylist()] for name in names]
    xids = batch.changes.column("_tx").take(pa.array(rows)).to_pylist()
    found = _select(connection, captured, names, list(missing), [[str(xid) for xid in xids], *keys])
    return _fill(batch, captured, rows, missing, found)


def _select(connection: Connection, captured: Captured, key: list[str], wanted: list[str],
            parameters: list[list[str]]) -> list[tuple[int, list[bytes | None]]]:
    """(number of the asked row, values as text) of each row whose version is the asked one."""
    types = {column.name: column.type for column in captured.shape.columns}
    asked = ", ".join(["%s::text[]"] * len(parameters))
    aliases = [sql.Identifier(f"k{number}") for number in range(len(key))]
    match = sql.SQL(" AND ").join(
        sql.SQL("t.{} = a.{}::{}").format(sql.Identifier(name), alias, sql.SQL(types[name]))
        for name, alias in zip(key, aliases, strict=True)
    )
    values = sql.SQL(", ").join(sql.SQL("t.{}::text").format(sql.Identifier(name)) for name in wanted)
    query = sql.SQL(
        "SELECT a.n, {values} FROM unnest({asked}) WITH ORDINALITY a(xid, {aliases}, n)"
        " JOIN {table} t ON {match} AND t.xmin::text = a.xid"
    ).format(
        values=values,
        asked=sql.SQL(asked),
        aliases=sql.SQL(", ").join(aliases),
        table=sql.Identifier(captured.relation.schema, captured.relation.name),
        match=match,
    )
    with translated(f"re-selecting from {captured.relation.qualified}"), read_only(connection):
        rows = connection.execute(query, parameters).fetchall()
    return [(int(row[0]) - 1, [None if value is None else value.encode() for value in row[1:]]) for row in rows]


def _fill(batch: RawBatch, captured: Captured, rows: np.ndarray[tuple[int], np.dtype[np.int64]],
          missing: dict[str, Marks], found: list[tuple[int, list[bytes | None]]]) -> RawBatch:
    """Put the values found in place of their marks."""
    types = dict(zip(captured.shape.names(), captured.types, strict=True))
    columns, marks = batch.columns, dict(batch.marks)
    for place, (name, marked) in enumerate(missing.items()):
        values = {int(rows[number]): row[place] for number, row in found}
        filled = [row for row in marked.rows[marked.kinds == Mark.UNCHANGED].tolist() if row in values]
        if not filled:
            continue
        texts = [values[row] for row in filled]
        lengths = np.array([len(text or b"") for text in texts], np.int64)
        cells = Cells(
            np.array([NULL if text is None else TEXT for text in texts], np.uint8), np.cumsum(lengths) - lengths, lengths
        )
        buffer = np.frombuffer(b"".join(text or b"" for text in texts) or b"\0", np.uint8)
        decoded, unreadable = decode([cells], [types[name]], [name], buffer)
        index = columns.schema.get_field_index(name)
        both = pa.concat_arrays([columns.column(index), decoded.column(0)])
        order = np.arange(batch.row_count)
        order[filled] = batch.row_count + np.arange(len(filled))
        columns = columns.set_column(index, columns.schema.field(index), both.take(pa.array(order)))
        kept = ~np.isin(marked.rows, filled)
        rest = Marks(marked.rows[kept], marked.kinds[kept], tuple(r for r, k in zip(marked.raw, kept, strict=True) if k))
        marks[name] = _joined(rest, unreadable.get(name), filled)
        if not marks[name].rows.size:
            del marks[name]
    return replace(batch, columns=columns, marks=marks)


def _joined(rest: Marks, more: Marks | None, filled: list[int]) -> Marks:
    """The marks that stay and those of the values just read, in row order."""
    if more is None:
        return rest
    rows = np.concatenate((rest.rows, np.array(filled, np.int64)[more.rows]))
    order = np.argsort(rows)
    raw = rest.raw + more.raw
    return Marks(rows[order], np.concatenate((rest.kinds, more.kinds))[order], tuple(raw[i] for i in order))
