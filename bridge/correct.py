"""Corrections: events that bring a stream back to what it speaks of, for keys on which a comparison found it wrong.

A row that events miss or hold otherwise comes as `read`, a row that is gone as `deleted`; both are declared by their
note and by a re-read number of their own. Promises: a key with an event since the comparison read it is left alone, so
that nothing older follows something newer (I5); a correction that is asked for twice is made once.
"""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from bridge.contract.compiled import schema_of
from bridge.contract.document import ContractDocument
from bridge.errors import Declined
from bridge.extracted import Charge, Extracted
from bridge.heal import declared
from bridge.judge import StreamJudge
from bridge.latest import KEY, Latest, after_truncate
from bridge.model import AuditEntry, Commit, EventBatch, Op
from bridge.ports import Journal, Request

KIND = "stream.correct"
COMPARED = "stream.compared"
MOST_KEYS = 1_000  # a request; more are asked for in several
_FIRST_NUMBER = 1 << 31  # re-reads of sources count from 1


def ask_for(
    stream: str, document: ContractDocument, *, after: int, rows: pa.RecordBatch | None, gone: Sequence[str]
) -> dict[str, Any]:
    """The arguments of a request.

    Args:
        stream: its name.
        document: the contract that the rows were held to.
        after: the number of the newest event that was read before the rows were.
        rows: rows as they are now, as events of the contract; None: there are none.
        gone: keys, as canonical text, of rows that are not there.
    """
    packed = ""
    if rows is not None and rows.num_rows:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_batch(rows)
        packed = base64.b64encode(sink.getvalue()).decode()
    return {"stream": stream, "contract": document.version, "after": after, "rows": packed, "gone": list(gone)}


def told_of(charge: Charge, *, against: str, differences: int) -> dict[str, Any]:
    """The arguments of a request that tells of a comparison, and puts its cost on the system's bill."""
    return {**asdict(charge), "at": charge.at.isoformat(), "against": against, "differences": differences}


def note(journal: Journal, request: Request) -> dict[str, Any]:
    """Put a comparison into the audit trail and on the bill. Raises: Declined."""
    args = dict(request.args)
    try:
        against, differences = str(args.pop("against")), int(args.pop("differences"))
        charge = Charge(**(args | {"at": datetime.fromisoformat(str(args["at"]))}))
    except (KeyError, TypeError, ValueError) as error:
        raise Declined("the request does not say what was compared, and what it cost") from error
    reason = f"with {against}: {differences} differences in {charge.rows} rows"
    entry = AuditEntry(request.actor, COMPARED, charge.stream, reason)
    journal.append(Commit(extracted=Extracted(charges=(charge,)), audit=(entry,)))
    return {"stream": charge.stream}


