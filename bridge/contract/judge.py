"""Evaluate a compiled contract over batches: one pass when all is clean, names and reasons when it is not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from bridge.contract import inputs, marked
from bridge.contract.checks import Mask
from bridge.contract.compiler import Steps
from bridge.contract.kinds import Kind
from bridge.contract.marked import FieldMarks, Rows
from bridge.contract.terms import Field
from bridge.model import Breach, Mark, Marks, Op, RawBatch, Rejected, Verdict

_KEY = "_key"
_FEW_ROWS = 1_000  # below which it takes longer to share the work out to threads than to do it
# PanicException: the text of a key's date that no calendar reaches.
OVERFLOW = (pl.exceptions.ComputeError, pl.exceptions.InvalidOperationError, pl.exceptions.PanicException)
_ARROW_LEVEL = pl.CompatLevel.oldest()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is computed over a working frame of legacy columns."""

    columns: tuple[str, ...]  # legacy columns that fields read
    steps: Steps
    places: Mapping[str, str]  # the column of the working frame that holds each field
    key: pl.Expr
    masks: tuple[Mask, ...]
    adds_once: bool = True  # a key that was added is not added again while it lives


@dataclass(frozen=True, slots=True)
class _Work:
    """One batch under judgement: inputs as Arrow has them, and the frame of those that something is computed from."""

    inputs: Mapping[str, pa.Array]
    frame: pl.DataFrame

    def array(self, name: str) -> pa.Array:
        """A column for the events; an input is handed on."""
        return self.inputs[name] if name in self.inputs else _array(self.frame, name)

    def series(self, name: str) -> pl.Series:
        """A column to compute with."""
        return pl.Series(name, self.inputs[name]) if name in self.inputs else self.frame.get_column(name)

    def null_count(self, name: str | None) -> int:
        """How many of a column's cells are null; none where there is no column."""
        if name is None:
            return 0
        return int(self.inputs[name].null_count) if name in self.inputs else self.frame.get_column(name).null_count()


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
        self._key_names = frozenset(field.name for field in fields if field.key_position is not None)
        self._adds_once = plan.adds_once and bool(self._key_names)
        self._masks = plan.masks
        self._mask_exprs = [mask.broken.fill_null(value=False).alias(str(i)) for i, mask in enumerate(plan.masks)]
        self._null_pairs = tuple(mask.nulls for mask in plan.masks if mask.nulls is not None)
        special = [~pl.col(plan.places[field.name]).is_finite() for field in fields
                   if field.marks_allowed and field.type.kind is Kind.DOUBLE]  # fmt: skip
        self._special = bool(special)
        suspects = [mask.broken for mask in plan.masks if mask.nulls is None] + special
        last = [broken.any().alias(f"suspect {at}") for at, broken in enumerate(suspects)]
        self._suspects = [one.meta.output_name() for one in last]
        self._key_place = plan.key.meta.output_name() if plan.key.meta.is_column() else _KEY
        if self._key_place == _KEY:
            last.append(plan.key.alias(_KEY))
        self._places = {_KEY: self._key_place, **plan.places}
        self._identity = plan.places[next(iter(self._key_names))] if len(self._key_names) == 1 else self._key_place
        self._levels = [*plan.steps.levels, last]
        known = plan.steps.inputs
        hot = _read_by([expr for level in self._levels for expr in level]) & known.keys()
        ruled = _read_by(self._mask_exprs) & known.keys()
        self._hot, self._cold = sorted(hot), sorted(ruled - hot)
        self._inputs = {name: known[name] for name in known if name in hot | ruled | set(self._places.values())}

    def check(self, raw: RawBatch) -> Verdict:
        """Judge one batch; see `CompiledContract.check`."""
        count = raw.row_count
        work = self._begin(raw.columns, count)
        try:
            work = self._compute(work)
        except OVERFLOW:
            overflown = self._overflown(work, 0)
            work = self._compute(_Work(work.inputs, _blank(work.frame, overflown)))
        else:
            overflown = np.empty(0, np.int64)
        kinds = _kinds_of(raw.changes.column(0).to_numpy())
        plain = not raw.marks and not len(overflown) and bool(kinds.whole.all())
        if plain and not self._is_suspect(work, kinds):
            places = self._places
            events = self._events(
                raw.changes, lambda name: work.array(places[name]), pa.nulls(count, marked.MARKS_TYPE)
            )
            return Verdict(events, None, np.arange(count, dtype=np.int64))
        return self._judge(raw, work, kinds, overflown)

    # -- computing
    def _begin(self, columns: pa.RecordBatch, count: int) -> _Work:
        arrays = {name: inputs.read(columns, one) for name, one in self._inputs.items()}
        chosen = [pl.Series(name, arrays[name]) for name in self._hot]
        return _Work(arrays, pl.DataFrame(chosen) if chosen else pl.DataFrame(height=count))

    def _compute(self, work: _Work) -> _Work:
        frame = work.frame
        compute = pl.DataFrame.with_columns_seq if frame.height < _FEW_ROWS else pl.DataFrame.with_columns
        for level in self._levels:
            frame = compute(frame, level)
        return _Work(work.inputs, frame)

    def _overflown(self, work: _Work, first: int) -> NDArray[np.int64]:
        """Rows whose arithmetic leaves 38 digits or the calendar, found by halving."""
        try:
            self._compute(work)
        except OVERFLOW:
            frame = work.frame
            if frame.height == 1:
                return np.array([first], np.int64)
            half = frame.height // 2
            halves = ((frame[:half], first), (frame[half:], first + half))
            return np.concatenate([self._overflown(_Work(work.inputs, part), start) for part, start in halves])
        return np.empty(0, np.int64)

    def _is_suspect(self, work: _Work, kinds: _Kinds) -> bool:
        """Whether any rule may be broken; counting nulls is free, so rules that come down to it go first."""
        if any(work.null_count(before) != work.null_count(after) for before, after in self._null_pairs):
            return True
        return any(work.frame.get_column(name).any() for name in self._suspects) or self._may_repeat(work, kinds)

    def _may_repeat(self, work: _Work, kinds: _Kinds) -> bool:
        """Whether a key might have been added twice; cheap, exact enough to be wrong on the safe side."""
        if not self._adds_once or len(kinds.adding) == 1:
            return False
        keys = work.series(self._identity)
        if not kinds.adding.all():
            keys = keys.filter(pl.Series(kinds.adding))
        if keys.dtype == pl.Int64:  # most keys are given out in order, and then none repeats
            numbers = keys.to_numpy()
            if bool((numbers[1:] > numbers[:-1]).all()):
                return False
        return bool(keys.n_unique() < len(keys))

    # -- judging
    def _judge(self, raw: RawBatch, work: _Work, kinds: _Kinds, overflown: NDArray[np.int64]) -> Verdict:
        found = marked.read(raw, self._fields, self.sources)
        fields = pl.DataFrame([work.series(place).alias(name) for name, place in self._places.items()])
        self._keep_special(fields, found)
        broken = self._broken(work, kinds, found)
        if len(overflown):
            rows = np.zeros(raw.row_count, np.bool_)
            rows[overflown] = True
            overflow = Mask(
                "type",
                None,
                "expected at most 38 digits in arithmetic, and dates within 250,000 years",
                frozenset(),
                pl.lit(value=True),
            )
            broken = [(overflow, rows & kinds.keyed), *((mask, hits & ~rows) for mask, hits in broken)]
        bad = np.zeros(raw.row_count, np.bool_)
        for _, hits in broken:
            bad |= hits
        fields = self._withhold(fields, kinds, found)
        accepted, rejected = np.flatnonzero(~bad), np.flatnonzero(bad)
        kept = [(name, _only(marks, kinds.whole)) for name, marks in found.kept]
        if not len(rejected):
            events = self._events(raw.changes, lambda name: _array(fields, name), marked.column(kept, accepted))
            return Verdict(events, None, accepted)
        taken = pa.array(accepted)
        clean, marks = fields.filter(pl.Series(~bad)), marked.column(kept, accepted)
        events = self._events(raw.changes.take(taken), lambda name: _array(clean, name), marks)
        keys = tuple(fields.get_column(_KEY).gather(rejected).to_list())
        reasons = Rejected(raw.take(rejected), keys, _breaches(broken, rejected))
        return Verdict(events, reasons, accepted)

    def _broken(self, work: _Work, kinds: _Kinds, found: FieldMarks) -> list[tuple[Mask, Rows]]:
        """Every rule with the rows that break it, where at least one does."""
        frame = work.frame.with_columns([work.series(name) for name in self._cold])
        hits_of = frame.with_columns(self._mask_exprs)
        broken: list[tuple[Mask, Rows]] = []
        for index, mask in enumerate(self._masks):
            hits = hits_of.get_column(str(index)).to_numpy()
            hits = hits & (kinds.keyed if mask.reads and mask.reads <= self._key_names else kinds.whole)
            for name in mask.reads & found.excused.keys():
                hits &= ~found.excused[name]
            broken.append((mask, hits))
        for rule, name, detail, rows in found.refused:
            speaks = kinds.keyed if name in self._key_names else kinds.whole
            broken.append((Mask(rule, name, detail, frozenset({name}), pl.lit(value=True)), rows & speaks))
        if self._adds_once:
            once = Mask("unique", None, "expected a key that was not added before", self._key_names, pl.lit(value=True))
            broken.append((once, _repeats(work.series(self._key_place), kinds)))
        return [(mask, hits) for mask, hits in broken if hits.any()]

    def _keep_special(self, fields: pl.DataFrame, found: FieldMarks) -> None:
        """Where a contract allows NaN or infinity, the cell will be null and its mark is kept."""
        if not self._special:
            return
        for field in self._fields:
            if field.type.kind is not Kind.DOUBLE or not field.marks_allowed:
                continue
            values = fields.get_column(field.name).fill_null(0.0).to_numpy()
            for rule, mark, hits in (("nan", Mark.NAN, np.isnan(values)),
                                     ("infinity", Mark.PLUS_INFINITY, np.isposinf(values)),
                                     ("infinity", Mark.MINUS_INFINITY, np.isneginf(values))):  # fmt: skip
                rows = np.flatnonzero(hits)
                if rule in field.marks_allowed and len(rows):
                    found.excuse(field.name, rows, len(values))
                    kinds = np.full(len(rows), mark, np.uint8)
                    found.kept.append((field.name, Marks(rows, kinds, (None,) * len(rows))))

    def _withhold(self, fields: pl.DataFrame, kinds: _Kinds, found: FieldMarks) -> pl.DataFrame:
        """Null what an event must not state: other fields of a delete, all of a truncate, unchanged cells."""
        hidden: list[pl.Expr] = []
        for name in [field.name for field in self._fields]:
            shown = kinds.keyed if name in self._key_names else kinds.whole
            if name in found.excused:
                shown = shown & ~found.excused[name]
            if not shown.all():
                hidden.append(pl.when(pl.lit(pl.Series(shown))).then(pl.col(name)).otherwise(None).alias(name))
        if not kinds.keyed.all():
            hidden.append(pl.when(pl.lit(pl.Series(kinds.keyed))).then(pl.col(_KEY)).otherwise(None).alias(_KEY))
        return fields.with_columns(hidden)

    def _events(self, changes: pa.RecordBatch, column: Callable[[str], pa.Array], marks: pa.Array) -> pa.RecordBatch:
        made = [_typed(column(field.name), field.type.arrow) for field in self._fields]
        key = _typed(column(_KEY), pa.large_string())
        return pa.RecordBatch.from_arrays([*changes.columns, key, marks, *made], schema=self.schema)


def _read_by(exprs: list[pl.Expr]) -> set[str]:
    """The columns that expressions read."""
    return {name for expr in exprs for name in expr.meta.root_names()}


def _array(frame: pl.DataFrame, name: str) -> pa.Array:
    return frame.get_column(name).to_arrow(compat_level=_ARROW_LEVEL)


def _typed(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    return array if array.type == wanted else array.cast(wanted)


def _kinds_of(ops: NDArray[np.uint8]) -> _Kinds:
    return _Kinds(_WHOLE[ops], _KEYED[ops], _ADDING[ops])


def _where(*ops: Op) -> Rows:
    """By the code of an operation, whether it is one of these."""
    table = np.zeros(256, np.bool_)
    table[list(ops)] = True
    return table


_ADDING = _where(Op.CREATE, Op.READ)
_WHOLE = _where(Op.CREATE, Op.READ, Op.UPDATE)
_KEYED = _where(Op.CREATE, Op.READ, Op.UPDATE, Op.DELETE)


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
