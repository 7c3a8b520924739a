"""When the journal holds what a polled system held: after a whole run of the kind that finds everything."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bridge.comparing import RunBarrier
from bridge.extracted import Extracted, Run
from bridge.model import Commit
from bridge.testing import MemoryJournal


def barrier(journal: MemoryJournal, asked: list[tuple[str, dict[str, Any]]]) -> RunBarrier:
    """For a stream that is swept."""
    return RunBarrier(journal, "items", "sweep", lambda kind, args: asked.append((kind, args)))


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({}, True),
        ({"kind": "run"}, False),  # finds no deletes
        ({"state": "running"}, False),
        ({"state": "failed"}, False),
        ({"detail": "ended by the budget: 9 rows a run; the next goes on"}, False),
        ({"started_at": datetime.now(UTC) - timedelta(hours=1)}, False),  # may have read before the rows changed
    ],
)
def test_only_a_whole_later_run_of_its_kind_passes(change: dict[str, Any], passes: bool) -> None:  # noqa: FBT001
    journal, asked = MemoryJournal(), []  # type: ignore[var-annotated]
    there = barrier(journal, asked)
    mark = there.mark()
    assert asked == [("run.start", {"stream": "items", "kind": "sweep"})]
    run = Run("erp", 1, "items", "sweep", "asked for", "done", datetime.now(UTC) + timedelta(seconds=1))
    journal.append(Commit(extracted=Extracted(runs=(replace(run, **change),))))
    assert there.is_passed(mark) is passes
