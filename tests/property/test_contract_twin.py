"""The vector check and a plain row-by-row judge give the same verdict on random rows."""
# ruff: noqa: DTZ001 - wall clock readings are the subject

import datetime as dt
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge import yamlfile
from bridge.contract import document, expression, normalise
from bridge.contract.compiled import CompiledContract, Drift, compile_contract
from bridge.contract.compiler import Misfit
from bridge.errors import ConfigError
from bridge.model import CHANGE_COLUMNS, Column, Op, RawBatch, Shape

ORDERS = Path(__file__).parents[2] / "contracts" / "orders.odcs.yaml"
COLUMNS = {
    "ord_no": pa.large_string(), "cust_no": pa.large_string(), "ord_dt": pa.decimal128(7, 0), "sts": pa.large_string(),
    "amt": pa.decimal128(13, 0), "cur": pa.large_string(), "ship_dt": pa.decimal128(7, 0),
    "ext_ref": pa.large_string(), "note": pa.large_string(), "upd_ts": pa.timestamp("us"),
}  # fmt: skip
SHAPE = Shape("sales.oeordh", tuple(Column(name, "", arrow) for name, arrow in COLUMNS.items()))
STATES = {"O": "open", "C": "changed", "S": "shipped", "X": "cancelled"}


def compiled() -> CompiledContract:
    found = compile_contract(document.load(ORDERS), "orders", SHAPE)
    assert isinstance(found, CompiledContract)
    return found


CONTRACT = compiled()


def batch(ops: list[int], rows: list[dict[str, Any]]) -> RawBatch:
    count = len(ops)
    at = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    values: list[Any] = [
        ops,
        [at] * count,
        [1] * count,
        [1] * count,
        range(count),
        [False] * count,
        [None] * count,
        [None] * count,
    ]
    changes = pa.RecordBatch.from_arrays(
        [pa.array(list(value), field.type) for value, field in zip(values, CHANGE_COLUMNS, strict=True)],
        schema=CHANGE_COLUMNS,
    )
    columns = [pa.array([row[name] for row in rows], arrow) for name, arrow in COLUMNS.items()]
    return RawBatch("orders", SHAPE, changes, pa.RecordBatch.from_arrays(columns, names=list(COLUMNS)))


def day(number: Decimal | None) -> dt.date | str | None:
    if number is None or number == 0:
        return None
    text = f"{int(number):07d}"
    if int(number) < 0 or text[0] not in "01":
        return "bad"
    try:
        return dt.date(1900 + 100 * int(text[0]) + int(text[1:3]), int(text[3:5]), int(text[5:]))
    except ValueError:
        return "bad"


def rules_broken(op: int, row: dict[str, Any]) -> set[tuple[str, str | None]]:
    """The contract of orders, as one would write it for a single row."""
    if op == Op.TRUNCATE:
        return set()
    broken: set[tuple[str, str | None]] = set()

    def expect(*, holds: bool, rule: str, field: str | None) -> None:
        if not holds:
            broken.add((rule, field))

    order = row["ord_no"] and row["ord_no"].strip(" ")
    expect(holds=order is not None, rule="key", field="order_id")
    expect(holds=order is None or bool(re.search(r"^[A-Z0-9-]{1,10}\Z", order)), rule="pattern", field="order_id")
    if op == Op.DELETE:
        return broken
    customer = None if row["cust_no"] is None else row["cust_no"].strip(" ")
    expect(holds=customer is not None, rule="required", field="customer_id")
    expect(holds=customer is None or len(customer) >= 1, rule="minLength", field="customer_id")
    expect(holds=customer is None or len(customer) <= 8, rule="maxLength", field="customer_id")
    ordered, shipped = day(row["ord_dt"]), day(row["ship_dt"])
    expect(holds=ordered is not None, rule="required", field="ordered_on")
    expect(holds=ordered != "bad", rule="type", field="ordered_on")
    expect(holds=shipped != "bad", rule="type", field="shipped_on")
    if isinstance(ordered, dt.date):
        expect(holds=ordered >= dt.date(1970, 1, 1), rule="minimum", field="ordered_on")
        if isinstance(shipped, dt.date):
            expect(holds=shipped >= ordered, rule="ships_after_order", field=None)
    expect(holds=row["sts"] is not None, rule="required", field="status")
    expect(holds=row["sts"] is None or row["sts"] in STATES, rule="code", field="status")
    known = shipped if isinstance(shipped, dt.date) else None
    expect(holds=row["sts"] != "S" or known is not None, rule="shipped_has_ship_date", field=None)
    expect(holds=row["sts"] != "X" or known is None, rule="cancelled_never_ships", field=None)
    expect(holds=row["amt"] is not None, rule="required", field="amount")
    expect(holds=row["amt"] is None or row["amt"] >= 0, rule="minimum", field="amount")
    expect(holds=row["cur"] is not None, rule="required", field="currency")
    expect(holds=row["cur"] is None or row["cur"] in {"USD", "CAD", "MXN"}, rule="validValues", field="currency")
    reference = row["ext_ref"] and row["ext_ref"].strip(" ")
    expect(holds=reference is None or len(reference) <= 40, rule="maxLength", field="external_ref")
    at = row["upd_ts"]
    in_gap = at is not None and at.replace(tzinfo=None) == dt.datetime(2025, 3, 9, 2, 30)
    expect(holds=not in_gap, rule="type", field="updated_at")
    return broken


