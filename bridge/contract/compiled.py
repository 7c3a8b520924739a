"""A contract tied to the shape of a legacy table: judges batches.

Promises: every row of a raw batch comes out exactly once, accepted in source order or rejected with every rule it broke
(I3); compiling happens once per shape; a clean batch costs one evaluation and no copy of untouched columns. Python
loops run over rejected rows only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
from sqlglot import exp

from bridge.contract import checks, expression, keytext, kinds
from bridge.contract.checks import Mask
from bridge.contract.document import ContractDocument
from bridge.contract.judge import Judge, Plan
from bridge.contract.normalise import RAW, Compiler, Misfit, Steps, Typed
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
    columns = columns_of(shape)
    steps = Steps()
    compiler = Compiler(columns, steps)
    problems: list[str] = []
    concerned: dict[str, None] = {}
    values: dict[str, Typed] = {}
    masks: list[Mask] = []
    sources: dict[str, tuple[str, ...]] = {}
    for field in document.fields:
        reads = tuple(sorted(expression.columns(field.expression)))
        sources[field.name] = reads
        try:
            values[field.name] = _field_value(compiler, field)
        except Misfit as misfit:
            problems.append(f"{field.place}: field `{field.name}`: {misfit}")
            concerned.update(dict.fromkeys(name for name in reads if name not in columns) or dict.fromkeys(reads))
        else:
            masks += checks.field_masks(field, values[field.name].faults)
    if problems:
        return Drift(stream, shape.table, tuple(concerned), tuple(problems))
    rule_steps = Steps()
    masks += _row_masks(document, rule_steps)
    wanted = {name for reads in sources.values() for name in reads}
    plan = Plan(
        columns=tuple(name for name in shape.names() if name in wanted),
        steps=steps,
        fields=tuple(values[field.name].expr.cast(field.type.polars).alias(field.name) for field in document.fields),
        key=keytext.expression(
            [field for name in document.key_fields for field in document.fields if field.name == name]
        ),
        rule_steps=rule_steps,
        masks=tuple(masks),
        untouched=_untouched(document.fields, shape),
    )
    return CompiledContract(document, stream, shape, Judge(document.fields, plan, schema_of(document), sources))


def schema_of(document: ContractDocument) -> pa.schema:
    """The Arrow schema of a contract's events."""
    return pa.schema([*META, *(pa.field(field.name, field.type.arrow) for field in document.fields)])


def columns_of(shape: Shape) -> Mapping[str, Typed]:
    """What expressions may read of a table: the columns of types that Polars holds exactly."""
    known: dict[str, Typed] = {}
    for column in shape.columns:
        of = kinds.of_arrow(column.arrow)
        if of is None:
            continue
        expr = pl.col(RAW + column.name)
        if of == kinds.INSTANT and column.arrow != of.arrow:
            expr = expr.dt.convert_time_zone("UTC").cast(of.polars)
        elif of in {kinds.TIMESTAMP, kinds.DOUBLE} and column.arrow != of.arrow:
            expr = expr.cast(of.polars)
        known[column.name] = Typed(expr, of)
    return known


def _untouched(fields: tuple[Field, ...], shape: Shape) -> dict[str, str]:
    """Fields that are a legacy column as it stands, so that clean batches hand it on without a copy."""
    types = {column.name: column.arrow for column in shape.columns}
    bare = {
        field.name: expression.name_of(field.expression) for field in fields if isinstance(field.expression, exp.Column)
    }
    return {field.name: bare[field.name] for field in fields
            if field.name in bare and types.get(bare[field.name]) == field.type.arrow}  # fmt: skip


def _field_value(compiler: Compiler, field: Field) -> Typed:
    value = compiler.compile(field.expression)
    if value.type == kinds.NULL:
        raise Misfit("is always null")
    castable = value.type == field.type or (value.type.is_exact and field.type.is_exact)
    if not castable:
        raise Misfit(f"gives {value.type}, the contract says {field.type}; use cast(...)")
    return compiler.cast(value, field.type, digits=field.precision)


def _row_masks(document: ContractDocument, steps: Steps) -> list[Mask]:
    compiler = checks.over_fields(document.fields, steps)
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
