"""A MariaDB: only the server that was meant gets the login's password, and columns may change under a view."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.errors import SourceRefused, SourceUnavailable
from bridge.extraction.extractor import Extractor, Question
from bridge.sources.view.dialects.mysql.session import MysqlSession
from tests.certificates import issue, make_authority
from tests.legacy import MariaLegacy, pages, rows
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


@pytest.fixture
def tills(mariadb_legacy: MariaLegacy) -> Iterator[Extractor]:
    """Reads a table of tills, by their names."""
    mariadb_legacy.run(
        "CREATE TABLE tills (name VARCHAR(9) PRIMARY KEY, cash DECIMAL(12, 3))",
        "INSERT INTO tills VALUES ('a', 1234567.125), ('b', 2), ('c', 3)",
    )
    made = mariadb_legacy.extractor(tills="-- mode: full\n-- key: name\nSELECT * FROM tills\n")
    made.open()
    yield made
    made.close()


def test_a_column_that_becomes_another_between_two_readings_is_read_exactly(
    tills: Extractor, mariadb_legacy: MariaLegacy
) -> None:
    """A FLOAT that is asked for as such comes with six digits, and an ENUM sorts by number."""
    assert len(rows(tills, Question("tills", 2))) == 3
    mariadb_legacy.run("ALTER TABLE tills MODIFY cash FLOAT, MODIFY name ENUM('c', 'b', 'a')")
    assert [(row["name"], row["cash"]) for row in rows(tills, Question("tills", 1))] == [
        ("a", 1234567.125), ("b", 2.0), ("c", 3.0),
    ]  # fmt: skip
    mariadb_legacy.run("ALTER TABLE tills ADD floor INTEGER DEFAULT 7")
    assert {row["floor"] for row in rows(tills, Question("tills", 2))} == {7}


def test_a_column_that_becomes_another_within_a_reading_is_asked_for_anew(
    tills: Extractor, mariadb_legacy: MariaLegacy
) -> None:
    first = tills.page(Question("tills", 1))
    mariadb_legacy.run("ALTER TABLE tills MODIFY name ENUM('c', 'b', 'a')")
    question = Question("tills", 1, resume=first.resume)
    with pytest.raises(SourceUnavailable, match="changed"):
        tills.page(question)
    found = [first, *pages(tills, question)]
    assert [row["name"] for page in found for row in page.columns.to_pylist()] == ["a", "b", "c"]


def test_a_row_with_a_zero_date_is_read_once(mariadb_legacy: MariaLegacy) -> None:
    """To the server such a date IS NULL as well as IS NOT NULL where its column takes no null."""
    mariadb_legacy.run(
        "CREATE TABLE prices (day DATE NOT NULL, id INTEGER NOT NULL, changed DATETIME NOT NULL)",
        "INSERT INTO prices VALUES ('0000-00-00', 1, '2026-01-01'), ('2026-01-01', 2, '0000-00-00')",
    )
    extractor = mariadb_legacy.extractor(
        by_key="-- mode: full\n-- key: day, id\nSELECT day, id FROM prices\n",
        by_cursor="-- mode: append\n-- cursor: changed\nSELECT id, changed FROM prices\n",
    )
    assert sorted(row["id"] for row in rows(extractor, Question("by_key", 10))) == [1, 2]
    assert sorted(row["id"] for row in rows(extractor, Question("by_cursor", 10))) == [1, 2]
    assert rows(extractor, Question("by_cursor", 10, is_without_cursor=True)) == []
    extractor.close()


def test_a_replica_that_stands_still_is_behind(mariadb_legacy: MariaLegacy) -> None:
    session = MysqlSession(mariadb_legacy.settings())
    session.open()
    assert session.probe().replica_lag_s is None, "the login may not see it"
    mariadb_legacy.run(f"GRANT SLAVE MONITOR ON *.* TO {mariadb_legacy.database.name}@'127.0.0.1'")
    session.close()
    session.open()
    mariadb_legacy.run("CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1, MASTER_USER = 'nobody'")
    try:
        assert session.probe().replica_lag_s == math.inf
    finally:
        mariadb_legacy.run("RESET SLAVE ALL")
    session.close()


def test_a_session_that_the_server_ended_since_nothing_was_asked_is_no_failure(mariadb_legacy: MariaLegacy) -> None:
    session = MysqlSession(mariadb_legacy.settings())
    session.open()
    mariadb_legacy.run(f"KILL {session._thread}")
    session._used_at -= 301
    assert session.probe().busy_sessions is not None
    session.close()
