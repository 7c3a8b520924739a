"""What a legacy row should look like as an event: a plain, row-by-row reading of a contract.

Written for the reckoning, so that a wrong value is found by a second reader of the same contract. It evaluates one
expression for one row in plain Python and knows no more of SQL than the demo's contracts use; anything else is an
error, never an unchecked field.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlglot
import yaml
from sqlglot import exp

from demo.comparison import Facts
from demo.oracle import Row, Table

NUMBERS = frozenset({"number", "integer"})


class NoContractValueError(ValueError):
    """The contract has no value for what the row holds: an impossible date, an unknown code."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a contract."""

    name: str
    kind: str  # ODCS logicalType
    expression: exp.Expr

    @property
    def columns(self) -> set[str]:
        """The legacy columns it reads."""
        return {column.name for column in self.expression.find_all(exp.Column)}


@dataclass(frozen=True, slots=True)
class Expectation:
    """A contract as the reckoning reads it."""

    table: Table
    fields: tuple[Field, ...]

    @property
    def long(self) -> frozenset[str]:
        """Fields that come from the long column."""
        return frozenset(field.name for field in self.fields if self.table.long in field.columns)

    def facts(self, row: Row) -> Facts | None:
        """What an event of this row should hold; None when a field has no contract value."""
        try:
            values = {field.name: evaluate(field.expression, row) for field in self.fields}
        except NoContractValueError:
            return None
        return self.canonical(values)

    def shown(self, data: Mapping[str, Any]) -> Facts:
        """What an event says, in the same canonical texts."""
        digests = {name: _digest(data[name]) for name in self.long if data.get(name) is not None}
        return self.canonical({**data, **digests})

    def canonical(self, values: Mapping[str, Any]) -> Facts:
        """Canonical texts; fields without a value, and names the contract does not have, as they are."""
        kinds = {field.name: field.kind for field in self.fields}
        return {name: canonical(kinds.get(name, ""), value) for name, value in values.items() if value is not None}


def load(contract: Path, table: Table) -> Expectation:
    """Read the fields and their expressions off an ODCS document."""
    document = yaml.safe_load(contract.read_text(encoding="utf-8"))
    found = []
    for each in document["schema"][0]["properties"]:
        text = each.get("transformLogic") or each.get("physicalName") or each["name"]
        found.append(Field(each["name"], each["logicalType"], sqlglot.parse_one(text, read="postgres")))
    return Expectation(table, tuple(found))


def canonical(kind: str, value: Any) -> str:  # noqa: ANN401  a JSON value or what `evaluate` gives
    """One text for one value, however it was written."""
    if kind in NUMBERS:
        return format(Decimal(str(value)).normalize(), "f")
    if kind == "timestamp":
        at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return (at.astimezone(UTC) if at.tzinfo else at).isoformat()
    return str(value)


def evaluate(node: exp.Expr, row: Row) -> Any:  # noqa: ANN401  SQL values are of many types
    """Evaluate an expression for one row. Raises: NotImplementedError for what the demo's contracts do not use."""
    match node:
        case exp.Column():
            return row[node.name]
        case exp.Literal():
            return node.this if node.is_string else Decimal(node.this)
        case exp.Null():
            return None
        case exp.Case():
            taken = (branch.args["true"] for branch in node.args["ifs"] if evaluate(branch.this, row))
            return evaluate(next(taken, node.args.get("default") or exp.Null()), row)
        case _:
            return _call(node, row)


def _call(node: exp.Expr, row: Row) -> Any:  # noqa: ANN401
    arguments = [evaluate(each, row) for each in _arguments(node)]
    name = node.name.lower() if isinstance(node, exp.Anonymous) else node.key
    if name not in FUNCTIONS:
        raise NotImplementedError(f"the reckoning cannot evaluate {node.sql('postgres')}")
    return FUNCTIONS[name](*arguments)


def _arguments(node: exp.Expr) -> list[exp.Expr]:
    if isinstance(node, exp.Anonymous):
        return list(node.expressions)
    rest = node.args.get("expression")
    return [node.this, *([rest] if isinstance(rest, exp.Expr) else []), *node.expressions]


def _trim(text: str | None) -> str | None:
    return None if text is None else text.strip(" ")


def _cyymmdd(number: str | None, _zone: str = "") -> date | None:
    """The day; the zone says whose, and does not move it."""
    if number is None or int(number) == 0:
        return None
    years, day = divmod(int(number), 10_000)  # 126 and 1123 for 23 November 2026
    try:
        return date(1900 + years, day // 100, day % 100)
    except ValueError as error:
        raise NoContractValueError("no such day") from error


def _implied_decimal(number: str | None, places: Decimal) -> Decimal | None:
    return None if number is None else Decimal(number).scaleb(-int(places))


def _code(letter: str | None, *pairs: str) -> str | None:
    if letter is None:
        return None
    try:
        return dict(zip(pairs[::2], pairs[1::2], strict=True))[letter.strip()]
    except KeyError as error:
        raise NoContractValueError("no such code") from error


def _repair_charset(text: str | None, charset: str) -> str | None:
    if text is None:
        return None
    try:
        return text.encode(charset).decode("utf-8")
    except UnicodeError:
        return text


def _local_time(text: str | None, zone: str) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def _equal(left: Any, right: Any) -> bool | None:  # noqa: ANN401
    if left is None or right is None:
        return None
    try:
        return Decimal(left) == Decimal(right)
    except InvalidOperation:
        return bool(left == right)


def _digest(text: str) -> str:
    return f"sha256:{sha256(text.encode()).hexdigest()}"


FUNCTIONS: Mapping[str, Any] = {
    "paren": lambda value: value,
    "trim": _trim,
    "cyymmdd": _cyymmdd,
    "implied_decimal": _implied_decimal,
    "code": _code,
    "repair_charset": _repair_charset,
    "local_time": _local_time,
    "eq": _equal,
    "nullif": lambda left, right: None if _equal(left, right) else left,
    "coalesce": lambda *values: next((value for value in values if value is not None), None),
    "lower": lambda text: None if text is None else text.lower(),
    "upper": lambda text: None if text is None else text.upper(),
}
