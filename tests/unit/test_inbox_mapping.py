"""Messages become rows of a contract's columns, each exactly once: as an event, or whole in a dead letter."""

import base64
import copy
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import yamlfile
from bridge.contract import document
from bridge.contract.compiled import CompiledContract, compile_contract
from bridge.inbox import cloudevents
from bridge.inbox.cloudevents import BATCH, STRUCTURED, changes
from bridge.inbox.incoming import Incoming
from bridge.inbox.mapping import MESSAGE, Mapper
from bridge.model import Op, RawBatch, Verdict

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
CONTRACT = document.check(
    yamlfile.parse(
        """
apiVersion: v3.1.0
kind: DataContract
id: shop-order
version: 1.0.0
status: active
description: {purpose: Orders of the shop.}
slaProperties: [{property: latency, value: 1, unit: m}]
schema:
  - name: order
    logicalType: object
    properties:
      - {name: id, description: Its number., logicalType: integer, primaryKey: true}
      - {name: customer, physicalName: customer.id, description: Who., logicalType: string, required: true}
      - {name: total, description: Sum., logicalType: number, customProperties: [
          {property: bridge.type, value: "decimal(12,2)"}, {property: bridge.unit, value: EUR}]}
      - {name: weight, description: Mass., logicalType: number, customProperties: [
          {property: bridge.type, value: double}, {property: bridge.unit, value: kg}]}
      - {name: paid, description: Whether paid., logicalType: boolean}
      - {name: day, description: Day., logicalType: date}
      - {name: at, description: When., logicalType: timestamp}
      - {name: local_at, description: When there., logicalType: timestamp, logicalTypeOptions: {timezone: false}}
      - {name: opens, description: Opening., logicalType: time}
      - {name: items, description: What., logicalType: string}
      - {name: quantity, description: How many., logicalType: integer, transformLogic: cast(qty as integer),
         customProperties: [{property: bridge.unit, value: piece}]}
      - {name: state, description: Its state., logicalType: string, transformDescription: As in the shop.,
         transformLogic: "code(status, '1', 'open', '2', 'closed')"}
      - {name: subject, description: Subject., logicalType: string, transformLogic: ce_subject}
""",
        file="order.odcs.yaml",
    )
)
WHOLE = {
    "id": 9007199254740993,
    "customer": {"id": "c-1"},
    "total": "12.50",
    "weight": 0.1,
    "paid": True,
    "day": "2026-03-01",
    "at": "2026-03-01T10:00:00.1234560+02:00",
    "local_at": "2026-03-01T10:00:00",
    "opens": "08:30:00",
    "items": [{"sku": 1, "price": 1.50}],
    "qty": 3,
    "status": 2,
}
REQUIRED = {"id": 1, "customer": {"id": "c"}}
MAPPER = Mapper.of("order", "shop/orders", CONTRACT)
COMPILED = compile_contract(CONTRACT, "order", MAPPER.shape)


def batch(*messages: Incoming) -> RawBatch:
    return MAPPER.batch([each for message in messages for each in changes(message)], first=1)


def judge(*messages: Incoming) -> Verdict:
    assert isinstance(COMPILED, CompiledContract)
    return COMPILED.check(batch(*messages))


def plain(body: Mapping[str, Any] | bytes, **rest: Any) -> Incoming:  # noqa: ANN401  of Incoming
    return Incoming(body if isinstance(body, bytes) else json.dumps(body).encode(), NOW, "application/json", **rest)


def rules(verdict: Verdict) -> list[set[tuple[str, str | None]]]:
    assert verdict.rejected is not None
    return [{(breach.rule, breach.field) for breach in row} for row in verdict.rejected.breaches]


