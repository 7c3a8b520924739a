"""No statement changes anything: not past the lint, and not past the session when the lint is switched off (F-1)."""

import contextlib
import glob
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import BridgeError
from bridge.extraction.extractor import Question
from bridge.postgres.session import ConnectSettings
from bridge.sources.view.dialects.firebird.session import FirebirdSession
from bridge.sources.view.dialects.mysql.session import MysqlSession
from bridge.sources.view.dialects.postgres import PostgresSession
from bridge.sources.view.dialects.sqlite.session import SqliteSession
from bridge.sources.view.extractor import ViewExtractor
from bridge.sources.view.lint import lint
from bridge.sources.view.session import Prepared, Session
from bridge.sources.view.viewfile import parse
from demo.server import Database
from tests import bypass
from tests.legacy import FirebirdLegacy, MariaLegacy, SqliteLegacy

_LEFT = "/tmp/legacy-bridge-bypass*"  # noqa: S108  where the statements would write
ORDERS = (
    "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(20))",
    *(f"INSERT INTO orders VALUES ({n}, 'order {n}')" for n in range(1, 6)),
)


@dataclass
class Target:
    """One database, what would change in it, and how it is read."""

    statements: tuple[str, ...]
    dialect: str
    session: Callable[[], Session]
    look: Callable[[], object]  # everything that a statement of the corpus could change

    def fingerprint(self) -> str:
        """Of the database and of the files that the statements name."""
        return hashlib.sha256(repr((self.look(), sorted(glob.glob(_LEFT)))).encode()).hexdigest()  # noqa: PTH207  a pattern


@pytest.fixture
def mysql(mariadb_legacy: MariaLegacy) -> Target:
    legacy, name = mariadb_legacy, mariadb_legacy.database.name
    legacy.run(
        *ORDERS,
        "CREATE SEQUENCE numbers",
        "CREATE PROCEDURE dangerous() MODIFIES SQL DATA DELETE FROM orders",
        "CREATE FUNCTION danger() RETURNS INT MODIFIES SQL DATA BEGIN DELETE FROM orders; RETURN 1; END",
        "CREATE SQL SECURITY DEFINER VIEW sly AS SELECT danger() AS id",
    )

    def look() -> object:
        quiet = "'max_connections', 'read_only', 'general_log', 'event_scheduler', 'sql_mode', 'tx_read_only'"
        return (
            legacy.run("SELECT * FROM orders ORDER BY id"),
            legacy.run("SELECT next_not_cached_value FROM numbers"),
            legacy.run("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1"),
            legacy.run("SELECT routine_name FROM information_schema.routines WHERE routine_schema = DATABASE()"),
            legacy.run("SELECT user, host FROM mysql.global_priv ORDER BY 1, 2"),
            legacy.run(f"SHOW GRANTS FOR {name}@'127.0.0.1'"),
            legacy.run(f"SHOW GLOBAL VARIABLES WHERE variable_name IN ({quiet})"),
            legacy.run("SELECT IS_USED_LOCK('bypass')"),
            legacy.run("SELECT COUNT(*) FROM information_schema.innodb_trx"),
            legacy.run("SELECT COUNT(*) FROM information_schema.events"),
        )

    statements = (*bypass.MYSQL, "SELECT id FROM sly")
    return Target(statements, "mysql", lambda: MysqlSession(legacy.settings()), look)


@pytest.fixture
def sqlite(sqlite_legacy: SqliteLegacy) -> Target:
    legacy = sqlite_legacy
    legacy.run("PRAGMA journal_mode = WAL", *ORDERS, "CREATE VIEW sly AS SELECT load_extension('x') AS id")

    def look() -> object:
        return (
            legacy.run("SELECT * FROM orders ORDER BY id"),
            legacy.run("SELECT * FROM sqlite_master ORDER BY name"),
            legacy.run("PRAGMA user_version"),
            legacy.run("PRAGMA journal_mode"),
            sorted(path.name for path in legacy.path.parent.glob("*.db")),
        )

    statements = (*bypass.SQLITE, "SELECT id FROM sly")
    return Target(statements, "sqlite", lambda: SqliteSession(legacy.path), look)


