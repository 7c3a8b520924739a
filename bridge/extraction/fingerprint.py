"""Hashes of cells, rows and keys, computed by column.

Promises: the same for the same values for ever, on every machine, whatever page they came in: they are stored. Columns
are told apart by name, so that their order does not matter; a null adds nothing, so that a new column without values
changes no row. Whole numbers hash alike in every width. Not for secrets: who chooses both values can make two that
collide.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bridge.model import Marks

Hashes = NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)  # of the bytes that a last word keeps
_WORD = 8
_PLACES = 16  # words of a cell that are gone through one by one, all rows at once
_KEY_SEEDS = np.uint64(0x243F6A8885A308D3), np.uint64(0x13198A2E03707344)


def rows(columns: pa.RecordBatch, marks: Mapping[str, Marks] | None = None) -> Hashes:
    """One hash a row over all its columns; what is marked counts with its kind and its raw bytes."""
    total = np.zeros(columns.num_rows, np.uint64)
    for name, column in zip(columns.schema.names, columns.columns, strict=True):
        total += cells(column, salt(name))
    for name, mark in (marks or {}).items():
        raw = cells(pa.array(mark.raw, pa.large_binary()), salt(name, b"raw"))
        np.add.at(total, mark.rows, mix(raw + mark.kinds.astype(np.uint64) + salt(name, b"mark")))
    return mix(total)


def keys(columns: Sequence[pa.Array]) -> tuple[Hashes, Hashes]:
    """The two halves of a hash of 128 bits a row over key columns, told apart by place; -0.0 is the key 0.0."""
    columns = [_with_one_zero(column) if pa.types.is_floating(column.type) else column for column in columns]
    halves = []
    for seed in _KEY_SEEDS:
        total = np.zeros(len(columns[0]), np.uint64)
        for place, column in enumerate(columns):
            total += cells(column, salt(str(place), seed.tobytes()))
        halves.append(mix(total))
    return halves[0], halves[1]


def of_rank(row_hashes: Hashes, ranks: NDArray[np.int64]) -> tuple[Hashes, Hashes]:
    """What names a row without a key: what is in it, and which it is of those that are equal."""
    return mix(row_hashes + _KEY_SEEDS[0]), mix(row_hashes + ranks.astype(np.uint64) * _STEP + _KEY_SEEDS[1])


def cells(array: pa.Array, seed: np.uint64) -> Hashes:
    """One hash a cell; 0 where it is null."""
    found = _cells(array, seed)
    if array.null_count:
        found[array.is_null().to_numpy(zero_copy_only=False)] = 0
    return found


def mix(words: Hashes) -> Hashes:
    """Spread each word over all bits, in place (the finalizer of SplitMix64)."""
    words ^= words >> _SHIFTS[0]
    words *= _FIRST
    words ^= words >> _SHIFTS[1]
    words *= _SECOND
    words ^= words >> _SHIFTS[2]
    return words


def in_order(hashes: Hashes) -> NDArray[np.int64]:
    """The stable order of hashes: sorted with their places in their low bits, since numpy sorts values much faster.

    Those that differ in these bits only are few, and sorted again.
    """
    bits = np.uint64(len(hashes).bit_length())
    packed = hashes >> bits << bits
    packed |= np.arange(len(hashes), dtype=np.uint64)
    packed.sort()
    high = packed >> bits
    is_tied = np.zeros(len(hashes) + 1, np.bool_)  # with the one before
    np.equal(high[1:], high[:-1], out=is_tied[1:-1])
    packed &= (np.uint64(1) << bits) - np.uint64(1)
    order: NDArray[np.int64] = packed.view(np.int64)
    tied = np.flatnonzero(is_tied[:-1] | is_tied[1:])
    order[tied] = order[tied].take(np.argsort(hashes[order[tied]], kind="stable"))
    return order


def where(within: tuple[Hashes, Hashes], first: Hashes, second: Hashes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where keys are among others, both as the halves of their hashes and in order of the first.

    Returns: which of the keys are there, and their places; no key is there twice.
    """
    firsts, seconds = within
    at = np.searchsorted(firsts, first)
    np.minimum(at, len(firsts) - 1, out=at)  # what is above all of them is none of them
    inside = np.flatnonzero(firsts.take(at) == first) if len(firsts) else np.empty(0, np.int64)
    place = at.take(inside)
    while True:  # more than one turn only where two keys share half of their hash
        other = seconds.take(place) != second.take(inside)
        if not other.any():
            return inside, place
        place = place + other
        alive = place < len(firsts)
        alive[alive] &= firsts[place[alive]] == first[inside[alive]]
        inside, place = inside[alive], place[alive]


@lru_cache(maxsize=4096)
def salt(name: str, purpose: bytes = b"") -> np.uint64:
    """A number that stands for a name."""
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, salt=purpose).digest(), "little"))


def _cells(array: pa.Array, seed: np.uint64) -> Hashes:
    kind = array.type
    if pa.types.is_null(kind):
        return np.zeros(len(array), np.uint64)
    if isinstance(kind, pa.BaseExtensionType):
        return _cells(array.storage, seed)
    if pa.types.is_dictionary(kind):
        return _cells(array.dictionary_decode(), seed)
    if pa.types.is_struct(kind):
        parts = array.flatten()
        names = [kind.field(number).name for number in range(kind.num_fields)]
        total = np.full(len(array), seed, np.uint64)
        for name, part in zip(names, parts, strict=True):
            total += cells(part, salt(name))
        return mix(total)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        return _lists(array, seed)
    if pa.types.is_boolean(kind) or pa.types.is_float16(kind):
        array = array.cast(pa.uint8() if pa.types.is_boolean(kind) else pa.float32())
    words = _words(array)
    return _texts(array, seed) if words is None else _folded(words, seed)


