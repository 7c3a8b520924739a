"""Cut a run of pgoutput messages into transactions and changes, without looking at messages one by one.

Knows the frame of the protocol (transactions, positions, which table a change belongs to), not the tuples inside.
Source: PostgreSQL manual, "Logical Replication Message Formats", protocol version 1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import MalformedRecord

XLOG_HEADER = 25  # 'w', start LSN, end LSN, server clock
EPOCH_2000_US = 946_684_800_000_000  # PostgreSQL counts microseconds from 2000-01-01, Arrow from 1970-01-01

BEGIN, COMMIT, INSERT, UPDATE, DELETE, TRUNCATE, RELATION = (ord(c) for c in "BCIUDTR")
_KNOWN = np.zeros(256, np.bool_)
_KNOWN[[ord(c) for c in "BCIUDTROYM"]] = True
_CHANGE = np.zeros(256, np.bool_)
_CHANGE[[INSERT, UPDATE, DELETE, TRUNCATE]] = True


@dataclass(frozen=True, slots=True)
class Transaction:
    """The transaction a message belongs to, as far as it has been received."""

    final_lsn: int = 0  # LSN of its commit record
    commit_us: int = 0  # commit time, microseconds since 1970 UTC
    xid: int = 0
    change_count: int = 0  # changes received so far, over all tables
    is_open: bool = False  # its Commit message has not been received


@dataclass(frozen=True, slots=True)
class Frames:
    """n messages in one buffer, with their transactions; the per-change arrays have m <= n values, in wire order."""

    buffer: NDArray[np.uint8]
    starts: NDArray[np.int64]  # n: offset of each message's type byte
    kinds: NDArray[np.uint8]  # n: its type byte
    changes: NDArray[np.int64]  # m: which of the n messages are changes
    position: NDArray[np.uint64]  # m: commit LSN of the change's transaction
    commit_us: NDArray[np.int64]  # m
    xid: NDArray[np.uint64]  # m
    tx_index: NDArray[np.uint32]  # m: index of the change in its transaction, over all tables
    last: Transaction  # after the last message
    begun: NDArray[np.uint64]  # commit LSNs of the transactions begun in this run
    committed_lsn: int | None  # end LSN of the last Commit message; None without one


def frame(buffer: NDArray[np.uint8], starts: NDArray[np.int64], before: Transaction) -> Frames:
    """Give every change of a run its transaction.

    Args:
        buffer: the joined payloads.
        starts: n offsets of message type bytes.
        before: the transaction that was open when the run began.
    Raises: MalformedRecord for a message type that protocol version 1 does not have.
    """
    kinds = buffer[starts]
    if not _KNOWN[kinds].all():
        which = int(np.flatnonzero(~_KNOWN[kinds])[0])
        raise MalformedRecord(f"message {which} has the unknown type {chr(kinds[which])!r}")
    begins = np.flatnonzero(kinds == BEGIN)
    commits = np.flatnonzero(kinds == COMMIT)
    is_change = _CHANGE[kinds]
    changes = np.flatnonzero(is_change)
    seen = np.cumsum(is_change)  # changes up to and with each message
    begin_at = starts[begins]
    # Transaction 0 is the one that was open before; transaction k begins at begins[k - 1].
    final = np.concatenate((np.array([before.final_lsn], np.uint64), big_endian(buffer, begin_at + 1, ">u8")))
    commit_us = np.concatenate(([before.commit_us], big_endian(buffer, begin_at + 9, ">i8") + EPOCH_2000_US))
    xid = np.concatenate(([before.xid], big_endian(buffer, begin_at + 17, ">u4"))).astype(np.uint64)
    base = np.concatenate(([-before.change_count], seen[begins]))  # changes before each transaction
    which_tx = np.cumsum(kinds == BEGIN)[changes]
    tx_index = seen[changes] - 1 - base[which_tx]
    last_boundary = max(begins[-1] if begins.size else -1, commits[-1] if commits.size else -1)
    is_open = before.is_open if last_boundary < 0 else bool(kinds[last_boundary] == BEGIN)
    total = int(seen[-1]) if seen.size else 0
    last = Transaction(int(final[-1]), int(commit_us[-1]), int(xid[-1]), total - int(base[-1]), is_open)
    return Frames(
        buffer=buffer,
        starts=starts,
        kinds=kinds,
        changes=changes,
        position=final[which_tx],
        commit_us=commit_us[which_tx],
        xid=xid[which_tx],
        tx_index=tx_index.astype(np.uint32),
        last=last if is_open else Transaction(last.final_lsn),
        begun=final[1:],
        committed_lsn=int(big_endian(buffer, starts[commits[-1:]] + 10, ">u8")[0]) if commits.size else None,
    )


def big_endian(buffer: NDArray[np.uint8], at: NDArray[np.int64], kind: str) -> NDArray[Any]:
    """The big-endian integers of numpy type `kind` at the offsets `at`; `>u8` comes back as uint64."""
    width = np.dtype(kind).itemsize
    values = buffer[at[:, None] + np.arange(width)].view(kind).ravel()
    integers: NDArray[Any] = values.astype(np.uint64 if kind == ">u8" else np.int64)
    return integers
