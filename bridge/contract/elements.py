"""The four elements every contract must have: schema, meaning, version, quality level."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlglot import exp

from bridge.contract import expression, kinds, strings
from bridge.contract.kinds import Kind, ValueType
from bridge.contract.reading import Reader
from bridge.contract.terms import Field, RowRule, ValidityLevel
from bridge.yamlfile import DataPath

API_VERSION = re.compile(r"v3\.[0-2]\.\d+\Z")
SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?\Z")
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_WINDOW = re.compile(r"([1-9]\d{0,5})([smhd])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_UNITS = {name: _SECONDS[names[0]] for names in ("s sec second seconds", "m min minute minutes", "h hr hour hours",
    "d day days") for name in names.split()}  # fmt: skip
_DECIMAL = re.compile(r"decimal\((\d{1,2}),\s*(\d{1,2})\)\Z")
_MARKS = frozenset({"nan", "infinity"})
_OPTIONS = {
    Kind.TEXT: {"minLength", "maxLength", "pattern"},
    Kind.INTEGER: {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    Kind.DECIMAL: {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    Kind.DOUBLE: {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    Kind.DATE: {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    Kind.TIMESTAMP: {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "timezone"},
    Kind.INSTANT: {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "timezone"},
}
_PROPERTIES: DataPath = ("schema", 0, "properties")


def identity(reader: Reader) -> tuple[str, str]:
    """The contract's id and version."""
    api = reader.text(("apiVersion",), "schema: `apiVersion` is missing, write v3.1.0")
    if api and not API_VERSION.match(api):
        reader.mistake(("apiVersion",), "schema: `apiVersion` is not one of v3.0 to v3.2, write v3.1.0")
    if reader.get(("kind",)) != "DataContract":
        reader.mistake(("kind",), "schema: `kind` must be DataContract")
    contract_id = reader.text(("id",), "schema: `id` is missing")
    version = reader.text(("version",), "version: `version` is missing, write 1.0.0")
    if version and not SEMVER.match(version):
        reader.mistake(("version",), "version: is not a semantic version such as 1.0.0")
    return contract_id, version


def purpose(reader: Reader) -> str:
    """What the contract's data is for."""
    return reader.text(("description", "purpose"), "meaning: `description.purpose` is missing")


def validity(reader: Reader) -> ValidityLevel | None:
    """The validity level, if `errorRate` states one; a mistake when no level of any sort is stated."""
    entries = reader.get(("slaProperties",)) or []
    if not any(entry.get("property") and entry.get("value") is not None for entry in entries):
        reader.mistake(("slaProperties",), "quality: no level is stated; write slaProperties with errorRate or latency")
    for index, entry in enumerate(entries):
        if entry.get("property") != "errorRate":
            continue
        path: DataPath = ("slaProperties", index)
        value, window = entry.get("value"), _WINDOW.match(str(reader.custom(path).get("validity_window", "1h")))
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 100:  # noqa: PLR2004 - percent
            reader.mistake((*path, "value"), "quality: errorRate is a percentage from 0 to 100")
        elif entry.get("unit") != "percent":
            reader.mistake(path, "quality: errorRate needs `unit: percent`")
        elif window is None:
            reader.mistake(path, "quality: `bridge.validity_window` is a time such as 15m, 1h or 7d")
        else:
            return ValidityLevel(float(value), int(window[1]) * _SECONDS[window[2]])
    return None


def level_s(reader: Reader, name: str) -> float | None:
    """A level that is a length of time, in seconds; None where none is stated, or in a unit that is no such length."""
    for entry in reader.get(("slaProperties",)) or []:
        value, unit = entry.get("value"), _UNITS.get(str(entry.get("unit", "")).lower())
        if entry.get("property") == name and isinstance(value, int | float) and unit and value > 0:
            return float(value) * unit
    return None


def fields(reader: Reader) -> tuple[Field, ...]:
    """The fields of the one schema object."""
    objects = reader.get(("schema",)) or []
    if len(objects) != 1:
        reader.mistake(("schema",), f"schema: exactly one object is expected, not {len(objects)}")
        return ()
    entries = reader.get(_PROPERTIES) or []
    if not entries:
        reader.mistake(("schema", 0), "schema: has no properties")
    found = tuple(_field(reader, (*_PROPERTIES, index)) for index in range(len(entries)))
    names = [field.name for field in found]
    for index, name in enumerate(names):
        if name in names[:index]:
            reader.mistake((*_PROPERTIES, index, "name"), f"schema: the field `{name}` was already given")
    _check_key(reader, found)
    return found


