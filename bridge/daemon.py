"""The daemon: puts the loops to work, watches over them, changes them over, takes them down.

Start: configuration, contracts and journal are opened and checked, each system's login is proven harmless, then the
loops start. Stop: sources end first, what they handed over is journalled, the journal closes last. Reload checks the
whole of the new configuration beside the running one and changes over only when nothing is wrong with it.
"""

import gc
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Container, Mapping
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType

import structlog

from bridge import halt, logs, tracing
from bridge.app import (
    Loops,
    build_door,
    build_gate,
    build_hatches,
    build_loops,
    load_contracts,
    pin_contracts,
)
from bridge.bell import Bell
from bridge.config import diff as differences
from bridge.config.load import load
from bridge.config.models import Config
from bridge.contract.document import ContractDocument
from bridge.errors import BridgeError, ConfigError, SourceUnavailable
from bridge.health import HealthBoard
from bridge.journal.sqlite import SqliteJournal
from bridge.metrics import Metrics
from bridge.notary import Notary
from bridge.notify import Notifier
from bridge.ports import Journal, Retention
from bridge.postgres.configured import connect_settings
from bridge.postgres.session import connect
from bridge.ways import prove_harmless
from bridge.web import health as pages
from bridge.web import inbox
from bridge.web.accesslog import AccessLog
from bridge.web.app import Doorway
from bridge.web.authentication import Gatekeeper
from bridge.web.door import Witness
from bridge.web.server import listen, serve

STALL_S = 30.0  # a loop that has not turned for so long is not alive
_LEFT = "Run `legacy-bridge decommission` for it, or configure a stream again."
Documents = Mapping[str, ContractDocument]
_log = structlog.get_logger()


