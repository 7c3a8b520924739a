"""A server that loses our place, falls over, is replaced or fills up: nothing is lost without being declared."""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest

from bridge.health import Ailment
from bridge.sources.postgres import assistant, lsn
from bridge.sources.postgres.slot import SlotLimits
from demo.server import VERSIONS, Database, PostgresServer
from tests.daemon import LOGIN, prepare, wait_for
from tests.loops import Bridge

MEGABYTE = 1 << 20


@contextmanager
def started(*streams: str, version: str | None = None, **settings: str) -> Iterator[Database]:
    """A server of one's own, with a prepared database."""
    with PostgresServer.start(version=version, settings={"fsync": "off", **settings}) as server:
        database = Database(server, "postgres")
        prepare(database, *streams)
        yield database


@contextmanager
def started_anew(*streams: str) -> Iterator[Database]:
    """The same, as a server with an identity of its own: `started` gives all the same, as copies of one cluster."""
    folder = Path(tempfile.mkdtemp(prefix="legacy-bridge-pg-"))
    try:
        with PostgresServer.start(settings={"fsync": "off"}) as model:
            binaries, owner = model.binaries, _owner(model.data)
        os.chown(folder, *owner)
        command = [str(binaries / "initdb"), "-D", str(folder / "data"), "--username=postgres", "--auth=trust"]
        subprocess.run(
            [*command, "--no-sync", "--no-locale", "--encoding=UTF8"],
            check=True,
            capture_output=True,
            user=owner[0],
            group=owner[1],
            extra_groups=[],
            cwd="/",
        )
        with PostgresServer.start(folder, settings={"fsync": "off"}) as server:
            database = Database(server, "postgres")
            prepare(database, *streams)
            yield database
    finally:
        shutil.rmtree(folder)


def fill(database: Database, stream: str = "item") -> None:
    database.sql(f"INSERT INTO shop.{stream} SELECT i, 'name ' || i, i FROM generate_series(1, 500) i")


def change_unseen(database: Database, stream: str = "item") -> None:
    """Every kind of change, to be hidden by a gap."""
    database.sql(
        f"DELETE FROM shop.{stream} WHERE id % 7 = 0; UPDATE shop.{stream} SET amount = 7 WHERE id % 5 = 0;"
        f" UPDATE shop.{stream} SET id = id + 10000 WHERE id % 11 = 0;"
        f" INSERT INTO shop.{stream} SELECT i, 'late', i FROM generate_series(600, 650) i"
    )


def write_wal(database: Database, megabytes: int) -> None:
    database.sql(
        f"SELECT pg_logical_emit_message(false, 'x', repeat('x', {MEGABYTE})) FROM generate_series(1, {megabytes})"
    )


def assert_declared_and_healed(bridge: Bridge, *streams: str) -> None:
    """Each stream has a gap with both ends, and after its re-read the journal says what the tables hold."""
    for stream in streams:
        gap = bridge.wait_gap(stream)
        assert gap["cause"]
        assert lsn.parse(gap["from"]) > 0
        assert lsn.parse(gap["to"]) > 0
        assert gap["plan"].startswith("re-read number")
    bridge.wait_loaded()
    bridge.wait_level(*streams)
    assert not any(bridge.doubled(stream) for stream in streams)
    wait_for(lambda: bridge.ailment("source:erp") is None, why=bridge.board.report)


NEWEST_FIRST = [
    pytest.param(version, marks=() if number == 0 else pytest.mark.soak) for number, version in enumerate(VERSIONS)
]


