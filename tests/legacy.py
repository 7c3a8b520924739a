"""Databases as the tests of extraction see them: a legacy application's own hand, and the bridge's eye."""

import contextlib
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL

from bridge.extraction.extractor import Extractor, Page, Question
from bridge.postgres.session import ConnectSettings
from bridge.sources.view.dialects.alchemy import AlchemySession, Ways
from bridge.sources.view.dialects.firebird.session import FirebirdSession, FirebirdSettings
from bridge.sources.view.dialects.mysql.session import MysqlSession, MysqlSettings
from bridge.sources.view.dialects.postgres import PostgresSession
from bridge.sources.view.dialects.sqlite.session import SqliteSession
from bridge.sources.view.extractor import ViewExtractor
from bridge.sources.view.viewfile import View, parse
from demo.server import Database
from tests.firebird import FirebirdDatabase
from tests.mariadb import MariaDatabase

VIEWS = ("postgres", "mariadb", "sqlite", "firebird", "alchemy")  # that views are read from


class Legacy(Protocol):
    """One database with an owner who writes and a login of ours that reads."""

    slow: str  # a SELECT that runs for minutes, with a column n
    has_escapes: bool  # a backslash in a string of SQL escapes

    def run(self, *statements: str) -> Sequence[Sequence[Any]]:
        """Run statements as the owner; the rows of the last."""

    def extractor(self, *, most_bytes: int | None = None, **views: str) -> Extractor:
        """Reads views, given as the text of their files, by stream."""

    def working(self) -> int:
        """How many statements of our login the server is at work on now."""

    def quote(self, name: str) -> str:
        """A name in SQL."""


def view(text: str, **values: str) -> View:
    """A view file's text, with values of its parameters."""
    return parse(text, Path("views/some.sql")).given(values)


class PostgresLegacy:
    """PostgreSQL."""

    has_escapes = False
    slow = "SELECT sum(a.n * b.n) AS n FROM generate_series(1, 100000) a(n), generate_series(1, 100000) b(n)"

    def __init__(self, database: Database) -> None:
        self.database = database

    def run(self, *statements: str) -> Sequence[Sequence[Any]]:
        """See `Legacy`; whatever table is made, our login may read it."""
        found: Sequence[Sequence[Any]] = []
        with psycopg.connect(self.database.dsn, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
                found = cursor.fetchall() if cursor.description else []
            connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO legacy_reader")
        return found

    def session(self, **how: int) -> PostgresSession:
        """A session of our login."""
        server = self.database.server
        settings = ConnectSettings(
            "test", host=server.host, port=server.port, database=self.database.name, user="legacy_reader"
        )
        return PostgresSession(settings, waivers=frozenset({"public_temp"}), **how)

    def extractor(self, *, most_bytes: int | None = None, **views: str) -> Extractor:
        """See `Legacy`; plain names of tables in a view are those of the schema `public`."""
        session = self.session(**({} if most_bytes is None else {"page_bytes": most_bytes}))
        fitted = {name: view(_TABLE.sub(r"FROM public.\1", text)) for name, text in views.items()}
        return ViewExtractor("erp", session, fitted, dialect="postgres")

    def working(self) -> int:
        """See `Legacy`."""
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'legacy_reader' AND state = 'active'"
            f" AND datname = '{self.database.name}'"
        )
        return int(self.database.sql(query)[0][0])

    def quote(self, name: str) -> str:
        """See `Legacy`."""
        return sql.Identifier(name).as_string()


