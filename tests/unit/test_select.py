"""Selections: what a receiver's filter, fields and released classifications let through."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from bridge import yamlfile
from bridge.contract import document
from bridge.contract.compiled import schema_of
from bridge.contract.document import ContractDocument
from bridge.errors import ConfigError
from bridge.model import META, Block, Mark, Op
from bridge.select import Selection

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: orders
version: 1.2.0
description: {purpose: Orders.}
slaProperties: [{property: errorRate, value: 1, unit: percent}]
schema:
  - name: orders
    properties:
      - {name: order_id, description: Number., logicalType: string, primaryKey: true, primaryKeyPosition: 1}
      - {name: status, description: State., logicalType: string, classification: Public}
      - {name: lines, description: Lines., logicalType: integer,
         customProperties: [{property: bridge.unit, value: none}]}
      - name: amount
        description: Value.
        logicalType: number
        customProperties: [{property: bridge.type, value: "decimal(38,2)"}, {property: bridge.unit, value: USD}]
      - {name: customer, description: Who., logicalType: string, classification: Confidential}
      - {name: tax_no, description: Tax number., logicalType: string, classification: secret}
"""
ROW: dict[str, Any] = {
    "_op": int(Op.CREATE), "_commit_at": datetime(2026, 11, 2, tzinfo=UTC), "_position": 1, "_tx": 7, "_tx_index": 0,
    "_moved": False, "_snapshot": None, "_note": None, "_key": "A1", "_marks": None, "order_id": "A1",
    "status": "open", "lines": 3, "amount": Decimal("9.50"), "customer": "C1", "tax_no": "T1",
}  # fmt: skip


def contract(text: str = CONTRACT) -> ContractDocument:
    return document.check(yamlfile.parse(text, file="c.yaml"))


ORDERS = contract()


def block_of(*rows: dict[str, Any], schema: pa.Schema | None = None, version: str = "1.2.0") -> Block:
    batch = pa.RecordBatch.from_pylist([ROW | row for row in rows], schema=schema or schema_of(ORDERS))
    return Block("orders", 11, 1, version, datetime(2026, 11, 2, tzinfo=UTC), batch)


def delete(key: str) -> dict[str, Any]:
    blank = dict.fromkeys(("status", "lines", "amount", "customer", "tax_no"))
    return {"_op": int(Op.DELETE), "_key": key, "order_id": key, **blank}


def passed(selection: Selection, *rows: dict[str, Any]) -> list[int]:
    numbers: list[int] = selection.apply(block_of(*rows)).numbers.tolist()
    return [number - 11 for number in numbers]


def refusal(**wishes: Any) -> ConfigError:  # noqa: ANN401 - any argument
    with pytest.raises(ConfigError) as caught:
        Selection.compile(wishes.pop("document", ORDERS), place="bridge.yaml:7: sinks.crm", **wishes)
    assert caught.value.detail.startswith("bridge.yaml:7: sinks.crm: ")
    return caught.value


def test_without_wishes_a_receiver_sees_every_event_and_every_public_field() -> None:
    rows = Selection.compile(ORDERS).apply(block_of({}, {"status": None}))
    assert rows.numbers.tolist() == [11, 12]
    assert rows.batch.schema.names == [*META.names, "order_id", "status", "lines", "amount"]
    assert rows.withheld == ("customer", "tax_no")


def test_a_released_classification_is_shown_whatever_its_case() -> None:
    rows = Selection.compile(ORDERS, release=["CONFIDENTIAL"]).apply(block_of({}))
    assert rows.batch.column("customer").to_pylist() == ["C1"]
    assert rows.withheld == ("tax_no",)


def test_chosen_fields_come_with_the_key_and_only_they_count_as_withheld() -> None:
    rows = Selection.compile(ORDERS, fields=["lines", "tax_no"]).apply(block_of({}))
    assert rows.batch.schema.names[len(META) :] == ["order_id", "lines"]
    assert rows.withheld == ("tax_no",)


def test_where_nothing_is_cut_nothing_is_copied() -> None:
    block = block_of({}, {})
    selection = Selection.compile(ORDERS, filter="lines > 1", release=["confidential", "secret"])
    assert selection.apply(block).batch is block.batch


def test_an_event_is_left_out_only_when_the_filter_is_false() -> None:
    selection = Selection.compile(ORDERS, filter="status = 'open' and lines > 1")
    assert passed(selection, {}, {"lines": 1}, {"status": "closed"}, {"lines": None}, {"status": None}) == [0, 3, 4]


def test_truncates_and_gaps_always_pass() -> None:
    nothing = dict.fromkeys(("_key", "order_id", "status", "lines", "amount", "customer", "tax_no"))
    selection = Selection.compile(ORDERS, filter="status is not null and order_id is not null")
    assert passed(selection, nothing | {"_op": int(Op.TRUNCATE)}, nothing | {"_op": int(Op.GAP)}, nothing) == [0, 1]


