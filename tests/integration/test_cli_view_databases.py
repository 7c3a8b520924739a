"""`legacy-bridge view` on databases that are read by views alone, from the configuration on."""

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


def sample(folder: Path, system: str, *, key: str = "id") -> subprocess.CompletedProcess[str]:
    """What the command prints."""
    (folder / "bridge.yaml").write_text(CONFIG.format(system=system))
    (folder / "orders.sql").write_text(f"-- mode: full\n-- key: {key}\nSELECT id, name FROM orders\n")
    (folder / "orders.yaml").touch()
    command = [sys.executable, "-m", "bridge", "--config", str(folder / "bridge.yaml"), "view", "sample", "orders"]
    environment = {**os.environ, "PASSWORD": "read"}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def test_a_view_of_mariadb_is_sampled(mariadb_legacy: MariaLegacy, tmp_path: Path) -> None:
    mariadb_legacy.run(*TABLE)
    name, port = mariadb_legacy.database.name, mariadb_legacy.database.server.port
    login = f"database: {name}, user: {name}, password: '${{env:PASSWORD}}'"
    done = sample(tmp_path, f"mysql: {{host: 127.0.0.1, port: {port}, {login}}}")
    assert (done.returncode, "7   ok" in done.stdout) == (0, True), done.stderr


def test_a_view_of_sqlite_is_sampled(sqlite_legacy: SqliteLegacy, tmp_path: Path) -> None:
    sqlite_legacy.run(*TABLE)
    done = sample(tmp_path, f"sqlite: {{path: {sqlite_legacy.path}}}")
    assert (done.returncode, "7   ok" in done.stdout) == (0, True), done.stderr


def test_a_view_of_firebird_is_sampled(firebird_legacy: FirebirdLegacy, tmp_path: Path) -> None:
    firebird_legacy.run(*TABLE)
    database = firebird_legacy.database
    login = f"database: {database.path}, user: {database.name}, password: '${{env:PASSWORD}}'"
    done = sample(tmp_path, f"firebird: {{host: 127.0.0.1, port: {database.server.port}, {login}}}", key="ID")
    assert (done.returncode, "7   ok" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(("kind", "package"), [("mssql", "pyodbc"), ("oracle", "oracledb"), ("db2", "ibm-db-sa")])
def test_a_missing_driver_is_named(kind: str, package: str, tmp_path: Path) -> None:
    done = sample(tmp_path, f"{kind}: {{host: 127.0.0.1, port: 1, database: shop, user: bridge_ro}}")
    assert done.returncode == 78
    assert f"pip install {package}" in done.stdout + done.stderr
