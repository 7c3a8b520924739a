"""Read everything once and say what is damaged.

Every block, letter, parked batch and state row is read, checked and decoded; numbers must be gapless, the catalogue's
sums right and the audit trail's chain whole; then SQLite checks the file itself. Runs beside a writing owner, in short
transactions.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bridge.errors import JournalCorrupt
from bridge.journal import auditing, blocks, deliveries, images, keeping, letters, states
from bridge.journal.database import Database

_SUMS = """
SELECT count(*), coalesce(sum(length(data)), 0), min(first), max(last) FROM block WHERE stream = ?
"""
_STRAY_BLOCKS = "SELECT DISTINCT stream FROM block WHERE stream NOT IN (SELECT name FROM stream)"
_INTEGRITY = "PRAGMA integrity_check(100)"
# The small tables that decide where everything resumes.
_STATE_INTEGRITY = (
    "PRAGMA integrity_check(stream)",
    "PRAGMA integrity_check(source)",
    "PRAGMA integrity_check(subscriber)",
    "PRAGMA integrity_check(stream_state)",
    "PRAGMA integrity_check(arrow_schema)",
    "PRAGMA integrity_check(kept)",
    "PRAGMA integrity_check(received)",
)
_FETCH_BYTES = 8 << 20
# Keys of a table, and what reads and checks the row of one key.
_CHECKS: tuple[tuple[str, Callable[..., object]], ...] = (
    ("SELECT id FROM letter_block", letters.check_block),
    ("SELECT id FROM letter WHERE block NOT IN (SELECT id FROM letter_block)", letters.get),
    ("SELECT id FROM parked", letters.get_parked),
    ("SELECT name FROM source", states.position),
    ("SELECT stream FROM stream_state", states.stream_state),
    ("SELECT name, stream FROM subscriber", states.progress),
    ("SELECT id FROM undelivered", deliveries.get),
    ("SELECT DISTINCT kind FROM kept", keeping.kept),
    ("SELECT id FROM image", images.get),
)


class Findings(list[str]):
    """Sentences about damage."""

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Turn damage met inside into a sentence."""
        try:
            yield
        except JournalCorrupt as damage:
            self.append(damage.detail)


def require_sound_states(database: Database) -> None:
    """Check the pages of the tables that decide where everything resumes; about a millisecond.

    A row whose checksum is wrong is noticed when it is read. A row that a damaged page hides is not: a source would
    seem new and start again.

    Raises: JournalCorrupt.
    """
    for check in _STATE_INTEGRITY:
        with database.reading() as connection:
            report = connection.execute(check).get
        if report != "ok":
            table = check.partition("(")[2].rstrip(")")
            raise JournalCorrupt(f"table {table}: {str(report).splitlines()[-1]}")


def verify(database: Database) -> list[str]:
    """One sentence per damage found; empty means sound. Raises: JournalUnavailable."""
    findings = Findings()
    streams: list[str] = []
    with findings.noting(), database.reading() as connection:
        streams = [name for (name,) in connection.execute("SELECT name FROM stream")]
        strays = connection.execute(_STRAY_BLOCKS).fetchall()
        findings += [f"table block: stream {name} is not in the catalogue" for (name,) in strays]
    for stream in streams:
        _check_sums(database, stream, findings)
        _check_blocks(database, stream, findings)
    for keys, check in _CHECKS:
        _check_each(database, findings, keys, check)
    with findings.noting():
        findings += auditing.verify(database, None)
    with findings.noting(), database.reading() as connection:
        report = [line for (line,) in connection.execute(_INTEGRITY)]
        findings += [f"SQLite: {line}" for line in report if line != "ok"]
    return findings


def _check_sums(database: Database, stream: str, findings: Findings) -> None:
    with findings.noting(), database.reading() as connection:
        row = blocks.find(connection, stream)
        if row is None:
            return
        count, size, first, last = connection.execute(_SUMS, (stream,)).get
        held = (row.blocks, row.bytes, row.first, row.last)
        found = (count, size, row.last + 1 if first is None else first, row.last if last is None else last)
        if held != found:
            findings.append(
                f"table stream: stream {stream} should hold {row.blocks} blocks of {row.bytes} bytes,"
                f" numbers {row.first}-{row.last}; it holds {count} of {size}, {first}-{last}"
            )


def _check_blocks(database: Database, stream: str, findings: Findings) -> None:
    """Read block after block; past a damaged one, go on with the next that is there."""
    after = 0
    while True:
        try:
            with database.reading() as connection:
                row = blocks.find(connection, stream)
                if row is None or after >= row.last:
                    return
                for stored in blocks.fetch(connection, row, after=after, budget_bytes=_FETCH_BYTES):
                    blocks.decode(stored, blocks.schema(connection, stored.schema))
                    after = stored.last
                if after < row.first - 1 or row.first > row.last:
                    return
        except JournalCorrupt as damage:
            findings.append(damage.detail)
            beyond = _end_of_next(database, stream, after, findings)
            if beyond is None:
                return
            after = beyond


def _end_of_next(database: Database, stream: str, after: int, findings: Findings) -> int | None:
    """The last number of the first block that begins above `after`; None when there is none or it cannot be told."""
    with findings.noting(), database.reading() as connection:
        heads = blocks.heads(connection, stream, after=after, limit=1)
        return max(heads[0].last, heads[0].first) if heads else None
    return None  # type: ignore[unreachable]  # reached when `noting` caught damage


def _check_each(database: Database, findings: Findings, keys: str, check: Callable[..., object]) -> None:
    """Run a check that raises JournalCorrupt on every key of a table, each in a transaction of its own."""
    found: list[tuple[object, ...]] = []
    with findings.noting(), database.reading() as connection:
        found = connection.execute(keys).fetchall()
    for key in found:
        with findings.noting(), database.reading() as connection:
            check(connection, *key)