def test_every_kind_of_field_is_filled_with_the_exact_value() -> None:
    verdict = judge(plain(WHOLE))
    assert verdict.rejected is None
    event = verdict.events.to_pylist()[0]
    wanted = {
        "id": 9007199254740993,
        "customer": "c-1",
        "total": Decimal("12.50"),
        "weight": 0.1,
        "paid": True,
        "day": date(2026, 3, 1),
        "at": datetime(2026, 3, 1, 8, 0, 0, 123456, UTC),
        "local_at": datetime(2026, 3, 1, 10),  # noqa: DTZ001  a wall clock reading
        "opens": time(8, 30),
        "items": '[{"sku":1,"price":1.5}]',
        "quantity": 3,
        "state": "closed",
        "subject": None,
        "_op": Op.CREATE,
        "_commit_at": NOW,
    }
    assert {name: event[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", 1.5),
        ("id", 2**63),
        ("id", "one"),
        ("id", {"a": 1}),
        ("total", 1.005),
        ("weight", "heavy"),
        ("weight", True),
        ("paid", 1),
        ("paid", "yes"),
        ("day", "01.03.2026"),
        ("day", "2026-02-30"),
        ("at", "2026-03-01T10:00:00"),
        ("at", "2026-03-01T10:00:00.1234567Z"),
        ("local_at", "2026-03-01T10:00:00Z"),
        ("opens", "25:00:00"),
        ("customer", {"id": "\ud800"}),
    ],
)
def test_a_value_that_is_not_exactly_of_its_type_makes_a_dead_letter_with_its_text(name: str, value: object) -> None:
    body = REQUIRED | {name: value}
    verdict = judge(plain(REQUIRED | {"id": 2}), plain(body))
    assert verdict.rejected is not None
    assert verdict.events.num_rows == 1
    rule = "key" if name == "id" else "unreadable"
    assert rules(verdict) == [{(rule, name)}]
    raw = verdict.rejected.raw
    assert raw.columns.column(MESSAGE).to_pylist() == [json.dumps(body).encode()]
    column = "customer.id" if name == "customer" else name
    assert raw.marks[column].raw[0]


def test_what_is_no_json_object_becomes_a_dead_letter_whole() -> None:
    bodies = [b"", b"\xff\xfe", b'{"id": 1, "id": 2}', b"[" * 10_000, b"[]", b"7", b'{"id": NaN}']
    verdict = judge(plain(REQUIRED), *map(plain, bodies))
    assert verdict.events.num_rows == 1
    assert verdict.rejected is not None
    assert verdict.rejected.raw.columns.column(MESSAGE).to_pylist() == bodies
    assert all(("key", "id") in row and ("required", "customer") not in row for row in rules(verdict))


def test_two_messages_of_one_key_are_two_events_in_one_batch_too() -> None:
    verdict = judge(plain(REQUIRED), plain(REQUIRED | {"status": 1}))
    assert verdict.rejected is None
    assert verdict.events.column("_key").to_pylist() == ["1", "1"]


def test_a_name_with_a_dot_is_a_field_of_its_own_before_it_reaches_into_an_object() -> None:
    found = batch(plain({"id": 1, "customer.id": "own", "customer": {"id": "inner"}}), plain({"id": 2, "customer": 3}))
    assert found.columns.column("customer.id").to_pylist() == ["own", None]


EVENT = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "com.shop.order.updated.v2", "subject": "S",
         "time": "2026-03-01T07:00:00Z"}  # fmt: skip


def test_a_cloudevent_is_read_in_every_mode() -> None:
    structured = Incoming(json.dumps(EVENT | {"data": REQUIRED}).encode(), NOW, f"{STRUCTURED}; charset=utf-8")
    encoded = base64.b64encode(json.dumps(REQUIRED).encode()).decode()
    base64d = Incoming(json.dumps(EVENT | {"data_base64": encoded}).encode(), NOW, STRUCTURED)
    binary = Incoming(json.dumps(REQUIRED).encode(), NOW, "application/json", attributes=EVENT)
    batched = Incoming(json.dumps([EVENT | {"data": REQUIRED}] * 2).encode(), NOW, BATCH)
    for message in (structured, base64d, binary, batched):
        for change in changes(message):
            assert change.op is Op.UPDATE
            assert change.at == datetime(2026, 3, 1, 7, tzinfo=UTC)
            assert change.id == "/shop 7"
        row = batch(message).columns.to_pylist()[0]
        assert (row["id"], row["customer.id"], row["ce_subject"]) == (1, "c", "S")
    assert len(changes(batched)) == 2


def test_a_deleted_event_needs_no_more_than_its_key() -> None:
    event = EVENT | {"type": "order.deleted", "data": {"id": 4}}
    verdict = judge(Incoming(json.dumps(event).encode(), NOW, STRUCTURED))
    assert verdict.rejected is None
    assert verdict.events.column("_op").to_pylist() == [Op.DELETE]
    assert verdict.events.column("_key").to_pylist() == ["4"]


