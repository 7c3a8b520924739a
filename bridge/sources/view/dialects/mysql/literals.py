"""Values as MySQL's literals. Text and bytes are written in hexadecimal: no value can end its literal."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from bridge.errors import InternalError, SourceRefused
from bridge.sources.view.dialects.mysql.types import Type
from bridge.sources.view.statement import Value

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?", re.ASCII)
_TIME = re.compile(r"-?[0-9][0-9 :.-]{0,31}", re.ASCII)


def literal(value: Value, type_: Type | None) -> str:
    """A value of a statement.

    Args:
        value: a parameter, or a value to compare a column with: as `last_values` kept it, or an Arrow scalar.
        type_: of the column; None for a parameter.
    Raises: SourceRefused for a value that its column cannot be compared with.
    """
    plain = value.value.as_py() if isinstance(value.value, pa.Scalar) else value.value
    if plain is None:
        return "NULL"
    if type_ is None:
        return _parameter(plain)
    if type_.literal == "number":
        return _matched(_NUMBER, _numeral(plain), type_)
    if type_.literal == "time":
        return f"'{_matched(_TIME, _moment(plain), type_)}'"
    if type_.literal == "bytes":
        return _bytes(bytes.fromhex(plain) if isinstance(plain, str) else bytes(plain))
    if isinstance(plain, Mapping):  # text that is not in its character set
        plain, charset = bytes.fromhex(plain["raw"]), type_.charset
    else:
        plain, charset = str(plain).encode("utf-8", "replace"), "utf8mb4"
    return _text(plain, charset)


def _parameter(plain: Any) -> str:  # noqa: ANN401  one of `parameters.TYPES`
    if isinstance(plain, bool):
        return "TRUE" if plain else "FALSE"
    if isinstance(plain, (int, Decimal)):
        return format(plain, "f") if isinstance(plain, Decimal) else str(plain)
    if isinstance(plain, (date, datetime)):
        return f"'{_moment(plain)}'"
    if isinstance(plain, str):
        return _text(plain.encode("utf-8", "replace"))
    raise InternalError(f"a parameter is of the Python type {type(plain).__name__}")


def _moment(plain: Any) -> str:  # noqa: ANN401  text as it came, or Python's value of it
    if isinstance(plain, datetime) and plain.tzinfo is not None:
        plain = plain.astimezone(UTC).replace(tzinfo=None)  # the session's time zone
    return plain.isoformat(" ") if isinstance(plain, datetime) else str(plain)


def _numeral(plain: Any) -> str:  # noqa: ANN401  as above
    if isinstance(plain, Decimal):
        return format(plain, "f")
    return repr(plain) if isinstance(plain, float) else str(plain)


def _matched(pattern: re.Pattern[str], text: str, type_: Type) -> str:
    if not pattern.fullmatch(text):
        detail = f"column {type_.column.name} ({type_.column.type}) cannot go on behind the value it ended with"
        raise SourceRefused(detail, hint="Choose a key and a cursor whose values are whole.")
    return text


def _text(raw: bytes, charset: str = "utf8mb4") -> str:
    return f"_{charset} x'{raw.hex()}'" if raw else "''"


def _bytes(raw: bytes) -> str:
    return f"x'{raw.hex()}'" if raw else "''"
