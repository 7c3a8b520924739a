"""What becomes of a raw batch: events, dead letters or parked rows. There is no fourth (I3).

One `StreamJudge` a stream holds the contract, the stream's phase and the keys that wait behind a dead letter. It
decides and stores nothing: its decisions become part of one journal commit; `settle` is told when it is durable.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bridge.contract.compiled import CompiledContract, Drift, compile_contract, schema_of
from bridge.contract.document import ContractDocument
from bridge.model import (
    Breach,
    EventBatch,
    NewLetters,
    NewParked,
    RawBatch,
    Rejected,
    Shape,
    StreamPhase,
    StreamState,
)

HELD = Breach("held", None, "an earlier change of this key is a dead letter; it waits behind it")  # broke no rule


@dataclass(frozen=True, slots=True)
class Ruling:
    """What one batch becomes; every row of it is in exactly one part."""

    events: EventBatch | None = None
    letters: NewLetters | None = None
    parked: NewParked | None = None
    state: StreamState | None = None  # the stream's new state, where it changes
    valid: int = 0
    rejected: int = 0  # rows that broke a rule; one that only waits did not
    waits: frozenset[str] = frozenset()  # keys that have a dead letter from now on


class StreamJudge:
    """Decides for one stream, in order; for one thread.

    Args:
        stream: its name.
        contract: what its rows are held to.
        on_reject: whether later changes of a rejected key flow on or wait behind it.
        state: what the journal remembers of the stream; None before its first row.
        waiting: keys with an open dead letter; only asked for with `hold`.
        remake: makes of stored rows what the present contract reads, where their source can.
    """

    def __init__(
        self,
        stream: str,
        contract: ContractDocument,
        *,
        on_reject: Literal["pass", "hold"],
        state: StreamState | None,
        waiting: frozenset[str] = frozenset(),
        remake: Callable[[RawBatch], RawBatch] = lambda raw: raw,
    ) -> None:
        self.stream = stream
        self._remake = remake
        self.contract = contract
        self.state = state
        self._holds = on_reject == "hold"
        self._compiled: dict[Shape, CompiledContract | Drift] = {}
        self.wait_behind(waiting)

    def judge(self, raw: RawBatch, *, epoch: int, now: datetime) -> Ruling:
        """Decide a batch fresh from the source."""
        if not self.is_running:
            return Ruling(parked=NewParked(epoch, raw))
        if not raw.shape.columns:
            return self.check(raw, epoch=epoch)
        drift = self.drift(raw.shape)
        if drift is not None:
            kept = self.state.shape if self.state else None
            return Ruling(
                parked=NewParked(epoch, raw), state=StreamState(self.stream, StreamPhase.DRIFT, now, drift, kept)
            )
        ruling = self.check(raw, epoch=epoch)
        if self.state is None or self.state.shape is None:
            ruling = replace(ruling, state=StreamState(self.stream, StreamPhase.RUNNING, now, "", raw.shape))
        return ruling

    def check(self, raw: RawBatch, *, epoch: int, alone: bool = False) -> Ruling:
        """Hold a batch to the contract, whatever the stream's phase; its shape must have no drift.

        Args:
            raw: the batch.
            epoch: of its source.
            alone: do not make it wait behind dead letters: it is one.
        """
        if not raw.shape.columns:  # gaps: nothing of the table is in them, so nothing can be wrong with them
            marks = _without_fields(raw.changes, schema_of(self.contract))
            return Ruling(events=EventBatch(self.stream, epoch, self.contract.version, marks))
        compiled = self.compiled(raw.shape)
        assert isinstance(compiled, CompiledContract)  # noqa: S101  callers ask for drift first
        verdict = compiled.check(raw)
        events, rejected = verdict.events, verdict.rejected
        if self._holds and not alone and (self._waiting or rejected is not None):
            events, rejected = self._hold(raw, events, verdict.rows, rejected)
        version = self.contract.version
        return Ruling(
            events=EventBatch(self.stream, epoch, version, events) if events.num_rows else None,
            letters=NewLetters(self.stream, epoch, version, rejected) if rejected else None,
            valid=events.num_rows,
            rejected=sum(breaches != (HELD,) for breaches in rejected.breaches) if rejected else 0,
            waits=frozenset(key for key in rejected.keys if key is not None)
            if rejected and self._holds
            else frozenset(),
        )

    def fitted(self, raw: RawBatch) -> RawBatch:
        """Rows that were stored, for `check` under the present contract."""
        return self._remake(raw) if raw.shape.columns else raw

    def drift(self, shape: Shape) -> str | None:
        """Why rows of this shape must wait for a person; None when they need not."""
        accepted = self.state.shape if self.state else None
        if accepted is not None and accepted != shape:
            return describe_change(accepted, shape)
        compiled = self.compiled(shape)
        return "; ".join(compiled.problems) if isinstance(compiled, Drift) else None

    def compiled(self, shape: Shape) -> CompiledContract | Drift:
        """The contract for tables of this shape, compiled once."""
        if shape not in self._compiled:
            self._compiled[shape] = compile_contract(self.contract, self.stream, shape)
        return self._compiled[shape]

    def settle(self, ruling: Ruling) -> None:
        """The ruling is durable: from now on it counts."""
        if ruling.state is not None:
            self.state = ruling.state
        self._waiting |= ruling.waits

    @property
    def is_running(self) -> bool:
        """Whether rows are journalled now; else they are parked."""
        return self.state is None or self.state.phase is StreamPhase.RUNNING

    @property
    def holds(self) -> bool:
        """Whether later changes of a rejected key wait behind it."""
        return self._holds

    def wait_behind(self, keys: frozenset[str]) -> None:
        """These are the keys with an open dead letter, whatever they were before."""
        self._waiting = keys if self._holds else frozenset()

    def _hold(
        self,
        raw: RawBatch,
        events: pa.RecordBatch,
        rows: np.ndarray[tuple[int], np.dtype[np.int64]],
        rejected: Rejected | None,
    ) -> tuple[pa.RecordBatch, Rejected | None]:
        """Move accepted rows of waiting keys behind their dead letter. # I5: order is kept per key."""
        keys = events.column("_key")
        is_held = np.zeros(events.num_rows, np.bool_)
        if self._waiting:
            is_held |= pc.is_in(keys, pa.array(sorted(self._waiting), pa.large_string())).to_numpy(zero_copy_only=False)
        reasons: dict[int, tuple[tuple[Breach, ...], str | None]] = {}
        if rejected is not None:
            broken = np.setdiff1d(np.arange(raw.row_count), rows)
            reasons = dict(zip(broken.tolist(), zip(rejected.breaches, rejected.keys, strict=True), strict=True))
            first: dict[str, int] = {}
            for row, (_, key) in reasons.items():  # rejected rows only
                if key is not None:
                    first.setdefault(key, row)
            if first:
                place = pc.index_in(keys, pa.array(list(first), pa.large_string())).fill_null(-1).to_numpy()
                is_held |= rows > np.array([*first.values(), raw.row_count])[place]
        if not is_held.any():
            return events, rejected
        held = zip(rows[is_held].tolist(), keys.filter(pa.array(is_held)).to_pylist(), strict=True)
        reasons |= {row: ((HELD,), key) for row, key in held}
        order = sorted(reasons)
        return events.filter(pa.array(~is_held)), Rejected(
            raw=raw.take(np.array(order, np.int64)),
            keys=tuple(reasons[row][1] for row in order),
            breaches=tuple(reasons[row][0] for row in order),
        )


def describe_change(old: Shape, new: Shape) -> str:
    """What is different between two shapes of one table, for people."""
    before = {column.name: column.type for column in old.columns}
    after = {column.name: column.type for column in new.columns}
    parts = [f"column {name} ({after[name]}) is new" for name in after if name not in before]
    parts += [f"column {name} is gone" for name in before if name not in after]
    parts += [
        f"column {name} was {before[name]} and is {after[name]}"
        for name in before
        if name in after and before[name] != after[name]
    ]
    if not parts:
        parts = ["its columns stand in another order"] if old.table == new.table else [f"it was called {old.table}"]
    return f"table {new.table} changed: {'; '.join(parts)}"


def _without_fields(changes: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Events that speak of the stream and not of a row."""
    rest = [pa.nulls(changes.num_rows, field.type) for field in schema][changes.num_columns :]
    return pa.RecordBatch.from_arrays([*changes.columns, *rest], schema=schema)


def judged(rulings: Mapping[str, Ruling]) -> dict[str, tuple[int, int]]:
    """Rows valid and rejected per stream, as the journal counts them."""
    return {
        stream: (ruling.valid, ruling.rejected) for stream, ruling in rulings.items() if ruling.valid or ruling.rejected
    }
