"""The alarms and silences as operators see them: for the command line and for the HTTP door."""

from datetime import datetime
from typing import Any

from bridge.alarm import book, wording
from bridge.alarm.machine import Alarm
from bridge.alarm.quiet import is_in, is_muted
from bridge.config.alarms import AlarmsConfig
from bridge.ports import Journal


def entries(journal: Journal, config: AlarmsConfig, *, instance: str, now: datetime) -> list[dict[str, Any]]:
    """Every alarm that is kept; the worst and oldest first, resolved ones last."""
    words = wording.Words(instance, config.runbooks)
    set_by_operators = [quiet for _, quiet in book.quiets(journal).values()]

    def entry(one: Alarm) -> dict[str, Any]:
        muted = is_muted(one, now=now, quiets=set_by_operators, config=config)
        return wording.entry(one, words, is_muted=muted)

    found = sorted(book.alarms(journal).values(), key=lambda one: (one.state == "resolved", one.severity, one.since))
    return [entry(one) for one in found]


def quiets(journal: Journal, config: AlarmsConfig, *, now: datetime) -> list[dict[str, Any]]:
    """Every silence and maintenance window that is not over, those of the configuration included."""
    found: list[dict[str, Any]] = [
        {
            "id": number,
            "kind": kind,
            "of": one.of,
            "rule": one.rule,
            "active": one.starts_at <= now < one.ends_at,
            "starts_at": one.starts_at.isoformat(),
            "ends_at": one.ends_at.isoformat(),
            "by": one.by,
            "reason": one.reason,
        }
        for number, (kind, one) in book.quiets(journal).items()
        if now < one.ends_at
    ]
    for name, window in config.maintenance.items():
        if window.ends is not None and now >= window.ends:
            continue
        when = f"{','.join(window.days)} {window.hours} {window.time_zone}"
        found.append(
            {
                "id": name,
                "kind": "maintenance",
                "of": ", ".join(window.of),
                "rule": "*",
                "active": is_in(window, now),
                "starts_at": window.starts.isoformat() if window.starts else when,
                "ends_at": window.ends.isoformat() if window.ends else "",
                "by": "bridge.yaml",
                "reason": "",
            }
        )
    return found
