"""TLS to a MariaDB: only the server that was meant gets the login's password."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.errors import SourceRefused
from bridge.sources.view.dialects.mysql.session import MysqlSession
from tests.certificates import issue, make_authority
from tests.legacy import MariaLegacy
from tests.machine import require
from tests.mariadb import PROGRAM, MariaServer


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Who signed the server's certificate."""
    return make_authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def tls_legacy(authority: Path) -> Iterator[MariaLegacy]:
    """A MariaDB whose certificate names `localhost`, and a login that it lets in by TLS alone."""
    require(PROGRAM.exists(), "no MariaDB here; Debian's package mariadb-server-core brings one")
    issue(authority, authority / "server", "localhost")
    server = MariaServer.start(f"--ssl-cert={authority / 'server.crt'}", f"--ssl-key={authority / 'server.key'}")
    legacy = MariaLegacy(server.create_database())
    legacy.run(f"ALTER USER {legacy.database.name}@'127.0.0.1' REQUIRE SSL")
    yield legacy
    server.close()


def open_and_close(legacy: MariaLegacy, **settings: object) -> None:
    """Log in once."""
    session = MysqlSession(legacy.settings(**settings))
    session.open()
    session.close()


@pytest.mark.parametrize(
    ("host", "sslmode"), [("localhost", "verify-full"), ("127.0.0.1", "verify-ca"), ("127.0.0.1", "require")]
)
def test_the_server_that_is_meant_is_read(tls_legacy: MariaLegacy, authority: Path, host: str, sslmode: str) -> None:
    open_and_close(tls_legacy, host=host, sslmode=sslmode, sslrootcert=str(authority / "ca.crt"))


def test_a_server_with_another_name_is_refused(tls_legacy: MariaLegacy, authority: Path) -> None:
    with pytest.raises(SourceRefused, match="certificate"):
        open_and_close(tls_legacy, host="127.0.0.1", sslmode="verify-full", sslrootcert=str(authority / "ca.crt"))


@pytest.mark.parametrize("sslmode", ["verify-ca", "verify-full"])
def test_a_server_of_a_stranger_is_refused(tls_legacy: MariaLegacy, tmp_path: Path, sslmode: str) -> None:
    stranger = make_authority(tmp_path / "stranger")
    with pytest.raises(SourceRefused, match="certificate"):
        open_and_close(tls_legacy, host="localhost", sslmode=sslmode, sslrootcert=str(stranger / "ca.crt"))


def test_a_server_without_tls_is_refused_and_never_spoken_to_in_clear_text(mariadb_legacy: MariaLegacy) -> None:
    with pytest.raises(SourceRefused, match="SSL"):
        open_and_close(mariadb_legacy, sslmode="require")


def test_a_login_without_tls_is_refused_by_a_server_that_demands_it(tls_legacy: MariaLegacy) -> None:
    with pytest.raises(SourceRefused):
        open_and_close(tls_legacy, sslmode="disable")
