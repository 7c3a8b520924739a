"""The rules: what was seen, in; what is wrong, out. One function a rule, worded for a person.

Whether a finding fires, and who is told, is not decided here: see `bridge.alarm.machine`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.alarm.memory import Memory
from bridge.alarm.sight import Sight, StreamSight
from bridge.config.alarms import AlarmsConfig, RuleName, StreamAlarmConfig
from bridge.model import system_of

_RECENT_S = 900.0  # an event older than that says nothing about the present
_DISK_TREND_S = 300.0  # the least time that a rate is taken over
_SLOT_LEAST_RATIO = 0.1  # below that no rate matters


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong now."""

    rule: RuleName
    subject: str  # "stream:orders", "sink:crm", "source:erp", "disk" ...
    what: str  # a sentence without its subject; no row values
    blocks: tuple[str, ...] = ()  # what stands still or suffers because of it
    scopes: tuple[str, ...] = ()  # what a silence may name besides the subject
    since: datetime | None = None  # when it began, where that is known

    @property
    def group(self) -> str:
        """What is told of at once: one rule in one system."""
        return f"{self.rule}/{self.scopes[-1] if self.scopes else self.subject}"


@dataclass(frozen=True, slots=True)
class _Case:
    """One look: what was seen, what is remembered, what the operator set."""

    sight: Sight
    memory: Memory
    config: AlarmsConfig

    def stream(self, name: str) -> StreamAlarmConfig:
        return self.config.streams.get(name, _NOTHING_SPECIAL)

    def systems(self) -> set[str]:
        return {stream.system for stream in self.sight.streams.values()}


_NOTHING_SPECIAL = StreamAlarmConfig()
Found = Iterator[Finding]


def judge(sight: Sight, memory: Memory, config: AlarmsConfig) -> list[Finding]:
    """Everything that is wrong by the rules that are on.

    Args:
        sight: the present moment; `memory` has seen it already.
        memory: former moments.
        config: thresholds, and what is off.
    """
    case = _Case(sight, memory, config)
    found = [each for rule, look in _LOOKS.items() if rule not in config.off for each in look(case)]
    return [finding for finding in found if not _is_off(finding, config)]


def _is_off(finding: Finding, config: AlarmsConfig) -> bool:
    off = {
        **{f"stream:{name}": each.off for name, each in config.streams.items()},
        **{f"sink:{name}": each.off for name, each in config.sinks.items()},
        **{f"system:{name}": each.off for name, each in config.systems.items()},
    }
    return any(finding.rule in off.get(scope, ()) for scope in (finding.subject, *finding.scopes))


def _failure_rate(case: _Case) -> Found:
    rule, at = case.config.rules.failure_rate, case.sight.at
    for point in case.memory.points():
        kind, _, name = point.partition(":")
        system = system_of(name) if kind == "source" else ""
        own = case.config.systems.get(system) if system else case.config.sinks.get(name)
        limit = rule.percent if own is None or own.failure_percent is None else own.failure_percent
        long, short = (case.memory.calls(point, at=at, seconds=seconds) for seconds in (rule.long_s, rule.short_s))
        if sum(long) < rule.minimum_calls or long[1] < rule.minimum_failures:
            continue
        if min(_percent(long), _percent(short)) > limit:
            what = (
                f"{long[1]} of {sum(long)} calls failed within {_span(rule.long_s)} ({_percent(long):.2g} %), "
                f"and {_percent(short):.2g} % within {_span(rule.short_s)}; {limit:g} % are allowed"
            )
            sink = case.sight.sinks.get(name) if kind == "sink" else None
            blocks = sink.streams if sink else _streams_of(case, system)
            yield Finding("failure_rate", point, what, blocks, (f"system:{system}",) if system else ())


def _stream_silent(case: _Case) -> Found:
    for name, stream in case.sight.streams.items():
        own = case.stream(name).silent_after_s
        usual_s = stream.frequency_s * case.config.rules.stream_silent.times if stream.frequency_s else None
        limit_s = own if own is not None else usual_s
        last = stream.last_journalled_at or case.sight.started_at
        if limit_s is not None and last is not None and case.sight.at - last > timedelta(seconds=limit_s):
            what = f"no event since {_moment(last)}, usual is one within {_span(limit_s)}"
            yield Finding(
                "stream_silent", f"stream:{name}", what, (name,), _scopes(stream), last + timedelta(seconds=limit_s)
            )


