"""Ranges of keys whose rows are to be read, and keys as they are stored."""

import pyarrow as pa

from bridge.extraction import scalars
from bridge.extraction.progress import Range

MOST = 16  # for one page of keys


def key_at(keys: list[pa.Array], row: int) -> str:
    """One key of a page, packed."""
    return scalars.pack([key[row] for key in keys])


def around(keys: list[pa.Array], rows: list[int], after: str | None) -> tuple[Range, ...]:
    """Ranges that hold these rows of a page in order of key: few, by closing the smallest gaps between them.

    `after` is the last key before the page.
    """
    if not rows:
        return ()
    gaps = sorted(range(1, len(rows)), key=lambda at: rows[at] - rows[at - 1], reverse=True)[: MOST - 1]
    cuts = sorted(at for at in gaps if rows[at] - rows[at - 1] > 1)
    spans = zip([0, *cuts], [*cuts, len(rows)], strict=True)
    return tuple(
        Range(key_at(keys, rows[start] - 1) if rows[start] else after, key_at(keys, rows[end - 1]))
        for start, end in spans
    )
