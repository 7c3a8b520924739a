"""A fresh database of each kind, in which columns of many types are made."""

from typing import Any

import pytest

from tests.grounds.firebird import FirebirdGround
from tests.grounds.mariadb import MariaGround
from tests.grounds.postgres import PostgresGround
from tests.grounds.sqlite import SqliteGround
from tests.typed import Ground

_KINDS: dict[str, Any] = {"mariadb": MariaGround, "sqlite": SqliteGround, "firebird": FirebirdGround}


@pytest.fixture(params=["postgres", "old_postgres", "mariadb", "sqlite", "firebird"])
def ground(request: pytest.FixtureRequest) -> Ground:
    """A fresh database of each kind."""
    found: Ground = _KINDS.get(request.param, PostgresGround)(request.getfixturevalue(f"{request.param}_legacy"))
    return found
