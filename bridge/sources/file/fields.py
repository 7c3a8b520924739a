"""What a record is made of: fields at their places, and how the bytes of each are read. Values only."""

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

MAX_DIGITS = 38
_INT64_DIGITS = 18
_BINARY_DIGITS = {1: 3, 2: 5, 4: 10, 8: 20}  # decimal digits of the largest value, by size in bytes


class Kind(StrEnum):
    """How bytes stand for a value."""

    TEXT = "text"
    ZONED = "zoned"  # one digit a byte, the sign over the first or last of them, or a byte of its own
    PACKED = "packed"  # two digits a byte, the sign in the last half
    BINARY = "binary"
    FLOAT = "float"  # IEEE 754
    HEXFLOAT = "hexfloat"  # IBM's hexadecimal floating point
    NUMBER = "number"  # as people write it: "-12.50", "12,50-"
    DATE = "date"
    TIMESTAMP = "timestamp"
    BOOLEAN = "boolean"  # T, Y, t, y or F, N, f, n, as dBase writes it


class UnreadableLayout(Exception):
    """A description that no record can follow; the caller says where it stands."""


@dataclass(frozen=True, slots=True)
class Form:
    """How the bytes of one field are read."""

    kind: Kind
    digits: int = 0  # written ones
    scale: int = 0  # digits after the point; negative where that many zeros follow the written ones
    signed: bool = False
    leading: bool = False  # the sign stands at the first digit, not at the last
    separate: bool = False  # the sign is a byte of its own
    little: bool = False  # the least significant byte comes first
    full: bool = False  # a binary number that uses all its bits, whatever its digits
    blank_zero: bool = False  # blanks stand for zero
    comma: bool = False  # a comma is the decimal point
    pattern: str = ""  # of a date or timestamp, as strftime writes it

    def arrow(self, length: int) -> pa.DataType:
        """The type that values have. Raises: UnreadableLayout for more than 38 digits."""
        fixed = _TYPES.get(self.kind)
        if fixed is not None:
            return fixed
        digits = _BINARY_DIGITS[length] if self.kind is Kind.BINARY else self.digits
        whole = max(digits, self.scale) if self.scale > 0 else digits - self.scale
        if whole > MAX_DIGITS:
            raise UnreadableLayout(f"{whole} digits are more than {MAX_DIGITS}")
        if self.scale > 0:
            return pa.decimal128(whole, self.scale)
        fits = whole <= _INT64_DIGITS or (self.kind is Kind.BINARY and self.signed and not self.scale)
        return pa.int64() if fits else pa.decimal128(whole, 0)

    def described(self) -> str:
        """In a few words, for people."""
        if self.kind in _TYPES:
            return f"{self.kind} {self.pattern}".strip()
        sign = "signed " if self.signed else ""
        point = f",{self.scale}" if self.scale else ""
        return f"{sign}{self.kind}({self.digits}{point})"


_TYPES: dict[Kind, pa.DataType] = {
    Kind.TEXT: pa.large_string(),
    Kind.FLOAT: pa.float64(),
    Kind.HEXFLOAT: pa.float64(),
    Kind.DATE: pa.date32(),
    Kind.TIMESTAMP: pa.timestamp("us"),
    Kind.BOOLEAN: pa.bool_(),
}
TEXT = Form(Kind.TEXT)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record."""

    name: str
    offset: int  # from the record's first byte
    length: int  # in bytes
    form: Form
    line: int = 0  # of the description it comes from

    @property
    def end(self) -> int:
        """Where the next byte stands."""
        return self.offset + self.length

    @property
    def arrow(self) -> pa.DataType:
        """The type that values have."""
        return self.form.arrow(self.length)


@dataclass(frozen=True, slots=True)
class Placed:
    """The fields of a record whose variable tables have known sizes."""

    fields: tuple[Field, ...]  # those that are there, in order
    length: int  # what the record must have at least


@dataclass(frozen=True, slots=True)
class Counter:
    """A field that says how many entries a table has (OCCURS DEPENDING ON)."""

    field: Field
    least: int
    most: int
