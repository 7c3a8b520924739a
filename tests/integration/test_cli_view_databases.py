"""`legacy-bridge view` on databases that are read by views alone, from the configuration on."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pymysql
import pytest
from firebird.driver import DatabaseError

from tests.legacy import FirebirdLegacy, MariaLegacy, SqliteLegacy

CONFIG = """
bridge: {{name: acme, type_prefix: com.acme}}
systems: {{shop: {{{system}}}}}
streams: {{orders: {{system: shop, view: orders.sql, contract: orders.yaml}}}}
"""
TABLE = (
    "CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(20))",
    "INSERT INTO orders VALUES (7, 'ok')",
)


def view(
    folder: Path, command: str, system: str, *options: str, key: str = "id", text: str = "SELECT id, name FROM orders"
) -> subprocess.CompletedProcess[str]:
    """What the command prints."""
    (folder / "bridge.yaml").write_text(CONFIG.format(system=system))
    (folder / "orders.sql").write_text(f"-- mode: full\n-- key: {key}\n{text}\n")
    (folder / "orders.yaml").touch()
    return called(folder, "view", command, "orders", *options)


def called(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a command on the configuration of `view` prints."""
    command = [sys.executable, "-m", "bridge", "--config", str(folder / "bridge.yaml"), *arguments]
    environment = {**os.environ, "PASSWORD": "read"}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def letter(folder: Path) -> str:
    """The letter to the DBA."""
    done = called(folder, "dba-letter", "shop")
    assert done.returncode == 0, done.stderr
    return done.stdout


def maria(legacy: MariaLegacy) -> str:
    """The section of a system."""
    name, port = legacy.database.name, legacy.database.server.port
    return f"mysql: {{host: 127.0.0.1, port: {port}, database: {name}, user: {name}, password: '${{env:PASSWORD}}'}}"


def firebird(legacy: FirebirdLegacy) -> str:
    """The same of Firebird."""
    database = legacy.database
    login = f"database: {database.path}, user: {database.name}, password: '${{env:PASSWORD}}'"
    return f"firebird: {{host: 127.0.0.1, port: {database.server.port}, {login}}}"


def test_a_view_of_mariadb_is_sampled(mariadb_legacy: MariaLegacy, tmp_path: Path) -> None:
    mariadb_legacy.run(*TABLE)
    done = view(tmp_path, "sample", maria(mariadb_legacy))
    assert (done.returncode, "7   ok" in done.stdout) == (0, True), done.stderr


def test_a_view_of_sqlite_is_sampled(sqlite_legacy: SqliteLegacy, tmp_path: Path) -> None:
    sqlite_legacy.run(*TABLE)
    done = view(tmp_path, "sample", f"sqlite: {{path: {sqlite_legacy.path}}}")
    assert (done.returncode, "7   ok" in done.stdout) == (0, True), done.stderr


