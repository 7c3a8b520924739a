"""How far a polled stream is: stored with every window, and all that a reading needs to go on after a crash."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from bridge.extracted import Run, RunKind, RunState
from bridge.extraction.extractor import Page, Subject
from bridge.extraction.overlap import Overlap

Phase = Literal["rows", "cursor", "without", "keys", "deletes", "forget", "compact"]


class Range(msgspec.Struct, frozen=True):
    """A range of keys whose rows are to be read, as packed keys."""

    after: str | None
    to: str


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One pass over a stream's rows; a run that its budget ends is gone on with by the next one."""

    kind: RunKind
    phase: Phase
    resume: dict[str, Any] | None = None  # of the page to come
    since: str | None = None  # the cursor it began at
    high: str | None = None  # the highest cursor it has met
    delay: int = 0  # how late the latest row was, in ticks
    climbs: int = 0  # pages that the highest cursor rose with
    missed: int = 0  # rows that the cursor had missed
    keyless: int = 0  # rows without a whole key
    begun_at: int = 0  # what it finds is numbered in the image from here on
    after: str | None = None  # last key of the page of keys before
    ranges: tuple[Range, ...] = ()  # to be read before the next page of keys
    range_resume: dict[str, Any] | None = None
    reached: int = -1  # number in the image, of the phases after the last page
    memory: dict[str, Any] = {}


class Running(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The run under way."""

    number: int
    kind: RunKind
    cause: str
    started_at: datetime
    position: int | None = None  # of its events; None: its number
    index: int = 0  # events so far
    pages: int = 0
    rows: int = 0
    counts: dict[str, int] = {}
    seconds: float = 0.0
    size_bytes: int = 0
    queries: int = 0

    def after(self, page: Page) -> "Running":
        """With what a page took."""
        return msgspec.structs.replace(
            self,
            pages=self.pages + 1,
            rows=self.rows + page.columns.num_rows,
            seconds=self.seconds + page.seconds,
            size_bytes=self.size_bytes + page.size_bytes,
            queries=self.queries + page.queries,
        )

    def told(self, counts: Mapping[str, int]) -> "Running":
        """With events, by letter of their op."""
        total = {op: self.counts.get(op, 0) + counts.get(op, 0) for op in {*self.counts, *counts}}
        return msgspec.structs.replace(self, index=self.index + sum(counts.values()), counts=total)

    def record(
        self, source: str, stream: str, state: RunState = "running", *, at: datetime | None = None, detail: str = ""
    ) -> Run:
        """What the journal keeps of it."""
        return Run(
            source=source,
            number=self.number,
            stream=stream,
            kind=self.kind,
            cause=self.cause,
            state=state,
            started_at=self.started_at,
            ended_at=at,
            detail=detail,
            pages=self.pages,
            rows=self.rows,
            counts=self.counts,
            seconds=self.seconds,
            size_bytes=self.size_bytes,
            queries=self.queries,
        )


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stream."""

    digest: str  # of how it is read
    key: str = ""  # digest of the columns that name its rows: others make it begin anew
    is_of_another: bool = False  # the image was made by another mode or cursor, and every row is to be looked at
    generation: int = 1  # of the image
    copy: int = 1  # the last one that was begun; one that was given up is not gone on with
    until: int = 0  # number of the next row in it
    held: int = 0  # rows that it holds
    blocks: int = 0
    is_loaded: bool = False  # every row was read once
    owes_sweep: bool = False  # that took several pages: what changed behind them is to be found
    high: str | None = None  # the highest cursor of all complete runs
    base: str | None = None  # the one that the next reading goes back from
    overlap: Overlap = Overlap()
    memory: dict[str, Any] = {}  # of the extractor
    reading: Reading | None = None
    aside: Reading | None = None  # a sweep that its budget ended: it is gone on with when the changes are read
    running: Running | None = None

    @classmethod
    def load(cls, kept: Mapping[str, Any] | None, subject: Subject) -> "Progress":
        """From the source's state; anew where there is none, or where the view says something else now."""
        digest = _digest(subject)
        if kept is not None:
            held = msgspec.convert(kept, cls)
            if held.digest == digest:
                return held
            if held.key == _key_of(subject) and held.is_loaded:
                return held.of_another(digest)
            return cls(digest=digest, key=_key_of(subject), generation=held.copy + 1, copy=held.copy + 1)
        return cls(digest=digest, key=_key_of(subject))

    def of_another(self, digest: str) -> "Progress":
        """Read otherwise from now on: the rows are known, and how far the cursor is, is not."""
        return Progress(
            digest=digest,
            key=self.key,
            is_of_another=True,
            generation=self.generation,
            copy=self.copy,
            until=self.until,
            held=self.held,
            blocks=self.blocks,
            is_loaded=True,
        )

    def dump(self) -> dict[str, Any]:
        """For the source's state."""
        kept: dict[str, Any] = msgspec.to_builtins(self)
        return kept


def _digest(subject: Subject) -> str:
    return _hash(subject.mode, subject.cursor or "", *subject.key)


def _key_of(subject: Subject) -> str:
    """An image of mode append holds no more than the window, and nothing can be known of what is not in it."""
    return _hash("append" if subject.mode == "append" else "", *subject.key)


def _hash(*words: str) -> str:
    text = "\0".join(words)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
