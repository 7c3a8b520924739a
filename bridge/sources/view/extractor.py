"""An extractor over the views of one database: pages by key or by cursor and key, whatever the dialect.

What is asked for lies in `paging`, how it is asked in the dialect's session. A page that would be larger than a session
holds at once ends early and the next one goes on behind it; the next pages ask for fewer rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from bridge.errors import SourceRefused
from bridge.extraction.extractor import Load, Page, Question, Subject
from bridge.model import Shape
from bridge.sources.view.explain import Explained, explain
from bridge.sources.view.paging import Place, is_narrow, next_place, order_of, page_sql
from bridge.sources.view.session import Answer, Prepared, Session
from bridge.sources.view.statement import statement
from bridge.sources.view.viewfile import View

PAGE_BYTES = 64 << 20  # of one page, as it came: about what is aimed at


@dataclass(slots=True)
class _Reading:
    """One stream: its view, and what was learnt of it."""

    view: View
    subject: Subject
    prepared: Prepared | None = None  # None: not asked for since the session began
    row_bytes: float = 0.0  # mean, of the last page


class ViewExtractor:
    """Reads the views of one system in pages; see `Extractor`."""

    def __init__(
        self, name: str, session: Session, views: Mapping[str, View], *, dialect: str, asks_ahead: bool = False
    ) -> None:
        """Read by this session.

        Args:
            name: of the system.
            session: closed or open.
            views: by stream, their parameters given.
            dialect: the kind of the system, whose SQL they are written in.
            asks_ahead: see the port.
        """
        self.name = name
        self.asks_ahead = asks_ahead
        self.subjects: Mapping[str, Subject] = {stream: view.subject(stream) for stream, view in views.items()}
        self._session = session
        self._dialect = dialect
        self._readings = {stream: _Reading(view, self.subjects[stream]) for stream, view in views.items()}

    def open(self) -> None:
        """Connect and prove the login harmless."""
        self._session.open()

    def page(self, question: Question) -> Page:
        """One page."""
        reading = self._readings[question.stream]
        subject, timeout_s = reading.subject, reading.view.statement_timeout_s
        self._session.open()
        place = Place.of(question.resume)
        if place == Place() and not is_narrow(question):
            reading.prepared = None  # a reading begins: the view may have become another one
        prepared = reading.prepared or self._prepare(reading)
        asked = replace(_fitting(question, subject, prepared), limit=_affordable(reading, question.limit))
        order = order_of(subject, asked)
        sql = page_sql(prepared.body, subject, asked, place=place, grammar=self._session.grammar)
        try:
            answer = self._session.ask(sql, prepared, last=order, timeout_s=timeout_s)
        except BaseException:
            reading.prepared = None  # a view that was changed is looked at again
            raise
        if answer.batch.num_rows:
            reading.row_bytes = answer.size_bytes / answer.batch.num_rows
        following = self._follow(reading, asked, place, answer)
        return Page(
            Shape(reading.view.name, answer.columns),
            answer.batch,
            answer.read_at,
            following.dump() if following else None,
            answer.marks,
            answer.seconds,
            answer.size_bytes,
            answer.queries,
        )

    def explain(self, stream: str) -> Explained | None:
        """What the database expects of reading a stream; None where it does not tell. Nothing is run."""
        reading = self._readings[stream]
        self._session.open()
        prepared = reading.prepared or self._prepare(reading)
        timeout_s = reading.view.statement_timeout_s
        return explain(self._session, prepared, reading.subject, timeout_s=timeout_s)

    def probe(self) -> Load:
        """How busy the system says it is."""
        return self._session.probe()

    def cancel(self) -> None:
        """End what runs on the server."""
        self._session.cancel()

    def close(self) -> None:
        """End the session."""
        self._session.close()
        for reading in self._readings.values():
            reading.prepared = None

    def _prepare(self, reading: _Reading) -> Prepared:
        view, body = reading.view, statement(reading.view, self._dialect)
        order = frozenset(view.key) | ({view.cursor} if view.cursor else frozenset())
        prepared = self._session.prepare(body, order=order, timeout_s=view.statement_timeout_s)
        if missing := sorted(order - prepared.columns.keys()):
            hint = f"Its columns are: {', '.join(prepared.columns)}. Spell them as the database does."
            raise SourceRefused(f"view {view.path} has no column {', '.join(missing)}", hint=hint)
        reading.prepared = prepared
        return prepared

    def _follow(self, reading: _Reading, asked: Question, place: Place, answer: Answer) -> Place | None:
        last = tuple(answer.last.values())
        rows = answer.batch.num_rows
        if not answer.is_cut:
            return next_place(reading.subject, asked, place, row_count=rows, last=last)
        if place.part == "unkeyed" or not reading.subject.key:
            detail = f"view {reading.view.path}: rows that no key tells apart are more than {PAGE_BYTES >> 20} MB"
            raise SourceRefused(detail, hint="Give the view a key, or fewer columns.")
        return Place("keyed", last)


def _fitting(question: Question, subject: Subject, prepared: Prepared) -> Question:
    """From the first cursor on where its column has become of another type: what was known says nothing then."""
    if question.since is None or subject.cursor is None:
        return question
    kind = prepared.columns[subject.cursor].arrow  # null: not known yet
    return question if kind in (question.since.type, pa.null()) else replace(question, since=None)


def _affordable(reading: _Reading, limit: int) -> int:
    """As many of the rows asked for as should fit into a page."""
    return max(1, min(limit, int(PAGE_BYTES / reading.row_bytes))) if reading.row_bytes else limit
