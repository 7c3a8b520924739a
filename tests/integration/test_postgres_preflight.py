"""What a login may do besides reading is found, each right by itself, on every server version here."""

import uuid
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace

import psycopg
import pytest

from bridge.errors import SourceRefused
from bridge.findings import Finding, Level, refuse
from bridge.postgres.session import Connection, ConnectSettings, connect, read_only
from bridge.sources.postgres.preflight import inspect, looks_secret
from bridge.sources.postgres.setup import WAIVERS, Capture, Setup
from demo.server import VERSIONS, Database, PostgresServer

SETUP = Setup((Capture("sales.orders"), Capture("sales.parts"), Capture("sales.bare")))


@dataclass(frozen=True)
class Erp:
    """A small legacy database with a login that may only read it."""

    database: Database
    login: str

    def run(self, statement: str) -> None:
        """Run SQL as superuser, with the login's name for LOGIN."""
        self.database.sql(statement.replace("LOGIN_ROLE", self.login))

    def connect(self, user: str | None = None) -> Connection:
        """A session of the bridge, as the login or as somebody else."""
        server = self.database.server
        settings = ConnectSettings("acme", server.host, server.port, self.database.name, user or self.login)
        return connect(settings, purpose="preflight")

    def inspect(self, setup: Setup = SETUP, *, user: str | None = None) -> list[Finding]:
        """The preflight's findings."""
        with self.connect(user) as connection:
            return inspect(connection, setup)

    @property
    def version(self) -> int:
        """Major version of the server."""
        return int(self.database.server.version)


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """One server of each version."""
    settings = {"fsync": "off", "max_slot_wal_keep_size": "1GB"}
    with PostgresServer.start(version=request.param, settings=settings) as started:
        yield started


@pytest.fixture
def erp(server: PostgresServer) -> Iterator[Erp]:
    """A database and a login of one's own."""
    name = uuid.uuid4().hex[:12]
    erp = Erp(server.create_database(f"test_{name}"), f"reader_{name}")
    erp.run(
        """
        CREATE ROLE LOGIN_ROLE LOGIN REPLICATION;
        CREATE SCHEMA sales;
        CREATE TABLE sales.orders (id int PRIMARY KEY, amount numeric);
        CREATE TABLE sales.parts (id int PRIMARY KEY, day date) PARTITION BY RANGE (id);
        CREATE TABLE sales.parts_1 PARTITION OF sales.parts FOR VALUES FROM (1) TO (100);
        CREATE TABLE sales.bare (at timestamp, text text);
        CREATE SEQUENCE sales.numbers;
        INSERT INTO sales.orders SELECT n, n FROM generate_series(1, 50) n;
        GRANT USAGE ON SCHEMA sales TO LOGIN_ROLE;
        GRANT SELECT ON ALL TABLES IN SCHEMA sales TO LOGIN_ROLE;
        CREATE PUBLICATION legacy_bridge FOR TABLE sales.orders, sales.parts WITH (publish_via_partition_root = true);
        CREATE PUBLICATION legacy_bridge_inserts FOR TABLE sales.bare
            WITH (publish = 'insert', publish_via_partition_root = true);
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;  -- as PostgreSQL 15 has it
        """
    )
    yield erp
    erp.run("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
    erp.run("DROP OWNED BY LOGIN_ROLE")
    erp.database.drop()
    server.sql(f"DROP OWNED BY {erp.login}; DROP ROLE {erp.login}; DROP ROLE IF EXISTS group_{erp.login}")


def refused(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.code, finding.subject) for finding in findings if finding.level is Level.REFUSE}


def test_a_login_that_only_reads_is_let_in(erp: Erp) -> None:
    findings = erp.inspect()
    refuse(findings)
    assert [finding.subject for finding in findings if finding.code == "right.read_only"] == [erp.login]
    warned = [finding.code for finding in findings if finding.level is Level.WARN]
    assert warned == ["public.temp", "table.keyless"]


def test_a_superuser_is_refused(erp: Erp) -> None:
    """S11."""
    assert ("right.superuser", "postgres") in refused(erp.inspect(user="postgres"))


