"""What a dialect brings to the reading of views: one guarded session and how it spells a page.

A session proves at `open` that its login can do no harm, runs one statement at a time in a transaction that cannot
write and is always rolled back, and keeps both the statement and the wait for locks within a time (I9, I10).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import pyarrow as pa

from bridge.extraction.extractor import Load
from bridge.model import Column, Marks
from bridge.sources.view.paging import Grammar
from bridge.sources.view.statement import Sql

MOST_BYTES = 256 << 20  # of one answer that a session holds at once; a dialect may do with less


@dataclass(frozen=True, slots=True)
class Prepared:
    """A view as a session reads it."""

    body: Sql  # its SQL, wrapped where the session has to ask for a column in another form
    columns: Mapping[str, Column]  # what it answers with, in order
    handle: Any = None  # the session's own


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of one statement."""

    columns: tuple[Column, ...]
    batch: pa.RecordBatch
    last: Mapping[str, Any]  # the last row's values of the columns that were asked for, JSON-able; empty without rows
    read_at: datetime  # the server's own clock, before the rows were read
    marks: Mapping[str, Marks] = field(default_factory=dict)
    seconds: float = 0.0
    size_bytes: int = 0
    queries: int = 1
    is_cut: bool = False  # the answer was larger than what is held at once; the rest was not read


class Session(Protocol):
    """One guarded session on one database. Called by one thread, but for `cancel`."""

    grammar: Grammar

    def open(self) -> None:
        """Connect, unless connected, and prove the login harmless. Raises: SourceUnavailable, SourceRefused."""

    def prepare(self, body: Sql, *, order: frozenset[str], timeout_s: float) -> Prepared:
        """Learn what a view answers with.

        Args:
            body: the view's SQL.
            order: columns that pages go by: what they compare as must be what they sort as.
            timeout_s: after which the server gives up.
        Raises: SourceUnavailable, SourceRefused.
        """

    def ask(self, sql: Sql, prepared: Prepared, *, last: tuple[str, ...], timeout_s: float) -> Answer:
        """Run one statement over a prepared view.

        Args:
            sql: from `paging`, made of the prepared body.
            prepared: the view.
            last: columns whose values in the last row are wanted.
            timeout_s: after which the server gives up.
        Raises: SourceUnavailable (also after `cancel`), SourceRefused.
        """

    def probe(self) -> Load:
        """As `Extractor.probe`."""

    def cancel(self) -> None:
        """End what runs on the server, and the session with it; callable from any thread."""

    def close(self) -> None:
        """End the session; callable twice. `open` connects again."""
