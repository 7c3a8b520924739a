"""The SQL of one page: the view as a derived table, a range of it in a total order, and a limit.

A reading goes through all rows whose key columns are not null, in the order of the key or of cursor and key, each page
behind the last row of the one before; then, in one last page, the rows without a whole key, so that they are seen and
not dropped. An `append` view without a key is paged by its cursor, a page never ending within equal cursors. Where no
order tells the rows of a page apart it has no limit: nothing could go on behind its last row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import pyarrow as pa

from bridge.extraction.extractor import Question, Subject
from bridge.sources.view.statement import Sql, Value, joined


@dataclass(frozen=True, slots=True)
class Grammar:
    """How a database spells what pages are made of."""

    quote: Callable[[str], str]  # an identifier
    limit: Literal["limit", "fetch", "top"] = "limit"  # LIMIT n; FETCH FIRST n ROWS ONLY; SELECT TOP (n)
    has_row_values: bool = False  # (a, b) > (x, y) is understood, and an index is used for it
    is_null: str = "IS NULL"  # what is true of a null alone
    is_there: str = "IS NOT NULL"  # what is true of all but a null


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins within its reading: a value of `Page.resume`."""

    part: Literal["keyed", "unkeyed"] = "keyed"
    after: tuple[Any, ...] | None = None  # values of `order_of` of the last row read, as the dialect keeps them

    @classmethod
    def of(cls, resume: Mapping[str, Any] | None) -> "Place":
        """The place that was kept."""
        if resume is None:
            return cls()
        after = resume.get("after")
        return cls(resume["part"], None if after is None else tuple(after))

    def dump(self) -> dict[str, Any]:
        """What is kept; the values must be JSON-able."""
        return {"part": self.part, "after": None if self.after is None else list(self.after)}


def order_of(subject: Subject, question: Question) -> tuple[str, ...]:
    """The columns that a reading goes by."""
    if is_by_cursor(subject, question):
        assert subject.cursor is not None  # noqa: S101  asked for just now
        return (subject.cursor, *(name for name in subject.key if name != subject.cursor))
    return subject.key


def is_narrow(question: Question) -> bool:
    """Whether only some keys are asked for."""
    return question.after_key is not None or question.to_key is not None or question.keys is not None


def keys_of(subject: Subject) -> tuple[str, ...]:
    """The columns of a page of keys."""
    return tuple(dict.fromkeys((*subject.key, *([subject.cursor] if subject.cursor else ()))))


def is_by_cursor(subject: Subject, question: Question) -> bool:
    """Whether the reading goes by the cursor: whole rows of a stream that has one, unless they are asked for by key."""
    is_plain = question.want == "rows" and not question.is_by_key and not question.is_without_cursor
    return bool(subject.cursor) and is_plain and not is_narrow(question)


def next_place(
    subject: Subject, question: Question, place: Place, *, row_count: int, last: Sequence[Any], has_keyless: bool = True
) -> Place | None:
    """Where the reading goes on behind a page; None: it is over.

    Args:
        subject: what is read.
        question: the question that the page answers.
        place: where the page began.
        row_count: its rows.
        last: the values of `order_of` in its last row; empty without rows.
        has_keyless: False where the database says that no key column is ever null.
    """
    is_one_page = place.part == "unkeyed" or (question.is_without_cursor and not subject.key)
    if is_one_page or question.keys is not None:
        return None
    if row_count and (row_count >= question.limit or not subject.key):
        return Place("keyed", tuple(last))
    return Place("unkeyed") if subject.key and has_keyless and not is_narrow(question) else None


def page_sql(body: Sql, subject: Subject, question: Question, *, place: Place, grammar: Grammar) -> Sql:
    """The statement that reads one page."""
    quote = grammar.quote
    order = order_of(subject, question) if place.part == "keyed" else ()
    cursor = [subject.cursor] if subject.cursor and subject.cursor not in subject.key else []
    wanted = ", ".join(f"v.{quote(name)}" for name in (*subject.key, *cursor)) if question.want == "keys" else "v.*"
    where = [condition for condition in _conditions(subject, question, place, grammar) if condition]
    if not subject.key and not question.is_without_cursor:
        where.append(_whole_cursors(body, subject, question, where=where, grammar=grammar))
    limit = question.limit if subject.key and place.part == "keyed" else None
    top = f"TOP ({limit}) " if limit is not None and grammar.limit == "top" else ""
    pieces: list[str | Value] = [f"SELECT {top}{wanted} FROM (", *body, "\n) v"]  # noqa: S608  names are quoted
    pieces += _where(where)
    if order:
        pieces.append(" ORDER BY " + ", ".join(f"v.{quote(name)}" for name in order))
    return joined([*pieces, _limit(limit, grammar)])


def describe_sql(body: Sql) -> Sql:
    """The statement whose answer has the view's columns and no row."""
    return joined(["SELECT v.* FROM (", *body, "\n) v WHERE 1 = 0"])


