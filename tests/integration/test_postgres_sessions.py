"""Sessions that a server refuses, ends, starves or shares: the whole bridge lives with them or says what is wrong."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from bridge.errors import SourceUnavailable
from bridge.journal.rows import to_json
from bridge.model import Mark, Window
from bridge.postgres.session import ConnectSettings, translate
from bridge.pump import QUEUED_WINDOWS
from bridge.sources.postgres.reader import PostgresSource, Settings
from bridge.sources.postgres.tables import Capture
from demo.server import VERSIONS, Database, PostgresServer
from tests.certificates import issue, make_authority
from tests.daemon import LOGIN, prepare, wait_for
from tests.loops import Bridge
from tests.machine import Waits


@pytest.fixture
def ascii_database(postgres_server: PostgresServer) -> Iterator[Database]:
    """A database that takes any bytes for text."""
    name = "any_bytes"
    postgres_server.sql(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    fresh = Database(postgres_server, name)
    yield fresh
    fresh.drop()


def test_bytes_that_are_no_utf8_become_a_letter_and_the_stream_goes_on(
    ascii_database: Database, tmp_path: Path
) -> None:
    """Read from the table and from the change log alike, with the bytes kept."""
    prepare(ascii_database, "item")
    ascii_database.sql(r"INSERT INTO shop.item VALUES (1, 'plain', 1), (2, E'caf\xe9', 2)")
    with Bridge(tmp_path, ascii_database, "item") as bridge:
        bridge.wait_loaded()
        ascii_database.sql(
            r"INSERT INTO shop.item VALUES (3, E'\xff', 3); INSERT INTO shop.item VALUES (4, E'\xc3\xa9', 4)"
        )
        wait_for(lambda: 4 in bridge.replayed("item"), why=bridge.board.report)
        assert {number: row[1] for number, row in bridge.replayed("item").items()} == {1: "plain", 4: "é"}
        letters = [bridge.journal.letter(letter.id) for letter in bridge.journal.letters(stream="item")]
        marks = [letter.raw.marks["name"] for letter in letters if letter and letter.raw]
        assert [mark.raw for mark in marks] == [(b"caf\xe9",), (b"\xff",)]
        assert all(mark.kinds.tolist() == [Mark.UNREADABLE] for mark in marks)


def test_a_re_read_goes_on_behind_a_key_that_is_no_utf8(ascii_database: Database) -> None:
    """Also when it is resumed from what the journal keeps."""
    ascii_database.sql(r"CREATE TABLE word (id text PRIMARY KEY); CREATE PUBLICATION legacy_bridge FOR TABLE word")
    ascii_database.sql(r"INSERT INTO word VALUES ('a'), (E'b\xe9'), (E'c\xc3\xa9'), ('d'), (E'e\\\xff')")
    server = ascii_database.server
    place = ConnectSettings("test", server.host, server.port, ascii_database.name, "postgres")
    settings = Settings("erp", place, (Capture("word", "public.word"),), chunk_rows=1)
    source = PostgresSource(settings)
    source.open(None, {})
    found: list[bytes] = []
    window: Window | None = None
    while window is None or window.state["snapshots"]["word"]["phase"] != "done":
        if window is not None:  # as after a crash
            source.close()
            source.open(window.position, json.loads(to_json(window.state)))
        window = wait_for(lambda: source.read(1.0))
        for batch in window.batches:
            marks = batch.marks.get("id")
            found.append(marks.raw[0] or b"" if marks else batch.columns.column("id")[0].as_py().encode())
    source.close()
    assert found == [b"a", b"b\xe9", "cé".encode(), b"d", b"e\\\xff"]


HELD_UP_S = 5.0
FULL = QUEUED_WINDOWS + 2  # one with the journal, one that finds no room


@contextmanager
def started(*streams: str, version: str | None = None, **settings: str) -> Iterator[Database]:
    """A server of one's own, with a prepared database."""
    with PostgresServer.start(version=version, settings={"fsync": "off", **settings}) as server:
        database = Database(server, "postgres")
        prepare(database, *streams)
        yield database


