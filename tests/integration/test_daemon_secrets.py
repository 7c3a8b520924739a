"""S2: forty canaries in files, environment, database and rows; none comes out where people look."""

import operator
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.server import VERSIONS, PostgresServer
from tests.daemon import LOGIN, Daemon, add_table, prepare, wait_for

COUNT = 40


class Canaries:
    """Values that must not be seen again; each is given out once."""

    def __init__(self) -> None:
        self.all = [f"canary{number:02d}x{secrets.token_hex(8)}" for number in range(COUNT)]
        self._left = iter(self.all)

    def next(self) -> str:
        return next(self._left)

    @property
    def left(self) -> int:
        return operator.length_hint(self._left)

    def found_in(self, text: str) -> list[str]:
        return [canary for canary in self.all if canary in text or canary.encode().hex() in text]


@pytest.fixture(scope="module")
def strict_server() -> Iterator[PostgresServer]:
    """A server that asks our login for its password."""
    if not VERSIONS:
        pytest.fail("no PostgreSQL server here") if os.environ.get("CI") else pytest.skip("no PostgreSQL server here")
    with PostgresServer.start() as server:
        rules = server.data / "pg_hba.conf"
        rules.write_text(f"host all {LOGIN} all scram-sha-256\n{rules.read_text()}")
        server.sql("SELECT pg_reload_conf()")
        yield server


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


@pytest.fixture
def daemon(tmp_path: Path, strict_server: PostgresServer, canaries: Canaries) -> Iterator[Daemon]:
    """A daemon at its most talkative, with secrets wherever a secret can be."""
    database = strict_server.create_database(f"test_{secrets.token_hex(6)}")
    prepare(database, "articles", "shelves")
    database.sql("CREATE TABLE shop.web_sessions (id bigint PRIMARY KEY, token text)")
    for number in range(5):
        database.sql(f"INSERT INTO shop.web_sessions VALUES ({number}, '{canaries.next()}')")
    with Daemon(tmp_path, database, "articles", "shelves", level="debug") as made:
        set_password(made, canaries.next())
        made.document["systems"]["erp"]["postgres"]["password"] = "${file:password}"  # noqa: S105  a reference
        (tmp_path / "passfile").write_text(f"*:*:*:*:{canaries.next()}")
        (tmp_path / "passfile").chmod(0o600)
        made.document["systems"]["erp"]["postgres"]["passfile"] = "passfile"
        made.write()
        for name in ("AWS_SECRET_ACCESS_KEY", "API_TOKEN", "PGPASSWORD", "SMTP_PASSWORD"):
            made.environment[name] = canaries.next()
        made.environment["DATABASE_URL"] = f"postgres://{LOGIN}:{canaries.next()}@db/erp"
        yield made
    database.drop()


def set_password(daemon: Daemon, password: str) -> None:
    """A new password in the file and at the server."""
    file = daemon.folder / "password"
    file.touch(mode=0o600)
    file.write_text(password)
    daemon.database.sql(f"ALTER ROLE {LOGIN} PASSWORD '{password}'")


def cut_sessions(daemon: Daemon) -> None:
    """End the login's sessions, and wait until the daemon has new ones."""
    opened = len(daemon.logged("source.opened"))
    daemon.database.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{LOGIN}'")
    wait_for(lambda: len(daemon.logged("source.opened")) > opened, why=daemon.log_tail)


