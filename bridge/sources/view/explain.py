"""What reading a view would cost, as the database itself expects: asked before the first run, and nothing is run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from bridge.extraction.extractor import Question, Subject
from bridge.sources.view.paging import Place, describe_sql, order_of, page_sql
from bridge.sources.view.plan import Plan, Step
from bridge.sources.view.session import Prepared, Session
from bridge.sources.view.statement import Sql

# Kinds of systems whose plans are read; those of the others were never seen here.
TOLD = frozenset({"postgres", "mysql", "sqlite", "firebird"})
_NO_ROWS = "\n) v WHERE 1 = 0"


@dataclass(frozen=True, slots=True)
class Explained:
    """What a database expects of a view; None where it does not say."""

    rows: int | None  # of the whole view
    cost: float | None  # of reading it at once
    page_rows: int
    page_cost: float | None  # of the first page
    page: tuple[Step, ...]  # the plan of the first page
    warnings: tuple[str, ...]

    @property
    def pages(self) -> int | None:
        """How many pages a whole reading takes."""
        return None if self.rows is None else max(1, -(-self.rows // self.page_rows))


@runtime_checkable
class Explaining(Protocol):
    """A session whose database tells its plans."""

    def plan(self, sql: Sql, prepared: Prepared, *, timeout_s: float) -> Plan:
        """How the server would run a statement; nothing is run. Raises: as `Session.ask`."""


def explain(session: Session, prepared: Prepared, subject: Subject, *, timeout_s: float) -> Explained | None:
    """The plans of a view; None where the database does not tell them in a form that we read."""
    if not isinstance(session, Explaining):
        return None
    whole = session.plan(_everything(prepared.body), prepared, timeout_s=timeout_s)
    question = Question(subject.stream, subject.page_rows)
    sql = page_sql(prepared.body, subject, question, place=Place(), grammar=session.grammar)
    page = session.plan(sql, prepared, timeout_s=timeout_s)
    return Explained(
        rows=None if whole.rows is None else round(whole.rows),
        cost=whole.cost,
        page_rows=subject.page_rows,
        page_cost=page.cost,
        page=page.steps,
        warnings=tuple(_warnings(subject, question, whole, page)),
    )


def _everything(body: Sql) -> Sql:
    *before, end = describe_sql(body)
    assert isinstance(end, str)  # noqa: S101  it ends with its condition
    return (*before, end.removesuffix(_NO_ROWS) + "\n) v")


def _warnings(subject: Subject, question: Question, whole: Plan, page: Plan) -> Iterator[str]:
    order = ", ".join(order_of(subject, question))
    is_small = whole.rows is not None and whole.rows <= subject.page_rows
    if page.is_whole and not is_small:
        yield f"no index gives the order of {order}: every page reads and sorts the whole view; ask the DBA for one"
