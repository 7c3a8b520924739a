"""When nobody may be told: silences of operators, and maintenance windows by the configuration or by operators."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

from bridge.alarm.machine import Alarm
from bridge.config.alarms import AlarmsConfig, Day, MaintenanceConfig

_DAYS = get_args(Day)


@dataclass(frozen=True, slots=True)
class Quiet:
    """A time in which nobody is told of some alarms."""

    of: str  # "*", an alarm's id, or a scope like "stream:orders" or "system:erp"
    reason: str
    by: str
    starts_at: datetime
    ends_at: datetime
    rule: str = "*"

    def covers(self, alarm: Alarm, now: datetime) -> bool:
        """Whether nobody may be told of an alarm now."""
        is_named = self.of in ("*", alarm.id, alarm.subject, *alarm.scopes)
        return is_named and self.rule in ("*", alarm.rule) and self.starts_at <= now < self.ends_at


def is_muted(alarm: Alarm, *, now: datetime, quiets: Iterable[Quiet], config: AlarmsConfig) -> bool:
    """Whether nobody may be told of an alarm now."""
    if any(quiet.covers(alarm, now) for quiet in quiets):
        return True
    named = {"*", alarm.subject, *alarm.scopes}
    return any(named & {*window.of} and is_in(window, now) for window in config.maintenance.values())


def is_in(window: MaintenanceConfig, now: datetime) -> bool:
    """Whether a window is open."""
    if window.starts is not None and window.ends is not None:
        return window.starts <= now < window.ends
    today = now.astimezone(ZoneInfo(window.time_zone)).date()
    return any(_holds(window, day, now) for day in (today - timedelta(days=1), today))


def _holds(window: MaintenanceConfig, day: date, now: datetime) -> bool:
    """Whether the hours that begin on a day hold now; what ends before it begins ends on the next day."""
    begin, _, end = (window.hours or "").partition("-")
    if not begin or _DAYS[day.weekday()] not in window.days:
        return False
    next_day = day + timedelta(days=1)
    ends_on = next_day if end == "24:00" or end <= begin else day
    starts = _at(day, begin, window.time_zone)
    return starts <= now < _at(ends_on, "00:00" if end == "24:00" else end, window.time_zone)


def _at(day: date, text: str, zone: str) -> datetime:
    return datetime.combine(day, time.fromisoformat(text), ZoneInfo(zone)).astimezone(UTC)
