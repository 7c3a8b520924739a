"""The moments of a schedule: every so often from an anchor, or as a cron expression says in a time zone.

A cron expression means what crond makes of it, also where APScheduler differs: weekdays count from Sunday = 0, and
where both the day of the month and the weekday are given, either will do. When clocks are set forward, a moment that
does not exist comes as much later as they were set; when they are set back, the hour that comes twice counts twice only
for an expression that holds for every hour.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from apscheduler.triggers.combining import OrTrigger
    from apscheduler.triggers.cron import CronTrigger

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_TICK = timedelta(microseconds=1)
_NEAR = timedelta(hours=3)  # no clock is set by more


class Moments(Protocol):
    """When a schedule fires."""

    is_fixed: bool  # at named hours of the day: a clock that was set back brings none of them again

    def after(self, moment: datetime) -> datetime | None:
        """The first one after `moment`, in UTC; None: there is none any more."""


class Every:
    """Moments at equal distances; daylight saving time and clocks that jump leave the distance as it is."""

    is_fixed = False

    def __init__(self, distance: timedelta, *, anchor: datetime) -> None:
        from apscheduler.triggers.interval import IntervalTrigger  # noqa: PLC0415  only whoever keeps a schedule

        self._trigger = IntervalTrigger(seconds=distance.total_seconds(), start_date=anchor, timezone=UTC)

    def after(self, moment: datetime) -> datetime | None:
        """See the port."""
        found: datetime | None = self._trigger.get_next_fire_time(None, moment + _TICK)
        return found


class Cron:
    """Moments by the clock on the wall. Raises: ValueError for what is no cron expression of five fields."""

    def __init__(self, expression: str, *, zone: str) -> None:
        self.is_fixed = not _fields(expression)[1].startswith("*")
        self._zone = ZoneInfo(zone)
        # On the wall there is no daylight saving time. With a zone of its own the trigger leaves out whole days:
        # the midnight after clocks were set forward.
        self._trigger = _trigger(expression)

    def after(self, moment: datetime) -> datetime | None:
        """See the port."""
        offset = self._offset(moment - _NEAR)
        wall = moment.astimezone(self._zone).replace(tzinfo=UTC)
        if offset != self._offset(moment + _NEAR):
            wall -= _NEAR
        found: list[datetime] = []
        while (following := self._trigger.get_next_fire_time(None, wall + _TICK)) is not None:
            wall = following
            first, second = (wall.replace(tzinfo=self._zone, fold=fold).astimezone(UTC) for fold in (0, 1))
            found += [at for at in self._shown(first, second) if at > moment]
            if found and (min(found) < first - _NEAR or self._offset(min(found) + _NEAR) == offset):
                break
        return min(found, default=None)

    def _shown(self, first: datetime, second: datetime) -> set[datetime]:
        """When the clock on the wall shows a time that it shows twice, or never where `second` is before `first`."""
        if self.is_fixed:
            return {first}
        return {first, second} if first <= second else set()

    def _offset(self, moment: datetime) -> timedelta | None:
        return moment.astimezone(self._zone).utcoffset()


def between(moments: Moments, start: datetime, end: datetime) -> Iterator[datetime]:
    """Those after `start` and not after `end`."""
    moment = moments.after(start)
    while moment is not None and moment <= end:
        yield moment
        moment = moments.after(moment)


def _fields(expression: str) -> list[str]:
    fields = expression.split()
    if len(fields) != 5:  # noqa: PLR2004  crond's
        raise ValueError("five fields: minute, hour, day of the month, month, weekday")
    return fields


def _trigger(expression: str) -> "CronTrigger | OrTrigger":
    from apscheduler.triggers.combining import OrTrigger  # noqa: PLC0415  only whoever keeps a schedule
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415  as above

    minute, hour, day, month, weekday = _fields(expression)
    when = {"minute": minute, "hour": hour, "month": month, "timezone": UTC}
    days = _weekdays(weekday)
    if day.startswith("*") or weekday.startswith("*"):
        return CronTrigger(**when, day=day, day_of_week=days)
    return OrTrigger([CronTrigger(**when, day=day), CronTrigger(**when, day_of_week=days)])


def _weekdays(field: str) -> str:
    """Crond's weekdays by name: numbers from Sunday = 0 or 7, ranges that may end on a Sunday."""
    if field == "*":
        return field
    return ",".join(dict.fromkeys(name for part in field.lower().split(",") for name in _weekday_names(part)))


def _weekday_names(part: str) -> list[str]:
    span, _, step = part.partition("/")
    first, is_range, last = span.partition("-")
    start = 0 if first == "*" else _weekday(first)
    end = 6 if first == "*" else _weekday(last) if is_range else start if not step else 6
    if is_range and end < start:  # fri-sun, sat-mon
        end += 7
    return [_DAYS[number % 7] for number in range(start, end + 1, int(step or 1))]


def _weekday(text: str) -> int:
    number = _DAYS.index(text) if text in _DAYS else int(text)
    if not 0 <= number <= 7:  # noqa: PLR2004  crond's
        raise ValueError("weekdays of 0 to 7 (both are Sunday) or sun to sat")
    return number
