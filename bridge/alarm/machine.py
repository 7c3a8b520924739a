"""The life of an alarm: pending, firing, resolved; and what people are to be told of it.

Promises: an alarm that fires is told of once and its end once, never while it is muted; what one rule says of one
system is told at once; the same input gives the same ids and notices, so a step taken twice tells nothing twice.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from bridge.alarm.catalogue import RULES
from bridge.alarm.judge import Finding
from bridge.config.alarms import AlarmsConfig, RuleName, Severity

Transition = Literal["firing", "reminder", "resolved", "test"]
FLAP_S = 3600.0  # what comes back within so long flaps; also the longest that a cause must be gone
KEPT_COUNT = 500  # resolved alarms, the newest
KEPT_FOR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody takes care of it: no more reminders."""

    by: str
    at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One thing that is, or was, wrong."""

    id: str  # ten hexadecimal digits, never used again
    rule: RuleName
    subject: str  # "stream:orders"
    severity: Severity
    what: str
    blocks: tuple[str, ...]
    group: str
    scopes: tuple[str, ...]  # what a silence may name besides rule and subject
    since: datetime  # when the cause began
    state: Literal["pending", "firing", "resolved"] = "pending"
    fired_at: datetime | None = None
    gone_at: datetime | None = None  # the first look without the cause; None while it is there
    resolved_at: datetime | None = None
    told_at: datetime | None = None  # when it was last told that it fires; None: nobody knows
    told_resolved: bool = False
    reminders: int = 0
    returns: int = 0  # times that it came back soon after its end
    acknowledged: Acknowledgement | None = None

    @property
    def is_open(self) -> bool:
        """Whether its end is still to come, or still to be told."""
        return self.state != "resolved" or (self.told_at is not None and not self.told_resolved)

    @property
    def action(self) -> str:
        """What a person should do."""
        return RULES[self.rule].action.format(name=self.subject.partition(":")[2] or self.subject)


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification: everything of one group that is told at once."""

    id: str  # the same for the same alarms and transition, whoever makes it
    transition: Transition
    at: datetime
    group: str
    alarms: tuple[Alarm, ...]  # as they were; in order of id


@dataclass(frozen=True, slots=True)
class Turn:
    """What one step made of the alarms."""

    alarms: dict[str, Alarm]  # by id
    notices: tuple[Notice, ...]


Muted = Callable[[Alarm], bool]


def step(
    alarms: Mapping[str, Alarm],
    findings: Sequence[Finding],
    *,
    now: datetime,
    config: AlarmsConfig,
    muted: Muted = lambda _: False,
    acks: Mapping[str, Acknowledgement] | None = None,
    blind: Collection[str] = (),
) -> Turn:
    """Go on by one look.

    Args:
        alarms: what the last step left, by id.
        findings: what is wrong now, at most one for each rule and subject.
        now: not before the last step's; a clock that was set back only delays.
        config: how long causes last, and what is told when.
        muted: whether nobody may be told of an alarm now.
        acks: what operators acknowledged, by alarm id.
        blind: rules, or "RULE SUBJECT", that could not be looked at: their alarms stay as they are.
    """
    following = _found(alarms, findings, now=now, config=config)
    following = _missed(following, {(each.rule, each.subject) for each in findings}, now=now, blind=blind)
    for one in following.values():
        ack = (acks or {}).get(one.id)
        if ack is not None and one.state != "resolved":
            following[one.id] = replace(one, acknowledged=ack)
    silent = {one.id for one in following.values() if muted(one)}
    notices = list(_tell_firing(following, silent, now=now, config=config))
    _resolve(following, silent, now=now, config=config)
    notices += _tell_resolved(following, silent, now=now, config=config)
    notices += _remind(following, silent, now=now, config=config)
    return Turn(_kept(following, now=now), tuple(notices))


def _found(
    alarms: Mapping[str, Alarm], findings: Sequence[Finding], *, now: datetime, config: AlarmsConfig
) -> dict[str, Alarm]:
    """The alarms after the causes that were seen."""
    following = dict(alarms)
    present = {(one.rule, one.subject): one for one in alarms.values() if one.is_open}
    for finding in findings:
        one = present.get((finding.rule, finding.subject)) or _begin(following, finding, now=now)
        rule = getattr(config.rules, finding.rule)
        one = replace(
            one, severity=rule.severity, what=finding.what, blocks=finding.blocks, scopes=finding.scopes, gone_at=None
        )
        if one.state == "resolved":  # nobody knows of its end yet, so it never ended
            one = replace(one, state="firing", resolved_at=None)
        if one.state == "pending" and now - one.since >= timedelta(seconds=rule.for_s):
            one = replace(one, state="firing", fired_at=now)
        following[one.id] = one
    return following


