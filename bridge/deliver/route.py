"""What the delivery loop has to know of one sink besides the sink itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bridge.config.sinks import SinkConfig
from bridge.deliver.feed import Look
from bridge.resilience.breaker import BreakerRules
from bridge.resilience.retry import Schedule

USUAL_BATCH = {"webhook": 1, "amqp": 500, "parquet": 100_000, "stdout": 1_000}
ONE_AT_A_TIME = frozenset({"stdout"})


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
    hold_events: int
    schedule: Schedule
    refused_attempts: int
    gives_up: bool  # after the last attempt an event becomes a dead letter; else it is tried for ever
    breaker: BreakerRules
    start: Literal["beginning", "now"]
    logs_attempts: bool  # each; else failures only


def route_of(name: str, config: SinkConfig, looks: Mapping[str, Look], *, keeps_cursor: bool) -> Route:
    """What the configuration says of one sink.

    Args:
        name: the sink's.
        config: its section.
        looks: how it sees each of its streams.
        keeps_cursor: the sink says where it stands, so nothing can be skipped, and calls come one after the other.
    """
    batch = config.batch.events or USUAL_BATCH[config.kind]
    rules = config.breaker
    return Route(
        sink=name,
        kind=config.kind,
        looks=looks,
        batch_events=batch,
        batch_s=config.batch.seconds,
        concurrency=1 if keeps_cursor or config.kind in ONE_AT_A_TIME else config.concurrency,
        rate=config.rate,
        memory_bytes=config.memory_megabytes << 20,
        hold_events=config.hold_events,
        schedule=Schedule(config.retry.after_s),
        refused_attempts=config.retry.refused_attempts,
        gives_up=config.retry.then == "dead_letter" and not keeps_cursor,
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