def _stream_late(case: _Case) -> Found:
    for name, stream in case.sight.streams.items():
        own = case.stream(name).late_after_s
        limit_s = own if own is not None else stream.latency_s
        committed, journalled = stream.last_commit_at, stream.last_journalled_at
        if limit_s is None or committed is None or journalled is None:
            continue
        lag_s = (journalled - committed).total_seconds()
        if lag_s > limit_s and case.sight.at - journalled <= timedelta(seconds=_RECENT_S):
            what = f"its newest event was {_span(lag_s)} old when it came, {_span(limit_s)} are allowed"
            yield Finding("stream_late", f"stream:{name}", what, (name,), _scopes(stream))


def _validity(case: _Case) -> Found:
    for name, stream in case.sight.streams.items():
        if stream.error_percent is not None and stream.error_percent > stream.allowed_percent:
            what = f"{stream.error_percent:.2f} % of its rows are rejected, {stream.allowed_percent:g} % are allowed"
            yield Finding("validity", f"stream:{name}", what, (name,), _scopes(stream))


def _slot_filling(case: _Case) -> Found:
    rule = case.config.rules.slot_filling
    for system, slot in case.sight.slots.items():
        hours = slot.hours_to_full
        is_soon = hours is not None and hours < rule.hours and slot.ratio >= _SLOT_LEAST_RATIO
        if is_soon or 100 * slot.ratio >= rule.percent:
            when = "" if hours is None else f" and is full in {_span(3600 * hours)} at this rate"
            what = f"its replication slot holds {100 * slot.ratio:.0f} % of what it may{when}"
            yield Finding("slot_filling", f"source:{system}", what, _streams_of(case, system), (f"system:{system}",))


def _disk_filling(case: _Case) -> Found:
    rule, disk = case.config.rules.disk_filling, case.sight.disk
    if disk is None or disk.total_bytes <= 0:
        return
    change, seconds = case.memory.change("disk", disk.free_bytes, at=case.sight.at)
    hours = disk.free_bytes / -change * seconds / 3600 if change < 0 and seconds >= _DISK_TREND_S else None
    free_percent = 100 * disk.free_bytes / disk.total_bytes
    if free_percent < rule.free_percent or (hours is not None and hours < rule.hours):
        when = "" if hours is None else f", which lasts {_span(3600 * hours)} at the rate of the last hour"
        what = f"{disk.free_bytes / 1e9:.1f} GB are free ({free_percent:.0f} %){when}"
        yield Finding("disk_filling", "disk", what, tuple(case.sight.streams))


def _breaker_open(case: _Case) -> Found:
    for name, sink in case.sight.sinks.items():
        if sink.breaker != "closed" and sink.gone_since is None:
            why = f": {sink.breaker_why}" if sink.breaker_why else ""
            what = f"its breaker is {sink.breaker.replace('_', ' ')}{why}"
            yield Finding("breaker_open", f"sink:{name}", what, sink.streams, since=sink.breaker_since)


def _sink_gone(case: _Case) -> Found:
    for name, sink in case.sight.sinks.items():
        if sink.gone_since is not None:
            what = f"it said that it wants nothing any more{f': {sink.gone_why}' if sink.gone_why else ''}"
            yield Finding("sink_gone", f"sink:{name}", what, sink.streams, since=sink.gone_since)


def _dead_letters(case: _Case) -> Found:
    rule = case.config.rules.dead_letters
    for name, stream in case.sight.streams.items():
        limit = case.stream(name).dead_letters
        what = _letters(case, f"stream:{name}", stream.letters, above=rule.above if limit is None else limit)
        if what:
            yield Finding("dead_letters", f"stream:{name}", what, (name,), _scopes(stream))
    for name, sink in case.sight.sinks.items():
        own = case.config.sinks.get(name)
        above = rule.above if own is None or own.dead_letters is None else own.dead_letters
        what = _letters(case, f"sink:{name}", sink.letters, above=above)
        if what:
            yield Finding("dead_letters", f"sink:{name}", what, sink.streams)


def _letters(case: _Case, subject: str, count: int, *, above: int) -> str:
    grown, seconds = case.memory.change(subject, count, at=case.sight.at)
    if grown > case.config.rules.dead_letters.per_hour:
        return f"{grown} dead letters came within {_span(max(60.0, seconds))}, {count} are open"
    return f"{count} dead letters are open, more than {above}" if count > above else ""


def _snapshot_stuck(case: _Case) -> Found:
    for name, rows in case.sight.rereads.items():
        since = case.memory.still_since(name)
        stream = case.sight.streams.get(name)
        if since is not None and since < case.sight.at:
            what = f"its re-read stands at {rows} rows since {_moment(since)}"
            yield Finding("snapshot_stuck", f"stream:{name}", what, (name,), _scopes(stream) if stream else (), since)


