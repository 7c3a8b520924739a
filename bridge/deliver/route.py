"""What the delivery loop has to know of one sink besides the sink itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bridge.config.sinks import SinkConfig
from bridge.deliver.feed import Look
from bridge.resilience.breaker import BreakerRules
from bridge.resilience.retry import Schedule


@dataclass(frozen=True, slots=True)
class Usual:
    """What suits one kind of sink where the configuration says nothing."""

    batch_events: int
    parts: int  # of its memory; one is read at once, where events are large
    memory_megabytes: int = 16
    # Of Standard Webhooks 1.0.0: a receiver may be away for days.
    retry_s: tuple[float, ...] = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
    is_single: bool = True  # an event may fail by itself; else a call does as a whole, and calls come one by one


_LOCAL_S = (0.5, 2.0, 5.0, 15.0, 30.0)  # a disk that is full, a pipe that nobody reads: mended by whoever is here
USUAL = {
    "webhook": Usual(1, parts=4),
    "amqp": Usual(500, parts=4),
    "parquet": Usual(100_000, parts=2, memory_megabytes=64, retry_s=_LOCAL_S, is_single=False),
    "stdout": Usual(8_192, parts=8, retry_s=_LOCAL_S, is_single=False),
}


@dataclass(frozen=True, slots=True)
class Route:
    """How one sink is served."""

    sink: str
    kind: str  # "webhook", "amqp", ...
    looks: Mapping[str, Look]  # by stream
    batch_events: int
    batch_s: float  # how long an event may wait for others
    concurrency: int
    rate: float  # events a second; 0 = no limit
    memory_bytes: int
    read_bytes: int  # of events that are read at once
    hold_events: int
    schedule: Schedule
    refused_attempts: int
    gives_up: bool  # after the last attempt an event becomes a dead letter; else it is tried for ever
    breaker: BreakerRules
    start: Literal["beginning", "now"]
    logs_attempts: bool  # each; else failures only


def route_of(name: str, config: SinkConfig, looks: Mapping[str, Look]) -> Route:
    """What the configuration says of one sink.

    Args:
        name: the sink's.
        config: its section.
        looks: how it sees each of its streams.
    """
    usual, rules = USUAL[config.kind], config.breaker
    memory_bytes = (config.memory_megabytes or usual.memory_megabytes) << 20
    return Route(
        sink=name,
        kind=config.kind,
        looks=looks,
        batch_events=config.batch.events or usual.batch_events,
        batch_s=config.batch.seconds,
        concurrency=config.concurrency if usual.is_single else 1,
        rate=config.rate,
        memory_bytes=memory_bytes,
        read_bytes=memory_bytes // usual.parts,
        hold_events=config.hold_events,
        schedule=Schedule(usual.retry_s if config.retry.after_s is None else config.retry.after_s),
        refused_attempts=config.retry.refused_attempts,
        gives_up=config.retry.then == "dead_letter" and usual.is_single,
        breaker=BreakerRules(
            failure_ratio=rules.failure_percent / 100,
            minimum_calls=rules.minimum_calls,
            window_s=rules.window_s,
            pause_s=rules.pause_s,
            longest_pause_s=rules.longest_pause_s,
        ),
        start=config.start,
        logs_attempts=config.kind == "webhook",
    )
