"""The letter to the DBA: what is read of a database, what it costs at most, the least rights, and how to stop it.

Written from the configuration and the view files alone, in Markdown, for a person who has never heard of the bridge.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from bridge.config.schedule import BudgetConfig
from bridge.sources.view.grants import Grants, script, seen, stop, undo


@dataclass(frozen=True, slots=True)
class Reading:
    """One stream that is read by a view."""

    stream: str
    mode: str
    when: str  # its schedule in words
    tables: tuple[str, ...]
    page_rows: int
    timeout_s: float
    file: str


@dataclass(frozen=True, slots=True)
class Letter:
    """What the letter is made of."""

    system: str
    instance: str
    place: str  # where the database is reached
    grants: Grants
    readings: tuple[Reading, ...]
    budget: BudgetConfig  # what the system may be asked
    log_tables: tuple[str, ...] = ()  # tables whose changes are read from the change log


_WIDTH = 120
_MODES = {
    "incremental": "the rows that changed since the last run, found by a column that grows with every change",
    "full": "every row, compared with what was read before",
    "append": "the rows that were added since the last run",
}


def letter(facts: Letter) -> str:
    """The letter as Markdown."""
    parts = [*_opening(facts), *_what(facts), *_cost(facts), *_rights(facts), *_stop(facts)]
    return "\n\n".join(parts) + "\n"


def _opening(facts: Letter) -> Iterator[str]:
    yield f"# To the DBA of {facts.system}"
    yield _filled(
        f"The legacy bridge `{facts.instance}` reads {facts.place} and hands on what changes there. It never writes to"
        " the database: no table, no trigger, no function, no lock on your rows. This letter says what it reads, what"
        " that costs at most, which rights it needs, and how you stop it."
    )


def _what(facts: Letter) -> Iterator[str]:
    yield "## What is read"
    if facts.readings:
        rows = [
            "| stream | tables | what a run reads | when | rows a query | ended after |",
            "|---|---|---|---|---|---|",
        ]
        for one in facts.readings:
            tables = ", ".join(f"`{table}`" for table in one.tables) or "none"
            cells = [one.stream, tables, _MODES[one.mode], one.when, str(one.page_rows), f"{one.timeout_s:g} s"]
            rows.append(f"| {' | '.join(cells)} |")
        yield "\n".join(rows)
        files = ", ".join(f"`{one.file}`" for one in facts.readings)
        yield _filled(f"The SQL is in plain files, which we gladly show you: {files}.")
    if facts.log_tables:
        tables = ", ".join(f"`{table}`" for table in facts.log_tables)
        yield _filled(
            f"Besides, the change log is read for {tables}. What that takes (publications, a slot, its limits) is"
            f" printed by `legacy-bridge dba-script {facts.system}`."
        )


def _cost(facts: Letter) -> Iterator[str]:
    budget = facts.budget
    yield "## What it costs at most"
    points = [
        f"{budget.connections} sessions at a time, one of them for views; between queries it is in no transaction.",
        f"{budget.active_seconds_per_minute:g} seconds at work in any minute; a slow database is asked for less.",
    ]
    most = [f"{budget.rows_per_run} rows"] if budget.rows_per_run else []
    most += [f"{budget.gigabytes_per_run:g} GB"] if budget.gigabytes_per_run else []
    points += [f"{' and '.join(most)} in one run."] if most else []
    points += [f"Nothing in the quiet hours {', '.join(budget.quiet_hours)}."] if budget.quiet_hours else []
    points += [f"Nothing while more than {budget.busy_sessions} others are at work."] if budget.busy_sessions else []
    points += [f"Nothing while a replica is {budget.replica_lag_s:g} s behind."] if budget.replica_lag_s else []
    points += [
        "Each query is one SELECT in a read-only transaction of its own, which is rolled back.",
        "None waits longer than 2 s for a lock, or holds back the database's own cleaning beyond the times above.",
        f"`legacy-bridge bill {facts.system}` prints what was really asked by hour: queries, seconds, rows, bytes.",
    ]
    yield "\n".join(_filled(point, "- ") for point in points)


def _rights(facts: Letter) -> Iterator[str]:
    yield "## The rights it needs, and no more"
    yield "The bridge looks up its own rights when it connects, and refuses a login that could write."
    yield _code(script(facts.grants))
    yield "To undo it:"
    yield _code(undo(facts.grants))


def _stop(facts: Letter) -> Iterator[str]:
    yield "## How to stop it"
    yield _filled(
        f'The operator: `legacy-bridge system pause {facts.system} --reason "..."` ends every read within a second and'
        " keeps it so, over restarts too. Reading goes on where it ended: nothing is lost by a pause.",
        "- ",
    )
    yield "- You, without asking anybody:"
    yield _code(stop(facts.grants))
    if facts.log_tables:
        yield _filled(
            "The slot of the change log stays, and the server keeps its log for it: the end of what"
            f" `legacy-bridge dba-script {facts.system}` prints drops it. Nothing else is left behind on the server. To"
            " see what the bridge does there now:"
        )
    else:
        yield "Nothing is left behind on the server. To see what the bridge does there now:"
    yield _code(seen(facts.grants))


def _filled(text: str, bullet: str = "") -> str:
    rest = " " * len(bullet)
    return textwrap.fill(bullet + text, _WIDTH, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False)


def _code(text: str) -> str:
    return f"```sql\n{text}\n```"
