"""What extraction asks of an adapter: pages of rows of one legacy system.

Each page is read in a short session of its own or in a transaction that ends with it, read-only by proof, and rolled
back. An adapter knows how to ask its system; what to ask, when, and what a difference means is `extraction`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bridge.model import Marks, Shape


@dataclass(frozen=True, slots=True)
class Subject:
    """What an adapter reads one stream from, as far as extraction has to know."""

    stream: str
    key: tuple[str, ...]  # columns that name a row; never empty but for `append`
    cursor: str | None  # column that grows with every change of a row
    mode: Literal["incremental", "full", "append"]
    page_rows: int  # asked for at first; the budget may ask for fewer
    overlap: tuple[float, float] = (60.0, 3600.0)  # least and most that a commit may come late: seconds, else cursors
    names_all: bool = False  # no row is without a key: of one whose key cannot be read it is not known which it is
    freshness_s: float = 0.0  # how far what is read may lag behind the system's own tables (a replica)


@dataclass(frozen=True, slots=True)
class Question:
    """What one page is to hold. A reading is a chain of questions: each goes on where the page before it ended."""

    stream: str
    limit: int  # rows at most
    # Whole rows in order of cursor, less those whose cursor is null (else, or within a range of keys, in order of key),
    # or key columns and cursor alone, in order of key. Rows whose key is null in part come at the end, in one page.
    want: Literal["rows", "keys"] = "rows"
    is_by_key: bool = False  # whole rows in order of key, whatever their cursor
    since: pa.Scalar | None = None  # rows whose cursor is at or above it; None: all
    is_without_cursor: bool = False  # instead: the rows whose cursor is null
    after_key: tuple[pa.Scalar, ...] | None = None  # rows whose key is above it: a range of keys, begins behind it
    to_key: tuple[pa.Scalar, ...] | None = None  # and ends with it
    keys: pa.RecordBatch | None = None  # rows with these keys (columns as `Subject.key`), at most `limit`; in one page
    resume: Mapping[str, Any] | None = None  # `Page.resume` of the page before; None: the first of the reading
    memory: Mapping[str, Any] = field(default_factory=dict)  # `Page.memory` that the last whole reading ended with


@dataclass(frozen=True, slots=True)
class Page:
    """The answer: rows as the system holds them at one moment."""

    shape: Shape  # as it was when the page was read; for keys the key columns and the cursor
    columns: pa.RecordBatch  # one column per column of `shape`
    read_at: datetime  # the system's own clock where it tells, else ours
    resume: Mapping[str, Any] | None  # JSON-able; None: this was the last page
    marks: Mapping[str, Marks] = field(default_factory=dict)
    seconds: float = 0.0  # that the system was at work for us
    size_bytes: int = 0  # as they came
    queries: int = 1  # statements or requests that it took
    is_unchanged: bool = False  # the system says that nothing changed since the last whole reading; there are no rows
    memory: Mapping[str, Any] = field(default_factory=dict)  # JSON-able; what helps the next reading (an ETag)
    prints: NDArray[np.uint64] | None = None  # `fingerprint.rows`, where not all columns say what a row is


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a system says it is; None where it does not say."""

    busy_sessions: int | None = None  # others' sessions that are at work now
    replica_lag_s: float | None = None  # how far a replica is behind: the one that is read, else the slowest it feeds


class Extractor(Protocol):
    """Reads one system. Called by one thread at a time, but for `cancel`."""

    name: str

    @property
    def asks_ahead(self) -> bool:
        """Whether a page may be asked for while the one before is dealt with: the work is done elsewhere."""

    @property
    def subjects(self) -> Mapping[str, Subject]:
        """What is read, by stream."""

    def open(self) -> None:
        """Connect and prove that the login can do no harm (I9). Raises: SourceUnavailable, SourceRefused."""

    def page(self, question: Question) -> Page:
        """One page. A value that cannot be read is marked, never guessed.

        Raises: SourceUnavailable (ask again, after `retry_after_s` where it is given), SourceRefused (a person is
            needed); after `cancel`, SourceUnavailable.
        """

    def probe(self) -> Load:
        """Ask how busy the system is, by something that costs next to nothing. Raises: as `page`."""

    def cancel(self) -> None:
        """End what runs on the system within a second and leave nothing there; callable from any thread."""

    def close(self) -> None:
        """Release every session; callable twice."""
