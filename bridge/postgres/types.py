"""PostgreSQL's types and the exact Arrow type each is decoded to.

Built-in types need no server; enums, domains, composites and the like are described by one query. Nothing here looks at
values. A type without an exact Arrow counterpart stays the server's text: docs/postgres-types.md has the table.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto

import pyarrow as pa

from bridge.postgres.oids import LISTABLE, UNLISTED

PINNED_SETTINGS = {
    "datestyle": "ISO,YMD",
    "intervalstyle": "iso_8601",
    "timezone": "UTC",
    "extra_float_digits": "1",  # the shortest text that reads back as the same number
    "bytea_output": "hex",
    "lc_monetary": "C",
    "client_encoding": "UTF8",
}
"""Settings of every session whose values are decoded here; a database's own would change what the server prints.

A database with encoding SQL_ASCII wants client_encoding SQL_ASCII instead: under UTF8 its server fails on the first
value that is not UTF-8, and a slot would never get past it.
"""


class Kind(Enum):
    """Which decoder reads a type's text."""

    TEXT = auto()
    NUMERAL = auto()  # a numeric kept as text, so that NaN and the infinities are marked all the same
    BOOLEAN = auto()
    INTEGER = auto()
    FLOAT = auto()
    DECIMAL = auto()
    MONEY = auto()
    BYTES = auto()
    DATE = auto()
    TIMESTAMP = auto()
    TIME = auto()
    LIST = auto()


@dataclass(frozen=True, slots=True)
class PgType:
    """One column type with its modifier, and what it is decoded to."""

    name: str  # as format_type() prints it, "numeric(12,2)"
    arrow: pa.DataType
    kind: Kind
    element: "PgType | None" = None  # of a LIST


@dataclass(frozen=True, slots=True)
class TypeRow:
    """One row of LOOKUP_SQL, in its column order."""

    oid: int
    modifier: int
    name: str
    variety: str  # pg_type.typtype
    is_array: bool
    target: int  # a domain's base type, an array's element type, else 0
    target_modifier: int
    delimiter: str


LOOKUP_SQL = """
WITH RECURSIVE wanted (oid, modifier) AS (
    SELECT * FROM unnest(%(oids)s::oid[], %(modifiers)s::int4[])
  UNION
    SELECT CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END,
           CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE w.modifier END
      FROM wanted w JOIN pg_catalog.pg_type t ON t.oid = w.oid
     WHERE t.typtype = 'd' OR (t.typcategory = 'A' AND t.typelem <> 0 AND t.typlen = -1)
)
SELECT w.oid, w.modifier, pg_catalog.format_type(w.oid, w.modifier), t.typtype::text,
       t.typtype <> 'd' AND t.typcategory = 'A' AND t.typelem <> 0 AND t.typlen = -1,
       CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END,
       CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE w.modifier END,
       t.typdelim::text
  FROM wanted w JOIN pg_catalog.pg_type t ON t.oid = w.oid
"""
"""Describe user-defined types: bind equally long lists `oids` and `modifiers`; the rows go to `described`."""

_TEXT = pa.large_string()
_SIMPLE = {
    16: (Kind.BOOLEAN, pa.bool_()),
    17: (Kind.BYTES, pa.large_binary()),
    20: (Kind.INTEGER, pa.int64()),
    21: (Kind.INTEGER, pa.int16()),
    23: (Kind.INTEGER, pa.int32()),
    26: (Kind.INTEGER, pa.int64()),
    28: (Kind.INTEGER, pa.int64()),
    29: (Kind.INTEGER, pa.int64()),
    700: (Kind.FLOAT, pa.float32()),
    701: (Kind.FLOAT, pa.float64()),
    790: (Kind.MONEY, pa.decimal128(19, 2)),
    1082: (Kind.DATE, pa.date32()),
    1083: (Kind.TIME, pa.time64("us")),
    1114: (Kind.TIMESTAMP, pa.timestamp("us")),
    1184: (Kind.TIMESTAMP, pa.timestamp("us", "UTC")),
    5069: (Kind.INTEGER, pa.uint64()),
}
_NAMES = {oid: name for oid, _, name in LISTABLE + UNLISTED}
_LISTABLE = frozenset(oid for oid, _, _ in LISTABLE)
_ELEMENTS = {array: oid for oid, array, _ in LISTABLE + UNLISTED if array is not None}
_INTERVAL, _NUMERIC = 1186, 1700
_SIZED = {1042: ("character", 4), 1043: ("character varying", 4), 1560: ("bit", 0), 1562: ("bit varying", 0)}
_PRECISE = {1083: "time", 1114: "timestamp", 1184: "timestamp", 1266: "time"}
_INTERVAL_FIELDS = {"year": 2, "month": 1, "day": 3, "hour": 10, "minute": 11, "second": 12}  # bit numbers
_ANY_FIELDS, _ANY_PRECISION = 0x7FFF, 0xFFFF
_MAX_DECIMAL_DIGITS = 38  # Polars has no 256-bit decimal


