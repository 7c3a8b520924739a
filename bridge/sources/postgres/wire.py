"""The replication session itself: COPY messages in, status messages out, never blocking.

Reading is one libpq call a message and nothing else; what the messages say is found out later, all at once.
Source: PostgreSQL manual, "Streaming Replication Protocol", START_REPLICATION.
"""

import select
import struct
import time
from collections.abc import Sequence

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import pq, sql

from bridge.errors import SourceUnavailable
from bridge.sources.postgres import lsn
from bridge.sources.postgres.framing import EPOCH_2000_US, Run
from bridge.sources.postgres.session import Connection, translated

_DISCARD_BYTES = 1 << 20
_STATUS = struct.Struct(">cQQQqB")
_JOINED_MESSAGES = 1024  # few enough that their memory is used again and again: fresh pages would cost most of all


class Received:
    """Messages as they came in, joined now and then; for one thread."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._parts: list[bytes | memoryview] = []
        self._sizes: list[NDArray[np.int64]] = []

    def add(self, messages: Sequence[memoryview]) -> None:
        """Take over the bytes of messages."""
        if messages:
            self._parts.append(messages[0] if len(messages) == 1 else b"".join(messages))  # one may be huge
            self._sizes.append(np.fromiter(map(len, messages), np.int64, len(messages)))
            self.size_bytes += len(self._parts[-1])

    def run(self) -> Run | None:
        """All of them; None when there is none."""
        return Run.join(self._parts, np.concatenate(self._sizes)) if self._parts else None


class Wire:
    """A session in COPY mode, replicating from a slot or reading a query's rows."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._poll = select.poll()
        self._poll.register(self._pgconn.socket, select.POLLIN)

    def replicate(self, slot: str, start: int, publications: Sequence[str]) -> None:
        """Have the server send all transactions that commit at or after the LSN `start`.

        Raises: SourceUnavailable, SourceRefused, PositionLost when the slot cannot be read any more.
        """
        names = ",".join(sql.Identifier(name).as_string(self._connection) for name in publications)
        command = sql.SQL("START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names {})").format(
            sql.Identifier(slot), sql.SQL(lsn.text(start)), sql.Literal(names)
        )
        self._begin(command, pq.ExecStatus.COPY_BOTH, f"reading slot {slot}")

    def copy_out(self, query: sql.Composable, doing: str) -> None:
        """Start a COPY ... TO STDOUT."""
        self._begin(query, pq.ExecStatus.COPY_OUT, doing)

    def drain(self, received: Received, limit_bytes: int) -> bool:
        """Add what has arrived, until `received` holds about `limit_bytes`; returns whether COPY goes on.

        Raises: SourceUnavailable or PositionLost when the server ended the session.
        """
        get = self._pgconn.get_copy_data
        messages: list[memoryview] = []
        size, append = received.size_bytes, messages.append
        try:
            with translated("receiving"):
                while size < limit_bytes:
                    count, data = get(1)
                    if count == 0:
                        self._pgconn.consume_input()
                        count, data = get(1)
                        if count == 0:
                            return True
                    if count < 0:
                        self._end()
                        return False
                    append(data)
                    size += count
                    if len(messages) == _JOINED_MESSAGES:
                        received.add(messages)
                        messages.clear()
                return True
        finally:
            received.add(messages)

    def abandon(self) -> None:
        """Cancel the query under way and throw away what it still sends."""
        with translated("cancelling"):
            self._connection.cancel_safe()
        try:
            while self.drain(Received(), _DISCARD_BYTES):
                self.wait(1.0)
        except SourceUnavailable:  # the server says that it was cancelled
            if self._connection.closed:
                raise

    def wait(self, timeout_s: float) -> None:
        """Return when bytes have arrived or the time is over."""
        self._poll.poll(max(0.0, timeout_s) * 1000)

    def fileno(self) -> int:
        """The socket, to wait on together with others."""
        return int(self._pgconn.socket)

    def send_status(self, *, received: int, flushed: int) -> None:
        """Tell the server how far we have received, and how far the journal holds everything (I1)."""
        clock = time.time_ns() // 1000 - EPOCH_2000_US
        with translated("sending status"):
            self._pgconn.put_copy_data(_STATUS.pack(b"r", received, flushed, flushed, clock, 0))
            while self._pgconn.flush():
                select.select([], [self._pgconn.socket], [], 1.0)

    def close(self) -> None:
        """End the session without further talk: the server keeps the slot where we last confirmed."""
        self._connection.close()

    def _begin(self, command: sql.Composable, expected: pq.ExecStatus, doing: str) -> None:
        with translated(doing):
            result = self._pgconn.exec_(command.as_bytes(self._connection))
            if result.status != expected:
                raise psycopg.errors.error_from_result(result, encoding="utf-8")

    def _end(self) -> None:
        """COPY is over: raise the server's reason, if it gave one."""
        failed = None
        while (result := self._pgconn.get_result()) is not None:
            if result.status == pq.ExecStatus.FATAL_ERROR and failed is None:
                failed = result
            elif result.status in (pq.ExecStatus.COPY_BOTH, pq.ExecStatus.COPY_IN):
                raise SourceUnavailable("receiving: the server ended the stream")
        if failed is not None:
            raise psycopg.errors.error_from_result(failed, encoding="utf-8")
