"""Where the records of a file begin and end: fixed length, lines, and variable records with their length before them.

A framer is given bytes that begin with a record and gives back as many whole records as there are. What is no record
(cut short, too long, a length that cannot be) comes as a record with a fault, so that it is told and the rest passes.
Lengths before records are followed one by one: each says where the next one stands.
"""

from dataclasses import dataclass, field
from struct import Struct
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]
LONGEST = 1 << 24  # of one record; also what is kept of a rest in which no record can be found
_KEPT = 1 << 20
_LF, _CR, _NEL, _EBCDIC_LF = 0x0A, 0x0D, 0x15, 0x25


@dataclass(frozen=True, slots=True)
class Frames:
    """Records that follow each other in a piece of a file."""

    data: bytes  # the piece
    starts: Integers  # where each record's bytes begin, with what stands before it
    bodies: Integers  # where its own bytes begin
    lengths: Integers  # how many they are
    end: int  # where the next record begins
    faults: dict[int, str] = field(default_factory=dict)  # by record; what is wrong with it as a whole
    is_lost: bool = False  # behind the last record, a broken one, no other can be found, whatever follows

    @property
    def count(self) -> int:
        """How many records there are."""
        return len(self.starts)


class Framer(Protocol):
    """Finds the records in bytes that begin with one."""

    def __call__(self, data: bytes, *, at_end: bool) -> Frames:
        """As many whole records as there are; `at_end` says that no more bytes follow."""


def fixed(length: int) -> Framer:
    """Records of one length, one behind the other."""

    def frame(data: bytes, *, at_end: bool) -> Frames:
        count = len(data) // length
        starts = np.arange(count, dtype=np.int64) * length
        lengths = np.full(count, length, np.int64)
        rest = len(data) - count * length
        if not at_end or not rest:
            return Frames(data, starts, starts, lengths, count * length)
        starts = np.append(starts, count * length)
        fault = f"the file ends after {rest} of {length} bytes"
        return Frames(data, starts, starts, np.append(lengths, rest), len(data), {count: fault})

    return frame


def lines(*, is_ebcdic: bool) -> Framer:
    """Records that end with a line's end: LF or CR LF, in EBCDIC NEL or LF. Empty lines are none."""

    def frame(data: bytes, *, at_end: bool) -> Frames:
        given = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero((given == _NEL) | (given == _EBCDIC_LF) if is_ebcdic else given == _LF)
        starts = np.concatenate([[0], ends + 1]).astype(np.int64)
        stop = len(data) if is_ebcdic else text_end(data)
        if at_end and starts[-1] < stop:
            ends = np.append(ends, stop)
        else:
            starts = starts[:-1]
        end = len(data) if at_end else int(ends[-1]) + 1 if len(ends) else 0
        lengths = ends - starts
        if len(lengths):
            lengths -= (lengths > 0) & (given[np.maximum(ends - 1, 0)] == _CR)
        return _without_empty(Frames(data, starts, starts, lengths, end), at_end=at_end)

    return frame


def text_end(data: bytes) -> int:
    """Where the text of a file's last bytes ends: DOS marks that with a byte of its own."""
    return len(data.rstrip(b"\x1a"))


def _without_empty(frames: Frames, *, at_end: bool) -> Frames:
    kept = frames.lengths > 0
    if at_end and frames.count and frames.data[frames.starts[-1] :].rstrip(b"\x1a\r\n") == b"":
        kept[-1] = False  # DOS's mark of a file's end
    if kept.all():
        return frames
    return Frames(frames.data, frames.starts[kept], frames.starts[kept], frames.lengths[kept], frames.end)


@dataclass(frozen=True, slots=True)
class _Prefix:
    """How the length before a record is written."""

    header: Struct
    counts_itself: bool


_RDW = _Prefix(Struct(">HH"), counts_itself=True)
_VARSEQ = _Prefix(Struct(">HH"), counts_itself=False)


