"""From a comparison to corrections: the keys that differ are read again, and asked for in portions."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from bridge.contract.document import ContractDocument
from bridge.correct import MOST_KEYS, ask_for
from bridge.reconcile.compare import Barrier, Patience, Report, passes
from bridge.reconcile.replayed import Replayed
from bridge.reconcile.sides import Legacy


def corrections(
    report: Report,
    ours: Replayed,
    theirs: Legacy,
    barrier: Barrier,
    *,
    document: ContractDocument,
    patience: Patience,
) -> Iterator[dict[str, Any]]:
    """The arguments of a request a portion; each has to be carried out before the next is drawn.

    The rows are read anew and the journal then comes past that moment, so what a correction says is older than any
    event that follows it. Where the journal does not come so far in time, nothing more is corrected.

    Raises: SourceUnavailable, SourceRefused, JournalCorrupt.
    """
    gone = [one.key for one in report.differences if one.kind == "extra"]
    for first in range(0, len(gone), MOST_KEYS):
        yield ask_for(ours.stream, document, after=ours.number, rows=None, gone=gone[first : first + MOST_KEYS])
    keys = report.own_keys
    for first in range(0, keys.num_rows if keys is not None else 0, MOST_KEYS):
        assert keys is not None  # noqa: S101  it has rows
        ours.catch_up()
        after = ours.number
        seen = list(theirs.look(keys.slice(first, MOST_KEYS)))
        if not passes(barrier, patience):
            return
        events = [each.events for each in seen if each.events is not None]
        rows = pa.Table.from_batches(events).combine_chunks().to_batches() if events else []
        if rows:
            yield ask_for(ours.stream, document, after=after, rows=rows[0], gone=())
