"""Rows in COPY's text format, to Arrow columns.

The format is one of tabs, line feeds and escapes, so Arrow's reader of such files finds the cells of a whole block, and
reads numbers, dates and times on the way. Where a value is none that it reads, all cells of the block are found as text
and decoded as those of a change log are.
Source: PostgreSQL manual, "COPY", Text Format.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from bridge.cells import Text
from bridge.errors import MalformedRecord
from bridge.model import Marks
from bridge.postgres.columns import decode_text_column
from bridge.postgres.types import Kind, PgType

_TAB, _LINE_FEED, _BACKSLASH = ord("\t"), ord("\n"), ord("\\")
_NULL = r"\N"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # Arrow drops one at the beginning
_TEXT = pa.large_string()
# What Arrow reads just as our own decoders do, or refuses.
_DIRECT = frozenset({Kind.BOOLEAN, Kind.INTEGER, Kind.FLOAT, Kind.DECIMAL, Kind.DATE, Kind.TIMESTAMP})
_FORMAT = pa.csv.ParseOptions(
    delimiter="\t",
    quote_char=False,
    double_quote=False,
    escape_char=False,
    newlines_in_values=False,
    ignore_empty_lines=False,
)
# What COPY TO sends behind a backslash, and what it stands for.
_PLAIN = np.zeros(256, np.uint8)
for _letter, _byte in zip(b"bfnrtv\\", b"\b\f\n\r\t\v\\", strict=True):
    _PLAIN[_letter] = _byte
_IS_ESCAPED = _PLAIN > 0


def decode_rows(
    buffer: NDArray[np.uint8], types: Sequence[PgType], names: Sequence[str]
) -> tuple[pa.RecordBatch, dict[str, Marks]]:
    """Decode the rows in `buffer`.

    Args:
        buffer: whole rows, each ended by a line feed, as the server sends them under PINNED_SETTINGS.
        types: one per column.
        names: one per column.
    Returns: as `columns.decode`.
    Raises: MalformedRecord when the bytes are not whole rows of that many columns, or hold an unknown escape.
    """
    found = _direct(buffer, types) or _split(buffer, [_TEXT] * len(types))
    null_count = sum(array.null_count for array in found)
    has_escapes = int(np.count_nonzero(buffer == _BACKSLASH)) > null_count  # each null has one, and no other has
    arrays: list[pa.Array] = []
    marks: dict[str, Marks] = {}
    for array, type_, name in zip(found, types, names, strict=True):
        if array.type == _TEXT:
            decoded, marked = decode_text_column(_text_of(array, has_escapes=has_escapes), type_)
            arrays.append(decoded)
            if marked is not None:
                marks[name] = marked
        else:
            arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, list(names)), marks


def texts(buffer: NDArray[np.uint8], column_count: int) -> list[Text]:
    """The cells of the rows in `buffer` as text, by column. Raises: as `decode_rows`."""
    found = _split(buffer, [_TEXT] * column_count)
    return [_text_of(array, has_escapes=True) for array in found]


def row_of(buffer: NDArray[np.uint8], column_count: int) -> list[str | None]:
    """The values of a single row as the server wrote them. Raises: as `decode_rows`."""
    cells = texts(buffer, column_count)
    return [text.data.tobytes().decode("utf-8", "surrogateescape") if text.is_text[0] else None for text in cells]


def _direct(buffer: NDArray[np.uint8], types: Sequence[PgType]) -> list[pa.Array] | None:
    """The columns, as many as can be read to their types at once; None where a value in one of them cannot."""
    try:
        found = _split(buffer, [type_.arrow if type_.kind in _DIRECT else _TEXT for type_ in types])
    except MalformedRecord:
        return None
    return found if all(map(_is_finite, found)) else None


def _is_finite(array: pa.Array) -> bool:
    """False where a float has a NaN, or something beyond what it holds."""
    if not pa.types.is_floating(array.type):
        return True
    values = np.frombuffer(array.buffers()[1], f"f{array.type.bit_width // 8}", len(array))
    return bool(np.isfinite(values).all())  # below a null is a zero


def _split(buffer: NDArray[np.uint8], wanted: Sequence[pa.DataType]) -> list[pa.Array]:
    """The columns as these types."""
    if not buffer.size:
        return [pa.nulls(0, type_) for type_ in wanted]
    if buffer[-1] != _LINE_FEED:
        raise MalformedRecord(f"COPY text of {buffer.size} bytes does not end with a row")
    if buffer[:3].tobytes() == _BYTE_ORDER_MARK:
        buffer = np.concatenate((buffer[:3], buffer))
    names = [str(number) for number in range(len(wanted))]
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(pa.py_buffer(buffer)),
            pa.csv.ReadOptions(use_threads=False, block_size=buffer.size + 1, column_names=names),
            _FORMAT,
            pa.csv.ConvertOptions(
                check_utf8=False,
                column_types=dict(zip(names, wanted, strict=True)),
                null_values=[_NULL],
                strings_can_be_null=True,
                true_values=["t"],
                false_values=["f"],
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        detail = f"COPY text of {buffer.size} bytes is not whole rows of {len(wanted)} columns"
        raise MalformedRecord(detail) from error
    return [column.combine_chunks() if column.num_chunks != 1 else column.chunk(0) for column in table.columns]


def _text_of(array: pa.Array, *, has_escapes: bool) -> Text:
    """The cells of a column, every escape as the byte it stands for."""
    count = len(array)
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64, count + 1) if count else np.zeros(1, np.int64)
    data = np.frombuffer(data_buffer, np.uint8, int(offsets[-1])) if data_buffer else np.empty(0, np.uint8)
    is_text = array.is_valid().to_numpy(zero_copy_only=False)
    return Text(*(_unescaped(data, offsets) if has_escapes else (data, offsets)), is_text)


def _unescaped(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    backslashes = np.flatnonzero(data == _BACKSLASH)
    if not backslashes.size:
        return data, offsets
    # Of backslashes in a row every other one begins an escape.
    run_starts = np.flatnonzero(np.diff(backslashes, prepend=-2) != 1)
    in_run = np.arange(backslashes.size) - np.repeat(run_starts, np.diff(np.append(run_starts, backslashes.size)))
    escapes = backslashes[in_run % 2 == 0]
    is_torn = np.isin(escapes + 1, offsets)  # its letter would be another cell's
    if is_torn.any() or not _IS_ESCAPED[data[escapes + 1]].all():
        raise MalformedRecord("COPY text has an escape that no server sends")
    plain = np.delete(data, escapes)
    plain[escapes - np.arange(escapes.size)] = _PLAIN[data[escapes + 1]]
    return plain, offsets - np.searchsorted(escapes, offsets)
