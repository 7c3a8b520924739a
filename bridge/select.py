"""What one receiver sees of a stream: the events its filter lets through, the fields it asks for and may have.

Promises: an event is left out only when the filter is certainly false; what the event does not carry (other fields than
the key on a delete, cells that are marked, fields that an older version lacked) makes the filter unknown, and unknown
passes. Truncates and gaps always pass. No field leaves without being public or released, neither as a column nor as the
raw bytes of a mark. Compiled once; where nothing is cut, nothing is copied. Does no I/O and sends nothing.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlglot import exp

from bridge.contract import checks, expression, kinds
from bridge.contract.compiler import Misfit, Steps, Typed
from bridge.contract.document import ContractDocument
from bridge.contract.judge import OVERFLOW
from bridge.contract.kinds import ValueType
from bridge.errors import ConfigError
from bridge.model import META, Block, Op
from bridge.parcel import Rows

PUBLIC = ("", "public")  # classifications that anybody may have

_OUT = "left out"
_MARKS = META.get_field_index("_marks")
_MARKS_TYPE = META.field("_marks").type

Hits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Condition:
    """One of the conditions that a filter joins by AND."""

    reads: Mapping[str, ValueType]  # fields
    levels: tuple[tuple[pl.Expr, ...], ...]  # intermediate columns, level by level
    is_false: pl.Expr

    def left_out(self, batch: pa.RecordBatch) -> Hits | None:
        """The rows on which it is false; None where it cannot be evaluated over these columns."""
        schema = batch.schema
        for name, of in self.reads.items():
            place = schema.get_field_index(name)
            if place < 0 or kinds.of_arrow(schema.field(place).type) != of:
                return None  # another version of the contract had another field
        columns = [pl.Series(name, batch.column(name).cast(of.arrow)) for name, of in self.reads.items()]
        return self._evaluate(pl.DataFrame(columns) if columns else pl.DataFrame(height=batch.num_rows))

    def _evaluate(self, frame: pl.DataFrame) -> Hits:
        try:
            found = frame
            for level in (*self.levels, (self.is_false.alias(_OUT),)):
                found = found.with_columns(level)
            return found.get_column(_OUT).to_numpy()
        except OVERFLOW:
            if frame.height == 1:
                return np.zeros(1, np.bool_)  # its arithmetic leaves 38 digits: unknown
            half = frame.height // 2
            return np.concatenate([self._evaluate(frame[:half]), self._evaluate(frame[half:])])


@dataclass(frozen=True, slots=True)
class Selection:
    """A receiver's filter, fields and released classifications, compiled against a stream's contract."""

    key_fields: frozenset[str]
    chosen: frozenset[str] | None  # fields to show with the key's; None for all
    open_fields: frozenset[str]  # fields that may be shown; every other one is withheld
    conditions: tuple[_Condition, ...] = ()

    @classmethod
    def compile(
        cls,
        document: ContractDocument,
        *,
        filter: str | None = None,  # noqa: A002  its name in the configuration
        fields: Sequence[str] = (),
        release: Collection[str] = (),
        place: str = "",
    ) -> "Selection":
        """Tie a receiver's wishes to a contract; without any it sees all events and every field that is public.

        Args:
            document: the stream's present contract.
            filter: condition over its fields, in the language of contracts; it may only read what is released.
            fields: contract fields to show besides the key's; empty for all.
            release: classifications whose fields may be shown, besides those of `PUBLIC`.
            place: where the wishes stand, for messages.
        Raises: ConfigError when a field is unknown, the filter is no condition over readable fields, or the key would
            be withheld, since `subject` shows it.
        """
        start = f"{place}: " if place else ""
        allowed = {*PUBLIC, *(name.strip().lower() for name in release)}
        open_fields = frozenset(field.name for field in document.fields if field.classification in allowed)
        _admit_names(document, fields, start)
        _admit_key(document, open_fields, start)
        conditions = _conditions(document, filter, open_fields, start) if filter is not None else ()
        chosen = frozenset(fields) if fields else None
        return cls(frozenset(document.key_fields), chosen, open_fields, conditions)

    def apply(self, block: Block) -> Rows:
        """The events of a block that the receiver sees, with the fields that it sees.

        The block may be of an older version of the contract; what the present one does not know is withheld, since
        nobody says that it is public.
        """
        batch = block.batch
        names = batch.schema.names[len(META) :]
        wanted = [name for name in names if self._is_chosen(name)]
        shown = [name for name in wanted if name in self.open_fields]
        withheld = tuple(name for name in wanted if name not in self.open_fields)
        kept = self._kept(batch)
        if len(shown) < len(names):
            batch = _without_marks(batch.select([*META.names, *shown]), shown)
        rows = replace(Rows.of(block), batch=batch, withheld=withheld)
        return rows if kept is None else rows.take(np.flatnonzero(kept))

    def _is_chosen(self, name: str) -> bool:
        return self.chosen is None or name in self.chosen or name in self.key_fields

    def _kept(self, batch: pa.RecordBatch) -> Hits | None:
        """The rows that pass; None when all do."""
        if not self.conditions:
            return None
        ops = batch.column("_op").to_numpy()
        left_out = np.zeros(batch.num_rows, np.bool_)
        for condition in self.conditions:
            hits = condition.left_out(batch)
            if hits is not None and hits.any():
                left_out |= hits & ~self._is_unknown(condition, batch, ops)
        left_out &= ~np.isin(ops, (Op.TRUNCATE, Op.GAP))
        return ~left_out if left_out.any() else None

    def _is_unknown(self, condition: _Condition, batch: pa.RecordBatch, ops: NDArray[np.uint8]) -> Hits:
        """The rows that do not carry what a condition reads."""
        unknown = ops == Op.DELETE if not self.key_fields.issuperset(condition.reads) else np.zeros(len(ops), np.bool_)
        marks = batch.column("_marks")
        if marks.null_count < len(marks):
            marked = pc.is_in(pc.struct_field(marks.flatten(), "field"), pa.array(list(condition.reads), pa.string()))
            unknown[pc.list_parent_indices(marks).filter(marked).to_numpy()] = True
        return unknown


def _admit_names(document: ContractDocument, fields: Sequence[str], start: str) -> None:
    known = [field.name for field in document.fields]
    unknown = [name for name in fields if name not in known]
    if unknown:
        raise ConfigError(
            f"{start}fields: {_names(unknown)} not in the contract {document.id}",
            hint=f"Its fields are {', '.join(known)}.",
        )


def _admit_key(document: ContractDocument, open_fields: frozenset[str], start: str) -> None:
    closed = [name for name in document.key_fields if name not in open_fields]
    if closed:
        raise ConfigError(
            f"{start}{_names(closed)} in the key, which every event shows, and classified {_classes(document, closed)}",
            hint="Add the classification to `release`, or give the contract another key.",
        )


def _conditions(
    document: ContractDocument, text: str, open_fields: frozenset[str], start: str
) -> tuple[_Condition, ...]:
    """A filter, taken apart at its ANDs, so that one condition can be false while another is unknown."""
    tree = expression.parse(text, place=f"{start}filter")
    types = {field.name: field.type for field in document.fields}
    reads = sorted(expression.columns(tree))
    unknown = [name for name in reads if name not in types]
    closed = [name for name in reads if name in types and name not in open_fields]
    if unknown:
        raise ConfigError(
            f"{start}filter: {_names(unknown)} not in the contract {document.id}",
            hint=f"Its fields are {', '.join(types)}.",
        )
    if closed:
        raise ConfigError(
            f"{start}filter: reads {', '.join(closed)}, classified {_classes(document, closed)}",
            hint="Who gets an event learns what the filter read. Add the class to `release`; `fields` can leave "
            "the field out.",
        )
    if not reads:
        raise ConfigError(f"{start}filter: reads no field of the contract {document.id}")
    try:
        return tuple(_condition(part, types) for part in _conjuncts(tree))
    except Misfit as misfit:
        raise ConfigError(f"{start}filter: {misfit}", hint="A filter is a condition, like status = 'open'.") from misfit


def _condition(tree: exp.Expression, types: Mapping[str, ValueType]) -> _Condition:
    steps = Steps()
    compiler = checks.over_fields({name: Typed(pl.col(name), of) for name, of in types.items()}, steps)
    value = compiler.condition(tree)
    is_false = ~value.expr
    for fault in value.faults:  # where an operation failed, nothing is known
        is_false &= ~fault.mask.fill_null(value=False)
    reads = {name: types[name] for name in sorted(expression.columns(tree))}
    return _Condition(reads, tuple(map(tuple, steps.levels)), is_false.fill_null(value=False))


def _conjuncts(tree: exp.Expression) -> Iterator[exp.Expression]:
    if isinstance(tree, exp.Paren):
        yield from _conjuncts(tree.this)
    elif isinstance(tree, exp.And):
        yield from _conjuncts(tree.this)
        yield from _conjuncts(tree.expression)
    else:
        yield tree


def _without_marks(batch: pa.RecordBatch, shown: Sequence[str]) -> pa.RecordBatch:
    """Drop the marks of fields that are not shown, with the raw bytes they carry."""
    marks = batch.column(_MARKS)
    if marks.null_count == len(marks):
        return batch
    cells = marks.flatten()
    stays = pc.is_in(pc.struct_field(cells, "field"), pa.array(list(shown), pa.string()))
    parents = pc.list_parent_indices(marks).filter(stays).to_numpy()
    counts = np.bincount(parents, minlength=len(marks))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    column = pa.ListArray.from_arrays(
        pa.array(offsets), cells.filter(stays), type=_MARKS_TYPE, mask=pa.array(counts == 0)
    )
    return batch.set_column(_MARKS, batch.schema.field(_MARKS), column)


def _names(names: Sequence[str]) -> str:
    quoted = ", ".join(f"`{name}`" for name in names)
    return f"{quoted} {'is' if len(names) == 1 else 'are'}"


def _classes(document: ContractDocument, names: Sequence[str]) -> str:
    return ", ".join(sorted({field.classification for field in document.fields if field.name in names}))