def builtin(oid: int, modifier: int) -> PgType | None:
    """The built-in type with this oid and modifier (-1 for none); None when the oid is not a built-in type's."""
    if oid in _NAMES:
        return _scalar(oid, modifier)
    if oid in _ELEMENTS:
        element = _scalar(_ELEMENTS[oid], modifier)
        return _array(f"{element.name}[]", element, is_listable=_ELEMENTS[oid] in _LISTABLE)
    return None


def described(rows: Iterable[tuple[int, int, str, str, bool, int, int, str]]) -> dict[tuple[int, int], PgType]:
    """Every type that LOOKUP_SQL described, by (oid, modifier).

    A domain is its base type under its own name; an array of enums, of base types or of domains over listable types is
    a list; anything else is exact text. An oid that the server no longer knows is absent.
    """
    by_key = {(row.oid, row.modifier): row for row in (TypeRow(*values) for values in rows)}
    return {key: _resolve(row, by_key)[0] for key, row in by_key.items()}


def _resolve(row: TypeRow, by_key: dict[tuple[int, int], TypeRow]) -> tuple[PgType, bool]:
    """The type of a row, and whether an array of it is a list."""
    known = builtin(row.oid, row.modifier)
    if known is not None:
        return known, row.oid in _LISTABLE
    target = by_key.get((row.target, row.target_modifier))
    if target is not None and row.variety == "d":
        base, is_listable = _resolve(target, by_key)
        return replace(base, name=row.name), is_listable
    if target is not None and row.is_array:
        element, is_listable = _resolve(target, by_key)
        return _array(row.name, element, is_listable=is_listable and target.delimiter == ","), False
    return PgType(row.name, _TEXT, Kind.TEXT), row.variety in "be"


def _scalar(oid: int, modifier: int) -> PgType:
    name = _modified_name(oid, modifier)
    if oid == _NUMERIC:
        return _numeric(name, modifier)
    kind, arrow = _SIMPLE.get(oid, (Kind.TEXT, _TEXT))
    return PgType(name, arrow, kind)


def _array(name: str, element: PgType, *, is_listable: bool) -> PgType:
    if is_listable and element.kind is not Kind.LIST:
        return PgType(name, pa.list_(element.arrow), Kind.LIST, element)
    return PgType(name, _TEXT, Kind.TEXT)


def _numeric(name: str, modifier: int) -> PgType:
    """numeric(p,s) rounds to 10^-s and holds p digits above that; a negative s leaves p-s integer digits."""
    if modifier >= 0:
        precision, scale = _precision_and_scale(modifier)
        digits = max(precision, scale, precision - scale)
        if digits <= _MAX_DECIMAL_DIGITS:
            return PgType(name, pa.decimal128(digits, max(scale, 0)), Kind.DECIMAL)
    return PgType(name, _TEXT, Kind.NUMERAL)


def _precision_and_scale(modifier: int) -> tuple[int, int]:
    """Source: numeric.c, make_numeric_typmod: 16 bits of precision, 11 bits of signed scale, 4 added to both."""
    packed = modifier - 4
    return packed >> 16 & 0xFFFF, (packed & 0x7FF ^ 1024) - 1024


def _modified_name(oid: int, modifier: int) -> str:
    """The name that format_type(oid, modifier) prints."""
    name = _NAMES[oid]
    if modifier < 0:
        return name
    if oid == _NUMERIC:
        precision, scale = _precision_and_scale(modifier)
        return f"numeric({precision},{scale})"
    if oid == _INTERVAL:
        return name + _interval_suffix(modifier)
    if oid in _PRECISE:
        return name.replace(_PRECISE[oid], f"{_PRECISE[oid]}({modifier})", 1)
    if oid in _SIZED:
        sized, header = _SIZED[oid]
        return f"{sized}({modifier - header})"
    return name


def _interval_suffix(modifier: int) -> str:
    """Source: timestamp.c, intervaltypmodout: fields above 16 bits of precision, either all ones when not given."""
    mask, precision = modifier >> 16 & _ANY_FIELDS, modifier & _ANY_PRECISION
    fields = [] if mask == _ANY_FIELDS else [field for field, bit in _INTERVAL_FIELDS.items() if mask >> bit & 1]
    span = f" {' to '.join(dict.fromkeys((fields[0], fields[-1])))}" if fields else ""
    return span + ("" if precision == _ANY_PRECISION else f"({precision})")