# name: (what is granted, code, subject, words of the detail, first version that knows it)
RIGHTS: dict[str, tuple[str, str, str, str, int]] = {
    "createrole": ("ALTER ROLE LOGIN_ROLE CREATEROLE", "right.createrole", "LOGIN_ROLE", "roles", 0),
    "createdb": ("ALTER ROLE LOGIN_ROLE CREATEDB", "right.createdb", "LOGIN_ROLE", "databases", 0),
    **{
        verb: (f"GRANT {verb} ON sales.orders TO LOGIN_ROLE", "right.table_write", "sales.orders", f"may {verb}", since)
        for verb, since in {
            "INSERT": 0,
            "UPDATE": 0,
            "DELETE": 0,
            "TRUNCATE": 0,
            "REFERENCES": 0,
            "TRIGGER": 0,
            "MAINTAIN": 17,
        }.items()
    },
    "column update": (
        "GRANT UPDATE (amount) ON sales.orders TO LOGIN_ROLE",
        "right.column_write",
        "sales.orders (amount)",
        "may UPDATE",
        0,
    ),
    "column insert": (
        "GRANT INSERT (amount) ON sales.orders TO LOGIN_ROLE",
        "right.column_write",
        "sales.orders (amount)",
        "may INSERT",
        0,
    ),
    "to everybody": ("GRANT DELETE ON sales.bare TO PUBLIC", "right.table_write", "sales.bare", "may DELETE", 0),
    "uncaptured table": (
        "CREATE TABLE sales.other (id int); GRANT UPDATE ON sales.other TO LOGIN_ROLE",
        "right.table_write",
        "sales.other",
        "may UPDATE",
        0,
    ),
    "view": (
        "CREATE VIEW sales.w AS SELECT * FROM sales.orders; GRANT UPDATE ON sales.w TO LOGIN_ROLE",
        "right.table_write",
        "sales.w",
        "may UPDATE",
        0,
    ),
    "system view": (
        "GRANT UPDATE ON pg_catalog.pg_roles TO LOGIN_ROLE",
        "right.table_write",
        "pg_catalog.pg_roles",
        "may UPDATE",
        0,
    ),
    "sequence usage": ("GRANT USAGE ON sales.numbers TO LOGIN_ROLE", "right.sequence", "sales.numbers", "USAGE", 0),
    "sequence update": ("GRANT UPDATE ON sales.numbers TO LOGIN_ROLE", "right.sequence", "sales.numbers", "UPDATE", 0),
    "owned type": (
        "CREATE TYPE sales.mood AS ENUM ('ok'); ALTER TYPE sales.mood OWNER TO LOGIN_ROLE",
        "right.owner",
        "type sales.mood",
        "is owned by LOGIN_ROLE",
        0,
    ),
    "owned large object": (
        "SELECT lo_create(4711); ALTER LARGE OBJECT 4711 OWNER TO LOGIN_ROLE",
        "right.owner",
        "large object 4711",
        "is owned by LOGIN_ROLE",
        0,
    ),
    "large object": (
        "SELECT lo_create(4712); GRANT UPDATE ON LARGE OBJECT 4712 TO LOGIN_ROLE",
        "right.large_object",
        "large object 4712",
        "may UPDATE",
        0,
    ),
    "create in schema": ("GRANT CREATE ON SCHEMA sales TO LOGIN_ROLE", "right.create", "schema sales", "objects", 0),
    "create in database": (
        "DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO LOGIN_ROLE', current_database()); END $$",
        "right.create",
        "database DATABASE_NAME",
        "schemas",
        0,
    ),
    "create in tablespace": (
        "GRANT CREATE ON TABLESPACE pg_default TO LOGIN_ROLE",
        "right.create",
        "tablespace pg_default",
        "objects",
        0,
    ),
    "parameter": (
        "GRANT ALTER SYSTEM ON PARAMETER work_mem TO LOGIN_ROLE",
        "right.parameter",
        "work_mem",
        "ALTER SYSTEM",
        15,
    ),
    "admin function": (
        "GRANT EXECUTE ON FUNCTION pg_reload_conf() TO LOGIN_ROLE",
        "right.admin_function",
        "pg_reload_conf()",
        "superusers",
        0,
    ),
    "server file import": (
        "GRANT EXECUTE ON FUNCTION lo_import(text) TO LOGIN_ROLE",
        "right.admin_function",
        "lo_import(text)",
        "superusers",
        0,
    ),
    "security definer": (
        "CREATE FUNCTION sales.wipe(int) RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM sales.orders'",
        "right.security_definer",
        "sales.wipe(integer)",
        "rights of postgres",
        0,
    ),
    **{
        role: (f"GRANT {role} TO LOGIN_ROLE", "right.role", role, "membership", since)
        for role, since in {
            "pg_write_all_data": 14,
            "pg_write_server_files": 11,
            "pg_execute_server_program": 11,
            "pg_signal_backend": 0,
            "pg_checkpoint": 15,
            "pg_create_subscription": 16,
            "pg_maintain": 17,
        }.items()
    },
    "inherited": (
        """CREATE ROLE group_LOGIN_ROLE; GRANT UPDATE ON sales.orders TO group_LOGIN_ROLE;
        GRANT group_LOGIN_ROLE TO LOGIN_ROLE""",
        "right.table_write",
        "sales.orders",
        "may UPDATE",
        0,
    ),
    "by SET ROLE only": (
        """ALTER ROLE LOGIN_ROLE NOINHERIT; CREATE ROLE group_LOGIN_ROLE; GRANT group_LOGIN_ROLE TO LOGIN_ROLE;
        GRANT UPDATE ON sales.orders TO group_LOGIN_ROLE""",
        "right.table_write",
        "sales.orders",
        "may UPDATE",
        0,
    ),
    "superuser by SET ROLE": (
        "CREATE ROLE group_LOGIN_ROLE SUPERUSER; GRANT group_LOGIN_ROLE TO LOGIN_ROLE",
        "right.superuser",
        "group_LOGIN_ROLE",
        "may do everything",
        0,
    ),
    "no replication": ("ALTER ROLE LOGIN_ROLE NOREPLICATION", "right.replication", "LOGIN_ROLE", "change log", 0),
}


