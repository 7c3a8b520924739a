"""The slot's guard on real servers: filling, lost, idle, failing over."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from bridge.errors import PositionLost, SourceRefused
from bridge.postgres.session import Connection, ConnectSettings, connect, translated
from bridge.sources.postgres import lsn, slot
from bridge.sources.postgres.slot import MEGABYTE, SlotLimits, SlotState
from demo.server import VERSIONS, PostgresServer

NAME = "bridge"
LIMITS = SlotLimits(allow_unlimited=True)
HAS_FAILOVER = next(iter(VERSIONS), "0") >= "17"
HAS_IDLE_TIMEOUT = next(iter(VERSIONS), "0") >= "18"
STANDBY = {"sync_replication_slots": "on", "hot_standby_feedback": "on", "wal_receiver_status_interval": "1s"}


@contextmanager
def started(version: str | None = None, **settings: str) -> Iterator[PostgresServer]:
    """A server with a login that may only replicate."""
    with PostgresServer.start(version=version, settings={"fsync": "off", **settings}) as server:
        server.sql("CREATE ROLE reader LOGIN REPLICATION; CREATE PUBLICATION p")
        yield server


def session(server: PostgresServer, *, replication: bool = False) -> Connection:
    settings = ConnectSettings("acme", server.host, server.port, "postgres", "reader")
    return connect(settings, purpose="guard", replication=replication)


def create(server: PostgresServer, *, failover: bool = False) -> int:
    with session(server, replication=True) as connection:
        return slot.create(connection, NAME, failover=failover)


def write_wal(server: PostgresServer, megabytes: int) -> None:
    server.sql(f"SELECT pg_logical_emit_message(false, 'x', repeat('x', 1048576)) FROM generate_series(1, {megabytes})")


def codes(state: SlotState | None, limits: SlotLimits = LIMITS) -> set[str]:
    return {finding.code for finding in slot.judge(state, None, limits, slot=NAME)}


def observe_until(connection: Connection, is_reached: Callable[[SlotState | None], bool]) -> SlotState | None:
    """Look until the slot is as wanted. The server acts in its own time."""
    deadline = time.monotonic() + 30
    while not is_reached(state := slot.observe(connection, NAME)):
        assert time.monotonic() < deadline, state
        time.sleep(0.05)
    return state


def start_streaming(server: PostgresServer) -> None:
    with session(server, replication=True) as connection, translated("streaming"):
        connection.pgconn.send_query(
            f"START_REPLICATION SLOT {NAME} LOGICAL 0/0 (proto_version '1', publication_names 'p')".encode()
        )
        result = connection.pgconn.get_result()
        assert result
        raise psycopg.errors.error_from_result(result)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_slot_fills_alarms_at_half_and_is_lost_at_the_cap(version: str) -> None:
    """B18, B1: WAL kept for us never passes the agreed cap, and we call before it does."""
    with started(version, max_slot_wal_keep_size="64MB", wal_keep_size="0", min_wal_size="32MB") as server:
        assert create(server) > 0
        with session(server) as connection:
            before = slot.observe(connection, NAME)
            assert before
            assert before.keep_limit_bytes == 64 * MEGABYTE
            assert codes(before) == set()

            write_wal(server, 40)
            half = slot.observe(connection, NAME)
            assert half
            assert 32 * MEGABYTE <= half.retained_bytes < 64 * MEGABYTE
            assert codes(half) == {"slot.filling"}
            outlook = slot.forecast(half, before, LIMITS)
            assert outlook.bytes_per_s
            assert outlook.hours_to_full is not None
            assert outlook.hours_to_full < 1

            write_wal(server, 60)
            server.sql("SELECT pg_switch_wal(); CHECKPOINT")
            lost = observe_until(connection, lambda state: state is not None and state.is_lost)
            assert lost
            assert lost.retained_bytes == 0
            assert codes(lost) == {"slot.lost"}
        with pytest.raises(PositionLost):
            start_streaming(server)


@pytest.mark.skipif(not HAS_IDLE_TIMEOUT, reason="idle_replication_slot_timeout is of PostgreSQL 18")
def test_an_idle_slot_alarms_before_the_server_takes_it() -> None:
    """B2, F9."""
    with started(idle_replication_slot_timeout="2s") as server:
        create(server)
        with session(server) as connection:
            observe_until(connection, lambda state: "slot.idle" in codes(state))
            time_out = "SELECT now() > inactive_since + interval '2 s' FROM pg_replication_slots"
            deadline = time.monotonic() + 30
            while not server.sql(time_out)[0][0]:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            server.sql("CHECKPOINT")
            lost = observe_until(connection, lambda state: state is not None and state.is_lost)
            assert lost
            assert lost.invalidation_reason == "idle_timeout"
        with pytest.raises(PositionLost):
            start_streaming(server)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_slot_that_is_not_there_is_a_lost_position(version: str) -> None:
    """B3."""
    with started(version) as server:
        with session(server) as connection:
            assert slot.observe(connection, NAME) is None
        with pytest.raises(PositionLost):
            start_streaming(server)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_consistent_point_is_where_the_slot_begins(version: str) -> None:
    with started(version) as server:
        point = create(server)
        with session(server) as connection:
            state = slot.observe(connection, NAME)
        assert state
        assert (state.confirmed_flush_lsn, state.active_pid, state.is_lost) == (point, None, False)
        with pytest.raises(SourceRefused, match="already exists"):
            create(server)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unfit_server_refuses_a_slot(version: str) -> None:
    with started(version, wal_level="replica") as server, pytest.raises(SourceRefused):
        create(server)


def test_no_free_slot_is_refused() -> None:
    with started(max_replication_slots="1") as server:
        server.sql("SELECT pg_create_physical_replication_slot('other')")
        with pytest.raises(SourceRefused, match="53400"):
            create(server)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_promoted_standby_tells_where_history_forked(version: str) -> None:
    """A position that the old primary reached after the fork is not part of the new one's past."""
    with started(version) as primary, PostgresServer.standby_of(primary) as standby:
        with session(primary, replication=True) as connection:
            alone = slot.history(connection)
        assert (alone.timeline, alone.forks) == (1, ())
        shared = lsn.parse(primary.sql("SELECT pg_current_wal_lsn()::text")[0][0])
        deadline = time.monotonic() + 30
        while not standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{lsn.text(shared)}'")[0][0]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        standby.promote()
        write_wal(primary, 1)
        diverged = lsn.parse(primary.sql("SELECT pg_current_wal_lsn()::text")[0][0])

        with session(standby, replication=True) as connection:
            forked = slot.history(connection)
        assert (forked.system_id, forked.timeline) == (alone.system_id, 2)
        assert [timeline for timeline, _ in forked.forks] == [1]
        assert forked.holds(shared, timeline=1)
        assert not forked.holds(diverged, timeline=1)


