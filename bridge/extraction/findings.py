"""What is wrong with a polled source, for people."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that somebody should look at."""

    level: Literal["warn", "fail"]
    code: str
    detail: str
    fix: str


_ODD = {
    "rows_that_share_a_key": (
        "view.double_keys",
        "rows have a key that another row of the last reading has; one of each is told",
        "Name a key in the view's header that is unique, or make the view's rows so.",
    ),
    "rows_without_a_key": (
        "view.null_keys",
        "rows have no value in a key column; they are told once, and their going is not",
        "Leave them out in the view, or name another key.",
    ),
    "cursors_ahead": (
        "view.future_cursor",
        "pages held a cursor that is still to come; what has a lower one is looked for as if it were not there",
        "Mend the rows, or have the view show another cursor.",
    ),
}


def odd(stream: str, counts: dict[str, int]) -> list[Finding]:
    """What readings found odd about the rows of a stream."""
    return [
        Finding("warn", code, f"stream {stream}: {counts[what]} {text}", fix)
        for what, (code, text, fix) in _ODD.items()
        if counts.get(what)
    ]


def failed(stream: str, why: str) -> Finding:
    """The last run of a stream failed."""
    return Finding(
        "warn", "view.run_failed", f"stream {stream}: its last run failed: {why}", "See `legacy-bridge runs`."
    )


def held(why: str) -> Finding:
    """Nothing is read."""
    return Finding("warn", "view.paused", f"nothing is read: {why}", "See `legacy-bridge system resume`.")
