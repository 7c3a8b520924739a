"""Metrics count batches, and every metric is documented."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from bridge.latency import Latencies
from bridge.metrics import Metrics, SinkLag
from bridge.model import META, Breach, EventBatch, NewLetters, Op, RawBatch, Rejected, Shape

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def events(ops: list[Op], committed: list[datetime | None]) -> EventBatch:
    count = len(ops)
    columns = {
        "_op": pa.array(np.array(ops, dtype=np.uint8)),
        "_commit_at": pa.array(committed, META.field("_commit_at").type),
    }
    arrays = [columns.get(field.name, pa.nulls(count, field.type)) for field in META]
    batch = pa.RecordBatch.from_arrays(arrays, schema=pa.schema([pa.field(field.name, field.type) for field in META]))
    return EventBatch("orders", 1, "1.0.0", batch)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_batch_counts_once_per_kind_of_change_and_sets_lag_and_time() -> None:
    metrics = Metrics()
    batch = events([Op.CREATE, Op.UPDATE, Op.CREATE], [NOON, NOON - timedelta(seconds=9), None])
    metrics.record_events(batch, now=NOON + timedelta(seconds=2))
    assert value(metrics, "bridge_events_total", stream="orders", op="create") == 2
    assert value(metrics, "bridge_events_total", stream="orders", op="update") == 1
    assert value(metrics, "bridge_lag_seconds", stream="orders") == 2
    assert value(metrics, "bridge_last_event_timestamp_seconds", stream="orders") == NOON.timestamp()


def test_a_batch_without_commit_times_leaves_the_lag_alone() -> None:
    metrics = Metrics()
    metrics.record_events(events([Op.READ], [None]), now=NOON)
    metrics.record_events(events([], []), now=NOON)
    assert value(metrics, "bridge_events_total", stream="orders", op="read") == 1
    assert value(metrics, "bridge_lag_seconds", stream="orders") is None


def test_a_journalled_batch_times_each_change_from_its_commit() -> None:
    metrics = Metrics()
    committed = [NOON - timedelta(milliseconds=30), None, NOON - timedelta(seconds=9), NOON + timedelta(seconds=1)]
    metrics.record_events(events([Op.CREATE] * 4, committed), now=NOON)
    labels = {"stream": "orders", "sink": "", "hop": "commit_to_journal"}
    assert value(metrics, "bridge_latency_seconds_count", **labels) == 3
    assert value(metrics, "bridge_latency_seconds_sum", **labels) == pytest.approx(9.03)
    assert value(metrics, "bridge_latency_seconds_bucket", le="0.005", **labels) == 1  # a clock ahead counts as 0
    assert value(metrics, "bridge_latency_seconds_bucket", le="0.05", **labels) == 2
    assert value(metrics, "bridge_latency_seconds_bucket", le="+Inf", **labels) == 3


def test_what_a_sink_acknowledged_is_timed_from_its_commit_and_from_the_journal() -> None:
    metrics = Metrics()
    metrics.record_delivered(
        "crm", "orders", committed_us=np.array([1_000_000, 1_004_000]), journalled_us=1_006_000, now_us=1_011_000,
        event_count=3,
    )  # fmt: skip
    labels = {"stream": "orders", "sink": "crm"}
    assert value(metrics, "bridge_latency_seconds_count", hop="commit_to_delivered", **labels) == 2
    assert value(metrics, "bridge_latency_seconds_bucket", le="0.01", hop="commit_to_delivered", **labels) == 1
    assert value(metrics, "bridge_latency_seconds_count", hop="journal_to_delivered", **labels) == 3
    assert value(metrics, "bridge_latency_seconds_bucket", le="0.005", hop="journal_to_delivered", **labels) == 3


def test_calls_across_a_point_are_counted_by_outcome() -> None:
    metrics = Metrics()
    metrics.points.count("sink:crm", ok=3, failed=1)
    assert value(metrics, "bridge_integration_calls_total", point="sink:crm", outcome="ok") == 3
    assert value(metrics, "bridge_integration_calls_total", point="sink:crm", outcome="failed") == 1
    assert metrics.points.within("sink:crm", 60) == (4, 1)


def test_a_rejected_row_counts_once_for_each_rule_it_broke() -> None:
    empty = pa.RecordBatch.from_arrays([], names=[])
    raw = RawBatch("orders", Shape("sales.oeordh", ()), empty, empty)
    breaches = ((Breach("required", "a", ""), Breach("required", "b", "")), (Breach("code", "a", ""),))
    metrics = Metrics()
    metrics.record_rejected(NewLetters("orders", 1, "1.0.0", Rejected(raw, (None, None), breaches)))
    assert value(metrics, "bridge_events_rejected_total", stream="orders", rule="required") == 1
    assert value(metrics, "bridge_events_rejected_total", stream="orders", rule="code") == 1


def test_a_stream_without_open_letters_shows_zero_not_its_last_number() -> None:
    metrics = Metrics()
    metrics.set_dead_letters({"orders": 3})
    metrics.set_dead_letters({"items": 1})
    assert value(metrics, "bridge_dead_letters", stream="orders") == 0
    assert value(metrics, "bridge_dead_letters", stream="items") == 1


def test_a_sink_that_is_gone_has_no_series() -> None:
    metrics = Metrics()
    metrics.set_sinks({"crm": SinkLag({"orders": 7}, seconds=3.5, held_events=2, dead_letters=1), "lake": SinkLag({})})
    metrics.set_breaker("crm", "half_open")
    assert value(metrics, "bridge_sink_behind_events", sink="crm", stream="orders") == 7
    assert value(metrics, "bridge_sink_behind_seconds", sink="crm") == 3.5
    assert value(metrics, "bridge_sink_held_events", sink="crm") == 2
    assert value(metrics, "bridge_sink_dead_letters", sink="crm") == 1
    assert value(metrics, "bridge_breaker_state", sink="crm") == 1
    metrics.set_sinks({"lake": SinkLag({})})
    assert 'sink="crm"' not in metrics.page().decode()
    assert value(metrics, "bridge_sink_behind_seconds", sink="lake") == 0


def test_health_is_shown_by_component() -> None:
    metrics = Metrics()
    metrics.set_components({"journal": "fail", "source:erp": "warn", "stream:old": "pass"})
    metrics.set_components({"journal": "pass", "source:erp": "warn"})
    assert value(metrics, "bridge_component_state", component="journal") == 0
    assert value(metrics, "bridge_component_state", component="source:erp") == 1
    assert value(metrics, "bridge_component_state", component="stream:old") is None


def test_alarms_of_a_rule_that_is_quiet_show_zero() -> None:
    metrics = Metrics()
    metrics.set_alarms({("stream_silent", "warning"): 2})
    metrics.set_alarms({})
    assert value(metrics, "bridge_alarms_firing", rule="stream_silent", severity="warning") == 0


def test_requests_and_attempts_are_counted_by_what_became_of_them() -> None:
    metrics = Metrics()
    metrics.record_request("/v1/streams/{stream}", "GET", 200, duration_s=0.02)
    metrics.record_attempts("crm", "unavailable", count=3)
    request = {"route": "/v1/streams/{stream}", "method": "GET", "status": "200"}
    assert value(metrics, "bridge_http_request_duration_seconds_bucket", le="0.05", **request) == 1
    assert value(metrics, "bridge_http_request_duration_seconds_bucket", le="0.01", **request) == 0
    assert value(metrics, "bridge_webhook_attempts_total", endpoint="crm", outcome="unavailable") == 3


def test_two_daemons_in_one_process_do_not_share_metrics() -> None:
    one, two = Metrics(), Metrics()
    one.journal_bytes.set(5)
    assert value(two, "bridge_journal_bytes") == 0


def test_every_metric_is_documented_with_its_labels_and_none_else() -> None:
    documented = set(re.findall(r"^\| `(bridge_\w+(?:\{[\w,]+\})?)` \|", PAGE.read_text(), re.MULTILINE))
    names = set()
    metrics = Metrics()
    for collector in (*metrics._plain._collector_to_names, *metrics.registry._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            name = f"{collector._name}_total" if collector._type == "counter" else collector._name
            names.add(name + (f"{{{','.join(collector._labelnames)}}}" if collector._labelnames else ""))
        elif isinstance(collector, Latencies):
            names.add(f"{collector.name}{{{','.join(collector.labels)}}}")
    assert documented == names


def test_the_page_says_what_the_registry_holds() -> None:
    metrics = Metrics()
    metrics.record_delivered(
        'we"ird\\\n', "orders", committed_us=np.array([1_000_000]), journalled_us=1_006_000, now_us=1_011_000
    )
    page = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.page().decode())
        for sample in family.samples
        if sample.name.startswith("bridge_")
    }
    registry = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name.startswith("bridge_")
    }
    assert page == registry


def test_the_page_is_in_the_text_format() -> None:
    page = Metrics().page().decode()
    assert re.search(r'^bridge_build_info\{version="[^"]+"\} 1\.0$', page, re.MULTILINE)
    assert "_created" not in page
