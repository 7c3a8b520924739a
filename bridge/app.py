"""The composition root: the only module that knows all parts. Puts a daemon together, runs it, takes it down.

Start: configuration, contracts and journal are opened and checked, each system's login is proven harmless, then the
loops start. Stop: sources end first, what they handed over is journalled, the journal closes last. Reload builds the
new loops beside the old ones and changes over only when nothing was wrong.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import structlog

from bridge import logs, operate
from bridge.config import diff as differences
from bridge.config.load import load
from bridge.config.models import Config
from bridge.contract import document as contracts
from bridge.contract.expression import columns
from bridge.errors import BridgeError, ConfigError, SourceUnavailable
from bridge.health import HealthBoard
from bridge.ingest import Ingest
from bridge.journal.sqlite import SqliteJournal
from bridge.judge import StreamJudge
from bridge.metrics import Metrics
from bridge.notify import Notifier
from bridge.ports import Journal, Retention
from bridge.pump import Flow, Handoff, Pump, RenewableSource
from bridge.replay import waiting_keys
from bridge.sources.postgres import configured, preflight
from bridge.sources.postgres.findings import Level
from bridge.sources.postgres.reader import PostgresSource, Settings
from bridge.sources.postgres.session import Connection, connect
from bridge.sources.postgres.tables import Capture
from bridge.watch import Watch
from bridge.web import health as pages
from bridge.web.server import listen, serve

STALL_S = 30.0  # a loop that has not turned for so long is not alive
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
        waiting = waiting_keys(journal, stream) if declared.on_reject == "hold" else frozenset()
        judges[stream] = StreamJudge(
            stream,
            documents[stream],
            on_reject=declared.on_reject,
            state=states.get(stream),
            waiting=waiting,
        )
    return judges


def systems_of(config: Config) -> dict[str, str]:
    """The system that each stream is read from."""
    return {stream: declared.system for stream, declared in config.streams.items()}


def build_source(
    config: Config,
    system: str,
    documents: Mapping[str, contracts.ContractDocument],
    *,
    stopping: Callable[[], bool] = lambda: False,
) -> PostgresSource:
    """The source of one system; `stopping` ends waits of its that may be long."""
    declared = configured.declared(config, system)
    captures = []
    for stream, each in config.streams_of(system).items():
        document = documents[stream]
        keys = [field for field in document.fields if field.key_position is not None]
        captures.append(
            Capture(
                stream,
                each.log,
                key_columns=tuple(sorted({name for field in keys for name in columns(field.expression)})),
                is_keyless=not keys,
                reads_initially=each.snapshot == "initial",
                reselects=each.fill_unchanged == "reselect",
            )
        )
    return PostgresSource(
        Settings(
            name=system,
            connect=configured.connect_settings(config, system),
            captures=tuple(captures),
            slot=declared.postgres.slot,
            publications=(declared.postgres.publication, declared.postgres.insert_publication),
            failover=declared.postgres.failover,
            heartbeat_s=declared.postgres.heartbeat_s,
            chunk_rows=declared.snapshot_chunk_rows,
            rows_per_second=declared.budget.snapshot_rows_per_second,
            limits=configured.slot_limits(config, system),
            rereads_after_loss=declared.on_position_lost == "resnapshot",
            stopping=stopping,
            prove=partial(prove_harmless, config, system),
        )
    )


def prove_harmless(config: Config, system: str, connection: Connection) -> None:
    """I9: the login's own rights and the server's settings are looked up before anything is read.

    Raises: SourceRefused with everything that forbids the start.
    """
    findings = preflight.inspect(connection, configured.setup(config, system))
    for finding in findings:
        if finding.level is Level.WARN:
            _log.warning(
                "source.warned", system=system, code=finding.code, subject=finding.subject, detail=finding.detail
            )
    preflight.refuse(findings)


@dataclass(slots=True)
class Loops:
    """The loops of one configuration."""

    config: Config
    documents: Mapping[str, contracts.ContractDocument]
    flows: dict[str, Flow]
    pumps: list[Pump]
    ingest: Ingest
    watch: Watch
    stop: threading.Event  # for the sources; what they handed over is still journalled
    threads: list[threading.Thread]

    def start(self) -> None:
        """Start every thread."""
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        """Stop reading, journal what was read, and wait for both."""
        self.stop.set()
        for thread in self.threads:
            thread.join()
        self.watch.end()

    def turned_at(self) -> float:
        """When the slowest loop turned last, by the monotonic clock."""
        return min(
            [
                self.ingest.turned_at,
                *(pump.turned_at for pump, thread in zip(self.pumps, self.threads, strict=False) if thread.is_alive()),
            ]
        )


class Daemon:
    """One running bridge; made by `run`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._config = load(path)
        self._board = HealthBoard()
        self._metrics = Metrics()
        self._stop = threading.Event()  # somebody wants the daemon to end
        self._wake = threading.Event()  # something for the main thread to do
        self._next: Loops | None = None
        self._reload_wanted = False
        self._loops: Loops | None = None

    def run(self) -> None:
        """Run until a signal says stop.

        Raises: ConfigError, JournalLocked, JournalUnavailable, JournalCorrupt, SourceRefused before anything started.
        """
        log = self._config.bridge.log
        logs.configure(level=log.level, form=log.format)
        notifier = Notifier()
        with ExitStack() as stack:
            documents = load_contracts(self._config)
            journal = SqliteJournal.open(
                self._config.bridge.journal.sqlite, owner=True, retain=_retention(self._config)
            )
            stack.callback(journal.close)
            self._prove_all()
            loops = self._build(self._config, documents, journal)
            self._serve(stack, journal)
            self._loops = loops
            loops.start()
            stack.callback(self._end_loops)
            self._handle_signals()
            notifier.ready("running")
            _log.info("daemon.started", instance=self._config.bridge.name, streams=len(self._config.streams))
            self._attend(notifier, journal)
            notifier.stopping("stopping", extend_s=60)
        _log.info("daemon.stopped")

    def _prove_all(self) -> None:
        """Refuse a dangerous login at the start, where an operator sees it; a system that is down is waited for."""
        for system in self._config.systems:
            try:
                with connect(configured.connect_settings(self._config, system), purpose="preflight") as connection:
                    prove_harmless(self._config, system, connection)
            except SourceUnavailable as error:
                _log.warning("source.unavailable", system=system, error=error)

    def _build(self, config: Config, documents: Mapping[str, contracts.ContractDocument], journal: Journal) -> Loops:
        """The loops of a configuration, not started. Raises: ConfigError; nothing is changed then."""
        pin_contracts(journal, documents)
        judges = build_judges(config, documents, journal)
        stop, handoff = threading.Event(), Handoff()
        flows = {}
        for system in config.systems:
            if config.streams_of(system):
                position, state = journal.position(system)
                source = build_source(config, system, documents, stopping=stop.is_set)
                streams = frozenset(config.streams_of(system))
                flows[system] = Flow(source, streams, position, state)
        rereads: dict[str, Callable[[str], None]] = {
            stream: partial(_control, flows[declared.system].source, stream)
            for stream, declared in config.streams.items()
        }
        desk = operate.Desk(journal, judges, rereads, reload=self._prepare_reload, systems=systems_of(config))
        pumps = [Pump(flow, handoff, self._board, stop) for flow in flows.values()]
        ingest = Ingest(journal, handoff, judges, board=self._board, metrics=self._metrics, desk=desk, stop=stop)
        watch = Watch(journal, flows, judges, board=self._board, metrics=self._metrics)
        threads = [threading.Thread(target=pump.run, name=f"pump-{pump.flow.name}") for pump in pumps]
        threads.append(threading.Thread(target=ingest.run, name="ingest"))
        return Loops(config, documents, flows, pumps, ingest, watch, stop, threads)

    def _end_loops(self) -> None:
        """Raises: what stopped the journal for good, so that the exit code tells."""
        if self._loops is None:
            return
        self._loops.end()
        if self._loops.ingest.failure is not None:
            raise self._loops.ingest.failure

    # -- reload

    def _prepare_reload(self) -> Mapping[str, Any]:
        """Check a changed configuration whole; only then is the main thread told to change over.

        Called on the ingest thread, between windows. Raises: ConfigError; the old configuration keeps running, and
        health says what is wrong with the new one.
        """
        try:
            changes = self._check_reload()
        except BridgeError as error:
            self._refuse_reload(error)
            raise
        self._board.ok("configuration")
        self._wake.set()
        return {"changes": [change.key for change in changes]}

    def _check_reload(self) -> list[differences.Change]:
        assert self._loops is not None  # noqa: S101  requests come from running loops
        old, new = self._loops.config, load(self._path)
        changes = differences.diff(old, new)
        fixed = [change.key for change in changes if not change.live and change.key.startswith("bridge.")]
        if fixed:
            raise ConfigError(f"needs a restart: {', '.join(fixed)}", hint="Restart the daemon to change these.")
        self._next = self._build(new, load_contracts(new), self._loops.watch.journal)
        return changes

    def _refuse_reload(self, error: BridgeError) -> None:
        _log.error("reload.refused", error=error)
        self._board.fail("configuration", f"not taken over: {error.detail}", error.hint, level="warn")

    def _change_over(self, notifier: Notifier) -> None:
        following, self._next = self._next, None
        if following is None or self._loops is None:
            return
        notifier.reloading()
        self._loops.end()
        config = following.config
        logs.set_level(config.bridge.log.level)
        self._loops = self._build(config, following.documents, self._loops.watch.journal)  # positions as they are now
        self._board.keep({*config.systems, *config.streams})
        self._loops.start()
        notifier.ready("running")
        _log.info("daemon.reloaded", streams=len(config.streams))

    # -- the main thread

    def _attend(self, notifier: Notifier, journal: Journal) -> None:
        """Until told to stop: watch over the loops, feed the watchdog, change over."""
        while not self._stop.is_set():
            self._wake.wait(1.0)
            self._wake.clear()
            if self._loops is None:
                return
            if self._reload_wanted:
                self._reload_wanted = False
                self._ask_reload(journal)
            self._change_over(notifier)
            if self._is_alive():
                notifier.alive()
            self._loops.watch.step()
            if self._loops.ingest.failure is not None:
                return

    def _ask_reload(self, journal: Journal) -> None:
        try:
            journal.request("reload", {}, "signal:SIGHUP")
        except BridgeError as error:
            self._refuse_reload(error)

    def _is_alive(self) -> bool:
        return self._loops is not None and time.monotonic() - self._loops.turned_at() < STALL_S

    def _serve(self, stack: ExitStack, journal: SqliteJournal) -> None:
        http = self._config.bridge.http
        listener = listen(http.host, http.port)
        ended = threading.Event()
        app = pages.build(
            board=self._board,
            metrics=self._metrics,
            alive=self._is_alive,
            ready={"journal": partial(_probe, journal, self._board)},
        )
        server = threading.Thread(target=partial(serve, app, listener, stop=ended), name="http", daemon=True)
        server.start()
        stack.callback(server.join, 5)
        stack.callback(ended.set)
        _log.info("http.listening", host=http.host, port=listener.getsockname()[1])

    def _handle_signals(self) -> None:
        def stop(number: int, _frame: FrameType | None) -> None:
            if self._stop.is_set():
                os._exit(128 + number)  # a second signal forces: the journal is safe at any instant (I8)
            self._stop.set()
            self._wake.set()

        def reload(_number: int, _frame: FrameType | None) -> None:
            self._reload_wanted = True
            self._wake.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGHUP, reload)


def _retention(config: Config) -> Retention:
    """The operator's limits; 0 in the file means none."""
    retain = config.bridge.retain
    return Retention(
        age=timedelta(days=retain.days) if retain.days else None,
        size_bytes=int(retain.gigabytes * 1e9) if retain.gigabytes else None,
    )


def _control(source: RenewableSource, stream: str, action: str) -> None:
    source.control(action, stream)


def _probe(journal: Journal, board: HealthBoard) -> str | None:
    """What keeps the journal from taking writes; None when nothing does."""
    try:
        journal.version()
    except BridgeError as error:
        return error.detail
    return next((ailment.what for ailment in board.ailments() if ailment.component == "journal"), None)


def run(path: Path) -> int:
    """Run the daemon for one configuration file; returns the exit code.

    Raises: BridgeError when it could not start, or had to stop.
    """
    Daemon(path).run()
    return 0