@contextmanager
def writing(database: Database, stream: str = "item") -> Iterator[None]:
    """An application that writes as fast as it can until its server goes away."""
    stop = threading.Event()

    def write() -> None:
        number = 1_000
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            while not stop.is_set():
                number += 1
                try:
                    connection.execute(f"INSERT INTO shop.{stream} VALUES ({number}, 'new', {number})".encode())
                except psycopg.OperationalError:
                    return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def blocked(bridge: Bridge) -> Iterator[None]:
    """The journal takes nothing: another process (the lock is the process's) holds SQLite's write lock."""
    hold = "import sqlite3, sys; held = sqlite3.connect(sys.argv[1], isolation_level=None)"
    hold += "; held.execute('BEGIN IMMEDIATE'); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(bridge.daemon.journal_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        yield
        other.kill()


def fill(database: Database, bridge: Bridge, window_count: int) -> None:
    """Change rows until so many windows wait for the journal."""
    batches = itertools.count(0, 1_000)

    def is_full() -> bool:
        first = next(batches)
        if first < 1_000 * 50:
            database.sql(
                f"INSERT INTO shop.item SELECT {first} + i, repeat('x', 1000), i FROM generate_series(1, 1000) i"
            )
        return bridge.flow.waiting >= window_count

    wait_for(is_full, why=lambda: bridge.flow.waiting)


def wait_until(at: float) -> None:
    """Until a moment of the monotonic clock: what is tested is that time passes without harm."""
    wait_for(lambda: time.monotonic() > at)


def stop_timed(server: PostgresServer) -> float:
    """Seconds that `pg_ctl stop -m fast` takes, without those in which somebody waited for a processor."""
    with Waits() as waits:
        begun = time.monotonic()
        server.stop("fast")
        return time.monotonic() - begun - waits.so_far_s()


def test_a_result_that_libpq_made_itself_is_a_lost_connection() -> None:
    """It has no SQLSTATE and no class of its own: the server went away in the middle of a COPY."""
    error = translate(psycopg.DatabaseError("server closed the connection unexpectedly"), "receiving")
    assert isinstance(error, SourceUnavailable)


def test_a_server_that_stops_is_not_held_up(tmp_path: Path) -> None:
    """Neither when idle nor in the middle of a stream; afterwards the bridge is back by itself, with everything."""
    with started("item") as database, Bridge(tmp_path, database, "item") as bridge:
        bridge.wait_loaded()
        assert stop_timed(database.server) < HELD_UP_S
        bridge.wait_ailment("source:erp")
        database.server.start_again()
        with writing(database):
            wait_for(lambda: len(bridge.replayed("item")) > 50, why=bridge.board.report)
            assert stop_timed(database.server) < HELD_UP_S
        database.server.start_again()
        bridge.wait_level()
        assert not bridge.doubled("item")
        assert not bridge.gaps("item")


@pytest.mark.parametrize("window_count", [1, FULL], ids=["reading on", "full"])
def test_a_server_that_stops_is_not_held_up_by_a_journal_that_takes_nothing(tmp_path: Path, window_count: int) -> None:
    """What is sent and not journalled cannot be confirmed, and a server waits for that: so we hang up."""
    with started("item") as database, Bridge(tmp_path, database, "item") as bridge:
        bridge.wait_loaded()
        with blocked(bridge):
            fill(database, bridge, window_count)
            assert stop_timed(database.server) < HELD_UP_S
        database.server.start_again()
        bridge.wait_level()
        assert not bridge.doubled("item")
        assert not bridge.gaps("item")


def test_a_server_that_crashes_while_the_journal_takes_nothing_is_found_again(tmp_path: Path) -> None:
    with started("item") as database, Bridge(tmp_path, database, "item") as bridge:
        bridge.wait_loaded()
        with blocked(bridge):
            fill(database, bridge, FULL)
            database.server.restart("immediate")
            wait_for(lambda: bridge.ailment("source:erp"))
        bridge.wait_level()
        assert not bridge.doubled("item")


def test_a_slot_lost_while_the_journal_takes_nothing_is_declared_and_healed(tmp_path: Path) -> None:
    """The disk of the bridge is full for so long that the server gives up on us, under the running bridge."""
    caps = {"max_slot_wal_keep_size": "32MB", "wal_keep_size": "0", "min_wal_size": "32MB"}
    with started("item", **caps) as database, Bridge(tmp_path, database, "item") as bridge:
        database.sql("INSERT INTO shop.item SELECT i, 'here', i FROM generate_series(100001, 100100) i")
        bridge.wait_loaded()
        bridge.wait_level()
        with blocked(bridge):
            fill(database, bridge, 1)
            database.sql("DELETE FROM shop.item WHERE id > 100050")

            def is_lost() -> bool:
                write = "SELECT pg_logical_emit_message(false, 'x', repeat('x', 1048576)) FROM generate_series(1, 20)"
                database.sql(f"{write}; SELECT pg_switch_wal(); CHECKPOINT")
                return database.sql("SELECT wal_status FROM pg_replication_slots") == [("lost",)]

            wait_for(is_lost)
        bridge.wait_gap("item")
        bridge.wait_loaded()
        bridge.wait_level()
        assert not bridge.doubled("item")


