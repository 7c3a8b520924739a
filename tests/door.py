"""A door on a real socket for tests: a journal on disk, a contract, principals that are known by their name alone."""

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.types import Scope

from bridge.access import Principal
from bridge.app import build_judges
from bridge.bell import Bell
from bridge.config.load import load
from bridge.config.models import Config
from bridge.contract import document
from bridge.errors import BridgeError
from bridge.health import HealthBoard
from bridge.journal.attempts import AttemptLog, beside
from bridge.journal.sqlite import SqliteJournal
from bridge.metrics import Metrics
from bridge.model import Commit
from bridge.operate import Desk, perform
from bridge.web.app import Doorway
from bridge.web.door import Door, Witness
from bridge.web.gate import Admitted
from bridge.web.health import build
from bridge.web.live import Feeds
from bridge.web.problems import Problem
from bridge.web.server import listen, serve
from tests.journal_samples import events, letters

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: {name}
version: 1.0.0
description: {{purpose: Orders for tests.}}
slaProperties: [{{property: errorRate, value: 1, unit: percent}}]
schema:
  - name: orders
    properties:
      - {{name: order_no, description: Number., logicalType: string, primaryKey: true, transformLogic: trim(ordno)}}
      - {{name: amount, description: Value., logicalType: number, classification: {classification},
         transformLogic: amt, customProperties: [{{property: bridge.type, value: "decimal(12,2)"}},
         {{property: bridge.unit, value: USD}}]}}
      - {{name: due, description: Day., logicalType: date, transformLogic: cyymmdd(due)}}
"""
CONFIG = """
bridge: {name: acme, type_prefix: com.acme.erp, journal: {sqlite: journal.db}}
systems: {erp: {postgres: {}}, hr: {postgres: {}}}
streams:
  orders: {system: erp, log: sales.oeordh, contract: orders.odcs.yaml}
  payroll: {system: hr, log: hr.payroll, contract: payroll.odcs.yaml}
sinks:
  hook: {stdout: {}, streams: [orders]}
  wages: {parquet: {folder: out}, streams: [payroll]}
"""
PRINCIPALS = {
    "root": Principal("root", acts=frozenset({"read", "mend", "operate", "administer"}), streams="*"),
    "reader": Principal("reader", acts=frozenset({"read"}), streams=("orders",), connections=3),
    "trusted": Principal("trusted", acts=frozenset({"read", "mend"}), streams="*", release=frozenset({"pay"})),
    "mender": Principal("mender", acts=frozenset({"mend"}), streams=("orders",)),
    "operator": Principal("operator", acts=frozenset({"operate"}), streams=("orders",)),
    "admin": Principal("admin", acts=frozenset({"administer"}), streams=("orders",)),
}


@dataclass
class NameGate:
    """Takes the bearer's word for who it is."""

    refusals: list[tuple[str, str]] = field(default_factory=list)

    async def admit(self, scope: Scope) -> Admitted:
        """See the port."""
        sent = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
        if sent not in PRINCIPALS:
            raise Problem(401, "unauthenticated", "Nobody is known by this.", headers={"www-authenticate": "Bearer"})
        return Admitted(PRINCIPALS[sent], {"ratelimit": '"default";r=42;t=17'})

    def refused(self, principal: Principal, scope: Scope, why: str) -> None:
        """See the port."""
        self.refusals.append((principal.name, f"{scope['method']} {scope['path']}: {why}"))


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401  any JSON
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Served:
    """A running door."""

    port: int
    config: Config
    journal: SqliteJournal
    doorway: Doorway
    gate: NameGate
    bell: Bell
    door: Door
    answering: threading.Event  # set: requests are carried out

    def ask(
        self,
        path: str,
        method: str = "GET",
        *,
        who: str | None = "root",
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = dict(headers or {}) | ({"Authorization": f"Bearer {who}"} if who else {})
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body=data, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def append(self, count: int, *, stream: str = "orders", start: int = 0) -> None:
        """Journal so many events."""
        self.journal.append(Commit(events=(events(stream, count, start=start),)))
        self.bell.ring()

    def reject(self, count: int, *, stream: str = "orders") -> None:
        """Journal so many rejected rows."""
        self.journal.append(Commit(letters=(letters(stream, count),)))


def write_config(folder: Path, text: str = CONFIG) -> Config:
    """The configuration that the tests' door has."""
    for name, classification in (("orders", "pay"), ("payroll", "pay")):
        (folder / f"{name}.odcs.yaml").write_text(CONTRACT.format(name=name, classification=classification))
    (folder / "bridge.yaml").write_text(text)
    return load(folder / "bridge.yaml")


@contextmanager
def served(folder: Path, text: str = CONFIG) -> Iterator[Served]:
    """A door whose requests are carried out as by the daemon; stopped and joined at the end."""
    config = write_config(folder, text)
    documents = {name: document.load(stream.contract) for name, stream in config.streams.items()}
    journal = SqliteJournal.open(config.bridge.journal.sqlite, owner=True)
    board, bell, gate = HealthBoard(), Bell(), NameGate()
    doorway = Doorway(build(board=board, metrics=Metrics(), alive=lambda: True, ready={}))
    door = Door(
        config=config,
        documents=documents,
        journal=journal,
        board=board,
        gate=gate,
        feeds=Feeds(journal, bell),
        witness=Witness(journal),
        attempts=AttemptLog(beside(config.bridge.journal.sqlite)),
    )
    doorway.swap(door)
    listener, stop, answering = listen("127.0.0.1", 0), threading.Event(), threading.Event()
    answering.set()
    server = threading.Thread(target=serve, args=(doorway, listener), kwargs={"stop": stop})
    desk = Desk(journal, build_judges(config, documents, journal), systems={"orders": "erp", "payroll": "hr"})
    clerk = threading.Thread(target=_carry_out, args=(desk, stop, answering))
    server.start()
    clerk.start()
    try:
        yield Served(listener.getsockname()[1], config, journal, doorway, gate, bell, door, answering)
    finally:
        stop.set()
        doorway.swap(None)
        server.join(10)
        clerk.join(10)
        journal.close()
        assert not server.is_alive()


def _carry_out(desk: Desk, stop: threading.Event, answering: threading.Event) -> None:
    while not stop.wait(0.01):
        if answering.is_set():
            for request in desk.journal.requests():
                try:
                    perform(desk, request)
                except BridgeError:
                    return
