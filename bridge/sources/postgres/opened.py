"""What the source `postgres` holds while it is open."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bridge.postgres.copying import Run
from bridge.postgres.session import Connection
from bridge.sources.postgres.assistant import Assistant
from bridge.sources.postgres.changelog import ChangeLog
from bridge.sources.postgres.plan import State
from bridge.sources.postgres.rereads import Rereads
from bridge.sources.postgres.wire import Wire


@dataclass(slots=True)
class Opened:
    """Sessions, what they read, and how far they are; for the thread of `read`."""

    wire: Wire
    lookup: Connection
    log: ChangeLog
    rereads: Rereads
    assistant: Assistant
    epoch: int
    status_interval_s: float
    sessions: ExitStack
    pending: Run | None = None  # received, behind a change of a table's shape
    status_at: float = 0.0
    idle_at: float = 0.0
    handed: int = 0  # end of the last whole transaction in a window
    dumped: tuple[State, int, Mapping[str, Any]] | None = None  # state, partial LSN, and both as windows carry them
