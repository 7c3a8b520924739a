r"""Take PostgreSQL's array text apart: ``{1,2,NULL}``, ``{"a b","c\"d"}``.

Only one-dimensional arrays with the usual lower bound are lists; nothing here knows the element's type.
Source: PostgreSQL manual, "Arrays", Array Input and Output Syntax.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.postgres.tuples import NULL, TEXT, Cells

_ELEMENT = re.compile(rb'(?:"((?:[^"\\]|\\.)*)"|([^",{}\\]+))(,|\Z)', re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_OPEN, _CLOSE, _COMMA, _QUOTE, _BACKSLASH = b'{},"\\'
_NULL_WORD = int.from_bytes(b"NULL", "big")


def parse_array(raw: bytes) -> list[bytes | None] | None:
    """The elements of one array; None when it has more dimensions, other bounds, or is no array."""
    if len(raw) < 2 or raw[0] != _OPEN or raw[-1] != _CLOSE:  # noqa: PLR2004
        return None
    inner = raw[1:-1]
    elements: list[bytes | None] = []
    at = 0
    while inner:
        match = _ELEMENT.match(inner, at)
        if match is None:
            return None
        quoted, bare, comma = match.groups()
        elements.append(_ESCAPE.sub(rb"\1", quoted) if bare is None else None if bare == b"NULL" else bare)
        at = match.end()
        if not comma:
            break
    return elements


@dataclass(frozen=True, slots=True)
class Elements:
    """The elements of the plain arrays of a column, in order of rows."""

    data: NDArray[np.uint8]  # what the cells lie in
    cells: Cells
    counts: NDArray[np.int64]  # n: elements per row; 0 for rows that are not plain
    is_odd: NDArray[np.bool_]  # n: quoted, nested or damaged, left to `parse_array`


def split_plain(data: NDArray[np.uint8], offsets: NDArray[np.int64], is_text: NDArray[np.bool_]) -> Elements:
    """Split arrays that have neither quotes nor nesting.

    Args:
        data: the text of n arrays, end to end.
        offsets: n + 1, where each begins and ends.
        is_text: n, False where there is no array.
    """
    padded = np.concatenate((data, np.zeros(4, np.uint8)))
    begins, ends = offsets[:-1], offsets[1:]
    is_odd = is_text & ((ends - begins < 2) | (padded[begins] != _OPEN) | (padded[ends - 1] != _CLOSE))  # noqa: PLR2004
    special = (data == _QUOTE) | (data == _BACKSLASH) | (data == _OPEN) | (data == _CLOSE)
    # A plain row holds two special bytes, its own braces.
    specials = np.diff(np.searchsorted(np.flatnonzero(special), offsets))
    is_odd |= is_text & (specials != 2)  # noqa: PLR2004
    is_filled = is_text & ~is_odd & (ends - begins > 2)  # noqa: PLR2004
    commas = np.flatnonzero(data == _COMMA)
    commas = commas[is_filled[np.searchsorted(offsets, commas, "right") - 1]]
    counts = np.diff(np.searchsorted(commas, offsets)) + is_filled
    starts = np.sort(np.concatenate((begins[is_filled] + 1, commas + 1)))
    lengths = np.sort(np.concatenate((ends[is_filled] - 1, commas))) - starts
    words = np.ndarray(len(data) + 1, ">u4", padded, strides=(1,))
    is_null = (lengths == 4) & (words[starts] == _NULL_WORD)  # noqa: PLR2004
    kinds = np.where(is_null, NULL, TEXT).astype(np.uint8)
    lengths[is_null] = 0
    return Elements(padded, Cells(kinds, starts, lengths), counts, is_odd)
