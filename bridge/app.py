"""The composition root: the only module that knows all parts, and puts together what a configuration asks for."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog

from bridge import halt, operate
from bridge.alarms.lookout import Lookout
from bridge.alarms.loop import Alarms, Telling
from bridge.bell import Bell
from bridge.config.models import Config
from bridge.contract import document as contracts
from bridge.deliver.thread import Delivery
from bridge.deliver.trial import test_message
from bridge.errors import ConfigError
from bridge.health import HealthBoard
from bridge.ingest import Ingest
from bridge.journal.attempts import AttemptLog, beside
from bridge.judge import StreamJudge
from bridge.metrics import Metrics
from bridge.outlets.build import build_beats, build_outlets, words_of
from bridge.polls import polled_by
from bridge.ports import Journal
from bridge.pump import Flow, Handoff, Pump, RenewableSource, RestingSource
from bridge.replay import waiting_keys
from bridge.routing import build_routes, sinks_of
from bridge.sources.file import configured as files
from bridge.sources.webhook import WebhookSource
from bridge.standing import readers_of
from bridge.watch import Watch
from bridge.ways import build_mapper, build_sources
from bridge.web.authentication import Gatekeeper
from bridge.web.door import Door, Witness
from bridge.web.gate import Gate
from bridge.web.inbox import Hatch
from bridge.web.keyring import KeyRing
from bridge.web.live import Feeds
from bridge.web.tokens import Issuer, fetching

_log = structlog.get_logger()


def load_contracts(config: Config) -> dict[str, contracts.ContractDocument]:
    """The contract of every stream. Raises: ConfigError with every mistake of every contract."""
    found, mistakes = {}, []
    for stream, declared in config.streams.items():
        try:
            found[stream] = contracts.load(declared.contract)
        except ConfigError as error:
            mistakes.append(error.detail)
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return found


def pin_contracts(journal: Journal, documents: Mapping[str, contracts.ContractDocument]) -> None:
    """Hold published versions to what they were. Raises: ConfigError naming each that was changed in place."""
    changed = [
        f"{document.file}: version {document.version} of {document.id} was published with other content"
        for document in documents.values()
        if journal.pin(document.id, document.version, document.digest) != document.digest
    ]
    if changed:
        raise ConfigError("\n".join(changed), hint="Give the changed contract a new version.")


def build_judges(
    config: Config, documents: Mapping[str, contracts.ContractDocument], journal: Journal
) -> dict[str, StreamJudge]:
    """A judge for every stream, with what the journal remembers of it."""
    states = journal.stream_states()
    judges = {}
    for stream, declared in config.streams.items():
        state, rest = states.get(stream), {}
        if declared.way in ("webhook", "queue", "file"):  # its columns are those the contract reads: never drift
            state = replace(state, shape=None) if state is not None else None
            mapper = files.mapper if declared.way == "file" else build_mapper
            rest = {"remake": mapper(config, stream, documents[stream]).remake}
        waiting = waiting_keys(journal, stream) if declared.on_reject == "hold" else frozenset()
        judges[stream] = StreamJudge(
            stream, documents[stream], on_reject=declared.on_reject, state=state, waiting=waiting, **rest
        )
    return judges


def systems_of(config: Config) -> dict[str, str]:
    """The system that each stream is read from."""
    return {stream: declared.system for stream, declared in config.streams.items()}


@dataclass(slots=True)
class Loops:
    """The loops of one configuration."""

    config: Config
    documents: Mapping[str, contracts.ContractDocument]  # by stream
    flows: dict[str, Flow]
    pumps: list[Pump]
    ingest: Ingest
    delivery: Delivery
    attempts: AttemptLog
    watch: Watch
    stop: threading.Event  # for the sources; what they handed over is still journalled
    threads: list[threading.Thread]
    delivers: bool  # there is something for the delivery to do
    readers: Mapping[str, Sequence[Pump]]  # what reads each system

    def start(self) -> None:
        """Start every thread; what is paused does not touch its system."""
        for system, held in halt.halts(self.watch.journal).items():
            for pump in self.readers.get(system, ()):
                pump.halt(held.why)
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        """Stop reading, journal what was read, and wait for both."""
        self.stop.set()
        self.delivery.end()
        for flow in self.flows.values():
            if isinstance(flow.source, RestingSource):  # a page may take long, and can be asked for again
                flow.source.interrupt()
        for thread in self.threads:
            thread.join()
        for inbox in self.inboxes().values():
            inbox.abandon()
        self.attempts.close()
        self.watch.end()

    def inboxes(self) -> dict[str, WebhookSource]:
        """Where messages are handed in, by system."""
        sources = {system: flow.source for system, flow in self.flows.items()}
        return {system: source for system, source in sources.items() if isinstance(source, WebhookSource)}

    def turned_at(self) -> float:
        """When the slowest loop turned last, by the monotonic clock."""
        return min(
            [
                self.ingest.turned_at,
                *([self.delivery.turned_at] if self.delivers else []),
                *(pump.turned_at for pump, thread in zip(self.pumps, self.threads, strict=False) if thread.is_alive()),
            ]
        )


def build_loops(
    config: Config,
    documents: Mapping[str, contracts.ContractDocument],
    journal: Journal,
    *,
    board: HealthBoard,
    metrics: Metrics,
    reload: Callable[[int], Sequence[str]],
    bell: Bell,
    alive: Callable[[], bool] = lambda: True,
) -> Loops:
    """The loops of a configuration, not started; they ring the bell. Raises: ConfigError.

    `alive` says whether those that run turn.
    """
    judges = build_judges(config, documents, journal)
    stop, handoff = threading.Event(), Handoff()
    flows = {}
    for system in config.systems:
        for source, streams in build_sources(config, system, documents, journal, stopping=stop.is_set, metrics=metrics):
            position, state = journal.position(source.name)
            flows[source.name] = Flow(source, streams, position, state)
    rereads: dict[str, Callable[[str], None]] = {
        stream: partial(_control, flow.source, stream) for flow in flows.values() for stream in flow.streams
    }
    attempts = AttemptLog(beside(config.bridge.journal.sqlite))
    delivery = Delivery(
        journal, build_routes(config, documents), bell=bell, board=board, metrics=metrics, attempts=attempts
    )
    pumps = [Pump(flow, handoff, board, stop, points=metrics.points) for flow in flows.values()]
    readers = {system: [pump for pump in pumps if pump.flow.system == system] for system in config.systems}
    desk = operate.Desk(
        journal,
        judges,
        rereads,
        reload=reload,
        polled=polled_by((flow.source, flow.streams) for flow in flows.values()),
        halts=readers,
        systems=systems_of(config),
        sinks=sinks_of(config),
        test=partial(_try_out, config, delivery),
        bell=bell,
    )
    ingest = Ingest(journal, handoff, judges, board=board, metrics=metrics, desk=desk, stop=stop)
    watch = Watch(
        journal, flows, judges, board=board, metrics=metrics, sinks=sinks_of(config), readers=readers_of(config)
    )
    threads = [threading.Thread(target=pump.run, name=f"pump-{pump.flow.name}") for pump in pumps]
    threads.append(threading.Thread(target=ingest.run, name="ingest"))
    delivers = bool(config.sinks)
    if delivers:
        threads.append(threading.Thread(target=delivery.run, name="deliver"))
    lookout = Lookout(config, journal, flows=flows, judges=judges, board=board, points=metrics.points)
    telling = Telling(config.alarms, words_of(config), build_outlets(config), build_beats(config))
    alarms = Alarms(telling, journal, lookout.look, alive=alive, board=board, metrics=metrics, stop=stop)
    threads.append(threading.Thread(target=alarms.run, name="alarms"))
    return Loops(
        config, documents, flows, pumps, ingest, delivery, attempts, watch, stop, threads,
        delivers=delivers, readers=readers,
    )  # fmt: skip


def _try_out(config: Config, delivery: Delivery, sink: str) -> "Future[dict[str, Any]] | None":
    message = test_message(instance=config.bridge.name, type_prefix=config.bridge.type_prefix)
    return delivery.try_out(sink, message)


def build_gate(config: Config, journal: Journal) -> Gatekeeper:
    """Who lets principals in; outlives reloads (`use`)."""
    oidc = config.bridge.http.oidc
    issuer = Issuer(oidc, fetching(oidc)) if oidc is not None else None
    return Gatekeeper(journal, config.principals, ring=KeyRing(journal), issuer=issuer)


def build_door(
    loops: Loops,
    documents: Mapping[str, contracts.ContractDocument],
    *,
    board: HealthBoard,
    metrics: Metrics,
    gate: Gate,
    bell: Bell,
    witness: Witness,
) -> Door:
    """What the HTTP door works with beside these loops."""
    journal = loops.watch.journal
    return Door(
        loops.config,
        documents,
        journal,
        board,
        gate,
        Feeds(journal, bell, came=metrics.sse_clients.inc),
        witness,
        loops.attempts,
    )


def build_hatches(loops: Loops) -> dict[str, Hatch]:
    """What the HTTP door needs of every system that sends us requests."""
    config = loops.config
    return {
        system: Hatch(inbox, declared, {each.origin: stream for stream, each in config.streams_of(system).items()})
        for system, inbox in loops.inboxes().items()
        if (declared := config.systems[system].webhook) is not None
    }


def _control(source: RenewableSource, stream: str, action: str) -> None:
    source.control(action, stream)