def _with_one_zero(array: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(array, pa.scalar(0.0, array.type)), pa.scalar(0.0, array.type), array)


def _words(array: pa.Array) -> Hashes | None:
    """The cells as n words each, for types of fixed width; None for the others."""
    kind = array.type
    if pa.types.is_fixed_size_binary(kind) or _is_text(kind):
        return None
    if pa.types.is_floating(kind):
        array = array.cast(pa.float64())
        return _buffer(array, np.dtype(np.uint64), 1)
    width = kind.bit_width // 8
    if width > _WORD:
        return _buffer(array, np.dtype(np.uint64), width // _WORD)
    letter = "u" if pa.types.is_unsigned_integer(kind) else "i"
    values = _buffer(array, np.dtype(f"{letter}{width}"), 1)
    return values.astype(np.int64).view(np.uint64) if letter == "i" else values.astype(np.uint64)


def _buffer(array: pa.Array, dtype: "np.dtype[np.generic]", count: int) -> Hashes:
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return np.zeros((len(array), count), dtype)[:, 0] if count == 1 else np.zeros((len(array), count), dtype)
    size = dtype.itemsize * count
    values = np.frombuffer(buffer, dtype, len(array) * count, array.offset * size)
    return values if count == 1 else values.reshape(len(array), count)


def _folded(words: Hashes, seed: np.uint64) -> Hashes:
    if words.ndim == 1:
        return mix(words + _salted(seed, 1))
    total = np.zeros(len(words), np.uint64)
    for place in range(words.shape[1]):
        total += mix(words[:, place] + _salted(seed, place + 1))
    return mix(total)


def _salted(seed: np.uint64, place: int) -> np.uint64:
    return np.uint64((int(_STEP) * place + int(seed)) % (1 << 64))


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind) or pa.types.is_string_view(kind) or pa.types.is_binary_view(kind)
    )  # fmt: skip


def _texts(array: pa.Array, seed: np.uint64) -> Hashes:
    """The bytes of each cell as little-endian words, the last one filled up with zeros."""
    array = array.cast(pa.large_string() if pa.types.is_string_view(array.type) else array.type)
    array = array if pa.types.is_large_string(array.type) else array.cast(pa.large_binary())
    _, offset_buffer, data_buffer = array.buffers()
    count = len(array)
    if not count or offset_buffer is None:
        return np.zeros(count, np.uint64)
    offsets = np.frombuffer(offset_buffer, np.int64, count + 1, array.offset * 8)
    first, last = int(offsets[0]), int(offsets[-1])
    data = np.zeros(last - first + _WORD, np.uint8)  # so that the last word can be read whole
    if last > first:
        data[: last - first] = np.frombuffer(data_buffer, np.uint8, last - first, first)
    return _sums(data, offsets - first, seed)


def _sums(data: NDArray[np.uint8], offsets: NDArray[np.int64], seed: np.uint64) -> Hashes:
    starts, lengths = offsets[:-1], np.diff(offsets)
    counts = (lengths + (_WORD - 1)) >> 3
    longest = int(counts.max()) if len(counts) else 0
    total = lengths.view(np.uint64) * _STEP + seed
    if longest > _PLACES:
        return mix(total + _long_sums(data, offsets, counts, seed))
    unaligned = np.ndarray((len(data) - _WORD + 1,), "<u8", data, strides=(1,))
    rows: NDArray[np.int64] | None = None  # those that reach so far; None: all
    for place in range(longest):
        if place or int(counts.min()) == 0:
            rows = np.flatnonzero(counts > place)
        begin = (starts if rows is None else starts[rows]) + place * _WORD
        words = unaligned[begin]
        words &= _MASKS.take(np.minimum((lengths if rows is None else lengths[rows]) - place * _WORD, _WORD))
        words += _salted(seed, place + 1)
        if rows is None:
            total += mix(words)
        else:
            total[rows] += mix(words)
    return mix(total)


def _long_sums(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], counts: NDArray[np.int64], seed: np.uint64
) -> Hashes:
    """The same sums over the words of all cells at once, whatever their lengths."""
    ends = np.cumsum(counts)
    total = np.zeros(len(counts), np.uint64)
    place = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
    unaligned = np.ndarray((len(data) - _WORD + 1,), "<u8", data, strides=(1,))
    words = unaligned[np.repeat(offsets[:-1], counts) + place * _WORD]
    is_filled = counts > 0
    words[ends[is_filled] - 1] &= _MASKS[(np.diff(offsets) - (counts - 1) * _WORD)[is_filled]]
    place += 1
    words += place.view(np.uint64) * _STEP + seed
    total[is_filled] = np.add.reduceat(mix(words), (ends - counts)[is_filled])
    return total


def _lists(array: pa.Array, seed: np.uint64) -> Hashes:
    """The elements of each list, told apart by place; a null element is not a missing one."""
    if pa.types.is_map(array.type):
        array = array.cast(pa.list_(pa.struct([array.type.key_field, array.type.item_field])))
    offsets = array.offsets.to_numpy().astype(np.int64)
    lengths = np.diff(offsets)
    total = np.zeros(len(array), np.uint64)
    if len(lengths) and offsets[-1] > offsets[0]:
        elements = cells(array.values.slice(offsets[0], offsets[-1] - offsets[0]), seed)
        place = np.arange(len(elements)) - np.repeat(offsets[:-1] - offsets[0], lengths)
        elements += (place + 1).view(np.uint64) * _STEP
        is_filled = lengths > 0
        total[is_filled] = np.add.reduceat(mix(elements), (offsets[:-1] - offsets[0])[is_filled])
    total += lengths.view(np.uint64) * _STEP + seed
    return mix(total)
