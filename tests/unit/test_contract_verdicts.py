"""Verdicts: marks, deletes, truncates, repeated keys, overflow, key text, levels."""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bridge import yamlfile
from bridge.contract import document, levels
from bridge.contract.compiled import CompiledContract, compile_contract
from bridge.contract.terms import ValidityLevel
from bridge.model import CHANGE_COLUMNS, Column, Mark, Marks, RawBatch, Shape, Verdict

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: lines
version: 1.0.0
description: {purpose: Lines.}
slaProperties: [{property: errorRate, value: 1, unit: percent}]
schema:
  - name: lines
    properties:
      - {name: doc, description: Document., logicalType: string, primaryKey: true, primaryKeyPosition: 1,
         transformLogic: trim(doc)}
      - {name: line, description: Line., logicalType: integer, primaryKey: true, primaryKeyPosition: 2}
      - name: text
        description: Text.
        logicalType: string
        required: true
        logicalTypeOptions: {minLength: 2}
      - name: weight
        description: Weight.
        logicalType: number
        customProperties: [{property: bridge.type, value: double}, {property: bridge.unit, value: kg},
                           {property: bridge.allow, value: [nan]}]
      - name: product
        description: Product.
        logicalType: number
        transformLogic: a * b
        customProperties: [{property: bridge.type, value: "decimal(38,0)"}, {property: bridge.unit, value: none}]
    quality:
      - {name: text_is_not_doc, description: The text differs from the document., type: custom, engine: bridge,
         implementation: text <> doc}