@pytest.mark.skipif(not HAS_FAILOVER, reason="failover slots are of PostgreSQL 17")
def test_a_standby_that_has_no_copy_of_the_slot_is_red_beforehand() -> None:
    with started() as primary, session(primary) as connection:
        create(primary)
        assert codes(slot.observe(connection, NAME)) == set()
        with PostgresServer.standby_of(primary):
            state = observe_until(connection, lambda state: state is not None and state.standby_count > 0)
            assert codes(state) == {"slot.no_failover"}


def test_another_reader_of_the_change_log_is_no_standby() -> None:
    with started() as server, session(server) as connection:
        create(server)
        server.sql("SELECT pg_create_logical_replication_slot('theirs', 'pgoutput')")
        with psycopg.connect(server.dsn(), replication="database", application_name="theirs") as stream:
            options = b"(proto_version '1', publication_names 'p')"
            stream.pgconn.send_query(b"START_REPLICATION SLOT theirs LOGICAL 0/0 " + options)
            result = stream.pgconn.get_result()
            assert result
            assert result.status == psycopg.pq.ExecStatus.COPY_BOTH
            state = slot.observe(connection, NAME)
            stream.pgconn.finish()
        assert state
        assert state.standby_count == 0


@pytest.mark.skipif(not HAS_FAILOVER, reason="failover slots are of PostgreSQL 17")
def test_a_copied_slot_is_red_until_it_would_survive_a_promotion() -> None:
    """B4, F10: what is green before the promotion is there after it."""
    with started() as primary:
        create(primary, failover=True)
        write_wal(primary, 1)
        with PostgresServer.standby_of(primary, settings=STANDBY) as standby, session(standby) as connection:
            waiting = observe_until(connection, lambda state: state is not None)
            assert waiting
            if waiting.temporary:  # the standby may already have caught up
                assert codes(waiting) == {"slot.not_durable"}
            deadline = time.monotonic() + 60
            while not (state := slot.observe(connection, NAME)) or not state.survives_failover:
                assert time.monotonic() < deadline, state
                primary.sql(f"SELECT pg_replication_slot_advance('{NAME}', pg_current_wal_lsn())")
                primary.sql("SELECT pg_log_standby_snapshot()")
                time.sleep(0.1)
            assert codes(state) == set()
            primary.stop("immediate")
            standby.promote()
            survivor = slot.observe(connection, NAME)
            assert survivor
            assert not survivor.is_lost
