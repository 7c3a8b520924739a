"""One commit into one transaction (I4).

`prepare` does the costly part, encoding, before the transaction begins; `store` writes what was prepared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import apsw

from bridge.extracted import Extracted
from bridge.journal import auditing, blocks, desk, images, keeping, letters, runs, states
from bridge.journal.block import Packed, pack, pack_raw, pack_schema
from bridge.journal.rows import micros
from bridge.model import Commit, EventBatch


@dataclass(frozen=True, slots=True)
class _Events:
    """An event batch, encoded."""

    events: EventBatch
    schema: bytes
    packed: Packed
    commit_span: tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A commit with its batches encoded."""

    commit: Commit
    events: tuple[_Events, ...]
    letters: tuple[Packed, ...]
    parked: tuple[Packed, ...]
    images: tuple[images.Encoded, ...]


def prepare(commit: Commit) -> Prepared:
    """Encode the batches of a commit. Raises: InternalError for what Arrow IPC messages cannot hold."""
    return Prepared(
        commit,
        tuple(_encode(events) for events in commit.events if events.row_count),
        tuple(pack_raw(new.rejected.raw) for new in commit.letters),
        tuple(pack_raw(new.raw) for new in commit.parked),
        tuple(images.encode(block) for block in commit.extracted.blocks) if commit.extracted else (),
    )


def store(connection: apsw.Connection, prepared: Prepared, now: datetime) -> dict[str, tuple[int, int]]:
    """Write a commit; returns stream -> (first, last) sequence number given.

    Raises: InternalError when a position would move back (I2), a letter is not open or a parked batch is not there.
    """
    commit, at = prepared.commit, micros(now)
    if commit.source is not None:
        states.move(connection, commit.source, commit.position, commit.state)
    # Before what is new is set aside: a commit settles and releases what was there when it was made.
    letters.settle(connection, commit.settled, at)
    letters.release(connection, commit.unparked)
    given = _append(connection, prepared.events, at)
    for new_letters, raw in zip(commit.letters, prepared.letters, strict=True):
        letters.insert(connection, new_letters, raw, at)
    for new_parked, raw in zip(commit.parked, prepared.parked, strict=True):
        letters.park(connection, new_parked, raw)
    for state in commit.streams:
        states.put_stream_state(connection, state)
    if commit.received and commit.source is not None:
        keeping.receive(connection, commit.source, commit.received, commit.received_until or now)
    for entry in commit.audit:
        auditing.add(connection, entry, now)
    desk.judge(connection, commit.judged, now)
    if commit.extracted is not None:
        _extract(connection, commit.extracted, prepared.images, judged=commit.judged)
    return given


def _extract(
    connection: apsw.Connection,
    extracted: Extracted,
    encoded: tuple[images.Encoded, ...],
    *,
    judged: Mapping[str, tuple[int, int]],
) -> None:
    for forgotten in extracted.forgotten:
        images.forget(connection, forgotten)
    for image in encoded:
        images.put(connection, image)
    for run in extracted.runs:
        runs.put(connection, run, extracted.rejected_of(run, judged))
    for charge in extracted.charges:
        runs.charge(connection, charge)
    for (kind, name), value in extracted.kept.items():
        keeping.keep(connection, kind, name, value)


def _encode(events: EventBatch) -> _Events:
    batch = events.batch
    return _Events(events, pack_schema(batch.schema), pack(batch), blocks.commit_span(batch))


def _append(connection: apsw.Connection, encoded: tuple[_Events, ...], at: int) -> dict[str, tuple[int, int]]:
    rows: dict[str, blocks.Catalogue] = {}
    given: dict[str, tuple[int, int]] = {}
    for one in encoded:
        stream = one.events.stream
        row = rows.get(stream) or blocks.find(connection, stream) or blocks.Catalogue(stream)
        block = blocks.StoredBlock(
            stream=stream,
            first=row.last + 1,
            last=row.last + one.events.row_count,
            epoch=one.events.epoch,
            contract=one.events.contract,
            schema=blocks.schema_id(connection, one.schema),
            journalled_at=at,
            min_commit_at=one.commit_span[0],
            max_commit_at=one.commit_span[1],
            packed=one.packed,
        )
        blocks.insert(connection, block)
        rows[stream] = blocks.appended(row, block)
        given[stream] = (given.get(stream, (block.first, 0))[0], block.last)
    for row in rows.values():
        blocks.put(connection, row)
    return given