def test_a_session_outlives_a_journal_that_takes_nothing_for_long(tmp_path: Path) -> None:
    """Three times `wal_sender_timeout`: the server hears from us all the while."""
    with started("item", wal_sender_timeout="2s") as database, Bridge(tmp_path, database, "item") as bridge:
        bridge.wait_loaded()
        reader = f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{bridge.daemon.slot}'"
        before = database.sql(reader)
        with blocked(bridge):
            begun = time.monotonic()
            for number in range(6):
                database.sql(f"INSERT INTO shop.item SELECT {number}, 'x', 1")
                wait_until(begun + number + 1)
        bridge.wait_level()
        assert database.sql(reader) == before != [(None,)]


def test_a_second_reader_of_our_slot_is_waited_for_and_named(database: Database, tmp_path: Path) -> None:
    prepare(database, "item")
    bridge = Bridge(tmp_path, database, "item")
    with bridge:
        bridge.wait_loaded()
    with psycopg.connect(f"{database.dsn} replication=database", autocommit=True) as other:
        begin = f"START_REPLICATION SLOT {bridge.daemon.slot} LOGICAL 0/0"
        options = "(proto_version '1', publication_names 'legacy_bridge')"
        other.pgconn.exec_(f"{begin} {options}".encode())
        with bridge:
            ailment = bridge.wait_ailment("source:erp")
            assert f"is active for PID {other.info.backend_pid}" in ailment.what
            other.close()
            database.sql("INSERT INTO shop.item VALUES (1, 'new', 1)")
            bridge.wait_level()
            assert not bridge.gaps("item")


def test_a_session_that_sits_idle_is_not_ended_by_the_server(tmp_path: Path) -> None:
    with started("item", idle_session_timeout="1s") as database, Bridge(tmp_path, database, "item") as bridge:
        bridge.wait_loaded()
        sessions = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'legacy-bridge/%' ORDER BY pid"
        before = database.sql(sessions)
        begun = time.monotonic()
        wait_until(begun + 3)
        assert database.sql(sessions) == before


SECRET = "correct horse"  # noqa: S105  # of a throw-away server
ROTATED = "battery staple"


def demand_password(database: Database) -> None:
    """The server asks the bridge's login for one from now on."""
    database.sql(f"ALTER ROLE {LOGIN} PASSWORD '{SECRET}'")
    (database.server.data / "pg_hba.conf").write_text(
        f"host all {LOGIN} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
    )
    database.sql("SELECT pg_reload_conf()")


@pytest.fixture(scope="module")
def asking() -> Iterator[Database]:
    """A database behind a password."""
    with started("item") as database:
        database.sql("INSERT INTO shop.item VALUES (1, 'one', 1)")
        demand_password(database)
        yield database