@pytest.mark.parametrize("right", RIGHTS)
def test_each_right_beyond_reading_is_refused_by_name(erp: Erp, right: str) -> None:
    """S11: built by granting exactly that right."""
    grant, code, subject, words, since = RIGHTS[right]
    if erp.version < since:
        pytest.skip(f"a right since PostgreSQL {since}")
    names = {"LOGIN_ROLE": erp.login, "DATABASE_NAME": erp.database.name}
    for word, name in names.items():
        subject, words = subject.replace(word, name), words.replace(word, name)
    erp.run(grant)
    [finding] = [found for found in erp.inspect() if (found.code, found.subject) == (code, subject)]
    assert finding.level is Level.REFUSE
    assert words in finding.detail
    with pytest.raises(SourceRefused, match=code):
        refuse([finding])


def test_a_membership_that_grants_nothing_is_not_held_against_the_login(erp: Erp) -> None:
    if erp.version < 16:
        pytest.skip("every membership grants something before PostgreSQL 16")
    erp.run(
        "CREATE ROLE group_LOGIN_ROLE; GRANT UPDATE ON sales.orders TO group_LOGIN_ROLE;"
        "GRANT group_LOGIN_ROLE TO LOGIN_ROLE WITH INHERIT FALSE, SET FALSE"
    )
    assert refused(erp.inspect()) == set()


def test_every_grant_is_listed_at_once(erp: Erp) -> None:
    erp.run("GRANT UPDATE ON sales.orders, sales.bare TO LOGIN_ROLE; GRANT USAGE ON sales.numbers TO LOGIN_ROLE")
    with pytest.raises(SourceRefused) as caught:
        refuse(erp.inspect())
    assert all(name in caught.value.detail for name in ("3 reason(s)", "sales.orders", "sales.bare", "sales.numbers"))


def test_a_right_on_the_whole_table_is_not_listed_again_by_column(erp: Erp) -> None:
    erp.run("GRANT UPDATE (amount) ON sales.orders TO LOGIN_ROLE; GRANT UPDATE ON sales.orders TO LOGIN_ROLE")
    assert refused(erp.inspect()) == {("right.table_write", "sales.orders")}


