"""The replication slot: what it holds back on the legacy server, how long that may go on, and what endangers it.

A slot keeps WAL on the legacy server's disk until we have journalled it, so it is watched from the first minute.
`observe` and `create` ask the server; `forecast` and `judge` are pure. Nothing here drops a slot (see decommission).
"""

import select
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import pq, sql

from bridge.errors import InternalError, SourceRefused
from bridge.findings import Finding, Level
from bridge.postgres.session import Connection, translated
from bridge.sources.postgres import lsn
from bridge.sources.postgres.transactions import OLDEST, Holder, holder

GIGABYTE = 1 << 30
MEGABYTE = 1 << 20
FAILOVER_SINCE = 170000  # server_version_num
_WAIT_S = 1.0

# to_jsonb: the view gains columns with every major version, and a missing one is simply absent.
_OBSERVE = f"""
SELECT to_jsonb(s), now(), pg_is_in_recovery(), current_setting('server_version_num')::int,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)::text,
       (SELECT jsonb_object_agg(name, setting) FROM pg_settings
        WHERE name IN ('max_slot_wal_keep_size', 'idle_replication_slot_timeout', 'synchronized_standby_slots')),
       {OLDEST},
       (SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary)
       + (SELECT count(*) FROM pg_stat_replication r
          WHERE application_name NOT IN ('pg_basebackup', 'pg_receivewal')
          AND NOT EXISTS (SELECT FROM pg_replication_slots a WHERE a.active_pid = r.pid)
          AND application_name NOT LIKE 'legacy-bridge/%%')
FROM pg_replication_slots s WHERE slot_name = %s
"""  # noqa: S608  no value comes into it


@dataclass(frozen=True, slots=True)
class SlotState:
    """One slot at one moment, with what its server would do to it; None where the server's version does not say."""

    name: str
    observed_at: datetime  # by the server's clock
    current_lsn: int  # end of the WAL; on a standby what it has replayed
    restart_lsn: int | None  # the oldest WAL kept for us; None once the slot is lost
    confirmed_flush_lsn: int | None
    wal_status: str | None  # reserved, extended, unreserved, lost (since 13)
    safe_wal_bytes: int | None  # what may still be written before the slot is in danger; None: unlimited or lost
    active_pid: int | None
    inactive_since: datetime | None  # since 17
    invalidation_reason: str | None  # since 17
    conflicting: bool | None  # since 16
    failover: bool | None  # since 17
    synced: bool | None  # since 17: copied from a primary to this standby
    temporary: bool
    in_recovery: bool  # seen on a standby
    server_version: int  # server_version_num
    keep_limit_bytes: int | None  # max_slot_wal_keep_size; None: unlimited
    idle_timeout_s: int  # idle_replication_slot_timeout; 0: off
    standby_count: int  # standbys of this server, as far as we may see
    guards_standbys: bool  # synchronized_standby_slots is set: we are never sent what a standby does not have
    holder: Holder | None = None

    @property
    def retained_bytes(self) -> int:
        """WAL the server keeps for this slot."""
        return 0 if self.restart_lsn is None else max(0, self.current_lsn - self.restart_lsn)

    @property
    def behind_bytes(self) -> int:
        """WAL written since what we confirmed last."""
        return 0 if self.confirmed_flush_lsn is None else max(0, self.current_lsn - self.confirmed_flush_lsn)

    @property
    def is_lost(self) -> bool:
        """Whether the slot can never be read again."""
        return self.wal_status == "lost" or self.invalidation_reason is not None or bool(self.conflicting)

    @property
    def survives_failover(self) -> bool:
        """On a standby: whether the slot outlives a promotion now (F10: a temporary one vanishes)."""
        return bool(self.synced) and not self.temporary and not self.is_lost


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """How much the operator lets the slot keep, and when to call."""

    budget_bytes: int = 10 * GIGABYTE  # systems.NAME.budget.slot_gigabytes
    alarm_ratio: float = 0.5  # of the budget, of the server's own limit, and of its idle timeout
    allow_unlimited: bool = False  # waiver unlimited_slot
    transaction_s: float = 300.0  # how long one transaction may hold back the slot before we call


