"""One page of a stream: which events it holds, decided before the first byte is sent, and its text, block by block.

An event never changes, so a page is settled by its numbers and its question: that is what its ETag is made of. Without
a condition a page is read while it is sent, some blocks at a time; with one its rows are found first, within bounds.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bridge import __version__, export
from bridge.errors import InternalError
from bridge.parcel import Rows, merged
from bridge.ports import Journal, StreamExtent
from bridge.web.door import View
from bridge.web.problems import Problem

SCAN_EVENTS = 1_000_000  # looked at for one page that has a condition
HELD_BYTES = 32 << 20  # of found rows; then the page ends
_PART_ROWS = 8_192
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # Arrow's manual, "IPC Streaming Format"

JSON = "application/json"
LINES = "application/x-ndjson"
BATCH = "application/cloudevents-batch+json"
ARROW = "application/vnd.apache.arrow.stream"
FORMATS = {"json": JSON, "ndjson": LINES, "cloudevents": BATCH, "arrow": ARROW}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a stream."""

    stream: str
    after: int
    limit: int
    key: str | None = None
    since: datetime | None = None  # commit time at the source, inclusive
    until: datetime | None = None  # exclusive

    @property
    def is_plain(self) -> bool:
        """Whether every event is wanted."""
        return self.key is None and self.since is None and self.until is None


@dataclass(frozen=True, slots=True)
class Page:
    """The answer to a question."""

    rows: Iterable[Rows]  # read once
    following: int  # what `after` of the next page is
    last: int  # the newest event that the journal holds

    @property
    def has_more(self) -> bool:
        """Whether there are events behind it now."""
        return self.following < self.last


def within(question: Question, extent: StreamExtent | None) -> range:
    """The numbers that a page may hold: those after `after` that are kept, up to the bound of one page.

    Raises: Problem 410 when events after `after` were forgotten.
    """
    first, last = (extent.first, extent.last) if extent else (1, 0)
    if 0 < question.after < first - 1:
        raise Problem(
            410,
            "events-forgotten",
            f"Events {question.after + 1} to {first - 1} of {question.stream} are kept no more.",
            first=first,
        )
    begin = max(question.after + 1, first)
    length = question.limit if question.is_plain else SCAN_EVENTS
    return range(begin, max(begin, min(last + 1, begin + length)))


def read(journal: Journal, view: View, question: Question, numbers: range, *, last: int, media: str) -> Page:
    """The page of a question; where every row is wanted, they are read as they are asked for.

    A page of columns ends where they change, since a stream of columns has one schema. Raises: JournalCorrupt.
    """
    if not numbers:
        return Page((), max(question.after, numbers.start - 1), last)
    if media == ARROW:
        end = journal.alike_to(question.stream, numbers.start, numbers.stop - 1)
        numbers = range(numbers.start, end + 1)
    rows = _selected(journal, view, question.stream, numbers)
    if question.is_plain:
        return Page(rows, numbers.stop - 1, last)
    return Page(*_held(rows, question, numbers), last)


def _selected(journal: Journal, view: View, stream: str, numbers: range) -> Iterator[Rows]:
    for block in merged(journal.read(stream, after=numbers.start - 1, limit=len(numbers)), most=_PART_ROWS):
        yield view.selection.apply(block)


def _held(blocks: Iterator[Rows], question: Question, numbers: range) -> tuple[list[Rows], int]:
    """The rows that fulfil the conditions, and the number up to which they were looked for.

    Args:
        blocks: what is looked through.
        question: its conditions.
        numbers: what the blocks hold.
    """
    kept: list[Rows] = []
    left, size, before = question.limit, 0, numbers.start - 1
    for rows in blocks:
        found = rows.take(np.flatnonzero(_mask(rows.batch, question))[:left])
        before = int(rows.numbers[-1])
        if found.row_count:
            kept.append(found)
            left -= found.row_count
            size += found.batch.nbytes
        if left == 0:
            return kept, int(found.numbers[-1])
        if size > HELD_BYTES:
            return kept, before
    return kept, numbers.stop - 1


def _mask(batch: pa.RecordBatch, question: Question) -> NDArray[np.bool_]:
    mask = np.ones(batch.num_rows, np.bool_)
    if question.key is not None:
        mask &= _certain(pc.equal(batch.column("_key"), question.key))
    at = batch.column("_commit_at")
    if question.since is not None:
        mask &= _certain(pc.greater_equal(at, pa.scalar(question.since, at.type)))
    if question.until is not None:
        mask &= _certain(pc.less(at, pa.scalar(question.until, at.type)))
    return mask


def _certain(hits: pa.Array) -> NDArray[np.bool_]:
    """Null counts as no."""
    found: NDArray[np.bool_] = hits.fill_null(fill_value=False).to_numpy(zero_copy_only=False)
    return found


def etag(question: Question, view: View, media: str, numbers: range) -> str:
    """The strong validator of a page in one format."""
    parts = (question, media, numbers, view.envelope, sorted(view.selection.open_fields), __version__)
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def render(page: Page, view: View, media: str) -> Iterator[bytes]:
    """The body of a page, in pieces."""
    if media == ARROW:
        return _columns(page, view)
    end = "\n" if media == LINES else ","
    texts = (bytes(export.joined(part, view.envelope, end=end)) for part in _parts(page.rows) if part.row_count)
    if media == LINES:
        return texts
    if media == BATCH:
        return _listed(texts, head=b"[", tail=b"]")
    return _listed(texts, head=b'{"events":[', tail=b'],"next":%d}' % page.following)


def _parts(blocks: Iterable[Rows]) -> Iterator[Rows]:
    """Rows in parts small enough to be rendered while the part before is sent."""
    for rows in blocks:
        if rows.row_count <= _PART_ROWS:
            yield rows
            continue
        for start in range(0, rows.row_count, _PART_ROWS):
            batch, numbers = rows.batch.slice(start, _PART_ROWS), rows.numbers[start : start + _PART_ROWS]
            yield replace(rows, batch=batch, numbers=numbers)


def _listed(texts: Iterator[bytes], *, head: bytes, tail: bytes) -> Iterator[bytes]:
    """Texts that each end with a comma, as a JSON array."""
    lead = head
    for text in texts:
        yield lead + text[:-1]
        lead = b","
    yield tail if lead == b"," else head + tail


def _columns(page: Page, view: View) -> Iterator[bytes]:
    """An Arrow IPC stream of the columns that files have."""
    tables = map(export.columns, page.rows)
    first = next(tables, None)
    if first is None:
        first = export.columns(view.nothing)
    yield first.schema.serialize().to_pybytes()
    for table in chain([first], tables):
        if table.schema != first.schema:
            raise InternalError(f"{view.envelope.stream}: a page of columns has two schemas")
        yield from (batch.serialize().to_pybytes() for batch in table.to_batches())
    yield _END_OF_STREAM
