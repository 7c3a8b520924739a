"""Events the bridge itself makes: gaps and truncates, which carry no fields."""

from datetime import datetime

import pyarrow as pa

from bridge.model import Op


def empty_events(schema: pa.Schema) -> pa.RecordBatch:
    """No events of a contract's schema."""
    return pa.RecordBatch.from_pylist([], schema)


def mark_event(
    schema: pa.Schema, op: Op, *, position: int, commit_at: datetime | None, note: str | None = None, tx_index: int = 0
) -> pa.RecordBatch:
    """One gap or truncate event.

    Args:
        schema: of the contract's events.
        op: Op.GAP or Op.TRUNCATE.
        position: where in the source's history it stands.
        commit_at: aware UTC.
        note: JSON text; on a gap from, to, cause and plan.
        tx_index: index of the change in its transaction.
    """
    row = {"_op": int(op), "_commit_at": commit_at, "_position": position, "_tx_index": tx_index, "_moved": False,
           "_note": note}  # fmt: skip
    return pa.RecordBatch.from_pylist([row], schema)