def test_write_rights_are_waived_only_by_name_and_stay_visible(erp: Erp) -> None:
    erp.run("GRANT UPDATE ON sales.orders TO LOGIN_ROLE")
    assert refused(erp.inspect(replace(SETUP, waivers=WAIVERS - {"can_write"})))
    findings = erp.inspect(replace(SETUP, waivers=frozenset({"can_write"})))
    assert refused(findings) == set()
    [finding] = [found for found in findings if found.code == "right.table_write"]
    assert (finding.level, "waived: can_write" in finding.detail) == (Level.WARN, True)
    assert not [found for found in findings if found.code == "right.read_only"]


def test_what_public_has_by_default_is_a_warning_with_a_waiver(erp: Erp) -> None:
    erp.run("GRANT CREATE ON SCHEMA public TO PUBLIC")
    levels = {found.code: found.level for found in erp.inspect() if found.code.startswith("public.")}
    assert levels == {"public.create": Level.WARN, "public.temp": Level.WARN}
    signed = erp.inspect(replace(SETUP, waivers=frozenset({"public_temp", "public_create"})))
    levels = {found.code: found.level for found in signed if found.code.startswith("public.")}
    assert levels == {"public.create": Level.OK, "public.temp": Level.OK}


@pytest.mark.parametrize(
    ("change", "code", "subject"),
    [
        ("REVOKE SELECT ON sales.orders FROM LOGIN_ROLE", "table.select", "sales.orders"),
        ("REVOKE USAGE ON SCHEMA sales FROM LOGIN_ROLE", "table.select", "sales.orders"),
        ("ALTER TABLE sales.orders ENABLE ROW LEVEL SECURITY", "table.row_security", "sales.orders"),
        ("DROP TABLE sales.orders", "table.missing", "sales.orders"),
        ("ALTER TABLE sales.orders ADD password text", "table.secrets", "sales.orders"),
        ("ALTER PUBLICATION legacy_bridge DROP TABLE sales.orders", "publication.missing_table", "sales.orders"),
        ("DROP PUBLICATION legacy_bridge_inserts", "publication.missing", "sales.bare"),
        ("ALTER PUBLICATION legacy_bridge SET (publish = 'insert')", "publication.operations", "legacy_bridge"),
        (
            "ALTER PUBLICATION legacy_bridge SET (publish_via_partition_root = false)",
            "publication.partitions",
            "legacy_bridge",
        ),
        ("ALTER PUBLICATION legacy_bridge ADD TABLE sales.bare", "publication.breaks_writes", "sales.bare"),
        ("ALTER TABLE sales.orders REPLICA IDENTITY NOTHING", "publication.breaks_writes", "sales.orders"),
        ("ALTER TABLE sales.parts_1 REPLICA IDENTITY NOTHING", "publication.breaks_writes", "sales.parts"),
        (
            "ALTER TABLE sales.orders DROP CONSTRAINT orders_pkey, ADD PRIMARY KEY (id) DEFERRABLE",
            "publication.breaks_writes",
            "sales.orders",
        ),
        (
            "DROP PUBLICATION legacy_bridge; CREATE PUBLICATION legacy_bridge FOR ALL TABLES",
            "publication.too_wide",
            "legacy_bridge",
        ),
        (
            "ALTER PUBLICATION legacy_bridge ADD TABLES IN SCHEMA sales",
            "publication.too_wide",
            "legacy_bridge",
        ),
    ],
)
def test_a_table_or_publication_that_breaks_a_promise_is_refused(
    erp: Erp, change: str, code: str, subject: str
) -> None:
    erp.run(change)
    assert (code, subject) in refused(erp.inspect())


def test_a_view_a_partition_and_an_unlogged_table_are_refused(erp: Erp) -> None:
    erp.run("CREATE VIEW sales.v AS SELECT 1; CREATE UNLOGGED TABLE sales.fast (id int PRIMARY KEY)")
    setup = replace(SETUP, captures=(Capture("sales.v"), Capture("sales.fast"), Capture("sales.parts_1")))
    assert {("table.kind", "sales.v"), ("table.unlogged", "sales.fast"), ("table.partition", "sales.parts_1")} <= (
        refused(erp.inspect(setup))
    )


