"""The image of a stream as it is stored: blocks of typed keys and hashes, and lists of numbers.

A block of rows has the key columns as the system gave them, then the hash of the row, then that of its cursor; a row
without a whole key has in its place which it is of those that are equal.
"""

import json
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa

from bridge.extracted import ImageBlock
from bridge.extraction import fingerprint
from bridge.extraction.fingerprint import Hashes
from bridge.extraction.index import GONE, Index, Level, Numbers
from bridge.model import Column, Shape

_RANGES = pa.schema([pa.field("first", pa.uint32()), pa.field("count", pa.uint32())])


def rows_block(
    stream: str, generation: int, first: int, *, keys: list[pa.Array], hashes: tuple[Hashes, Hashes]
) -> ImageBlock:
    """Rows numbered from `first`: their keys, and the hashes of row and cursor."""
    arrays = [*keys, pa.array(hashes[0]), pa.array(hashes[1])]
    return ImageBlock(stream, generation, "rows", first, pa.record_batch(arrays, names=_names(len(keys))))


def numbers_block(stream: str, generation: int, numbers: Numbers, *, seen: bool) -> ImageBlock:
    """A list of numbers in order, as ranges."""
    edges = np.flatnonzero(np.diff(numbers.astype(np.int64), prepend=-2) != 1)
    counts = np.diff(edges, append=len(numbers)).astype(np.uint32)
    batch = pa.record_batch([pa.array(numbers[edges], pa.uint32()), pa.array(counts)], schema=_RANGES)
    return ImageBlock(stream, generation, "seen" if seen else "gone", 0, batch)


def numbers_of(block: ImageBlock) -> Numbers:
    """The list again."""
    first, counts = (block.batch.column(at).to_numpy().astype(np.int64) for at in range(2))
    before = np.cumsum(counts) - counts
    numbers: Numbers = (np.arange(int(counts.sum())) - np.repeat(before - first, counts)).astype(np.uint32)
    return numbers


def shape_block(stream: str, generation: int, shape: Shape) -> ImageBlock:
    """The columns of the system's table or view; deletes have them too."""
    types = json.dumps([shape.table, *(column.type for column in shape.columns)])
    schema = pa.schema([pa.field(column.name, column.arrow) for column in shape.columns], metadata={"shape": types})
    batch = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
    return ImageBlock(stream, generation, "shape", 0, batch)


def shape_of(block: ImageBlock) -> Shape:
    """The columns again."""
    table, *types = json.loads(block.batch.schema.metadata[b"shape"])
    fields = zip(block.batch.schema, types, strict=True)
    return Shape(table, tuple(Column(field.name, name, field.type) for field, name in fields))


def keys_of(batch: pa.RecordBatch) -> list[pa.Array]:
    """The key columns of rows as they are stored."""
    return list(batch.columns[:-2])


def hashes_of(block: ImageBlock) -> tuple[Hashes, Hashes]:
    """The hashes of row and cursor of a block of rows."""
    row, cursor = (column.to_numpy() for column in block.batch.columns[-2:])
    return row, cursor


def names_of_rows(keys: list[pa.Array], row: Hashes, rank: Hashes) -> tuple[Hashes, Hashes]:
    """What rows are found by: their keys; where a part of it is null, or there is none, what is in them."""
    is_whole = whole_keys(keys, len(row))
    if is_whole is None:
        return fingerprint.keys(keys)
    without = fingerprint.of_rank(row, rank.astype(np.int64))
    if not keys:
        return without
    first, second = fingerprint.keys(keys)
    return np.where(is_whole, first, without[0]), np.where(is_whole, second, without[1])


def whole_keys(keys: list[pa.Array], count: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]] | None:
    """Which rows have a key without nulls; None: all of them."""
    if not keys:
        return np.zeros(count, np.bool_)
    if not any(key.null_count for key in keys):
        return None
    is_whole = np.ones(count, np.bool_)
    for key in keys:
        is_whole &= key.is_valid().to_numpy(zero_copy_only=False)
    return is_whole


def load(blocks: Iterable[ImageBlock], *, until: int, name: Callable[[list[pa.Array]], list[pa.Array]]) -> Index:
    """The index of stored blocks of rows, gone and seen; `until` is above every number.

    `name` makes of keys what is hashed. Memory: two thirds more than the index while it is made.
    """
    level = Level.empty(until)
    is_held = np.zeros(until, np.bool_)
    for block in blocks:
        if block.part == "rows":
            span = slice(block.first, block.first + block.batch.num_rows)
            level.row[span], level.cursor[span] = hashes_of(block)
            found = names_of_rows(name(keys_of(block.batch)), level.row[span], level.cursor[span])
            level.first[span], level.second[span] = found
            is_held[span] = True
        elif block.part == "gone":
            is_held[numbers_of(block)] = False
        elif block.part == "seen":
            level.seen[numbers_of(block)] = True
    if not is_held.all():
        level.take(np.flatnonzero(is_held))
    level.take(fingerprint.in_order(level.first))
    return Index([level])


def copied(
    blocks: Iterable[ImageBlock], index: Index, *, until: int, generation: int, rows: int
) -> Iterator[ImageBlock]:
    """Blocks of `rows` rows or more with what the image still holds, numbered from 0 without gaps, in its order."""
    is_held = index.held(until=until)
    waiting: list[pa.RecordBatch] = []
    stream, first, size = "", 0, 0
    for block in blocks:
        stream = block.stream
        kept = block.batch.filter(pa.array(is_held[block.first : block.first + block.batch.num_rows]))
        if size >= rows or (size and waiting[0].schema != kept.schema):
            yield ImageBlock(stream, generation, "rows", first, pa.concat_batches(waiting))
            first, size, waiting = first + size, 0, []
        if kept.num_rows:
            waiting.append(kept)
        size += kept.num_rows
    if size:
        yield ImageBlock(stream, generation, "rows", first, pa.concat_batches(waiting))


def renumbered(index: Index, *, until: int) -> Numbers:
    """By number, what it becomes in a copy."""
    is_held = index.held(until=until)
    numbers = (np.cumsum(is_held) - 1).astype(np.uint32)
    numbers[~is_held] = GONE
    return numbers


def _names(key_count: int) -> list[str]:
    return [*(f"key{place}" for place in range(key_count)), "row", "cursor"]
