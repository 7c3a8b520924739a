"""Taking the bridge away from a legacy PostgreSQL: its sessions and its slot, and the proof that nothing is left.

Touches only what carries our name and belongs to our own login. Publications, grants and the login are the DBA's; the
undo script removes them.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import errors, sql

from bridge.errors import SourceRefused, SourceUnavailable
from bridge.postgres.session import Connection, ConnectSettings, connect, translated
from bridge.sources.postgres.setup import Setup

# Our login, under this bridge's name, this session excepted.
_SESSIONS: LiteralString = """
SELECT pid FROM pg_stat_activity
WHERE usename = session_user AND pid <> pg_backend_pid() AND left(application_name, length(%(ours)s)) = %(ours)s
"""
_STRANGER: LiteralString = """
SELECT active_pid FROM pg_replication_slots
WHERE slot_name = %(slot)s AND active_pid IS NOT NULL AND active_pid <> ALL(%(pids)s)
"""
_END: LiteralString = "SELECT count(*) FROM unnest(%(pids)s::int[]) pid WHERE pg_terminate_backend(pid)"
_DROP: LiteralString = """
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %(slot)s
"""
_LEFT: LiteralString = """
SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE slot_name = %(slot)s
UNION ALL SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts WHERE owner = session_user
"""
_DBA: LiteralString = """
SELECT 'publication ' || pubname FROM pg_publication WHERE pubname IN (%(publication)s, %(inserts)s)
UNION ALL SELECT 'login ' || session_user
"""
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Departure:
    """What was taken away and what is there still."""

    slot_dropped: bool  # False: there was none
    sessions_ended: int
    left: tuple[str, ...]  # of ours; empty is the proof
    for_the_dba: tuple[str, ...]  # what the undo script removes


def decommission(settings: ConnectSettings, setup: Setup, *, timeout_s: float = 30.0) -> Departure:
    """End our sessions, drop our slot, and look whether anything of ours is left. Callable again.

    The daemon must have been stopped, or it comes back and makes a new slot.

    Args:
        settings: the bridge's own login.
        setup: names the slot and the publications.
        timeout_s: how long a session may take to end.
    Raises: SourceRefused when somebody else reads the slot, SourceUnavailable when a session does not end in time.
    """
    names = {
        "ours": f"legacy-bridge/{settings.instance}/",
        "slot": setup.slot,
        "publication": setup.publication,
        "inserts": setup.insert_publication,
    }
    deadline = time.monotonic() + timeout_s
    with connect(settings, purpose="decommission") as connection, translated("decommissioning"):
        pids = _column(connection, _SESSIONS, names)
        strangers = _column(connection, _STRANGER, {**names, "pids": pids})
        if strangers:
            raise SourceRefused(
                f"slot {setup.slot} is being read by session {strangers[0]}, which is not ours",
                hint="Find out whose it is in pg_stat_activity; nothing was changed.",
            )
        [ended] = _column(connection, _END, {"pids": pids})
        dropped = _drop(connection, names, deadline=deadline)
        while (left := _left(connection, names)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return Departure(dropped, ended, left, tuple(_column(connection, _DBA, names)))


def _drop(connection: Connection, names: dict[str, str], *, deadline: float) -> bool:
    while True:
        try:
            return bool(_column(connection, _DROP, names))
        except errors.UndefinedObject:  # somebody was faster
            return False
        except errors.ObjectInUse as error:  # its session is still ending
            if time.monotonic() > deadline:
                raise SourceUnavailable(f"slot {names['slot']} is still being read") from error
            time.sleep(_POLL_S)


def _left(connection: Connection, names: dict[str, str]) -> tuple[str, ...]:
    sessions = (f"session {pid}" for pid in _column(connection, _SESSIONS, names))
    return (*_column(connection, _LEFT, names), *sessions)


def _column(connection: Connection, query: LiteralString, values: Mapping[str, Any]) -> list[Any]:
    return [row[0] for row in connection.execute(sql.SQL(query), values).fetchall()]