class Daemon:
    """One running bridge; made by `run`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._config = load(path)
        self._board = HealthBoard()
        self._metrics = Metrics()
        self._bell = Bell()
        self._stop = threading.Event()  # somebody wants the daemon to end
        self._wake = threading.Event()  # something for the main thread to do
        self._next: tuple[Config, Documents] | None = None  # checked, to be changed over to
        self._reload_wanted = False
        self._reloads: dict[int, list[str]] = {}  # requests that the next change-over answers, and with which changes
        self._loops: Loops | None = None
        self._gate: Gatekeeper | None = None
        self._opening: Callable[[Loops, Documents], None] = lambda _loops, _documents: None  # of the HTTP door

    def run(self) -> None:
        """Run until a signal says stop.

        Raises: ConfigError, JournalLocked, JournalUnavailable, JournalCorrupt, SourceRefused before anything started.
        """
        _configure_log(self._config)
        notifier = Notifier()
        with ExitStack() as stack:
            stack.callback(tracing.set_up())
            documents = load_contracts(self._config)
            journal = SqliteJournal.open(
                self._config.bridge.journal.sqlite, owner=True, retain=_retention(self._config)
            )
            stack.callback(journal.close)
            self._metrics.journal_disk_free_bytes.set_function(
                partial(_room, self._config.bridge.journal.sqlite.parent)
            )
            notary = Notary(journal)
            notary.step()
            stack.callback(notary.end)
            gate = self._gate = build_gate(self._config, journal)
            stack.callback(gate.close)
            self._prove_all(paused=halt.halts(journal))
            loops = self._build(self._config, documents, journal)
            pin_contracts(journal, documents)
            self._serve(stack, journal, gate)
            self._loops = loops
            self._opening(loops, documents)
            gc.collect()
            gc.freeze()  # a full collection would look at all of it again, and stop every thread for it
            self._handle_signals()  # whoever sees a loop at work may send one
            loops.start()
            stack.callback(self._end_loops)
            notifier.ready("running")
            _log.info("daemon.started", instance=self._config.bridge.name, streams=len(self._config.streams))
            self._attend(notifier, journal, notary)
            notifier.stopping("stopping", extend_s=60)
        _log.info("daemon.stopped")

    def _prove_all(self, *, paused: Container[str]) -> None:
        """Refuse a dangerous login at the start, where an operator sees it; a system that is down is waited for."""
        for system in self._config.systems_of("postgres"):
            if system in paused:
                continue
            try:
                with connect(connect_settings(self._config, system), purpose="preflight") as connection:
                    prove_harmless(self._config, system, connection)
            except SourceUnavailable as error:
                _log.warning("source.unavailable", system=system, error=error)

    def _build(self, config: Config, documents: Documents, journal: Journal) -> Loops:
        return build_loops(
            config,
            documents,
            journal,
            board=self._board,
            metrics=self._metrics,
            reload=self._prepare_reload,
            bell=self._bell,
            alive=self._is_alive,
        )

    def _end_loops(self) -> None:
        """Raises: what stopped the journal for good, so that the exit code tells."""
        if self._loops is None:
            return
        self._loops.end()
        if self._loops.ingest.failure is not None:
            raise self._loops.ingest.failure

    # -- reload

    def _prepare_reload(self, request: int) -> list[str]:
        """Check a changed configuration whole; only then is the main thread told to change over, and to say so.

        Called on the ingest thread, between windows. Raises: ConfigError; the old configuration keeps running, and
        health says what is wrong with the new one.
        """
        try:
            changes = self._check_reload()
        except BridgeError as error:
            self._refuse_reload(error)
            raise
        self._reloads[request] = changes
        self._board.ok("configuration")
        self._wake.set()
        return changes

    def _check_reload(self) -> list[str]:
        """What is another: keys of the file, and contracts."""
        assert self._loops is not None  # noqa: S101  requests come from running loops
        old, new = self._loops.config, load(self._path)
        changes = differences.diff(old, new)
        fixed = [change.key for change in changes if not change.live and change.key.startswith("bridge.")]
        if fixed:
            raise ConfigError(f"needs a restart: {', '.join(fixed)}", hint="Restart the daemon to change these.")
        documents, journal = load_contracts(new), self._loops.watch.journal
        self._build(new, documents, journal)  # only to see that it can be; positions will have moved by then
        pin_contracts(journal, documents)
        self._next = new, documents
        before = self._loops.documents
        versions = [
            f"contract of {stream}: {before[stream].version} to {document.version}"
            for stream, document in documents.items()
            if stream in before and before[stream].digest != document.digest
        ]
        return [*(change.key for change in changes), *versions]

    def _refuse_reload(self, error: BridgeError) -> None:
        _log.error("reload.refused", error=error)
        self._board.fail("configuration", f"not taken over: {error.detail}", error.hint, level="warn")

    def _change_over(self, notifier: Notifier) -> None:
        following, self._next = self._next, None
        if following is None or self._loops is None:
            return
        notifier.reloading()
        self._loops.end()
        former = _logged(self._loops.config)
        config, documents = following
        _configure_log(config)
        self._loops = self._build(config, documents, self._loops.watch.journal)
        if self._gate is not None:
            self._gate.use(config.principals)
        self._opening(self._loops, documents)
        self._board.keep({*config.systems, *self._loops.flows, *config.streams, *config.sinks})
        for system in sorted(former - _logged(config)):
            _log.warning("source.left", system=system)
            self._board.fail(f"source:{system}", "it is read no more, and its slot holds WAL back", _LEFT, level="warn")
        self._answer_reloads(self._loops.watch.journal)
        self._loops.start()
        notifier.ready("running")
        _log.info("daemon.reloaded", streams=len(config.streams))

    def _answer_reloads(self, journal: Journal) -> None:
        """Settle what was asked for, before loops begin that would do it again."""
        answered, self._reloads = self._reloads, {}
        for request, changes in answered.items():
            try:
                journal.settle(request, ok=True, result={"changes": changes})
            except BridgeError as error:  # it stays open, and is done again
                _log.warning("reload.unanswered", request=request, error=error)

    # -- the main thread

    def _attend(self, notifier: Notifier, journal: Journal, notary: Notary) -> None:
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
            if self._gate is not None:
                self._gate.step()
            notary.step()
            if self._loops.ingest.failure is not None:
                return

    def _ask_reload(self, journal: Journal) -> None:
        try:
            journal.request("reload", {}, "signal:SIGHUP")
        except BridgeError as error:
            self._refuse_reload(error)

    def _is_alive(self) -> bool:
        return self._loops is not None and time.monotonic() - self._loops.turned_at() < STALL_S

    def _serve(self, stack: ExitStack, journal: SqliteJournal, gate: Gatekeeper) -> None:
        http = self._config.bridge.http
        listener = listen(http.host, http.port)
        ended = threading.Event()
        open_pages = pages.build(
            board=self._board,
            metrics=self._metrics,
            alive=self._is_alive,
            ready={"journal": partial(_probe, journal, self._board)},
        )
        doorway, witness = Doorway(open_pages, inbox=inbox.mount(self._hatches)), Witness(journal)

        def opening(loops: Loops, documents: Documents) -> None:
            door = build_door(
                loops,
                documents,
                board=self._board,
                metrics=self._metrics,
                gate=gate,
                bell=self._bell,
                witness=witness,
            )
            doorway.swap(door)

        self._opening = opening
        app = AccessLog(doorway, self._metrics)
        server = threading.Thread(target=partial(serve, app, listener, stop=ended), name="http", daemon=True)
        server.start()
        stack.callback(server.join, 5)
        stack.callback(ended.set)
        stack.callback(doorway.swap, None)
        _log.info("http.listening", host=http.host, port=listener.getsockname()[1])

    def _hatches(self) -> Mapping[str, inbox.Hatch]:
        """Where messages come in now; nowhere before the loops are built."""
        return build_hatches(self._loops) if self._loops is not None else {}

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


def _configure_log(config: Config) -> None:
    """The log goes to standard output, unless a sink writes its events there."""
    is_taken = any(sink.stdout is not None for sink in config.sinks.values())
    log = config.bridge.log
    logs.configure(level=log.level, form=log.format, stream=sys.stderr if is_taken else sys.stdout)


def _retention(config: Config) -> Retention:
    """The operator's limits; 0 in the file means none."""
    retain = config.bridge.retain
    return Retention(
        age=timedelta(days=retain.days) if retain.days else None,
        size_bytes=int(retain.gigabytes * 1e9) if retain.gigabytes else None,
    )


def _room(folder: Path) -> float:
    """Bytes left for our files; NaN when that cannot be told."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return math.nan


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


def _logged(config: Config) -> set[str]:
    """The systems that keep a slot for us."""
    return {system for system in config.systems_of("postgres") if config.streams_of(system, "log")}