def repeated(ops: list[int], rows: list[dict[str, Any]]) -> set[int]:
    alive: set[str] = set()
    found = set()
    for index, (op, row) in enumerate(zip(ops, rows, strict=True)):
        key = row["ord_no"] and row["ord_no"].strip(" ")
        if op == Op.TRUNCATE:
            alive.clear()
        elif key is None:
            continue
        elif op in {Op.CREATE, Op.READ}:
            if key in alive:
                found.add(index)
            alive.add(key)
        elif op == Op.DELETE:
            alive.discard(key)
    return found


def maybe(*usual: object, rare: list[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.sampled_from(usual), st.sampled_from(usual), st.sampled_from(usual), st.sampled_from(rare))


ROW = st.fixed_dictionaries(
    {
        "ord_no": maybe("A1        ", "A2        ", "A3        ", rare=[None, "a b", "", "ABCDEFGHIJK", "A\n"]),
        "cust_no": maybe("C1      ", rare=[None, "        ", "C23456789"]),
        "ord_dt": maybe(Decimal(1250101), Decimal(991231), rare=[None, Decimal(1250230), Decimal(0), Decimal(500101),
                        Decimal(-1), Decimal(9999999)]),
        "sts": maybe("O", "C", rare=[None, "S", "X", "?"]),
        "amt": maybe(Decimal(0), Decimal(9999999999999), rare=[None, Decimal(-1)]),
        "cur": maybe("USD", "CAD", rare=[None, "EUR"]),
        "ship_dt": maybe(Decimal(0), Decimal(1250201), rare=[None, Decimal(1251301), Decimal(1001231)]),
        "ext_ref": maybe("x", rare=[None, "  ", "é" * 40, "é" * 41]),
        "note": st.sampled_from([None, "n"]),
        "upd_ts": maybe(dt.datetime(2025, 6, 1), rare=[None, dt.datetime(2025, 3, 9, 2, 30),
                        dt.datetime(2025, 11, 2, 1, 30)]),
    }
)  # fmt: skip
OPS = st.sampled_from([int(Op.CREATE), int(Op.UPDATE), int(Op.DELETE), int(Op.READ), int(Op.TRUNCATE)])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(OPS, ROW), min_size=1, max_size=12))
def test_the_vector_check_agrees_with_a_plain_row_by_row_judge(changes: list[tuple[int, dict[str, Any]]]) -> None:
    ops = [op for op, _ in changes]
    rows = [dict.fromkeys(row) if op == Op.TRUNCATE else row for op, row in changes]
    expected = {i: rules_broken(op, row) for i, (op, row) in enumerate(zip(ops, rows, strict=True))}
    for index in repeated(ops, rows):
        expected[index].add(("unique", None))
    for index, broken in expected.items():  # a value that cannot be read is not reported as missing as well
        unread = {field for rule, field in broken if rule in {"type", "code"}}
        expected[index] = {(rule, field) for rule, field in broken if rule != "required" or field not in unread}
    verdict = CONTRACT.check(batch(ops, rows))
    assert verdict.rows.tolist() == [index for index, broken in expected.items() if not broken]
    assert verdict.events.num_rows == len(verdict.rows)
    assert verdict.events.column("_op").to_pylist() == [ops[index] for index in verdict.rows]
    found = [] if verdict.rejected is None else verdict.rejected.breaches
    wanted = [broken for broken in expected.values() if broken]
    assert [{(breach.rule, breach.field) for breach in breaches} for breaches in found] == wanted


PIECES = [
    "ord_no",
    "amt",
    "upd_ts",
    "nope",
    "1",
    "1.5",
    "'x'",
    "null",
    "true",
    "+",
    "-",
    "*",
    "/",
    "%",
    "||",
    "(",
    ")",
    ",",
    "case when",
    "then",
    "else",
    "end",
    "is null",
    "in",
    "between",
    "and",
    "or",
    "not",
    "like",
    "cast(",
    "as",
    "integer",
    "decimal(5,2)",
    "date",
    "round(",
    "trim(",
    "code(",
    "cyymmdd(",
    "implied_decimal(",
    "local_time(",
    "coalesce(",
    "nullif(",
    "extract(",
    "year from",
    "select",
    ";",
    "::",
    "interval",
    "'",
    '"',
    "--",
    "\\",
]


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join)))
def test_any_text_is_compiled_or_refused_and_never_crashes(text: str) -> None:
    try:
        tree = expression.parse(text, place="f:1")
    except ConfigError:
        return
    try:
        normalise.over_table(SHAPE).compile(tree)
    except Misfit:
        return


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_as_yaml_or_refused(text: str) -> None:
    try:
        line = yamlfile.parse(text, file="f").line_of(())
    except ConfigError:
        return
    assert line >= 1


def test_a_lost_column_is_drift_and_names_it() -> None:
    shape = Shape("sales.oeordh", SHAPE.columns[:4])
    found = compile_contract(document.load(ORDERS), "orders", shape)
    assert isinstance(found, Drift)
    assert set(found.columns) == {"amt", "cur", "ship_dt", "ext_ref", "note", "upd_ts"}


@pytest.mark.parametrize("count", [1, 3])
def test_a_clean_batch_passes_whole(count: int) -> None:
    row = {"ord_no": "A", "cust_no": "C", "ord_dt": Decimal(1250101), "sts": "O", "amt": Decimal(1), "cur": "USD",
           "ship_dt": None, "ext_ref": None, "note": None, "upd_ts": None}  # fmt: skip
    verdict = CONTRACT.check(batch([int(Op.CREATE)] * count, [row | {"ord_no": f"A{i}"} for i in range(count)]))
    assert (verdict.rejected, verdict.events.num_rows, verdict.events.schema) == (None, count, CONTRACT.schema)
