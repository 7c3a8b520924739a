"""Values at the edges of legacy types: each is kept exactly, or rejects its row by a named rule; none is bent."""
# ruff: noqa: DTZ001 - wall clock readings are the subject

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bridge import yamlfile
from bridge.contract import document
from bridge.contract.compiled import CompiledContract, compile_contract
from bridge.model import CHANGE_COLUMNS, Column, Mark, Marks, RawBatch, Shape, Verdict

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: extremes
version: 1.0.0
description: {purpose: Values at the edges.}
slaProperties: [{property: errorRate, value: 1, unit: percent}]
schema:
  - name: extremes
    properties:
      - {name: day, description: Key., logicalType: date, primaryKey: true}
      - {name: fine, description: Thirty decimals., logicalType: number,
         customProperties: [{property: bridge.type, value: "decimal(38,30)"}, {property: bridge.unit, value: none}]}
      - {name: money, description: Two decimals., logicalType: number, transformLogic: "cast(free as decimal(13,2))",
         customProperties: [{property: bridge.type, value: "decimal(13,2)"}, {property: bridge.unit, value: USD}]}
      - {name: ratio, description: Double., logicalType: number, transformLogic: cast(free as double precision),
         customProperties: [{property: bridge.type, value: double}, {property: bridge.unit, value: none}]}
      - {name: cents, description: Point put in., logicalType: number, transformLogic: "implied_decimal(whole, 2)",
         customProperties: [{property: bridge.type, value: "decimal(38,2)"}, {property: bridge.unit, value: USD}]}
      - {name: due, description: May be never., logicalType: date,
         customProperties: [{property: bridge.allow, value: [infinity]}]}
      - {name: until, description: Must be a day., logicalType: date}
      - {name: month, description: Month of until., logicalType: date, transformLogic: "date_trunc('month', until)"}
      - {name: year, description: Year of until., logicalType: integer, transformLogic: extract(year from until),
         customProperties: [{property: bridge.unit, value: years}]}
      - {name: at, description: Berlin., logicalType: timestamp, transformLogic: "local_time(clock, 'Europe/Berlin')"}
