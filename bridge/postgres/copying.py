"""A session in COPY mode: messages in, without blocking.

Reading is one libpq call a message and nothing else; what the messages say is found out later, all at once.
"""

import select
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import pq, sql

from bridge.errors import SourceUnavailable
from bridge.postgres.session import Connection, translated

_DISCARD_BYTES = 1 << 20
_LARGE_BYTES = 1 << 16  # of a message that is not joined with others, which would copy it
_FIRST_MESSAGES = 16  # until it is known how large they are
# Few enough that their memory is used again and again, and that Python's collector sees no reason to go through them.
_JOINED_MESSAGES = 128


@dataclass(frozen=True, slots=True)
class Run:
    """n payloads of a COPY, one behind the other."""

    buffer: NDArray[np.uint8]
    starts: NDArray[np.int64]  # n: offset of each payload

    @classmethod
    def join(cls, parts: Sequence[bytes | memoryview], sizes: Sequence[int] | NDArray[np.int64]) -> "Run":
        """The run whose bytes are `parts`, however they are cut, and whose payloads have these sizes."""
        ends = np.cumsum(np.asarray(sizes, np.int64))
        buffer = np.frombuffer(parts[0] if len(parts) == 1 else b"".join(parts), np.uint8)
        return cls(buffer, np.concatenate((np.zeros(1, np.int64), ends[:-1])) if ends.size else ends)

    def behind(self, start: int) -> "Run":
        """The payloads from the one at the offset `start` on."""
        return Run(self.buffer[start:], self.starts[self.starts >= start] - start)


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


class Copying:
    """A session that sends the rows of a query, or a change log, as COPY messages."""

    def __init__(
        self, connection: Connection, telling: Callable[[str], AbstractContextManager[None]] = translated
    ) -> None:
        """Of an open session; `telling` makes our errors of psycopg's."""
        self._telling = telling
        self._connection = connection
        self._pgconn = connection.pgconn
        self._poll = select.poll()
        self._poll.register(self._pgconn.socket, select.POLLIN)

    def copy_out(self, query: sql.Composable, doing: str) -> None:
        """Start a COPY ... TO STDOUT, by the extended protocol: it is one statement, whatever is in it."""
        with self._telling(doing):
            self._pgconn.send_query_params(query.as_bytes(self._connection), None)
            while self._pgconn.flush():
                select.select([], [self._pgconn.socket], [], 1.0)
            while self._pgconn.is_busy():
                self.wait(1.0)
                self._pgconn.consume_input()
            self._expect(self._pgconn.get_result(), pq.ExecStatus.COPY_OUT)

    def drain(self, received: Received, limit_bytes: int) -> bool:
        """Add what has arrived, until `received` holds about `limit_bytes`; returns whether COPY goes on.

        Raises: SourceUnavailable or PositionLost when the server ended the session.
        """
        messages: list[memoryview] = []
        is_stale = True  # whether more may have arrived than libpq was asked to look at
        try:
            with self._telling("receiving"):
                while (room := limit_bytes - received.size_bytes) > 0:
                    known = len(messages)
                    size = len(messages[-1]) if messages else room // _FIRST_MESSAGES  # the next ones are as large
                    count = self._take(messages, max(1, min(room // max(1, size), _JOINED_MESSAGES) - known))
                    if count < 0:
                        self._end()
                        return False
                    is_stale |= len(messages) > known
                    if count >= _LARGE_BYTES:
                        received.add(messages[:-1])
                        del messages[:-1]
                    if messages and (len(messages) >= _JOINED_MESSAGES or len(messages) * len(messages[-1]) >= room):
                        received.add(messages)
                        messages.clear()
                    if count == 0:
                        if not is_stale:
                            return True
                        self._pgconn.consume_input()
                        is_stale = False
                return True
        finally:
            received.add(messages)

    def _take(self, messages: list[memoryview], most: int) -> int:
        """Add what libpq holds, up to a number and no further than a large message.

        Most of what it costs to receive many small messages is this loop.

        Returns: the size of the last one; 0 where libpq holds no more, -1 at the end.
        """
        count, add = 0, messages.append
        for count, data in map(self._pgconn.get_copy_data, repeat(1, most)):
            if not 0 < count < _LARGE_BYTES:
                if count > 0:
                    add(data)
                break
            add(data)
        return count

    def abandon(self) -> None:
        """Cancel the query under way and throw away what it still sends."""
        with self._telling("cancelling"):
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

    def close(self) -> None:
        """End the session without further talk: the server keeps the slot where we last confirmed."""
        self._connection.close()

    def _expect(self, result: pq.abc.PGresult | None, expected: pq.ExecStatus) -> None:
        """COPY has begun: raise the server's reason if it has not."""
        if result is None:
            raise SourceUnavailable("the server gave no answer")
        if result.status != expected:
            while self._pgconn.get_result() is not None:  # until then the session takes no other command
                pass
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