def test_a_column_list_keeps_secrets_out_and_is_named(erp: Erp) -> None:
    erp.run(
        "ALTER TABLE sales.orders ADD password text;"
        "ALTER PUBLICATION legacy_bridge SET TABLE sales.orders (id, amount) WHERE (id > 0), sales.parts"
    )
    findings = erp.inspect()
    assert refused(findings) == set()
    assert {"table.column_list", "table.row_filter"} <= {found.code for found in findings}


def test_secrets_are_read_when_the_stream_says_so(erp: Erp) -> None:
    erp.run("ALTER TABLE sales.orders ADD password text")
    setup = replace(SETUP, captures=(Capture("sales.orders", capture_secrets=True), *SETUP.captures[1:]))
    assert refused(erp.inspect(setup)) == set()


@pytest.mark.parametrize("name", ["sessions", "ir_session", "user_token", "auth_user", "ApiKeys", "credential"])
def test_tables_of_live_sessions_are_known_by_name(name: str) -> None:
    """F8."""
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["authors", "obsession", "tokenised_at", "secretary", "oeordh"])
def test_a_word_inside_a_word_is_no_secret(name: str) -> None:
    assert not looks_secret(name)
    assert not looks_secret(name, column=True)


@pytest.mark.parametrize("name", ["token", "a_session", "passwordHash", "passwd", "client_secret", "otp"])
def test_columns_of_credentials_are_known_by_name(name: str) -> None:
    assert looks_secret(name, column=True)


def test_an_unlimited_slot_is_refused_unless_signed_for(server: PostgresServer) -> None:
    """B18."""
    with PostgresServer.start(version=server.version, settings={"fsync": "off"}) as unlimited:
        settings = ConnectSettings("acme", unlimited.host, unlimited.port, "postgres", "postgres")
        with connect(settings, purpose="preflight") as connection:
            setup, subject = Setup((Capture("sales.orders"),)), ("slot.unlimited", "max_slot_wal_keep_size")
            assert subject in refused(inspect(connection, setup))
            assert subject not in refused(inspect(connection, replace(setup, waivers=frozenset({"unlimited_slot"}))))


def test_a_slot_of_another_database_is_refused(erp: Erp) -> None:
    slot = f"s_{erp.login}"
    erp.run(f"SELECT pg_create_logical_replication_slot('{slot}', 'test_decoding')")
    assert ("slot.foreign", slot) in refused(erp.inspect(replace(SETUP, slot=slot)))
    erp.run(f"SELECT pg_drop_replication_slot('{slot}')")


def test_sixty_keyless_tables_are_listed_and_the_application_keeps_writing(erp: Erp) -> None:
    """B6, F5."""
    names = [f"sales.k{n}" for n in range(60)]
    for name in names:
        erp.run(f"CREATE TABLE {name} (n int); INSERT INTO {name} VALUES (1)")  # a name of our own
    setup = replace(SETUP, captures=tuple(map(Capture, names)))

    erp.run("DROP PUBLICATION legacy_bridge; CREATE PUBLICATION legacy_bridge FOR ALL TABLES")
    breaking = {subject for code, subject in refused(erp.inspect(setup)) if code == "publication.breaks_writes"}
    assert breaking == {*names, "sales.bare"}
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):  # what the finding warns of
        erp.run("UPDATE sales.k0 SET n = 2")

    erp.run(
        "DROP PUBLICATION legacy_bridge; CREATE PUBLICATION legacy_bridge;"
        "GRANT SELECT ON ALL TABLES IN SCHEMA sales TO LOGIN_ROLE;"
        f"ALTER PUBLICATION legacy_bridge_inserts SET TABLE {', '.join(names)}"
    )
    findings = erp.inspect(setup)
    assert refused(findings) == set()
    assert [found.subject for found in findings if found.code == "table.keyless"] == names
    for name in names:
        erp.run(f"UPDATE {name} SET n = 2; DELETE FROM {name}")  # a name of our own