def trouble(daemon: Daemon, canaries: Canaries) -> None:
    """Everything that can go wrong with a row, a session or a file while the daemon runs."""
    for number in range(9):  # accepted, rejected, changed, deleted
        daemon.database.sql(
            f"INSERT INTO shop.articles VALUES ({number}, '{canaries.next()}', {-1 if number % 2 else 1});"
            f" UPDATE shop.articles SET name = '{canaries.next()}' WHERE id = {number}"
        )
    daemon.database.sql("DELETE FROM shop.articles WHERE id < 3")
    wait_for(lambda: daemon.letter_keys("articles"), why=daemon.log_tail)
    set_password(daemon, canaries.next())  # rotated: read again at the next connection
    cut_sessions(daemon)
    daemon.database.sql("ALTER TABLE shop.shelves RENAME COLUMN amount TO quantity")
    for number in range(5):  # drift
        daemon.database.sql(f"INSERT INTO shop.shelves VALUES ({number}, '{canaries.next()}', 1)")
    daemon.wait_ailment("stream:shelves")
    (daemon.folder / "binary").write_text(f"{canaries.next()}\0")
    good = daemon.path.read_text()
    for bad in (
        good.replace("${file:password}", f"{canaries.next()}\n      pasword: {canaries.next()}"),
        good.replace("${file:password}", "${file:binary}"),
        good.replace("127.0.0.1", f"postgres://u:{canaries.next()}@127.0.0.1"),
    ):
        refused = len(daemon.logged("reload.refused"))
        taken = len(daemon.logged("daemon.reloaded"))
        daemon.path.write_text(bad)
        daemon.signal(signal.SIGHUP)
        wait_for(
            lambda: len(daemon.logged("reload.refused")) > refused or len(daemon.logged("daemon.reloaded")) > taken,  # noqa: B023  called at once
            why=daemon.log_tail,
        )
        daemon.path.write_text(good)


def shown(daemon: Daemon) -> dict[str, str]:
    """Everything that people see of the bridge without asking for a row: by where."""
    commands = {
        " ".join(command): daemon.cli(*command)
        for command in (
            ("status",),
            ("status", "--json"),
            ("stream", "list", "--json"),
            ("dead", "list", "--all"),
            ("audit",),
            ("doctor",),
            ("check", "--online"),
        )
    }
    pages = {path: daemon.page(path)[1] for path in ("/metrics", "/health", "/livez", "/readyz?verbose", "/nowhere")}
    said = {name: done.stdout + done.stderr for name, done in commands.items()}
    return {"log": (daemon.folder / "daemon.log").read_text(), **pages, **said}


def test_no_secret_and_no_row_value_is_shown(daemon: Daemon, canaries: Canaries) -> None:
    """Log at debug, every page, every command that shows no rows; after failures of every kind."""
    daemon.start()
    trouble(daemon, canaries)
    assert canaries.left == 0
    seen = {place: canaries.found_in(text) for place, text in shown(daemon).items()}
    assert {place: found for place, found in seen.items() if found} == {}
    with daemon.journal() as journal:  # the canaries were there to be seen
        assert any(canaries.found_in(str(block.batch.to_pylist())) for block in journal.read("articles"))


def test_a_start_that_fails_shows_no_secret(daemon: Daemon, canaries: Canaries) -> None:
    """A wrong password, a table of sessions, a misspelt key, a secret where none belongs."""
    (daemon.folder / "password").write_text(canaries.next())
    daemon.launch()
    assert daemon.wait() == 77
    good = daemon.path.read_text()
    for bad in (
        good.replace("${file:password}", f"{canaries.next()}\n      pasword: {canaries.next()}"),
        good.replace("log: shop.articles", "log: shop.web_sessions"),
        good.replace("name: test", f"name: test\n  token: {canaries.next()}"),
    ):
        daemon.path.write_text(bad)
        daemon.launch()
        assert daemon.wait() != 0
    assert canaries.found_in((daemon.folder / "daemon.log").read_text()) == []


def test_a_rotated_password_is_taken_without_a_restart(daemon: Daemon, canaries: Canaries) -> None:
    daemon.start()
    set_password(daemon, canaries.next())
    cut_sessions(daemon)
    add_table(daemon.database, "later")
    daemon.database.sql("INSERT INTO shop.articles VALUES (1, 'n', 1)")
    wait_for(lambda: daemon.changes("articles") == [("created", 1)], why=daemon.log_tail)
