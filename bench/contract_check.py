"""Measure the contract check: rows a second in batches of 8,192, and the time of a batch of one.

The same rows and equal rules, each from its natural input: ours reads Arrow columns and gives Arrow columns, the peers
read Python objects that have already been normalised, which flatters them. `run` returns medians over alternating
rounds.
"""

import datetime as dt
import statistics
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal

import jsonschema_rs
import pyarrow as pa
from pydantic import BaseModel, Field, TypeAdapter, model_validator

from bridge import yamlfile
from bridge.contract import document
from bridge.contract.compiled import CompiledContract, compile_contract
from bridge.model import CHANGE_COLUMNS, Column, Op, RawBatch, Shape

BATCH_ROWS = 8_192
MONEY = '[{property: bridge.type, value: "decimal(13,2)"}, {property: bridge.unit, value: USD}]'
CONTRACT = f"""
apiVersion: v3.1.0
kind: DataContract
id: bench
version: 1.0.0
description: {{purpose: Twelve fields under ten rules.}}
slaProperties: [{{property: errorRate, value: 1, unit: percent}}]
schema:
  - name: orders
    properties:
      - {{name: id, description: Key., logicalType: integer, primaryKey: true, logicalTypeOptions: {{minimum: 1}}}}
      - {{name: customer, description: Customer., logicalType: string, transformLogic: trim(customer), required: true,
         logicalTypeOptions: {{pattern: '^C[0-9]{{5}}$'}}}}
      - {{name: ordered_on, description: Day., logicalType: date, transformLogic: cyymmdd(ord_dt), required: true}}
      - {{name: status, description: State., logicalType: string, required: true,
         transformDescription: O open; S shipped.,
         transformLogic: "code(sts, 'O', 'open', 'S', 'shipped')"}}
      - {{name: amount, description: Value., logicalType: number, transformLogic: "implied_decimal(amt, 2)",
         logicalTypeOptions: {{minimum: 0}}, customProperties: {MONEY}}}
      - {{name: tax, description: Tax., logicalType: number, transformLogic: "implied_decimal(tax, 2)",
         customProperties: {MONEY}}}
      - name: currency
        description: Currency.
        logicalType: string
        transformDescription: ISO 4217.
        quality: [{{metric: invalidValues, arguments: {{validValues: [USD, CAD]}}, mustBe: 0}}]
      - {{name: shipped_on, description: Day., logicalType: date, transformLogic: cyymmdd(ship_dt)}}
      - {{name: reference, description: Reference., logicalType: string, logicalTypeOptions: {{maxLength: 40}}}}
      - {{name: note, description: Note., logicalType: string}}
      - {{name: warehouse, description: House., logicalType: integer,
         customProperties: [{{property: bridge.unit, value: none}}]}}
      - {{name: updated_at, description: Touched., logicalType: timestamp}}
    quality:
      - {{name: ships_after_order, description: No earlier., type: custom, engine: bridge,
         implementation: shipped_on >= ordered_on}}
"""
COLUMNS = {
    "id": pa.int64(), "customer": pa.large_string(), "ord_dt": pa.decimal128(7, 0), "sts": pa.large_string(),
    "amt": pa.decimal128(13, 0), "tax": pa.decimal128(13, 0), "currency": pa.large_string(),
    "ship_dt": pa.decimal128(7, 0), "reference": pa.large_string(), "note": pa.large_string(),
    "warehouse": pa.int32(), "updated_at": pa.timestamp("us", "UTC"),
}  # fmt: skip
SHAPE = Shape("sales.orders", tuple(Column(name, "", arrow) for name, arrow in COLUMNS.items()))
AT = dt.datetime(2025, 6, 1, 12, tzinfo=dt.UTC)


class Order(BaseModel):
    """The peer's contract in pydantic."""

    id: Annotated[int, Field(ge=1)]
    customer: Annotated[str, Field(pattern="^C[0-9]{5}$")]
    ordered_on: dt.date
    status: Literal["open", "shipped"]
    amount: Annotated[Decimal, Field(ge=0, max_digits=13, decimal_places=2)]
    tax: Annotated[Decimal, Field(max_digits=13, decimal_places=2)]
    currency: Literal["USD", "CAD"]
    shipped_on: dt.date | None
    reference: Annotated[str, Field(max_length=40)] | None
    note: str | None
    warehouse: int | None
    updated_at: dt.datetime | None

    @model_validator(mode="after")
    def ships_after_order(self) -> "Order":
        """The cross-field rule."""
        if self.shipped_on is not None and self.shipped_on < self.ordered_on:
            raise ValueError("ships before it was ordered")
        return self


SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "customer", "ordered_on", "status", "amount"],
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "customer": {"type": "string", "pattern": "^C[0-9]{5}$"},
        "ordered_on": {"type": "string", "format": "date"},
        "status": {"enum": ["open", "shipped"]},
        "amount": {"type": "number", "minimum": 0},
        "tax": {"type": "number"},
        "currency": {"enum": ["USD", "CAD"]},
        "shipped_on": {"type": ["string", "null"], "format": "date"},
        "reference": {"type": ["string", "null"], "maxLength": 40},
        "note": {"type": ["string", "null"]},
        "warehouse": {"type": ["integer", "null"]},
        "updated_at": {"type": ["string", "null"], "format": "date-time"},
    },
}


def run(rounds: int = 3) -> dict[str, Any]:
    """Medians over `rounds` alternating rounds: rows a second of each, and microseconds of a batch of one."""
    contract = compile_contract(document.check(yamlfile.parse(CONTRACT, file="bench")), "orders", SHAPE)
    if not isinstance(contract, CompiledContract):
        raise TypeError("the bench's contract fits its table")
    many, one = order_batch(BATCH_ROWS), order_batch(1)
    adapter = TypeAdapter(list[Order])
    validator = jsonschema_rs.Draft202012Validator(SCHEMA, validate_formats=True)
    objects = [_row(number, json=False) for number in range(BATCH_ROWS)]
    texts = [_row(number, json=True) for number in range(BATCH_ROWS)]
    ways: dict[str, tuple[Callable[[], object], float]] = {
        "rows_per_s": (lambda: contract.check(many), BATCH_ROWS),
        "pydantic_rows_per_s": (lambda: adapter.validate_python(objects), BATCH_ROWS),
        "jsonschema_rows_per_s": (lambda: [validator.is_valid(text) for text in texts], BATCH_ROWS),
    }
    found: dict[str, list[float]] = {name: [] for name in [*ways, "one_row_us"]}
    for _ in range(rounds):
        for name, (call, rows) in ways.items():
            found[name].append(rows / _seconds(call, repeats=30))
        found["one_row_us"].append(1e6 * _seconds(lambda: contract.check(one), repeats=200))
    medians: dict[str, Any] = {name: statistics.median(values) for name, values in found.items()}
    spread = {name: (max(values) - min(values)) / statistics.median(values) for name, values in found.items()}
    for name, value in medians.items():
        print(f"{name:24} {value:14,.0f}  spread {spread[name]:.0%}")
    return medians | {"spread": spread, "rounds": rounds}


def _seconds(call: Callable[[], object], *, repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def order_batch(count: int) -> RawBatch:
    """So many orders, all of them in order."""
    numbers = range(count)
    changes: list[list[Any]] = [
        [int(Op.CREATE)] * count, [AT] * count, [1] * count, [1] * count, list(numbers), [False] * count,
        [None] * count, [None] * count,
    ]  # fmt: skip
    columns: list[list[Any]] = [
        [n + 1 for n in numbers], [f"C{n % 99999:05}  " for n in numbers], [Decimal(1250101 + n % 28) for n in numbers],
        ["OS"[n % 2] for n in numbers], [Decimal(n * 37) for n in numbers], [Decimal(n) for n in numbers],
        ["USD"] * count, [Decimal(1250301 if n % 2 else 0) for n in numbers], [f"PO-{n}" for n in numbers],
        ["leave at the dock"] * count, [n % 7 for n in numbers], [AT] * count,
    ]  # fmt: skip
    return RawBatch(
        "orders",
        SHAPE,
        pa.RecordBatch.from_arrays(
            [pa.array(value, field.type) for value, field in zip(changes, CHANGE_COLUMNS, strict=True)],
            schema=CHANGE_COLUMNS,
        ),
        pa.RecordBatch.from_arrays(
            [pa.array(value, arrow) for value, arrow in zip(columns, COLUMNS.values(), strict=True)],
            names=list(COLUMNS),
        ),
    )


def _row(n: int, *, json: bool) -> dict[str, Any]:
    day, shipped = dt.date(2025, 1, 1 + n % 28), dt.date(2025, 3, 1) if n % 2 else None
    return {
        "id": n + 1,
        "customer": f"C{n % 99999:05}",
        "ordered_on": day.isoformat() if json else day,
        "status": "shipped" if n % 2 else "open",
        "amount": n * 37 / 100 if json else Decimal(n * 37).scaleb(-2),
        "tax": n / 100 if json else Decimal(n).scaleb(-2),
        "currency": "USD",
        "shipped_on": shipped.isoformat() if json and shipped else shipped,
        "reference": f"PO-{n}",
        "note": "leave at the dock",
        "warehouse": n % 7,
        "updated_at": AT.isoformat() if json else AT,
    }


if __name__ == "__main__":
    run()