@dataclass(frozen=True, slots=True)
class Forecast:
    """How full the slot is and when it will be."""

    limit_bytes: int  # the nearer of the budget and the server's own limit
    ratio: float  # retained / limit
    bytes_per_s: float | None  # growth of the retained WAL; None before a second observation
    hours_to_full: float | None  # None: not growing, or not known


@dataclass(frozen=True, slots=True)
class History:
    """Which server this is and how its timelines forked."""

    system_id: str
    timeline: int
    flush_lsn: int
    database: str
    forks: tuple[tuple[int, int], ...]  # each former timeline with the position where it was left

    def holds(self, position: int, *, timeline: int) -> bool:
        """Whether a position reached on `timeline` is part of this server's past.

        False after a restore or a failover to a standby that had not received it: PositionLost (I2).
        """
        end = dict(self.forks).get(timeline, self.flush_lsn if timeline == self.timeline else -1)
        return position <= end


def observe(connection: Connection, slot: str, *, previous: SlotState | None = None) -> SlotState | None:
    """Look at a slot; None when there is none of that name. Raises: what `translated` says.

    Args:
        connection: a SQL session.
        slot: its name.
        previous: what the last look found, for how long a transaction has been open at least.
    """
    with translated(f"looking at slot {slot}"):
        row = connection.execute(_OBSERVE, (slot,)).fetchone()
    if row is None:
        return None
    seen, observed_at, in_recovery, version, current, settings, oldest, standby_count = row
    return SlotState(
        name=seen["slot_name"],
        observed_at=observed_at,
        current_lsn=lsn.parse(current),
        restart_lsn=_position(seen, "restart_lsn"),
        confirmed_flush_lsn=_position(seen, "confirmed_flush_lsn"),
        wal_status=seen.get("wal_status"),
        safe_wal_bytes=seen.get("safe_wal_size"),
        active_pid=seen.get("active_pid"),
        inactive_since=datetime.fromisoformat(since) if (since := seen.get("inactive_since")) else None,
        invalidation_reason=seen.get("invalidation_reason"),
        conflicting=seen.get("conflicting"),
        failover=seen.get("failover"),
        synced=seen.get("synced"),
        temporary=seen["temporary"],
        in_recovery=in_recovery,
        server_version=version,
        keep_limit_bytes=_keep_limit(settings),
        idle_timeout_s=int(settings.get("idle_replication_slot_timeout", 0)),
        standby_count=standby_count,
        guards_standbys=bool(settings.get("synchronized_standby_slots")),
        holder=holder(oldest, observed_at, previous.holder if previous else None),
    )


def create(connection: Connection, slot: str, *, failover: bool, waiting: Callable[[], None] = lambda: None) -> int:
    """Create the logical slot; returns its consistent point: every transaction that commits later will be sent.

    Waits for the transactions that are open now, however long they take.

    Args:
        connection: a replication session.
        slot: letters, digits and underscores.
        failover: let standbys keep a copy; PostgreSQL 17 and later only.
        waiting: called every second meanwhile; what it raises gives the creation up.
    Raises: SourceRefused (no slot free, wal_level, version), SourceUnavailable.
    """
    if failover and connection.info.server_version < FAILOVER_SINCE:
        raise SourceRefused("failover slots need PostgreSQL 17", hint="Set `failover: false` for this system.")
    options = "(SNAPSHOT 'nothing', FAILOVER true)" if failover else "NOEXPORT_SNAPSHOT"
    command = sql.SQL("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput {}")
    query = command.format(sql.Identifier(slot), sql.SQL(options)).as_bytes(connection)
    with translated(f"creating slot {slot}"):
        point = _run(connection, query, waiting).get_value(0, 1)
    if point is None:
        raise InternalError(f"creating slot {slot} returned nothing")
    return lsn.parse(point.decode())


def _run(connection: Connection, query: bytes, waiting: Callable[[], None]) -> pq.abc.PGresult:
    """The result of a query that may take long."""
    pgconn = connection.pgconn
    pgconn.send_query(query)
    try:
        while pgconn.is_busy():
            if not select.select([pgconn.socket], [], [], _WAIT_S)[0]:
                waiting()
            pgconn.consume_input()
    except BaseException:
        connection.cancel_safe(timeout=5)  # or the server would go on without us, and keep the slot's name
        raise
    result = pgconn.get_result()
    while pgconn.get_result() is not None:
        pass  # the end of the command is a result too
    if result is None or result.status != pq.ExecStatus.TUPLES_OK:
        raise psycopg.errors.error_from_result(result) if result else psycopg.InterfaceError("no result")
    return result


