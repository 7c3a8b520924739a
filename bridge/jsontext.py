"""The JSON of a column: one text a value, a whole column at once. Pure; knows nothing of events.

Promises: no value is rounded (decimals are strings, times RFC 3339 with microseconds, binary base64). A few values are
written one by one, which costs a tenth of setting a column in motion; the text is the same.
"""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from bridge import figures
from bridge.figures import FEW, TEXT, Texts

Piece = str | Texts  # of a text: the same for every row, or one a row

_RFC3339 = "%Y-%m-%dT%H:%M:%S%.6fZ"
_PLAIN = pl.CompatLevel.oldest()  # strings as Arrow has had them from the beginning


def value(column: pa.Array) -> Iterator[Piece]:
    """The JSON texts of a column, quotes included."""
    few = _few(column) if len(column) <= FEW else None
    if few is not None:
        yield few
        return
    texts = _plain_texts(column)
    if texts is None:
        yield _any_json(column)
    elif not texts.null_count:
        yield from ('"', texts, '"')
    else:
        yield join('"', texts, '"').fill_null("null")


def _few(column: pa.Array) -> list[str] | None:
    """The JSON texts of a few values; None for types and values that Python writes in another way, or not at all."""
    of = column.type
    write = _DECIMAL if pa.types.is_decimal(of) else _WRITERS.get(of)
    if write is None:
        return None
    if pa.types.is_timestamp(of):
        column = column.view(pa.int64())
    try:
        return ["null" if each is None else write(each) for each in column.to_pylist()]
    except (ValueError, OverflowError):  # years before 1 and after 9999, tiny numbers
        return None


def _float(each: float) -> str:
    """Raises: ValueError where Polars puts the exponent in other words."""
    text = repr(each)
    if "e-" in text:
        raise ValueError(text)
    return text


def _plain_texts(column: pa.Array) -> pa.LargeStringArray | None:
    """The texts of a column that JSON shows as strings without escapes; None where another way is needed."""
    of = column.type
    if pa.types.is_string(of) or pa.types.is_large_string(of) or pa.types.is_string_view(of):
        texts = column.cast(TEXT)
        return texts if figures.is_plain(texts) else None
    if of == pa.timestamp("us", "UTC") and not column.null_count:
        return figures.rfc3339(column.view(pa.int64()).to_numpy())
    if pa.types.is_decimal(of) or pa.types.is_date32(of):
        shown = pl.Series(column)  # Arrow writes small decimals with an exponent
        return shown.cast(pl.String).to_arrow(compat_level=_PLAIN)
    return None


def _any_json(column: pa.Array) -> pa.LargeStringArray:
    """The JSON texts of a column of any type."""
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        return column.cast(TEXT).fill_null("null")
    values = pl.Series("v", column)
    text = pl.struct(_as_json(pl.col("v"), values.dtype).alias("v")).struct.json_encode()
    encoded = values.to_frame().select(text).to_series().str
    return encoded.slice(5, encoded.len_chars() - 6).to_arrow(compat_level=_PLAIN)  # what is between {"v": and }


def _as_json(shown: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A value in a type that JSON holds exactly."""
    if isinstance(dtype, pl.List):
        inner = _as_json(pl.element(), dtype.inner)  # type: ignore[arg-type] # the inner type of data is an instance
        return shown.list.eval(inner)
    if isinstance(dtype, pl.Datetime):
        return shown.dt.strftime(_RFC3339 if dtype.time_zone else _RFC3339.removesuffix("Z"))
    if isinstance(dtype, pl.Time):
        return shown.dt.to_string("%H:%M:%S%.6f")
    if isinstance(dtype, pl.Binary):
        return shown.bin.encode("base64")
    if isinstance(dtype, pl.Decimal | pl.Date | pl.Duration):
        return shown.cast(pl.String)
    return shown


def constant(text: str) -> str:
    """The JSON of one text."""
    return _encode(text)


def join(*pieces: Piece) -> pa.LargeStringArray:
    """Put the text of each row together; what is the same for every row is joined first."""
    count = next((len(piece) for piece in pieces if isinstance(piece, list)), None)
    if count is not None:
        columns = [_repeated(piece, count) for piece in pieces]
        return pa.array(map("".join, zip(*columns, strict=True)), TEXT, size=count)
    merged: list[Any] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    arguments = [pa.scalar(piece, TEXT) if isinstance(piece, str) else piece for piece in merged]
    return pc.binary_join_element_wise(*arguments, pa.scalar("", TEXT))


def _repeated(piece: Piece, count: int) -> list[str]:
    if isinstance(piece, str):
        return [piece] * count
    texts: list[str] = piece if isinstance(piece, list) else piece.to_pylist()
    return texts


_encode = json.JSONEncoder(ensure_ascii=False).encode
_DECIMAL: Callable[[Any], str] = '"{:f}"'.format
_WRITERS: dict[pa.DataType, Callable[[Any], str]] = {
    pa.string(): _encode,
    TEXT: _encode,
    pa.bool_(): lambda each: "true" if each else "false",
    **dict.fromkeys((pa.int8(), pa.int16(), pa.int32(), pa.int64()), str),
    **dict.fromkeys((pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()), str),
    pa.float64(): _float,
    pa.date32(): lambda each: f'"{each.isoformat()}"',
    pa.timestamp("us", "UTC"): lambda each: f'"{figures.moment(each)}Z"',
    pa.timestamp("us"): lambda each: f'"{figures.moment(each)}"',
    pa.time64("us"): lambda each: f'"{each.isoformat(timespec="microseconds")}"',
    pa.large_binary(): lambda each: f'"{base64.b64encode(each).decode()}"',
}
