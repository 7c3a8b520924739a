"""Runs of extraction, and what each system was asked to do for us.

Every statement here runs inside a transaction the caller opened.
"""

from datetime import datetime
from typing import Any

import apsw
import msgspec

from bridge.extracted import Charge, Run
from bridge.journal.rows import maybe_moment, micros, moment, to_json

_HOUR = 3_600_000_000

_PUT = """
INSERT INTO run (source, number, stream, kind, cause, state, started_at, ended_at, detail, pages, rows,
  counts, seconds, size, queries, moments, rejected) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
  state = excluded.state, ended_at = excluded.ended_at, detail = excluded.detail, pages = excluded.pages,
  rows = excluded.rows, counts = excluded.counts, seconds = excluded.seconds, size = excluded.size,
  queries = excluded.queries, moments = excluded.moments, rejected = rejected + excluded.rejected
"""
_COLUMNS = """
SELECT source, number, stream, kind, cause, state, started_at, ended_at, detail, pages, rows, counts, seconds, size,
  queries, moments, rejected FROM run
"""
_FIND = _COLUMNS + """
WHERE (?1 IS NULL OR stream = ?1) AND (?2 IS NULL OR source = ?2) AND (?3 IS NULL OR number = ?3)
ORDER BY started_at DESC, number DESC LIMIT ?4
"""  # fmt: skip
_CHARGE = """
INSERT INTO bill VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT DO UPDATE SET queries = queries + ?4, seconds = seconds + ?5, rows = rows + ?6, size = size + ?7
"""
_BILL = """
SELECT system, stream, hour, queries, seconds, rows, size FROM bill
WHERE (?1 IS NULL OR system = ?1) AND hour >= ?2 ORDER BY hour, system, stream
"""


def put(connection: apsw.Connection, run: Run, rejected: int) -> None:
    """Store a run, replacing what was known of it but for the rows that were rejected: those are added."""
    ended_at = None if run.ended_at is None else micros(run.ended_at)
    what = (run.source, run.number, run.stream, run.kind, run.cause, run.state, micros(run.started_at), ended_at)
    spent = (run.detail, run.pages, run.rows, to_json(dict(run.counts)), run.seconds, run.size_bytes, run.queries)
    connection.execute(_PUT, (*what, *spent, run.moments, rejected))


def find(
    connection: apsw.Connection, *, stream: str | None, source: str | None, number: int | None, limit: int
) -> list[Run]:
    """Runs, the newest first."""
    return [_run(row) for row in connection.execute(_FIND, (stream, source, number, limit))]


def charge(connection: apsw.Connection, charge: Charge) -> None:
    """Add to the bill of its hour."""
    hour = micros(charge.at) // _HOUR
    spent = (charge.queries, charge.seconds, charge.rows, charge.size_bytes)
    connection.execute(_CHARGE, (charge.system, charge.stream, hour, *spent))


def bill(connection: apsw.Connection, *, system: str | None, since: datetime) -> list[Charge]:
    """What was charged since the hour of `since`, one entry per hour, system and stream, in that order."""
    return [
        Charge(system, stream, moment(hour * _HOUR), queries, seconds, rows, size)
        for system, stream, hour, queries, seconds, rows, size in connection.execute(
            _BILL, (system, micros(since) // _HOUR)
        )
    ]


def _run(row: tuple[Any, ...]) -> Run:
    source, number, stream, kind, cause, state, started_at, ended_at, *spent = row
    detail, pages, rows, counts, seconds, size, queries, moments, rejected = spent
    return Run(
        source=source,
        number=number,
        stream=stream,
        kind=kind,
        cause=cause,
        state=state,
        started_at=moment(started_at),
        ended_at=maybe_moment(ended_at),
        detail=detail,
        pages=pages,
        rows=rows,
        counts=msgspec.json.decode(counts),
        seconds=seconds,
        size_bytes=size,
        queries=queries,
        moments=moments,
        rejected=rejected,
    )
