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


def compare(
    index: Index, subject: Subject, page: Page, *, first_number: int, once: bool, by_cursor: bool = False
) -> Difference:
    """Find out what a page brought; the rows of it are in the index then, numbered from `first_number`.

    Args:
        index: is changed.
        subject: whose page it is.
        page: whole rows.
        first_number: of what is new or changed.
        once: a key that this reading has seen before is there twice; else it has moved meanwhile.
        by_cursor: a row whose cursor is not that of the image is another one, too.
    """
    keys = [page.columns.column(name) for name in subject.key]
    mine, keyless_count = _hashed(index, subject, page)
    order = fingerprint.in_order(mine.first)
    counted = _first_of_each(mine, order)
    state = _State(index, mine, order)
    ignored = ~counted | state.was_seen if once else ~counted
    told = ~ignored & (~state.is_held | state.is_other | (state.is_elsewhere & by_cursor))
    rows = np.flatnonzero(told)
    mine.number[rows] = np.arange(first_number, first_number + len(rows), dtype=np.uint32)
    state.bring_forward(mine, told=told, counted=counted)
    index.add(mine.part(order[(told & ~state.is_known)[order]]))
    return Difference(
        rows=rows,
        is_new=~state.is_held[rows],
        keys=keys if len(rows) == len(mine) else [key.take(pa.array(rows)) for key in keys],
        hashes=(mine.row[rows], mine.cursor[rows]),
        gone=np.sort(state.number[told & state.is_held]),
        seen=np.sort(state.number[~ignored & ~told]),
        double_count=int(np.count_nonzero(ignored)),
        keyless_count=keyless_count,
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


def _hashed(index: Index, subject: Subject, page: Page) -> tuple[Level, int]:
    """The rows of a page in its own order, seen, and without numbers; and how many have no whole key but should."""
    row = fingerprint.rows(page.columns, page.marks) if page.prints is None else page.prints
    count = len(row)
    cursor = cursor_hashes(page, subject.cursor) if subject.cursor else np.zeros(count, np.uint64)
    is_whole = image.whole_keys([page.columns.column(name) for name in subject.key], count)
    keyless_count = 0
    if is_whole is not None:
        without = np.flatnonzero(~is_whole)
        cursor[without] = _ranks(index, row, without)
        keyless_count = len(without) if subject.key else 0
    first, second = image.names_of_rows(named(page, subject), row, cursor)
    level = Level(first, second, row, cursor, np.full(count, GONE, np.uint32), np.ones(count, np.bool_))
    return level, keyless_count


class _State:
    """What the index knows of the rows of a page; `order` sorts them by the first half of their keys' hashes."""

    def __init__(self, index: Index, mine: Level, order: Rows) -> None:
        count = len(mine)
        self.is_known, self.is_held = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        self.is_other, self.was_seen = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        self.is_elsewhere = np.zeros(count, np.bool_)  # by its cursor
        self.number = np.full(count, GONE, np.uint32)
        self._met = list(index.find(mine.first, mine.second, order))
        for level, which, places in self._met:
            self.is_known[which] = True
            self.number[which] = level.number[places]
            self.is_held[which] = level.number[places] != GONE
            self.is_other[which] = level.row[places] != mine.row[which]
            self.is_elsewhere[which] = level.cursor[places] != mine.cursor[which]
            self.was_seen[which] = level.seen[places] & self.is_held[which]

    def bring_forward(self, mine: Level, *, told: NDArray[np.bool_], counted: NDArray[np.bool_]) -> None:
        """Where the index knows a key, put what is told in its place; what counts is seen."""
        for level, which, places in self._met:
            level.seen[places[counted[which]]] = True
            at, of = places[told[which]], which[told[which]]
            level.row[at], level.cursor[at], level.number[at] = mine.row[of], mine.cursor[of], mine.number[of]


def _first_of_each(mine: Level, order: Rows) -> NDArray[np.bool_]:
    """One row of each key: that of the lowest hash, which does not depend on the order. `order` sorts `first`."""
    first, second = mine.first, mine.second
    ordered = first[order]
    counted = np.ones(len(first), np.bool_)
    if not (ordered[1:] == ordered[:-1]).any():
        return counted
    order = np.lexsort((mine.row, second, first))
    again = (first[order[1:]] == first[order[:-1]]) & (second[order[1:]] == second[order[:-1]])
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