def test_a_delete_is_judged_by_its_key_alone() -> None:
    selection = Selection.compile(ORDERS, filter="status is not null and order_id like 'A%'")
    assert passed(selection, delete("A1"), delete("B1")) == [0]


def test_a_marked_cell_is_unknown() -> None:
    marks = [{"field": "status", "kind": int(Mark.UNCHANGED), "raw": None}]
    other = [{"field": "lines", "kind": int(Mark.UNCHANGED), "raw": None}]
    selection = Selection.compile(ORDERS, filter="status is not null")
    assert passed(selection, {"status": None, "_marks": marks}, {"status": None, "_marks": other}) == [0]


def test_what_the_filter_cannot_compute_passes() -> None:
    nines = Decimal("9" * 36 + ".99")
    assert passed(Selection.compile(ORDERS, filter="amount * 1000 < 1"), {"amount": nines}, {}, {"amount": nines}) == [
        0,
        2,
    ]
    failing = Selection.compile(ORDERS, filter="cast(status as integer) is not null and lines > 5")
    assert passed(failing, {"status": "x", "lines": 6}, {"status": "x"}, {"status": "4", "lines": 9}) == [0, 2]


def test_marks_of_fields_that_are_not_shown_leave_with_them() -> None:
    secret = {"field": "tax_no", "kind": int(Mark.UNREADABLE), "raw": b"SSN"}
    shown = {"field": "lines", "kind": int(Mark.UNREADABLE), "raw": b"x"}
    rows = Selection.compile(ORDERS).apply(
        block_of({"_marks": [secret, shown]}, {}, {"_marks": [secret]}, {"_marks": [shown, shown]})
    )
    assert rows.batch.column("_marks").to_pylist() == [[shown], None, None, [shown, shown]]


def test_marks_are_cut_in_a_block_that_is_a_slice() -> None:
    secret = {"field": "tax_no", "kind": int(Mark.UNREADABLE), "raw": b"SSN"}
    shown = {"field": "lines", "kind": int(Mark.UNREADABLE), "raw": b"x"}
    whole = block_of({"_marks": [shown, shown]}, {"_marks": [secret, shown]}, {"_marks": [secret]})
    block = Block("orders", 12, 1, "1.2.0", whole.journalled_at, whole.batch.slice(1))
    assert Selection.compile(ORDERS).apply(block).batch.column("_marks").to_pylist() == [[shown], None]
    assert Selection.compile(ORDERS, filter="lines is null").apply(block).numbers.tolist() == [12]


def test_an_older_version_is_judged_by_what_it_has() -> None:
    older = pa.schema(
        [*META, pa.field("order_id", pa.large_string()), pa.field("lines", pa.large_string()),
         pa.field("nickname", pa.large_string()), pa.field("customer", pa.large_string())]
    )  # fmt: skip
    block = block_of({"lines": "three", "nickname": "Joe"}, {"order_id": "B1", "lines": "0"}, schema=older)
    selection = Selection.compile(ORDERS, filter="status = 'open' and lines > 1 and order_id = 'A1'")
    rows = selection.apply(block)
    assert rows.numbers.tolist() == [11]  # neither status nor a number of lines is there: only the key decides
    assert rows.batch.schema.names[len(META) :] == ["order_id", "lines"]
    assert rows.withheld == ("nickname", "customer")  # nobody says that a forgotten field is public


def test_unknown_fields_are_named_with_those_there_are() -> None:
    assert "`nope` is not in the contract orders" in (error := refusal(fields=["lines", "nope"])).detail
    assert "order_id, status, lines" in error.hint
    assert "`a`, `b` are not in the contract orders" in refusal(filter="a = b and lines > 1").detail


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lines + 1", "a condition is expected"),
        ("lines = ", "is not a SQL expression"),
        ("lines > 'many'", "a literal is not a integer"),
        ("true", "reads no field"),
        ("null", "reads no field"),
        ("status = 'open' and lines", "a condition is expected"),
        ("lines > (select 1)", "is not available here"),
    ],
)
def test_a_filter_that_is_no_condition_is_refused(text: str, says: str) -> None:
    assert says in refusal(filter=text).detail


def test_a_filter_may_not_tell_what_is_withheld() -> None:
    assert "tax_no, classified secret" in refusal(filter="tax_no = 'T1'", release=["confidential"]).detail
    rows = Selection.compile(ORDERS, filter="tax_no = 'T1'", fields=["lines"], release=["secret"]).apply(block_of({}))
    assert rows.batch.schema.names[len(META) :] == ["order_id", "lines"]


def test_a_classified_key_must_be_released() -> None:
    keyed = contract(CONTRACT.replace("{name: order_id,", "{name: order_id, classification: internal,"))
    assert (
        "`order_id` is in the key, which every event shows, and classified internal" in refusal(document=keyed).detail
    )
    assert Selection.compile(keyed, release=["internal"]).apply(block_of({})).row_count == 1
