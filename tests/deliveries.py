"""A delivery on in-memory twins inside the test's process: journal, scripted sinks, the real loops."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from bridge.bell import Bell
from bridge.config.sinks import SinkConfig
from bridge.deliver.feed import Look
from bridge.deliver.route import Route, route_of
from bridge.deliver.thread import Delivery
from bridge.export import Envelope
from bridge.health import HealthBoard
from bridge.metrics import Metrics
from bridge.model import Block, EventBatch
from bridge.parcel import Attempt, Form, Progress, Rows
from bridge.ports import Journal, Sink
from bridge.testing import MemoryJournal
from tests import journal_samples as sample

DEADLINE_S = 20.0


class Everything:
    """A selection that leaves nothing out."""

    def apply(self, block: Block) -> Rows:
        """The block whole."""
        return Rows.of(block)


def look(stream: str = "orders", *, form: Form = "messages") -> Look:
    """How a sink sees a stream of `tests.journal_samples`."""
    envelope = Envelope("test", "com.example", "erp", stream, f"{stream}-contract", ("order_no",))
    return Look(stream, Everything(), envelope, form)


_KINDS: Mapping[Form, Mapping[str, Any]] = {
    "messages": {"webhook": {"url": "https://crm.example/", "secrets": ["whsec_x"]}},
    "lines": {"stdout": {}},
    "columns": {"parquet": {"folder": "out"}},
}


def route(name: str = "crm", *, streams: Sequence[str] = ("orders",), form: Form = "messages", **keys: Any) -> Route:  # noqa: ANN401  keys of the section
    """The route of a sink whose section has these keys."""
    looks = {stream: look(stream, form=form) for stream in streams}
    return route_of(name, SinkConfig.model_validate({**_KINDS[form], **keys}), looks)


@dataclass
class Log:
    """The delivery log, in memory."""

    attempts: list[Attempt] = field(default_factory=list)

    def record(self, attempts: Sequence[Attempt]) -> None:
        """Keep them."""
        self.attempts += attempts


@dataclass
class Running:
    """A delivery while it runs."""

    journal: Journal
    delivery: Delivery
    bell: Bell
    board: HealthBoard
    metrics: Metrics
    log: Log

    def call(self, function: Callable[[], None]) -> None:
        """Run a function on the delivery's event loop."""
        loop = self.delivery._loop
        assert loop is not None
        loop.call_soon_threadsafe(function)


@contextmanager
def delivering(journal: Journal, *routes: tuple[Route, Sink]) -> Iterator[Running]:
    """Deliver in a thread until the block ends; a clean stop."""
    bell, board, metrics, log = Bell(), HealthBoard(), Metrics(), Log()
    delivery = Delivery(journal, routes, bell=bell, board=board, metrics=metrics, attempts=log)
    thread = threading.Thread(target=delivery.run, name="deliver")
    thread.start()
    try:
        yield Running(journal, delivery, bell, board, metrics, log)
    finally:
        delivery.end()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def numbers(received: Sequence[tuple[str, Any]], key: str | None = None) -> list[int]:
    """The sequence numbers that arrived, of one key where asked."""
    return [message.number for _, message in received if key in {None, message.key}]


def data(text: bytes) -> Mapping[str, Any]:
    """The data of a CloudEvent."""
    found: Mapping[str, Any] = json.loads(text)["data"]
    return found


def filled(*batches: Any) -> MemoryJournal:  # noqa: ANN401  event batches
    """A journal with these batches."""
    journal = MemoryJournal()
    for at, batch in enumerate(batches):
        journal.append(sample.commit(batch, at=at))
    return journal


def progress(journal: Journal, sink: str = "crm", stream: str = "orders") -> Progress:
    """How far a sink is by the journal."""
    return journal.subscribers().get(sink, {}).get(stream, Progress())


def same_key(count: int, *, start: int = 0) -> EventBatch:
    """Events of the key N0."""
    events = sample.events(count=count, start=start)
    place = events.batch.schema.get_field_index("_key")
    keys = pa.array(["N0"] * count, pa.large_string())
    batch = events.batch.set_column(place, events.batch.schema.field(place), keys)
    return replace(events, batch=batch)
