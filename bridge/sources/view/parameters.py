"""Parameters of a view: `:name` in its SQL, typed, and bound by the driver; never pasted into the SQL."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from bridge.errors import ConfigError

_DECLARED = re.compile(r"([a-z_][a-z0-9_]{0,62})\s+([a-z]+)(?:\s*=\s*(.*))?", re.DOTALL)
_MAX_TEXT = 10_000


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter with its value, if it has one."""

    name: str
    type: str  # one of TYPES
    value: Any = None  # of the Python type of its type
    has_value: bool = False

    def given(self, value: object) -> "Parameter":
        """The parameter with this value. Raises: ConfigError when the value is not of its type."""
        return replace(self, value=_typed(self.name, self.type, value), has_value=True)


def read_parameter(text: str) -> Parameter:
    """A declaration like `region text = EU`. Raises: ConfigError; its detail never shows the value."""
    match = _DECLARED.fullmatch(text.strip())
    if match is None:
        raise ConfigError("is not declared as NAME TYPE = DEFAULT")
    name, type_, default = match.groups()
    if type_ not in TYPES:
        raise ConfigError(f"{name} has the unknown type {type_}")
    declared = Parameter(name, type_)
    return declared if default is None else declared.given(default)


def _typed(name: str, type_: str, value: object) -> Any:  # noqa: ANN401  a value of one of TYPES
    if isinstance(value, float):
        value = repr(value)
    elif isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, (int, Decimal)):
        value = str(value)
    elif isinstance(value, (date, datetime)):
        value = value.isoformat()
    if not isinstance(value, str) or len(value) > _MAX_TEXT or "\0" in value:
        raise ConfigError(f"{name} has a value that is not {_EXPECTED[type_]}")
    try:
        return TYPES[type_](value)
    except (ValueError, InvalidOperation) as error:
        raise ConfigError(f"{name} has a value that is not {_EXPECTED[type_]}") from error


def _number(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError
    return value


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def _integer(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,19}", text) or not -(1 << 63) <= int(text) < 1 << 63:
        raise ValueError
    return int(text)


def _text(text: str) -> str:
    return text[1:-1].replace("''", "'") if len(text) > 1 and text[0] == text[-1] == "'" else text


# How the value of each type is read from text.
TYPES: Mapping[str, Callable[[str], Any]] = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": date.fromisoformat,
    "timestamp": datetime.fromisoformat,
}
_EXPECTED = {
    "text": "text",
    "integer": "a whole number of 64 bits",
    "number": "a number",
    "boolean": "true or false",
    "date": "a date like 2026-01-31",
    "timestamp": "a time like 2026-01-31T12:00:00+00:00",
}
