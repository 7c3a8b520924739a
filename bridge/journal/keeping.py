"""Small states of ours under a kind and a name, and the ids of messages taken in.

Every statement here runs inside a transaction the caller opened; every kept row is checked when it is read.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import apsw
import msgspec

from bridge.errors import JournalCorrupt
from bridge.journal.rows import checksum, is_sound, micros, to_json

_KEEP = "INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)"
_FORGET = "DELETE FROM kept WHERE kind = ? AND name = ?"
_KEPT = "SELECT kind, name, value, crc FROM kept WHERE kind = ? ORDER BY name"
_RECEIVE = "INSERT OR REPLACE INTO received VALUES (?, ?, ?)"
_RECEIVED = "SELECT id FROM received WHERE source = ? AND id IN (SELECT value FROM json_each(?))"


def keep(connection: apsw.Connection, kind: str, name: str, value: Mapping[str, Any] | None) -> None:
    """Replace one value; None forgets it."""
    if value is None:
        connection.execute(_FORGET, (kind, name))
        return
    text = to_json(dict(value))
    connection.execute(_KEEP, (kind, name, text, checksum(kind, name, text)))


def kept(connection: apsw.Connection, kind: str) -> dict[str, dict[str, Any]]:
    """Every value of a kind by name. Raises: JournalCorrupt."""
    found = {}
    for row_kind, name, text, crc in connection.execute(_KEPT, (kind,)):
        if not is_sound(crc, row_kind, name, text):
            raise JournalCorrupt(f"table kept: the checksum of {kind} {name} is wrong")
        found[name] = msgspec.json.decode(text)
    return found


def receive(connection: apsw.Connection, source: str, ids: Sequence[str], until: datetime) -> None:
    """Remember the ids of messages that this transaction takes in."""
    at = micros(until)
    connection.executemany(_RECEIVE, [(source, one, at) for one in ids])


def received(connection: apsw.Connection, source: str, ids: Sequence[str]) -> set[str]:
    """Those of the ids that are remembered."""
    return {one for (one,) in connection.execute(_RECEIVED, (source, to_json(list(ids))))}
