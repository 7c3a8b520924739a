"""Code pages: from the bytes of text fields to UTF-8, a column at a time.

Every page of one byte a character that Python knows will do (cp037, cp273, cp500, cp1140, cp1252, latin-1 …), and so
will cp1141, cp1148 and UTF-8. A byte that a page leaves undefined makes its cell unreadable; nothing is replaced.
"""

import codecs
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bridge.sources.file.fields import UnreadableLayout

Bytes = NDArray[np.uint8]
Rows = NDArray[np.bool_]
_UNDEFINED = -1
_WITH_EURO = {"cp1141": "cp273", "cp1148": "cp500"}  # pages that Python lacks: those with the euro in place of ¤
_SECOND = (0x40, 0x41, 0x81, 0xA1)  # bytes that end a character of two, in all pages that have such
_TWO_BYTES, _THREE_BYTES = 0x80, 0x800  # the first code points that UTF-8 writes so


@dataclass(frozen=True, slots=True)
class CodePage:
    """How bytes stand for characters."""

    name: str
    points: NDArray[np.int32]  # code point of each byte; -1 where there is none
    plain: bytes  # the ASCII character of each byte; 0xFF where there is none
    is_utf8: bool = False

    @property
    def is_ebcdic(self) -> bool:
        """Whether digits are 0xF0 to 0xF9."""
        return int(self.points[0xF0]) == ord("0")

    def byte(self, character: str) -> int:
        """The byte of a character. Raises: UnreadableLayout when there is none."""
        found = np.flatnonzero(self.points == ord(character))
        if not found.size:
            raise UnreadableLayout(f"{self.name} has no {character!r}")
        return int(found[0])


@lru_cache(maxsize=64)
def page(name: str) -> CodePage:
    """The code page of a name. Raises: UnreadableLayout for one that is unknown, or has more bytes a character."""
    known = _WITH_EURO.get(name.lower().replace("-", "").replace("ibm", "cp"))
    if known is not None:
        other = page(known)
        points = np.where(other.points == ord("¤"), ord("€"), other.points).astype(np.int32)
        return CodePage(name, points, _plain(points))
    try:
        codec = codecs.lookup(name)
        b"".decode(name)  # some names are of other things than text
    except LookupError:
        raise UnreadableLayout(f"{name!r} is not a known code page") from None
    points = np.full(256, _UNDEFINED, np.int32)
    if codec.name == "utf-8":
        points[:128] = np.arange(128)
        return CodePage("utf-8", points, _plain(points), is_utf8=True)
    for byte in range(256):
        text = _decoded(bytes([byte]), name)
        if text is None and any(_decoded(bytes([byte, other]), name) for other in _SECOND):
            raise UnreadableLayout(f"{name!r} has not one byte a character")
        points[byte] = _UNDEFINED if text is None else ord(text)
    return CodePage(codec.name, points, _plain(points))


def _decoded(data: bytes, name: str) -> str | None:
    """The one character that bytes stand for; None for none, or more."""
    try:
        text = data.decode(name)
    except UnicodeDecodeError:
        return None
    return text if len(text) == 1 else None


def _plain(points: NDArray[np.int32]) -> bytes:
    return np.where((points >= 0) & (points < _TWO_BYTES), points, 0xFF).astype(np.uint8).tobytes()


def column(cells: Bytes, of: CodePage, *, trims: bool = True) -> tuple[pa.LargeStringArray, Rows]:
    """Cells of one length as text.

    Args:
        cells: n rows of k bytes.
        of: their code page.
        trims: leave out the blanks at their end.
    Returns: n texts, and which of them could not be read; those are null.
    """
    count, width = cells.shape
    offsets = np.arange(count + 1, dtype=np.int64) * width
    texts, bad = text(cells.tobytes(), offsets, of)
    return (pc.utf8_rtrim(texts, characters=" ") if trims else texts), bad


def text(data: bytes, offsets: NDArray[np.int64], of: CodePage) -> tuple[pa.LargeStringArray, Rows]:
    """Text of any lengths.

    Args:
        data: the bytes of all cells, one behind the other.
        offsets: n + 1 of them, the first being 0.
        of: their code page.
    Returns: n texts, and which of them could not be read; those are null.
    """
    count = len(offsets) - 1
    good = np.zeros(count, np.bool_)
    if of.is_utf8:
        return _utf8(data, offsets)
    plain = data.translate(of.plain)
    if b"\xff" not in plain:
        return _strings(plain, offsets), good
    points = of.points[np.frombuffer(data, np.uint8)]
    bad = good
    if (points == _UNDEFINED).any():
        wrong = np.cumsum(np.concatenate([[0], points == _UNDEFINED]))
        bad = wrong[offsets[1:]] > wrong[offsets[:-1]]
    made, ends = _encode(points)
    texts = _strings(made, ends[offsets])
    return (pc.if_else(pa.array(bad), pa.scalar(None, pa.large_string()), texts) if bad.any() else texts), bad


def _strings(data: bytes | Bytes, offsets: NDArray[np.int64]) -> pa.LargeStringArray:
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))


def _encode(points: NDArray[np.int32]) -> tuple[Bytes, NDArray[np.int64]]:
    """Code points of the basic plane as UTF-8, and where each begins (and the last one ends)."""
    points = np.maximum(points, 0)
    widths = 1 + (points >= _TWO_BYTES) + (points >= _THREE_BYTES)
    ends = np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)
    made = np.empty(int(ends[-1]), np.uint8)
    start = ends[:-1]
    one, two, three = (widths == width for width in (1, 2, 3))
    made[start[one]] = points[one]
    made[start[two]] = 0xC0 | points[two] >> 6
    made[start[two] + 1] = 0x80 | points[two] & 0x3F
    made[start[three]] = 0xE0 | points[three] >> 12
    made[start[three] + 1] = 0x80 | points[three] >> 6 & 0x3F
    made[start[three] + 2] = 0x80 | points[three] & 0x3F
    return made, ends


def _utf8(data: bytes, offsets: NDArray[np.int64]) -> tuple[pa.LargeStringArray, Rows]:
    count = len(offsets) - 1
    cells = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
    try:
        return cells.cast(pa.large_string()), np.zeros(count, np.bool_)
    except pa.ArrowInvalid:
        whole = [_is_utf8(cell) for cell in cells.to_pylist()]  # a loop over rows: some are damaged
    bad = ~np.array(whole, np.bool_)
    return pc.if_else(pa.array(bad), pa.scalar(None, pa.large_binary()), cells).cast(pa.large_string()), bad


def _is_utf8(cell: bytes) -> bool:
    try:
        cell.decode()
    except UnicodeDecodeError:
        return False
    return True
