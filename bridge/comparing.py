"""Puts a comparison together: which two sides, when the journal holds what the other side held, and at what pace."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from bridge.config.models import Config
from bridge.contract import document as contracts
from bridge.errors import ConfigError, Declined
from bridge.extracted import Charge, RunKind
from bridge.extraction.budget import Budget
from bridge.extraction.declared import limits_of
from bridge.extraction.extractor import Extractor
from bridge.extractors import build_extractor, view_of_table
from bridge.halt import require_running
from bridge.model import StreamPhase, StreamState
from bridge.ports import Journal
from bridge.postgres.configured import connect_settings
from bridge.postgres.session import Connection, connect
from bridge.reconcile.compare import Barrier, Patience, Report, compare, passes
from bridge.reconcile.pace import Paced
from bridge.reconcile.replayed import Replayed
from bridge.reconcile.sides import Legacy, Side, Streamed, fields_of
from bridge.replay import waiting_keys
from bridge.sources.view import viewfile
from bridge.sources.view.configured import view_of
from bridge.sources.view.viewfile import View

SETTLE_S = 5.0  # for streams of which nothing better is known

Ask = Callable[[str, dict[str, Any]], object]  # leaves a request and waits for its outcome


@dataclass(slots=True)
class Comparison:
    """A comparison, ready to run; see `prepared`."""

    stream: str
    against: str  # what it is compared with, in words
    document: contracts.ContractDocument
    ours: Replayed
    theirs: Side
    barrier: Barrier
    patience: Patience
    pace: Paced | None  # None: nothing is read of a legacy system
    waiting: Callable[[], frozenset[str]]  # keys whose changes wait behind a dead letter

    def run(self, progress: Callable[[str, int], None]) -> Report:
        """Compare; see `compare.compare`."""
        return compare(
            self.ours, self.theirs, self.barrier, patience=self.patience, progress=progress, waiting=self.waiting
        )

    def corrections(self, report: Report) -> Iterator[dict[str, Any]]:
        """Requests that put right what the report names. Raises: ConfigError where the other side is a stream."""
        if not isinstance(self.theirs, Legacy):
            raise ConfigError(
                "a stream cannot be corrected by another stream", hint="Compare it with its table or its view."
            )
        from bridge.reconcile.mend import corrections  # noqa: PLC0415  of a comparison that heals

        yield from corrections(
            report, self.ours, self.theirs, self.barrier, document=self.document, patience=self.patience
        )

    def charge(self) -> Charge | None:
        """What it has cost the legacy system."""
        return self.pace.charge if self.pace else None


@contextmanager
def prepared(
    config: Config,
    journal: Journal,
    stream: str,
    *,
    against: str | None,
    patience: Patience,
    ask: Ask,
    told: Callable[[str], None] = lambda _why: None,
) -> Iterator[Comparison]:
    """A comparison with its sessions, which end with the block.

    Args:
        config: the configuration.
        journal: read only.
        stream: what is compared.
        against: schema.table, a view file or another stream; None: what the stream is read from.
        patience: how long to look again.
        ask: has the daemon do something.
        told: why nothing is read for now.
    Raises: ConfigError, SourceUnavailable, SourceRefused.
    """
    declared = config.stream(stream)
    document = contracts.load(declared.contract)
    if not document.key_fields:
        raise ConfigError(f"contract {document.file} has no key, so rows cannot be told apart")
    require_running(journal, declared.system)
    compared = config.streams.keys() & {stream, against}
    for each in compared:
        _require_journalled(journal, each)

    def waiting() -> frozenset[str]:
        holding = (each for each in compared if config.streams[each].on_reject == "hold")
        return frozenset[str]().union(*(waiting_keys(journal, each) for each in holding))

    if against is not None and against in config.streams and against != stream:
        fields = _common(config, stream, document, other=against)
        ours, other = Replayed(journal, stream, fields), Replayed(journal, against, fields)
        with _barrier(config, journal, stream, ask) as barrier, _barrier(config, journal, against, ask) as there:
            theirs = Streamed(other, fields, arrives=lambda: passes(there, patience))
            yield Comparison(stream, f"stream {against}", document, ours, theirs, barrier, patience, None, waiting)
        return
    extractor, words = _reader(config, stream, against, document)
    pace = Paced(declared.system, stream, extractor, Budget(limits_of(config, declared.system)), told=told)
    try:
        extractor.open()
        rows = Legacy(extractor, stream, document, pace=pace)
        with _barrier(config, journal, stream, ask) as barrier:
            ours = Replayed(journal, stream, rows.fields)
            yield Comparison(stream, words, document, ours, rows, barrier, patience, pace, waiting)
    finally:
        extractor.close()


def _reader(
    config: Config, stream: str, against: str | None, document: contracts.ContractDocument
) -> tuple[Extractor, str]:
    """What reads the other side whole and in order of key, not connected; and what that is, in words."""
    declared = config.streams[stream]
    if against is None and declared.resource is not None:
        from bridge.sources.rest import configured as rest  # noqa: PLC0415  of an API only

        return rest.whole(config, stream, document), f"resource {declared.resource.path}"
    view = _view(config, stream, against, document)
    words = f"{'view' if view.path.suffix == '.sql' else 'table'} {view.name}"
    return build_extractor(config, declared.system, {stream: view}), words


def _view(config: Config, stream: str, against: str | None, document: contracts.ContractDocument) -> View:
    """What to read, in order of key."""
    declared = config.streams[stream]
    if against is not None and against.endswith(".sql"):
        view = viewfile.load(Path(against)).given(declared.parameters)
    elif against is None and declared.view is not None:
        view = view_of(config, stream)
    elif against is not None or declared.log is not None:
        dialect = config.systems[declared.system].kind
        return view_of_table(against or declared.log or "", document, dialect=dialect)
    else:
        raise ConfigError(
            f"stream {stream} is read from no table or view, so there is nothing to compare it with",
            hint="Name a table, a view file or another stream: --with.",
        )
    if not view.key:
        raise ConfigError(f"view {view.path} has no key, so rows cannot be told apart")
    return view.whole()


def _common(config: Config, stream: str, document: contracts.ContractDocument, *, other: str) -> pa.Schema:
    """The fields that two streams have alike. Raises: ConfigError when there is none."""
    theirs = fields_of(contracts.load(config.streams[other].contract))
    common = [field for field in fields_of(document) if field in list(theirs)]
    if not common:
        hint = "Compare streams whose contracts name the same fields, in the same types."
        raise ConfigError(f"streams {stream} and {other} have no field in common", hint=hint)
    return pa.schema(common)


# -- when the journal holds what could be seen


class Journalled:
    """Passed once another barrier is, while the rows of the stream are journalled and not set aside."""

    def __init__(self, barrier: Barrier, journal: Journal, stream: str) -> None:
        self._barrier = barrier
        self._journal = journal
        self._stream = stream

    def mark(self) -> object:
        """As the other one's."""
        return self._barrier.mark()

    def is_passed(self, mark: object) -> bool:
        """Whether the journal holds what the other one knows to have come."""
        return self._barrier.is_passed(mark) and _parked(self._journal, self._stream) is None


