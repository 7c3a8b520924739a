"""The keys of `alarms`: when somebody is told, and how."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, model_validator

from bridge.config.kit import Name, Number, Section, Whole, Words, Zone, key, one_of, section, split
from bridge.config.secrets import Secret

RuleName = Literal[
    "failure_rate", "stream_silent", "stream_late", "validity", "slot_filling", "disk_filling", "breaker_open",
    "sink_gone", "dead_letters", "snapshot_stuck", "run_failed", "run_late", "run_long", "clock_off", "journal",
    "component",
]  # fmt: skip
Severity = Literal["warning", "critical"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
OUTLETS = ("webhook", "alertmanager", "apprise", "heartbeat")
_SCOPE = re.compile(r"(stream|sink|source|system|outlet):[a-z0-9_-]{1,63}")
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24):([0-5]\d)")


def _hours(text: str) -> str:
    if not _HOURS.fullmatch(text) or text[6:] > "24:00":
        raise ValueError("hours like 22:00-02:00")
    return text


def is_scope(text: str) -> bool:
    """Whether it names what a silence or a window may cover."""
    return text in ("*", "disk", "clock", "journal") or _SCOPE.fullmatch(text) is not None


def _scopes(values: tuple[str, ...]) -> tuple[str, ...]:
    if not all(map(is_scope, values)):
        raise ValueError("a list of `*`, stream:NAME, sink:NAME, source:NAME system:NAME, disk, clock or journal")
    return values


Rules = Annotated[tuple[RuleName, ...], BeforeValidator(split)]
RulesOrAll = Annotated[tuple[RuleName | Literal["*"], ...], BeforeValidator(split)]
Days = Annotated[tuple[Day, ...], BeforeValidator(split)]
Scopes = Annotated[Words, AfterValidator(_scopes)]


def live(description: str, **rest: Any) -> Any:  # noqa: ANN401  as `key`
    """A key that may change while the daemon runs, as all of these may."""
    return key(description, live=True, **rest)


def _severity(default: Severity) -> Any:  # noqa: ANN401  as `key`
    return live("How bad it is.", default=default)


def _lasting(default: float) -> Any:  # noqa: ANN401  as `key`
    return live("Seconds that it must last before somebody is told.", default=default, ge=0)


class RuleConfig(Section):
    """What every rule has."""

    severity: Severity = _severity("warning")
    for_s: Number = _lasting(0.0)


class FailureRateConfig(RuleConfig):
    """Too many calls to an integration point fail: over a long and over a short time."""

    percent: Number = live("Share of failed calls above which it fires.", default=0.5, ge=0, le=100)
    long_s: Number = live("The long window.", default=3600.0, ge=60, le=86_400)
    short_s: Number = live("The short window; it ends the alarm soon after the failures end.", default=300.0, ge=60)
    minimum_calls: Whole = live("Calls in the long window below which it never fires.", default=20, ge=1)
    minimum_failures: Whole = live("Failed calls in the long window below which it never fires.", default=3, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "FailureRateConfig":
        if self.short_s > self.long_s:
            raise ValueError("`short_s` not above `long_s`")
        return self


class StreamSilentConfig(RuleConfig):
    """A stream had no event for longer than is usual."""

    times: Number = live(
        "Fires after so many times the `frequency` its contract states; streams without one need `silent_after_s`.",
        default=2.0,
        ge=1,
    )


class StreamLateConfig(RuleConfig):
    """Events arrive later than the contract's `latency` allows."""

    for_s: Number = _lasting(60.0)


class ValidityConfig(RuleConfig):
    """More rows are rejected than the contract allows."""

    for_s: Number = _lasting(60.0)


class SlotFillingConfig(RuleConfig):
    """A replication slot holds back much of the source's log."""

    severity: Severity = _severity("critical")
    for_s: Number = _lasting(120.0)
    hours: Number = live("Hours until it is full at the present rate, below which it fires.", default=12.0, ge=0)
    percent: Number = live("Share of its limit above which it fires at any rate.", default=50.0, gt=0, le=100)


class DiskFillingConfig(RuleConfig):
    """The disk below the journal fills up."""

    severity: Severity = _severity("critical")
    for_s: Number = _lasting(120.0)
    hours: Number = live(
        "Hours until it is full at the rate of the last hour, below which it fires.", default=24.0, ge=0
    )
    free_percent: Number = live("Free share of the disk below which it fires at any rate.", default=5.0, ge=0, le=100)


class BreakerOpenConfig(RuleConfig):
    """A receiver is left alone because too many calls to it failed."""

    severity: Severity = _severity("critical")
    for_s: Number = _lasting(60.0)


