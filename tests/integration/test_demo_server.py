"""The server harness: restarts, crashes, neighbours, standbys, and an end with its owner."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from demo.server import VERSIONS, Database, PostgresServer

pytestmark = pytest.mark.usefixtures("postgres_server")  # without a server: a failure in CI, else a skip


def wait_until(holds: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    with PostgresServer.start() as server:
        yield server


def test_a_crash_keeps_what_was_committed_and_the_port(own_server: PostgresServer) -> None:
    own_server.sql("CREATE TABLE kept AS SELECT 1 AS n")
    before = own_server.port
    own_server.restart("immediate")
    assert own_server.port == before
    assert own_server.sql("SELECT n FROM kept") == [(1,)]
    assert "not properly shut down" in own_server.log_tail(100)


def test_a_stopped_server_takes_nobody_and_starts_again(own_server: PostgresServer) -> None:
    own_server.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(own_server.dsn())
    own_server.stop()
    own_server.start_again()
    assert own_server.sql("SHOW wal_level") == [("logical",)]


def test_two_servers_live_side_by_side(own_server: PostgresServer, postgres_server: PostgresServer) -> None:
    identity = "SELECT system_identifier, current_setting('port') FROM pg_control_system()"
    assert own_server.sql(identity)[0][1] != postgres_server.sql(identity)[0][1]
    own_server.sql("CREATE DATABASE only_here")
    assert postgres_server.sql("SELECT 1 FROM pg_database WHERE datname = 'only_here'") == []


def test_settings_go_over_the_defaults_and_quotes_survive() -> None:
    with PostgresServer.start(settings={"fsync": "off", "cluster_name": "it's mine"}) as server:
        assert server.sql("SHOW fsync") == [("off",)]
        assert server.sql("SHOW cluster_name") == [("it's mine",)]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_found_starts(version: str) -> None:
    with PostgresServer.start(version=version) as server:
        assert server.sql("SHOW server_version")[0][0].startswith(version)


def test_a_temporary_folder_goes_with_its_server() -> None:
    with PostgresServer.start() as server:
        folder = server.folder
        assert folder.exists()
    assert not folder.exists()


def test_a_server_that_cannot_start_says_why_and_leaves_nothing() -> None:
    with pytest.raises(RuntimeError, match="wal_level"):
        PostgresServer.start(settings={"wal_level": "nonsense"})


def test_the_server_dies_when_its_owner_is_killed() -> None:
    code = (
        "import time; from demo.server import PostgresServer; s = PostgresServer.start();"
        "print(s.data, flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    data = Path(owner.stdout.readline().strip())
    pid = int((data / "postmaster.pid").read_text().splitlines()[0])
    try:
        assert is_alive(pid)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        wait_until(lambda: not is_alive(pid))
    finally:
        owner.stdout.close()
        subprocess.run(["rm", "-rf", str(data.parent)], check=True)


def test_a_standby_follows_and_takes_over(own_server: PostgresServer) -> None:
    with PostgresServer.standby_of(own_server) as standby:
        own_server.sql("CREATE TABLE copied AS SELECT 7 AS n")
        wait_until(lambda: standby.sql("SELECT to_regclass('copied') IS NOT NULL") == [(True,)])
        assert standby.sql("SELECT pg_is_in_recovery()") == [(True,)]
        own_server.stop("immediate")
        standby.promote()
        standby.sql("INSERT INTO copied VALUES (8)")
        assert standby.sql("SELECT count(*) FROM copied") == [(2,)]


def test_a_database_is_dropped_with_slots_sessions_and_prepared_transactions(postgres_server: PostgresServer) -> None:
    database = postgres_server.create_database("busy")
    database.sql("SELECT pg_create_logical_replication_slot('slot_of_busy', 'pgoutput')")
    with psycopg.connect(database.dsn, autocommit=True) as session:
        session.execute("CREATE TABLE t (n int)")
        session.execute("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'of_busy'")
        database.drop()
    assert postgres_server.sql("SELECT 1 FROM pg_database WHERE datname = 'busy'") == []


def test_a_database_of_a_test_is_empty(database: Database) -> None:
    assert database.sql("SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []
    database.sql("CREATE TABLE left_behind ()")


def test_a_database_of_another_test_is_another(database: Database) -> None:
    assert database.sql("SELECT to_regclass('left_behind')") == [(None,)]
