"""Dead letters and parked rows: what was set aside whole, to be mended or released.

The raw rows of one append lie in one compressed block; each letter is a small row that points into it. Every statement
here runs inside a transaction the caller opened; every row is checked when it is read.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import apsw
import msgspec

from bridge.errors import InternalError, JournalCorrupt
from bridge.journal.block import Packed, one_row, unpack_raw
from bridge.journal.rows import checksum, is_sound, maybe_moment, moment, to_json
from bridge.model import Breach, Letter, LetterState, NewLetters, NewParked, Parked, RawBatch, event_id

_PUT_LETTER_BLOCK = "INSERT INTO letter_block (stream, size, crc, data) VALUES (?, ?, ?, ?) RETURNING id"
_GET_LETTER_BLOCK = "SELECT stream, size, crc, data FROM letter_block WHERE id = ?"
_PUT_LETTER = """
INSERT INTO letter (stream, block, row, epoch, contract, key, event_id, breaches, state, created_at, settled_at, reason,
  crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_LETTER_COLUMNS = """
SELECT id, crc, stream, block, row, epoch, contract, key, event_id, breaches, state, created_at, settled_at, reason
FROM letter
"""
_LETTERS_OF_BLOCK = _LETTER_COLUMNS + "WHERE block = ?"
_GET_LETTER = _LETTER_COLUMNS + "WHERE id = ?"
_FIND_LETTERS = (
    _LETTER_COLUMNS
    + "WHERE id > ?1 AND (?2 IS NULL OR stream = ?2) AND (?3 IS NULL OR state = ?3) ORDER BY id LIMIT ?4"
)
_FIND_OPEN_LETTERS = (
    _LETTER_COLUMNS + "WHERE id > ?1 AND (?2 IS NULL OR stream = ?2) AND state = 'open' ORDER BY id LIMIT ?3"
)
_SETTLE_LETTER = "UPDATE letter SET state = ?, settled_at = ?, reason = ?, crc = ? WHERE id = ?"
_OPEN_COUNTS = "SELECT stream, count(*) FROM letter WHERE state = 'open' GROUP BY stream"
_PUT_PARKED = "INSERT INTO parked (stream, epoch, row_count, size, crc, data) VALUES (?, ?, ?, ?, ?, ?)"
_PARKED_COLUMNS = "SELECT id, stream, epoch, row_count, size, crc, data FROM parked "
_GET_PARKED = _PARKED_COLUMNS + "WHERE id = ?"
_FIND_PARKED = _PARKED_COLUMNS + "WHERE stream = ? ORDER BY id LIMIT ?"
_DROP_PARKED = "DELETE FROM parked WHERE id = ?"
_PARKED_COUNTS = "SELECT stream, sum(row_count) FROM parked GROUP BY stream"


def insert(connection: apsw.Connection, new: NewLetters, raw: Packed, now: int) -> None:
    """Store the rejected rows of one stream, packed by `pack_raw`, with a letter each."""
    crc = checksum(new.stream, raw.size, data=raw.data)
    block = connection.execute(_PUT_LETTER_BLOCK, (new.stream, raw.size, crc, raw.data)).get
    rejected = new.rejected
    ids = event_ids(rejected.raw, new.epoch, rejected.keys)
    # A loop over rows: rejected ones only.
    for row, (key, its_id, breaches) in enumerate(zip(rejected.keys, ids, rejected.breaches, strict=True)):
        text = to_json([(breach.rule, breach.field, breach.detail) for breach in breaches])
        values = (new.stream, block, row, new.epoch, new.contract, key, its_id, text, "open", now, None, None)
        connection.execute(_PUT_LETTER, (*values, checksum(*values)))


def event_ids(raw: RawBatch, epoch: int, keys: Iterable[str | None]) -> list[str]:
    """The id that each row of a raw batch has or would have as an event (I8)."""
    names = ("_op", "_position", "_tx_index", "_moved", "_snapshot")
    columns = (raw.changes.column(name).to_pylist() for name in names)
    return [
        event_id(raw.stream, epoch, op=op, position=at, tx_index=index, moved=moved, snapshot=snapshot, key=key)
        for op, at, index, moved, snapshot, key in zip(*columns, keys, strict=True)
    ]


def settle(connection: apsw.Connection, settled: Mapping[int, tuple[LetterState, str]], now: int) -> None:
    """Close open letters. Raises: InternalError when one is not open."""
    for letter_id, (state, reason) in settled.items():
        row = connection.execute(_GET_LETTER, (letter_id,)).fetchone()
        if row is None or _letter(row, None).state is not LetterState.OPEN:
            raise InternalError(f"letter {letter_id} cannot be settled: it is not open")
        values = (*row[2:10], str(state), row[11], now, reason)
        connection.execute(_SETTLE_LETTER, (str(state), now, reason, checksum(*values), letter_id))


def find(
    connection: apsw.Connection, *, stream: str | None, state: LetterState | None, limit: int, after: int
) -> list[Letter]:
    """Letters above an id, without their raw rows. Raises: JournalCorrupt."""
    if state is LetterState.OPEN:
        rows = connection.execute(_FIND_OPEN_LETTERS, (after, stream, limit))
    else:
        rows = connection.execute(_FIND_LETTERS, (after, stream, None if state is None else str(state), limit))
    return [_letter(row, None) for row in rows]


def get(connection: apsw.Connection, letter_id: int) -> Letter | None:
    """A letter with its raw row. Raises: JournalCorrupt."""
    row = connection.execute(_GET_LETTER, (letter_id,)).fetchone()
    if row is None:
        return None
    raw = block(connection, row[3])
    _check_row(row[4], raw.row_count, letter_id)
    return _letter(row, one_row(raw, row[4]))


def block(connection: apsw.Connection, block_id: int) -> RawBatch:
    """The raw rows of one letter block. Raises: JournalCorrupt."""
    row = connection.execute(_GET_LETTER_BLOCK, (block_id,)).fetchone()
    if row is None:
        raise JournalCorrupt(f"table letter_block: block {block_id} is missing")
    stream, size, crc, data = row
    if not is_sound(crc, stream, size, data=data):
        raise JournalCorrupt(f"table letter_block: the checksum of block {block_id} of stream {stream} is wrong")
    return unpack_raw(Packed(data, size))


def check_block(connection: apsw.Connection, block_id: int) -> None:
    """Read a letter block and every letter in it. Raises: JournalCorrupt."""
    row_count = block(connection, block_id).row_count
    for row in connection.execute(_LETTERS_OF_BLOCK, (block_id,)):
        _check_row(_checked(row)[2], row_count, row[0])


def open_counts(connection: apsw.Connection) -> dict[str, int]:
    """Open letters per stream."""
    return dict(connection.execute(_OPEN_COUNTS))


def park(connection: apsw.Connection, new: NewParked, raw: Packed) -> None:
    """Store rows of a stream that stands still, packed by `pack_raw`."""
    values = (new.raw.stream, new.epoch, new.raw.row_count, raw.size)
    connection.execute(_PUT_PARKED, (*values, checksum(*values, data=raw.data), raw.data))


def release(connection: apsw.Connection, parked_ids: Iterable[int]) -> None:
    """Delete parked batches. Raises: InternalError when one is not there."""
    for parked_id in parked_ids:
        connection.execute(_DROP_PARKED, (parked_id,))
        if connection.changes() != 1:
            raise InternalError(f"parked batch {parked_id} cannot be released: it is not there")


def parked(connection: apsw.Connection, stream: str, *, limit: int) -> list[Parked]:
    """The oldest parked batches of a stream. Raises: JournalCorrupt."""
    return [_parked(row) for row in connection.execute(_FIND_PARKED, (stream, limit))]


def get_parked(connection: apsw.Connection, parked_id: int) -> Parked | None:
    """One parked batch. Raises: JournalCorrupt."""
    row = connection.execute(_GET_PARKED, (parked_id,)).fetchone()
    return None if row is None else _parked(row)


def parked_counts(connection: apsw.Connection) -> dict[str, int]:
    """Parked rows per stream."""
    return dict(connection.execute(_PARKED_COUNTS))


def _parked(row: tuple[Any, ...]) -> Parked:
    parked_id, stream, epoch, row_count, size, crc, data = row
    if not is_sound(crc, stream, epoch, row_count, size, data=data):
        raise JournalCorrupt(f"table parked: the checksum of batch {parked_id} of stream {stream} is wrong")
    return Parked(parked_id, epoch, unpack_raw(Packed(data, size)))


def _check_row(row: int, row_count: int, letter_id: int) -> None:
    if not 0 <= row < row_count:
        raise JournalCorrupt(f"table letter: letter {letter_id} points outside its block")


def _checked(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The columns after id and crc. Raises: JournalCorrupt."""
    letter_id, crc, *values = row
    if not is_sound(crc, *values):
        raise JournalCorrupt(f"table letter: the checksum of letter {letter_id} of stream {values[0]} is wrong")
    return tuple(values)


def _letter(row: tuple[Any, ...], raw: RawBatch | None) -> Letter:
    values = _checked(row)
    stream, _, _, epoch, contract, key, its_id, breaches, state, created_at, settled_at, reason = values
    return Letter(
        id=row[0],
        stream=stream,
        epoch=epoch,
        contract=contract,
        key=key,
        event_id=its_id,
        breaches=tuple(Breach(*breach) for breach in msgspec.json.decode(breaches)),
        state=LetterState(state),
        created_at=moment(created_at),
        settled_at=maybe_moment(settled_at),
        reason=reason,
        raw=raw,
    )