class SinkGoneConfig(RuleConfig):
    """A receiver said that it wants nothing any more."""

    severity: Severity = _severity("critical")


class DeadLettersConfig(RuleConfig):
    """Dead letters wait, or grow."""

    above: Whole = live("Open letters of one stream or sink above which it fires.", default=1000, ge=0)
    per_hour: Whole = live("New letters within an hour above which it fires.", default=100, ge=0)


class SnapshotStuckConfig(RuleConfig):
    """A re-read makes no progress."""

    for_s: Number = _lasting(900.0)


class RunFailedConfig(RuleConfig):
    """The last run of a polled stream failed."""


class RunLateConfig(RuleConfig):
    """A polled stream should have been read, and was not: its system is down, or too busy."""

    for_s: Number = _lasting(900.0)


class RunLongConfig(RuleConfig):
    """A run takes much longer than such runs usually do."""

    times: Number = live("Times its median above which it fires.", default=3.0, gt=1)
    least_s: Number = live("Seconds that a run may take in any case.", default=60.0, ge=0)


class ClockOffConfig(RuleConfig):
    """This machine's clock jumped, or a source's clock is ahead of it."""

    jump_s: Number = live("Seconds of a jump above which it fires, for ten minutes.", default=5.0, gt=0)
    ahead_s: Number = live("Seconds that a commit may lie in the future.", default=60.0, gt=0)


class JournalRuleConfig(RuleConfig):
    """The journal cannot be written or read."""

    severity: Severity = _severity("critical")
    for_s: Number = _lasting(10.0)


class ComponentConfig(RuleConfig):
    """Anything else that the health page calls `fail`."""

    severity: Severity = _severity("critical")
    for_s: Number = _lasting(60.0)


class RulesConfig(Section):
    """When each rule fires."""

    failure_rate: FailureRateConfig = section("Too many calls fail.")
    stream_silent: StreamSilentConfig = section("A stream had no event for long.")
    stream_late: StreamLateConfig = section("Events arrive late.")
    validity: ValidityConfig = section("Too many rows are rejected.")
    slot_filling: SlotFillingConfig = section("A replication slot fills up.")
    disk_filling: DiskFillingConfig = section("The journal's disk fills up.")
    breaker_open: BreakerOpenConfig = section("A receiver is left alone.")
    sink_gone: SinkGoneConfig = section("A receiver wants nothing any more.")
    dead_letters: DeadLettersConfig = section("Dead letters wait, or grow.")
    snapshot_stuck: SnapshotStuckConfig = section("A re-read makes no progress.")
    run_failed: RunFailedConfig = section("A run of a polled stream failed.")
    run_late: RunLateConfig = section("A polled stream was not read in time.")
    run_long: RunLongConfig = section("A run takes much longer than usual.")
    clock_off: ClockOffConfig = section("A clock is wrong.")
    journal: JournalRuleConfig = section("The journal cannot be written.")
    component: ComponentConfig = section("Anything else that fails.")


class StreamAlarmConfig(Section):
    """What differs for one stream."""

    off: Rules = live("Rules that do not apply to it.", default=())
    silent_after_s: Number | None = live("Seconds without an event after which it is silent.", default=None, gt=0)
    late_after_s: Number | None = live("Seconds from commit to journal that are late.", default=None, gt=0)
    dead_letters: Whole | None = live("Open letters above which it fires.", default=None, ge=0)


class SinkAlarmConfig(Section):
    """What differs for one sink."""

    off: Rules = live("Rules that do not apply to it.", default=())
    failure_percent: Number | None = live("Share of failed calls above which it fires.", default=None, ge=0, le=100)
    dead_letters: Whole | None = live("Open letters above which it fires.", default=None, ge=0)


class SystemAlarmConfig(Section):
    """What differs for one system; what it switches off is off for its streams as well."""

    off: Rules = live("Rules that do not apply to it.", default=())
    failure_percent: Number | None = live("Share of failed calls above which it fires.", default=None, ge=0, le=100)


class AlarmWebhookConfig(Section):
    """A signed request for each notification (Standard Webhooks 1.0.0)."""

    url: str = live("Where requests go; https, or http on a network that `allow_networks` names.")
    secrets: tuple[Secret, ...] = live("Signing secrets; every request is signed with each.", min_length=1)
    allow_networks: Words = live("Private networks that requests may go to, like 10.1.0.0/16.", default=())
    timeout_s: Number = live("Seconds until an answer is given up.", default=20.0, gt=0, le=120)


