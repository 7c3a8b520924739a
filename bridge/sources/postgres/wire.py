"""The replication session itself: COPY messages in, status messages out, never blocking.

Source: PostgreSQL manual, "Streaming Replication Protocol", START_REPLICATION.
"""

import select
import struct
import time
from collections.abc import Sequence

from psycopg import pq, sql

from bridge.postgres.copying import Copying
from bridge.postgres.session import translated
from bridge.sources.postgres import lsn
from bridge.sources.postgres.framing import EPOCH_2000_US

_STATUS = struct.Struct(">cQQQqB")


class Wire(Copying):
    """A session that replicates from a slot."""

    def replicate(self, slot: str, start: int, publications: Sequence[str]) -> None:
        """Have the server send all transactions that commit at or after the LSN `start`.

        Raises: SourceUnavailable, SourceRefused, PositionLost when the slot cannot be read any more.
        """
        names = ",".join(sql.Identifier(name).as_string(self._connection) for name in publications)
        command = sql.SQL("START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names {})").format(
            sql.Identifier(slot), sql.SQL(lsn.text(start)), sql.Literal(names)
        )
        with translated(f"reading slot {slot}"):
            self._expect(self._pgconn.exec_(command.as_bytes(self._connection)), pq.ExecStatus.COPY_BOTH)

    def send_status(self, *, received: int, flushed: int) -> None:
        """Tell the server how far we have received, and how far the journal holds everything (I1)."""
        clock = time.time_ns() // 1000 - EPOCH_2000_US
        with translated("sending status"):
            self._pgconn.put_copy_data(_STATUS.pack(b"r", received, flushed, flushed, clock, 0))
            while self._pgconn.flush():
                select.select([], [self._pgconn.socket], [], 1.0)
