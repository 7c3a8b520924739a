"""Columns an event holds as they stand: handed on, never changed, and held to every rule all the same."""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa

from bridge import yamlfile
from bridge.contract import document
from bridge.contract.compiled import CompiledContract, compile_contract
from bridge.model import CHANGE_COLUMNS, Column, RawBatch, Shape, Verdict

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: handed-on
version: 1.0.0
description: {purpose: Columns as they stand.}
slaProperties: [{property: errorRate, value: 1, unit: percent}]
schema:
  - name: orders
    properties:
      - {name: id, description: Key., logicalType: integer, primaryKey: true}
      - {name: price, description: Price., logicalType: number,
         customProperties: [{property: bridge.type, value: "decimal(5,2)"}, {property: bridge.unit, value: USD}]}
      - {name: cents, description: Point put in., logicalType: number, transformLogic: "implied_decimal(whole, 2)",
         customProperties: [{property: bridge.type, value: "decimal(9,2)"}, {property: bridge.unit, value: USD}]}
      - {name: made_on, description: Day., logicalType: date, required: true}
      - {name: kind, description: Always the same., logicalType: string, transformLogic: "'order'"}
"""
COLUMNS = {"id": pa.int32(), "price": pa.decimal128(7, 2), "whole": pa.decimal128(9, 0), "made_on": pa.date32()}
SHAPE = Shape("orders", tuple(Column(name, "", arrow) for name, arrow in COLUMNS.items()))
ROW = {"id": 1, "price": Decimal("1.50"), "whole": Decimal(150), "made_on": dt.date(2025, 1, 1)}


def batch(rows: list[dict[str, Any]], columns_as: Mapping[str, pa.DataType] = COLUMNS) -> RawBatch:
    count = len(rows)
    values: list[list[Any]] = [[ord("c")] * count, [None] * count, [1] * count, [1] * count, list(range(count)),
                               [False] * count, [None] * count, [None] * count]  # fmt: skip
    changes = [pa.array(value, field.type) for value, field in zip(values, CHANGE_COLUMNS, strict=True)]
    columns = [pa.array([row[name] for row in rows], arrow) for name, arrow in columns_as.items()]
    shape = Shape("orders", tuple(Column(name, "", arrow) for name, arrow in columns_as.items()))
    return RawBatch("orders", shape, pa.RecordBatch.from_arrays(changes, schema=CHANGE_COLUMNS),
                    pa.RecordBatch.from_arrays(columns, names=list(COLUMNS)))  # fmt: skip


def check(raw: RawBatch) -> Verdict:
    contract = compile_contract(document.check(yamlfile.parse(CONTRACT, file="c")), "orders", raw.shape)
    assert isinstance(contract, CompiledContract)
    return contract.check(raw)


def broken(verdict: Verdict) -> list[list[tuple[str, str | None]]]:
    rejected = verdict.rejected
    return [] if rejected is None else [[(b.rule, b.field) for b in row] for row in rejected.breaches]


def test_numbers_of_64_bits_without_a_sign_are_read() -> None:
    unsigned = {**COLUMNS, "id": pa.uint64(), "whole": pa.uint64()}
    most = (1 << 63) - 1
    rows = [ROW | {"id": number, "whole": 150} for number in (1, most, most + 1)]
    verdict = check(batch(rows, unsigned))
    assert verdict.events.column("_key").to_pylist() == ["1", str(most)]
    assert verdict.events.column("cents").to_pylist() == [Decimal("1.50")] * 2
    assert broken(verdict) == [[("type", "id"), ("key", "id")]]


def test_columns_of_a_clean_batch_are_handed_on_without_a_copy() -> None:
    raw = batch([ROW])
    events = check(raw).events
    for name, field in (("made_on", "made_on"), ("whole", "cents"), ("price", "price")):
        assert events.column(field).buffers()[-1].address == raw.columns.column(name).buffers()[-1].address


def test_a_part_of_a_batch_keeps_its_own_values() -> None:
    raw = batch([ROW | {"id": n, "whole": Decimal(n)} for n in range(4)])
    part = RawBatch("orders", SHAPE, raw.changes.slice(2), raw.columns.slice(2))
    events = check(part).events
    assert events.column("cents").to_pylist() == [Decimal("0.02"), Decimal("0.03")]
    assert events.column("_key").to_pylist() == ["2", "3"]


def test_a_number_key_added_twice_in_order_is_found() -> None:
    assert broken(check(batch([ROW, ROW, ROW | {"id": 2}]))) == [[("unique", None)]]
    assert broken(check(batch([ROW | {"id": n} for n in (3, 1, 2)]))) == []


def test_a_column_with_more_digits_than_its_field_is_held_to_the_field_s() -> None:
    assert broken(check(batch([ROW | {"price": Decimal("1000.00")}]))) == [[("type", "price")]]


def test_a_rule_on_a_column_that_is_only_handed_on_is_named_beside_others() -> None:
    verdict = check(batch([ROW | {"made_on": None}, ROW, ROW | {"id": 2}]))
    assert broken(verdict) == [[("required", "made_on")], [("unique", None)]]
    assert verdict.events.column("kind").to_pylist() == ["order"]
