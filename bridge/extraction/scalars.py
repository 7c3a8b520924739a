"""Values of key and cursor columns as text that can be stored, exact and with their type."""

import base64
from collections.abc import Sequence

import pyarrow as pa


def pack(values: Sequence[pa.Scalar]) -> str:
    """Values as text."""
    arrays = [pa.array([value.as_py()], value.type) if not _is_time(value) else _time(value) for value in values]
    batch = pa.record_batch(arrays, names=[str(number) for number in range(len(arrays))])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return base64.b64encode(sink.getvalue()).decode()


def unpack(text: str) -> tuple[pa.Scalar, ...]:
    """The values again."""
    with pa.ipc.open_stream(base64.b64decode(text)) as reader:
        batch = reader.read_next_batch()
    return tuple(column[0] for column in batch.columns)


def _is_time(value: pa.Scalar) -> bool:
    return bool(pa.types.is_temporal(value.type))


def _time(value: pa.Scalar) -> pa.Array:
    """Times have more digits, and more years, than Python's."""
    integer = pa.int32() if value.type.bit_width == 32 else pa.int64()  # noqa: PLR2004  a width
    return pa.array([value.cast(integer).as_py()], integer).view(value.type)
