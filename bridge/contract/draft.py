"""A first contract, written from the columns that a legacy system shows.

Promises: what can be known is there (fields, types, key); what only people know (purpose, meaning, units, how good the
data is meant to be) is left empty, so that `check` names each line until somebody has written it. Nothing is guessed
from values. Does no I/O.
"""

import json
import re
from collections.abc import Iterator, Sequence

import pyarrow as pa

from bridge.contract.kinds import INTEGER, Kind, of_arrow
from bridge.model import Column

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})  # of any YAML
# What a contract calls each kind of value, in `logicalType`.
LOGICAL = {
    Kind.TEXT: "string",
    Kind.INTEGER: "integer",
    Kind.DECIMAL: "number",
    Kind.DOUBLE: "number",
    Kind.BOOLEAN: "boolean",
    Kind.DATE: "date",
    Kind.TIMESTAMP: "timestamp",
    Kind.INSTANT: "timestamp",
    Kind.TIME: "time",
}
_HEAD = """\
# A first draft, from what {system} shows of {what}.
# What only people know is left empty: `legacy-bridge check` names each line until it is written (docs/contracts.md).

apiVersion: v3.1.0
kind: DataContract
id: {name}
version: 1.0.0
status: draft
name: {name}
description:
  purpose:  # what the rows are, and what they are for

schema:
  - name: {name}
    logicalType: object
"""
_TAIL = """
slaProperties:
  - {property: errorRate, value: , unit: percent}  # at most this share of rows may break the contract
"""


def draft(name: str, columns: Sequence[Column], key: Sequence[str], *, system: str, what: str) -> str:
    """The text of a first contract.

    Args:
        name: of the stream.
        columns: that its rows have.
        key: the columns that name a row, in order; empty for a stream without a key.
        system: where they are.
        what: they are of, in words.
    Returns: an ODCS document in YAML; a column that no field can be made of is named in a comment.
    """
    return "".join([_HEAD.format(name=name, system=system, what=what), *_properties(columns, key), _TAIL])


def _properties(columns: Sequence[Column], key: Sequence[str]) -> Iterator[str]:
    if not key:
        yield "    customProperties:\n      - {property: bridge.key, value: none}\n"
    yield "    properties:\n"
    taken: set[str] = set()
    for column in columns:
        if of_arrow(column.arrow) is None:
            yield f"      # {column.name}: no field can be of the type {column.type}\n"
            continue
        field = _field_name(column.name, taken)
        taken.add(field)
        yield from (f"{line}\n" for line in _property(field, column, key))


def _property(field: str, column: Column, key: Sequence[str]) -> Iterator[str]:
    found = INTEGER if pa.types.is_integer(column.arrow) else of_arrow(column.arrow)
    assert found is not None  # noqa: S101  asked by the caller
    yield f"      - name: {_scalar(field)}"
    yield f"        description:  # of {column.type}"
    yield f"        logicalType: {LOGICAL[found.kind]}"
    if column.name in key:
        yield from ("        primaryKey: true", f"        primaryKeyPosition: {key.index(column.name) + 1}")
        yield "        required: true"
    if found.kind is Kind.TIMESTAMP:
        yield "        logicalTypeOptions: {timezone: false}  # a clock on the wall"
    custom = []
    if found.kind is Kind.DECIMAL:
        custom.append(f'{{property: bridge.type, value: "decimal({column.arrow.precision},{found.scale})"}}')
    if found.kind is Kind.DOUBLE:
        custom.append("{property: bridge.type, value: double}")
    if found.kind in (Kind.INTEGER, Kind.DECIMAL, Kind.DOUBLE) and column.name not in key:
        custom.append("{property: bridge.unit, value: }  # USD, pieces, kg, none …")
    if custom:
        yield "        customProperties:"
    yield from (f"          - {each}" for each in custom)
    if field != column.name:
        yield f"        physicalName: {_scalar(column.name)}"


def _field_name(column: str, taken: set[str]) -> str:
    """A name that a field may have, and that none of the others has."""
    name = re.sub(r"[^a-z0-9_]+", "_", column.lower()).strip("_")
    name = name if _PLAIN.match(name) else f"field_{name}".rstrip("_")
    number = 2
    found = name
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found


def _scalar(text: str) -> str:
    """As YAML, in quotes unless it is plain without any doubt."""
    return text if _PLAIN.match(text) and text.lower() not in _WORDS else json.dumps(text, ensure_ascii=False)
