"""The keys of schedules and budgets: when a system may be read, how often, and how much."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from bridge.config.kit import Number, Section, Whole, key, split

_SPAN = re.compile(r"([1-9]\d{0,5})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_HOURS = re.compile(r"([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)")


def length_of(text: str) -> timedelta:
    """A length of time as the file writes it: 90s, 5m, 2h, 1d. Raises: ValueError."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError("a length of time like 90s, 5m, 2h or 1d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def bounds_of(text: str) -> tuple[float, float]:
    """Least and most that a change may come late, as the file writes them: 1m, 1h; of a number, plain numbers.

    Raises: ValueError.
    """
    parts = [part.strip() for part in text.split(",")]
    found = [
        float(one) if re.fullmatch(r"\d{1,15}", one, re.ASCII) else length_of(one).total_seconds() for one in parts
    ]
    if len(found) != 2 or found[0] > found[1]:  # noqa: PLR2004  least and most
        raise ValueError("two lengths of time, least and most")
    return found[0], found[1]


def is_span(text: str) -> bool:
    """Whether a schedule is a length of time, and not a cron expression."""
    return _SPAN.fullmatch(text) is not None


def _span(text: str) -> str:
    length_of(text)
    return text


def _bounds(text: str) -> str:
    try:
        bounds_of(text)
    except ValueError:
        raise ValueError("least and most that a change may come late, like `1m, 1h`; of a number `10, 1000`") from None
    return text


def _cron(text: str) -> str:
    from bridge.moments import Cron  # noqa: PLC0415  few files have one, and every command reads the file

    try:
        Cron(text, zone="UTC")
    except ValueError:
        raise ValueError("five fields as in a crontab, like */15 6-22 * * 1-5") from None
    return text


def _rhythm(text: str) -> str:
    try:
        return text if is_span(text) else _cron(text)
    except ValueError:
        raise ValueError("a length of time like 1d, or five fields as in a crontab, like 0 3 * * 0") from None


def _hours(values: tuple[str, ...]) -> tuple[str, ...]:
    if not all(_HOURS.fullmatch(text) and text[:5] != text[6:] for text in values):
        raise ValueError("hours like 22:00-02:00")
    return values


Span = Annotated[str, AfterValidator(_span)]
Bounds = Annotated[str, AfterValidator(_bounds)]
CronText = Annotated[str, AfterValidator(_cron)]
Rhythm = Annotated[str, AfterValidator(_rhythm)]
Hours = Annotated[tuple[str, ...], BeforeValidator(split), AfterValidator(_hours)]


class BudgetConfig(Section):
    """What a legacy system may be asked (I10)."""

    connections: Whole = key("Sessions at most, replication included.", default=3, live=True, ge=2)
    slot_gigabytes: Number = key("Change log in GB that may wait on the server for us.", default=10.0, live=True, gt=0)
    snapshot_rows_per_second: Whole = key("Rows a second a re-read may take; 0 = no limit.", default=0, live=True, ge=0)
    active_seconds_per_minute: Number = key(
        "Seconds of a minute that polling may keep it at work; 60 = no limit.", default=30.0, live=True, gt=0, le=60
    )
    page_seconds: Number = key(
        "Seconds that one page should take: slower ones are asked for smaller.", default=1.0, live=True, gt=0, le=600
    )
    rows_per_run: Whole = key("Rows after which a run ends; 0 = no limit.", default=0, live=True, ge=0)
    gigabytes_per_run: Number = key("GB after which a run ends; 0 = no limit.", default=0.0, live=True, ge=0)
    quiet_hours: Hours = key(
        "Hours of the system's days in which it is not polled, like 22:00-02:00.", default=(), live=True
    )
    busy_sessions: Whole = key(
        "Others' sessions at work above which it is not polled; 0 = not asked.", default=0, live=True, ge=0
    )
    replica_lag_s: Number = key(
        "Seconds a replica may be behind while it is polled; 0 = not asked.", default=0.0, live=True, ge=0
    )
