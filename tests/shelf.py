"""A table `shop.item (id, name, amount)` as raw batches and windows, and its contract, for tests of the loops.

A row is (op, id, amount); a negative amount breaks the contract. The position of a change is its number in the script.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa

from bridge import yamlfile
from bridge.contract import document
from bridge.contract.document import ContractDocument
from bridge.judge import StreamJudge
from bridge.model import CHANGE_COLUMNS, Column, Op, Position, RawBatch, Shape, StreamState, Window
from bridge.ports import Journal

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
COLUMNS = {"id": pa.int64(), "name": pa.large_string(), "amount": pa.int32()}
SHAPE = Shape("shop.item", tuple(Column(name, str(arrow), arrow) for name, arrow in COLUMNS.items()))
WIDER = Shape("shop.item", (*SHAPE.columns, Column("colour", "text", pa.large_string())))
NARROWER = Shape("shop.item", SHAPE.columns[:2])
_CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: shop-item
version: {version}
status: active
description: {{purpose: What is on the shelf.}}
slaProperties:
  - {{property: errorRate, value: 10, unit: percent,
     customProperties: [{{property: bridge.validity_window, value: 1h}}]}}
schema:
  - name: item
    logicalType: object
    {keyless}
    properties:
      - {{name: id, description: Its number., logicalType: integer, {key}
         customProperties: [{{property: bridge.unit, value: none}}]}}
      - {{name: name, description: What it is called., logicalType: string}}
      - {{name: amount, description: How many there are., logicalType: integer,
         logicalTypeOptions: {{minimum: {minimum}}},
         customProperties: [{{property: bridge.unit, value: piece}}]}}
"""

Change = tuple[Op, int, int | None]


def contract(*, version: str = "1.0.0", minimum: int = 0, has_key: bool = True) -> ContractDocument:
    """The contract; a lower `minimum` is a mended one."""
    text = contract_text(version=version, minimum=minimum, has_key=has_key)
    return document.check(yamlfile.parse(text, file="item.odcs.yaml"))


def contract_text(*, version: str = "1.0.0", minimum: int = 0, has_key: bool = True) -> str:
    """The contract as its file has it."""
    key = "primaryKey: true, primaryKeyPosition: 1," if has_key else ""
    keyless = "" if has_key else "customProperties: [{property: bridge.key, value: none}]"
    return _CONTRACT.format(version=version, minimum=minimum, key=key, keyless=keyless)


def judge(
    *,
    on_reject: Literal["pass", "hold"] = "pass",
    state: StreamState | None = None,
    waiting: frozenset[str] = frozenset(),
    made_for: ContractDocument | None = None,
    stream: str = "item",
) -> StreamJudge:
    """A judge for the stream."""
    return StreamJudge(stream, made_for or contract(), on_reject=on_reject, state=state, waiting=waiting)


def raw(
    *rows: Change, at: int = 1, shape: Shape = SHAPE, snapshot: int | None = None, stream: str = "item"
) -> RawBatch:
    """One transaction at position `at`; the rows of a re-read where `snapshot` is its number."""
    count = len(rows)
    changes = pa.RecordBatch.from_arrays(
        [
            pa.array([int(op) for op, _, _ in rows], pa.uint8()),
            pa.array([START] * count, pa.timestamp("us", "UTC")),
            pa.array([at] * count, pa.uint64()),
            pa.array([None if snapshot else at] * count, pa.uint64()),
            pa.array(range(count), pa.uint32()),
            pa.array([False] * count),
            pa.array([snapshot] * count, pa.uint32()),
            pa.nulls(count, pa.large_string()),
        ],
        schema=CHANGE_COLUMNS,
    )
    is_row = [op is not Op.TRUNCATE for op, _, _ in rows]
    cells = {
        "id": [number if known else None for known, (_, number, _) in zip(is_row, rows, strict=True)],
        "name": [f"article {number}" if known else None for known, (_, number, _) in zip(is_row, rows, strict=True)],
        "amount": [amount for _, _, amount in rows],
        "colour": ["red"] * count,
    }
    arrays = [pa.array(cells[column.name], column.arrow) for column in shape.columns]
    return RawBatch(stream, shape, changes, pa.RecordBatch.from_arrays(arrays, names=shape.names()))


def gap(*, at: int, stream: str = "item") -> RawBatch:
    """A declared gap."""
    note = pa.array([json.dumps({"to": at})], pa.large_string())
    changes = raw((Op.GAP, 0, None), at=at).changes.set_column(7, CHANGE_COLUMNS.field("_note"), note)
    return RawBatch(stream, Shape("shop.item", ()), changes, pa.RecordBatch.from_arrays([], names=[]))


def window(*batches: RawBatch, at: int, epoch: int = 1, reread: Mapping[str, int] | None = None) -> Window:
    """A window that ends at `at`; `reread` names streams whose re-read after a gap is complete, with its number."""
    rereads = {
        stream: {"number": number, "phase": "done", "heals": True, "rows": 1, "of": 1}
        for stream, number in (reread or {}).items()
    }
    return Window(batches, Position(epoch, (at, 0)), {"snapshots": rereads}, reread=tuple(rereads))


def create(number: int, amount: int = 1, *, at: int, epoch: int = 1) -> Window:
    """One created row, in a window of its own."""
    return window(raw((Op.CREATE, number, amount), at=at), at=at, epoch=epoch)


def rows(journal: Journal, stream: str = "item") -> list[dict[str, Any]]:
    """Every event of a stream, in order, with its epoch."""
    return [{**row, "epoch": block.epoch} for block in journal.read(stream) for row in block.batch.to_pylist()]


def told(journal: Journal, stream: str = "item") -> list[tuple[str, int | None, int | None]]:
    """Every event of a stream as letter of the op, id, amount."""
    return [(chr(row["_op"]), row["id"], row["amount"]) for row in rows(journal, stream)]


def image(events: Iterable[tuple[str, int | None, int | None]]) -> dict[int, int | None]:
    """The rows a reader of these events ends up with."""
    held: dict[int, int | None] = {}
    for op, number, amount in events:
        if op == "t":
            held.clear()
        elif number is not None:
            held[number] = amount
            if op == "d":
                del held[number]
    return held
