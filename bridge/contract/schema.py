"""The JSON Schema of a contract's events: what `data` may hold. Closed, and of keywords that draft 7 knows, too."""

from typing import Any

from bridge.contract.document import ContractDocument
from bridge.contract.kinds import Kind
from bridge.contract.terms import Field

_CLOCK = r"[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}"
_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TYPES: dict[Kind, dict[str, Any]] = {
    Kind.TEXT: {"type": "string"},
    Kind.INTEGER: {"type": "integer"},
    Kind.DOUBLE: {"type": "number"},
    Kind.BOOLEAN: {"type": "boolean"},
    Kind.DATE: {"type": "string", "format": "date"},
    Kind.TIMESTAMP: {"type": "string", "pattern": f"^{_DAY}T{_CLOCK}$"},
    Kind.INSTANT: {"type": "string", "format": "date-time"},
    Kind.TIME: {"type": "string", "pattern": f"^{_CLOCK}$"},
}
_BOUNDS = {
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusive_minimum": "exclusiveMinimum",
    "exclusive_maximum": "exclusiveMaximum",
}


def data_schema(document: ContractDocument) -> dict[str, Any]:
    """The schema of the member `data`.

    Only the key is always there: an event leaves out what did not change, what is marked and what is withheld, and a
    delete holds the key alone.
    """
    return {
        "type": "object",
        "title": f"{document.id} {document.version}",
        "description": document.purpose,
        "properties": {field.name: _property(field) for field in document.fields},
        "required": list(document.key_fields),
        "additionalProperties": False,
    }


def _property(field: Field) -> dict[str, Any]:
    found = _type(field) | {"description": field.description}
    if field.unit:
        found["description"] += f" Unit: {field.unit}."
    if field.allowed and field.type.kind in (Kind.TEXT, Kind.INTEGER):
        found["enum"] = [*field.allowed, *([] if field.required else [None])]
    if not field.required:
        found["type"] = [found["type"], "null"]
    return found


def _type(field: Field) -> dict[str, Any]:
    kind = field.type.kind
    if kind is Kind.DECIMAL:
        point = rf"\.[0-9]{{{field.type.scale}}}" if field.type.scale else ""
        return {"type": "string", "pattern": f"^-?[0-9]+{point}$"}
    found = dict(_TYPES[kind])
    if kind is Kind.TEXT:
        limits = {"minLength": field.min_length, "maxLength": field.max_length, "pattern": field.written_pattern}
        found |= {name: value for name, value in limits.items() if value is not None}
    if kind in (Kind.INTEGER, Kind.DOUBLE):
        bounds = {name: getattr(field, ours) for ours, name in _BOUNDS.items()}
        found |= {name: value for name, value in bounds.items() if value is not None}
        if kind is Kind.INTEGER and field.multiple_of:
            found["multipleOf"] = field.multiple_of
    return found