# F11: ways around a read-only default. LOGIN_ROLE has SELECT only.
CORPUS = [
    "INSERT INTO sales.orders VALUES (99, 1)",
    "UPDATE sales.orders SET amount = 0",
    "DELETE FROM sales.orders",
    "TRUNCATE sales.orders",
    "WITH gone AS (DELETE FROM sales.orders RETURNING *) SELECT * FROM gone",
    "MERGE INTO sales.orders o USING (SELECT 1 id) s ON o.id = s.id WHEN MATCHED THEN DELETE",
    "COPY sales.orders FROM PROGRAM 'echo 99'",
    "COPY (SELECT 1) TO PROGRAM 'cat'",
    "COPY (SELECT 1) TO '/tmp/legacy_bridge_leak'",
    "SELECT * INTO sales.stolen FROM sales.orders",
    "CREATE TABLE sales.stolen AS SELECT * FROM sales.orders",
    "SELECT nextval('sales.numbers')",
    "SELECT setval('sales.numbers', 42)",
    "SELECT * FROM sales.orders FOR UPDATE",
    "SELECT * FROM sales.orders FOR SHARE",
    "LOCK TABLE sales.orders IN ACCESS EXCLUSIVE MODE",
    "ALTER TABLE sales.orders ADD stolen int",
    "DROP TABLE sales.orders",
    "CREATE INDEX ON sales.orders (amount)",
    "CREATE TRIGGER t BEFORE INSERT ON sales.orders EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE r AS ON INSERT TO sales.orders DO NOTHING",
    "COMMENT ON TABLE sales.orders IS 'was here'",
    "VACUUM sales.orders",
    "CLUSTER sales.orders USING orders_pkey",
    "GRANT ALL ON sales.orders TO PUBLIC",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "ALTER SYSTEM SET work_mem = '1GB'",
    "ALTER ROLE postgres PASSWORD 'x'",
    "CREATE ROLE intruder",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_reload_conf()",
    "DO $$ BEGIN DELETE FROM sales.orders; END $$",
    "EXPLAIN ANALYZE DELETE FROM sales.orders",
    "PREPARE p AS DELETE FROM sales.orders; EXECUTE p",
    "SELECT 1; DELETE FROM sales.orders",
    "SELECT 1 /* */; /* */ DELETE FROM sales.orders --",
    'DELETE FROM U&"s\\0061les".orders',
    "COMMIT; DELETE FROM sales.orders",
    "COMMIT; BEGIN READ WRITE; DELETE FROM sales.orders; COMMIT",
    "SET LOCAL transaction_read_only = off; DELETE FROM sales.orders",
    "SELECT set_config('transaction_read_only', 'off', true); DELETE FROM sales.orders",
    "RESET ALL; DELETE FROM sales.orders",
    "DISCARD ALL",
]
IMAGE = """
SELECT (SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM sales.orders o), (SELECT last_value FROM sales.numbers),
       (SELECT md5(string_agg(c.oid || relname || coalesce(relacl::text, ''), ',' ORDER BY c.oid)) FROM pg_class c
        WHERE relnamespace = 'sales'::regnamespace), (SELECT count(*) FROM pg_roles), (SELECT count(*) FROM pg_trigger)
"""


@pytest.mark.parametrize("is_guarded", [True, False], ids=["in read_only", "with the default switched off"])
def test_no_statement_of_the_corpus_changes_anything(erp: Erp, is_guarded: bool) -> None:  # noqa: FBT001
    """F11: the missing grants hold, also where read_only is not used and its default is switched off."""
    before = erp.database.sql(IMAGE)
    for statement in CORPUS:
        with erp.connect() as connection, suppress(psycopg.Error):
            connection.execute("SET default_transaction_read_only = off")
            with read_only(connection) if is_guarded else nullcontext():
                connection.execute(statement.encode())
    assert erp.database.sql(IMAGE) == before


def test_a_read_only_look_cannot_be_made_writable(erp: Erp) -> None:
    """F11: not even by a login that could write."""
    erp.run("GRANT DELETE ON sales.orders TO LOGIN_ROLE")
    with erp.connect() as connection:
        with pytest.raises(psycopg.errors.ActiveSqlTransaction), read_only(connection):
            connection.execute("SET TRANSACTION READ WRITE")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), read_only(connection):
            connection.execute("DELETE FROM sales.orders")
        assert connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE


def test_a_read_only_look_leaves_the_session_as_it_was(erp: Erp) -> None:
    with erp.connect() as connection:
        before = connection.execute("SHOW work_mem").fetchone()
        with read_only(connection):
            connection.execute("SET work_mem = '99MB'")
        assert connection.execute("SHOW work_mem").fetchone() == before
