"""Plans and limits as the configuration declares them."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta

from bridge.config.models import Config, StreamConfig
from bridge.config.schedule import is_span, length_of
from bridge.extraction.budget import Limits, QuietHours
from bridge.extraction.plan import Plan


def plans_of(config: Config, system: str, streams: Iterable[str]) -> list[Plan]:
    """When each of these polled streams of a system is read, and when its keys are swept."""
    zone = config.systems[system].time_zone
    return [plan for stream in streams for plan in _plans(stream, config.streams[stream], zone)]


def limits_of(config: Config, system: str) -> Limits:
    """What polling may ask of a system."""
    declared, budget = config.systems[system], config.systems[system].budget
    return Limits(
        active_seconds_per_minute=budget.active_seconds_per_minute,
        page_seconds=budget.page_seconds,
        rows_per_run=budget.rows_per_run,
        bytes_per_run=int(budget.gigabytes_per_run * 1e9),
        quiet_hours=tuple(map(QuietHours.of, budget.quiet_hours)),
        zone=declared.time_zone,
        busy_sessions=budget.busy_sessions,
        replica_lag_s=budget.replica_lag_s,
    )


def _plans(stream: str, declared: StreamConfig, zone: str) -> Iterator[Plan]:
    jitter = _length(declared.jitter) or timedelta(0)
    alike = Plan(stream, zone=zone, jitter=jitter, catch_up=declared.catch_up, most_deletes=declared.most_deletes)
    yield replace(alike, every=_length(declared.every), cron=declared.cron, after=declared.after)
    if declared.sweep is not None:
        every = length_of(declared.sweep) if is_span(declared.sweep) else None
        cron = None if every else declared.sweep
        yield replace(alike, kind="sweep", every=every, cron=cron)


def _length(text: str | None) -> timedelta | None:
    return length_of(text) if text is not None else None
