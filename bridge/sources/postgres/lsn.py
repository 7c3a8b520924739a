"""Log sequence numbers between PostgreSQL's text form and the integer it stands for: a byte position in the WAL."""

import re

from bridge.errors import MalformedRecord

_FORM = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def parse(lsn: str) -> int:
    """The position that "16/B374D848" stands for.

    Raises: MalformedRecord when it is not of the form "high/low" with two hexadecimal words.
    """
    match = _FORM.fullmatch(lsn)
    if match is None:
        raise MalformedRecord(f"not a log sequence number: {lsn[:40]!r}")
    return int(match[1], 16) << 32 | int(match[2], 16)


def text(position: int) -> str:
    """How PostgreSQL writes a position, e.g. "16/B374D848"."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
