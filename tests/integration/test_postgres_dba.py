"""The DBA's script lets the bridge in, twice over, and its undoing leaves nothing; so does decommission."""

import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from bridge.errors import SourceRefused
from bridge.findings import Level, refuse
from bridge.postgres.session import ConnectSettings, connect
from bridge.sources.postgres import slot
from bridge.sources.postgres.dba import Letter, dba_script, undo_script
from bridge.sources.postgres.decommission import decommission
from bridge.sources.postgres.preflight import inspect
from bridge.sources.postgres.setup import Capture, Setup
from demo.server import VERSIONS, Database, PostgresServer

# Everything a script may leave behind, privileges as what they grant and not as how they are stored.
TRACES = """
SELECT 'role ' || rolname FROM pg_roles
UNION ALL SELECT 'setting ' || setrole || array_to_string(setconfig, ',') FROM pg_db_role_setting
UNION ALL SELECT 'publication ' || pubname FROM pg_publication
UNION ALL SELECT 'published ' || prrelid::regclass FROM pg_publication_rel
UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots
UNION ALL SELECT 'object ' || oid FROM pg_class
UNION ALL SELECT 'function ' || oid FROM pg_proc
UNION ALL SELECT format('table %s %s', c.oid::regclass, a) FROM pg_class c,
    aclexplode(coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))) a
UNION ALL SELECT format('schema %s %s', nspname, a)
    FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a
UNION ALL SELECT format('database %s %s', datname, a)
    FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) a WHERE datname = current_database()
"""


