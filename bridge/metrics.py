"""What Prometheus sees. Recorded per batch, never per row; labels are names from the configuration and contracts only.

`docs/metrics.md` explains each metric. Names are part of the interface: they change like an API.
"""

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from bridge import __version__
from bridge.latency import Latencies
from bridge.model import EventBatch, NewLetters, Op
from bridge.points import Points

_APPEND_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_OPS = {op.value: op.name.lower() for op in Op}


class Metrics:
    """The metrics of one daemon, in a registry of their own."""

    def __init__(self) -> None:
        # a second series for each counter that nobody reads
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library left it unannotated
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

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
        self.points = Points(self._count_calls)
        self._latencies = Latencies()
        registry.register(self._latencies)
        gauge("build_info", "Always 1; the version is its label.", "version").labels(__version__).set(1)

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

    def _count_calls(self, point: str, ok: int, failed: int) -> None:
        for outcome, count in (("ok", ok), ("failed", failed)):
            if count:
                self._calls.labels(point, outcome).inc(count)

    def set_dead_letters(self, counts: Mapping[str, int]) -> None:
        """Open dead letters per stream, as the journal counts them; streams left out have none."""
        _replace(self._dead_letters, counts)

    def set_parked_rows(self, counts: Mapping[str, int]) -> None:
        """Parked rows per stream, as the journal counts them; streams left out have none."""
        _replace(self._parked_rows, counts)

    def page(self) -> bytes:
        """All metrics in Prometheus' text format 0.0.4."""
        return generate_latest(self.registry)


def _replace(gauge: Gauge, counts: Mapping[str, int]) -> None:
    for (stream,) in [sample.labels.values() for metric in gauge.collect() for sample in metric.samples]:
        gauge.labels(stream).set(counts.get(stream, 0))
    for stream, count in counts.items():
        gauge.labels(stream).set(count)
