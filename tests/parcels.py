"""Parcels as the delivery loop hands them to sinks, made of orders that count up."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from bridge import export
from bridge.export import Envelope
from bridge.model import META, Mark, Op
from bridge.parcel import Parcel, Rows

FIELDS = pa.schema(
    [
        pa.field("order_id", pa.large_string()),
        pa.field("amount", pa.decimal128(38, 2)),
        pa.field("changed_at", pa.timestamp("us", "UTC")),
        pa.field("seen_at", pa.timestamp("us")),
        pa.field("image", pa.large_binary()),
    ]
)
ENVELOPE = Envelope(
    instance="acme", type_prefix="com.acme.erp", system="erp", stream="orders", contract_id="orders",
    key_fields=("order_id",),
)  # fmt: skip
NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def order(number: int) -> dict[str, Any]:
    """One event; number decides every value."""
    key = f"A{number}"
    marks = [{"field": "image", "kind": int(Mark.UNREADABLE), "raw": b"\x00\xff"}] if number % 7 == 0 else None
    return {
        "_op": int(Op.CREATE), "_commit_at": NOON + timedelta(seconds=number), "_position": 1000 + number,
        "_tx": number, "_tx_index": 0, "_moved": False, "_snapshot": None, "_note": None, "_key": key, "_marks": marks,
        "order_id": key, "amount": Decimal("123456789012345678901234567890123456.78") + number,
        "changed_at": NOON + timedelta(microseconds=number), "seen_at": datetime(1901, 1, 1, 0, 0, 0, number),  # noqa: DTZ001
        "image": None if marks else bytes([number % 256, 0, 255]),
    }  # fmt: skip


def rows(
    numbers: Sequence[int],
    *,
    contract: str = "1.2.0",
    fields: pa.Schema = FIELDS,
    change: Mapping[int, Mapping[str, Any]] | None = None,
) -> Rows:
    """Orders with these sequence numbers.

    Args:
        change: by number, what is different about one.
    """
    listed = [{**order(number), **(change or {}).get(number, {})} for number in numbers]
    batch = pa.RecordBatch.from_pylist(listed, schema=pa.schema([*META, *fields]))
    return Rows("orders", 1, contract, np.array(numbers, np.int64), batch, journalled_at=NOON)


def parcel(numbers: Sequence[int], **rest: Any) -> Parcel:  # noqa: ANN401  those of `rows`
    """A parcel for a sink that wants columns."""
    return Parcel("orders", rows=rows(numbers, **rest))


def messages(numbers: Sequence[int], **rest: Any) -> Parcel:  # noqa: ANN401  those of `rows`
    """A parcel for a sink that wants messages."""
    return Parcel("orders", export.messages(rows(numbers, **rest), ENVELOPE))


def lines(numbers: Sequence[int], **rest: Any) -> Parcel:  # noqa: ANN401  those of `rows`
    """A parcel for a sink that wants lines."""
    shown = rows(numbers, **rest)
    return Parcel("orders", rows=shown, lines=export.joined(shown, ENVELOPE, end="\n"))