@dataclass(frozen=True)
class Site:
    """A legacy database and the letter to its DBA."""

    database: Database
    letter: Letter

    def psql(self, script: str) -> None:
        """Run a script as a DBA does; fails at the first error."""
        server = self.database.server
        binary = next(path for path in (server.binaries / "psql", Path("/usr/bin/psql")) if path.exists())
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        command = [str(binary), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.database.dsn]
        done = subprocess.run(command, input=script, text=True, capture_output=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr

    def traces(self) -> set[str]:
        """What the catalogs hold."""
        return {row[0] for row in self.database.sql(TRACES)}

    @property
    def settings(self) -> ConnectSettings:
        """The bridge's own way in."""
        server = self.database.server
        return ConnectSettings("acme", server.host, server.port, self.database.name, self.letter.login)


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """One server of each version."""
    settings = {"fsync": "off", "max_slot_wal_keep_size": "1GB"}
    with PostgresServer.start(version=request.param, settings=settings) as started:
        yield started


@pytest.fixture
def site(server: PostgresServer) -> Iterator[Site]:
    """Tables with and without keys, partitioned, and with a name that needs quotes."""
    name = uuid.uuid4().hex[:12]
    database = server.create_database(f"test_{name}")
    database.sql(
        """
        CREATE SCHEMA sales;
        CREATE SCHEMA "Lager";
        CREATE TABLE sales.orders (id int PRIMARY KEY, amount numeric);
        CREATE TABLE sales.bare (at timestamp, text text);
        CREATE TABLE sales.full (n int);
        ALTER TABLE sales.full REPLICA IDENTITY FULL;
        CREATE TABLE sales.other (id int PRIMARY KEY);
        CREATE TABLE "Lager"."Über 'x'" (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE "Lager".part PARTITION OF "Lager"."Über 'x'" DEFAULT;
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
        """
    )
    captures = tuple(map(Capture, ("sales.orders", "sales.bare", "sales.full", "Lager.Über 'x'")))
    setup = Setup(captures, slot=f"bridge_{name}", failover=server.version >= "17")
    yield Site(database, Letter(setup, "acme", database.name, f"reader {name}"))
    database.drop()
    server.sql(f'DROP ROLE IF EXISTS "reader {name}"')


def test_the_script_lets_the_bridge_in_and_its_undoing_leaves_nothing(site: Site) -> None:
    before = site.traces()
    site.psql(dba_script(site.letter))
    with connect(site.settings, purpose="preflight") as connection:
        findings = inspect(connection, site.letter.setup)
    refuse(findings)
    assert {found.subject for found in findings if found.code == "table.keyless"} == {"sales.bare"}
    with connect(site.settings, purpose="stream", replication=True) as connection:
        slot.create(connection, site.letter.setup.slot, failover=site.letter.setup.failover)
    site.psql(undo_script(site.letter))
    assert site.traces() == before


def test_the_undoing_takes_back_what_views_were_granted_too(site: Site) -> None:
    site.database.sql(
        "CREATE SCHEMA more; CREATE TABLE more.viewed (id int); CREATE FUNCTION more.f() RETURNS int"
        " LANGUAGE sql IMMUTABLE AS 'SELECT 1'"
    )
    before = site.traces()
    site.psql(dba_script(site.letter))
    login = site.letter.login
    site.database.sql(
        f'GRANT USAGE ON SCHEMA more TO "{login}"; GRANT SELECT ON more.viewed TO "{login}";'
        f' GRANT EXECUTE ON FUNCTION more.f TO "{login}"'
    )
    site.psql(undo_script(site.letter))
    assert site.traces() == before


def test_a_system_that_is_read_by_views_alone_can_be_undone(site: Site) -> None:
    before = site.traces()
    site.database.sql(f'CREATE ROLE "{site.letter.login}" LOGIN; GRANT USAGE ON SCHEMA sales TO "{site.letter.login}"')
    site.psql(undo_script(replace(site.letter, setup=replace(site.letter.setup, captures=()))))
    assert site.traces() == before


def test_the_undoing_is_also_printed_in_the_script(site: Site) -> None:
    before = site.traces()
    script = dba_script(site.letter)
    site.psql(script)
    undoing = script.split("-- UNDO:")[1].split("\n", 1)[1]
    site.psql("\n".join(line.removeprefix("--") for line in undoing.splitlines()))
    assert site.traces() == before


def test_the_script_may_be_run_twice(site: Site) -> None:
    site.psql(dba_script(site.letter))
    once = site.traces()
    site.psql(dba_script(site.letter))
    assert site.traces() == once


def test_the_script_follows_the_tables(site: Site) -> None:
    """A table that left the configuration, or that was given a key, changes its place."""
    site.psql(dba_script(site.letter))
    site.database.sql("ALTER PUBLICATION legacy_bridge ADD TABLE sales.other; ALTER TABLE sales.bare ADD id serial")
    site.database.sql("ALTER TABLE sales.bare ADD PRIMARY KEY (id)")
    site.psql(dba_script(site.letter))
    members = site.database.sql("SELECT pubname::text, tablename::text FROM pg_publication_tables ORDER BY 1, 2")
    assert members == [("legacy_bridge", name) for name in ("bare", "full", "orders", "Über 'x'")]


def test_the_application_writes_to_every_table_after_the_script(site: Site) -> None:
    """F5: a keyless table in the wrong publication would refuse its UPDATEs."""
    site.psql(dba_script(site.letter))
    site.database.sql("INSERT INTO sales.bare VALUES (now(), 'x'); UPDATE sales.bare SET text = 'y'")
    site.database.sql("INSERT INTO sales.full VALUES (1); UPDATE sales.full SET n = 2; DELETE FROM sales.bare")


def test_the_script_stops_whole_at_a_table_that_does_not_exist(site: Site) -> None:
    site.database.sql("ALTER TABLE sales.full RENAME TO gone")
    before = site.traces()
    with pytest.raises(AssertionError, match="does not exist"):
        site.psql(dba_script(site.letter))
    assert site.traces() == before


def test_the_script_holds_no_password_and_revokes_nothing_from_public(site: Site) -> None:
    script = dba_script(site.letter)
    assert "PASSWORD '" not in script
    assert "FROM PUBLIC" not in script


def test_decommission_takes_slot_and_sessions_and_proves_it(site: Site) -> None:
    site.psql(dba_script(site.letter))
    setup = site.letter.setup
    with closing(connect(site.settings, purpose="stream", replication=True)) as stream:
        slot.create(stream, setup.slot, failover=False)
        options = "(proto_version '1', publication_names 'legacy_bridge')"
        stream.pgconn.send_query(f"START_REPLICATION SLOT {setup.slot} LOGICAL 0/0 {options}".encode())
        started = stream.pgconn.get_result()
        assert started
        assert started.status == psycopg.pq.ExecStatus.COPY_BOTH
        left = decommission(site.settings, setup)
    assert (left.slot_dropped, left.sessions_ended, left.left) == (True, 1, ())
    assert left.for_the_dba == (
        "publication legacy_bridge",
        "publication legacy_bridge_inserts",
        f"login {site.letter.login}",
    )
    mine = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{site.letter.login}'"  # our own name
    deadline = time.monotonic() + 30
    while site.database.sql(mine) != [(0,)]:  # decommission's own session takes a moment to end
        assert time.monotonic() < deadline
        time.sleep(0.02)
    again = decommission(site.settings, setup)
    assert (again.slot_dropped, again.sessions_ended, again.left) == (False, 0, ())


def test_decommission_never_ends_a_session_that_is_not_ours(site: Site) -> None:
    """Another bridge of the same login reads the slot: its session lives, and the slot stays."""
    site.psql(dba_script(site.letter))
    setup = site.letter.setup
    settings = site.settings
    theirs = ConnectSettings("other", settings.host, settings.port, settings.database, settings.user)
    with connect(theirs, purpose="stream", replication=True) as stream:
        slot.create(stream, setup.slot, failover=False)
        options = "(proto_version '1', publication_names 'legacy_bridge')"
        stream.pgconn.send_query(f"START_REPLICATION SLOT {setup.slot} LOGICAL 0/0 {options}".encode())
        stream.pgconn.get_result()
        with pytest.raises(SourceRefused, match="not ours"):
            decommission(settings, setup)
        with connect(settings, purpose="guard") as guard:
            state = slot.observe(guard, setup.slot)
        assert state is not None
        assert state.active_pid == stream.info.backend_pid
        stream.pgconn.finish()


def test_a_login_of_the_script_has_nothing_to_refuse(site: Site) -> None:
    site.psql(dba_script(site.letter))
    with connect(site.settings, purpose="preflight") as connection:
        found = inspect(connection, site.letter.setup)
    rights = {finding.code: finding.level for finding in found if finding.code.split(".")[0] in ("right", "public")}
    assert rights == {"right.read_only": Level.OK, "public.temp": Level.WARN}
