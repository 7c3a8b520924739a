"""CloudEvents from blocks: exact to the specification, and equal to a plain row-by-row twin."""

import base64
import json
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge import tracing
from bridge.export import MARK_WORDS, Envelope, cloudevents, columns
from bridge.model import META, Block, Mark, Op, event_id

FIELDS = pa.schema(
    [
        pa.field("order_no", pa.large_string()),
        pa.field("amount", pa.decimal128(13, 2)),
        pa.field("lines", pa.int64()),
        pa.field("weight", pa.float64()),
        pa.field("open", pa.bool_()),
        pa.field("ordered_on", pa.date32()),
        pa.field("changed_at", pa.timestamp("us", "UTC")),
        pa.field("seen_at", pa.timestamp("us")),
        pa.field("cut_off", pa.time64("us")),
        pa.field("image", pa.large_binary()),
        pa.field("tags", pa.list_(pa.large_string())),
        pa.field("prices", pa.list_(pa.decimal128(9, 4))),
    ]
)
ENVELOPE = Envelope(
    instance="acme",
    type_prefix="com.acme.erp",
    system="erp",
    stream="orders",
    contract_id="orders",
    key_fields=("order_no",),
)
META_DEFAULTS: dict[str, Any] = {
    "_op": int(Op.CREATE),
    "_commit_at": datetime(2026, 11, 2, 3, 4, 5, 678, tzinfo=UTC),
    "_position": 0x16B374D8,
    "_tx": 771,
    "_tx_index": 0,
    "_moved": False,
    "_snapshot": None,
    "_note": None,
    "_key": "A-1",
    "_marks": None,
}


def block_of(*rows: dict[str, Any], first: int = 1, contract: str = "1.2.0") -> Block:
    """A block of orders; each row overrides the defaults, and fields not given are null."""
    blank = dict.fromkeys(FIELDS.names)
    full = [META_DEFAULTS | blank | row for row in rows]
    schema = pa.schema([*META, *FIELDS])
    batch = pa.RecordBatch.from_pylist(full, schema=schema)
    now = datetime(2026, 11, 2, tzinfo=UTC)
    return Block(stream="orders", first=first, epoch=1, contract=contract, journalled_at=now, batch=batch)


def mark(field: str, kind: Mark) -> dict[str, Any]:
    return {"field": field, "kind": int(kind), "raw": None if kind is Mark.UNCHANGED else b"raw"}


def plain_json(value: object) -> object:  # noqa: PLR0911 - one line a type
    """The twin of the columnar conversion, one value at a time."""
    match value:
        case Decimal():
            return str(value)
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%S.%f").rjust(26, "0") + ("Z" if value.tzinfo else "")
        case time():
            return value.strftime("%H:%M:%S.%f")
        case date():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case list():
            return [plain_json(item) for item in value]
        case _:
            return value


def plain_cloudevent(row: dict[str, Any], *, sequence: int, contract: str) -> dict[str, Any]:
    """One event by the letter of the mapping, from one row."""
    op = Op(row["_op"])
    identity = {"op": op, "position": row["_position"], "tx_index": row["_tx_index"], "moved": row["_moved"]}
    own_id = event_id("orders", 1, **identity, snapshot=row["_snapshot"], key=row["_key"])
    wanted = {Op.DELETE: ["order_no"], Op.TRUNCATE: [], Op.GAP: []}.get(op, FIELDS.names)
    marks = [cell for cell in row["_marks"] or [] if op is not Op.DELETE or cell["field"] in wanted]
    unchanged = [cell["field"] for cell in marks if cell["kind"] == Mark.UNCHANGED]
    odd = [f"{cell['field']}={MARK_WORDS[cell['kind']]}" for cell in marks if cell["kind"] != Mark.UNCHANGED]
    absent = {cell["field"] for cell in marks}
    data = {name: plain_json(row[name]) for name in wanted if name not in absent}
    event = {
        "specversion": "1.0",
        "id": own_id,
        "source": "/bridge/acme/erp/orders",
        "type": f"com.acme.erp.orders.{op.word}.v{contract.partition('.')[0]}",
        "subject": row["_key"] or None,
        "time": plain_json(row["_commit_at"]),
        "dataschema": f"https://erp.acme.com/contracts/orders/{contract}/schema.json" if op.name in _FULL else None,
        "sequence": f"{sequence:020}",
        "partitionkey": row["_key"] or None,
        "transactionid": None if row["_tx"] is None else str(row["_tx"]),
        "counterpart": own_id[:-1] + {"d": "c", "c": "d"}[own_id[-1]] if row["_moved"] else None,
        "traceparent": None if op is Op.GAP else json.loads(row["_note"] or "{}").get("traceparent"),
        "unchanged": ",".join(unchanged) or None,
        "marks": ",".join(odd) or None,
        "datacontenttype": "application/json" if data or op is Op.GAP else None,
        "data": json.loads(row["_note"]) if op is Op.GAP else data or None,
    }
    return {name: value for name, value in event.items() if value is not None}


