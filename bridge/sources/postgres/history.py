"""Whether the server still is where we left it, and what to do when it is not.

# I2: a history that does not hold our position is a new epoch with a declared gap, never a quiet jump.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from bridge.errors import PositionLost, SourceUnavailable
from bridge.gap import gap_batch
from bridge.model import Position, RawBatch, Window
from bridge.postgres.session import Connection, translated
from bridge.sources.postgres import lsn
from bridge.sources.postgres import slot as slots
from bridge.sources.postgres.plan import State
from bridge.sources.postgres.rereads import is_readable
from bridge.sources.postgres.tables import Capture


def find_start(
    position: Position | None, state: State, history: slots.History, slot: slots.SlotState | None, *, name: str
) -> int | None:
    """The LSN to stream from; None when the slot is still to be created.

    Args:
        position: what the journal holds; None before the first start.
        slot: the slot as observed; None when there is none called `name`.
    Raises: PositionLost when the server was replaced or restored, or the slot is gone, invalidated, or ahead of the
        journal. Idle positions are stored before they are confirmed, so only a recreated slot or a restored journal
        explains a slot that is ahead.
    """
    if position is None:
        if slot is not None and not slot.is_lost and slot.confirmed_flush_lsn is None and slot.active_pid is not None:
            raise SourceUnavailable(f"slot {name} is still being created by process {slot.active_pid}")
        if slot is not None and (slot.is_lost or slot.confirmed_flush_lsn is None):
            raise PositionLost(f"slot {name} was invalidated before its first use")
        return slot.confirmed_flush_lsn if slot else None
    at = position.at[0]
    if state.system_id != history.system_id:
        raise PositionLost(f"the server was replaced: system {state.system_id} is now {history.system_id}")
    if not history.holds(max(at, state.partial_lsn), timeline=state.timeline):
        raise PositionLost(f"the server's history does not hold {lsn.text(at)} of timeline {state.timeline}: restored?")
    if slot is None:
        raise PositionLost(f"slot {name} is gone")
    if slot.is_lost:
        raise PositionLost(f"slot {name} was invalidated: {slot.invalidation_reason or slot.wal_status}")
    if slot.confirmed_flush_lsn is not None and slot.confirmed_flush_lsn > at:
        raise PositionLost(
            f"slot {name} is at {lsn.text(slot.confirmed_flush_lsn)}, ahead of the journal at {lsn.text(at)}: the slot"
            " was recreated or the journal restored"
        )
    return at


def require_unbroken(captures: tuple[Capture, ...], state: State) -> None:
    """Raises: PositionLost when a stream is back that was out of the configuration: its changes since were not read."""
    for capture in captures:
        until = state.read_until.get(capture.stream, 0)
        if until:
            raise PositionLost(f"stream {capture.stream} was out of the configuration since {lsn.text(until)}")


def sound_slot(
    sql: Connection, replication: Connection, *, name: str, failover: bool, waiting: Callable[[], None]
) -> int:
    """Make sure of a slot that can be read, dropping a lost one; returns where it starts."""
    slot = slots.observe(sql, name)
    if slot is not None and not slot.is_lost and slot.confirmed_flush_lsn is not None:
        return slot.confirmed_flush_lsn
    if slot is not None:
        with translated(f"dropping the lost slot {name}"):
            sql.execute("SELECT pg_drop_replication_slot(%s)", (name,))
    return slots.create(replication, name, failover=failover, waiting=waiting)


def declare_gap(
    captures: tuple[Capture, ...],
    *,
    position: Position | None,
    start: int,
    state: State,
    cause: str,
    history: slots.History,
    rereads: bool,
) -> Window:
    """The first window of a new epoch: a gap on every stream and, with `rereads`, the re-reads that mend it planned."""
    awaits = "" if rereads else cause
    left = position.at[0] if position else 0
    known = state.reading([capture.stream for capture in captures], at=left)
    renewed = replace(known, system_id=history.system_id, timeline=history.timeline, partial_lsn=0, awaits=awaits)
    # I8: a restored journal has forgotten numbers that were given since; by the clock none is given twice.
    renewed = replace(renewed, next_number=max(renewed.next_number, int(time.time())))
    if not rereads:
        renewed = replace(renewed, rereads={})  # none of them speaks of what comes after the gap
    batches = []
    for capture in captures:
        renewed, plan = _planned(renewed, capture) if rereads else (renewed, "none yet: a person decides")
        batches.append(_gap(capture, left=left, position=start, cause=cause, plan=plan))
    return Window(tuple(batches), Position(position.epoch + 1 if position else 1, (start, 0)), renewed.dump())


def declare_absence(captures: tuple[Capture, ...], *, position: Position, state: State, cause: str) -> Window:
    """The first window of a new epoch: a gap on every stream that was not read for a while; the others go on."""
    renewed = state.reading([capture.stream for capture in captures], at=position.at[0])
    batches = []
    for capture in captures:
        left = state.read_until.get(capture.stream, 0)
        if left:
            renewed, plan = _planned(renewed, capture)
            batches.append(_gap(capture, left=left, position=position.at[0], cause=cause, plan=plan))
    return Window(tuple(batches), Position(position.epoch + 1, position.at), renewed.dump())


def _planned(state: State, capture: Capture) -> tuple[State, str]:
    """With the re-read that mends a gap of a table, where it can be read; and the plan for people."""
    if not is_readable(capture):
        return state, "none: the table has no key to read it by"
    planned = state.plan(capture.stream, heals=True)
    return planned, f"re-read number {planned.rereads[capture.stream].number}"


def _gap(capture: Capture, *, left: int, position: int, cause: str, plan: str) -> RawBatch:
    places = lsn.text(left), lsn.text(position)
    return gap_batch(capture.stream, capture.table, position=position, places=places, cause=cause, plan=plan)