def with_reader(database: Database) -> PostgresLegacy:
    """A database with our login."""
    database.sql(
        "DO $$ BEGIN CREATE ROLE legacy_reader LOGIN;"
        " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )
    return PostgresLegacy(database)


_TABLE = re.compile(r"\bFROM (\w+)\b(?![(.])")


class MariaLegacy:
    """MariaDB."""

    has_escapes = True
    slow = "SELECT SUM(a.seq * b.seq) AS n FROM seq_1_to_1000000 a, seq_1_to_1000000 b"

    def __init__(self, database: MariaDatabase) -> None:
        self.database = database

    def settings(self, **changes: Any) -> MysqlSettings:  # noqa: ANN401  its own fields
        """How our login reaches it."""
        name = self.database.name
        given = {
            "instance": "test",
            "host": "127.0.0.1",
            "port": self.database.server.port,
            "database": name,
            "user": name,
        }
        return MysqlSettings(**{**given, "password": lambda: "read", **changes})

    def run(self, *statements: str) -> Sequence[Sequence[Any]]:
        """See `Legacy`."""
        return self.database.sql(*statements)

    def extractor(self, *, most_bytes: int | None = None, **views: str) -> Extractor:
        """See `Legacy`."""
        session = MysqlSession(self.settings(), **({} if most_bytes is None else {"most_bytes": most_bytes}))
        return ViewExtractor("shop", session, {name: view(text) for name, text in views.items()}, dialect="mysql")

    def working(self) -> int:
        """See `Legacy`."""
        found = self.run(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST"
            f" WHERE USER = '{self.database.name}' AND COMMAND <> 'Sleep'"
        )
        return int(found[0][0])

    def quote(self, name: str) -> str:
        """See `Legacy`."""
        return MysqlSession.grammar.quote(name)


class AlchemyLegacy(MariaLegacy):
    """MariaDB through SQLAlchemy, as any database without a way of its own is read."""

    def extractor(self, *, most_bytes: int | None = None, **views: str) -> Extractor:
        """See `Legacy`."""
        server, name = self.database.server, self.database.name
        url = URL.create("mysql+pymysql", name, "read", "127.0.0.1", server.port, name)

        def cancel(connection: Any) -> None:  # noqa: ANN401  PyMySQL's
            server.sql(f"KILL {connection.thread_id()}")

        ways = Ways(
            grammar=MysqlSession.grammar,
            pins=("SET SESSION TRANSACTION READ ONLY", "SET SESSION sql_mode = ''"),
            begins=("START TRANSACTION READ ONLY",),
            clock="SELECT UTC_TIMESTAMP(6)",
            cancel=cancel,
        )
        session = AlchemySession(lambda: url, ways, most_bytes=most_bytes or 1 << 28)
        return ViewExtractor("any", session, {name: view(text) for name, text in views.items()}, dialect="mysql")


class SqliteLegacy:
    """A SQLite file."""

    has_escapes = False
    slow = (
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000000000000)"
        " SELECT SUM(n) AS n FROM c"
    )

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sessions: list[SqliteSession] = []

    def run(self, *statements: str) -> Sequence[Sequence[Any]]:
        """See `Legacy`."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            found: list[Sequence[Any]] = []
            for statement in statements:
                found = connection.execute(statement).fetchall()
            return found

    def extractor(self, *, most_bytes: int | None = None, **views: str) -> Extractor:
        """See `Legacy`."""
        session = SqliteSession(self.path, **({} if most_bytes is None else {"most_bytes": most_bytes}))
        self._sessions.append(session)
        return ViewExtractor("till", session, {name: view(text) for name, text in views.items()}, dialect="sqlite")

    def working(self) -> int:
        """See `Legacy`."""
        return sum(session.is_working for session in self._sessions)

    def quote(self, name: str) -> str:
        """See `Legacy`."""
        return SqliteSession.grammar.quote(name)


class FirebirdLegacy:
    """Firebird."""

    has_escapes = False
    slow = (
        'SELECT SUM(CAST(a.RDB$FIELD_ID AS DOUBLE PRECISION) + b.RDB$FIELD_ID + c.RDB$FIELD_ID) AS "n"'
        " FROM RDB$RELATION_FIELDS a CROSS JOIN RDB$RELATION_FIELDS b CROSS JOIN RDB$RELATION_FIELDS c"
    )

    def __init__(self, database: FirebirdDatabase) -> None:
        self.database = database

    def settings(self, **changes: Any) -> FirebirdSettings:  # noqa: ANN401  its own fields
        """How our login reaches it."""
        database = self.database
        given = {"host": "127.0.0.1", "port": database.server.port, "database": str(database.path)}
        return FirebirdSettings(**{**given, "user": database.name, "password": lambda: "read", **changes})

    def run(self, *statements: str) -> Sequence[Sequence[Any]]:
        """See `Legacy`; whatever table is made, our login may read it."""
        made = [match[1] for one in statements if (match := re.match(r"CREATE (?:TABLE|VIEW) (\w+)", one))]
        found = self.database.sql(*statements)
        if made:
            self.database.sql(*(f"GRANT SELECT ON {table} TO {self.database.name}" for table in made))
        return found

    def extractor(self, *, most_bytes: int | None = None, **views: str) -> Extractor:
        """See `Legacy`; plain names in a view come out as they are written, and not in capitals."""
        session = FirebirdSession(self.settings(), **({} if most_bytes is None else {"most_bytes": most_bytes}))
        fitted = {name: view(_PLAIN.sub(_named, text)) for name, text in views.items()}
        return ViewExtractor("crm", session, fitted, dialect="")

    def working(self) -> int:
        """See `Legacy`."""
        found = self.run(
            "SELECT COUNT(*) FROM MON$STATEMENTS s JOIN MON$ATTACHMENTS a ON a.MON$ATTACHMENT_ID = s.MON$ATTACHMENT_ID"
            f" WHERE s.MON$STATE = 1 AND a.MON$USER = '{self.database.name}'"
        )
        return int(found[0][0])

    def quote(self, name: str) -> str:
        """See `Legacy`."""
        return FirebirdSession.grammar.quote(name)


_PLAIN = re.compile(r"^SELECT ([a-z]+(?:, [a-z]+)*) FROM", re.MULTILINE)


def _named(match: re.Match[str]) -> str:
    return "SELECT " + ", ".join(f'{name} AS "{name}"' for name in match[1].split(", ")) + " FROM"


def pages(extractor: Extractor, question: Question, *, most: int = 1000) -> list[Page]:
    """A whole reading."""
    found: list[Page] = []
    while len(found) < most:
        found.append(extractor.page(question))
        if found[-1].resume is None:
            return found
        question = replace(question, resume=found[-1].resume)
    raise AssertionError("the reading never ends")


def rows(extractor: Extractor, question: Question) -> list[dict[str, Any]]:
    """The rows of a whole reading."""
    return [row for page in pages(extractor, question) for row in page.columns.to_pylist()]