@pytest.fixture
def firebird(firebird_legacy: FirebirdLegacy) -> Target:
    legacy = firebird_legacy
    legacy.run(
        *ORDERS,
        "CREATE SEQUENCE numbers",
        "CREATE PROCEDURE dangerous RETURNS (id INTEGER) AS BEGIN DELETE FROM orders; id = 1; SUSPEND; END",
    )

    def look() -> object:
        return (
            legacy.run("SELECT * FROM orders ORDER BY id"),
            legacy.run("SELECT GEN_ID(numbers, 0) FROM RDB$DATABASE"),
            legacy.run("SELECT RDB$RELATION_NAME, RDB$DESCRIPTION FROM RDB$RELATIONS ORDER BY 1"),
            legacy.run("SELECT RDB$PROCEDURE_NAME FROM RDB$PROCEDURES ORDER BY 1"),
            legacy.run("SELECT RDB$GENERATOR_NAME FROM RDB$GENERATORS ORDER BY 1"),
            legacy.run("SELECT COUNT(*) FROM RDB$USER_PRIVILEGES"),
            legacy.run("SELECT MON$BACKUP_STATE FROM MON$DATABASE"),
        )

    return Target(bypass.FIREBIRD, "firebird", lambda: FirebirdSession(legacy.settings()), look)


@pytest.fixture
def postgres(database: Database) -> Iterator[Target]:
    reader = f"reader_{time.monotonic_ns()}"
    database.sql(";".join(ORDERS))
    database.sql(
        "CREATE SEQUENCE numbers;"
        "CREATE PROCEDURE dangerous() LANGUAGE sql AS 'DELETE FROM orders';"
        "CREATE FUNCTION danger() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM orders; SELECT 1';"
        "REVOKE EXECUTE ON FUNCTION danger() FROM PUBLIC;"
        f"CREATE ROLE {reader} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}"
    )
    server = database.server
    settings = ConnectSettings("test", host=server.host, port=server.port, database=database.name, user=reader)

    def look() -> object:
        return (
            database.sql("SELECT * FROM orders ORDER BY id"),
            database.sql("SELECT last_value, is_called FROM numbers"),
            database.sql("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"),
            database.sql("SELECT count(*) FROM pg_largeobject_metadata"),
            database.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"),
            database.sql("SELECT setconfig FROM pg_db_role_setting"),
        )

    waivers = frozenset({"public_temp"})
    yield Target(bypass.POSTGRES, "postgres", lambda: PostgresSession(settings, waivers=waivers), look)
    database.sql(f"DROP OWNED BY {reader}")
    database.sql(f"DROP ROLE {reader}")


@pytest.fixture(params=["mysql", "sqlite", "firebird", "postgres"])
def target(request: pytest.FixtureRequest) -> Target:
    found: Target = request.getfixturevalue(request.param)
    return found


# What the lint lets pass, since nothing in the text says more than a SELECT: the session alone stands against these.
_PLAIN = frozenset({"SELECT id FROM sly", "SELECT id FROM dangerous"})


def test_the_lint_refuses_every_statement(target: Target) -> None:
    def is_passed(statement: str) -> bool:
        try:
            view = parse(f"-- mode: full\n-- key: id\n{statement}\n", Path("bypass.sql"))
        except BridgeError:
            return False
        return not lint(view, target.dialect).mistakes

    assert [one for one in target.statements if one not in _PLAIN and is_passed(one)] == []


def test_a_page_of_any_statement_changes_nothing_with_the_lint_off(target: Target) -> None:
    before = target.fingerprint()
    for statement in target.statements:
        with contextlib.suppress(BridgeError):
            view = parse(f"-- mode: full\n-- key: id\n-- statement_timeout: 5s\n{statement}\n", Path("bypass.sql"))
            extractor = ViewExtractor("any", target.session(), {"s": view}, dialect=target.dialect)
            with contextlib.closing(extractor):
                extractor.page(Question("s", 10))
    assert target.fingerprint() == before


def test_a_session_given_the_statement_itself_changes_nothing(target: Target) -> None:
    before = target.fingerprint()
    session = target.session()
    for statement in target.statements:
        prepared: Any = Prepared(("SELECT 1 AS id",), {}, {})
        with contextlib.suppress(BridgeError):
            session.open()
            session.ask((statement,), prepared, last=(), timeout_s=5.0)
        session.close()
    assert target.fingerprint() == before


def test_what_one_statement_left_in_a_session_does_not_help_the_next(target: Target) -> None:
    before = target.fingerprint()
    session = target.session()
    prepared: Any = Prepared(("SELECT 1 AS id",), {}, {})
    for statement in target.statements:  # in one session for as long as it lives
        with contextlib.suppress(BridgeError):
            session.ask((statement,), prepared, last=(), timeout_s=5.0)
    session.close()
    assert target.fingerprint() == before