@pytest.mark.parametrize("version", NEWEST_FIRST)
def test_a_slot_lost_at_the_cap_is_declared_and_healed(version: str, tmp_path: Path) -> None:
    """B1: also of what was deleted inside the gap."""
    with started("item", "order", version=version, max_slot_wal_keep_size="64MB", wal_keep_size="0") as database:
        fill(database)
        fill(database, "order")
        bridge = Bridge(tmp_path, database, "item", "order")
        with bridge:
            bridge.wait_loaded()
            bridge.wait_level()
        change_unseen(database)
        database.sql("DELETE FROM shop.order")
        write_wal(database, 130)
        database.sql("SELECT pg_switch_wal(); CHECKPOINT")
        assert database.sql("SELECT wal_status FROM pg_replication_slots") == [("lost",)]
        with bridge:
            assert_declared_and_healed(bridge, "item", "order")
            assert not bridge.replayed("order")
            change_unseen(database, "order")
            database.sql("DELETE FROM shop.item WHERE id > 10000")
            bridge.wait_level()


@pytest.mark.skipif(next(iter(VERSIONS), "0") < "18", reason="idle_replication_slot_timeout is of PostgreSQL 18")
def test_a_slot_taken_for_idleness_is_declared_and_healed(tmp_path: Path) -> None:
    """B2."""
    with started("item", idle_replication_slot_timeout="2s") as database:
        fill(database)
        bridge = Bridge(tmp_path, database, "item")
        with bridge:
            bridge.wait_loaded()
        change_unseen(database)
        idle = "SELECT now() > inactive_since + interval '2 s' FROM pg_replication_slots"
        wait_for(lambda: database.sql(idle) == [(True,)])
        database.sql("CHECKPOINT")
        assert database.sql("SELECT invalidation_reason FROM pg_replication_slots") == [("idle_timeout",)]
        with bridge:
            assert_declared_and_healed(bridge, "item")


@pytest.mark.parametrize("run", [*range(3), *(pytest.param(n, marks=pytest.mark.soak) for n in range(3, 20))])
def test_a_slot_recreated_under_its_name_is_noticed(database: Database, tmp_path: Path, run: int) -> None:
    """B3: whether or not anything was changed meanwhile, before or after the new slot began."""
    prepare(database, "item")
    fill(database)
    bridge = Bridge(tmp_path, database, "item")
    with bridge:
        bridge.wait_loaded()
    if run % 3 != 1:
        change_unseen(database)
    database.sql(f"SELECT pg_drop_replication_slot('{bridge.daemon.slot}')")
    database.sql(f"SELECT pg_create_logical_replication_slot('{bridge.daemon.slot}', 'pgoutput')")
    if run % 3 == 2:
        database.sql("DELETE FROM shop.item WHERE id < 50")
    with bridge:
        assert_declared_and_healed(bridge, "item")
        assert len(bridge.gaps("item")) == 1


def test_a_slot_dropped_under_the_running_bridge_is_declared_and_healed(database: Database, tmp_path: Path) -> None:
    prepare(database, "item")
    fill(database)
    with Bridge(tmp_path, database, "item") as bridge:
        bridge.wait_loaded()

        def is_dropped() -> bool:
            database.sql(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                f" WHERE slot_name = '{bridge.daemon.slot}'"
            )
            try:
                database.sql(f"SELECT pg_drop_replication_slot('{bridge.daemon.slot}')")
            except psycopg.errors.ObjectInUse:
                return False
            return True

        wait_for(is_dropped)
        change_unseen(database)
        assert_declared_and_healed(bridge, "item")


def test_a_person_decides_where_the_operator_wants_it(database: Database, tmp_path: Path) -> None:
    """`on_position_lost: stop` declares the gap once, stands still over restarts, and goes on when told to."""
    prepare(database, "item")
    fill(database)
    bridge = Bridge(tmp_path, database, "item")
    bridge.system["on_position_lost"] = "stop"
    with bridge:
        bridge.wait_loaded()
    database.sql(f"SELECT pg_drop_replication_slot('{bridge.daemon.slot}')")
    change_unseen(database)
    with bridge:
        (gap,) = wait_for(lambda: bridge.gaps("item"))
        assert "person" in gap["plan"]
        ailment = wait_for(lambda: (found := bridge.ailment("source:erp")) and "person" in found.what and found)
        assert "on_position_lost" in ailment.action
        wait_for(lambda: not bridge._threads[0].is_alive())
    with bridge:
        wait_for(lambda: not bridge._threads[0].is_alive())
        assert bridge.gaps("item") == [gap]
        assert not bridge.is_level()
    bridge.system["on_position_lost"] = "resnapshot"
    with bridge:
        wait_for(lambda: len(bridge.gaps("item")) == 2)
        assert_declared_and_healed(bridge, "item")


