"""The histogram of whole columns agrees with one that takes values one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from bridge.latency import BOUNDS_S, Latencies

NOW_US = 1_800_000_000_000_000


@settings(deadline=None)
@given(st.lists(st.integers(-2_000_000, 5_000_000_000), max_size=30))
def test_a_column_counts_as_its_values_one_by_one(took_us: list[int]) -> None:
    took_us += [5_000, 10_000, 3_600_000_000]  # a value at a bound is within it
    ours, twin = CollectorRegistry(), CollectorRegistry()
    latencies = Latencies()
    ours.register(latencies)
    latencies.observe_each(
        ("orders", "crm", "commit_to_delivered"), began_us=NOW_US - np.array(took_us, dtype=np.int64), ended_us=NOW_US
    )
    histogram = Histogram("twin", "", buckets=BOUNDS_S, registry=twin)
    for value in took_us:
        histogram.observe(max(0, value) / 1e6)
    labels = {"stream": "orders", "sink": "crm", "hop": "commit_to_delivered"}
    for bound in (*map(str, BOUNDS_S), "+Inf"):
        mine = ours.get_sample_value("bridge_latency_seconds_bucket", {"le": bound, **labels})
        assert mine == twin.get_sample_value("twin_bucket", {"le": bound})
    mine = ours.get_sample_value("bridge_latency_seconds_sum", labels)
    assert mine == pytest.approx(twin.get_sample_value("twin_sum"))


def test_events_that_began_and_ended_together_count_as_many() -> None:
    one, each = Latencies(), Latencies()
    one.observe(("orders", "", "commit_to_journal"), began_us=NOW_US - 700_000, ended_us=NOW_US, event_count=3)
    began = np.full(3, NOW_US - 700_000)
    each.observe_each(("orders", "", "commit_to_journal"), began_us=began, ended_us=NOW_US)
    assert [metric.samples for metric in one.collect()] == [metric.samples for metric in each.collect()]