def perform(
    journal: Journal,
    judge: StreamJudge,
    request: Request,
    *,
    now: datetime,
    turned: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Append the corrections of a request in one commit.

    Args:
        journal: written to.
        judge: of the stream.
        request: see `ask_for`.
        now: the time.
        turned: called once a block that is read.
    Returns: how many keys were corrected, and those that had moved.
    Raises: Declined.
    """
    contract = judge.contract
    schema = schema_of(contract)
    rows, gone, after = _asked(request, judge, schema)
    number = _FIRST_NUMBER + request.id
    moved, held = _look(journal, judge, after=after, gone=gone, turned=turned)
    if any(snapshot == number for snapshot in moved.values()):  # done before a kill, and not settled
        return {"stream": judge.stream, "corrected": sum(each == number for each in moved.values()), "moved": []}
    kept = rows.filter(pc.invert(pc.is_in(rows.column(KEY), pa.array(sorted(moved), pa.large_string()))))
    deletes = held.filter(~pl.col(KEY).is_in(sorted(moved)))
    epoch, position = _newest_place(journal, judge.stream)
    given = _given(number, position, request, now)
    parts = [declared(pa.Table.from_batches([kept]), Op.READ, schema, given)]
    parts.append(declared(deletes.to_arrow(), Op.DELETE, schema, given, first=kept.num_rows))
    events = pa.Table.from_batches(parts).combine_chunks().to_batches()
    corrected = kept.num_rows + deletes.height
    if corrected:
        journal.append(
            Commit(
                events=(EventBatch(judge.stream, epoch, contract.version, events[0]),),
                audit=(AuditEntry(request.actor, KIND, judge.stream, f"{corrected} keys, re-read number {number}"),),
            )
        )
    asked = {*rows.column(KEY).to_pylist(), *gone}
    return {"stream": judge.stream, "corrected": corrected, "moved": sorted(asked & moved.keys())}


def _asked(request: Request, judge: StreamJudge, schema: pa.Schema) -> tuple[pa.RecordBatch, list[str], int]:
    """The rows, the keys that are gone, and the number. Raises: Declined."""
    args = request.args
    if not judge.is_running:
        raise Declined(f"stream {judge.stream} is parked", hint="Resume it first, then compare again.")
    if args.get("contract") != judge.contract.version:
        raise Declined(
            f"the rows were held to contract {args.get('contract')}, the stream is under {judge.contract.version}",
            hint="Compare again.",
        )
    gone, after, packed = args.get("gone") or [], args.get("after"), args.get("rows") or ""
    if not isinstance(after, int) or not all(isinstance(key, str) for key in gone):
        raise Declined("a correction names the number it is after, and keys as text")
    try:
        batches = (
            pa.ipc.open_stream(base64.b64decode(packed)).read_all().combine_chunks().to_batches() if packed else []
        )
    except (ValueError, pa.ArrowInvalid) as error:
        raise Declined("the rows of the correction cannot be read") from error
    rows = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=schema)
    if rows.schema != schema:
        raise Declined("the rows of the correction are not events of the stream's contract", hint="Compare again.")
    if rows.num_rows + len(gone) > MOST_KEYS:
        raise Declined(f"a correction has at most {MOST_KEYS} keys")
    return rows, gone, after


def _look(
    journal: Journal, judge: StreamJudge, *, after: int, gone: Sequence[str], turned: Callable[[], None]
) -> tuple[dict[str, int | None], pl.DataFrame]:
    """Keys with an event above a number, with the re-read number of the newest; and the rows of the keys to be deleted.

    Of those only the key's fields; keys that are deleted already are not among them.
    """
    fields = list(judge.contract.key_fields)
    wanted = pl.Series(sorted(gone), dtype=pl.String).implode()
    moved: dict[str, int | None] = {}
    latest = Latest()
    for page, numbers in _pages(journal, judge, after=0 if gone else after, fields=fields):
        turned()
        newer = page.filter(pl.Series(numbers) > after)
        moved |= dict(newer.filter(pl.col(KEY).is_not_null()).select(KEY, "_snapshot").iter_rows())
        rest, is_truncated = after_truncate(page)
        if is_truncated:
            latest.clear()
        latest.add(rest.filter(pl.col(KEY).is_in(wanted)).drop("_snapshot"))
    held = latest.rows()
    if held is None or "_op" not in held.columns:
        return moved, pl.DataFrame(schema={KEY: pl.String})
    return moved, held.filter(pl.col("_op") != Op.DELETE).drop("_op")


def _pages(
    journal: Journal, judge: StreamJudge, *, after: int, fields: list[str]
) -> Iterator[tuple[pl.DataFrame, list[int]]]:
    for block in journal.read(judge.stream, after=after):
        names = ["_op", "_snapshot", KEY, *(name for name in fields if name in block.batch.schema.names)]
        yield pl.DataFrame(pl.from_arrow(block.batch.select(names))), list(range(block.first, block.last + 1))


def _newest_place(journal: Journal, stream: str) -> tuple[int, int]:
    """Epoch and position of the stream's newest event: a correction is as new, whatever its source counts by (I5)."""
    extent = journal.extents().get(stream)
    newest = next(journal.read(stream, after=extent.last - 1), None) if extent is not None else None
    return (1, 0) if newest is None else (newest.epoch, newest.batch.column("_position")[-1].as_py())


def _given(number: int, position: int, request: Request, now: datetime) -> dict[str, Any]:
    return {
        "_commit_at": now,
        "_position": position,
        "_moved": False,
        "_snapshot": number,
        "_note": json.dumps({"found_by": "compare", "request": request.id}),
    }