class AlertmanagerConfig(Section):
    """Prometheus' Alertmanager, by its API v2; what fires is sent again and again until it is resolved."""

    url: str = live("Its address, like http://alertmanager:9093.")
    allow_networks: Words = live("Private networks that it may be in, like 10.1.0.0/16.", default=())
    timeout_s: Number = live("Seconds until an answer is given up.", default=10.0, gt=0, le=120)
    resend_s: Number = live("Seconds between two times that what fires is sent.", default=60.0, ge=1)


class AppriseConfig(Section):
    """A message by any service that Apprise knows: mail, chat, telephone. Needs the extra `alerts`."""

    url: Secret = live("Apprise URL, like mailtos://user:password@example.com: a reference.")


class HeartbeatConfig(Section):
    """A request while the bridge works, to a service that alarms when it stays away."""

    url: Secret = live("Where it goes; whoever knows it can feign it, so a reference.")
    every_s: Number = live("Seconds between two.", default=60.0, ge=1)
    allow_networks: Words = live("Private networks that it may go to, like 10.1.0.0/16.", default=())
    timeout_s: Number = live("Seconds until an answer is given up.", default=10.0, gt=0, le=120)


class OutletConfig(Section):
    """One way of telling somebody; the log always tells."""

    webhook: AlarmWebhookConfig | None = key("A signed request.", default=None)
    alertmanager: AlertmanagerConfig | None = key("Prometheus' Alertmanager.", default=None)
    apprise: AppriseConfig | None = key("Mail, chat, telephone.", default=None)
    heartbeat: HeartbeatConfig | None = key("A sign of life.", default=None)
    least: Severity = live("Least severity that it is told.", default="warning")
    rules: RulesOrAll = live("Rules that it is told, or `*` for all.", default=("*",), min_length=1)

    @model_validator(mode="after")
    def _one_kind(self) -> "OutletConfig":
        one_of(self, *OUTLETS)
        return self

    @property
    def kind(self) -> str:
        """The section that is given."""
        return one_of(self, *OUTLETS)


class MaintenanceConfig(Section):
    """A time in which nobody is told: hours of some days, or once from `starts` to `ends`."""

    of: Scopes = live("What it covers: stream:NAME, sink:NAME, source:NAME, system:NAME (with its streams), or `*`.",
        default=("*",), min_length=1)  # fmt: skip
    days: Days = live(
        "Days on which `hours` begin.", default=("mon", "tue", "wed", "thu", "fri", "sat", "sun"), min_length=1
    )
    hours: Annotated[str, AfterValidator(_hours)] | None = live("Like 22:00-02:00.", default=None)
    time_zone: Zone = live("Zone of `hours`.", default="UTC")
    starts: AwareDatetime | None = live("Beginning of a single window, like 2026-12-01T20:00:00+01:00.", default=None)
    ends: AwareDatetime | None = live("Its end.", default=None)

    @model_validator(mode="after")
    def _one_form(self) -> "MaintenanceConfig":
        single = (self.starts, self.ends)
        if (self.hours is None) == (single == (None, None)) or (self.hours is None and None in single):
            raise ValueError("`hours`, or both `starts` and `ends`")
        if self.starts and self.ends and not _before(self.starts, self.ends):
            raise ValueError("`ends` after `starts`")
        return self


def _before(one: datetime, other: datetime) -> bool:
    return one < other


class AlarmsConfig(Section):
    """When somebody is told, and how."""

    off: Rules = live("Rules that are switched off.", default=())
    group_s: Number = live(
        "Seconds that an alarm waits for others of its group, to be told of at once.", default=10.0, ge=0
    )
    clear_s: Number = live(
        "Seconds that a cause must be gone before it counts as resolved; more when it comes and goes.",
        default=60.0,
        ge=0,
    )
    remind_hours: Number = live(
        "Hours between reminders of what fires and nobody acknowledged; 0 = none.", default=4.0, ge=0
    )
    runbooks: str = live(
        "Where the pages of docs/runbooks are, for links.",
        default="https://github.com/legacy-bridge/legacy-bridge/blob/main/docs/runbooks",
    )
    rules: RulesConfig = section("When each rule fires.")
    streams: dict[Name, StreamAlarmConfig] = section("What differs for single streams, by name.")
    sinks: dict[Name, SinkAlarmConfig] = section("What differs for single sinks, by name.")
    systems: dict[Name, SystemAlarmConfig] = section("What differs for single systems, by name.")
    outlets: dict[Name, OutletConfig] = section("Ways of telling somebody, by name.")
    maintenance: dict[Name, MaintenanceConfig] = section("Times in which nobody is told, by name.")