def _run_failed(case: _Case) -> Found:
    for name, stream in case.sight.streams.items():
        if stream.runs.failed is not None:
            what = f"its last run failed: {stream.runs.failed}"
            yield Finding("run_failed", f"stream:{name}", what, (name,), _scopes(stream), stream.runs.failed_at)


def _run_late(case: _Case) -> Found:
    for name, stream in case.sight.streams.items():
        since = stream.runs.due_since
        if since is not None:
            what = f"it should have been read at {_moment(since)}, and no run has begun"
            yield Finding("run_late", f"stream:{name}", what, (name,), _scopes(stream), since)


def _run_long(case: _Case) -> Found:
    rule = case.config.rules.run_long
    for name, stream in case.sight.streams.items():
        running_s, usually_s = stream.runs.running_s, stream.runs.usually_s
        if running_s is None or usually_s is None or running_s <= max(rule.least_s, rule.times * usually_s):
            continue
        what = f"its run has taken {_span(running_s)}, usual are {_span(usually_s)}"
        yield Finding("run_long", f"stream:{name}", what, (name,), _scopes(stream))


def _clock_off(case: _Case) -> Found:
    rule, jump = case.config.rules.clock_off, case.memory.jump()
    if jump is not None and abs(jump[0]) > rule.jump_s:
        what = f"the clock of this machine jumped by {jump[0]:+.0f} s at {_moment(jump[1])}"
        yield Finding("clock_off", "clock", what)
    for name, stream in case.sight.streams.items():
        committed, journalled = stream.last_commit_at, stream.last_journalled_at
        if committed is None or journalled is None or case.sight.at - journalled > timedelta(seconds=_RECENT_S):
            continue
        ahead_s = (committed - journalled).total_seconds()
        if ahead_s > rule.ahead_s:
            what = f"its newest event was committed {_span(ahead_s)} in the future"
            yield Finding("clock_off", f"stream:{name}", what, (), _scopes(stream))


def _journal(case: _Case) -> Found:
    found = next((ailment for ailment in case.sight.ailments if _is_journal(ailment.component)), None)
    if found is not None:
        blocks = found.blocks or tuple(case.sight.streams)
        yield Finding("journal", "journal", f"it cannot be used: {found.what}", blocks, since=found.since)
    elif case.sight.unwritable:
        yield Finding("journal", "journal", f"it cannot be written: {case.sight.unwritable}", tuple(case.sight.streams))


def _component(case: _Case) -> Found:
    """What the health page says and no other rule; a slot that fills up and a dead sink have rules of their own."""
    told = {f"slot.filling:{system}" for system in case.sight.slots}
    told |= {f"sink:{name}" for name, sink in case.sight.sinks.items() if sink.gone_since or sink.breaker != "closed"}
    for ailment in case.sight.ailments:
        is_bad = ailment.level == "fail" or ailment.component.startswith("outlet:")  # who else would tell of that?
        if not is_bad or _is_journal(ailment.component) or ailment.component in told:
            continue
        _, _, name = ailment.component.partition(":")
        stream = case.sight.streams.get(name) if ailment.component.startswith("stream:") else None
        scopes = (
            _scopes(stream)
            if stream
            else (f"system:{system}",)
            if (system := system_of(name)) in case.systems()
            else ()
        )
        yield Finding("component", ailment.component, ailment.what, ailment.blocks, scopes, ailment.since)


def _is_journal(component: str) -> bool:
    return component.partition(":")[0] == "journal"


_LOOKS: dict[RuleName, Callable[[_Case], Found]] = {
    "failure_rate": _failure_rate,
    "stream_silent": _stream_silent,
    "stream_late": _stream_late,
    "validity": _validity,
    "slot_filling": _slot_filling,
    "disk_filling": _disk_filling,
    "breaker_open": _breaker_open,
    "sink_gone": _sink_gone,
    "dead_letters": _dead_letters,
    "snapshot_stuck": _snapshot_stuck,
    "run_failed": _run_failed,
    "run_late": _run_late,
    "run_long": _run_long,
    "clock_off": _clock_off,
    "journal": _journal,
    "component": _component,
}


def _scopes(stream: StreamSight) -> tuple[str, ...]:
    return (f"system:{stream.system}",)


def _streams_of(case: _Case, system: str) -> tuple[str, ...]:
    return tuple(name for name, stream in case.sight.streams.items() if stream.system == system)


def _percent(counts: tuple[int, int]) -> float:
    return 100 * counts[1] / sum(counts) if sum(counts) else 0.0


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"
