"""Alarms: list, acknowledge, silence. Who sees all streams that an alarm or a silence concerns sees it."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from bridge.alarm import book, roll
from bridge.model import system_of
from bridge.web.desk import ask, petition
from bridge.web.endpoint import Answered, Call, Endpoint, Parameter
from bridge.web.problems import Problem

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Note = Annotated[str, msgspec.Meta(max_length=500)]


class Alarm(msgspec.Struct, frozen=True):
    """One thing that is, or was, wrong."""

    id: str
    rule: str
    subject: str  # stream:orders, sink:crm, source:erp, disk ...
    severity: str  # warning or critical
    state: str  # pending, firing or resolved
    silenced: bool
    title: str
    what: str
    since: str
    fired_at: str | None
    resolved_at: str | None
    blocks: list[str]  # what stands still or suffers because of it
    action: str  # what a person should do
    runbook: str  # the page that says more
    acknowledged: dict[str, Any] | None  # by, at, note


class Alarms(msgspec.Struct, frozen=True):
    """The alarms of a principal, the worst and oldest first."""

    alarms: list[Alarm]


class Silence(msgspec.Struct, frozen=True):
    """A time in which nobody is told of some alarms."""

    id: str
    kind: str  # silence or maintenance
    of: str
    rule: str
    active: bool
    starts_at: str
    ends_at: str
    by: str
    reason: str


class Silences(msgspec.Struct, frozen=True):
    """Silences and maintenance windows that are not over."""

    silences: list[Silence]


class Ack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who takes care of an alarm may say how."""

    note: Note = ""


class NewSilence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What nobody is to be told of, until when, and why."""

    of: Text  # an alarm's id, stream:NAME, sink:NAME, source:NAME, system:NAME or *
    reason: Text
    ends_at: Text  # like 2026-12-01T20:00:00+01:00
    rule: Text = "*"


def _sees(call: Call, scope: str) -> bool:
    """Whether every stream that a scope concerns is the principal's own; what concerns all needs all."""
    config, (kind, _, name) = call.door.config, scope.partition(":")
    if kind == "stream":
        return call.principal.sees(name)
    if kind == "sink" and name in config.sinks:
        return all(map(call.principal.sees, config.streams_for(config.sinks[name].streams)))
    if kind in ("source", "system") and (system := system_of(name)) in config.systems:
        return all(map(call.principal.sees, config.streams_of(system)))
    return all(map(call.principal.sees, config.streams))


def get_alarms(call: Call) -> Answered:
    """The alarms that the principal sees."""
    config = call.door.config
    found = roll.entries(call.door.journal, config.alarms, instance=config.bridge.name, now=datetime.now(UTC))
    wanted = [
        one for one in found if (call.values["all"] or one["state"] != "resolved") and _sees(call, one["subject"])
    ]
    return Alarms(msgspec.convert(wanted, list[Alarm]))


async def ack_alarm(call: Call) -> Answered:
    """No more reminders of an alarm."""
    alarm = book.alarms(call.door.journal).get(call.values["alarm"])
    if alarm is None or not _sees(call, alarm.subject):
        raise Problem(404, "not-found", f"There is no alarm {call.values['alarm']!r}.")
    return await ask(call, "alarm.ack", {"alarm": alarm.id, "note": call.body.note})


def get_silences(call: Call) -> Answered:
    """Silences and windows that the principal sees."""
    found = roll.quiets(call.door.journal, call.door.config.alarms, now=datetime.now(UTC))
    wanted = [one for one in found if all(_sees(call, _subject(call, of)) for of in one["of"].split(", "))]
    return Silences(msgspec.convert(wanted, list[Silence]))


async def add_silence(call: Call) -> Answered:
    """Tell nobody of some alarms."""
    wanted: NewSilence = call.body
    if not _sees(call, _subject(call, wanted.of)):
        raise Problem(403, "forbidden", "It would silence more than your streams.")
    args = {"of": wanted.of, "rule": wanted.rule, "reason": wanted.reason, "ends_at": wanted.ends_at}
    return await ask(call, "alarm.silence", args)


async def end_silence(call: Call) -> Answered:
    """End a silence."""
    kept = book.quiets(call.door.journal).get(call.values["silence"])
    if kept is None or not _sees(call, _subject(call, kept[1].of)):
        raise Problem(404, "not-found", f"There is no silence {call.values['silence']!r}.")
    return await ask(call, "alarm.unsilence", {"silence": call.values["silence"]})


def _subject(call: Call, of: str) -> str:
    """What a silence concerns: of an alarm's id, the subject of the alarm."""
    alarm = book.alarms(call.door.journal).get(of)
    return alarm.subject if alarm else of


_ID = "[0-9a-f]{10}"
ENDPOINTS = (
    Endpoint("GET", "/v1/alarms", "listAlarms", "What is wrong with your streams.", get_alarms, act="operate",
             parameters=(Parameter("all", "Resolved ones, too.", kind="flag", default=False),), answer=Alarms),
    petition("POST", "/v1/alarms/{alarm}/ack", "ackAlarm", "Take care of an alarm: no more reminders.", ack_alarm,
             parameters=(Parameter("alarm", "Id of the alarm.", place="path", pattern=_ID, most=10),), body=Ack),
    Endpoint("GET", "/v1/silences", "listSilences", "When nobody is told of alarms.", get_silences, act="operate",
             answer=Silences),
    petition("POST", "/v1/silences", "addSilence", "Tell nobody of some alarms until an end.", add_silence,
             body=NewSilence),
    petition("DELETE", "/v1/silences/{silence}", "endSilence", "End a silence.", end_silence,
             parameters=(Parameter("silence", "Id of the silence.", place="path", pattern=_ID, most=10),)),
)  # fmt: skip
