"""`legacy-bridge view` on databases that are read by views alone, from the configuration on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    called = [sys.executable, "-m", "bridge", "--config", str(folder / "bridge.yaml"), "view", command, "orders"]
    environment = {**os.environ, "PASSWORD": "read"}
    return subprocess.run([*called, *options], check=False, capture_output=True, text=True, env=environment)


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