def history(connection: Connection) -> History:
    """Ask a replication session which server it is on and where its timelines forked.

    Source: PostgreSQL manual, "Streaming Replication Protocol", IDENTIFY_SYSTEM and TIMELINE_HISTORY.
    """
    with translated("asking for the server's identity"):
        row = connection.execute("IDENTIFY_SYSTEM").fetchone()
        if row is None:
            raise InternalError("IDENTIFY_SYSTEM returned nothing")
        system_id, timeline, flushed, database = row
        content = b""
        if timeline > 1:
            result = connection.execute(sql.SQL("TIMELINE_HISTORY {}").format(sql.Literal(timeline))).pgresult
            content = (result.get_value(0, 1) if result else None) or b""
    return History(system_id, timeline, lsn.parse(flushed), database, parse_history(content.decode("utf-8", "replace")))


def parse_history(content: str) -> tuple[tuple[int, int], ...]:
    """Former timelines with their switch positions, oldest first, of a timeline history file.

    Lines are "timeline, tab, switch position, tab, reason"; empty lines and those that start with # say nothing.
    """
    lines = (line.split(None, 2) for line in content.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    return tuple((int(parts[0]), lsn.parse(parts[1])) for parts in lines)


def forecast(state: SlotState, previous: SlotState | None, limits: SlotLimits) -> Forecast:
    """How full the slot is, and when it will be if the legacy system goes on writing as between the observations."""
    server_limit = None if state.safe_wal_bytes is None else state.retained_bytes + max(0, state.safe_wal_bytes)
    limit = min(limits.budget_bytes, server_limit) if server_limit is not None else limits.budget_bytes
    ratio = state.retained_bytes / limit if limit else 1.0
    elapsed_s = (state.observed_at - previous.observed_at).total_seconds() if previous else 0.0
    if previous is None or elapsed_s <= 0:
        return Forecast(limit, ratio, None, None)
    rate = (state.retained_bytes - previous.retained_bytes) / elapsed_s
    hours = max(0, limit - state.retained_bytes) / rate / 3600 if rate > 0 else None
    return Forecast(limit, ratio, rate, hours)


def judge(state: SlotState | None, previous: SlotState | None, limits: SlotLimits, *, slot: str) -> list[Finding]:
    """What endangers the slot, or the legacy server through it; empty when all is well.

    Args:
        state: what `observe` just returned.
        previous: what it returned before, for the rate.
        limits: the operator's.
        slot: its name, also when there is none.
    """
    if state is None:
        fix = "Did somebody drop it? The bridge declares a gap and reads the tables again."
        return [Finding(Level.FAIL, "slot.missing", slot, "the slot does not exist", fix)]
    if state.is_lost:
        reason = state.invalidation_reason or state.wal_status or "conflict"
        detail = f"the server invalidated the slot ({reason}); changes from then on cannot be read"
        fix = "The bridge declares a gap and reads the tables again; raise the limit on the server that was hit."
        return [Finding(Level.FAIL, "slot.lost", slot, detail, fix)]
    found = _judge_size(state, previous, limits)
    found += _judge_idleness(state, limits)
    found += _judge_holder(state, limits)
    found += _judge_standby(state) if state.in_recovery else _judge_failover(state)
    return found


def _judge_size(state: SlotState, previous: SlotState | None, limits: SlotLimits) -> list[Finding]:
    found = []
    outlook = forecast(state, previous, limits)
    if state.wal_status == "unreserved":
        detail = "the slot is past the server's limit and is lost at the next checkpoint"
        fix = "Let the bridge catch up now, or raise max_slot_wal_keep_size."
        found.append(Finding(Level.FAIL, "slot.unreserved", state.name, detail, fix))
    if outlook.ratio >= limits.alarm_ratio:
        when = "" if outlook.hours_to_full is None else f"; full in {outlook.hours_to_full:.1f} h"
        detail = (
            f"{state.retained_bytes // MEGABYTE} MB of WAL kept, {outlook.ratio:.0%} of the"
            f" {outlook.limit_bytes // MEGABYTE} MB allowed{when}"
        )
        fix = "See why the bridge is behind: `legacy-bridge status`. At the limit the slot is given up."
        level = Level.FAIL if outlook.ratio >= 1 else Level.WARN
        found.append(Finding(level, "slot.filling", state.name, detail, fix))
    if state.keep_limit_bytes is None and not limits.allow_unlimited:
        detail = "max_slot_wal_keep_size is unlimited: if the bridge stays away, the legacy disk fills"
        fix = "Set max_slot_wal_keep_size on the server, or sign for it with `allow: [unlimited_slot]`."
        found.append(Finding(Level.WARN, "slot.unlimited", state.name, detail, fix))
    return found


def _judge_idleness(state: SlotState, limits: SlotLimits) -> list[Finding]:
    if not state.idle_timeout_s or state.inactive_since is None or state.active_pid is not None:
        return []
    idle_s = (state.observed_at - state.inactive_since).total_seconds()
    if idle_s < limits.alarm_ratio * state.idle_timeout_s:
        return []
    detail = f"nobody has read the slot for {idle_s:.0f} s; after {state.idle_timeout_s} s the server invalidates it"
    fix = "Start the bridge, or raise idle_replication_slot_timeout."
    return [Finding(Level.FAIL, "slot.idle", state.name, detail, fix)]


def _judge_holder(state: SlotState, limits: SlotLimits) -> list[Finding]:
    held = state.holder
    if held is None or (state.observed_at - held.since).total_seconds() < limits.transaction_s:
        return []
    detail = (
        f"{held.who} of {held.login} in {held.database} has had a transaction open since"
        f" {held.since:%Y-%m-%d %H:%M:%S%z}; no WAL from then on can be freed, {state.retained_bytes // MEGABYTE} MB"
        " are kept"
    )
    return [Finding(Level.WARN, "slot.held_back", state.name, detail, "Ask its owner to end it.")]


def judge_creation(held: Holder | None, *, slot: str) -> Finding:
    """While a slot is being created: what the server waits for."""
    by = f"{held.who} of {held.login} in {held.database}" if held else "one that has just ended"
    detail = f"the slot is being created; the server waits until open transactions end, first of all that of {by}"
    return Finding(Level.WARN, "slot.waits", slot, detail, "Ask its owner to end it; nothing is read before.")


def _judge_failover(state: SlotState) -> list[Finding]:
    """On a primary: a standby that has no copy of the slot loses our position when it takes over."""
    if state.server_version < FAILOVER_SINCE or not state.standby_count:
        return []
    if not state.failover:
        detail = "this server has a standby, and the slot would not survive its promotion"
        fix = "Set `failover: true`, recreate the slot, and set sync_replication_slots on the standby."
        return [Finding(Level.FAIL, "slot.no_failover", state.name, detail, fix)]
    if not state.guards_standbys:
        detail = "we may be sent changes that the standby does not have; after its promotion they never happened"
        fix = "Name the standby's physical slot in synchronized_standby_slots on the primary."
        return [Finding(Level.WARN, "slot.ahead_of_standby", state.name, detail, fix)]
    return []


def _judge_standby(state: SlotState) -> list[Finding]:
    """On a standby: is the copy durable yet (F10)?"""
    if state.synced is None or state.survives_failover:
        return []
    detail = (
        "the copy of the slot is still temporary" if state.synced else "the slot here is not a copy of the primary's"
    )
    fix = (
        "It becomes durable once the bridge confirms on the primary and the standby has caught up; do not promote yet."
    )
    return [Finding(Level.FAIL, "slot.not_durable", state.name, detail, fix)]


def _position(seen: Mapping[str, Any], name: str) -> int | None:
    value = seen.get(name)
    return None if value is None else lsn.parse(value)


def _keep_limit(settings: Mapping[str, str]) -> int | None:
    megabytes = int(settings.get("max_slot_wal_keep_size", -1))
    return None if megabytes < 0 else megabytes * MEGABYTE
