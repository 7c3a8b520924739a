"""The audit trail in the file: added to by any process, hashed in the transaction that adds, never changed after.

Retention takes nothing from it. Every function runs inside a transaction the caller opened.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import apsw

from bridge import trail
from bridge.errors import JournalCorrupt
from bridge.journal.database import Database
from bridge.journal.rows import micros, moment
from bridge.model import AuditEntry
from bridge.trail import Audited, Head

_PAGE = 1_000
_COLUMNS = "id, at, actor, action, subject, reason, hash"
_ADD = "INSERT INTO audit (id, at, actor, action, subject, reason, hash) VALUES (?, ?, ?, ?, ?, ?, ?)"
_SEAL = "UPDATE audit SET hash = ? WHERE id = ? AND hash IS NULL"
_LAST = "SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1"
_ANY_SEALED = "SELECT EXISTS (SELECT 1 FROM audit WHERE hash IS NOT NULL)"
_EVER_GIVEN = "SELECT seq FROM sqlite_sequence WHERE name = 'audit'"
_SUITING = "(?2 IS NULL OR actor = ?2) AND (?3 IS NULL OR action = ?3 OR substr(action, 1, length(?3) + 1) = ?3 || '.')"
_ONWARD = f"SELECT {_COLUMNS} FROM audit WHERE id > ?4 AND {_SUITING} ORDER BY id LIMIT ?1"  # noqa: S608  constants
_NEWEST = f"""
SELECT * FROM (SELECT {_COLUMNS} FROM audit WHERE {_SUITING} ORDER BY id DESC LIMIT ?1) ORDER BY id
"""  # noqa: S608  constants


def add(connection: apsw.Connection, entry: AuditEntry, now: datetime) -> None:
    """Append an entry to the chain. The number of an entry that was removed is not given again."""
    before = head(connection)
    if before.number and before.hash == trail.START:
        seal(connection)
        before = head(connection)
    number, at = max(before.number, _given(connection)) + 1, micros(now)
    digest = trail.link(before.hash, number, moment(at), entry)
    connection.execute(_ADD, (number, at, entry.actor, entry.action, entry.subject, entry.reason, digest))


def seal(connection: apsw.Connection) -> None:
    """Give hashes to the entries of a file from before there were any; all in the caller's transaction, or none.

    Once any entry has a hash, one without is damage: it stays as it is, for `verify` to name.
    """
    if connection.execute(_ANY_SEALED).get:
        return
    before = trail.START
    for one in page(connection, after=0, limit=-1):
        before = trail.link(before, one.number, one.at, one.entry)
        connection.execute(_SEAL, (before, one.number))


def head(connection: apsw.Connection) -> Head:
    """The newest entry's number and hash."""
    row = connection.execute(_LAST).fetchone()
    return Head() if row is None else Head(int(row[0]), _hash(row[1]) or trail.START)


def page(
    connection: apsw.Connection,
    *,
    after: int | None,
    limit: int,
    actor: str | None = None,
    action: str | None = None,
) -> list[Audited]:
    """Entries in order, as the port says. Raises: JournalCorrupt."""
    if after is None:
        return [_audited(row) for row in connection.execute(_NEWEST, (limit, actor, action))]
    return [_audited(row) for row in connection.execute(_ONWARD, (limit, actor, action, after))]


def verify(database: Database, anchor: Head | None) -> list[str]:
    """Walk the whole chain in short transactions. Raises: JournalCorrupt for a row that cannot be read."""
    with database.reading() as connection:  # before the walk: entries added meanwhile are walked too
        given = _given(connection)
    walk = trail.Walk(Head(), anchor=anchor)
    for one in _whole(database):
        walk.step(one)
    findings = walk.end()
    if not findings and walk.last.number < given:
        findings.append(f"audit entries {walk.last.number + 1} to {given} are missing at the end")
    return findings


def _whole(database: Database) -> Iterator[Audited]:
    after = 0
    while True:
        with database.reading() as connection:
            entries = page(connection, after=after, limit=_PAGE)
        if not entries:
            return
        yield from entries
        after = entries[-1].number


def _given(connection: apsw.Connection) -> int:
    """The highest number an entry ever had."""
    return int(connection.execute(_EVER_GIVEN).get or 0)


def _audited(row: tuple[Any, ...]) -> Audited:
    number, at, actor, action, subject, reason, digest = row
    try:
        return Audited(number, moment(at), AuditEntry(actor, action, subject, reason), _hash(digest))
    except OverflowError as error:
        raise JournalCorrupt(f"table audit: the time of entry {number} is no time") from error


def _hash(stored: object) -> bytes | None:
    return stored if isinstance(stored, bytes) else None
