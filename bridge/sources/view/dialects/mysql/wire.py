"""Rows of MySQL's text protocol as the server sent them: read in bulk, cut into cells column by column.

Source: MariaDB and MySQL protocol documentation, "Resultset Row", "Length-Encoded String".
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pymysql.constants import COMMAND
from pymysql.err import raise_mysql_exception
from pymysql.protocol import FieldDescriptorPacket

from bridge.errors import MalformedRecord, SourceRefused

if TYPE_CHECKING:
    from pymysql.connections import Connection

_HEAD = 4  # of a packet: three bytes of length, one of sequence
_LARGEST = 0xFFFFFF  # a packet of this length goes on in the next
_NULL, _TWO, _THREE, _EIGHT = 0xFB, 0xFC, 0xFD, 0xFE
_END, _FAULT = 0xFE, 0xFF
_END_LENGTH = 9  # a packet of fewer bytes that begins with _END ends the rows
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Field:
    """One column as the answer describes it."""

    name: str
    type: int  # FIELD_TYPE
    flags: int
    length: int  # in bytes, as displayed
    decimals: int
    charset: int  # number of its collation


@dataclass(frozen=True, slots=True)
class Cells:
    """One column's cells of n rows inside a buffer."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]  # 0 for null
    is_value: NDArray[np.bool_]  # False for null


@dataclass(frozen=True, slots=True)
class Rows:
    """An answer as it came."""

    fields: tuple[Field, ...]
    buffer: NDArray[np.uint8]  # ends some bytes behind the last row
    starts: NDArray[np.int64]  # n: where each row's first cell begins
    size_bytes: int
    is_cut: bool  # more was to come and was not read

    def cells(self) -> list[Cells]:
        """The cells of each column; all rows advance together, a column a step. Raises: MalformedRecord."""
        cursor, found = self.starts, []
        for _ in self.fields:
            self._check(cursor + 1)
            length = self.buffer[cursor].astype(np.int64)
            start = cursor + 1
            is_value = length != _NULL
            if length.max(initial=0) >= _NULL:
                _lengthen(self.buffer, cursor, start, length)
            cursor = start + length
            found.append(Cells(start, length, is_value))
        self._check(cursor)
        return found

    def _check(self, ends: NDArray[np.int64]) -> None:
        if ends.max(initial=0) > self.size_bytes:
            raise MalformedRecord("a row of the answer is cut short")


def _lengthen(
    buffer: NDArray[np.uint8], cursor: NDArray[np.int64], start: NDArray[np.int64], length: NDArray[np.int64]
) -> None:
    """Put in the lengths that do not fit into one byte, and none for null."""
    first = length.copy()
    length[first == _NULL] = 0
    for mark, width in ((_TWO, 2), (_THREE, 3), (_EIGHT, 8)):
        rows = np.flatnonzero(first == mark)
        if rows.size:
            length[rows] = sum(buffer[cursor[rows] + 1 + byte].astype(np.int64) << (8 * byte) for byte in range(width))
            start[rows] += width


def ask(connection: "Connection[Any]", sql: str, *, most_bytes: int) -> Rows:
    """Send one statement and read its rows.

    Args:
        connection: idle; the statement's text is sent as it is.
        sql: one statement that answers with rows.
        most_bytes: beyond it no more rows are read: the connection is then of no more use.
    Raises: pymysql.Error, OSError; SourceRefused when the statement answers without rows.
    """
    link: Any = connection  # PyMySQL has no public way to the bytes
    link._execute_command(COMMAND.COM_QUERY, sql)  # noqa: SLF001
    head = link._read_packet()  # noqa: SLF001
    count = None if head.is_ok_packet() or head.is_load_local_packet() else head.read_length_encoded_integer()
    if not count:
        raise SourceRefused("a statement answered without rows: it is no query", hint="A view file holds one SELECT.")
    described = [link._read_packet(FieldDescriptorPacket) for _ in range(count)]  # noqa: SLF001
    link._read_packet()  # noqa: SLF001  ends the descriptions
    fields = tuple(Field(one.name, one.type_code, one.flags, one.length, one.scale, one.charsetnr) for one in described)
    reading = _Reading(link._rfile)  # noqa: SLF001
    while not reading.walk():
        if reading.at > most_bytes:
            return reading.rows(fields, is_cut=True)
        reading.more()
    link._next_seq_id = 0  # noqa: SLF001  the next command begins anew
    return reading.rows(fields, is_cut=False)


class _Reading:
    """Bytes from the server, and how far they are cut into packets."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401  the socket's file: its stub lacks peek
        self._stream = stream
        self._buffer = bytearray(_BLOCK)
        self._starts: list[int] = []
        held = stream.peek(1)  # whatever was read together with the descriptions
        self._buffer[: len(held)] = stream.read(len(held))
        self._end = len(held)
        self.at = 0  # up to here whole rows

    def more(self) -> None:
        """Wait for more bytes."""
        if len(self._buffer) - self._end < _BLOCK:
            self._buffer.extend(bytes(len(self._buffer)))
        with memoryview(self._buffer) as view:
            came = self._stream.readinto1(view[self._end :])
        if not came:
            raise ConnectionResetError("the server closed the connection")
        self._end += came

    def walk(self) -> bool:
        """Note where rows begin; True when the last has come. Raises: pymysql.Error as the server says."""
        buffer, at, end, starts = self._buffer, self.at, self._end, self._starts
        while end - at >= _HEAD:
            body = at + _HEAD
            length = buffer[at] | buffer[at + 1] << 8 | buffer[at + 2] << 16
            if length == _LARGEST:
                self.at = at
                length, end = self._join(), self._end
            if body + length > end:
                break
            if length < _END_LENGTH and buffer[body] == _END:
                self.at = at
                return True
            if buffer[body] == _FAULT:
                raise_mysql_exception(bytes(buffer[body : body + length]))
            starts.append(body)
            at = body + length
        self.at = at
        return False

    def _join(self) -> int:
        """The length of a row of several packets, whose heads are taken out; beyond the end while some are to come."""
        parts, at = [], self.at
        while True:
            if at + _HEAD > self._end:
                return self._end + 1
            length = int.from_bytes(self._buffer[at : at + 3], "little")
            parts.append(at)
            at += _HEAD + length
            if length < _LARGEST:
                break
        if at > self._end:
            return self._end + 1
        for place in reversed(parts[1:]):
            del self._buffer[place : place + _HEAD]
            self._end -= _HEAD
        return at - _HEAD * len(parts) - self.at

    def rows(self, fields: tuple[Field, ...], *, is_cut: bool) -> Rows:
        """What came."""
        starts = np.array(self._starts, np.int64)
        padded = np.frombuffer(self._buffer, np.uint8)[: self.at + _END_LENGTH]
        return Rows(fields, padded, starts, self.at, is_cut)
