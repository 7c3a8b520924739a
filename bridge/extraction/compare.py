"""A page against the image: what is new, what is another, what is as it was.

The index is brought forward with it. Promises: every row of the page is told once, as new, changed or unchanged, or is
counted as one of several with the same key, of which one counts, the same one whatever the order they come in.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.extraction import fingerprint, identity, image
from bridge.extraction.extractor import Page, Subject
from bridge.extraction.fingerprint import Hashes
from bridge.extraction.index import GONE, Index, Level, Numbers

_CURSOR = fingerprint.salt("cursor of the image")

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Difference:
    """What a page brought."""

    rows: Rows  # of the page: new or changed, in order
    is_new: NDArray[np.bool_]  # of those
    keys: list[pa.Array]  # of those
    hashes: tuple[Hashes, Hashes]  # of row and cursor of those
    gone: Numbers  # what the changed ones replace
    seen: Numbers  # what is as it was
    double_count: int  # rows whose key another row has
    keyless_count: int  # rows without a whole key, in a stream that has one


def cursor_hashes(page: Page, name: str) -> Hashes:
    """Of a cursor, as the image keeps them; what is marked (infinity, a zero date) is no null."""
    found = fingerprint.cells(page.columns.column(name), _CURSOR)
    if (mark := page.marks.get(name)) is not None:
        found[mark.rows] += fingerprint.rows(page.columns.select([name]), {name: mark})[mark.rows]
    return found


def named(page: Page, subject: Subject) -> list[pa.Array]:
    """The keys of a page as they are hashed."""
    keys = [page.columns.column(name) for name in subject.key]
    return identity.named(keys, identity.kinds(page.shape, subject.key))


def compare(index: Index, subject: Subject, page: Page, *, first_number: int, once: bool) -> Difference:
    """Find out what a page brought; the rows of it are in the index then, numbered from `first_number`.

    Args:
        index: is changed.
        subject: whose page it is.
        page: whole rows.
        first_number: of what is new or changed.
        once: a key that this reading has seen before is there twice; else it has moved meanwhile.
    """
    columns = page.columns
    keys = [columns.column(name) for name in subject.key]
    row = fingerprint.rows(columns, page.marks) if page.prints is None else page.prints
    cursor = cursor_hashes(page, subject.cursor) if subject.cursor else np.zeros(len(row), np.uint64)
    is_whole = image.whole_keys(keys, len(row))
    if is_whole is not None:
        cursor[~is_whole] = _ranks(index, row, np.flatnonzero(~is_whole))
    first, second = image.names_of_rows(named(page, subject), row, cursor)
    order = fingerprint.in_order(first)
    counted = _first_of_each(first, second, row, order=order)
    state = _State(len(row))
    for level, which, places in index.find(first, second, order):
        state.meet(level, which, places, row)
    ignored = ~counted | state.was_seen if once else ~counted
    told = ~ignored & (~state.is_held | state.is_other)
    rows = np.flatnonzero(told)
    numbers = np.arange(first_number, first_number + len(rows), dtype=np.uint32)
    new_number = np.full(len(row), GONE, np.uint32)
    new_number[rows] = numbers
    for level, which, places in state.met:
        level.seen[places[counted[which]]] = True
        mine = told[which]
        at, of = places[mine], which[mine]
        level.row[at], level.cursor[at], level.number[at] = row[of], cursor[of], new_number[of]
    unknown = order[(told & ~state.is_known)[order]]
    index.add(
        Level(
            first[unknown],
            second[unknown],
            row[unknown],
            cursor[unknown],
            new_number[unknown],
            np.ones(len(unknown), np.bool_),
        )
    )
    whole_count = int(np.count_nonzero(is_whole)) if is_whole is not None else len(row)
    return Difference(
        rows=rows,
        is_new=~state.is_held[rows],
        keys=keys if len(rows) == len(row) else [key.take(pa.array(rows)) for key in keys],
        hashes=(row[rows], cursor[rows]),
        gone=np.sort(state.number[told & state.is_held]),
        seen=np.sort(state.number[~ignored & ~told]),
        double_count=int(np.count_nonzero(ignored)),
        keyless_count=len(row) - whole_count if subject.key else 0,
    )


def suspects(index: Index, keys: list[pa.Array], cursor: Hashes | None) -> tuple[Rows, Numbers]:
    """Of a page of whole keys those whose rows must be read, and the numbers of the others, which are seen.

    `cursor`: hashes of theirs.
    """
    first, second = fingerprint.keys(keys)
    is_fine = np.zeros(len(first), np.bool_)
    numbers = [np.empty(0, np.uint32)]
    for level, which, places in index.find(first, second):
        fine = level.number[places] != GONE
        if cursor is not None:
            fine &= level.cursor[places] == cursor[which]
        is_fine[which] = fine
        level.seen[places[fine]] = True
        numbers.append(level.number[places[fine]])
    return np.flatnonzero(~is_fine), np.sort(np.concatenate(numbers))  # twice where a page has a key twice


class _State:
    """What the index knows of the rows of a page."""

    def __init__(self, count: int) -> None:
        self.is_known, self.is_held = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        self.is_other, self.was_seen = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        self.number = np.full(count, GONE, np.uint32)
        self.met: list[tuple[Level, Rows, Rows]] = []

    def meet(self, level: Level, which: Rows, places: Rows, row: Hashes) -> None:
        self.met.append((level, which, places))
        self.is_known[which] = True
        self.number[which] = level.number[places]
        self.is_held[which] = level.number[places] != GONE
        self.is_other[which] = level.row[places] != row[which]
        self.was_seen[which] = level.seen[places] & self.is_held[which]


def _first_of_each(first: Hashes, second: Hashes, row: Hashes, *, order: Rows) -> NDArray[np.bool_]:
    """One row of each key: that of the lowest hash, which does not depend on the order. `order` sorts `first`."""
    ordered = first[order]
    if not (ordered[1:] == ordered[:-1]).any():
        return np.ones(len(first), np.bool_)
    order = np.lexsort((row, second, first))
    again = (first[order[1:]] == first[order[:-1]]) & (second[order[1:]] == second[order[:-1]])
    counted = np.ones(len(first), np.bool_)
    counted[order[1:][again]] = False
    return counted


def _ranks(index: Index, row: Hashes, without: Rows) -> Hashes:
    """Which each row without a key is of those that are equal, those that this reading has seen before counted."""
    hashes = row[without]
    _, group, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    ranks = np.empty(len(hashes), np.int64)
    ranks[order] = np.arange(len(hashes)) - np.repeat(np.cumsum(counts) - counts, counts)
    while True:
        taken = np.zeros(len(hashes), np.bool_)
        for level, which, places in index.find(*fingerprint.of_rank(hashes, ranks)):
            taken[which] = level.seen[places] & (level.number[places] != GONE)
        if not taken.any():
            return ranks.astype(np.uint64)
        ranks += np.bincount(group[taken], minlength=len(counts))[group]
