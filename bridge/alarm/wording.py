"""How an alarm reads: for people, for programs, for Alertmanager. Every text is bounded and holds no row values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bridge.alarm.catalogue import RULES
from bridge.alarm.machine import Alarm, Notice

_SHOWN = 20  # alarms of a notice, and streams of an alarm, that are named one by one
_TEXT_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Words:
    """What every text of one bridge has in common."""

    instance: str
    runbooks: str  # where the pages are

    def runbook(self, alarm: Alarm) -> str:
        """The page that says what to do."""
        return f"{self.runbooks.rstrip('/')}/{RULES[alarm.rule].slug}.md"


def headline(alarm: Alarm) -> str:
    """One line: what and how."""
    return _short(f"{named(alarm.subject)}: {RULES[alarm.rule].title}")


def named(subject: str) -> str:
    """A subject as a person says it: stream orders."""
    return subject.replace(":", " ", 1)


def title(notice: Notice, words: Words) -> str:
    """One line for a notice, as the subject of a mail."""
    first = headline(notice.alarms[0]) if notice.alarms else "a test"
    more = f" and {len(notice.alarms) - 1} more" if len(notice.alarms) > 1 else ""
    return f"[{words.instance}] {notice.transition.upper()}: {first}{more}"


def text(notice: Notice, words: Words) -> str:
    """A notice as a person reads it in a mail or on a telephone."""
    if not notice.alarms:
        return "This is a test: whoever reads it would have been told of an alarm."
    parts = [_paragraph(alarm, words) for alarm in notice.alarms[:_SHOWN]]
    if len(notice.alarms) > _SHOWN:
        parts.append(f"... and {len(notice.alarms) - _SHOWN} more: legacy-bridge alarm list")
    return "\n\n".join(parts)


def _paragraph(alarm: Alarm, words: Words) -> str:
    lines = [f"{headline(alarm)} ({alarm.severity}): {_short(alarm.what)}", f"since {_moment(alarm.since)}"]
    if alarm.resolved_at is not None:
        lines.append(f"resolved {_moment(alarm.resolved_at)}")
        return "\n".join(lines)
    if alarm.blocks:
        lines.append(f"concerns {_list(alarm.blocks)}")
    lines += [alarm.action, words.runbook(alarm), f"alarm {alarm.id}: legacy-bridge alarm ack {alarm.id}"]
    return "\n".join(lines)


def entry(alarm: Alarm, words: Words, *, is_muted: bool = False) -> dict[str, Any]:
    """An alarm for programs: `alarm list --json`, the API, webhooks."""
    ack = alarm.acknowledged
    return {
        "id": alarm.id,
        "rule": alarm.rule,
        "subject": alarm.subject,
        "severity": alarm.severity,
        "state": alarm.state,
        "silenced": is_muted,
        "title": headline(alarm),
        "what": _short(alarm.what),
        "since": _iso(alarm.since),
        "fired_at": _iso(alarm.fired_at),
        "resolved_at": _iso(alarm.resolved_at),
        "blocks": list(alarm.blocks),
        "action": alarm.action,
        "runbook": words.runbook(alarm),
        "acknowledged": {"by": ack.by, "at": _iso(ack.at), "note": ack.note} if ack else None,
    }


def message(notice: Notice, words: Words) -> dict[str, Any]:
    """The body of a webhook, in the form that Standard Webhooks recommends."""
    return {
        "type": f"alarm.{notice.transition}",
        "timestamp": _iso(notice.at),
        "data": {
            "id": notice.id,
            "instance": words.instance,
            "title": title(notice, words),
            "group": notice.group,
            "alarms": [entry(alarm, words) for alarm in notice.alarms],
        },
    }


def alert(alarm: Alarm, words: Words, *, now: datetime, valid_s: float) -> dict[str, Any]:
    """An alarm as Alertmanager takes it (API v2, `postableAlert`).

    Args:
        alarm: one that was told of.
        words: as everywhere.
        now: the moment of sending.
        valid_s: how long Alertmanager believes in it without hearing of it again.
    """
    name = "".join(part.capitalize() for part in alarm.rule.split("_"))
    labels = {
        "alertname": f"Bridge{name}",
        "instance": words.instance,
        "rule": alarm.rule,
        "subject": alarm.subject,
        "severity": alarm.severity,
        "alarm": alarm.id,
    }
    annotations = {
        "summary": headline(alarm),
        "description": _short(alarm.what),
        "blocks": _list(alarm.blocks),
        "action": alarm.action,
        "runbook_url": words.runbook(alarm),
    }
    ends = alarm.resolved_at if alarm.state == "resolved" else now + timedelta(seconds=valid_s)
    return {
        "labels": labels,
        "annotations": {key: value for key, value in annotations.items() if value},
        "startsAt": _iso(alarm.fired_at or alarm.since),
        "endsAt": _iso(ends),
    }


def trial_alert(notice: Notice, words: Words, *, valid_s: float) -> dict[str, Any]:
    """What a test sends to Alertmanager; it ends by itself."""
    labels: Mapping[str, str] = {"alertname": "BridgeTest", "instance": words.instance, "severity": "warning"}
    summary = text(notice, words)
    ends = notice.at + timedelta(seconds=valid_s)
    return {
        "labels": labels,
        "annotations": {"summary": summary},
        "startsAt": _iso(notice.at),
        "endsAt": _iso(ends),
    }


def _list(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _short(line: str) -> str:
    return line if len(line) <= _TEXT_LIMIT else line[: _TEXT_LIMIT - 1] + "…"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None
