"""The oldest open transaction: what a slot's creation waits for, and what keeps WAL that we have long confirmed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from bridge.postgres.session import Connection, translated

# Of all transactions that write, prepared ones too. Who may not see when another's began is told null.
OLDEST: LiteralString = """
(SELECT to_jsonb(t) FROM (
    SELECT pid, NULL AS gid, backend_xid AS xid, usename AS login, datname AS database, xact_start AS since
    FROM pg_stat_activity WHERE backend_xid IS NOT NULL
    UNION ALL SELECT NULL, gid, transaction, owner, database, prepared FROM pg_prepared_xacts) t
 ORDER BY age(xid) DESC LIMIT 1)
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """The oldest transaction that writes: the server keeps all WAL from its begin on, whatever we confirm."""

    who: str  # "process 4711", "prepared transaction 'x'"
    login: str
    database: str
    xid: int
    since: datetime  # when it began, or where we may not see that, when we saw it first


def oldest_transaction(connection: Connection) -> Holder | None:
    """The transaction that everything waits for which must wait for all."""
    with translated("looking for the oldest transaction"):
        row = connection.execute(f"SELECT {OLDEST}, now()").fetchone()
    return holder(row[0], row[1], None) if row else None


def holder(oldest: Mapping[str, Any] | None, observed_at: datetime, previous: Holder | None) -> Holder | None:
    """What a query of OLDEST returned, seen at `observed_at`, after `previous`."""
    if oldest is None:
        return None
    who = f"process {oldest['pid']}" if oldest["pid"] else f"prepared transaction {oldest['gid']!r}"
    xid = int(oldest["xid"])
    since = datetime.fromisoformat(oldest["since"]) if oldest["since"] else observed_at
    if not oldest["since"] and previous is not None and (previous.who, previous.xid) == (who, xid):
        since = previous.since
    return Holder(who, oldest["login"], oldest["database"], xid, since)
