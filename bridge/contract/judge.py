"""Evaluate a compiled contract over batches: one pass when all is clean, names and reasons when it is not."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from bridge.contract import marked
from bridge.contract.checks import Mask
from bridge.contract.kinds import Kind
from bridge.contract.marked import FieldMarks, Rows
from bridge.contract.normalise import RAW, Steps
from bridge.contract.terms import Field
from bridge.model import Breach, Mark, Marks, Op, RawBatch, Rejected, Verdict

_KEY = "_key"
_SUSPECT = "any rule broken"  # no field can have this name
_OVERFLOW = (pl.exceptions.ComputeError, pl.exceptions.InvalidOperationError)
_ARROW_LEVEL = pl.CompatLevel.oldest()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is computed, in order, over a frame of legacy columns."""

    columns: tuple[str, ...]
    steps: Steps
    fields: tuple[pl.Expr, ...]
    key: pl.Expr
    rule_steps: Steps
    masks: tuple[Mask, ...]
    untouched: Mapping[str, str]  # fields that are a legacy column as it stands, of the event's own type


@dataclass(frozen=True, slots=True)
class _Kinds:
    """Which rows are what."""

    whole: Rows  # create, update, read: every rule speaks of them
    keyed: Rows  # those and deletes: key rules speak of them
    adding: Rows  # create, read: a key may appear once


