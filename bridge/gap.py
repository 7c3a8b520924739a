"""The event that says: here changes are missing, from where to where, why, and what is done about it."""

import json
import time

import numpy as np
import pyarrow as pa

from bridge.model import CHANGE_COLUMNS, Op, RawBatch, Shape


def gap_batch(stream: str, table: str, *, position: int, places: tuple[str, str], cause: str, plan: str) -> RawBatch:
    """One gap row of a stream, without legacy columns.

    Args:
        stream: its name.
        table: what it comes from, as its shape names it.
        position: of the row, as `_position` of its stream's events.
        places: from where to where, for people.
        cause: why, for people.
        plan: what is done about it, for people.
    """
    note = {"from": places[0], "to": places[1], "cause": cause, "plan": plan}
    changes = pa.RecordBatch.from_arrays(
        [
            pa.array([Op.GAP], pa.uint8()),
            pa.array([time.time_ns() // 1000], pa.int64()).view(CHANGE_COLUMNS.field("_commit_at").type),
            pa.array(np.array([position], np.uint64)),
            pa.nulls(1, pa.uint64()),
            pa.array([0], pa.uint32()),
            pa.array([False]),
            pa.nulls(1, pa.uint32()),
            pa.array([json.dumps(note)], pa.large_string()),
        ],
        schema=CHANGE_COLUMNS,
    )
    return RawBatch(stream, Shape(table, ()), changes, pa.RecordBatch.from_arrays([], names=[]))
