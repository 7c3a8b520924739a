"""Positions, source states, stream states and cursors: what is resumed from.

Every statement here runs inside a transaction the caller opened; every row is checked when it is read.
"""

from collections.abc import Collection, Mapping
from typing import Any

import apsw
import msgspec

from bridge.errors import InternalError, JournalCorrupt
from bridge.journal.block import pack_shape, unpack_shape
from bridge.journal.rows import checksum, is_sound, micros, moment, to_json
from bridge.model import Position, StreamPhase, StreamState
from bridge.parcel import Progress

_SOURCES = "SELECT name, epoch, at, state, crc FROM source "
_PUT_SOURCE = "INSERT OR REPLACE INTO source VALUES (?, ?, ?, ?, ?)"
_STREAM_STATES = "SELECT stream, phase, since, why, shape, crc FROM stream_state"
_PUT_STREAM_STATE = "INSERT OR REPLACE INTO stream_state VALUES (?, ?, ?, ?, ?, ?)"
_CURSORS = "SELECT name, stream, cursor, crc, pending FROM subscriber "
_PUT_CURSOR = "INSERT OR REPLACE INTO subscriber (name, stream, cursor, crc, pending) VALUES (?, ?, ?, ?, ?)"
_FORGET_SUBSCRIBER = "DELETE FROM subscriber WHERE name = ?"


def position(connection: apsw.Connection, source: str) -> tuple[Position | None, dict[str, Any]]:
    """Position and state of a source; (None, {}) before the first. Raises: JournalCorrupt."""
    row = connection.execute(_SOURCES + "WHERE name = ?", (source,)).fetchone()
    if row is None:
        for other in connection.execute(_SOURCES):  # a damaged name must not pass for a new source
            _source(other)
        return None, {}
    return _source(row)


def move(connection: apsw.Connection, source: str, position_: Position | None, state: Mapping[str, Any] | None) -> None:
    """Store where a source stands; what is None stays as it is. Raises: InternalError when it would move back."""
    held, held_state = position(connection, source)
    new = position_ or held
    if held is not None and new is not None and new < held:  # I2
        raise InternalError(f"the position of source {source} would move back, in or from epoch {held.epoch}")
    epoch, at = (None, None) if new is None else (new.epoch, to_json(new.at))
    text = to_json(held_state if state is None else dict(state))
    connection.execute(_PUT_SOURCE, (source, epoch, at, text, checksum(source, epoch, at, text)))


def stream_states(connection: apsw.Connection) -> dict[str, StreamState]:
    """The state of every stream that has one. Raises: JournalCorrupt."""
    return {row[0]: _stream_state(row) for row in connection.execute(_STREAM_STATES)}


def stream_state(connection: apsw.Connection, stream: str) -> StreamState | None:
    """The state of one stream. Raises: JournalCorrupt."""
    row = connection.execute(_STREAM_STATES + " WHERE stream = ?", (stream,)).fetchone()
    return None if row is None else _stream_state(row)


def put_stream_state(connection: apsw.Connection, state: StreamState) -> None:
    """Store the state of a stream, replacing the last one."""
    shape = None if state.shape is None else pack_shape(state.shape)
    values = (state.stream, str(state.phase), micros(state.since), state.why)
    crc = checksum(*values, data=shape or b"")
    connection.execute(_PUT_STREAM_STATE, (*values, shape, crc))


def progress(connection: apsw.Connection, subscriber: str, stream: str) -> Progress | None:
    """How far a subscriber is with a stream; None before its first `advance`. Raises: JournalCorrupt."""
    row = connection.execute(_CURSORS + "WHERE name = ? AND stream = ?", (subscriber, stream)).fetchone()
    if row is None:
        for other in connection.execute(_CURSORS):  # a damaged name must not pass for a new subscriber
            _progress(other)
        return None
    return _progress(row)


def advance(connection: apsw.Connection, subscriber: str, cursors: Mapping[str, int]) -> None:
    """Move cursors forward; nothing is pending then. Raises: InternalError when one would move back."""
    progress_to(connection, subscriber, {stream: Progress(cursor) for stream, cursor in cursors.items()})


def progress_to(connection: apsw.Connection, subscriber: str, reached: Mapping[str, Progress]) -> None:
    """Store how far a subscriber is. Raises: InternalError when a cursor, or what is settled, would move back."""
    for stream, new in reached.items():
        held = progress(connection, subscriber, stream) or Progress()
        if new.cursor < held.cursor or new.settled < held.settled:  # I2
            raise InternalError(
                f"the cursor of {subscriber} on stream {stream} would move back, {held.settled} to {new.settled}"
            )
        pending = to_json(new.pending) if new.pending else None
        crc = _progress_checksum(subscriber, stream, new.cursor, pending)
        connection.execute(_PUT_CURSOR, (subscriber, stream, new.cursor, crc, pending))


def forget_subscriber(connection: apsw.Connection, subscriber: str, streams: Collection[str] | None) -> None:
    """Drop a subscriber's cursors on these streams, or all."""
    if streams is None:
        connection.execute(_FORGET_SUBSCRIBER, (subscriber,))
    for stream in streams or ():
        connection.execute(_FORGET_SUBSCRIBER + " AND stream = ?", (subscriber, stream))


def subscribers(connection: apsw.Connection) -> dict[str, dict[str, Progress]]:
    """Every subscriber and how far it is with each stream. Raises: JournalCorrupt."""
    found: dict[str, dict[str, Progress]] = {}
    for row in connection.execute(_CURSORS + "ORDER BY name, stream"):
        found.setdefault(row[0], {})[row[1]] = _progress(row)
    return found


def settled(connection: apsw.Connection, stream: str) -> dict[str, int]:
    """Up to which number each subscriber of a stream is done with it. Raises: JournalCorrupt."""
    rows = connection.execute(_CURSORS + "WHERE stream = ?", (stream,))
    return {row[0]: _progress(row).settled for row in rows}


def _source(row: tuple[Any, ...]) -> tuple[Position | None, dict[str, Any]]:
    source, epoch, at, state, crc = row
    if not is_sound(crc, source, epoch, at, state):
        raise JournalCorrupt(f"table source: the checksum of source {source} is wrong")
    stored = None if epoch is None else Position(epoch, tuple(msgspec.json.decode(at)))
    return stored, msgspec.json.decode(state)


def _progress(row: tuple[Any, ...]) -> Progress:
    subscriber, stream, held, crc, pending = row
    if crc != _progress_checksum(subscriber, stream, held, pending):
        raise JournalCorrupt(f"table subscriber: the checksum of {subscriber} on stream {stream} is wrong")
    ranges = msgspec.json.decode(pending, type=tuple[tuple[int, int], ...]) if pending else ()
    return Progress(held, ranges)


def _progress_checksum(subscriber: object, stream: object, cursor: object, pending: object) -> int:
    """Without the column that version 2 of the file added where it is empty, so that older rows stay sound."""
    return checksum(subscriber, stream, cursor, *(() if pending is None else (pending,)))


def _stream_state(row: tuple[Any, ...]) -> StreamState:
    stream, phase, since, why, shape, crc = row
    if not is_sound(crc, stream, phase, since, why, data=shape or b""):
        raise JournalCorrupt(f"table stream_state: the checksum of stream {stream} is wrong")
    accepted = None if shape is None else unpack_shape(shape)
    return StreamState(stream, StreamPhase(phase), moment(since), why, accepted)
