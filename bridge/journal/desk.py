"""The operator's desk: requests to the daemon, pinned contracts, counts of judged rows.

Every statement here runs inside a transaction the caller opened.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import apsw
import msgspec

from bridge.errors import InternalError
from bridge.journal.rows import maybe_moment, micros, moment, to_json
from bridge.ports import Request

_MINUTE = 60_000_000

_PIN = "INSERT INTO contract_pin VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_PINNED = "SELECT digest FROM contract_pin WHERE contract = ? AND version = ?"
_REQUEST = "INSERT INTO request (kind, args, actor, made_at) VALUES (?, ?, ?, ?) RETURNING id"
_OPEN_REQUESTS = """
SELECT id, kind, args, actor, made_at, settled_at, ok, result FROM request WHERE settled_at IS NULL ORDER BY id LIMIT ?
"""
_NEWEST_REQUESTS = """
SELECT * FROM (
  SELECT id, kind, args, actor, made_at, settled_at, ok, result FROM request ORDER BY id DESC LIMIT ?
) ORDER BY id
"""
_SETTLE = "UPDATE request SET settled_at = ?, ok = ?, result = ? WHERE id = ? AND settled_at IS NULL"
_JUDGE = """
INSERT INTO judged VALUES (?1, ?2, ?3, ?4)
ON CONFLICT DO UPDATE SET valid = valid + ?3, rejected = rejected + ?4
"""
_JUDGED = "SELECT coalesce(sum(valid), 0), coalesce(sum(rejected), 0) FROM judged WHERE stream = ? AND minute >= ?"


def pin(connection: apsw.Connection, contract: str, version: str, digest: str) -> str:
    """The digest on record, which is the given one on first sight."""
    connection.execute(_PIN, (contract, version, digest))
    return str(connection.execute(_PINNED, (contract, version)).get)


def request(connection: apsw.Connection, kind: str, args: Mapping[str, Any], *, actor: str, now: datetime) -> int:
    """Leave a request; returns its id."""
    return int(connection.execute(_REQUEST, (kind, to_json(dict(args)), actor, micros(now))).get)


def requests(connection: apsw.Connection, *, open_only: bool, limit: int) -> list[Request]:
    """The oldest open requests, or the newest of all; in order of id."""
    rows = connection.execute(_OPEN_REQUESTS if open_only else _NEWEST_REQUESTS, (limit,))
    return [_request(row) for row in rows]


def settle(connection: apsw.Connection, request_id: int, *, ok: bool, result: Mapping[str, Any], now: datetime) -> None:
    """Close a request. Raises: InternalError when it is not open."""
    connection.execute(_SETTLE, (micros(now), ok, to_json(dict(result)), request_id))
    if connection.changes() != 1:
        raise InternalError(f"request {request_id} cannot be settled: it is not open")


def judge(connection: apsw.Connection, judged: Mapping[str, tuple[int, int]], now: datetime) -> None:
    """Add to the counts of this minute."""
    minute = micros(now) // _MINUTE
    for stream, (valid, rejected) in judged.items():
        connection.execute(_JUDGE, (stream, minute, valid, rejected))


def validity(connection: apsw.Connection, stream: str, *, since: datetime) -> tuple[int, int]:
    """Rows judged valid and rejected since the minute of `since`."""
    valid, rejected = connection.execute(_JUDGED, (stream, micros(since) // _MINUTE)).get
    return int(valid), int(rejected)


def _request(row: tuple[Any, ...]) -> Request:
    number, kind, args, actor, made_at, settled_at, ok, result = row
    return Request(
        id=number,
        kind=kind,
        args=msgspec.json.decode(args),
        actor=actor,
        made_at=moment(made_at),
        settled_at=maybe_moment(settled_at),
        ok=None if ok is None else bool(ok),
        result=None if result is None else msgspec.json.decode(result),
    )