def test_a_view_of_firebird_is_sampled(firebird_legacy: FirebirdLegacy, tmp_path: Path) -> None:
    firebird_legacy.run(*TABLE)
    done = view(tmp_path, "sample", firebird(firebird_legacy), key="ID")
    assert (done.returncode, "7   ok" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(("kind", "package"), [("mssql", "pyodbc"), ("oracle", "oracledb"), ("db2", "ibm-db-sa")])
def test_a_missing_driver_is_named(kind: str, package: str, tmp_path: Path) -> None:
    done = view(tmp_path, "sample", f"{kind}: {{host: 127.0.0.1, port: 1, database: shop, user: bridge_ro}}")
    assert done.returncode == 78
    assert f"pip install {package}" in done.stdout + done.stderr


def test_the_plan_of_mariadb_has_rows_and_cost_and_a_missing_index_is_told(
    mariadb_legacy: MariaLegacy, tmp_path: Path
) -> None:
    mariadb_legacy.run(*TABLE[:1], "INSERT INTO orders SELECT seq, 'x' FROM seq_1_to_30000", "ANALYZE TABLE orders")
    told = json.loads(view(tmp_path, "explain", maria(mariadb_legacy), "--json").stdout)
    assert 25_000 < told["rows"] < 35_000
    assert told["cost"] >= told["page_cost"] > 0  # its cost takes no notice of a limit
    assert [step["what"] for step in told["page"]] == ["Index scan of orders (PRIMARY)"]
    assert told["warnings"] == []
    done = view(tmp_path, "explain", maria(mariadb_legacy), key="name")
    assert "no index gives the order of name" in done.stderr
    assert "Sort by" in done.stdout


def test_explain_does_not_run_the_view(
    mariadb_legacy: MariaLegacy, sqlite_legacy: SqliteLegacy, tmp_path: Path
) -> None:
    """Each of these views takes minutes to read."""
    sqlite_legacy.run(*TABLE)
    for legacy, system in (
        (mariadb_legacy, maria(mariadb_legacy)),
        (sqlite_legacy, f"sqlite: {{path: {sqlite_legacy.path}}}"),
    ):
        text = legacy.slow.replace(" AS n FROM", " AS id, 1 AS name FROM")
        done = view(tmp_path, "explain", system, text=text)
        assert done.returncode == 0, done.stderr


def test_what_mariadb_does_not_tell_of_its_own_views_is_said(mariadb_legacy: MariaLegacy, tmp_path: Path) -> None:
    mariadb_legacy.run(*TABLE, "RENAME TABLE orders TO kept", "CREATE VIEW orders AS SELECT id, name FROM kept")
    name = mariadb_legacy.database.name
    mariadb_legacy.database.server.sql(
        f"REVOKE SELECT ON {name}.* FROM {name}@'127.0.0.1'", f"GRANT SELECT ON {name}.orders TO {name}@'127.0.0.1'"
    )
    assert view(tmp_path, "sample", maria(mariadb_legacy)).returncode == 0
    done = view(tmp_path, "explain", maria(mariadb_legacy))
    assert "SHOW VIEW" in done.stderr


def test_the_plan_of_sqlite_is_shown_and_a_missing_index_is_told(sqlite_legacy: SqliteLegacy, tmp_path: Path) -> None:
    sqlite_legacy.run(*TABLE)
    system = f"sqlite: {{path: {sqlite_legacy.path}}}"
    told = json.loads(view(tmp_path, "explain", system, "--json").stdout)
    assert (told["rows"], told["pages"], told["budget"]["runs_for_everything"]) == (None, None, 1)
    assert [step["what"] for step in told["page"]] == ["SCAN orders"]
    done = view(tmp_path, "explain", system, key="name")
    assert "no index gives the order of name" in done.stderr
    assert "USE TEMP B-TREE FOR ORDER BY" in done.stdout


def test_the_plan_of_firebird_is_shown_and_a_missing_index_is_told(
    firebird_legacy: FirebirdLegacy, tmp_path: Path
) -> None:
    firebird_legacy.run(*TABLE)
    done = view(tmp_path, "explain", firebird(firebird_legacy), key="ID")
    assert done.returncode == 0, done.stderr
    assert "Full Scan" in done.stdout
    assert "Sort" not in done.stdout
    done = view(tmp_path, "explain", firebird(firebird_legacy), key="NAME")
    assert "no index gives the order of NAME" in done.stderr


@pytest.mark.parametrize("kind", ["mssql", "oracle", "db2"])
def test_plans_that_are_not_read_are_said_so_without_a_connection(kind: str, tmp_path: Path) -> None:
    done = view(tmp_path, "explain", f"{kind}: {{host: 127.0.0.1, port: 1, database: shop, user: bridge_ro}}")
    assert done.returncode == 78
    assert f"plans of a system of the kind `{kind}` are not read" in done.stderr


def scripts(letter: str) -> list[list[str]]:
    """The statements of a letter: what lets the bridge in, what takes it back, what stops it."""
    texts = [part.partition("```")[0] for part in letter.split("```sql\n")[1:]]
    return [[line.strip().rstrip(";") for line in text.split(";\n") if line.strip()] for text in texts]


def refusals(statements: tuple[str, ...], run: Callable[[str], object], trouble: type[Exception]) -> list[str]:
    """The statements that the database lets through."""
    let_through = []
    for statement in statements:
        try:
            run(statement)
        except trouble:
            continue
        let_through.append(statement)
    return let_through


WRITES = (
    "INSERT INTO orders VALUES (8, 'no')",
    "UPDATE orders SET name = 'no'",
    "DELETE FROM orders",
    "CREATE TABLE mine (id INTEGER)",
    "DROP TABLE orders",
    "SELECT * FROM secrets",
)


def test_the_grants_of_the_letter_are_enough_for_mariadb_and_allow_nothing_else(
    mariadb_legacy: MariaLegacy, tmp_path: Path
) -> None:
    mariadb_legacy.run(*TABLE, "CREATE TABLE secrets (id INTEGER)")
    database = mariadb_legacy.database
    login = f"letter_{database.name[-8:]}"
    system = maria(mariadb_legacy).replace(f"user: {database.name}", f"user: {login}")
    assert view(tmp_path, "sample", system).returncode == 77  # there is no such login yet
    grants, undo, halt, *_ = scripts(letter(tmp_path))
    for statement in grants:  # as the DBA runs it: without a database of its own
        database.server.sql(statement.replace("BRIDGE_HOST", "127.0.0.1").replace("'...'", "'read'"))
    done = view(tmp_path, "sample", system)
    assert (done.returncode, "7   ok" in done.stdout) == (0, True), done.stderr
    session = database.server.connect(login, "read", database.name)
    try:
        assert refusals(WRITES, session.cursor().execute, pymysql.Error) == []
    finally:
        session.close()
    assert database.sql("SELECT * FROM orders") == ((7, "ok"),)
    database.server.sql(halt[0].replace("BRIDGE_HOST", "127.0.0.1"))
    assert view(tmp_path, "sample", system).returncode != 0
    for statement in undo:
        database.server.sql(statement.replace("BRIDGE_HOST", "127.0.0.1"))
    assert database.server.sql(f"SELECT COUNT(*) FROM mysql.user WHERE user = '{login}'") == ((0,),)


def test_the_grants_of_the_letter_are_enough_for_firebird_and_allow_nothing_else(
    firebird_legacy: FirebirdLegacy, tmp_path: Path
) -> None:
    firebird_legacy.run(*TABLE, "CREATE TABLE secrets (id INTEGER)")
    database = firebird_legacy.database
    system = firebird(firebird_legacy).replace(f"user: {database.name}", "user: bridge_letter")
    assert view(tmp_path, "sample", system, key="ID").returncode != 0
    grants, undo, halt, *_ = scripts(letter(tmp_path))
    database.sql(*(statement.replace("'...'", "'read'") for statement in grants))
    done = view(tmp_path, "sample", system, key="ID")
    assert (done.returncode, "7   ok" in done.stdout) == (0, True), done.stderr
    session = database.server.connect(database.path, "bridge_letter", "read")

    def run(statement: str) -> None:
        try:
            session.cursor().execute(statement)
            session.commit()
        finally:
            session.rollback()

    try:
        assert refusals(WRITES, run, DatabaseError) == []
    finally:
        session.close()
    assert database.sql("SELECT * FROM orders") == [(7, "ok")]
    database.sql(halt[0])
    assert view(tmp_path, "sample", system, key="ID").returncode != 0
    database.sql(*undo)
    assert database.sql("SELECT COUNT(*) FROM SEC$USERS WHERE SEC$USER_NAME = 'BRIDGE_LETTER'") == [(0,)]