_FULL = ("CREATE", "UPDATE", "READ")
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_FINITE = st.floats(allow_nan=False, allow_infinity=False)
_VALUES = {
    "order_no": _TEXT,
    "amount": st.none() | st.decimals(-(10**10), 10**10, places=2),
    "lines": st.none() | st.integers(-(2**63), 2**63 - 1),
    "weight": st.none() | _FINITE,
    "open": st.none() | st.booleans(),
    "ordered_on": st.none() | st.dates(date(1000, 1, 1)),
    "changed_at": st.none() | st.datetimes(datetime(1000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - a bound
    "seen_at": st.none() | st.datetimes(datetime(1000, 1, 1)),  # noqa: DTZ001 - naive on purpose
    "cut_off": st.none() | st.times(),
    "image": st.none() | st.binary(max_size=8),
    "tags": st.none() | st.lists(st.none() | _TEXT, max_size=3),
    "prices": st.none() | st.lists(st.decimals(-(10**4), 10**4, places=4), max_size=3),
}


_NOTES = st.sampled_from([None, None, tracing.note(f"00-{7:032x}-{9:016x}-01"), '{"found_by": "reread"}'])


@st.composite
def event_rows(draw: st.DrawFn) -> dict[str, Any]:
    """One row as a source and a contract could have made it."""
    op = draw(st.sampled_from(Op))
    row: dict[str, Any] = {"_op": int(op), "_position": draw(st.integers(0, 2**64 - 1))}
    row["_tx_index"] = draw(st.integers(0, 2**32 - 1))
    row["_moved"] = op in (Op.CREATE, Op.DELETE) and draw(st.booleans())
    row["_commit_at"] = draw(_VALUES["changed_at"])
    row["_snapshot"] = draw(st.integers(1, 9)) if op is Op.READ else None
    row["_tx"] = None if op is Op.READ else draw(st.none() | st.integers(0, 2**64 - 1))
    row["_note"] = json.dumps({"cause": draw(_TEXT)}, indent=1) if op is Op.GAP else draw(_NOTES)
    row["_key"] = None if op in (Op.TRUNCATE, Op.GAP) else draw(st.none() | _TEXT)
    if op not in (Op.TRUNCATE, Op.GAP):
        row |= {name: draw(values) for name, values in _VALUES.items()}
        marked = draw(st.dictionaries(st.sampled_from(FIELDS.names[1:]), st.sampled_from(Mark), max_size=3))
        row |= dict.fromkeys(marked)
        row["_marks"] = [mark(field, kind) for field, kind in marked.items()] or None
    return row


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(st.lists(event_rows(), max_size=12), st.integers(1, 10**15))
def test_columnar_events_equal_the_row_by_row_twin(rows: list[dict[str, Any]], first: int) -> None:
    """Whatever rows a block mixes, each event is the one the plain mapping gives, and in order."""
    block = block_of(*rows, first=first, contract="2.0.1")
    expected = [
        plain_cloudevent(META_DEFAULTS | dict.fromkeys(FIELDS.names) | row, sequence=first + index, contract="2.0.1")
        for index, row in enumerate(rows)
    ]
    lines = cloudevents(block, ENVELOPE)
    assert [json.loads(line) for line in lines] == expected
    assert not any(b"\n" in line for line in lines)


def test_a_created_event_is_exact_to_the_mapping() -> None:
    """Every attribute of an ordinary event, spelled out once."""
    (line,) = cloudevents(block_of({"order_no": "A-1", "amount": Decimal("12.50")}, first=17), ENVELOPE)
    event = json.loads(line)
    data = event.pop("data")
    assert event == {
        "specversion": "1.0",
        "id": "orders:1:16B374D8:0",
        "source": "/bridge/acme/erp/orders",
        "type": "com.acme.erp.orders.created.v1",
        "subject": "A-1",
        "time": "2026-11-02T03:04:05.000678Z",
        "dataschema": "https://erp.acme.com/contracts/orders/1.2.0/schema.json",
        "sequence": "00000000000000000017",
        "partitionkey": "A-1",
        "transactionid": "771",
        "datacontenttype": "application/json",
    }
    assert data["amount"] == "12.50"
    assert list(data) == FIELDS.names


def test_an_unchanged_field_is_absent_and_named_never_null() -> None:
    """A consumer can tell "did not change" from "is null"."""
    rows = {"_op": int(Op.UPDATE), "_marks": [mark("image", Mark.UNCHANGED), mark("weight", Mark.NAN)]}
    event = json.loads(cloudevents(block_of(rows), ENVELOPE)[0])
    assert (event["unchanged"], event["marks"]) == ("image", "weight=nan")
    assert not {"image", "weight"} & event["data"].keys()
    assert event["data"]["open"] is None


def test_the_halves_of_a_key_change_name_each_other() -> None:
    """The delete's counterpart is the create's id, and the other way round."""
    halves = block_of(
        {"_op": int(Op.DELETE), "_moved": True, "order_no": "A-1"},
        {"_op": int(Op.CREATE), "_moved": True, "order_no": "A-2", "_key": "A-2"},
    )
    gone, come = (json.loads(line) for line in cloudevents(halves, ENVELOPE))
    assert (gone["counterpart"], come["counterpart"]) == (come["id"], gone["id"])


def test_attribute_names_obey_the_specification() -> None:
    """Names are lower-case letters and digits, at most 20 of them, and every value is text."""
    marked = {"_marks": [mark("image", Mark.UNCHANGED), mark("weight", Mark.NAN)], "_moved": True}
    event = json.loads(cloudevents(block_of(marked), ENVELOPE)[0])
    attributes = {name: value for name, value in event.items() if name != "data"}
    assert all(name.isalnum() and name == name.lower() and len(name) <= 20 for name in attributes)
    assert all(isinstance(value, str) and value for value in attributes.values())


def test_one_key_can_be_asked_for_and_keeps_its_sequence_numbers() -> None:
    """Filtering by key changes neither ids nor sequence numbers."""
    block = block_of({"_key": "A"}, {"_key": "B", "_tx_index": 1}, {"_key": "A", "_tx_index": 2}, first=5)
    events = [json.loads(line) for line in cloudevents(block, ENVELOPE, key="A")]
    assert [int(event["sequence"]) for event in events] == [5, 7]
    assert cloudevents(block, ENVELOPE, key="none such") == []


def test_columns_carry_sequence_id_and_operation_in_words() -> None:
    """A file of events needs no knowledge of our codes."""
    table = columns(block_of({}, {"_op": int(Op.DELETE), "_tx_index": 1}, first=3))
    assert table.column("_seq").to_pylist() == [3, 4]
    assert table.column("_op").to_pylist() == ["created", "deleted"]
    assert table.column("_id").to_pylist() == ["orders:1:16B374D8:0", "orders:1:16B374D8:1"]
    assert table.schema.field("amount").type == pa.decimal128(13, 2)


@pytest.mark.parametrize("value", [math.pi, 1e300, -0.0, 5e-324])
def test_floats_keep_every_bit(value: float) -> None:
    """The shortest text that reads back to the same number."""
    event = json.loads(cloudevents(block_of({"weight": value}), ENVELOPE)[0])
    assert math.copysign(1, event["data"]["weight"]) == math.copysign(1, value)
    assert event["data"]["weight"] == value
