"""A polled system in memory, the loops over it, and a reader of the events, for tests of extraction.

The table is `shop.item (id, name, amount, changed)`; a negative amount breaks the contract.
"""

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import pyarrow as pa

from bridge.contract.document import ContractDocument
from bridge.errors import BridgeError
from bridge.extraction.budget import Budget, Limits
from bridge.extraction.extractor import Extractor, Subject
from bridge.extraction.plan import Plan
from bridge.extraction.source import PolledSource
from bridge.health import HealthBoard
from bridge.ingest import Ingest
from bridge.metrics import Metrics
from bridge.operate import Desk
from bridge.ports import Journal
from bridge.pump import QUEUED_WINDOWS, Flow, Handoff, Pump
from bridge.replay import waiting_keys
from bridge.resilience.retry import Backoff
from bridge.testing import FakeClock
from bridge.testing.extractor import ScriptedExtractor, ScriptedTable
from tests import shelf

Mode = Literal["incremental", "full", "append"]
START = datetime(2026, 1, 1)  # noqa: DTZ001  the table's times have no zone
COLUMNS = {**shelf.COLUMNS, "changed": pa.timestamp("us")}
OVERLAP_S = 10


def subject(mode: Mode, *, page_rows: int = 3, stream: str = "item", key: tuple[str, ...] = ("id",)) -> Subject:
    """How the table is read."""
    cursor = None if mode == "full" else "changed"
    return Subject(stream, key, cursor, mode, page_rows, overlap=(OVERLAP_S, OVERLAP_S))


def table(mode: Mode, **how: Any) -> ScriptedTable:  # noqa: ANN401  as `subject`
    """The table, empty."""
    return ScriptedTable(subject(mode, **how), COLUMNS)


def row(number: int, amount: int = 1, *, at: float | None = 0) -> dict[str, Any]:
    """One row; `at` is its cursor in seconds."""
    changed = None if at is None else START + timedelta(seconds=at)
    return {"id": number, "name": f"article {number}", "amount": amount, "changed": changed}


class Process:
    """One life of the daemon over a polled system. Its loops turn only when told to."""

    def __init__(
        self,
        journal: Journal,
        extractor: Extractor,
        *,
        clock: FakeClock,
        plans: Sequence[Plan] = (),
        limits: Limits | None = None,
        on_reject: Literal["pass", "hold"] = "pass",
        has_key: bool = True,
        made_for: ContractDocument | None = None,
    ) -> None:
        position, state = journal.position("erp")
        streams = tuple(extractor.subjects)
        self.journal = journal
        self.extractor = extractor
        self.source = PolledSource(
            "erp",
            "erp",
            extractor,
            plans=plans or [Plan(stream) for stream in streams],
            budget=Budget(limits or Limits(active_seconds_per_minute=60)),
            images=journal.image,
            now=clock,
        )
        self.board = HealthBoard()
        self.flow = Flow(self.source, frozenset(streams), position, state)
        self.handoff, stop = Handoff(), threading.Event()
        self.pump = Pump(self.flow, self.handoff, self.board, stop)
        states = journal.stream_states()
        self.judges = {
            stream: shelf.judge(
                stream=stream,
                on_reject=on_reject,
                state=states.get(stream),
                waiting=waiting_keys(journal, stream),
                made_for=made_for or shelf.contract(has_key=has_key),
            )
            for stream in streams
        }
        desk = Desk(journal, self.judges)
        self.ingest = Ingest(
            journal, self.handoff, self.judges, board=self.board, metrics=Metrics(), desk=desk, stop=stop
        )
        self.pump._backoff = self.ingest._backoff = Backoff(first_s=1e-9, limit_s=1e-9)

    def read(self) -> bool:
        """One step of the pump; the ingest loop makes room first where the pump would wait for it."""
        while self.flow.waiting >= QUEUED_WINDOWS or (self.flow.waiting and not self.pump._is_open):
            self.store()
        try:
            return self.pump.step(timeout_s=0)
        except BridgeError as error:
            while self.flow.waiting:
                self.store()
            if not self.pump._recover(error):
                raise
            return True

    def store(self) -> bool:
        """One step of the ingest loop."""
        return self.ingest.step(timeout_s=0)

    def settle(self) -> None:
        """Until nothing is left to be read or stored."""
        idle = 0
        while idle < 2:  # an act may wait for its turn
            idle = 0 if self.read() | self.store() else idle + 1

    def run(self, stream: str = "item", kind: Literal["run", "full", "sweep"] = "run") -> None:
        """One whole run."""
        self.read()
        self.source.ask(stream, kind, actor="ann")
        self.settle()


def told(journal: Journal, stream: str = "item", *, after: int = 0) -> list[tuple[str, int | None, int | None]]:
    """Events as letter of the op, id, amount."""
    return shelf.told(journal, stream)[after:]


def read(journal: Journal, stream: str = "item") -> dict[int, int | None]:
    """The rows a reader of all events ends up with."""
    return shelf.image(shelf.told(journal, stream))


def held(table: ScriptedTable) -> dict[int, int | None]:
    """The rows of the table."""
    return {row["id"]: row["amount"] for row in table.rows}


def world(mode: Mode, **how: Any) -> tuple[ScriptedTable, ScriptedExtractor, FakeClock]:  # noqa: ANN401  as `subject`
    """A table, the system that holds it, and the clock."""
    clock = FakeClock()
    made = table(mode, **how)
    return made, ScriptedExtractor("erp", made, now=clock), clock