"""
COLUMNS = {"doc": pa.large_string(), "line": pa.int16(), "text": pa.large_string(), "weight": pa.float64(),
           "a": pa.decimal128(38, 0), "b": pa.decimal128(38, 0)}  # fmt: skip
SHAPE = Shape("lines", tuple(Column(name, "", arrow) for name, arrow in COLUMNS.items()))
ROW = {"doc": "D1 ", "line": 1, "text": "hello", "weight": 1.5, "a": Decimal(2), "b": Decimal(3)}


def contract() -> CompiledContract:
    found = compile_contract(document.check(yamlfile.parse(CONTRACT, file="c")), "lines", SHAPE)
    assert isinstance(found, CompiledContract)
    return found


def raw(ops: str, rows: list[dict[str, Any]], marks: Mapping[str, Marks] | None = None) -> RawBatch:
    count = len(ops)
    values: list[list[Any]] = [
        [ord(op) for op in ops], [dt.datetime(2025, 1, 1, tzinfo=dt.UTC)] * count, [1] * count, [1] * count,
        list(range(count)), [False] * count, [None] * count, [None] * count,
    ]  # fmt: skip
    changes = [pa.array(value, field.type) for value, field in zip(values, CHANGE_COLUMNS, strict=True)]
    columns = [pa.array([row.get(name) for row in rows], arrow) for name, arrow in COLUMNS.items()]
    return RawBatch("lines", SHAPE, pa.RecordBatch.from_arrays(changes, schema=CHANGE_COLUMNS),
                    pa.RecordBatch.from_arrays(columns, names=list(COLUMNS)), marks or {})  # fmt: skip


def check(ops: str, rows: list[dict[str, Any]], marks: Mapping[str, Marks] | None = None) -> Verdict:
    return contract().check(raw(ops, rows, marks))


def mark(row: int, kind: Mark, cell: bytes | None = None) -> Marks:
    return Marks(np.array([row]), np.array([kind], np.uint8), (cell,))


def broken(verdict: Verdict) -> list[list[tuple[str, str | None]]]:
    rejected = verdict.rejected
    return [] if rejected is None else [[(b.rule, b.field) for b in row] for row in rejected.breaches]


def test_an_unchanged_cell_is_null_marked_and_excused_from_every_rule() -> None:
    verdict = check("uu", [ROW | {"text": None}, ROW], {"text": mark(0, Mark.UNCHANGED)})
    assert broken(verdict) == []
    assert verdict.events.column("text").to_pylist() == [None, "hello"]
    assert verdict.events.column("_marks").to_pylist() == [
        [{"field": "text", "kind": Mark.UNCHANGED, "raw": None}], None]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "kind", "rule"),
    [
        ("text", Mark.UNREADABLE, ("unreadable", "text")),
        ("a", Mark.NAN, ("nan", "product")),
        ("b", Mark.MINUS_INFINITY, ("infinity", "product")),
        ("doc", Mark.UNCHANGED, ("key", "doc")),
        ("line", Mark.UNREADABLE, ("key", "line")),
    ],
)
def test_a_mark_that_is_not_allowed_rejects_its_row_and_keeps_its_bytes(
    column: str, kind: Mark, rule: tuple[str, str]
) -> None:
    verdict = check("uu", [ROW, ROW | {column: None}], {column: mark(1, kind, b"\xff")})
    assert rule in broken(verdict)[0]
    assert verdict.rejected is not None
    assert verdict.rejected.raw.marks[column].rows.tolist() == [0]
    assert verdict.rejected.raw.marks[column].raw == (b"\xff",)
    assert verdict.rows.tolist() == [0]


def test_an_allowed_nan_is_kept_as_a_mark_and_an_infinity_is_not() -> None:
    verdict = check("uu", [ROW | {"weight": float("nan")}, ROW | {"weight": float("inf")}])
    assert broken(verdict) == [[("infinity", "weight")]]
    assert verdict.events.column("weight").to_pylist() == [None]
    assert verdict.events.column("_marks").to_pylist() == [[{"field": "weight", "kind": Mark.NAN, "raw": None}]]


def test_a_delete_is_judged_on_its_key_alone() -> None:
    verdict = check("dd", [{"doc": "D1", "line": 1, "text": "x"}, {"doc": "D1"}])
    assert broken(verdict) == [[("key", "line")]]
    assert verdict.events.to_pylist()[0]["_key"] == "D1,1"
    assert verdict.events.column("text").to_pylist() == [None]


def test_truncates_and_gaps_pass_without_fields() -> None:
    verdict = check("tg", [{}, {}])
    assert broken(verdict) == []
    assert verdict.events.column("_key").to_pylist() == [None, None]


def test_a_key_is_added_once_until_it_is_deleted_or_the_table_truncated() -> None:
    assert broken(check("cuuc", [ROW] * 4)) == [[("unique", None)]]
    assert broken(check("cdc", [ROW] * 3)) == []
    assert broken(check("ctc", [ROW, {}, ROW])) == []


def test_arithmetic_beyond_38_digits_rejects_only_its_row() -> None:
    rows = [ROW | {"line": n} for n in range(9)]
    rows[4] |= {"a": Decimal(10) ** 37, "b": Decimal(100)}
    verdict = check("c" * 9, rows)
    assert broken(verdict) == [[("type", None)]]
    assert verdict.rows.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert verdict.events.column("product").to_pylist() == [Decimal(6)] * 8


def test_every_rule_a_row_broke_is_named_and_the_raw_row_kept_whole() -> None:
    verdict = check("c", [ROW | {"doc": "x", "text": "x"}])
    assert broken(verdict) == [[("minLength", "text"), ("text_is_not_doc", None)]]
    assert verdict.rejected is not None
    assert verdict.rejected.keys == ("x,1",)
    assert verdict.rejected.raw.columns.to_pylist()[0]["text"] == "x"


def test_a_null_condition_passes_as_in_sql() -> None:
    assert broken(check("c", [ROW | {"text": None}])) == [[("required", "text")]]


def test_parts_of_a_key_are_escaped_so_that_no_two_keys_share_a_text() -> None:
    verdict = check("ccc", [ROW | {"doc": "a,b"}, ROW | {"doc": "a%2Cb"}, ROW])
    assert verdict.events.column("_key").to_pylist() == ["a%2Cb,1", "a%252Cb,1", "D1,1"]


def test_rows_taken_from_a_batch_keep_their_marks() -> None:
    batch = raw("uuu", [ROW] * 3, {"text": mark(2, Mark.UNREADABLE, b"x"), "a": mark(0, Mark.NAN)})
    taken = batch.take(np.array([1, 2]))
    assert list(taken.marks) == ["text"]
    assert taken.marks["text"].rows.tolist() == [1]


def test_a_level_keeps_its_beginning_while_its_state_lasts() -> None:
    target, noon = ValidityLevel(1.0, 3600), dt.datetime(2025, 1, 1, 12, tzinfo=dt.UTC)
    ok = levels.judge(target, (99, 1), now=noon)
    still = levels.judge(target, (990, 1), now=noon + dt.timedelta(minutes=1), before=ok)
    lost = levels.judge(target, (98, 2), now=noon + dt.timedelta(minutes=2), before=still)
    assert [(level.ok, level.since.minute) for level in (ok, still, lost)] == [(True, 0), (True, 0), (False, 2)]
    assert levels.judge(target, (0, 0), now=noon).ok
