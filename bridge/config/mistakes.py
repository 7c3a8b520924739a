"""What is wrong with a file, said so that it can be mended: place, key, value, expectation, hint.

Values of secrets and of unknown keys (a misspelt `password`) are never repeated.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.config import keys
from bridge.config.secrets import is_secret_name, redact
from bridge.errors import ConfigError

KeyPath = tuple[str, ...]
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing to mend."""

    place: str  # "bridge.yaml:12", or the environment variable that set the value
    key: str  # "streams.orders.on_reject"
    problem: str  # "is 'hodl'"
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.place}: {self.key} {self.problem}; expected {self.expected}{hint}"


class InvalidConfig(ConfigError):
    """The file has mistakes; all of them are in `mistakes`, in the order of the file."""

    def __init__(self, file: str, mistakes: Sequence[Mistake]) -> None:
        count = f"{len(mistakes)} mistakes" if len(mistakes) > 1 else "1 mistake"
        super().__init__("\n  ".join([f"{count} in {file}", *map(str, mistakes)]))
        self.mistakes = tuple(mistakes)


def each(error: ConfigError) -> list[str]:
    """What an error says, one text for each mistake."""
    return list(map(str, error.mistakes)) if isinstance(error, InvalidConfig) else error.detail.splitlines()


def explain(error: Mapping[str, Any], *, place: str, path: KeyPath, value: object) -> Mistake:
    """Turn one finding of the models into a mistake.

    Args:
        error: an entry of `ValidationError.errors()`.
        place: where the key stands.
        path: the key; for an unknown one its own path.
        value: as the operator wrote it.
    """
    kind: str = error["type"]
    dotted = ".".join(path)
    if kind == "missing":
        known = keys.at(path)
        return Mistake(
            place, dotted, "is missing", f"a value: {known.description}" if known else "a section of this name"
        )
    if kind == "extra_forbidden":
        names = keys.below(path[:-1])
        return Mistake(place, dotted, "is not a known key", "one of " + ", ".join(names), did_you_mean(path[-1], names))
    expected = _expectation(error)
    key = keys.holding(path)
    choices = key.choices if key is not None else ()
    return Mistake(place, dotted, shown(path, value), expected, did_you_mean(str(value), choices))


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A hint at the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""


def shown(path: KeyPath, value: object) -> str:
    """The value in a sentence, unless it may be a secret."""
    if isinstance(value, dict):
        return "is a mapping"
    if isinstance(value, list):
        return "is a list"
    key = keys.holding(path)
    if key is None or key.secret or is_secret_name(path[-1]):
        return "is not right"
    if value is None:
        return "is empty"
    text = redact(json.dumps(value, ensure_ascii=True, default=str))
    return f"is {text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + '…'}"


def _expectation(error: Mapping[str, Any]) -> str:
    kind: str = error["type"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind in {"model_type", "dict_type", "model_attributes_type"}:
        return "a mapping of keys"
    if kind == "too_short":
        return "at least one entry"
    if kind == "string_too_short":
        return "some text"
    message: str = error["msg"]
    return message.replace("Input should be ", "").replace(", unable to parse string as an integer", "")