def _check_key(reader: Reader, found: tuple[Field, ...]) -> None:
    positions = sorted(field.key_position for field in found if field.key_position is not None)
    keyless = {**reader.custom(()), **reader.custom(("schema", 0))}.get("key") == "none"
    if not positions and not keyless:
        reader.mistake(("schema", 0), "schema: no field is primaryKey; a stream without one says `bridge.key: none`")
    if positions and keyless:
        reader.mistake(("schema", 0), "schema: has primaryKey fields and says `bridge.key: none`")
    if positions != list(range(1, len(positions) + 1)):
        reader.mistake(("schema", 0), "schema: primaryKeyPosition must count from 1 without gaps")


def _field(reader: Reader, path: DataPath) -> Field:
    entry = reader.get(path)
    name = reader.text((*path, "name"), "schema: a field has no name")
    if name and not _IDENTIFIER.match(name):
        reader.mistake((*path, "name"), f"schema: `{name[:60]}` is not a field name (letters, digits, underscore)")
    description = reader.text((*path, "description"), f"meaning: field `{name}` has no description")
    custom = reader.custom(path)
    of, precision = _type(reader, path, custom)
    tree = _expression(reader, path, name)
    allowed = _allowed(reader, path, of)
    is_key = bool(entry.get("primaryKey"))
    unit = custom.get("unit")
    if of.kind in {Kind.INTEGER, Kind.DECIMAL, Kind.DOUBLE} and not is_key and not unit:
        reader.mistake(path, f"meaning: the number `{name}` has no unit; write customProperty bridge.unit, or none")
    _check_codes(reader, path, tree, described=bool(entry.get("transformDescription") or entry.get("enum")),
                 coded=bool(allowed))  # fmt: skip
    marks = custom.get("allow") or []
    if not isinstance(marks, list) or not set(marks) <= _MARKS:
        reader.mistake(path, "schema: `bridge.allow` is a list of nan and infinity")
        marks = []
    return Field(
        name=name,
        type=of,
        expression=tree,
        place=reader.document.at((*path, "transformLogic")),
        required=bool(entry.get("required")) or is_key,
        key_position=(entry.get("primaryKeyPosition") or 1) if is_key else None,
        precision=precision,
        allowed=allowed,
        marks_allowed=frozenset(marks),
        description=description,
        unit=str(unit) if unit else None,
        classification=str(entry.get("classification") or "").strip().lower(),
        **_options(reader, path, of),
    )


def _type(reader: Reader, path: DataPath, custom: Mapping[str, Any]) -> tuple[ValueType, int | None]:
    logical = reader.get((*path, "logicalType"))
    plain = {"string": kinds.TEXT, "integer": kinds.INTEGER, "boolean": kinds.BOOLEAN, "date": kinds.DATE,
             "time": kinds.TIME}  # fmt: skip
    if logical in plain:
        return plain[logical], None
    if logical == "timestamp":
        zoned = reader.get((*path, "logicalTypeOptions", "timezone"))
        return (kinds.TIMESTAMP if zoned is False else kinds.INSTANT), None
    if logical != "number":
        reader.mistake(path, "schema: logicalType is one of string, integer, number, boolean, date, timestamp, time")
        return kinds.TEXT, None
    return _number(reader, path, str(custom.get("type", "")))


def _number(reader: Reader, path: DataPath, written: str) -> tuple[ValueType, int | None]:
    """How exact a number is: `bridge.type`, else the decimals of its multipleOf."""
    if written == "double":
        return kinds.DOUBLE, None
    shape = _DECIMAL.match(written)
    if shape and 0 <= int(shape[2]) <= int(shape[1]) <= kinds.MAX_DIGITS and int(shape[1]):
        return ValueType(Kind.DECIMAL, int(shape[2])), int(shape[1])
    step = _exact(reader.get((*path, "logicalTypeOptions", "multipleOf")))
    if not written and step is not None and step > 0:
        return ValueType(Kind.DECIMAL, max(0, -int(step.normalize().as_tuple().exponent))), None
    reader.mistake(path, "schema: a number says how exact it is: bridge.type `decimal(p,s)` or `double`, or multipleOf")
    return kinds.DOUBLE, None


def _expression(reader: Reader, path: DataPath, name: str) -> exp.Expression:
    logic = reader.get((*path, "transformLogic"))
    if isinstance(logic, str):
        return reader.sql((*path, "transformLogic"), logic)
    column = str(reader.get((*path, "physicalName")) or name)
    return exp.Column(this=exp.Identifier(this=column, quoted=True))


def _check_codes(reader: Reader, path: DataPath, tree: exp.Expression, *, described: bool, coded: bool) -> None:
    """A coded field must say what its codes mean; words alone are not their meaning."""
    uses_code = any(str(node.this).lower() == "code" for node in tree.find_all(exp.Anonymous))
    if (uses_code or coded) and not described:
        reader.mistake(path, "meaning: the code list is not explained; write transformDescription or enum")


