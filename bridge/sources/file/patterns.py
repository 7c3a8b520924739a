"""Patterns of dates and timestamps, held to the letter.

The reader of dates takes fewer digits than a pattern has, and so makes a day of `2025111` and a year of `25`. The shape
of a pattern lets only such texts through as can be read in one way. A fraction finer than microseconds is no value.
"""

import re
from functools import lru_cache

from bridge.sources.file.fields import UnreadableLayout

_PIECE = re.compile(r"%[-_0]?(\.?[369]?f|:?z|[A-Za-z%])|(\s+)|([^%\s])")
_TOGETHER = {"%F": "%Y-%m-%d", "%T": "%H:%M:%S", "%R": "%H:%M", "%D": "%m/%d/%y"}
_ALWAYS = {"Y": 4, "y": 2, "j": 3, "3f": 3, "6f": 6}  # digits
_ONE_OR_TWO = frozenset("mdeHkIlMS")
_FRACTIONS = frozenset({".f", ".3f", ".6f", ".9f"})
_FREE = frozenset({"b", "B", "h", "a", "A", "p", "P", "z", ":z", "Z"})


@lru_cache(maxsize=256)
def shape(pattern: str) -> str:
    """A regular expression of the texts that a pattern reads. Raises: UnreadableLayout."""
    for short, long in _TOGETHER.items():
        pattern = pattern.replace(short, long)
    found = list(_PIECE.finditer(pattern))
    if "".join(one[0] for one in found) != pattern:
        raise UnreadableLayout(f"format `{pattern}`: cannot be read")
    kinds = [one[1] or "" for one in found]
    numeric = [False, *(kind in _ALWAYS or kind in _ONE_OR_TWO for kind in kinds), False]
    parts = [
        _part(one, is_beside_digits=numeric[at] or numeric[at + 2], pattern=pattern) for at, one in enumerate(found)
    ]
    return f"^{''.join(parts)}$"


def _part(one: re.Match[str], *, is_beside_digits: bool, pattern: str) -> str:
    kind = one[1]
    if kind is None:
        return r"\s*" if one[2] else re.escape(one[3])
    if kind in _ALWAYS:
        return f"[0-9]{{{_ALWAYS[kind]}}}"
    if kind in _ONE_OR_TWO:
        first = "[0-5 ]" if kind == "S" else "[0-9 ]"  # a leap second would become the next minute
        return f"{first}[0-9]" if is_beside_digits else f"{first}?[0-9]"
    if kind in _FRACTIONS:
        return r"(?:\.[0-9]{1,6}0*)?"
    if kind in _FREE:
        return ".+"
    if kind == "%":
        return "%"
    more = "; fractions of a second are `%.f` with their point, `%3f` or `%6f` without" if kind == "f" else ""
    raise UnreadableLayout(f"format `{pattern}`: `%{kind}` is not supported{more}")