def test_a_batch_loses_none_of_its_events_when_one_cannot_be_read() -> None:
    good, bad = EVENT | {"data": REQUIRED}, {"specversion": "1.0", "data": {"id": 5}}
    verdict = judge(Incoming(json.dumps([good, bad, 3]).encode(), NOW, BATCH, id="b"))
    assert verdict.events.num_rows == 1
    assert verdict.rejected is not None
    kept = verdict.rejected.raw.columns.column(MESSAGE).to_pylist()
    assert [json.loads(body) for body in kept] == [bad, 3]
    assert [each.id for each in changes(Incoming(json.dumps([bad]).encode(), NOW, BATCH, id="b"))] == ["b#0"]


def test_what_is_signed_names_the_message_before_what_is_not() -> None:
    signed = Incoming(json.dumps(REQUIRED).encode(), NOW, "application/json", attributes=EVENT, id="msg_1")
    assert [change.id for change in changes(signed)] == ["msg_1"]


def test_a_long_id_is_remembered_by_its_digest() -> None:
    ids = [changes(plain(REQUIRED, id="x" * length))[0].id for length in (cloudevents.ID_LIMIT, 5000, 5001)]
    assert ids[0] == "x" * cloudevents.ID_LIMIT
    assert ids[1] is not None
    assert len(ids[1]) == 64
    assert ids[1] != ids[2]


def test_stored_messages_are_mapped_again_for_a_contract_that_reads_otherwise() -> None:
    data = copy.deepcopy({**CONTRACT.data, "version": "2.0.0"})
    data["schema"][0]["properties"][0]["logicalType"] = "string"
    mended = document.check(yamlfile.parse(yaml.safe_dump(data), file="order.odcs.yaml"))
    event = EVENT | {"data": {"id": "A-1", "customer": {"id": "c"}}}
    messages = [
        plain({"id": "A-1", "customer": {"id": "c"}}),
        Incoming(json.dumps(event).encode(), NOW, STRUCTURED),
        Incoming(json.dumps([event]).encode(), NOW, BATCH),
        Incoming(json.dumps(event["data"]).encode(), NOW, attributes=EVENT),
        plain(b"no json"),
    ]
    raw = judge(*messages).rejected
    assert raw is not None
    mapper = Mapper.of("order", "shop/orders", mended)
    again = mapper.remake(raw.raw)
    compiled = compile_contract(mended, "order", again.shape)
    assert isinstance(compiled, CompiledContract)
    verdict = compiled.check(again)
    assert verdict.events.column("id").to_pylist() == ["A-1"] * 4
    assert verdict.events.column("subject").to_pylist() == [None, "S", "S", "S"]
    assert verdict.events.column("_position").to_pylist() == [1, 2, 3, 4]
    assert mapper.remake(again) is again


BODIES = st.binary(max_size=60) | st.sampled_from([json.dumps(WHOLE).encode(), b'{"id":1}', b'{"id":"\\ud800"}'])


@settings(deadline=None)
@given(st.lists(BODIES, max_size=6), st.sampled_from(["", "application/json", STRUCTURED, BATCH]))
def test_every_message_is_an_event_or_a_letter(bodies: list[bytes], content_type: str) -> None:
    messages = [Incoming(body, NOW, content_type) for body in bodies]
    said = [change for message in messages for change in changes(message)]
    verdict = judge(*messages)
    lettered = verdict.rejected.raw.row_count if verdict.rejected else 0
    assert verdict.events.num_rows + lettered == len(said)
    if content_type != BATCH:
        assert len(said) == len(bodies)


def test_a_message_keeps_the_trace_it_came_in_with_and_an_event_its_own() -> None:
    asked, own = (f"00-{number:032x}-{number:016x}-01" for number in (1, 2))
    event = {"specversion": "1.0", "id": "1", "source": "/a", "type": "b", "data": {"id": 2}, "traceparent": own}
    body = json.dumps(event).encode()
    changes = batch(
        plain({"id": 1}, traceparent=asked),
        Incoming(body, NOW, "application/cloudevents+json", traceparent=asked),
        plain({"id": 3}, traceparent="no trace"),
        plain({"id": 4}),
        plain(b"no json", traceparent=asked),
    ).changes
    assert changes.column("_note").to_pylist() == [
        *(f'{{"traceparent": "{trace}"}}' for trace in (asked, own)), None, None, f'{{"traceparent": "{asked}"}}',
    ]  # fmt: skip


def test_the_trace_of_an_accepted_message_is_with_its_event() -> None:
    verdict = judge(plain(WHOLE, traceparent=f"00-{1:032x}-{1:016x}-01"))
    assert verdict.events.column("_note").to_pylist() == [f'{{"traceparent": "00-{1:032x}-{1:016x}-01"}}']