def _options(reader: Reader, path: DataPath, of: ValueType) -> dict[str, Any]:
    options = reader.get((*path, "logicalTypeOptions")) or {}
    for name in options:
        if name not in _OPTIONS.get(of.kind, set()):
            reader.mistake(
                (*path, "logicalTypeOptions", name), f"schema: `{name}` is not available for {of.kind.value}"
            )
    found: dict[str, Any] = {}
    for name, field in (("minLength", "min_length"), ("maxLength", "max_length")):
        if name in options:
            if not isinstance(options[name], int) or isinstance(options[name], bool) or options[name] < 0:
                reader.mistake((*path, "logicalTypeOptions", name), f"schema: `{name}` is a whole number from 0")
            found[field] = options[name]
    for name, field in (("minimum", "minimum"), ("maximum", "maximum"), ("exclusiveMinimum", "exclusive_minimum"),
                        ("exclusiveMaximum", "exclusive_maximum"), ("multipleOf", "multiple_of")):  # fmt: skip
        if name in options:
            found[field] = _literal(reader, (*path, "logicalTypeOptions", name), of)
    if of.kind is Kind.TEXT and "pattern" in options:
        try:
            found["pattern"] = strings.ecma_regex(str(options["pattern"]))
            found["written_pattern"] = str(options["pattern"])
        except ValueError as error:
            reader.mistake((*path, "logicalTypeOptions", "pattern"), f"schema: the pattern: {error}")
    return found


def _allowed(reader: Reader, path: DataPath, of: ValueType) -> tuple[Any, ...]:
    """The allowed values, from `enum` or from the quality rule invalidValues that must be 0."""
    values: list[Any] = []
    for index, entry in enumerate(reader.get((*path, "quality")) or []):
        where = (*path, "quality", index)
        if (entry.get("metric") or entry.get("rule")) != "invalidValues" or entry.get("mustBe") != 0:
            reader.mistake(where, "schema: a field's quality rule is invalidValues with `mustBe: 0` and validValues")
            continue
        given = (entry.get("arguments") or {}).get("validValues")
        if not isinstance(given, list) or not given:
            reader.mistake(where, "schema: invalidValues needs `arguments: {validValues: [...]}`")
            continue
        values += [_literal(reader, (*where, "arguments", "validValues", i), of) for i in range(len(given))]
    values += [_literal(reader, (*path, "enum", i, "value"), of) for i in range(len(reader.get((*path, "enum")) or []))]
    return tuple(values)


def _literal(reader: Reader, path: DataPath, of: ValueType) -> Any:  # noqa: ANN401 - a value of the field's type
    """A value of the field's kind as Polars takes it: str, int, float, Decimal, date or datetime."""
    value = reader.get(path)
    is_whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    if (of.kind is Kind.TEXT and isinstance(value, str)) or (of.kind is Kind.INTEGER and is_whole):
        return value
    if of.kind is Kind.DOUBLE and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    exact = _exact(value) if of.kind is Kind.DECIMAL else None
    if exact is not None and abs(exact) < Decimal(10) ** (kinds.MAX_DIGITS - of.scale):
        return exact
    moment = _moment(value, of) if isinstance(value, str) else None
    if moment is not None:
        return moment
    reader.mistake(path, f"schema: a value of kind {of.kind.value} is expected")
    return None


def _moment(text: str, of: ValueType) -> date | datetime | None:
    """A date, a wall clock reading without offset, or an instant with one."""
    try:
        if of.kind is Kind.DATE:
            return date.fromisoformat(text)
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if (moment.tzinfo is not None) == (of.kind is Kind.INSTANT) else None


def _exact(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def rules(reader: Reader, field_names: set[str]) -> tuple[RowRule, ...]:
    """The conditions over a row's fields."""
    found: list[RowRule] = []
    for index, entry in enumerate(reader.get(("schema", 0, "quality")) or []):
        path: DataPath = ("schema", 0, "quality", index)
        if entry.get("type") != "custom" or entry.get("engine") != "bridge":
            continue  # a level over the whole table, for other tools
        name = reader.text((*path, "name"), "quality: a row rule has no name")
        description = reader.text((*path, "description"), f"meaning: the row rule `{name}` has no description")
        condition = reader.text((*path, "implementation"), f"quality: the row rule `{name}` has no SQL condition")
        tree = reader.sql((*path, "implementation"), condition) if condition else exp.Null()
        for unknown in sorted(expression.columns(tree) - field_names):
            reader.mistake((*path, "implementation"), f"quality: `{unknown}` is not a field of this contract")
        found.append(RowRule(name, tree, description, reader.document.at((*path, "implementation"))))
    return tuple(found)
