"""Contracts for tables that tests make up: every column a contract can hold becomes a field as it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.contract import document
from bridge.contract.document import ContractDocument
from bridge.contract.draft import LOGICAL
from bridge.contract.kinds import Kind, ValueType, of_arrow
from bridge.model import Shape


def fields_of(shape: Shape) -> dict[str, str]:
    """The field of each legacy column that a contract can hold, in order."""
    return {column.name: f"f{n}" for n, column in enumerate(shape.columns) if of_arrow(column.arrow) is not None}


def document_for(folder: Path, stream: str, shape: Shape, *key: str) -> ContractDocument:
    """A contract of everything a table has, known by these columns.

    Args:
        folder: where its file is written.
    """
    names = fields_of(shape)
    held = {column.name: of for column in shape.columns if (of := of_arrow(column.arrow)) is not None}
    written = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": stream,
        "version": "1.0.0",
        "status": "active",
        "description": {"purpose": "As it is."},
        "slaProperties": [{"property": "latency", "value": 10, "unit": "s"}],
        "schema": [
            {
                "name": stream,
                "logicalType": "object",
                "properties": [
                    _property(column, names[column], of, place=key.index(column) + 1 if column in key else None)
                    for column, of in held.items()
                ],
            }
        ],
    }
    file = folder / f"{stream}.odcs.yaml"
    file.write_text(json.dumps(written, ensure_ascii=False), encoding="utf-8")
    return document.load(file)


def _property(column: str, name: str, of: ValueType, *, place: int | None) -> Mapping[str, Any]:
    custom: list[dict[str, Any]] = [{"property": "bridge.unit", "value": "none"}]
    options: dict[str, Any] = {}
    if of.kind is Kind.DECIMAL:
        custom.append({"property": "bridge.type", "value": f"decimal(38,{of.scale})"})
    if of.kind is Kind.DOUBLE:
        custom += [
            {"property": "bridge.type", "value": "double"},
            {"property": "bridge.allow", "value": ["nan", "infinity"]},
        ]
    if of.kind is Kind.TIMESTAMP:
        options["timezone"] = False
    return {
        "name": name,
        "physicalName": column,
        "description": "As it is.",
        "logicalType": LOGICAL[of.kind],
        "logicalTypeOptions": options,
        "customProperties": custom,
        **({"primaryKey": True, "primaryKeyPosition": place} if place else {}),
    }
