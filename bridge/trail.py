"""The audit trail as a chain: each entry's hash covers the entry and the hash before it.

Promises: whoever holds a head, `NUMBER:HEX`, from outside the journal can prove that no entry up to it was changed,
removed, added or moved since. Without one, an edit that rebuilt every later hash cannot be told. Pure: no I/O.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bridge.model import AuditEntry

_HEAD = re.compile(r"(0|[1-9][0-9]{0,17}):([0-9a-f]{64})")
FINDING_LIMIT = 100  # sentences
START = bytes(32)  # what the first entry's hash builds on


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends: keep it outside the journal."""

    number: int = 0  # of the newest entry; 0 before the first
    hash: bytes = START

    def __str__(self) -> str:
        return f"{self.number}:{self.hash.hex()}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """From `NUMBER:HEX`. Raises: ValueError."""
        match = _HEAD.fullmatch(text.strip())
        if match is None:
            raise ValueError("NUMBER:HEX, as `legacy-bridge audit export --head` prints it")
        return cls(int(match[1]), bytes.fromhex(match[2]))


@dataclass(frozen=True, slots=True)
class Audited:
    """One entry as it is stored."""

    number: int  # from 1, without a gap
    at: datetime  # UTC, microseconds
    entry: AuditEntry
    hash: bytes | None  # None: not sealed

    @property
    def head(self) -> Head:
        """The chain's end, were this the newest entry."""
        return Head(self.number, self.hash or START)


def link(before: bytes, number: int, at: datetime, entry: AuditEntry) -> bytes:
    """The hash of an entry: SHA-256 over the hash before it and its fields as one JSON array in ASCII.

    The array is `[number, at, actor, action, subject, reason]` without blanks, `at` in RFC 3339 with microseconds and
    Z, what is not ASCII escaped as in `json.dumps`.
    """
    fields = [number, _rfc3339(at), entry.actor, entry.action, entry.subject, entry.reason]
    return hashlib.sha256(before + json.dumps(fields, separators=(",", ":")).encode()).digest()


def to_json(one: Audited) -> dict[str, Any]:
    """An entry as exported: everything its hash covers, and the hash in hexadecimal."""
    entry = one.entry
    return {
        "number": one.number,
        "at": _rfc3339(one.at),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "reason": entry.reason,
        "hash": one.hash.hex() if one.hash is not None else None,
    }


def from_json(value: Mapping[str, Any]) -> Audited:
    """The reverse of `to_json`. Raises: ValueError."""
    try:
        entry = AuditEntry(*(_text(value[name]) for name in ("actor", "action", "subject", "reason")))
        at = datetime.fromisoformat(_text(value["at"])).astimezone(UTC)
        return Audited(int(value["number"]), at, entry, bytes.fromhex(_text(value["hash"])))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError("an entry that `legacy-bridge audit export` wrote") from error


def verify(entries: Iterable[Audited], head: Head | None = None) -> list[str]:
    """Walk a chain from its first entry; one sentence per finding, empty means whole.

    Args:
        entries: all there are, in order of number.
        head: an end of this chain that was kept elsewhere.
    """
    walk = Walk(Head(), anchor=head)
    for one in entries:
        walk.step(one)
    return walk.end()


class Walk:
    """One pass along a chain, entry by entry."""

    def __init__(self, start: Head, *, anchor: Head | None = None) -> None:
        """Begin behind `start`; `anchor` is an end of this chain that was kept elsewhere."""
        self.findings: list[str] = []  # one sentence each
        self.last = start  # of the entry stepped on last
        self._anchor = anchor

    def step(self, one: Audited) -> None:
        """Hold the next entry against the hash before it."""
        if one.number > self.last.number + 1:
            self._find(f"audit entries {self.last.number + 1} to {one.number - 1} are missing")
        elif one.hash is None:
            self._find(f"audit entry {one.number} carries no hash")
        elif one.number <= self.last.number or one.hash != link(self.last.hash, one.number, one.at, one.entry):
            self._find(f"audit entry {one.number} is not what was written")
        self.last = one.head
        if self._anchor is not None and one.number == self._anchor.number and one.hash != self._anchor.hash:
            self._find(f"audit entry {one.number} is not the one that was anchored; the trail was rewritten")

    def end(self) -> list[str]:
        """Every finding, and what is missing at the end."""
        if self._anchor is not None and self._anchor.number > self.last.number:
            self._find(f"audit entries {self.last.number + 1} to {self._anchor.number} are missing at the end")
        return self.findings

    def _find(self, sentence: str) -> None:
        if len(self.findings) < FINDING_LIMIT:  # past it something else than an edit has happened
            self.findings.append(sentence)


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text")
    return value
