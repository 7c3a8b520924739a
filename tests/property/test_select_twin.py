"""A compiled selection and a plain row-by-row reader let the same events and cells through."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from bridge import yamlfile
from bridge.contract import document
from bridge.contract.compiled import schema_of
from bridge.model import META, Block, Mark, Op
from bridge.select import PUBLIC, Selection

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: things
version: 1.0.0
description: {purpose: Things.}
slaProperties: [{property: errorRate, value: 1, unit: percent}]
schema:
  - name: things
    properties:
      - {name: k, description: Key., logicalType: string, primaryKey: true, primaryKeyPosition: 1}
      - {name: n, description: Number., logicalType: integer,
         customProperties: [{property: bridge.unit, value: none}]}
      - {name: t, description: Text., logicalType: string, classification: internal}
      - {name: s, description: Secret., logicalType: string, classification: secret}
"""
THINGS = document.check(yamlfile.parse(CONTRACT, file="c.yaml"))
FIELDS = ("k", "n", "t", "s")

Row = dict[str, Any]
Test = Callable[[Row], bool | None]  # with SQL's three values of truth
Condition = tuple[str, frozenset[str], Test]


def compared(name: str, word: str, value: Any) -> Condition:  # noqa: ANN401 - any literal
    tests: dict[str, Callable[[Any], bool]] = {
        "=": lambda cell: bool(cell == value),
        "<>": lambda cell: bool(cell != value),
        "<": lambda cell: bool(cell < value),
    }
    text = f"{name} {word} {value!r}"
    return text, frozenset({name}), lambda row: None if row[name] is None else tests[word](row[name])


def either(left: Condition, right: Condition) -> Condition:
    def test(row: Row) -> bool | None:
        values = left[2](row), right[2](row)
        return True if True in values else None if None in values else False

    return f"({left[0]} or {right[0]})", left[1] | right[1], test


def inverted(one: Condition) -> Condition:
    def test(row: Row) -> bool | None:
        value = one[2](row)
        return None if value is None else not value

    return f"not ({one[0]})", one[1], test


def absent(name: str) -> Condition:
    return f"{name} is null", frozenset({name}), lambda row: row[name] is None


ATOM = st.one_of(
    st.builds(compared, st.just("n"), st.sampled_from(["=", "<>", "<"]), st.integers(0, 3)),
    st.builds(compared, st.sampled_from(["k", "t"]), st.sampled_from(["=", "<>"]), st.sampled_from(["a", "b"])),
    st.builds(absent, st.sampled_from(["k", "n", "t"])),
)
CONDITION = st.recursive(
    ATOM, lambda inner: st.one_of(st.builds(either, inner, inner), st.builds(inverted, inner)), max_leaves=4
)
CELL = st.one_of(st.none(), st.sampled_from(["a", "b"]))
ROW = st.fixed_dictionaries(
    {
        "_op": st.sampled_from([int(op) for op in Op]),
        "k": st.sampled_from(["a", "b", "c"]),
        "n": st.one_of(st.none(), st.integers(0, 3)),
        "t": CELL,
        "s": CELL,
        "marked": st.sets(st.sampled_from(["n", "t", "s"]), max_size=2),
    }
)


def journalled(drawn: Row) -> Row:
    """A row as a contract leaves it: other fields of a delete and marked cells are null."""
    op = Op(drawn["_op"])
    carried = {Op.TRUNCATE: (), Op.GAP: (), Op.DELETE: ("k",)}.get(op, FIELDS)
    marked = [name for name in sorted(drawn["marked"]) if name in carried]
    cells = {name: drawn[name] if name in carried and name not in marked else None for name in FIELDS}
    marks = [{"field": name, "kind": int(Mark.UNREADABLE), "raw": name.encode()} for name in marked]
    blank = dict.fromkeys(META.names)
    fixed = {"_op": int(op), "_position": 1, "_tx_index": 0, "_moved": False}
    return blank | fixed | cells | {"_key": cells["k"], "_marks": marks or None}


def passes(row: Row, conditions: list[Condition]) -> bool:
    op, marked = Op(row["_op"]), {mark["field"] for mark in row["_marks"] or []}
    if op in (Op.TRUNCATE, Op.GAP):
        return True
    for _, reads, test in conditions:
        is_known = not reads & marked and (op is not Op.DELETE or reads <= {"k"})
        if is_known and test(row) is False:
            return False
    return True


def seen(row: Row, shown: list[str]) -> Row:
    marks = [mark for mark in row["_marks"] or [] if mark["field"] in shown]
    return {name: row[name] for name in (*META.names, *shown)} | {"_marks": marks or None}


@given(
    drawn=st.lists(ROW, min_size=1, max_size=12),
    conditions=st.lists(CONDITION, min_size=1, max_size=3),
    fields=st.lists(st.sampled_from(FIELDS), max_size=3),
    releases_secret=st.booleans(),
    start=st.integers(0, 3),
)
def test_a_selection_agrees_with_its_plain_twin(
    *, drawn: list[Row], conditions: list[Condition], fields: list[str], releases_secret: bool, start: int
) -> None:
    rows = [journalled(row) for row in drawn]
    release = ["internal", "secret"] if releases_secret else ["internal"]
    text = " and ".join(condition[0] for condition in conditions)
    selection = Selection.compile(THINGS, filter=text, fields=fields, release=release)
    batch = pa.RecordBatch.from_pylist(rows, schema=schema_of(THINGS)).slice(start)
    found = selection.apply(Block("things", start + 1, 1, "1.0.0", datetime(2026, 11, 2, tzinfo=UTC), batch))

    wanted = [name for name in FIELDS if not fields or name in fields or name == "k"]
    classes = {field.name: field.classification for field in THINGS.fields}
    shown = [name for name in wanted if classes[name] in (*PUBLIC, *release)]
    kept = [number for number in range(start, len(rows)) if passes(rows[number], conditions)]
    assert found.numbers.tolist() == [number + 1 for number in kept]
    assert found.batch.to_pylist() == [seen(rows[number], shown) for number in kept]
    assert found.withheld == tuple(name for name in wanted if name not in shown)
