"""Files that each hold a whole table: every one is compared with the one before, by key and hash.

Promises: what changed is told once, what is gone as a delete. Where a file has a record whose key cannot be read,
nobody knows whose it is, and nothing is deleted by that file; one that lacks so many rows that it looks cut short
fails. The comparison, its image and its memory are `extraction`'s; how far it is stands in the source's state.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from bridge.errors import SourceRefused
from bridge.extracted import Extracted, Run, RunState
from bridge.extraction import fingerprint
from bridge.extraction.extractor import Page, Subject
from bridge.extraction.progress import Progress
from bridge.extraction.reader import Reader
from bridge.extraction.stored import Images, Step
from bridge.findings import Finding, Level
from bridge.model import Mark, Marks, RawBatch
from bridge.sources.file import reading
from bridge.sources.file.layout import FileRefused
from bridge.sources.file.mapping import FAULT, RECORD, RecordMapper, position_of
from bridge.sources.file.pieces import empty, moment_of, next_piece
from bridge.sources.file.places import Listed
from bridge.sources.file.progress import Taking

_UNREAD, _DOUBLE = "rows_without_a_key", "rows_that_share_a_key"  # as the reader counts them


@dataclass(frozen=True, slots=True)
class Comparing:
    """How the files of a stream are compared."""

    key: tuple[str, ...]  # columns that name a row
    most_deletes: float = 0.5  # share of the rows known that one file may lack


@dataclass(frozen=True, slots=True)
class Dump:
    """A file that was compared to its end."""

    name: str
    mtime_ns: int
    digest: str  # SHA-256
    unread: int = 0  # records whose key could not be read
    doubled: int = 0  # rows that share a key with another


@dataclass(frozen=True, slots=True)
class Compared:
    """What one window takes from a file."""

    raw: RawBatch | None
    extracted: Extracted
    taking: Taking  # behind it
    size: int  # bytes


class Table:
    """One stream whose files are whole tables. For one thread.

    Args:
        system: whose files they are.
        mapper: of the stream.
        how: they are compared.
        images: the journal's; only called while the journal holds every window.
        kept: what `dump` gave.
    """

    def __init__(
        self, system: str, mapper: RecordMapper, how: Comparing, images: Images, *, kept: Mapping[str, Any] | None
    ) -> None:
        kept = kept or {}
        self._system = system
        self._mapper = mapper
        self._most_deletes = how.most_deletes
        subject = Subject(mapper.stream, how.key, None, "full", 0)
        self._reader = Reader(subject, Progress.load(kept.get("progress"), subject), images, how.most_deletes)
        self._reader.odd = dict(kept.get("odd", {}))
        self.last = Dump(**kept["last"]) if kept.get("last") else None

    def dump(self) -> dict[str, Any]:
        """For the source's state."""
        last = None if self.last is None else asdict(self.last)
        return {"progress": self._reader.progress.dump(), "odd": dict(self._reader.odd), "last": last}

    # -- which files

    def is_behind(self, listed: Listed, *, by_time: bool) -> bool:
        """Whether a file comes before the last one that was compared: what it says is no longer so."""
        if self.last is None:
            return False
        mine, last = (listed.name, listed.mtime_ns), (self.last.name, self.last.mtime_ns)
        return mine[::-1] < last[::-1] if by_time else mine < last

    def has_seen(self, digest: str) -> bool:
        """Whether the last file had this content: then nothing has changed."""
        return self.last is not None and self.last.digest == digest

    def move_on(self, listed: Listed, digest: str) -> None:
        """A later file says the same as the last one."""
        assert self.last is not None  # noqa: S101  asked before
        self.last = Dump(listed.name, listed.mtime_ns, digest, self.last.unread, self.last.doubled)

    # -- one file

    @property
    def needs_journal(self) -> bool:
        """Whether the journal has to hold every window before the next step."""
        return self._reader.needs_journal

    def begin(self, taking: Taking, *, number: int) -> bool:
        """Begin with a file, unless it was begun. Returns whether it was not.

        Raises: SourceRefused when its beginning was read in another way.
        """
        position = position_of(taking.ordinal, taking.digest)
        running = self._reader.progress.running
        if running is not None and running.position == position:
            return False
        if taking.offset is not None:
            raise SourceRefused(
                f"{taking.name}: stream {self._mapper.stream} read its beginning under another `mode` or key",
                hint="Put the configuration and the contract back as they were until the file is taken.",
            )
        if self._reader.progress.reading is not None:  # of a file that was given up; its memory is dropped with it
            self._reader.end(is_whole=False)
        self._reader.begin("run", number=number, cause=f"file {taking.name}", now=datetime.now(UTC), position=position)
        return True

    def advance(self, taking: Taking, file: reading.Reader) -> Compared:
        """The next step of a file, after `begin`. Raises: FileRefused when it lacks too many rows."""
        if self._reader.reading.phase == "rows":
            piece = next_piece(self._mapper, file, taking)
            batch = piece.batch or empty(self._mapper, file.format)
            step = self._reader.take(self._page(batch, taking, size=piece.size, is_last=piece.is_last))
            taking, size = piece.taking, piece.size
        else:
            step, size = self._rest(taking), 0
            taking = taking.turned()
        if self._reader.progress.reading is not None:
            return Compared(step.raw, self._extracted(step, "running"), taking, size)
        odd = self._reader.odd
        self.last = Dump(taking.name, taking.mtime_ns, taking.digest, odd.get(_UNREAD, 0), odd.get(_DOUBLE, 0))
        extracted = self._extracted(step, "done", detail=self._detail())
        self._reader.end(is_whole=True)
        self._reader.rest()
        return Compared(step.raw, extracted, taking.next_stream(), size)

    def fail(self, why: str) -> Extracted:
        """Give a file up: what was told of it stays, and what is gone from it counts for nothing."""
        if self._reader.progress.running is None:
            return Extracted()
        run = self._run("failed", why)
        step = self._reader.end(is_whole=False)
        self._reader.rest()
        return Extracted(blocks=step.blocks, forgotten=step.forgotten, runs=(run,))

    # -- what these are made of

    def _page(self, batch: RawBatch, taking: Taking, *, size: int, is_last: bool) -> Page:
        """Rows of a piece as extraction compares them: by what the layout says, not by where they stand."""
        columns = batch.columns
        return Page(
            batch.shape,
            columns,
            moment_of(taking),
            None if is_last else {},
            marks=batch.marks,
            size_bytes=size,
            queries=0,
            prints=fingerprint.rows(columns.select(self._mapper.wanted), {**batch.marks, **_damaged(columns)}),
        )

    def _rest(self, taking: Taking) -> Step:
        """A step behind the last row."""
        if self._reader.reading.phase != "deletes":
            return self._reader.step(moment_of(taking))
        if self._reader.odd.get(_UNREAD):
            return self._reader.spare()
        held = self._reader.progress.held
        if held and not self._reader.running.rows and self._most_deletes < 1:
            raise self._cut_short(f"it has no rows, and {held:,} are known")
        try:
            return self._reader.step(moment_of(taking))
        except SourceRefused as refused:
            raise self._cut_short(refused.detail) from refused

    def _cut_short(self, why: str) -> FileRefused:
        return FileRefused(
            f"{why}; if that is right, set `most_deletes: 1` on stream {self._mapper.stream} until it is taken"
        )

    def _detail(self) -> str:
        said = {_UNREAD: "records have no key that can be read, so nothing was deleted", _DOUBLE: "rows share a key"}
        return "; ".join(
            f"{self._reader.odd[what]} {text}" for what, text in said.items() if self._reader.odd.get(what)
        )

    def _extracted(self, step: Step, state: RunState, *, detail: str = "") -> Extracted:
        return Extracted(blocks=step.blocks, forgotten=step.forgotten, runs=(self._run(state, detail),))

    def _run(self, state: RunState, detail: str) -> Run:
        at = None if state == "running" else datetime.now(UTC)
        return self._reader.running.record(self._system, self._mapper.stream, state, at=at, detail=detail)


