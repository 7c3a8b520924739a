"""JSON as it was written: numbers keep their digits, nothing is merged, rounded or guessed, and everything is bounded.

Reads RFC 8259 in UTF-8. What another reader may understand otherwise is not JSON here: a name given twice, NaN, more
than `DEPTH_LIMIT` levels, bytes that are no UTF-8.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

DEPTH_LIMIT = 64

Value = Any  # str, Number, True, False, None, a dict or list of these


class NotJson(ValueError):
    """The text is not JSON, or not the kind of JSON that is read here; says why, never what was written."""


class Number(str):
    """A number in the digits it was written with."""

    __slots__ = ()


def read(body: bytes) -> Value:
    """The value that a text stands for. Raises: NotJson."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NotJson("is not UTF-8") from None
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise NotJson(f"has more than {DEPTH_LIMIT} levels") from None
    except json.JSONDecodeError as error:
        raise NotJson(f"is not JSON from line {error.lineno}, column {error.colno}") from None
    if text.count("[") + text.count("{") > DEPTH_LIMIT and _is_deep(value):
        raise NotJson(f"has more than {DEPTH_LIMIT} levels")
    return value


def compact(value: Value) -> str:
    """The shortest text of a value, names in the order they came in."""
    if isinstance(value, Number):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{_quoted(name)}:{compact(one)}' for name, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(compact, value))}]"
    return _quoted(value)


def text(value: Value) -> str | None:
    """A value as text: a string's characters, a number's digits, true or false, compact JSON; None for null."""
    if value is None:
        return None
    return str.__str__(value) if isinstance(value, str) else compact(value)


def _quoted(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)


def _object(pairs: Sequence[tuple[str, Value]]) -> dict[str, Value]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotJson("gives a name twice")
    return found


def _constant(_name: str) -> Value:
    raise NotJson("has a number that is none")


def _is_deep(value: Value) -> bool:
    """Whether a value has more levels than allowed; looks no deeper."""
    layer = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEPTH_LIMIT):
        children = [child for each in layer for child in (each.values() if isinstance(each, dict) else each)]
        layer = [child for child in children if isinstance(child, (dict, list))]
    return bool(layer)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=Number, parse_int=Number, parse_constant=_constant, strict=True
)
