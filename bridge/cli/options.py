"""Options and arguments that many commands have."""

import re
from datetime import timedelta
from typing import Annotated

import typer

_SPAN = re.compile(r"(?![0-9]{5,}\s*w)([1-9][0-9]{0,5})\s*(min|m|h|d|w)")  # of weeks so many as a calendar holds
_UNITS = {"m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
JsonLines = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
Stream = Annotated[str, typer.Argument(metavar="STREAM", help="Name of the stream.", show_default=False)]
System = Annotated[str, typer.Argument(metavar="SYSTEM", help="Name of the legacy system.", show_default=False)]
OfStream = Annotated[str | None, typer.Option("--stream", metavar="STREAM", help="Every open letter of this stream.")]
OfSink = Annotated[str | None, typer.Option("--sink", metavar="SINK", help="Every open letter of this sink.")]
Principal = Annotated[str, typer.Argument(metavar="PRINCIPAL", help="Whose it is.", show_default=False)]
Cursor = Annotated[str, typer.Argument(metavar="NAME", help="Name of the cursor.", show_default=False)]


def span(text: str) -> timedelta:
    """A length of time like 90d. Raises: BadParameter."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no length of time like 30m, 24h, 90d or 52w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