def prefixed(*, counts_itself: bool) -> Framer:
    """Records after their length: IBM's RDW, which counts itself, or GnuCOBOL's, which does not."""
    prefix = _RDW if counts_itself else _VARSEQ

    def frame(data: bytes, *, at_end: bool) -> Frames:
        chain = _Chain(data, at_end=at_end)
        chain.follow(prefix, 0, len(data))
        return chain.frames()

    return frame


def blocked() -> Framer:
    """IBM's VB: blocks that begin with their own length (BDW), of records that begin with theirs (RDW)."""

    def frame(data: bytes, *, at_end: bool) -> Frames:
        chain = _Chain(data, at_end=at_end)
        at = 0
        while chain.is_sound and at + 4 <= len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            size = size & 0x7FFFFFFF if size >> 31 else size >> 16
            if size < 8 or (at + size > len(data) and (at_end or size > LONGEST)):  # noqa: PLR2004  two lengths
                chain.give_up(at, f"a block of {size} bytes")
                break
            if at + size > len(data):
                break
            chain.follow(_RDW, at + 4, at + size, is_whole=True)
            at += size
            chain.next_block(at)
        if at_end and chain.is_sound and at < len(data):
            chain.give_up(at, "the file ends within a block's length")
        return chain.frames()

    return frame


class _Chain:
    """Records found by following their lengths."""

    def __init__(self, data: bytes, *, at_end: bool) -> None:
        self._data = data
        self._at_end = at_end
        self._starts: list[int] = []
        self._bodies: list[int] = []
        self._lengths: list[int] = []
        self._faults: dict[int, str] = {}
        self._end = 0
        self.is_sound = True

    def follow(self, prefix: _Prefix, at: int, end: int, *, is_whole: bool = False) -> None:
        """Take records up to `end`, which is also the end of a record when `is_whole`."""
        size, unpack = prefix.header.size, prefix.header.unpack_from
        less = size if prefix.counts_itself else 0
        closed = is_whole or self._at_end
        while at < end:
            if at + size > end:
                if closed:
                    self.give_up(at, "it ends within a record's length")
                return
            length, reserved = unpack(self._data, at)
            length -= less
            if length < 0 or reserved:
                self.give_up(at, "no record begins here")
                return
            body = at + size
            if body + length > end:
                if closed:
                    self.give_up(at, f"it ends after {end - body} of {length} bytes")
                return
            self._starts.append(at)
            self._bodies.append(body)
            self._lengths.append(length)
            self._end = at = body + length

    def next_block(self, at: int) -> None:
        """A block is done with."""
        if self.is_sound:
            self._end = at

    def give_up(self, at: int, what: str) -> None:
        """Nothing behind this place can be found: the rest is one record with a fault."""
        self.is_sound = False
        self._faults[len(self._starts)] = what
        self._starts.append(at)
        self._bodies.append(at)
        self._lengths.append(min(len(self._data) - at, _KEPT))
        self._end = len(self._data)

    def frames(self) -> Frames:
        starts, bodies, lengths = (np.array(each, np.int64) for each in (self._starts, self._bodies, self._lengths))
        return Frames(self._data, starts, bodies, lengths, self._end, self._faults, is_lost=not self.is_sound)


def matrix(frames: Frames, width: int, *, blank: int) -> Bytes:
    """The records' own bytes as rows of one width: shorter ones are filled up, longer ones cut."""
    given = np.frombuffer(frames.data, np.uint8)
    count = frames.count
    if not count:
        return np.empty((0, width), np.uint8)
    steps = np.diff(frames.bodies)
    if (frames.lengths == width).all() and (count == 1 or (steps == steps[0]).all()):
        step = int(steps[0]) if count > 1 else width
        first = int(frames.bodies[0])
        return np.lib.stride_tricks.as_strided(given[first:], (count, width), (step, 1), writeable=False)
    made = np.full((count, width), blank, np.uint8)
    taken = np.minimum(frames.lengths, width)
    edges = np.zeros(len(given) + 1, np.int8)
    filled = taken > 0
    np.add.at(edges, frames.bodies[filled], 1)
    np.add.at(edges, frames.bodies[filled] + taken[filled], -1)
    made[np.arange(width) < taken[:, None]] = given[np.cumsum(edges[:-1], dtype=np.int8).astype(np.bool_)]
    return made
