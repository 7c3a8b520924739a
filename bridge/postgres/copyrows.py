"""Rows in COPY's text format, to Arrow columns.

The format is one of tabs, line feeds and escapes, so Arrow's reader of such files finds the cells of a whole block, and
reads numbers, dates and times on the way. Where a value is none that it reads, all cells of the block are found as text
and decoded as those of a change log are. It holds every value three times for a while: huge ones are left where they
are.
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
from bridge.postgres.columns import decode, decode_text_column
from bridge.postgres.copying import Run
from bridge.postgres.copytext import row_of, unescape, walk_text
from bridge.postgres.types import Kind, PgType

_LONG_BYTES, _HUGE_BYTES = 2 << 10, 1 << 20  # of the mean row, and of any
_LINE_FEED, _BACKSLASH = ord("\n"), ord("\\")
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


def decode_rows(run: Run, types: Sequence[PgType], names: Sequence[str]) -> tuple[pa.RecordBatch, dict[str, Marks]]:
    """Decode rows.

    Args:
        run: a row a payload, ended by a line feed, as the server sends them under PINNED_SETTINGS.
        types: one per column.
        names: one per column.
    Returns: as `columns.decode`.
    Raises: MalformedRecord when the bytes are not whole rows of that many columns, or hold an unknown escape.
    """
    buffer = run.buffer
    sizes = np.diff(run.starts, append=buffer.size)
    if buffer.size > _LONG_BYTES * sizes.size or sizes.max(initial=0) > _HUGE_BYTES:
        cells, buffer, _ = walk_text(buffer, len(types))
        return decode(cells, types, names, buffer)
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


class Rows:
    """The rows of one COPY, decoded block by block, so that the server goes on sending meanwhile. For one thread."""

    def __init__(self, types: Sequence[PgType], names: Sequence[str]) -> None:
        """Of these columns."""
        self.size_bytes = 0  # as they came
        self._types, self._names = types, names
        self._batches: list[pa.RecordBatch] = []
        self._marks: dict[str, list[tuple[int, Marks]]] = {}
        self._row_count = 0
        self._last = np.empty(0, np.uint8)  # row, as it came

    def add(self, run: Run | None) -> None:
        """Take whole rows, the payload of one message each. Raises: as `decode_rows`."""
        if run is None:
            return
        batch, marks = decode_rows(run, self._types, self._names)
        for name, found in marks.items():
            self._marks.setdefault(name, []).append((self._row_count, found))
        self._batches.append(batch)
        self._row_count += batch.num_rows
        self._last = run.buffer[run.starts[-1] :]
        self.size_bytes += run.buffer.size

    def columns(self) -> tuple[pa.RecordBatch, dict[str, Marks]]:
        """All of them, as `decode_rows`."""
        if not self._batches:
            return decode_rows(Run.join((b"",), ()), self._types, self._names)
        marks = {name: Marks.joined(found) for name, found in self._marks.items()}
        return self._batches[0] if len(self._batches) == 1 else pa.concat_batches(self._batches), marks

    def last(self, names: Sequence[str]) -> dict[str, str]:
        """Values of the last row as the server wrote them; none without rows. Raises: as `decode_rows`."""
        if not self._row_count or not names:
            return {}
        row = row_of(self._last, len(self._types), [self._names.index(name) for name in names])
        return dict(zip(names, row, strict=True))


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
    if has_escapes and count:
        starts, lengths = offsets[:-1].copy(), np.diff(offsets)
        data = unescape(data, starts, lengths, np.zeros(count, np.bool_))
        offsets = np.append(starts, starts[-1] + lengths[-1])
    return Text(data, offsets, is_text)