class Judge:
    """Judges batches of one shape under one contract.

    Args:
        fields: the contract's fields in order.
        plan: how their values and the rules are computed.
        schema: of the events.
        sources: legacy columns each field reads.
    """

    def __init__(
        self, fields: tuple[Field, ...], plan: Plan, schema: pa.Schema, sources: Mapping[str, tuple[str, ...]]
    ) -> None:
        self.schema = schema
        self.sources = sources
        self.source_columns = plan.columns
        self._fields = fields
        self._names = [field.name for field in fields]
        self._key_names = frozenset(field.name for field in fields if field.key_position is not None)
        self._raw_names = [RAW + name for name in plan.columns]
        self._levels = [*plan.steps.levels, [*plan.fields], *plan.rule_steps.levels]
        self._masks = plan.masks
        self._untouched = plan.untouched
        self._mask_exprs = [mask.broken.fill_null(value=False).alias(str(i)) for i, mask in enumerate(plan.masks)]
        special = [expr for field in fields if field.marks_allowed and field.type.kind is Kind.DOUBLE
                   for expr in [~pl.col(field.name).is_finite()]]  # fmt: skip
        suspects = [mask.broken for mask in plan.masks if mask.nulls is None] + special
        suspect = pl.any_horizontal(suspects).any() if suspects else pl.lit(value=False)
        self._levels.append([plan.key.alias(_KEY), suspect.alias(_SUSPECT)])
        self._null_pairs = tuple(mask.nulls for mask in plan.masks if mask.nulls is not None)
        self._special = bool(special)

    def check(self, raw: RawBatch) -> Verdict:
        """Judge one batch; see `CompiledContract.check`."""
        count = raw.row_count
        ops = raw.changes.column(0).to_numpy()
        frame = self._frame(raw.columns)
        try:
            computed = self._compute(frame)
        except _OVERFLOW:
            overflown = self._overflown(frame, 0)
            computed = self._compute(_blank(frame, overflown))
        else:
            overflown = np.empty(0, np.int64)
        kinds = _kinds_of(ops)
        plain = not raw.marks and not len(overflown) and bool(kinds.whole.all())
        if plain and not self._is_suspect(computed, kinds):
            events = self._events(raw.changes, computed, pa.nulls(count, marked.MARKS_TYPE), raw.columns)
            return Verdict(events, None, np.arange(count, dtype=np.int64))
        return self._judge(raw, computed, kinds, overflown)

    # -- computing
    def _frame(self, columns: pa.RecordBatch) -> pl.DataFrame:
        chosen = columns.select(list(self.source_columns)).rename_columns(self._raw_names)
        frame = pl.from_arrow(chosen)
        if not isinstance(frame, pl.DataFrame):
            raise TypeError("a record batch becomes a frame")
        return frame

    def _compute(self, frame: pl.DataFrame) -> pl.DataFrame:
        for level in self._levels:
            frame = frame.with_columns(level)
        return frame

    def _overflown(self, frame: pl.DataFrame, first: int) -> NDArray[np.int64]:
        """Rows whose arithmetic leaves 38 digits, found by halving."""
        try:
            self._compute(frame)
        except _OVERFLOW:
            if frame.height == 1:
                return np.array([first], np.int64)
            half = frame.height // 2
            return np.concatenate([self._overflown(frame[:half], first), self._overflown(frame[half:], first + half)])
        return np.empty(0, np.int64)

    def _is_suspect(self, computed: pl.DataFrame, kinds: _Kinds) -> bool:
        """Whether any rule may be broken; counting nulls is free, so rules that come down to it go first."""
        for before, after in self._null_pairs:
            known = computed.get_column(before).null_count() if before is not None else 0
            if computed.get_column(after).null_count() != known:
                return True
        return bool(computed.get_column(_SUSPECT).any()) or self._may_repeat(computed, kinds)

    def _may_repeat(self, computed: pl.DataFrame, kinds: _Kinds) -> bool:
        """Whether a key might have been added twice; cheap, exact enough to be wrong on the safe side."""
        if not self._key_names or computed.height == 1:
            return False
        keys = computed.get_column(_KEY)
        if not kinds.adding.all():
            keys = keys.filter(pl.Series(kinds.adding))
        return bool(keys.n_unique() < len(keys))

    # -- judging
    def _judge(self, raw: RawBatch, computed: pl.DataFrame, kinds: _Kinds, overflown: NDArray[np.int64]) -> Verdict:
        found = marked.read(raw, self._fields, self.sources)
        computed = self._keep_special(computed, found)
        broken = self._broken(computed, kinds, found)
        if len(overflown):
            rows = np.zeros(raw.row_count, np.bool_)
            rows[overflown] = True
            overflow = Mask("type", None, "arithmetic gives more than 38 digits", frozenset(), pl.lit(value=True))
            broken = [(overflow, rows & kinds.keyed), *((mask, hits & ~rows) for mask, hits in broken)]
        bad = np.zeros(raw.row_count, np.bool_)
        for _, hits in broken:
            bad |= hits
        computed = self._withhold(computed, kinds, found)
        accepted, rejected = np.flatnonzero(~bad), np.flatnonzero(bad)
        kept = [(name, _only(marks, kinds.whole)) for name, marks in found.kept]
        if not len(rejected):
            events = self._events(raw.changes, computed, marked.column(kept, accepted))
            return Verdict(events, None, accepted)
        taken = pa.array(accepted)
        clean = computed.filter(pl.Series(~bad))
        events = self._events(raw.changes.take(taken), clean, marked.column(kept, accepted))
        keys = tuple(computed.get_column(_KEY).gather(rejected).to_list())
        reasons = Rejected(marked.take(raw, rejected), keys, _breaches(broken, rejected))
        return Verdict(events, reasons, accepted)

    def _broken(self, computed: pl.DataFrame, kinds: _Kinds, found: FieldMarks) -> list[tuple[Mask, Rows]]:
        """Every rule with the rows that break it, where at least one does."""
        hits_of = computed.select(self._mask_exprs) if self._mask_exprs else computed.select([])
        broken: list[tuple[Mask, Rows]] = []
        for index, mask in enumerate(self._masks):
            hits = hits_of.to_series(index).to_numpy()
            hits = hits & (kinds.keyed if mask.reads and mask.reads <= self._key_names else kinds.whole)
            for name in mask.reads & found.excused.keys():
                hits &= ~found.excused[name]
            broken.append((mask, hits))
        for rule, name, detail, rows in found.refused:
            speaks = kinds.keyed if name in self._key_names else kinds.whole
            broken.append((Mask(rule, name, detail, frozenset({name}), pl.lit(value=True)), rows & speaks))
        if self._key_names:
            once = Mask("unique", None, "expected a key that was not added before", self._key_names, pl.lit(value=True))
            broken.append((once, _repeats(computed.get_column(_KEY), kinds)))
        return [(mask, hits) for mask, hits in broken if hits.any()]

    def _keep_special(self, computed: pl.DataFrame, found: FieldMarks) -> pl.DataFrame:
        """Where a contract allows NaN or infinity, the cell becomes null and its mark is kept."""
        if not self._special:
            return computed
        for field in self._fields:
            if field.type.kind is not Kind.DOUBLE or not field.marks_allowed:
                continue
            values = computed.get_column(field.name).fill_null(0.0).to_numpy()
            for rule, mark, hits in (("nan", Mark.NAN, np.isnan(values)),
                                     ("infinity", Mark.PLUS_INFINITY, np.isposinf(values)),
                                     ("infinity", Mark.MINUS_INFINITY, np.isneginf(values))):  # fmt: skip
                rows = np.flatnonzero(hits)
                if rule in field.marks_allowed and len(rows):
                    found.excuse(field.name, rows, len(values))
                    kinds = np.full(len(rows), mark, np.uint8)
                    found.kept.append((field.name, Marks(rows, kinds, (None,) * len(rows))))
        return computed

    def _withhold(self, computed: pl.DataFrame, kinds: _Kinds, found: FieldMarks) -> pl.DataFrame:
        """Null what an event must not state: other fields of a delete, all of a truncate, unchanged cells."""
        hidden: list[pl.Expr] = []
        for name in self._names:
            shown = kinds.keyed if name in self._key_names else kinds.whole
            if name in found.excused:
                shown = shown & ~found.excused[name]
            if not shown.all():
                hidden.append(pl.when(pl.lit(pl.Series(shown))).then(pl.col(name)).otherwise(None).alias(name))
        if not kinds.keyed.all():
            hidden.append(pl.when(pl.lit(pl.Series(kinds.keyed))).then(pl.col(_KEY)).otherwise(None).alias(_KEY))
        return computed.with_columns(hidden)

    def _events(
        self, changes: pa.RecordBatch, computed: pl.DataFrame, marks: pa.Array, raw: pa.RecordBatch | None = None
    ) -> pa.RecordBatch:
        """Put events together; `raw` is given when no row is left out or withheld, and its untouched columns pass."""
        passed = {} if raw is None else {name: raw.column(column) for name, column in self._untouched.items()}
        made = [name for name in [_KEY, *self._names] if name not in passed]
        table = computed.select(made).to_arrow(compat_level=_ARROW_LEVEL)
        arrays = {name: _whole(column) for name, column in zip(made, table.columns, strict=True)}
        arrays |= passed
        fields = [_typed(arrays[name], self.schema.field(name).type) for name in self._names]
        return pa.RecordBatch.from_arrays([*changes.columns, arrays[_KEY], marks, *fields], schema=self.schema)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _typed(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    return array if array.type == wanted else array.cast(wanted)


def _kinds_of(ops: NDArray[np.uint8]) -> _Kinds:
    adding = (ops == Op.CREATE) | (ops == Op.READ)
    whole = adding | (ops == Op.UPDATE)
    return _Kinds(whole, whole | (ops == Op.DELETE), adding) if not whole.all() else _Kinds(whole, whole, adding)


def _blank(frame: pl.DataFrame, rows: NDArray[np.int64]) -> pl.DataFrame:
    shown = np.ones(frame.height, np.bool_)
    shown[rows] = False
    return frame.with_columns(pl.when(pl.lit(pl.Series(shown))).then(pl.all()).otherwise(None))


def _only(marks: Marks, rows: Rows) -> Marks:
    """The marks on the given rows."""
    chosen = np.flatnonzero(rows[marks.rows])
    return Marks(marks.rows[chosen], marks.kinds[chosen], tuple(marks.raw[i] for i in chosen))


def _repeats(keys: pl.Series, kinds: _Kinds) -> Rows:
    """Rows that add a key which an earlier row added, with neither a delete of it nor a truncate between."""
    frame = pl.DataFrame(
        {
            "row": np.arange(len(keys)),
            "key": keys,
            "adding": kinds.adding,
            "life": np.cumsum(~kinds.keyed),  # a truncate ends every key's life
            "counts": kinds.adding | (kinds.keyed & ~kinds.whole),
        }
    ).filter(pl.col("counts") & pl.col("key").is_not_null())
    before = pl.col("adding").shift(1).over(["key", "life"])
    rows = frame.filter(pl.col("adding") & before).get_column("row").to_numpy()
    hits = np.zeros(len(keys), np.bool_)
    hits[rows] = True
    return hits


def _breaches(broken: list[tuple[Mask, Rows]], rejected: NDArray[np.int64]) -> tuple[tuple[Breach, ...], ...]:
    """What each rejected row broke; a field that could not be read is not also reported as missing."""
    found: list[dict[tuple[str, str | None, str], Breach]] = [{} for _ in rejected]
    for mask, hits in broken:
        breach = Breach(mask.rule, mask.field, mask.detail)
        for row in np.flatnonzero(hits[rejected]):
            if mask.rule != "required" or all(known.field != mask.field for known in found[row].values()):
                found[row].setdefault((breach.rule, breach.field, breach.detail), breach)
    return tuple(tuple(breaches.values()) for breaches in found)
