"""Values as SQLite compares them: it knows numbers, text and bytes, and a moment is whatever text somebody wrote."""

import contextlib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from datetime import time as clock
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from bridge.sources.view.dialects.blocks import Kind, kept, restored, text_of
from bridge.sources.view.dialects.sqlite.types import NoText, quote
from bridge.sources.view.statement import Sql, Value, rendered

_NO_KINDS: Mapping[str, Kind] = MappingProxyType({})


def bound(sql: Sql, kinds: Mapping[str, Kind] = _NO_KINDS) -> tuple[str, list[Any]]:
    """The statement and what is bound to it."""
    values: list[Any] = []

    def hold(value: Value, _: int) -> str:
        if isinstance(value.value, Mapping) and "text" in value.value:
            values.append(bytes.fromhex(value.value["text"]))
            return "CAST(? AS TEXT)"
        found = restored(value.value)
        if isinstance(found, datetime) and isinstance(value.value, pa.Scalar):
            return _moment(found, f"v.{quote(value.column or '')}", values)
        values.append(_binding(found))
        kind = kinds.get(value.column or "")
        if kind is None or kind.read is not text_of or not isinstance(value.value, pa.Scalar):
            return "?"
        number = _number(values[-1])  # the column binds no type, and its numbers came as text
        if number is None:
            return "?"
        values.append(number)
        return f"CASE typeof(v.{quote(kind.column.name)}) WHEN 'text' THEN ? ELSE ? END"

    return rendered(sql, hold)[0], values


def _moment(found: datetime, column: str, values: list[Any]) -> str:
    """A moment that a column is compared with, spelled as the column's own cell spells it."""
    spellings = _spellings(found)
    for spelling in spellings[1:]:
        values += [spelling, spelling]
    values.append(spellings[0])
    return f"CASE {column} {' '.join(['WHEN ? THEN ?'] * (len(spellings) - 1))} ELSE ? END"


def _spellings(found: datetime) -> list[str]:
    """The forms of a moment that are in use, the shortest with its seconds first."""
    naive = found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
    plain, micros = naive.isoformat(" ", "seconds"), f"{naive.microsecond:06d}"
    fractions = dict.fromkeys([micros.rstrip("0"), *([micros[:3]] if micros.endswith("000") else []), micros])
    forms = [f"{plain}.{fraction}".rstrip(".") for fraction in fractions]
    if not naive.microsecond and not naive.second:
        forms += [plain[:16], *([plain[:10]] if not naive.hour and not naive.minute else [])]
    return [*forms, *(form.replace(" ", "T") for form in forms if " " in form)]


def _number(text: str) -> int | float | None:
    """What `text_of` made this of, if it may be a number."""
    for read in (int, float):
        with contextlib.suppress(ValueError):
            number: int | float = read(text)
            if text_of(number) == text:
                return number
    return None


def kept_of(value: Any) -> Any:  # noqa: ANN401  what SQLite holds
    """As `kept`; text that is none sorts among texts, and not among bytes."""
    return {"text": value.hex()} if isinstance(value, NoText) else kept(value)


def _binding(found: Any) -> Any:  # noqa: ANN401  what SQLite takes
    """A value as SQLite would hold it: it knows numbers, text and bytes."""
    if isinstance(found, bool):
        return int(found)
    if isinstance(found, Decimal):
        return str(found)  # compared with a numeric column, it becomes a number
    if isinstance(found, datetime):
        return _spellings(found)[0]
    return found.isoformat() if isinstance(found, (date, clock)) else found
