"""The table of keys that the models define: what the reference in docs/ lists and mistakes are explained with."""

import functools
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bridge.config.models import File
from bridge.config.secrets import Secret

EACH = "*"  # stands for a name of the operator's choice in a key's path


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file."""

    path: tuple[str, ...]  # ("streams", "*", "on_reject")
    description: str
    default: str | None  # as written in YAML; None when required or a section
    required: bool
    choices: tuple[str, ...]  # allowed words, empty when free
    live: bool  # may change without a restart
    secret: bool

    @property
    def dotted(self) -> str:
        """The path for people: streams.*.on_reject."""
        return ".".join(self.path)


@functools.cache
def every() -> tuple[Key, ...]:
    """Every key that takes a value, in the order of the models."""
    return tuple(_walk(File, ()))


def at(path: tuple[str, ...]) -> Key | None:
    """The key a path of the file leads to (names of the operator's choice included), None when there is none."""
    return next((key for key in every() if len(key.path) == len(path) and _matches(key.path, path)), None)


def holding(path: tuple[str, ...]) -> Key | None:
    """The key a value stands under, itself or as an entry of its list or mapping."""
    return at(path) or (at(path[:-1]) if path else None)


def below(path: tuple[str, ...]) -> list[str]:
    """The keys a section takes; empty for values, free names and paths that lead nowhere."""
    children = (key.path[len(path)] for key in every() if len(key.path) > len(path) and _matches(key.path, path))
    return [child for child in dict.fromkeys(children) if child != EACH]


def _matches(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(pattern) >= len(path) and all(a in (EACH, b) for a, b in zip(pattern, path, strict=False))


def _walk(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        inner, each = _section(field.annotation)
        here = (*path, name)
        if inner is not None:
            yield from _walk(inner, (*here, EACH) if each else here)
        else:
            yield _key(here, field)


def _section(annotation: object) -> tuple[type[BaseModel] | None, bool]:
    """The model a key holds, and whether it holds one for each name; (None, False) for a plain value."""
    if typing.get_origin(annotation) is dict:
        return typing.get_args(annotation)[1], True
    if type(None) in _parts(annotation):  # a section that may be absent
        annotation = next(part for part in _parts(annotation) if part is not type(None))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    return None, False


def _key(path: tuple[str, ...], field: FieldInfo) -> Key:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return Key(
        path=path,
        description=field.description or "",
        default=None if field.is_required() else _written(field.get_default(call_default_factory=True)),
        required=field.is_required(),
        choices=tuple(dict.fromkeys(_words(field.annotation))),
        live=bool(extra.get("live")),
        secret=any(Secret in (part, *typing.get_args(part)) for part in _parts(field.annotation)),
    )


def _parts(annotation: object) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _words(annotation: object) -> Iterator[str]:
    for part in (*_parts(annotation), *typing.get_args(annotation)):
        if typing.get_origin(part) is typing.Literal:
            yield from typing.get_args(part)


def _written(value: object) -> str | None:
    if value is None or value is PydanticUndefined:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return f"[{', '.join(str(_written(one)) for one in value)}]"
    return str(value)
