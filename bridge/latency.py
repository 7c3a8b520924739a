"""How long events take, hop by hop, as one Prometheus histogram that takes whole columns.

A batch costs a look-up of each bucket's bound in its commit times, which are in order nearly always: no loop over rows.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

Hop = Literal["commit_to_journal", "journal_to_delivered", "commit_to_delivered"]
Leg = tuple[str, str, Hop]  # stream, sink ("" where the hop ends in the journal), hop

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0)
_BOUNDS_US = np.array([round(bound * 1e6) for bound in BOUNDS_S], dtype=np.int64)
_BOUNDS_LIST = _BOUNDS_US.tolist()
_TEXTS = (*map(str, BOUNDS_S), "+Inf")


@dataclass(slots=True)
class _Series:
    counts: NDArray[np.int64]  # events no slower than each bound, and all of them
    sum_us: int = 0


class Latencies(Collector):
    """`bridge_latency_seconds{stream,sink,hop}`; callable from any thread."""

    name = "bridge_latency_seconds"
    text = "Time from one hop to another, per event; sink is empty for hops that end in the journal."
    labels = ("stream", "sink", "hop")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[Leg, _Series] = {}

    def observe_each(self, leg: Leg, *, began_us: NDArray[np.int64], ended_us: int) -> None:
        """Events that began at these times (microseconds since 1970 UTC) and ended at one; a clock ahead counts 0."""
        if began_us.size == 0:
            return
        if began_us.size == 1:
            self.observe(leg, began_us=int(began_us[0]), ended_us=ended_us)
            return
        ordered = began_us if bool((began_us[1:] >= began_us[:-1]).all()) else np.sort(began_us)
        slower = np.searchsorted(ordered, ended_us - _BOUNDS_US, side="left")
        counts = np.append(ordered.size - slower, ordered.size)
        self._add(leg, counts, _sum_us(ordered, ended_us))

    def observe(self, leg: Leg, *, began_us: int, ended_us: int, event_count: int = 1) -> None:
        """Events that began and ended together."""
        took_us = max(0, ended_us - began_us)
        counts = np.full(len(_TEXTS), event_count, dtype=np.int64)
        counts[: bisect_left(_BOUNDS_LIST, took_us)] = 0
        self._add(leg, counts, took_us * event_count)

    def _add(self, leg: Leg, counts: NDArray[np.int64], sum_us: int) -> None:
        with self._lock:
            series = self._series.get(leg)
            if series is None:
                series = self._series[leg] = _Series(np.zeros(len(_TEXTS), dtype=np.int64))
            series.counts += counts
            series.sum_us += sum_us

    def exposition(self) -> bytes:
        """The metric in Prometheus' text format 0.0.4; the client's own writer takes half a second for 1,000 legs."""
        lines = [f"# HELP {self.name} {self.text}\n# TYPE {self.name} histogram\n"]
        for (stream, sink, hop), counts, sum_us in self._found():
            labels = f'stream="{_escaped(stream)}",sink="{_escaped(sink)}",hop="{hop}"'
            lines += [f'{self.name}_bucket{{{labels},le="{le}"}} {n}\n' for le, n in zip(_TEXTS, counts, strict=True)]
            lines.append(f"{self.name}_count{{{labels}}} {counts[-1]}\n{self.name}_sum{{{labels}}} {sum_us / 1e6}\n")
        return "".join(lines).encode()

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """The metric without samples."""
        yield HistogramMetricFamily(self.name, self.text, labels=self.labels)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The metric as it stands."""
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        for leg, counts, sum_us in self._found():
            family.add_metric(leg, list(zip(_TEXTS, counts, strict=True)), sum_us / 1e6)
        yield family

    def _found(self) -> list[tuple[Leg, list[int], int]]:
        with self._lock:
            return [(leg, series.counts.tolist(), series.sum_us) for leg, series in self._series.items()]


def _sum_us(ordered: NDArray[np.int64], ended_us: int) -> int:
    """How long they took in all. The sum of times is taken modulo 2**64: that of the durations is far smaller."""
    past = ordered if ordered[-1] <= ended_us else ordered[: np.searchsorted(ordered, ended_us, side="right")]
    return (past.size * ended_us - int(past.sum())) % 2**64


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