def test_a_journal_restored_from_a_backup_is_noticed_and_healed(database: Database, tmp_path: Path) -> None:
    """A10: the slot is ahead of it, so what is missing cannot be sent again."""
    prepare(database, "item")
    fill(database)
    bridge = Bridge(tmp_path, database, "item")
    with bridge:
        bridge.wait_loaded()
        bridge.journal.backup(tmp_path / "old.db")
        change_unseen(database)
        bridge.wait_level()
        bridge.wait_reported()
    for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "old.db", bridge.daemon.journal_file)
    with bridge:
        assert_declared_and_healed(bridge, "item")


def test_a_copied_state_folder_is_noticed_and_healed(database: Database, tmp_path: Path) -> None:
    """A10: an old copy of the whole folder put back, as an administrator would."""
    prepare(database, "item")
    fill(database)
    folder = tmp_path / "now"
    folder.mkdir()
    bridge = Bridge(folder, database, "item")
    with bridge:
        bridge.wait_loaded()
    shutil.copytree(folder, tmp_path / "old")
    with bridge:
        change_unseen(database)
        bridge.wait_level()
        bridge.wait_reported()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "old", folder)
    with bridge:
        assert_declared_and_healed(bridge, "item")


def test_another_server_under_the_same_address_is_noticed_and_healed(tmp_path: Path) -> None:
    with started("item") as old, started_anew("item") as new:
        fill(old)
        bridge = Bridge(tmp_path, old, "item")
        with bridge:
            bridge.wait_loaded()
        fill(new)
        change_unseen(new)
        new.sql(f"SELECT pg_create_logical_replication_slot('{bridge.daemon.slot}', 'pgoutput')")
        bridge.database = new
        bridge.postgres["port"] = new.server.port
        with bridge:
            assert_declared_and_healed(bridge, "item")
            assert "replaced" in bridge.gaps("item")[0]["cause"]


@pytest.mark.parametrize("keeps_slot", [True, False], ids=["cold copy", "without slots"])
def test_a_server_put_back_to_an_older_day_is_noticed_and_healed(tmp_path: Path, keeps_slot: bool) -> None:  # noqa: FBT001
    """Its history no longer holds what we have read; what it lost is lost for us too, as deletes."""
    with started("item") as database:
        fill(database)
        bridge = Bridge(tmp_path, database, "item")
        with bridge:
            bridge.wait_loaded()
        server = database.server
        server.stop()
        backup = server.folder / "backup"
        shutil.copytree(server.data, backup)
        server.start_again()
        with bridge:
            change_unseen(database)
            bridge.wait_level()
        server.stop()
        shutil.rmtree(server.data)
        shutil.copytree(backup, server.data)
        if not keeps_slot:  # as pg_basebackup and pg_dump leave it
            shutil.rmtree(server.data / "pg_replslot" / bridge.daemon.slot)
        for path in (server.data, *server.data.rglob("*")):
            os.chown(path, *_owner(server.folder))
        server.start_again()
        if not keeps_slot:  # and lived on, past where we were
            write_wal(database, 1)
        with bridge:
            assert_declared_and_healed(bridge, "item")
            assert ("does not hold" if keeps_slot else "is gone") in bridge.gaps("item")[0]["cause"]


def _owner(folder: Path) -> tuple[int, int]:
    return folder.stat().st_uid, folder.stat().st_gid


RESTARTS = [5, pytest.param(50, marks=pytest.mark.soak)]
KEPT_BYTES = 100 * MEGABYTE


