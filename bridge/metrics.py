"""What Prometheus sees. Recorded per batch, never per row; labels are names from the configuration and contracts only.

`docs/metrics.md` explains each metric. Names are part of the interface: they change like an API.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from bridge import __version__
from bridge.extracted import Extracted
from bridge.latency import Latencies
from bridge.model import EventBatch, NewLetters, Op
from bridge.points import Points

_APPEND_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_REQUEST_BUCKETS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
_RUN_BUCKETS_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400)
_BREAKER = {"closed": 0, "half_open": 1, "open": 2}
_COMPONENT = {"pass": 0, "warn": 1, "fail": 2}
_OPS = {op.value: op.name.lower() for op in Op}


class Metrics:
    """The metrics of one daemon, in a registry of their own."""

    def __init__(self) -> None:
        # a second series for each counter that nobody reads
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library left it unannotated
        self._plain = registry = CollectorRegistry()  # all but what writes its own text
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, namespace="bridge", registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, namespace="bridge", registry=registry)

        self._events = counter("events_total", "Changes journalled.", "stream", "op")
        self._rejected = counter(
            "events_rejected_total", "Rules broken by rows that became dead letters.", "stream", "rule"
        )
        self._lag = gauge(
            "lag_seconds", "Commit at the source to journalled, newest change of the last batch.", "stream"
        )
        self._last_event = gauge(
            "last_event_timestamp_seconds", "Commit time of the newest change journalled.", "stream"
        )
        self.source_behind_bytes = gauge(
            "source_behind_bytes", "Change log written at the source and not yet confirmed.", "system"
        )
        self.source_behind_seconds = gauge(
            "source_behind_seconds", "How long ago the oldest unconfirmed change log was seen written.", "system"
        )
        self.clock_offset_seconds = gauge(
            "clock_offset_seconds", "The legacy server's clock minus ours, to within a few seconds.", "system"
        )
        self.journal_disk_free_bytes = gauge("journal_disk_free_bytes", "Room left where the journal is.")
        self.journal_bytes = gauge("journal_bytes", "Size of the journal on disk.")
        self.journal_append_seconds = Histogram(
            "journal_append_seconds",
            "Time of one durable append.",
            namespace="bridge",
            registry=registry,
            buckets=_APPEND_BUCKETS_S,
        )
        self.slot_retained_bytes = gauge("slot_retained_bytes", "Change log the server keeps for our slot.", "system")
        self.slot_hours_to_full = gauge(
            "slot_hours_to_full", "Hours until the slot reaches its limit at the present rate.", "system"
        )
        self._dead_letters = gauge("dead_letters", "Open dead letters.", "stream")
        self._parked_rows = gauge("parked_rows", "Rows parked raw, in order.", "stream")
        self.snapshot_progress_ratio = gauge("snapshot_progress_ratio", "Part of the re-read that is done.", "stream")
        self._calls = counter(
            "integration_calls_total", "Calls to a legacy system or a receiver, and what became of them.",
            "point", "outcome",
        )  # fmt: skip
        self._rejected_ratio = gauge("rejected_ratio", "Rejected rows among those judged lately.", "stream")
        self._rejected_allowed = gauge("rejected_allowed_ratio", "What its contract allows of that.", "stream")
        self._components = gauge("component_state", "0 well, 1 works but look at it, 2 does not work.", "component")
        self._alarms = gauge("alarms_firing", "Alarms that fire, silenced ones included.", "rule", "severity")
        self._files = counter("files_total", "Files of a system, and what became of them.", "system", "outcome")
        self._build_delivery()
        self._build_polling()
        self._build_http()
        self.points = Points(self._count_calls)
        self._latencies = Latencies()
        self.registry = CollectorRegistry()
        self.registry.register(self._plain)
        self.registry.register(self._latencies)
        gauge("build_info", "Always 1; the version is its label.", "version").labels(__version__).set(1)

    def _build_delivery(self) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, namespace="bridge", registry=self._plain)

        self._sink_behind_events = gauge("sink_behind_events", "Events not yet read for it.", "sink", "stream")
        self._sink_behind_seconds = gauge(
            "sink_behind_seconds", "How long ago the oldest event that was not yet read for it was journalled.", "sink"
        )
        self._sink_held_events = gauge("sink_held_events", "Failed events and later ones of their keys.", "sink")
        self._sink_dead_letters = gauge("sink_dead_letters", "Open delivery dead letters.", "sink")
        self._breaker = gauge("breaker_state", "0 closed, 1 half-open, 2 open.", "sink")
        self._attempts = Counter(
            "webhook_attempts_total", "Requests to a receiver, and what became of them.", ("endpoint", "outcome"),
            namespace="bridge", registry=self._plain,
        )  # fmt: skip

    def _build_polling(self) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, namespace="bridge", registry=self._plain)

        self._runs = counter("runs_total", "Runs of polled streams that ended or were left out.", "stream", "outcome")
        self._run_duration = Histogram(
            "run_duration_seconds", "From a run's begin to its end.", ("stream", "outcome"),
            namespace="bridge", registry=self._plain, buckets=_RUN_BUCKETS_S,
        )  # fmt: skip
        self._last_run = Gauge(
            "last_run_timestamp_seconds", "When the last run that was done ended.", ("stream",),
            namespace="bridge", registry=self._plain,
        )  # fmt: skip
        self._polled = [
            counter("polled_queries_total", "Statements and requests that polling took.", "system"),
            counter("polled_seconds_total", "Seconds that polling kept the system at work.", "system"),
            counter("polled_rows_total", "Rows that polling read.", "system"),
            counter("polled_bytes_total", "Bytes that polling read, as they came.", "system"),
        ]
        self._paused = Gauge(
            "system_paused", "1: nothing is read until an operator resumes it.", ("system",),
            namespace="bridge", registry=self._plain,
        )  # fmt: skip

    def record_extracted(self, extracted: Extracted) -> None:
        """Count what a window said of runs and their cost."""
        for run in extracted.runs:
            if run.state == "running":
                continue
            self._runs.labels(run.stream, run.state).inc()
            if run.state != "skipped" and run.ended_at is not None:
                took_s = (run.ended_at - run.started_at).total_seconds()
                self._run_duration.labels(run.stream, run.state).observe(max(0.0, took_s))
            if run.state == "done" and run.ended_at is not None:
                self._last_run.labels(run.stream).set(run.ended_at.timestamp())
        for charge in extracted.charges:
            spent = (charge.queries, charge.seconds, charge.rows, charge.size_bytes)
            for metric, amount in zip(self._polled, spent, strict=True):
                metric.labels(charge.system).inc(amount)

    def _build_http(self) -> None:
        self._requests = Histogram(
            "http_request_duration_seconds", "Time until the answer ended.", ("route", "method", "status"),
            namespace="bridge", registry=self._plain, buckets=_REQUEST_BUCKETS_S,
        )  # fmt: skip
        self.sse_clients = Gauge("sse_clients", "Clients that read live.", namespace="bridge", registry=self._plain)

    def count_file(self, system: str, outcome: str) -> None:
        """Count a file that was taken, refused, or of a content that was taken before."""
        self._files.labels(system, outcome).inc()

    def record_events(self, events: EventBatch, *, now: datetime) -> None:
        """Count a journalled batch and how far behind the source it was."""
        counts = np.bincount(events.batch.column("_op").to_numpy())
        for op in np.flatnonzero(counts).tolist():
            self._events.labels(events.stream, _OPS[op]).inc(int(counts[op]))
        committed = events.batch.column("_commit_at")
        committed = committed.drop_null() if committed.null_count else committed
        if len(committed):
            committed_us = committed.view(pa.int64()).to_numpy()
            newest_s = float(committed_us.max()) / 1e6
            self._latencies.observe_each(
                (events.stream, "", "commit_to_journal"), began_us=committed_us, ended_us=int(now.timestamp() * 1e6)
            )
            self._last_event.labels(events.stream).set(newest_s)
            self._lag.labels(events.stream).set(max(0.0, now.timestamp() - newest_s))

    def record_rejected(self, letters: NewLetters) -> None:
        """Count the rules that rejected rows broke (rejected rows only: a loop over rows is allowed here)."""
        for breaches in letters.rejected.breaches:
            for rule in {breach.rule for breach in breaches}:
                self._rejected.labels(letters.stream, rule).inc()

    def record_delivered(
        self,
        sink: str,
        stream: str,
        *,
        committed_us: NDArray[np.int64],
        journalled_us: int,
        now_us: int,
        event_count: int | None = None,
    ) -> None:
        """Time what a sink acknowledged; times are microseconds since 1970 UTC.

        Args:
            sink: its name.
            stream: whose events they were, all journalled together.
            committed_us: commit times at the source of those events that have one.
            journalled_us: when they were journalled.
            now_us: when the receiver acknowledged them.
            event_count: how many events they were, when not all have a commit time.
        """
        self._latencies.observe_each((stream, sink, "commit_to_delivered"), began_us=committed_us, ended_us=now_us)
        self._latencies.observe(
            (stream, sink, "journal_to_delivered"), began_us=journalled_us, ended_us=now_us,
            event_count=committed_us.size if event_count is None else event_count,
        )  # fmt: skip

    def record_request(self, route: str, method: str, status: int, *, duration_s: float) -> None:
        """Time an HTTP request; `route` is the template, never the path."""
        self._requests.labels(route, method, str(status)).observe(duration_s)

    def record_attempts(self, endpoint: str, outcome: str, *, count: int = 1) -> None:
        """Count requests of a webhook sink by `Attempt.outcome`."""
        self._attempts.labels(endpoint, outcome).inc(count)

    def set_dead_letters(self, counts: Mapping[str, int]) -> None:
        """Open dead letters per stream, as the journal counts them; streams left out have none."""
        _replace(self._dead_letters, counts)

    def set_parked_rows(self, counts: Mapping[str, int]) -> None:
        """Parked rows per stream, as the journal counts them; streams left out have none."""
        _replace(self._parked_rows, counts)

    def set_alarms(self, firing: Mapping[tuple[str, str], int]) -> None:
        """How many alarms fire per rule and severity; what is left out has none."""
        counts: dict[tuple[str, ...], float] = dict.fromkeys(_shown(self._alarms), 0.0)
        counts.update({labels: float(count) for labels, count in firing.items()})
        _show(self._alarms, counts)

    def set_rejected(self, stream: str, *, ratio: float, allowed_ratio: float) -> None:
        """Where a stream stands against its validity level, both 0 to 1."""
        self._rejected_ratio.labels(stream).set(ratio)
        self._rejected_allowed.labels(stream).set(allowed_ratio)

    def set_paused(self, systems: Mapping[str, bool]) -> None:
        """Whether an operator has paused each system; systems left out are gone."""
        _show(self._paused, {(system,): float(is_paused) for system, is_paused in systems.items()})

    def set_components(self, states: Mapping[str, str]) -> None:
        """Health by component: pass, warn or fail; components left out are gone."""
        _show(self._components, {(component,): _COMPONENT[state] for component, state in states.items()})

    def set_breaker(self, sink: str, state: Literal["closed", "half_open", "open"]) -> None:
        """Where a sink's breaker stands."""
        self._breaker.labels(sink).set(_BREAKER[state])

    def set_sinks(self, behind: Mapping[str, "SinkLag"]) -> None:
        """Where every sink stands; sinks left out are gone, with everything that is shown of them."""
        _show(self._sink_behind_seconds, {(sink,): lag.seconds for sink, lag in behind.items()})
        _show(self._sink_held_events, {(sink,): lag.held_events for sink, lag in behind.items()})
        _show(self._sink_dead_letters, {(sink,): lag.dead_letters for sink, lag in behind.items()})
        _show(
            self._sink_behind_events,
            {(sink, stream): count for sink, lag in behind.items() for stream, count in lag.events.items()},
        )
        for (sink,) in _shown(self._breaker) - {(sink,) for sink in behind}:
            self._breaker.remove(sink)

    def page(self) -> bytes:
        """All metrics in Prometheus' text format 0.0.4."""
        return generate_latest(self._plain) + self._latencies.exposition()

    def _count_calls(self, point: str, ok: int, failed: int) -> None:
        for outcome, count in (("ok", ok), ("failed", failed)):
            if count:
                self._calls.labels(point, outcome).inc(count)


@dataclass(frozen=True, slots=True)
class SinkLag:
    """How far a sink is behind the journal."""

    events: Mapping[str, int]  # not yet read for it, by stream
    seconds: float = 0.0  # since the oldest of them was journalled
    held_events: int = 0  # read, failed or behind a failed one of their key
    dead_letters: int = 0  # open


def _shown(gauge: Gauge) -> set[tuple[str, ...]]:
    return {tuple(sample.labels.values()) for metric in gauge.collect() for sample in metric.samples}


def _show(gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
    """Let a gauge have these series and no other."""
    for labels in _shown(gauge) - values.keys():
        gauge.remove(*labels)
    for labels, value in values.items():
        gauge.labels(*labels).set(value)


def _replace(gauge: Gauge, counts: Mapping[str, int]) -> None:
    """Let series that are left out show zero."""
    _show(gauge, dict.fromkeys(_shown(gauge), 0) | {(name,): count for name, count in counts.items()})