def _parked(journal: Journal, stream: str) -> StreamState | None:
    state = journal.stream_states().get(stream)
    return None if state is None or state.phase is StreamPhase.RUNNING else state


def _require_journalled(journal: Journal, stream: str) -> None:
    """Raises: Declined while the rows of a stream are set aside: they would all look lost."""
    parked = _parked(journal, stream)
    if parked is not None:
        raise Declined(
            f"stream {stream} is parked ({parked.phase}): its rows are not journalled",
            hint=f"`legacy-bridge stream resume {stream}`, then compare again.",
        )


@contextmanager
def _barrier(config: Config, journal: Journal, stream: str, ask: Ask) -> Iterator[Barrier]:
    with _arrival(config, journal, stream, ask) as barrier:
        yield Journalled(barrier, journal, stream)


@contextmanager
def _arrival(config: Config, journal: Journal, stream: str, ask: Ask) -> Iterator[Barrier]:
    declared = config.streams[stream]
    if declared.log is not None:
        connection = connect(connect_settings(config, declared.system), purpose="compare")
        try:
            yield LogBarrier(connection, journal, declared.system)
        finally:
            connection.close()
    elif declared.view is not None or declared.resource is not None:
        mode = declared.resource.mode if declared.resource else view_of(config, stream).mode
        yield RunBarrier(journal, stream, "sweep" if mode == "incremental" else "run", ask)
    else:
        yield TimeBarrier(SETTLE_S)


class LogBarrier:
    """Passed once the change log is journalled up to where it ended."""

    def __init__(self, connection: Connection, journal: Journal, source: str) -> None:
        self._connection = connection
        self._journal = journal
        self._source = source

    def mark(self) -> object:
        """The end of the log now."""
        from bridge.sources.postgres.snapshot import end_of_log  # noqa: PLC0415  of a change log only

        return end_of_log(self._connection)

    def is_passed(self, mark: object) -> bool:
        """Whether the source's position is there."""
        position, _ = self._journal.position(self._source)
        return position is not None and isinstance(mark, int) and position.at[0] >= mark


class RunBarrier:
    """Passed once a whole run that began afterwards, of the kind that finds everything, has ended."""

    def __init__(self, journal: Journal, stream: str, kind: RunKind, ask: Ask) -> None:
        self._journal = journal
        self._stream = stream
        self._kind = kind
        self._ask = ask

    def mark(self) -> object:
        """Now; a run is asked for."""
        now = datetime.now(UTC)
        self._ask("run.start", {"stream": self._stream, "kind": self._kind})
        return now

    def is_passed(self, mark: object) -> bool:
        """Whether a later run is done, and not ended by its budget."""
        runs = [run for run in self._journal.runs(stream=self._stream, limit=100) if run.kind == self._kind]
        return any(
            run.state == "done" and not run.detail and isinstance(mark, datetime) and run.started_at >= mark
            for run in runs
        )


class TimeBarrier:
    """Passed after some seconds: where nothing tells what the journal is to hold."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s

    def mark(self) -> object:
        """The moment from which it is passed."""
        return time.monotonic() + self._settle_s

    def is_passed(self, mark: object) -> bool:
        """Whether it has come."""
        return isinstance(mark, float) and time.monotonic() >= mark