def findings(system: str, tables: Iterable[Table]) -> Iterator[Finding]:
    """What was odd in the last files, one finding of each kind."""
    last = [table.last for table in tables if table.last is not None]
    if unread := [f"{one.name} has {one.unread}" for one in last if one.unread]:
        yield Finding(
            Level.WARN,
            "file.unreadable_keys",
            system,
            f"{', '.join(unread)} records without a key that can be read; none of the keys it lacks was deleted",
            "See their dead letters and mend the layout or the file; the next whole file finds what is gone.",
        )
    if doubled := [f"{one.name} has {one.doubled}" for one in last if one.doubled]:
        yield Finding(
            Level.WARN,
            "file.double_keys",
            system,
            f"{', '.join(doubled)} rows with a key that another row has; one of each is told",
            "Give the contract a key that is unique in the file, or have its system write each key once.",
        )


def _damaged(columns: pa.RecordBatch) -> dict[str, Marks]:
    """Records that are no rows are told apart by their bytes: they have nothing else."""
    rows = np.flatnonzero(columns.column(FAULT).is_valid().to_numpy(zero_copy_only=False))
    if not len(rows):
        return {}
    raw = tuple(columns.column(RECORD).take(pa.array(rows)).to_pylist())
    return {RECORD: Marks(rows, np.full(len(rows), int(Mark.UNREADABLE), np.uint8), raw)}
