"""The event that says: here changes are missing, from where to where, why, and what is done about it."""

import json
import time

import numpy as np
import pyarrow as pa

from bridge.model import CHANGE_COLUMNS, Op, RawBatch, Shape
from bridge.sources.postgres import lsn
from bridge.sources.postgres.tables import Capture


def gap_batch(capture: Capture, *, left: int, position: int, cause: str, plan: str) -> RawBatch:
    """One gap row of a stream, without legacy columns.

    Args:
        left: LSN up to which the journal holds everything.
        position: LSN from which changes come again.
        cause: why, for people.
        plan: what is done about it, for people.
    """
    note = {"from": lsn.text(left), "to": lsn.text(position), "cause": cause, "plan": plan}
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
    return RawBatch(capture.stream, Shape(capture.table, ()), changes, pa.RecordBatch.from_arrays([], names=[]))
