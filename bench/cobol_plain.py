"""The peer of `cobol`: a plain decoder of fixed records, field by field and row by row, as people write it in Python.

It is also the obvious twin that tests hold the vectorised decoder to.
"""

import struct
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from bridge.sources.file.fields import Field, Kind


class Unreadable(ValueError):
    """Bytes that are no value of their form."""


def records(data: bytes, length: int, fields: Sequence[Field], codepage: str) -> Iterator[dict[str, Any]]:
    """Every record as a mapping; what cannot be read is an `Unreadable`."""
    for start in range(0, len(data) - length + 1, length):
        record = data[start : start + length]
        found: dict[str, Any] = {}
        for field in fields:
            try:
                found[field.name] = value(record[field.offset : field.end], field, codepage)
            except Unreadable as error:
                found[field.name] = error
        yield found


def value(cell: bytes, field: Field, codepage: str) -> Any:  # noqa: ANN401  whatever the field holds
    """One cell. Raises: Unreadable."""
    form = field.form
    if form.kind is Kind.TEXT:
        try:
            return cell.decode(codepage).rstrip(" ")
        except UnicodeDecodeError as error:
            raise Unreadable(str(error)) from error
    if form.kind is Kind.BINARY:
        number = int.from_bytes(cell, "little" if form.little else "big", signed=form.signed)
    elif form.kind is Kind.PACKED:
        number = _packed(cell, field)
    elif form.kind is Kind.ZONED:
        number = _zoned(cell, field, is_ebcdic="0".encode(codepage) == b"\xf0")
    else:
        return struct.unpack(("<" if form.little else ">") + ("f" if len(cell) == 4 else "d"), cell)[0]
    return Decimal(f"{number}E-{form.scale}") if form.scale > 0 else number * 10**-form.scale


def _packed(cell: bytes, field: Field) -> int:
    text = cell.hex()
    digits, sign = text[:-1], text[-1]
    if not digits.isdecimal() or sign not in "abcdef":
        raise Unreadable(field.name)
    if len(digits) > field.form.digits and digits[0] != "0":
        raise Unreadable(field.name)
    if sign not in "bd":
        return int(digits)
    if not field.form.signed:
        raise Unreadable(field.name)
    return -int(digits)


def _zoned(cell: bytes, field: Field, *, is_ebcdic: bool) -> int:
    form = field.form
    zone = 0xF0 if is_ebcdic else 0x30
    sign = 1
    if form.separate:
        mark = cell[0] if form.leading else cell[-1]
        cell = cell[1:] if form.leading else cell[:-1]
        if mark not in ((0x4E, 0x60) if is_ebcdic else (0x2B, 0x2D)):
            raise Unreadable(field.name)
        sign = -1 if mark in (0x60, 0x2D) else 1
    digits = []
    for place, byte in enumerate(cell):
        if form.signed and not form.separate and place == (0 if form.leading else len(cell) - 1):
            digit, sign = _overpunched(byte, field, is_ebcdic=is_ebcdic)
        else:
            digit = byte - zone
        if not 0 <= digit <= 9:
            raise Unreadable(field.name)
        digits.append(str(digit))
    return sign * int("".join(digits))


def _overpunched(byte: int, field: Field, *, is_ebcdic: bool) -> tuple[int, int]:
    if is_ebcdic:
        if byte >> 4 < 0xA:
            raise Unreadable(field.name)
        return byte & 15, -1 if byte >> 4 in (0xB, 0xD) else 1
    for text, sign in (("0123456789", 1), ("{ABCDEFGHI", 1), ("}JKLMNOPQR", -1), ("pqrstuvwxy", -1)):
        if chr(byte) in text:
            return text.index(chr(byte)), sign
    raise Unreadable(field.name)
