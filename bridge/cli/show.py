"""How commands print: tables for a terminal, aligned text for a pipe, JSON for programs.

Promises: one way of writing times and numbers; control characters in data never reach a terminal; NO_COLOR is obeyed.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

DASH = "-"  # a cell without a value


def on_terminal() -> bool:
    """Whether a person reads the output as it comes."""
    return sys.stdout.isatty()


def say(text: str = "") -> None:
    """Print a line of the result."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Print a message that is not part of the result."""
    sys.stderr.write(text + "\n")


def say_json(value: object) -> None:
    """Print one JSON document on one line; times as RFC 3339."""
    say(json.dumps(value, default=_json_default, ensure_ascii=False))


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows below headings: ruled on a terminal, aligned text otherwise."""
    cells = [[cell(value) for value in row] for row in rows]
    if on_terminal():
        _ruled(headings, cells)
    else:
        for line in aligned([list(headings), *cells]):
            say(line)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with the cells of each column below one another, two blanks apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def cell(value: object) -> str:
    """One value as text on one line."""
    if value is None or value == "":
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, float):
        return f"{value:.3g}"
    return printable(str(value))


def printable(text: str) -> str:
    """Text whose control characters are shown escaped, so that data cannot steer a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def moment(at: datetime) -> str:
    """A time in UTC to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def moment_of(text: str | None) -> str:
    """A time that came as ISO 8601 text, as all others are shown; a dash where there is none."""
    return moment(datetime.fromisoformat(text)) if text else DASH


def rfc3339(at: datetime) -> str:
    """A time in UTC to the microsecond, as events carry it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def span(seconds: float) -> str:
    """A length of time in its two largest units."""
    whole = int(seconds)
    if whole < 1:
        return f"{seconds * 1000:.0f} ms"
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join([f"{count} {unit}" for count, unit in units if count][:2])


def say_result(result: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what became of an act: a line, or a JSON object."""
    if as_json:
        say_json(dict(result))
    else:
        say(", ".join(f"{name}: {cell(value)}" for name, value in result.items()))


def _ruled(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(text, style=_STYLES.get(text, "")) for text in row))
    Console().print(drawn)


_STYLES = {
    "ok": "green", "pass": "green", "running": "green",
    "warn": "yellow", "paused": "yellow", "drift": "red", "fail": "red", "refuse": "red", "breached": "red",
}  # fmt: skip


def _json_default(value: object) -> object:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
