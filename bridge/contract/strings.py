"""Text functions and patterns of contract expressions in Polars' terms."""

import re
from typing import Any

import polars as pl
from sqlglot import exp

from bridge.contract.kinds import INTEGER, TEXT, ValueType


def apply(call: type[exp.Expression], text: pl.Expr, arguments: dict[str, Any]) -> tuple[pl.Expr, ValueType]:  # noqa: PLR0911 - one line a function
    """One text function with literal arguments, as named by the parser.

    Raises: ValueError saying what the function takes.
    """
    if call is exp.Lower:
        return text.str.to_lowercase(), TEXT
    if call is exp.Upper:
        return text.str.to_uppercase(), TEXT
    if call is exp.Length:
        return text.str.len_chars().cast(pl.Int64), INTEGER
    if call is exp.Trim:
        return _trim(text, arguments), TEXT
    if call is exp.Replace:
        old, new = arguments.get("expression"), arguments.get("replacement")
        if not isinstance(old, str) or not isinstance(new, str) or not old:
            raise ValueError("replace takes a text and two text literals")
        return text.str.replace_all(old, new, literal=True), TEXT
    if call is exp.Substring:
        start, length = _count(arguments, "start", least=1), arguments.get("length")
        return text.str.slice(start - 1, None if length is None else _count(arguments, "length")), TEXT
    count = _count(arguments, "expression")
    return (text.str.head(count) if call is exp.Left else text.str.tail(count)), TEXT


def _trim(text: pl.Expr, arguments: dict[str, Any]) -> pl.Expr:
    letters = arguments.get("expression", " ")
    if not isinstance(letters, str):
        raise ValueError("trim takes the characters to cut as a text literal")  # noqa: TRY004 - of the contract, not of us
    position = str(arguments.get("position") or "BOTH").upper()
    if position == "LEADING":
        return text.str.strip_chars_start(letters)
    return text.str.strip_chars_end(letters) if position == "TRAILING" else text.str.strip_chars(letters)


def _count(arguments: dict[str, Any], name: str, *, least: int = 0) -> int:
    count = arguments.get(name)
    if not isinstance(count, int) or count < least:
        raise ValueError(f"positions and lengths are whole numbers from {least}")
    return count


def like_regex(pattern: str, *, fold: bool) -> str:
    """The regular expression of a LIKE pattern; backslash escapes."""
    parts = []
    letters = iter(pattern)
    for letter in letters:
        if letter == "\\":
            parts.append(re.escape(next(letters, "\\")))
        else:
            parts.append({"%": ".*", "_": "."}.get(letter) or re.escape(letter))
    return f"(?s{'i' if fold else ''})^{''.join(parts)}$"


_ESCAPES = {"d": "[0-9]", "D": "[^0-9]", "w": "[A-Za-z0-9_]", "W": "[^A-Za-z0-9_]", "b": r"(?-u:\b)", "/": "/",
            "s": r"[\s\u{FEFF}]", "S": r"[^\s\u{FEFF}]"}  # fmt: skip
_PATTERN = re.compile(
    r"\\(?P<escaped>u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[^ux])|(?P<group>\(\?(?!:).?.?)|(?P<letter>.)", re.DOTALL
)


def ecma_regex(pattern: str) -> str:
    """An ECMA-262 pattern, as ODCS and JSON Schema write it, in Rust's syntax; it searches, it is not anchored.

    Raises: ValueError naming a construct that does not exist here (look-around, back-references, named groups).
    """
    parts: list[str] = []
    in_class = False
    for match in _PATTERN.finditer(pattern):
        escaped, group, letter = match["escaped"], match["group"], match["letter"]
        if escaped:
            if (escaped.isdigit() and escaped != "0") or escaped in {"k", "c", "p", "P", "B"}:
                raise ValueError(f"`\\{escaped}` is not available in patterns")
            if in_class and escaped == "b":
                raise ValueError("`[\\b]` is not available in patterns")
            parts.append(_ESCAPES.get(escaped) or _escape(escaped))
        elif group and not in_class:
            raise ValueError(f"`{group}` is not available in patterns: no look-around, flags or named groups")
        else:
            parts.append(_letter(group or letter, in_class=in_class))
            if group or letter not in "[]":
                continue
            in_class = letter == "[" or (in_class and letter != "]")
    translated = "".join(parts)
    try:
        pl.select(pl.lit("").str.contains(translated))
    except pl.exceptions.PolarsError as error:
        raise ValueError("is not a regular expression that exists here") from error
    return translated


def _letter(letter: str, *, in_class: bool) -> str:
    if in_class:
        return re.sub(r"([\[&~])", r"\\\1", letter)
    return r"[^\n\r\u{2028}\u{2029}]" if letter == "." else letter


def _escape(escaped: str) -> str:
    if escaped == "0":
        return r"\x00"
    return f"\\u{{{escaped[1:]}}}" if escaped[0] == "u" and len(escaped) > 1 else f"\\{escaped}"
