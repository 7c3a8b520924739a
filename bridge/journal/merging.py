"""Which small blocks to merge next: a decision on their heads alone.

Blocks of one append are as small as the source is quiet. They are merged in tiers, sixteen or more of like size into
one, so that an event is rewritten a few times at most on its way into a full block.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from bridge.journal.blocks import Head

FULL_ROWS = 8_192
FULL_BYTES = 4 << 20
_TIER_RUN = 16  # blocks of one tier that are worth a merge


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with a run of heads: merge some, and move on past what is settled."""

    start: int = 0  # heads[start:end] become one block; none when equal
    end: int = 0
    settled: int = 0  # this many heads at the front never need to be looked at again


def plan(heads: Sequence[Head]) -> Plan:
    """The next step for the blocks of a stream that are not settled yet, in order.

    A run is what may lie in one block: same epoch, contract and schema, and no larger than a full block. A run that is
    full, or followed by another, is merged whole and settled; the open run at the end is merged by tiers.
    """
    end = _run_end(heads)
    run = heads[:end]
    if end < len(heads) or _is_full(run):
        return Plan(0, end if end > 1 else 0, end)
    start = 0
    for _, tier in groupby(run, key=_tier):
        count = len(list(tier))
        if count >= _TIER_RUN:
            return Plan(start, start + count)
        start += count
    return Plan()


def _run_end(heads: Sequence[Head]) -> int:
    rows = size = 0
    for at, head in enumerate(heads):
        rows += head.row_count
        size += head.bytes
        alike = (head.epoch, head.contract, head.schema) == (heads[0].epoch, heads[0].contract, heads[0].schema)
        if not alike or (at > 0 and (size > FULL_BYTES or rows > 2 * FULL_ROWS)):
            return at
        if rows >= FULL_ROWS:
            return at + 1
    return len(heads)


def _is_full(run: Sequence[Head]) -> bool:
    return sum(head.row_count for head in run) >= FULL_ROWS or sum(head.bytes for head in run) >= FULL_BYTES


def _tier(head: Head) -> int:
    return (head.row_count.bit_length() - 1) // 4  # 1-15, 16-255, 256-4095, ...
