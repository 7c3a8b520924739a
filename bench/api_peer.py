"""The peer of `api_pull`: FastAPI serves a pydantic model a row; `python -m bench.api_peer FOLDER` prints its port."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel

from bridge.journal.sqlite import SqliteJournal
from bridge.model import Block, Op, event_id


class Order(BaseModel):
    """The data of an event."""

    id: int
    customer: str
    ordered_on: date
    status: str
    amount: Decimal
    tax: Decimal
    currency: str
    shipped_on: date | None
    reference: str | None
    note: str | None
    warehouse: int | None
    updated_at: datetime | None


class Event(BaseModel):
    """A CloudEvent."""

    specversion: str = "1.0"
    id: str
    source: str = "/bridge/bench/erp/orders"
    type: str = "com.example.orders.created.v1"
    subject: str
    time: datetime
    dataschema: str = "https://example.com/contracts/bench/1.0.0/schema.json"
    sequence: str
    partitionkey: str
    transactionid: str
    datacontenttype: str = "application/json"
    data: Order


class Page(BaseModel):
    """What is answered."""

    events: list[Event]
    next: int


def _events(block: Block) -> Iterator[Event]:
    for number, row in enumerate(block.batch.to_pylist(), block.first):
        own_id = event_id(
            "orders",
            block.epoch,
            op=Op.CREATE,
            position=row["_position"],
            tx_index=row["_tx_index"],
            moved=False,
            snapshot=None,
            key=row["_key"],
        )
        yield Event(
            id=own_id,
            subject=row["_key"],
            time=row["_commit_at"],
            sequence=f"{number:020}",
            partitionkey=row["_key"],
            transactionid=str(row["_tx"]),
            data=Order(**{name: row[name] for name in Order.model_fields}),
        )


def application(folder: Path) -> FastAPI:
    """The peer."""
    app, journal = FastAPI(), SqliteJournal.open(folder / "journal.db", owner=False)

    def streams() -> list[str]:
        return ["orders"]

    def events(response: Response, after: int = 0, limit: int = 1000) -> Page:
        found = [event for block in journal.read("orders", after=after, limit=limit) for event in _events(block)]
        response.headers["x-bridge-next"] = str(after + len(found))
        return Page(events=found, next=after + len(found))

    app.add_api_route("/v1/streams", streams)
    app.add_api_route("/v1/streams/orders/events", events)
    return app


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Serve a folder from a process of its own; gives the port."""
    command = [sys.executable, "-m", "bench.api_peer", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None:
            raise RuntimeError("a pipe was asked for")
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        server = uvicorn.Server(uvicorn.Config(application(Path(sys.argv[1])), http="h11", log_level="error"))
        server.run(sockets=[listener])
