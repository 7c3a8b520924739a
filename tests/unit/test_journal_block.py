"""Batches as bytes, and back."""

import decimal
import uuid

import numpy as np
import pyarrow as pa
import pytest

from bridge.errors import InternalError, JournalCorrupt
from bridge.journal import block
from bridge.model import Column, RawBatch, Shape
from tests import journal_samples as sample


def test_a_batch_comes_back_as_it_was() -> None:
    batch = sample.events(count=1_000).batch
    schema = block.unpack_schema(block.pack_schema(batch.schema))
    assert block.unpack(block.pack(batch), schema).equals(batch, check_metadata=True)


def test_a_slice_stores_its_own_rows_only() -> None:
    batch = sample.events(count=5_000).batch
    packed = block.pack(batch.slice(4_990, 3))
    assert block.unpack(packed, batch.schema).equals(batch.slice(4_990, 3))
    assert len(packed.data) < 2_000


def test_types_and_nullability_survive() -> None:
    columns = {
        "uuid": pa.array([uuid.UUID(int=7).bytes, None], pa.binary(16)).cast(pa.binary(16)),
        "wide": pa.array([decimal.Decimal("1e60"), None], pa.decimal256(76, 5)),
        "list": pa.array([[1, None], None], pa.list_(pa.int32())),
        "span": pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
        "none": pa.nulls(2),
    }
    fields = [pa.field(name, column.type, metadata={"unit": "x"}) for name, column in columns.items()]
    batch = pa.record_batch(list(columns.values()), schema=pa.schema(fields))
    schema = block.unpack_schema(block.pack_schema(batch.schema))
    assert schema.equals(batch.schema, check_metadata=True)
    assert block.unpack(block.pack(batch), schema).equals(batch)


def test_a_dictionary_encoded_column_is_refused() -> None:
    with pytest.raises(InternalError):
        block.pack_schema(pa.schema([pa.field("code", pa.dictionary(pa.int8(), pa.string()))]))


def test_a_raw_batch_comes_back_whole() -> None:
    raw = sample.raw(count=50)
    assert sample.same_raw(block.unpack_raw(block.pack_raw(raw)), raw)


def test_a_raw_batch_without_marks_or_rows_comes_back_whole() -> None:
    full = sample.raw(count=2)
    raw = RawBatch("orders", sample.SHAPE, full.changes.slice(0, 0), full.columns.slice(0, 0))
    assert sample.same_raw(block.unpack_raw(block.pack_raw(raw)), raw)


def test_one_row_keeps_only_its_own_marks() -> None:
    raw = sample.raw(count=3)
    assert block.one_row(raw, 1).marks == {}
    last = block.one_row(raw, 2)
    assert {name: (mark.rows.tolist(), mark.raw) for name, mark in last.marks.items()} == {
        "amt": ([0], (b"NaN",)),
        "note": ([0], (None,)),
    }
    assert np.array_equal(last.columns.column("ordno").to_pylist(), ["       2"])


def test_a_shape_keeps_names_of_the_source_and_of_arrow() -> None:
    shape = Shape('odd."Täble"', (Column("a b", "numeric(7)", pa.decimal128(7)), Column("c", "xml", pa.large_string())))
    assert block.unpack_shape(block.pack_shape(shape)) == shape


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_cut_bytes_are_damage(cut: int) -> None:
    batch = sample.events(count=100).batch
    packed = block.pack(batch)
    with pytest.raises(JournalCorrupt):
        block.unpack(block.Packed(packed.data[:-cut], packed.size), batch.schema)
    raw = block.pack_raw(sample.raw())
    with pytest.raises(JournalCorrupt):
        block.unpack_raw(block.Packed(raw.data[:-cut], raw.size))
