"""What reading a view would cost, as the database itself expects: asked before the first run, and nothing is run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from bridge.extraction.extractor import Question, Subject
from bridge.sources.view.paging import Place, describe_sql, order_of, page_sql
from bridge.sources.view.session import Prepared, Session
from bridge.sources.view.statement import Sql

_NO_ROWS = "\n) v WHERE 1 = 0"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan."""

    depth: int
    what: str  # "Index Scan on customers (customers_pkey)"
    rows: float  # expected
    cost: float  # in the database's own units, with the steps below


@dataclass(frozen=True, slots=True)
class Explained:
    """What a database expects of a view."""

    rows: int  # of the whole view
    cost: float  # of reading it at once
    page_rows: int
    page_cost: float  # of the first page
    page: tuple[Step, ...]  # the plan of the first page
    warnings: tuple[str, ...]

    @property
    def pages(self) -> int:
        """How many pages a whole reading takes."""
        return max(1, -(-self.rows // self.page_rows))


@runtime_checkable
class Explaining(Protocol):
    """A session whose database tells its plans."""

    def plan(self, sql: Sql, prepared: Prepared, *, timeout_s: float) -> dict[str, Any]:
        """The plan of a statement: `Node Type`, `Plan Rows`, `Total Cost`, `Plans` and the like."""


def explain(session: Session, prepared: Prepared, subject: Subject, *, timeout_s: float) -> Explained | None:
    """The plans of a view; None where the database does not tell them in a form that we read."""
    if not isinstance(session, Explaining):
        return None
    whole = session.plan(_everything(prepared.body), prepared, timeout_s=timeout_s)
    question = Question(subject.stream, subject.page_rows)
    sql = page_sql(prepared.body, subject, question, place=Place(), grammar=session.grammar)
    page = session.plan(sql, prepared, timeout_s=timeout_s)
    steps = tuple(_steps(page, 0))
    return Explained(
        rows=round(whole["Plan Rows"]),
        cost=whole["Total Cost"],
        page_rows=subject.page_rows,
        page_cost=page["Total Cost"],
        page=steps,
        warnings=tuple(_warnings(subject, question, whole, steps)),
    )


def _everything(body: Sql) -> Sql:
    *before, end = describe_sql(body)
    assert isinstance(end, str)  # noqa: S101  it ends with its condition
    return (*before, end.removesuffix(_NO_ROWS) + "\n) v")


def _steps(plan: dict[str, Any], depth: int) -> Iterator[Step]:
    name = plan.get("Relation Name") or plan.get("CTE Name") or plan.get("Function Name")
    index = plan.get("Index Name")
    what = plan["Node Type"] + (f" on {name}" if name else "") + (f" ({index})" if index else "")
    yield Step(depth, what, plan["Plan Rows"], plan["Total Cost"])
    for below in plan.get("Plans", ()):
        yield from _steps(below, depth + 1)


def _warnings(subject: Subject, question: Question, whole: dict[str, Any], steps: tuple[Step, ...]) -> Iterator[str]:
    order = ", ".join(order_of(subject, question))
    is_small = whole["Plan Rows"] <= subject.page_rows
    if any(step.what.startswith(("Sort", "Incremental Sort")) for step in steps) and not is_small:
        yield f"no index gives the order of {order}: every page reads and sorts the whole view; ask the DBA for one"