@contextmanager
def writing(database: Database) -> Iterator[list[int]]:
    """An application that goes on writing over crashes of its server; yields the ids it was told are committed."""
    stop = threading.Event()
    committed: list[int] = []

    def write() -> None:
        number = 10_000
        while not stop.is_set():
            try:
                with psycopg.connect(database.dsn, autocommit=True) as connection:
                    while not stop.is_set():
                        number += 1
                        connection.execute(b"INSERT INTO shop.item VALUES (%s, 'new', 1)", (number,))
                        committed.append(number)
            except psycopg.OperationalError:
                continue

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield committed
    finally:
        stop.set()
        thread.join()


def is_longer(numbers: list[int], count: int) -> bool:
    return len(numbers) > count


@pytest.mark.parametrize("restarts", RESTARTS)
def test_a_server_that_crashes_under_load_loses_and_doubles_nothing(tmp_path: Path, restarts: int) -> None:
    """B5: after each crash the bridge is back by itself."""
    with started("item") as database, Bridge(tmp_path, database, "item") as bridge:
        bridge.wait_loaded()
        with writing(database) as committed:
            for _ in range(restarts):
                wait_for(partial(is_longer, committed, len(committed) + 200))
                database.server.restart("immediate")
                bridge.wait_reached(lsn.parse(database.sql("SELECT pg_current_wal_lsn()::text")[0][0]))
        bridge.wait_level()
        found = bridge.events("item")["id"].drop_nulls()
        assert found.n_unique() == len(found)
        assert set(committed) <= set(found.to_list())
        assert not bridge.gaps("item")


