"""A run of messages is cut into transactions as a reader of one message at a time would cut it, wherever it ends."""

import struct
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import MalformedRecord
from bridge.postgres.copying import Run
from bridge.sources.postgres.framing import EPOCH_2000_US, XLOG_HEADER, Transaction, frame

HEADER = b"w" + bytes(XLOG_HEADER - 1)


@dataclass(frozen=True)
class Sent:
    """A transaction as the server sends it: its changes are message types."""

    lsn: int
    clock_us: int
    xid: int
    kinds: str

    def messages(self) -> list[bytes]:
        begin = struct.pack(">cQqI", b"B", self.lsn, self.clock_us, self.xid)
        commit = struct.pack(">cBQQq", b"C", 0, self.lsn, self.lsn + 8, self.clock_us)
        return [begin, *(kind.encode() + b"rest" for kind in self.kinds), commit]


sent = st.lists(
    st.tuples(st.integers(-(2**40), 2**40), st.integers(3, 2**32 - 1), st.text("IUDTRYO", max_size=6)), max_size=6
).map(lambda parts: [Sent(1000 * (n + 1), *part) for n, part in enumerate(parts)])


def expected(transactions: list[Sent]) -> list[tuple[int, int, int, int]]:
    """(commit LSN, commit time, xid, index) of each change, one message at a time."""
    found = []
    for one in transactions:
        index = 0
        for kind in one.kinds:
            if kind in "IUDT":
                found.append((one.lsn, one.clock_us + EPOCH_2000_US, one.xid, index))
                index += 1
    return found


@given(sent, st.lists(st.integers(0, 50)))
def test_every_change_finds_its_transaction_wherever_the_runs_are_cut(
    transactions: list[Sent], cuts: list[int]
) -> None:
    messages = [HEADER + message for one in transactions for message in one.messages()]
    bounds = sorted({0, len(messages), *(cut for cut in cuts if cut < len(messages))})
    found: list[tuple[int, ...]] = []
    committed = []
    last = Transaction()
    for start, stop in pairwise(bounds):
        part = messages[start:stop]
        run = Run.join(part, [len(message) for message in part])
        frames = frame(run.buffer, run.starts + XLOG_HEADER, last)
        found += zip(
            *(a.tolist() for a in (frames.position, frames.commit_us, frames.xid, frames.tx_index)), strict=True
        )
        committed.append(frames.committed_lsn)
        last = frames.last
    assert found == expected(transactions)
    assert not last.is_open
    ends = [one.lsn + 8 for one in transactions]
    assert [end for end in committed if end is not None][-1:] == ends[-1:]


@given(sent.filter(bool))
def test_a_run_that_ends_inside_a_transaction_says_so(transactions: list[Sent]) -> None:
    """And how many of its changes it had."""
    messages = [HEADER + message for one in transactions for message in one.messages()][:-1]
    run = Run.join(messages, [len(message) for message in messages])
    frames = frame(run.buffer, run.starts + XLOG_HEADER, Transaction())
    assert frames.last.is_open
    assert frames.last.final_lsn == transactions[-1].lsn
    assert frames.last.change_count == len(expected(transactions[-1:]))


def test_a_message_of_an_unknown_type_is_named() -> None:
    run = Run.join([HEADER + b"Irest", HEADER + b"Zrest"], [XLOG_HEADER + 5] * 2)
    with pytest.raises(MalformedRecord, match="message 1"):
        frame(run.buffer, run.starts + XLOG_HEADER, Transaction())


def test_a_run_is_continued_behind_any_of_its_payloads() -> None:
    run = Run.join([b"abc", b"de", b"f"], [3, 2, 1])
    rest = run.behind(3)
    assert rest.buffer.tobytes() == b"def"
    assert rest.starts.tolist() == [0, 2]
    assert np.array_equal(run.starts, [0, 3, 5])