def _begin(alarms: Mapping[str, Alarm], finding: Finding, *, now: datetime) -> Alarm:
    since = min(now, finding.since or now)
    ended = [one for one in alarms.values() if (one.rule, one.subject) == (finding.rule, finding.subject)]
    last = max(ended, key=lambda one: one.resolved_at or one.since, default=None)
    flaps = last is not None and last.resolved_at is not None and now - last.resolved_at < timedelta(seconds=FLAP_S)
    seed = f"{finding.rule}|{finding.subject}|{now.isoformat()}"
    return Alarm(
        id=hashlib.sha256(seed.encode()).hexdigest()[:10],
        rule=finding.rule,
        subject=finding.subject,
        severity="warning",
        what=finding.what,
        blocks=finding.blocks,
        group=finding.group,
        scopes=finding.scopes,
        since=since,
        returns=last.returns + 1 if flaps and last is not None else 0,
    )


def _missed(
    alarms: dict[str, Alarm], seen: Collection[tuple[RuleName, str]], *, now: datetime, blind: Collection[str]
) -> dict[str, Alarm]:
    """The alarms after the causes that were not seen: what was pending is forgotten."""
    following = {}
    for one in alarms.values():
        is_blind = one.rule in blind or f"{one.rule} {one.subject}" in blind
        is_gone = one.state != "resolved" and (one.rule, one.subject) not in seen and not is_blind
        if is_gone and one.state == "pending":
            continue
        following[one.id] = replace(one, gone_at=one.gone_at or now) if is_gone else one
    return following


def hold(one: Alarm, config: AlarmsConfig) -> timedelta:
    """How long its cause must be gone: longer each time that it came back."""
    return timedelta(seconds=min(config.clear_s * 2 ** min(one.returns, 20), max(FLAP_S, config.clear_s)))


def _resolve(alarms: dict[str, Alarm], silent: Collection[str], *, now: datetime, config: AlarmsConfig) -> None:
    for one in alarms.values():
        is_over = one.state == "firing" and one.gone_at is not None and now - one.gone_at >= hold(one, config)
        if is_over and (one.told_at is not None or one.id in silent):  # what fires is told of before its end is
            alarms[one.id] = replace(one, state="resolved", resolved_at=now)


def _tell_firing(
    alarms: dict[str, Alarm], silent: Collection[str], *, now: datetime, config: AlarmsConfig
) -> Iterator[Notice]:
    untold = [one for one in alarms.values() if one.state == "firing" and one.told_at is None and one.id not in silent]
    for group in _groups(untold):
        if any(_is_due(one.fired_at, config.group_s, now) for one in group):
            told = [replace(one, told_at=now) for one in group]
            alarms.update({one.id: one for one in told})
            yield _notice("firing", told, now)


def _tell_resolved(
    alarms: dict[str, Alarm], silent: Collection[str], *, now: datetime, config: AlarmsConfig
) -> Iterator[Notice]:
    owed = [one for one in alarms.values() if one.state == "resolved" and one.is_open and one.id not in silent]
    for group in _groups(owed):
        if any(_is_due(one.resolved_at, config.group_s, now) for one in group):
            told = [replace(one, told_resolved=True) for one in group]
            alarms.update({one.id: one for one in told})
            yield _notice("resolved", told, now)


def _remind(
    alarms: dict[str, Alarm], silent: Collection[str], *, now: datetime, config: AlarmsConfig
) -> Iterator[Notice]:
    if not config.remind_hours:
        return
    waiting = [
        one
        for one in alarms.values()
        if one.state == "firing" and one.told_at and not one.gone_at and not one.acknowledged and one.id not in silent
    ]
    for group in _groups(waiting):
        if any(_is_due(one.told_at, 3600 * config.remind_hours, now) for one in group):
            told = [replace(one, told_at=now, reminders=one.reminders + 1) for one in group]
            alarms.update({one.id: one for one in told})
            yield _notice("reminder", told, now)


def _is_due(at: datetime | None, seconds: float, now: datetime) -> bool:
    return at is not None and now - at >= timedelta(seconds=seconds)


def _groups(alarms: Sequence[Alarm]) -> list[list[Alarm]]:
    found: dict[str, list[Alarm]] = {}
    for one in sorted(alarms, key=lambda one: one.id):
        found.setdefault(one.group, []).append(one)
    return list(found.values())


def _notice(transition: Transition, alarms: Sequence[Alarm], now: datetime) -> Notice:
    """Each alarm is in one notice of a transition (and number, for reminders), so its first alarm names a notice."""
    number = str(alarms[0].reminders) if transition == "reminder" else ""
    return Notice(f"{alarms[0].id}:{transition}{number}", transition, now, alarms[0].group, tuple(alarms))


def _kept(alarms: Mapping[str, Alarm], *, now: datetime) -> dict[str, Alarm]:
    """Without what ended long ago."""
    ended = [one for one in alarms.values() if not one.is_open]
    ended.sort(key=lambda one: one.resolved_at or one.since)
    gone = {one.id for one in ended[:-KEPT_COUNT]}
    gone |= {one.id for one in ended if one.resolved_at and now - one.resolved_at > KEPT_FOR}
    return {number: one for number, one in alarms.items() if number not in gone}
