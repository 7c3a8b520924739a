"""A journal in which orders wait: a folder with a configuration, its contract and so many events.

They are what a daemon would have journalled: checked by the bench's contract, in blocks of 8,192, a key each.
"""

import base64
from collections.abc import Mapping
from contextlib import chdir, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from bench.contract_check import BATCH_ROWS, CONTRACT, SHAPE, order_batch
from bridge.config.load import load
from bridge.config.models import Config
from bridge.contract import document
from bridge.contract.compiled import CompiledContract, compile_contract
from bridge.deliver.feed import fetch
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Commit, EventBatch
from bridge.routing import build_routes

STREAM = "orders"
SECRET = "secret"  # noqa: S105  the name of a file
CONFIG = {
    "bridge": {"name": "bench", "type_prefix": "com.example", "journal": {"sqlite": "journal.db"}},
    "systems": {"erp": {"postgres": {}}},
    "streams": {STREAM: {"system": "erp", "log": "sales.orders", "contract": "orders.odcs.yaml"}},
}


class Maker:
    """Makes batches of orders, each with numbers of its own, judged by the contract that lies in the folder."""

    def __init__(self, folder: Path) -> None:
        contract = compile_contract(document.load(folder / "orders.odcs.yaml"), STREAM, SHAPE)
        if not isinstance(contract, CompiledContract):
            raise TypeError("the bench's contract fits its table")
        self._batch = contract.check(order_batch(BATCH_ROWS)).events
        self._next = 1

    def make(self, count: int) -> EventBatch:
        """The next orders, committed now."""
        batch = self._batch.slice(0, count)
        numbers = np.arange(self._next, self._next + count)
        self._next += count
        now = pa.scalar(datetime.now(UTC), pa.timestamp("us", "UTC"))
        changed = {
            "_position": pa.array(numbers, pa.uint64()),
            "_commit_at": pa.repeat(now, count),
            "_key": pa.array(numbers).cast(pa.large_string()),
            "id": pa.array(numbers),
        }
        arrays = [changed.get(name, batch.column(name)) for name in batch.schema.names]
        return EventBatch(STREAM, 1, "1.0.0", pa.RecordBatch.from_arrays(arrays, schema=batch.schema))


def fill(folder: Path, count: int) -> None:
    """Write the contract and a journal of so many events."""
    (folder / "orders.odcs.yaml").write_text(CONTRACT)
    maker = Maker(folder)
    with closing(SqliteJournal.open(folder / "journal.db", owner=True)) as journal:
        for start in range(0, count, BATCH_ROWS):
            journal.append(Commit(events=(maker.make(min(BATCH_ROWS, count - start)),)))


def configure(folder: Path, sinks: Mapping[str, Any]) -> None:
    """Write the configuration of these sinks, by name, and the secret that they sign with."""
    (folder / "bridge.yaml").write_text(yaml.safe_dump({**CONFIG, "sinks": sinks}))
    (folder / SECRET).write_text(f"whsec_{base64.b64encode(b'k' * 32).decode()}")


def opened(folder: Path) -> tuple[Config, dict[str, document.ContractDocument]]:
    """The configuration of a filled folder and its contracts."""
    with chdir(folder):
        config = load(folder / "bridge.yaml")
        return config, {stream: document.load(each.contract) for stream, each in config.streams.items()}


def texts(folder: Path) -> list[bytes]:
    """Every event as the first sink is sent it."""
    route, _ = build_routes(*opened(folder))[0]
    with closing(SqliteJournal.open(folder / "journal.db", owner=False)) as journal:
        chunk = fetch(journal, route.looks[STREAM], after=0, limit=None)
    return [message.text for message in chunk.messages] if chunk else []