def test_a_transaction_that_stays_open_is_named(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B13: by its process and since when; and its changes come at its commit."""
    monkeypatch.setattr(assistant, "GUARD_INTERVAL_S", 0.2)
    prepare(database, "item")
    limits = SlotLimits(allow_unlimited=True, transaction_s=0.5)
    with Bridge(tmp_path, database, "item", limits=limits) as bridge, psycopg.connect(database.dsn) as idle:
        bridge.wait_loaded()
        idle.execute("INSERT INTO shop.item VALUES (1, 'early', 1)")
        database.sql("INSERT INTO shop.item VALUES (2, 'late', 1)")
        ailment = bridge.wait_ailment("slot.held_back:erp")
        assert ailment.level == "warn"
        assert f"process {idle.info.backend_pid}" in ailment.what
        assert "open since 20" in ailment.what
        wait_for(lambda: set(bridge.replayed("item")) == {2})
        idle.commit()
        bridge.wait_level()
        assert bridge.events("item")["id"].to_list() == [2, 1]
        wait_for(lambda: bridge.ailment("slot.held_back:erp") is None)


def test_a_first_start_says_whose_transaction_it_waits_for(database: Database, tmp_path: Path) -> None:
    """A server makes no slot while one is open; a stop is heeded meanwhile, and nothing of the attempt stays."""
    prepare(database, "item")
    bridge = Bridge(tmp_path, database, "item")
    with psycopg.connect(database.dsn) as idle:
        idle.execute("INSERT INTO shop.item VALUES (1, 'early', 1)")
        with bridge:
            ailment = bridge.wait_ailment("slot.waits:erp")
            assert f"process {idle.info.backend_pid}" in ailment.what
            turned_at = bridge.pump.turned_at
            wait_for(lambda: bridge.pump.turned_at > turned_at)
        wait_for(
            lambda: database.sql(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{bridge.daemon.slot}'") == []
        )
        with bridge:
            bridge.wait_ailment("slot.waits:erp")
            idle.commit()
            bridge.wait_level()
            assert not bridge.gaps("item")
            wait_for(lambda: bridge.ailment("slot.waits:erp") is None)


def test_a_first_start_that_was_killed_begins_anew(database: Database, tmp_path: Path) -> None:
    """Whether or not the server has noticed: a slot that a dead bridge had not finished is no lost slot."""
    prepare(database, "item")
    bridge = Bridge(tmp_path, database, "item")
    bridge.daemon.write()
    with psycopg.connect(database.dsn) as idle:
        idle.execute("INSERT INTO shop.item VALUES (1, 'early', 1)")
        with bridge.daemon as daemon:
            daemon.launch()
            slot = f"SELECT active FROM pg_replication_slots WHERE slot_name = '{daemon.slot}'"
            wait_for(lambda: database.sql(slot) == [(True,)], why=daemon.log_tail)
            daemon.kill()
        with bridge:
            wait_for(lambda: bridge.ailment("slot.waits:erp") or bridge.ailment("source:erp"))
            idle.commit()
            bridge.wait_level()
            assert not bridge.gaps("item")


def test_a_quiet_table_does_not_pin_what_others_write(tmp_path: Path) -> None:
    """B14: 200 MB are written to another database while nothing of ours changes."""
    with started("item") as database:
        other = database.server.create_database("other")
        bridge = Bridge(tmp_path, database, "item")
        bridge.postgres["heartbeat_s"] = 0.5
        with bridge:
            bridge.wait_loaded()
            kept = "SELECT pg_current_wal_lsn() - restart_lsn FROM pg_replication_slots"
            for _ in range(10):
                write_wal(other, 20)
                other.sql("CHECKPOINT")  # as servers do by themselves, only slower
                wait_for(lambda: database.sql(f"{kept} WHERE plugin = 'pgoutput'")[0][0] < KEPT_BYTES)
            assert bridge.ailment("source:erp") is None
            assert bridge.events("item").height == 0


def test_a_stopped_bridge_costs_the_server_no_more_than_agreed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B18: at half of the cap it calls, once it looks; beyond the cap the server helps itself."""
    monkeypatch.setattr(assistant, "GUARD_INTERVAL_S", 0.2)
    with started("item", max_slot_wal_keep_size="64MB", wal_keep_size="0", min_wal_size="32MB") as database:
        bridge = Bridge(tmp_path, database, "item")
        with bridge, psycopg.connect(database.dsn) as idle:
            bridge.wait_loaded()
            assert bridge.ailment("slot.filling:erp") is None
            idle.execute("INSERT INTO shop.item VALUES (1, 'holds the slot back', 1)")
            write_wal(database, 40)
            ailment = bridge.wait_ailment("slot.filling:erp")
            assert (ailment.level, "MB of WAL kept" in ailment.what) == ("warn", True)
        for _ in range(6):
            write_wal(database, 20)
            database.sql("SELECT pg_switch_wal(); CHECKPOINT")
        size = database.sql("SELECT sum(size)::bigint FROM pg_ls_waldir()")[0][0]
        assert size <= (64 + 64) * MEGABYTE  # the cap, and what the server keeps for itself
        with bridge:
            assert_declared_and_healed(bridge, "item")


def test_a_table_that_may_no_longer_be_read_is_named_and_the_stream_goes_on(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of its first load; the other table's load goes on, and so does this one when the grant is back."""
    monkeypatch.setattr(assistant, "RETRY_INTERVAL_S", 0.2)
    prepare(database, "item", "part")
    fill(database)
    fill(database, "part")
    bridge = Bridge(tmp_path, database, "item", "part", rows_per_second=200)
    bridge.system["snapshot_chunk_rows"] = 100
    with bridge:
        wait_for(lambda: len(bridge.replayed("item")) >= 100, why=bridge.board.report)
        database.sql(f"REVOKE SELECT ON shop.item FROM {LOGIN}")
        said = wait_for(lambda: [one for one in map_watch(bridge) if "shop.item" in one.what], why=bridge.board.report)
        assert "permission denied" in said[0].what
        bridge.wait_level("part")
        database.sql("INSERT INTO shop.item VALUES (1001, 'streamed', 1)")
        wait_for(lambda: 1001 in bridge.replayed("item"))
        assert len(bridge.replayed("item")) < 501
        database.sql(f"GRANT SELECT ON shop.item TO {LOGIN}")
        bridge.wait_level()
        wait_for(lambda: not any("shop.item" in one.what for one in map_watch(bridge)))


def map_watch(bridge: Bridge) -> list[Ailment]:
    """What the health page says now."""
    bridge.ailment("")
    return bridge.board.ailments()