@pytest.mark.parametrize("way", ["password", "passfile", "PGPASSFILE", "PGPASSWORD", "service", "PG*"])
def test_every_way_of_libpq_leads_in(
    asking: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Through the whole bridge: stream, look-ups and re-reads."""
    server = asking.server
    bridge = Bridge(tmp_path, asking, "item")
    bridge.postgres["slot"] = f"way_{''.join(filter(str.isalpha, way)).lower()}"
    for name, content in {
        "secret": SECRET,
        "pass": f"{server.host}:{server.port}:*:{LOGIN}:{SECRET}\n",
        "service": f"[erp]\nhost={server.host}\nport={server.port}\ndbname=postgres\nuser={LOGIN}\npassword={SECRET}\n",
    }.items():
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    if way == "password":
        bridge.postgres["password"] = f"${{file:{tmp_path}/secret}}"
    elif way == "passfile":
        bridge.postgres["passfile"] = "pass"
    elif way == "PGPASSFILE":
        monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pass"))
    elif way == "PGPASSWORD":
        monkeypatch.setenv("PGPASSWORD", SECRET)
    elif way == "service":
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "service"))
        bridge.system["postgres"] = {"service": "erp", "slot": bridge.postgres["slot"]}
    else:
        bridge.system["postgres"] = {"slot": bridge.postgres["slot"]}
        variables = {"HOST": server.host, "PORT": str(server.port), "USER": LOGIN, "DATABASE": "postgres"}
        for variable, value in {**variables, "PASSWORD": SECRET}.items():
            monkeypatch.setenv(f"PG{variable}", value)
    with bridge:
        bridge.wait_loaded()
        bridge.wait_level()


def test_a_rotated_password_stops_the_source_until_a_reload(tmp_path: Path) -> None:
    """Health says what is wrong and not the password; the process lives, and a reload brings the source back."""
    with started("item") as database:
        demand_password(database)
        secret = tmp_path / "secret"
        secret.write_text(SECRET)
        bridge = Bridge(tmp_path, database, "item")
        bridge.postgres["password"] = f"${{file:{secret}}}"
        bridge.daemon.write()
        with bridge.daemon as daemon:
            daemon.start()
            database.sql(f"ALTER ROLE {LOGIN} PASSWORD '{ROTATED}'")
            end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'legacy-bridge/%'"
            database.sql(end)
            wait_for(lambda: "password" in (daemon.ailment("source:erp") or {"what": ""})["what"])
            refused = daemon.wait_ailment("source:erp")
            assert refused["blocks"] == ["item"]
            assert "password" in refused["action"]
            secret.write_text(ROTATED)
            daemon.signal(signal.SIGHUP)
            daemon.wait_well("source:erp")
            database.sql("INSERT INTO shop.item VALUES (1, 'after', 1)")
            with daemon.journal() as journal:
                wait_for(lambda: sum(block.batch.num_rows for block in journal.read("item")) == 1)
            daemon.stop()
        assert SECRET not in daemon.log_tail(1000)
        assert ROTATED not in daemon.log_tail(1000)


@pytest.mark.parametrize("version", VERSIONS)
def test_tls_is_verified_in_both_directions(version: str, tmp_path: Path) -> None:
    """Strangers on either side are refused; with both certificates in order every session uses TLS."""
    authority = make_authority(tmp_path / "ca")
    stranger = make_authority(tmp_path / "other")
    issue(stranger, tmp_path / "unknown", LOGIN)
    issue(authority, tmp_path / "client", LOGIN)
    with started("item", version=version) as database:
        server = database.server
        if server.sql("SELECT count(*) FROM pg_config WHERE name = 'CONFIGURE' AND setting ~ 'ssl'") == [(0,)]:
            pytest.skip("this server was built without TLS")
        issue(authority, server.data / "server", "localhost")
        shutil.copy(authority / "ca.crt", server.data / "ca.crt")
        for name in ("server.crt", "server.key", "ca.crt"):
            os.chown(server.data / name, server.data.stat().st_uid, server.data.stat().st_gid)
        with (server.data / "postgresql.conf").open("a") as configuration:
            configuration.write("ssl = on\nssl_ca_file = 'ca.crt'\n")
        (server.data / "pg_hba.conf").write_text(f"hostssl all {LOGIN} all cert\nhost all postgres all trust\n")
        server.restart()
        database.sql("INSERT INTO shop.item VALUES (1, 'one', 1)")
        bridge = Bridge(tmp_path, database, "item")
        keys = {"host": "localhost", "sslmode": "verify-full", "sslcert": "client.crt", "sslkey": "client.key"}
        plain = bridge.postgres
        for wrong in (
            {"sslrootcert": "other/ca.crt"},
            {"sslrootcert": "ca/ca.crt", "sslcert": "unknown.crt", "sslkey": "unknown.key"},
        ):
            bridge.system["postgres"] = {**plain, **keys, **wrong}
            with bridge:
                assert "SSL error" in bridge.wait_ailment("source:erp").what
                wait_for(lambda: not bridge._threads[0].is_alive())
        bridge.system["postgres"] = {**plain, **keys, "sslrootcert": "ca/ca.crt"}
        with bridge:
            bridge.wait_level()
            ours = "FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name LIKE 'legacy-bridge/%'"
            assert database.sql(f"SELECT bool_and(ssl), count(*) {ours}") == [(True, 3)]
