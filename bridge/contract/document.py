"""Read one contract, an Open Data Contract Standard document, and refuse it when one of its four elements is missing.

The elements are schema, meaning, version and quality level; docs/contracts.md says how each is written. Every mistake
of a document is reported at once, each with file and line. What comes out is plain values: SQL is parsed, patterns are
translated, nothing is tied to a legacy table yet.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
from open_data_contract_standard.model import OpenDataContractStandard

from bridge import yamlfile
from bridge.contract import elements, expression
from bridge.contract.reading import Reader
from bridge.contract.terms import Field, RowRule, ValidityLevel
from bridge.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ContractDocument:
    """A contract as its author wrote it, found complete."""

    file: str
    id: str
    version: str
    digest: str  # sha256 of the document's canonical JSON
    purpose: str
    fields: tuple[Field, ...]
    rules: tuple[RowRule, ...]
    validity: ValidityLevel | None
    latency_s: float | None  # how old an event may be when it is journalled; None where no level says so
    frequency_s: float | None  # how often there is one
    data: Mapping[str, Any]  # the document itself

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The legacy columns that the key is made of, in its order."""
        keyed = {field.name: field for field in self.fields}
        found = [name for each in self.key_fields for name in sorted(expression.columns(keyed[each].expression))]
        return tuple(dict.fromkeys(found))

    @property
    def key_fields(self) -> tuple[str, ...]:
        """Fields of the key in order; empty for a keyless stream."""
        keyed = [field for field in self.fields if field.key_position is not None]
        return tuple(field.name for field in sorted(keyed, key=lambda field: field.key_position or 0))


def load(path: Path) -> ContractDocument:
    """Read and check a contract file. Raises: ConfigError listing every mistake as ``file:line: ...``."""
    return check(yamlfile.read(path))


def check(document: yamlfile.Document) -> ContractDocument:
    """Check a parsed contract. Raises: ConfigError listing every mistake."""
    mistakes = _misspelt(document)
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    reader = Reader(document)
    found = _element_values(reader)
    if reader.mistakes:
        raise ConfigError("\n".join(reader.mistakes), hint="docs/contracts.md shows each element.")
    return found


def digest_of(data: Mapping[str, Any]) -> str:
    """The sha256 of a document, blind to layout, comments and the order of keys."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _element_values(reader: Reader) -> ContractDocument:
    data = reader.document.data
    contract_id, version = elements.identity(reader)
    fields = elements.fields(reader)
    return ContractDocument(
        file=reader.document.file,
        id=contract_id,
        version=version,
        digest=digest_of(data),
        purpose=elements.purpose(reader),
        fields=fields,
        rules=elements.rules(reader, {field.name for field in fields}),
        validity=elements.validity(reader),
        latency_s=elements.level_s(reader, "latency"),
        frequency_s=elements.level_s(reader, "frequency"),
        data=data,
    )


def _misspelt(document: yamlfile.Document) -> list[str]:
    """What the standard's own model finds wrong, unknown keys at any depth included."""
    if not isinstance(document.data, dict):
        return [f"{document.at(())}: is not an ODCS document"]
    try:
        model = OpenDataContractStandard.model_validate(document.data)
    except pydantic.ValidationError as error:
        return [f"{document.at(e['loc'])}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    known = model.model_dump(by_alias=True, exclude_unset=True)
    return [f"{document.at(path)}: `{path[-1]}` is not a key of the standard" for path in _lost(document.data, known)]


def _lost(given: Any, known: Any, path: yamlfile.DataPath = ()) -> list[yamlfile.DataPath]:  # noqa: ANN401 - any YAML
    if isinstance(given, dict) and isinstance(known, dict):
        return [
            lost
            for key, value in given.items()
            for lost in (_lost(value, known[key], (*path, key)) if key in known else [(*path, key)])
        ]
    if isinstance(given, list) and isinstance(known, list):
        pairs = enumerate(zip(given, known, strict=True))
        return [lost for index, (one, other) in pairs for lost in _lost(one, other, (*path, index))]
    return []
