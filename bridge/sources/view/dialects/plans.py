"""What databases answer when they are asked for a plan, as one form. Pure.

Sources: PostgreSQL manual, "EXPLAIN"; MariaDB knowledge base, "EXPLAIN FORMAT=JSON"; MySQL manual, "EXPLAIN Output
Format"; SQLite, "EXPLAIN QUERY PLAN"; Firebird 3 release notes, "Explained plan".
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from bridge.sources.view.plan import Plan, Step

_ACCESS = {"ALL": "Full scan of", "index": "Index scan of", "range": "Index range of", "const": "One row of"}
_ASIDE = ("subquer", "cache")  # parts of keys of what is computed beside the rows
_BELOW = ("materialized", "materialized_from_subquery")


def of_postgres(plan: dict[str, Any]) -> Plan:
    """Of EXPLAIN (FORMAT JSON): the node at the top."""
    steps = tuple(_postgres(plan, 0))
    is_whole = any(step.what.startswith(("Sort", "Incremental Sort")) for step in steps)
    return Plan(steps, plan["Plan Rows"], plan["Total Cost"], is_whole)


def of_mysql(found: dict[str, Any], cost: float | None = None) -> Plan:
    """Of EXPLAIN FORMAT=JSON, of MariaDB or MySQL; `cost` where it does not say it itself."""
    block = found["query_block"]
    said = block.get("cost_info", {}).get("query_cost") or block.get("cost")
    steps = tuple(_mysql(block, 0))
    is_whole = any(step.what.startswith(("Sort", "Made first")) for step in steps)
    return Plan(steps, _rows(block), float(said) if said is not None else cost, is_whole)


def of_sqlite(rows: Sequence[tuple[Any, ...]]) -> Plan:
    """Of EXPLAIN QUERY PLAN: number, number of the step above, nothing, text."""
    depths = {0: -1}
    steps = []
    for number, above, _, what in rows:
        depths[number] = depths.get(above, -1) + 1
        steps.append(Step(depths[number], what))
    is_whole = any(step.what.startswith(("USE TEMP B-TREE FOR ORDER BY", "MATERIALIZE")) for step in steps)
    return Plan(tuple(steps), None, None, is_whole)


def of_firebird(text: str) -> Plan:
    """Of an explained plan: a line a step, set in by its depth."""
    lines = [line for line in text.splitlines() if "->" in line]
    steps = tuple(Step(line.index("->") // 4 - 1, line.strip().removeprefix("-> ")) for line in lines)
    return Plan(steps, None, None, any(step.what.startswith("Sort (") for step in steps))


def _postgres(plan: dict[str, Any], depth: int) -> Iterator[Step]:
    name = plan.get("Relation Name") or plan.get("CTE Name") or plan.get("Function Name")
    index = plan.get("Index Name")
    what = plan["Node Type"] + (f" on {name}" if name else "") + (f" ({index})" if index else "")
    yield Step(depth, what, plan["Plan Rows"], plan["Total Cost"])
    for below in plan.get("Plans", ()):
        yield from _postgres(below, depth + 1)


def _mysql(node: dict[str, Any], depth: int) -> Iterator[Step]:
    for name, value in node.items():
        if name == "table":
            yield Step(depth, _access(value), _rows_of(value), _cost_of(value))
            yield from _mysql(value, depth + 1)
        elif name == "filesort" or (name == "using_filesort" and value):
            by = value.get("sort_key") if isinstance(value, dict) else None
            yield Step(depth, f"Sort by {by}" if by else "Sort")
            yield from _mysql(value, depth + 1) if isinstance(value, dict) else ()
        elif name in _BELOW:
            yield Step(depth, "Made first, whole")
            yield from _mysql(value, depth + 1)
        else:
            for below in value if isinstance(value, list) else [value]:
                yield from _mysql(below, depth) if isinstance(below, dict) else ()


def _access(table: dict[str, Any]) -> str:
    if "table_name" not in table:
        return str(table.get("message", "No table"))
    how = _ACCESS.get(table["access_type"], "Index look-up in")
    index = table.get("key")
    return f"{how} {table['table_name']}" + (f" ({index})" if index else "")


def _rows_of(table: dict[str, Any]) -> float | None:
    """Rows that a table gives for each row of those before it."""
    rows = table.get("rows", table.get("rows_examined_per_scan"))
    return None if rows is None else float(rows) * float(table.get("filtered", 100)) / 100


def _cost_of(table: dict[str, Any]) -> float | None:
    said = table.get("cost_info", {}).get("prefix_cost", table.get("cost"))
    return None if said is None else float(said)


def _rows(block: dict[str, Any]) -> float:
    """Rows of a block: of a union their sum, of joined tables their product; what groups is not told."""
    union = block.get("union_result")
    if union is not None:
        return sum(_rows(each["query_block"]) for each in union["query_specifications"])
    return math.prod(_rows_of(table) or 1.0 for table in _tables(block))


def _tables(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The tables of a block itself."""
    for name, value in node.items():
        if name == "table":
            yield value
        elif name not in _BELOW and not any(part in name for part in _ASIDE):
            for below in value if isinstance(value, list) else [value]:
                yield from _tables(below) if isinstance(below, dict) else ()
