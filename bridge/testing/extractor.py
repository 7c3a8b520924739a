"""A legacy system without change log: tables in memory that are read by pages."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from bridge.errors import BridgeError, InternalError
from bridge.extraction.extractor import Load, Page, Question, Subject
from bridge.model import Column, Shape


class ScriptedTable:
    """One table or view: rows by key, or a plain list where they have none.

    Args:
        subject: how it is read.
        columns: its columns with their types.
        rows: what is in it.
    """

    def __init__(
        self, subject: Subject, columns: Mapping[str, pa.DataType], rows: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        self.subject = subject
        self.columns = dict(columns)
        self.rows = [dict(row) for row in rows]
        self.is_unchanged = False  # says "not modified" to whoever has read it whole before

    def put(self, **row: Any) -> None:  # noqa: ANN401  a row may hold anything
        """Insert a row, in the place of one with its key."""
        self.remove(**row)
        self.rows.append(row)

    def remove(self, **key: Any) -> None:  # noqa: ANN401  as above
        """Delete the row with this key, where there is one."""
        if self.subject.key:
            self.rows = [row for row in self.rows if any(row[name] != key[name] for name in self.subject.key)]

    def shape(self, names: Iterable[str]) -> Shape:
        """Of some columns."""
        found = tuple(Column(name, str(self.columns[name]), self.columns[name]) for name in names)
        return Shape(f"shop.{self.subject.stream}", found)


class ScriptedExtractor:
    """The Extractor port over `ScriptedTable`s. A fault is raised once, by the next page that is asked for."""

    def __init__(self, name: str, *tables: ScriptedTable, now: Callable[[], datetime] | None = None) -> None:
        """Begin with these tables."""
        self.name = name
        self.tables = {table.subject.stream: table for table in tables}
        self.faults: deque[BridgeError | None] = deque()  # None: a page that goes well in between
        self.questions: list[Question] = []
        self.load = Load()
        self.is_open = False
        self.asks_ahead = False
        self.cancel_count = 0
        self._now = now or (lambda: datetime.now(UTC))

    @property
    def subjects(self) -> Mapping[str, Subject]:
        """See the port."""
        return {stream: table.subject for stream, table in self.tables.items()}

    def open(self) -> None:
        """See the port."""
        self.is_open = True

    def close(self) -> None:
        """See the port."""
        self.is_open = False

    def cancel(self) -> None:
        """See the port; nothing runs longer than a call."""
        self.cancel_count += 1

    def probe(self) -> Load:
        """See the port."""
        return self.load

    def page(self, question: Question) -> Page:
        """See the port. Raises: the next of `faults`; InternalError when it is not open."""
        if not self.is_open:
            raise InternalError(f"system {self.name} is read before it is open")
        self.questions.append(question)
        fault = self.faults.popleft() if self.faults else None
        if fault is not None:
            raise fault
        table = self.tables[question.stream]
        if table.is_unchanged and question.memory.get("whole") and question.resume is None:
            return self._page(table, [], list(table.columns), resume=None, is_unchanged=True)
        return self._answer(table, question)

    def _answer(self, table: ScriptedTable, question: Question) -> Page:
        subject, resume = table.subject, question.resume or {"part": "keyed", "after": None}
        if resume["part"] == "unkeyed":
            rows = [row for row in _asked(table, question) if not _is_whole(subject, row)]
            return self._page(table, rows, _wanted(table, question), resume=None)
        order = _order(subject, question)
        rows = [row for row in _asked(table, question) if _is_whole(subject, row)]
        rows.sort(key=lambda row: _sortable(row, order))
        after = resume["after"]
        if after is not None:  # the row that the page before ended with, as it was then
            rows = [row for row in rows if _sortable(row, order) > self._place(after)]
        page = rows[: question.limit]
        while (
            order
            and not subject.key
            and len(page) < len(rows)
            and _sortable(rows[len(page)], order) == _sortable(page[-1], order)
        ):
            page.append(rows[len(page)])  # a page never ends within equal cursors
        more = len(page) < len(rows) or (len(page) == question.limit and bool(page))
        if more:
            then: dict[str, Any] | None = {"part": "keyed", "after": self._remember(_sortable(page[-1], order))}
        else:
            is_range = question.after_key is not None or question.to_key is not None
            then = {"part": "unkeyed", "after": None} if subject.key and not is_range else None
        return self._page(table, page, _wanted(table, question), resume=then)

    def _remember(self, place: list[Any]) -> list[Any]:
        """JSON-able; times by their text."""
        return [part.isoformat() if isinstance(part, datetime) else part for part in place]

    def _place(self, kept: list[Any]) -> list[Any]:
        return [datetime.fromisoformat(part) if isinstance(part, str) and part[4:5] == "-" else part for part in kept]

    def _page(
        self,
        table: ScriptedTable,
        rows: list[dict[str, Any]],
        names: list[str],
        *,
        resume: Mapping[str, Any] | None,
        is_unchanged: bool = False,
    ) -> Page:
        arrays = [pa.array([row.get(name) for row in rows], table.columns[name]) for name in names]
        columns = pa.RecordBatch.from_arrays(arrays, names=names)
        return Page(
            shape=table.shape(names),
            columns=columns,
            read_at=self._now(),
            resume=resume,
            size_bytes=columns.nbytes,
            is_unchanged=is_unchanged,
            memory={"whole": True},
        )


def _wanted(table: ScriptedTable, question: Question) -> list[str]:
    if question.want == "rows":
        return list(table.columns)
    subject = table.subject
    cursor = [subject.cursor] if subject.cursor and subject.cursor not in subject.key else []
    return [*subject.key, *cursor]


def _order(subject: Subject, question: Question) -> list[str]:
    is_range = question.after_key is not None or question.to_key is not None
    if question.want == "keys" or question.is_by_key or question.is_without_cursor or is_range or not subject.cursor:
        return list(subject.key)
    return [subject.cursor, *(name for name in subject.key if name != subject.cursor)]


def _asked(table: ScriptedTable, question: Question) -> list[dict[str, Any]]:
    """The rows that a reading is about, in no order."""
    subject, rows = table.subject, list(table.rows)
    order = _order(subject, question)
    if subject.cursor and question.is_without_cursor:
        rows = [row for row in rows if row[subject.cursor] is None]
    elif subject.cursor and order[:1] == [subject.cursor]:
        rows = [row for row in rows if row[subject.cursor] is not None]
        if question.since is not None:
            rows = [row for row in rows if row[subject.cursor] >= question.since.as_py()]
    if question.after_key is not None:
        after = [part.as_py() for part in question.after_key]
        rows = [row for row in rows if _is_whole(subject, row) and _sortable(row, subject.key) > after]
    if question.to_key is not None:
        until = [part.as_py() for part in question.to_key]
        rows = [row for row in rows if _is_whole(subject, row) and _sortable(row, subject.key) <= until]
    return rows


def _is_whole(subject: Subject, row: Mapping[str, Any]) -> bool:
    return all(row[name] is not None for name in subject.key)


def _sortable(row: Mapping[str, Any], order: Iterable[str]) -> list[Any]:
    return [row[name] for name in order]
