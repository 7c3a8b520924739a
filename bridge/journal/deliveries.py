"""What sinks settled: progress, delivery dead letters and their own states, in one transaction.

A delivery letter holds its event as a block of one row, so that it outlives retention. Every statement here runs inside
a transaction the caller opened; every row is checked when it is read.
"""

from collections.abc import Mapping
from typing import Any

import apsw

from bridge.errors import JournalCorrupt
from bridge.journal import auditing, blocks, keeping, states
from bridge.journal.block import Packed, pack, pack_schema, unpack
from bridge.journal.rows import checksum, is_sound, maybe_moment, micros, moment
from bridge.model import Block, LetterState
from bridge.parcel import Delivered, NewUndelivered, Undelivered

_COLUMNS = """
id, crc, sink, stream, number, epoch, contract, event_id, key, cause, attempts, state, journalled_at, first_failed_at,
created_at, settled_at, reason, schema, size
"""
_PUT = """
INSERT INTO undelivered (sink, stream, number, epoch, contract, event_id, key, cause, attempts, state, journalled_at,
  first_failed_at, created_at, settled_at, reason, schema, size, crc, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_FIND = f"""
SELECT {_COLUMNS}, data FROM undelivered
WHERE id > ?1 AND (?2 IS NULL OR sink = ?2) AND (?3 IS NULL OR stream = ?3) AND (?4 IS NULL OR state = ?4)
ORDER BY id LIMIT ?5
"""  # noqa: S608  two constants
_GET = f"SELECT {_COLUMNS}, data FROM undelivered WHERE id = ?"  # noqa: S608  two constants
_SETTLE = "UPDATE undelivered SET state = ?, settled_at = ?, reason = ?, crc = ? WHERE id = ?"
_COUNTS = "SELECT sink, count(*) FROM undelivered WHERE state = 'open' GROUP BY sink"
_STATE, _SETTLED_AT, _REASON = 9, 13, 14  # places among the checked values


def record(connection: apsw.Connection, delivered: Delivered, packed: tuple[Packed, ...], *, now: int) -> None:
    """Store what one pass of a sink settled. Raises: InternalError as the port says."""
    states.progress_to(connection, delivered.sink, delivered.progress)
    settle(connection, delivered.settled, now)
    for new, data in zip(delivered.undelivered, packed, strict=True):
        _insert(connection, delivered.sink, new, data, now=now)
    for (kind, name), value in delivered.kept.items():
        keeping.keep(connection, kind, name, value)
    for entry in delivered.audit:
        auditing.add(connection, entry, moment(now))


def encode(delivered: Delivered) -> tuple[Packed, ...]:
    """The events of the new letters, packed: the costly part, before the transaction begins."""
    return tuple(pack(new.block.batch) for new in delivered.undelivered)


def settle(connection: apsw.Connection, settled: Mapping[int, tuple[LetterState, str]], now: int) -> None:
    """Close delivery letters that are open; what was said of another first stands."""
    for letter_id, (state, reason) in settled.items():
        row = connection.execute(_GET, (letter_id,)).fetchone()
        if row is None or _letter(connection, row, whole=False).state is not LetterState.OPEN:
            continue  # an operator discarded it while it was on its way
        values = list(row[2:-1])
        values[_STATE], values[_SETTLED_AT], values[_REASON] = str(state), now, reason
        connection.execute(_SETTLE, (str(state), now, reason, checksum(*values, data=row[-1]), letter_id))


def find(
    connection: apsw.Connection,
    *,
    sink: str | None,
    stream: str | None,
    state: LetterState | None,
    limit: int,
    after: int,
) -> list[Undelivered]:
    """Letters above an id, without their events. Raises: JournalCorrupt."""
    rows = connection.execute(_FIND, (after, sink, stream, None if state is None else str(state), limit))
    return [_letter(connection, row, whole=False) for row in rows]


def get(connection: apsw.Connection, letter_id: int) -> Undelivered | None:
    """A letter with its event. Raises: JournalCorrupt."""
    row = connection.execute(_GET, (letter_id,)).fetchone()
    return None if row is None else _letter(connection, row, whole=True)


def open_counts(connection: apsw.Connection) -> dict[str, int]:
    """Open letters per sink."""
    return dict(connection.execute(_COUNTS))


def _insert(connection: apsw.Connection, sink: str, new: NewUndelivered, packed: Packed, *, now: int) -> None:
    block = new.block
    values = (
        sink,
        block.stream,
        block.first,
        block.epoch,
        block.contract,
        new.event_id,
        new.key,
        new.cause,
        new.attempts,
        str(LetterState.OPEN),
        micros(block.journalled_at),
        micros(new.first_failed_at),
        now,
        None,
        None,
        blocks.schema_id(connection, pack_schema(block.batch.schema)),
        packed.size,
    )
    connection.execute(_PUT, (*values, checksum(*values, data=packed.data), packed.data))


def _letter(connection: apsw.Connection, row: tuple[Any, ...], *, whole: bool) -> Undelivered:
    letter_id, crc, *values, data = row
    if not is_sound(crc, *values, data=data):
        raise JournalCorrupt(f"table undelivered: the checksum of letter d{letter_id} of sink {values[0]} is wrong")
    sink, stream, number, epoch, contract, event_id, key, cause, attempts, state, journalled_at, *times = values
    first_failed_at, created_at, settled_at, reason, schema, size = times
    block = None
    if whole:
        batch = unpack(Packed(data, size), blocks.schema(connection, schema))
        block = Block(stream, number, epoch, contract, moment(journalled_at), batch)
    return Undelivered(
        id=letter_id,
        sink=sink,
        stream=stream,
        number=number,
        event_id=event_id,
        key=key,
        cause=cause,
        attempts=attempts,
        state=LetterState(state),
        first_failed_at=moment(first_failed_at),
        created_at=moment(created_at),
        settled_at=maybe_moment(settled_at),
        reason=reason,
        block=block,
    )
