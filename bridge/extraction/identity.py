"""What a row is known by, whatever type its key has today.

A key column may become of another type: a table is altered, or a view casts or trims. A row is the same one then, so
the keys of the image are taken for what they are in the type of now. Were they left as they are, each row would be
told as new, and then, as an event of the same key, as gone. Padding of CHAR(n) is no part of a key, as in SQL.
"""

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from bridge.model import Column, Shape

_WIDEST = pa.decimal128(38, 0)
_PADDED = re.compile(r"\s*(n?char|character|bpchar)\s*(\(\s*\d+\s*\))?\s*$", re.IGNORECASE)

Kinds = tuple[tuple[str, pa.DataType | None], ...]  # of key columns


def kinds(shape: Shape, names: Sequence[str]) -> Kinds:
    """What decides how the keys of these columns are hashed; a column that is not there decides nothing."""
    of = {column.name: _kind(column) for column in shape.columns}
    return tuple(of.get(name, ("", None)) for name in names)


def named(keys: list[pa.Array], kinds_now: Kinds, *, kinds_then: Kinds = ()) -> list[pa.Array]:
    """Keys as they are hashed.

    Args:
        keys: by column.
        kinds_now: of the columns, as the system has them.
        kinds_then: of the columns when these keys were read; nothing: now.
    """
    then = kinds_then if len(kinds_then) == len(kinds_now) else kinds_now
    return [_named(key, now, was) for key, now, was in zip(keys, kinds_now, then, strict=True)]


def _kind(column: Column) -> tuple[str, pa.DataType | None]:
    of = column.arrow
    if pa.types.is_integer(of):
        return "integer", pa.int64() if of != pa.uint64() else of  # they hash alike
    if _is_text(of):
        return "padded" if _PADDED.match(column.type) else "text", pa.large_string()
    return "", of


def _named(key: pa.Array, now: tuple[str, pa.DataType | None], was: tuple[str, pa.DataType | None]) -> pa.Array:
    word, kind = now
    if _is_text(key.type) and "padded" in {word, was[0]}:
        key = pc.utf8_rtrim(key, characters=" ")
    is_plain = kind is None or key.type == kind or (word == "integer" and pa.types.is_integer(key.type))
    if is_plain or (word in {"text", "padded"} and _is_text(key.type)):
        return key
    try:
        if pa.types.is_decimal(kind) and pa.types.is_integer(key.type):
            key = key.cast(_WIDEST)
        return key.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return key  # none of what there is now: another row


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
