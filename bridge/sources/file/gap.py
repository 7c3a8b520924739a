"""The event that says: the rest of this file is missing."""

import json
import time

import numpy as np
import pyarrow as pa

from bridge.model import CHANGE_COLUMNS, Op, RawBatch, Shape


def gap_batch(stream: str, origin: str, *, position: int, places: tuple[str, str], cause: str) -> RawBatch:
    """One gap row of a stream, without columns.

    Args:
        stream: its name.
        origin: where its files come in.
        position: of the file.
        places: from where to where, for people.
        cause: why, for people.
    """
    note = {"from": places[0], "to": places[1], "cause": cause, "plan": "the file is to be sent again by its system"}
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
    return RawBatch(stream, Shape(origin, ()), changes, pa.RecordBatch.from_arrays([], names=[]))
