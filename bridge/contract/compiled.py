"""A contract tied to the shape of a legacy table: judges batches.

Promises: every row of a raw batch comes out exactly once, accepted in source order or rejected with every rule it broke
(I3); compiling happens once per shape; a clean batch costs one evaluation and no copy of untouched columns. Python
loops run over rejected rows only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from bridge.contract import checks, expression, keytext, kinds, normalise
from bridge.contract.checks import Mask
from bridge.contract.compiler import Compiler, Misfit, Steps, Typed
from bridge.contract.document import ContractDocument
from bridge.contract.judge import Judge, Plan
from bridge.contract.terms import Field
from bridge.errors import ConfigError
from bridge.model import META, RawBatch, Shape, Verdict


@dataclass(frozen=True, slots=True)
class Drift:
    """The table no longer fits the contract: rows are parked until a person decides."""

    stream: str
    table: str
    columns: tuple[str, ...]  # legacy columns concerned
    problems: tuple[str, ...]  # a sentence each, with the contract's file and line


class CompiledContract:
    """A contract ready to judge the batches of one stream and shape."""

    def __init__(self, document: ContractDocument, stream: str, shape: Shape, judge: Judge) -> None:
        self.document = document
        self.stream = stream
        self.shape = shape
        self.id = document.id
        self.version = document.version
        self.digest = document.digest
        self.key_fields = document.key_fields
        self.source_columns = judge.source_columns
        self.key_columns = tuple(dict.fromkeys(c for name in self.key_fields for c in judge.sources[name]))
        self.schema = judge.schema
        self._judge = judge

    def check(self, raw: RawBatch) -> Verdict:
        """Judge a batch.

        Args:
            raw: changes of the contract's stream, of the shape the contract was compiled for.
        Returns: the accepted rows as events, in order, and the rejected ones with their reasons.
        """
        return self._judge.check(raw)


def compile_contract(document: ContractDocument, stream: str, shape: Shape) -> CompiledContract | Drift:
    """Tie a contract to a table's shape.

    Raises: ConfigError when a row rule does not fit the contract's own fields, whatever the table.
    """
    compiler = normalise.over_table(shape)
    columns, steps = compiler.columns, compiler.steps
    problems: list[str] = []
    concerned: dict[str, None] = {}
    values: dict[str, Typed] = {}
    sources: dict[str, tuple[str, ...]] = {}
    for field in document.fields:
        reads = tuple(sorted(expression.columns(field.expression)))
        sources[field.name] = reads
        try:
            values[field.name] = steps.add(_field_value(compiler, field))
        except Misfit as misfit:
            problems.append(f"{field.place}: field `{field.name}`: {misfit}")
            concerned.update(dict.fromkeys(name for name in reads if name not in columns) or dict.fromkeys(reads))
    if problems:
        return Drift(stream, shape.table, tuple(concerned), tuple(problems))
    masks = [mask for field in document.fields for mask in checks.field_masks(field, values[field.name])]
    masks += _row_masks(document, values, steps)
    wanted = {name for reads in sources.values() for name in reads}
    plan = Plan(
        columns=tuple(name for name in shape.names() if name in wanted),
        steps=steps,
        places={name: value.expr.meta.output_name() for name, value in values.items()},
        key=keytext.expression([values[name] for name in document.key_fields], steps),
        masks=tuple(masks),
        adds_once=not shape.is_of_messages,
    )
    return CompiledContract(document, stream, shape, Judge(document.fields, plan, schema_of(document), sources))


def schema_of(document: ContractDocument) -> pa.schema:
    """The Arrow schema of a contract's events."""
    return pa.schema([*META, *(pa.field(field.name, field.type.arrow) for field in document.fields)])


def _field_value(compiler: Compiler, field: Field) -> Typed:
    value = compiler.compile(field.expression)
    if value.type == kinds.NULL:
        raise Misfit("is always null")
    castable = value.type == field.type or (value.type.is_exact and field.type.is_exact)
    if not castable:
        raise Misfit(f"gives {value.type}, the contract says {field.type}; use cast(...)")
    return compiler.cast(value, field.type, digits=field.precision)


def _row_masks(document: ContractDocument, values: Mapping[str, Typed], steps: Steps) -> list[Mask]:
    compiler = checks.over_fields(values, steps)
    masks: list[Mask] = []
    mistakes: list[str] = []
    for rule in document.rules:
        try:
            masks += checks.row_mask(rule, compiler)
        except Misfit as misfit:
            mistakes.append(f"{rule.place}: row rule `{rule.name}`: {misfit}")
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return masks
