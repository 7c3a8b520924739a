"""Wrote journal-v1.db, once: a journal of schema version 1. Later versions must still load it."""

import sys
from pathlib import Path

from bridge.journal.sqlite import SqliteJournal
from bridge.model import AuditEntry, Commit, NewParked, StreamPhase, StreamState
from bridge.testing import FakeClock
from tests import journal_samples as sample

journal = SqliteJournal.open(Path(sys.argv[1]), owner=True, now=FakeClock())
journal.append(sample.commit(sample.events(count=3), sample.events("customers", 2), at=7))
journal.append(
    Commit(
        letters=(sample.letters(count=2),),
        parked=(NewParked(1, sample.raw(count=2)),),
        streams=(StreamState("orders", StreamPhase.DRIFT, sample.START, "column amt is gone", sample.SHAPE),),
        audit=(AuditEntry("ann", "dead.discard", "orders/17", "a test order"),),
        judged={"orders": (3, 2)},
    )
)
journal.advance("kafka", {"orders": 2})
journal.pin("orders", "1.0.0", "abc")
journal.request("stream.resume", {"stream": "orders"}, "ann")
journal.close()
