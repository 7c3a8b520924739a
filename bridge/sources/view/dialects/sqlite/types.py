"""What each declared type of SQLite becomes. The type binds no cell: one that is none of it is marked with its text."""

import re
from collections.abc import Callable
from datetime import date, datetime
from functools import partial
from typing import Any

import pyarrow as pa

from bridge.model import Column
from bridge.sources.view.dialects.blocks import Kind, Read, decimal_within, plain, text_of

_MAX_DIGITS = 38
_DECIMAL = re.compile(r"(?:DECIMAL|NUMERIC|NUMBER|MONEY)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)", re.IGNORECASE)


class NoText(bytes):
    """What a cell holds as text, and is none."""


def quote(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def read_text(cell: Any) -> Any:  # noqa: ANN401  what SQLite holds
    """A cell whose text came as the digits of its bytes; text that is none stays NoText."""
    if not isinstance(cell, str):
        return cell
    raw = bytes.fromhex(cell)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return NoText(raw)


def kind_of(name: str, declared: str) -> Kind:
    """How a column is read, by its declared type, as SQLite's own rules of affinity find words in it."""
    said = declared.upper()
    if match := _DECIMAL.search(said):
        digits, scale = int(match[1]), int(match[2] or 0)
        if scale <= digits <= _MAX_DIGITS and digits:
            arrow = pa.decimal128(digits, scale)
            read = decimal_within(scale)
            return Kind(Column(name, declared.lower(), arrow), read, partial(_decimals, arrow, read))
    for words, arrow, read, read_all in _BY_WORD:
        if any(word in said for word in words):
            return Kind(Column(name, declared.lower(), arrow), read, read_all)
    return Kind(Column(name, declared.lower() or "any", pa.large_string()), text_of, plain(pa.large_string(), str))


def _decimals(arrow: pa.DataType, read: Read, values: list[Any]) -> pa.Array:
    return pa.array([None if value is None else read(value) for value in values], arrow)


def _whole(value: Any) -> int:  # noqa: ANN401  what SQLite holds
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("no whole number")
    return value


def _float(value: Any) -> float:  # noqa: ANN401  as above
    if isinstance(value, (bool, str, bytes)) or float(value) != value:
        raise TypeError("no number")
    return float(value)


def _text(value: Any) -> str:  # noqa: ANN401  as above
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _blob(value: Any) -> bytes:  # noqa: ANN401  as above
    if not isinstance(value, bytes) or isinstance(value, NoText):
        raise TypeError("no bytes")
    return value


def _flag(value: Any) -> bool:  # noqa: ANN401  as above
    if value not in (0, 1):
        raise ValueError("neither 0 nor 1")
    return bool(value)


def _day(value: Any) -> date:  # noqa: ANN401  as above
    return date.fromisoformat(_text(value))


def _moment(value: Any) -> datetime:  # noqa: ANN401  as above
    found = datetime.fromisoformat(_text(value))
    if found.tzinfo is not None:
        raise ValueError("a local time was declared, and this has a zone")
    return found


_ReadAll = Callable[[list[Any]], pa.Array] | None
# The first whose word is in the declared type counts. DATETIME before DATE before SQLite's own order.
_BY_WORD: tuple[tuple[tuple[str, ...], pa.DataType, Callable[[Any], Any], _ReadAll], ...] = (
    (("DATETIME", "TIMESTAMP"), pa.timestamp("us"), _moment, None),
    (("DATE",), pa.date32(), _day, None),
    (("BOOL",), pa.bool_(), _flag, None),
    (("INT",), pa.int64(), _whole, plain(pa.int64(), int)),
    (("CHAR", "CLOB", "TEXT", "JSON", "UUID", "TIME"), pa.large_string(), _text, plain(pa.large_string(), str)),
    (("BLOB", "BINARY"), pa.large_binary(), _blob, plain(pa.large_binary(), bytes)),
    (("REAL", "FLOA", "DOUB"), pa.float64(), _float, plain(pa.float64(), float)),
)