"""
COLUMNS = {"day": pa.date32(), "fine": pa.decimal128(38, 30), "free": pa.large_string(),
           "whole": pa.decimal128(38, 0), "due": pa.date32(), "until": pa.date32(),
           "clock": pa.timestamp("us")}  # fmt: skip
SHAPE = Shape("extremes", tuple(Column(name, "", arrow) for name, arrow in COLUMNS.items()))
BC = int((np.datetime64("-0043-03-15") - np.datetime64("1970-01-01")).astype(np.int64))
FAR = 2_145_000_000  # days after 1970: beyond year 5,870,000, which PostgreSQL still holds


def check(rows: list[dict[str, Any]], marks: dict[str, Marks] | None = None) -> Verdict:
    contract = compile_contract(document.check(yamlfile.parse(CONTRACT, file="c")), "extremes", SHAPE)
    assert isinstance(contract, CompiledContract)
    count = len(rows)
    values: list[list[Any]] = [[ord("u")] * count, [None] * count, [1] * count, [1] * count, list(range(count)),
                               [False] * count, [None] * count, [None] * count]  # fmt: skip
    changes = [pa.array(value, field.type) for value, field in zip(values, CHANGE_COLUMNS, strict=True)]
    columns = []
    for name, arrow in COLUMNS.items():
        cells = [row.get(name, 0 if name == "day" else None) for row in rows]
        columns.append(pa.array(cells, pa.int32()).cast(arrow) if arrow == pa.date32() else pa.array(cells, arrow))
    return contract.check(RawBatch("extremes", SHAPE, pa.RecordBatch.from_arrays(changes, schema=CHANGE_COLUMNS),
                                   pa.RecordBatch.from_arrays(columns, names=list(COLUMNS)), marks or {}))  # fmt: skip


def broken(verdict: Verdict) -> list[set[tuple[str, str | None]]]:
    rejected = verdict.rejected
    return [] if rejected is None else [{(b.rule, b.field) for b in row} for row in rejected.breaches]


@pytest.mark.parametrize("text", ["1e400", "1" * 400, "-" + "9" * 39 + ".00", "1e-400", "0x10", "1_000", "NaN"])
def test_a_number_no_decimal_holds_rejects_its_row(text: str) -> None:
    verdict = check([{"free": "1.50"}, {"free": text}])
    assert ("type", "money") in broken(verdict)[0]
    assert verdict.events.column("money").to_pylist() == [Decimal("1.50")]


def test_a_number_no_double_holds_rejects_its_row_and_never_becomes_infinite() -> None:
    assert ("type", "ratio") in broken(check([{"free": "1e400"}]))[0]


def test_thirty_decimals_pass_exactly_and_two_decimals_refuse_the_third() -> None:
    fine = [Decimal("1." + "0" * 29 + "1"), Decimal("-99999999." + "9" * 30)]
    assert check([{"fine": value} for value in fine]).events.column("fine").to_pylist() == fine
    assert broken(check([{"free": "1.500"}, {"free": "1.505"}, {"free": "0." + "0" * 29 + "1"}])) == [
        {("type", "money")}, {("type", "money")}]  # fmt: skip


def test_the_point_is_put_into_thirty_eight_digits_without_losing_one() -> None:
    rows = [{"whole": Decimal(sign + "9" * 38)} for sign in ("", "-")]
    with_point = check([*rows, {}]).events.column("cents").to_pylist()
    assert with_point == [Decimal("9" * 36 + ".99"), Decimal("-" + "9" * 36 + ".99"), None]


def test_a_day_before_christ_passes_as_it_is() -> None:
    events = check([{"day": BC, "until": BC}]).events
    assert events.column("day").cast(pa.int32()).to_pylist() == [BC]
    assert (events.column("_key").to_pylist(), events.column("year").to_pylist()) == (["-0043-03-15"], [-43])


def test_a_day_no_calendar_reaches_rejects_its_row_where_it_is_calculated_with() -> None:
    verdict = check([{"until": FAR}, {"due": FAR}])
    assert broken(verdict) == [{("type", "month"), ("type", "year")}]
    assert verdict.events.column("due").cast(pa.int32()).to_pylist() == [FAR]


def test_a_key_no_calendar_reaches_rejects_only_its_row() -> None:
    verdict = check([{"day": 1}, {"day": FAR}, {"day": 2}])
    assert (broken(verdict), verdict.rows.tolist()) == ([{("type", None)}], [0, 2])


def test_a_wall_clock_no_calendar_reaches_is_a_fault() -> None:
    assert broken(check([{"clock": 2**63 - 10}])) == [{("type", "at")}]


def test_an_infinite_day_is_a_mark_where_the_contract_allows_it_and_a_breach_elsewhere() -> None:
    infinite = Marks(np.array([0]), np.array([Mark.PLUS_INFINITY], np.uint8), (b"infinity",))
    verdict = check([{}, {}], {"due": infinite})
    assert broken(verdict) == []
    assert verdict.events.column("_marks").to_pylist()[0] == [
        {"field": "due", "kind": Mark.PLUS_INFINITY, "raw": b"infinity"}]  # fmt: skip
    assert ("infinity", "until") in broken(check([{}, {}], {"until": infinite}))[0]


def test_an_hour_skipped_in_spring_is_a_breach_and_one_repeated_in_autumn_the_earlier() -> None:
    walls = [dt.datetime(2025, 3, 30, 1, 59, 59), dt.datetime(2025, 3, 30, 2, 30), dt.datetime(2025, 3, 30, 3),
             dt.datetime(2025, 10, 26, 2), dt.datetime(2025, 10, 26, 2, 59, 59),
             dt.datetime(2025, 10, 26, 3)]  # fmt: skip
    verdict = check([{"clock": wall} for wall in walls])
    assert (broken(verdict), verdict.rows.tolist()) == ([{("type", "at")}], [0, 2, 3, 4, 5])
    assert [at.strftime("%d %H:%M:%S") for at in verdict.events.column("at").to_pylist()] == [
        "30 00:59:59", "30 01:00:00", "26 00:00:00", "26 00:59:59", "26 02:00:00"]  # fmt: skip
