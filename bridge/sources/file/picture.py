"""PIC clauses of COBOL: what a picture says of digits, point, sign and length.

Numeric pictures (9, S, V, P) become numbers; pictures with editing symbols become text of their length, since that is
what stands in the file. National, DBCS, floating-point and boolean pictures are refused. Source: ISO/IEC 1989, PICTURE.
"""

import re
from dataclasses import dataclass

from bridge.sources.file.fields import UnreadableLayout

_REPEATED = re.compile(r"([A-Z0-9/,.+*$-])(?:\(([0-9]{1,9})\))?")
_NUMERIC = re.compile(r"S?(9+V?9*|V9+|V?P+9+|9+P+V?)")
_TEXT = frozenset("XA9")
_EDITED = frozenset("XA9ZB0/,.+-*$VP")
_LONGEST = 1 << 24


@dataclass(frozen=True, slots=True)
class Picture:
    """What a picture says."""

    is_number: bool
    length: int  # bytes as DISPLAY, without a separate sign
    digits: int = 0
    scale: int = 0  # digits after the point; negative with P on the right
    signed: bool = False


def parse(text: str) -> Picture:
    """Read a picture string. Raises: UnreadableLayout."""
    symbols = _symbols(text.upper())
    kinds = {symbol for symbol, _ in symbols}
    if kinds <= _TEXT and kinds & {"X", "A"}:
        return Picture(is_number=False, length=sum(count for _, count in symbols))
    if kinds <= {"S", "9", "V", "P"}:
        return _number(text, symbols)
    if kinds <= _EDITED | {"CR", "DB"}:
        sizes = {"V": 0, "P": 0, "CR": 2, "DB": 2}
        return Picture(is_number=False, length=sum(sizes.get(symbol, 1) * count for symbol, count in symbols))
    raise UnreadableLayout(f"PIC {text}: {', '.join(sorted(kinds - _EDITED - {'S', 'CR', 'DB'}))} is not supported")


def _symbols(text: str) -> list[tuple[str, int]]:
    symbols: list[tuple[str, int]] = []
    at = 0
    while at < len(text):
        if text[at : at + 2] in {"CR", "DB"}:
            symbols.append((text[at : at + 2], 1))
            at += 2
            continue
        found = _REPEATED.match(text, at)
        if found is None or found[2] == "0":
            raise UnreadableLayout(f"PIC {text}: cannot be read from `{text[at:]}` on")
        symbols.append((found[1], int(found[2] or 1)))
        at = found.end()
    if not 0 < sum(count for _, count in symbols) <= _LONGEST:
        raise UnreadableLayout(f"PIC {text}: is too long")
    return symbols


def _number(text: str, symbols: list[tuple[str, int]]) -> Picture:
    flat = "".join(symbol * min(count, 64) for symbol, count in symbols)
    if not _NUMERIC.fullmatch(flat):
        raise UnreadableLayout(f"PIC {text}: is no number")
    digits = flat.count("9")
    scaled = flat.count("P")
    body = flat.removeprefix("S")
    if scaled and (body.startswith("P") or "VP" in body):
        scale = digits + scaled
    elif scaled:
        scale = -scaled
    else:
        scale = len(body) - body.index("V") - 1 if "V" in body else 0
    return Picture(is_number=True, length=digits, digits=digits, scale=scale, signed=flat.startswith("S"))
