"""Find the cells of rows in COPY's text format, all at once.

The format separates columns by tabs and rows by line feeds and escapes both inside values, so two comparisons over the
buffer find every cell. Only cells with a backslash in them are looked at one by one.
Source: PostgreSQL manual, "COPY", Text Format.
"""

import re

import numpy as np
from numpy.typing import NDArray

from bridge.errors import MalformedRecord
from bridge.sources.postgres.tuples import NULL, TEXT, Cells

_TAB, _LINE_FEED, _BACKSLASH = ord("\t"), ord("\n"), ord("\\")
_NULL = rb"\N"
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_LETTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def walk_text(buffer: NDArray[np.uint8], column_count: int) -> tuple[list[Cells], NDArray[np.uint8], int]:
    """The cells of all rows in `buffer`.

    Args:
        buffer: whole rows, each ended by a line feed.
        column_count: columns a row has.
    Returns: the cells per column, the buffer they point into (unescaped values are appended), and the row count.
    Raises: MalformedRecord when the bytes are not whole rows of that many columns.
    """
    ends = np.flatnonzero((buffer == _TAB) | (buffer == _LINE_FEED))
    row_count, rest = divmod(ends.size, column_count)
    row_ends = ends[column_count - 1 :: column_count]
    if rest or (row_count and ends[-1] != buffer.size - 1) or (buffer[row_ends] != _LINE_FEED).any():
        raise MalformedRecord(f"COPY text of {buffer.size} bytes is not whole rows of {column_count} columns")
    starts = np.empty_like(ends)
    starts[:1] = 0
    starts[1:] = ends[:-1] + 1
    lengths = ends - starts
    first = buffer[np.minimum(starts, buffer.size - 1)]
    kinds = np.full(ends.size, TEXT, np.uint8)
    is_null = (lengths == len(_NULL)) & (first == _BACKSLASH)
    if is_null.any():
        is_null[is_null] = buffer[starts[is_null] + 1] == _NULL[1]
        kinds[is_null] = NULL
        lengths[is_null] = 0
    buffer = _unescape(buffer, starts, lengths, is_null)
    return [
        Cells(kinds[column::column_count].copy(), starts[column::column_count].copy(),
              lengths[column::column_count].copy())
        for column in range(column_count)
    ], buffer, row_count  # fmt: skip


def _unescape(
    buffer: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], is_null: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Append the plain form of escaped values to the buffer and point their cells at it."""
    backslashes = np.flatnonzero(buffer == _BACKSLASH)
    if not backslashes.size:
        return buffer
    touched = np.unique(np.searchsorted(starts, backslashes, side="right") - 1)
    raw = buffer.tobytes()
    appended, size = [], buffer.size
    for cell in touched[~is_null[touched]].tolist():  # only values with an escape in them
        start, length = int(starts[cell]), int(lengths[cell])
        plain = _ESCAPE.sub(_plain, raw[start : start + length])
        starts[cell], lengths[cell] = size, len(plain)
        size += len(plain)
        appended.append(plain)
    return np.frombuffer(raw + b"".join(appended), np.uint8)


def _plain(escape: re.Match[bytes]) -> bytes:
    body = escape[1]
    if body in _LETTERS:
        return _LETTERS[body]
    if body[:1] == b"x" and len(body) > 1:
        return bytes([int(body[1:], 16)])
    if body.isdigit():
        return bytes([int(body, 8) & 0xFF])
    return body