def _conditions(subject: Subject, question: Question, place: Place, grammar: Grammar) -> list[list[str | Value]]:
    quote = grammar.quote
    found: list[list[str | Value]] = []
    has_key = [f"v.{quote(name)} {grammar.is_there}" for name in subject.key]
    if place.part == "keyed":
        found += [[text] for text in has_key]
    else:
        found.append(["(" + " OR ".join(f"v.{quote(name)} {grammar.is_null}" for name in subject.key) + ")"])
    if question.is_without_cursor and subject.cursor:
        found.append([f"v.{quote(subject.cursor)} {grammar.is_null}"])
    elif is_by_cursor(subject, question) and subject.cursor:
        if question.since is not None and place.after is None:
            found.append([f"v.{quote(subject.cursor)} >= ", Value(question.since, subject.cursor)])
        elif subject.cursor not in subject.key:
            found.append([f"v.{quote(subject.cursor)} {grammar.is_there}"])
    order = order_of(subject, question)
    if place.after is not None:
        found.append(_compared(order, place.after, ">", grammar))
    elif question.after_key is not None and place.part == "keyed":
        found.append(_compared(subject.key, question.after_key, ">", grammar))
    if question.to_key is not None:
        found.append(_compared(subject.key, question.to_key, "<=", grammar))
    if question.keys is not None:
        found.append(_one_of(question.keys, grammar))
    return found


def _one_of(keys: pa.RecordBatch, grammar: Grammar) -> list[str | Value]:
    """`a IN (x, y)`; for a key of several columns `a = x AND b = y OR ...`: every database uses an index for both."""
    names, rows = keys.schema.names, range(keys.num_rows)
    if not keys.num_rows:
        return ["1 = 0"]
    if len(names) == 1:
        listed = [[", " if row else "", Value(keys.column(0)[row], names[0])] for row in rows]
        return [f"v.{grammar.quote(names[0])} IN (", *chain(*listed), ")"]
    pieces: list[str | Value] = ["("]
    for row in rows:
        pieces.append(" OR (" if row else "(")
        for place, name in enumerate(names):
            pieces += [f"{' AND ' if place else ''}v.{grammar.quote(name)} = ", Value(keys.column(place)[row], name)]
        pieces.append(")")
    return [*pieces, ")"]


def _compared(names: Sequence[str], values: Sequence[Any], sign: str, grammar: Grammar) -> list[str | Value]:
    """`(a, b) > (x, y)` as row values, or spelled out so that an index over (a, b) is used for the first."""
    columns = [f"v.{grammar.quote(name)}" for name in names]
    bound = [Value(value, name) for name, value in zip(names, values, strict=True)]
    if len(columns) == 1:
        return [f"{columns[0]} {sign} ", bound[0]]
    if grammar.has_row_values:
        pieces: list[str | Value] = [f"({', '.join(columns)}) {sign} ("]
        for number, value in enumerate(bound):
            pieces += [", " if number else "", value]
        return [*pieces, ")"]
    return _spelled(columns, bound, sign)


def _spelled(columns: Sequence[str], bound: Sequence[Value], sign: str) -> list[str | Value]:
    strict = sign[0]
    if len(columns) == 1:
        return [f"{columns[0]} {sign} ", bound[0]]
    rest = _spelled(columns[1:], bound[1:], sign)
    return [
        f"({columns[0]} {strict}= ", bound[0], f" AND ({columns[0]} {strict} ", bound[0], " OR (", *rest, ")))",
    ]  # fmt: skip


def _whole_cursors(
    body: Sql, subject: Subject, question: Question, *, where: list[list[str | Value]], grammar: Grammar
) -> list[str | Value]:
    """At most the cursor of the row that the limit allows: rows with the same cursor come in one page."""
    cursor = grammar.quote(subject.cursor or "")
    top = f"TOP ({question.limit}) " if grammar.limit == "top" else ""
    inner: list[str | Value] = [
        f"v.{cursor} <= (SELECT MAX(w.{cursor}) FROM (SELECT {top}v.{cursor} FROM (",  # noqa: S608  a quoted name
        *body,
        "\n) v",
        *_where(where),
        f" ORDER BY v.{cursor}",
        _limit(question.limit, grammar),
        ") w)",
    ]
    return inner


def _where(conditions: Sequence[list[str | Value]]) -> list[str | Value]:
    pieces: list[str | Value] = []
    for number, condition in enumerate(conditions):
        pieces += [" AND " if number else " WHERE ", *condition]
    return pieces


def _limit(limit: int | None, grammar: Grammar) -> str:
    if limit is None or grammar.limit == "top":
        return ""
    return f" LIMIT {limit}" if grammar.limit == "limit" else f" FETCH FIRST {limit} ROWS ONLY"
