"""Every way libpq knows to get in works, and every session is pinned, named and guarded."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from bridge.errors import SourceRefused, SourceUnavailable
from bridge.postgres.session import ConnectSettings, connect, read_only, translated
from bridge.postgres.types import PINNED_SETTINGS
from demo.server import VERSIONS, PostgresServer

SECRET = "correct horse"  # noqa: S105  # of a throw-away server
HBA = """
host all reader 127.0.0.1/32 scram-sha-256
host all barred 127.0.0.1/32 reject
host all all 127.0.0.1/32 trust
"""


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server that asks `reader` for a password, and whose database has settings of another century."""
    with PostgresServer.start(version=request.param, settings={"fsync": "off"}) as started:
        (started.data / "pg_hba.conf").write_text(HBA)
        started.create_database("erp")
        started.sql(
            f"""
            SELECT pg_reload_conf();
            CREATE ROLE reader LOGIN REPLICATION PASSWORD '{SECRET}';
            CREATE ROLE barred LOGIN;
            ALTER DATABASE erp SET DateStyle = 'German';
            ALTER DATABASE erp SET IntervalStyle = 'sql_standard';
            ALTER DATABASE erp SET TimeZone = 'America/Chicago';
            ALTER DATABASE erp SET bytea_output = 'escape';
            ALTER DATABASE erp SET extra_float_digits = -15;
            ALTER DATABASE erp SET search_path = 'sales';
            ALTER ROLE reader SET lc_monetary = 'C.UTF-8'
            """
        )
        yield started


@pytest.fixture
def settings(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> ConnectSettings:
    """The way in, in an environment without libpq's variables."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    return ConnectSettings("acme", server.host, server.port, "erp", "reader", password=lambda: SECRET)


@pytest.mark.parametrize("is_replication", [False, True], ids=["sql", "replication"])
def test_hostile_settings_of_database_login_and_environment_have_no_say(
    settings: ConnectSettings,
    monkeypatch: pytest.MonkeyPatch,
    is_replication: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setenv("PGDATESTYLE", "SQL, DMY")
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGOPTIONS", "-c extra_float_digits=-10 -c work_mem=1234kB")
    with connect(settings, purpose="stream", replication=is_replication) as connection:
        found: dict[str, str] = dict(connection.execute("SELECT lower(name), setting FROM pg_settings").fetchall())
        for name, value in PINNED_SETTINGS.items():
            assert found[name].replace(" ", "") == value.replace(" ", "")
        assert found["search_path"] == "pg_catalog"
        assert found["application_name"] == "legacy-bridge/acme/stream"
        assert found["work_mem"] == "1234"  # what does not matter to us stays the operator's


def test_a_sql_session_is_read_only_and_waits_for_nobody(server: PostgresServer, settings: ConnectSettings) -> None:
    with connect(settings, purpose="guard") as connection, psycopg.connect(server.dsn("erp")) as theirs:
        assert connection.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
        theirs.execute("CREATE TABLE public.busy (n int); GRANT SELECT ON public.busy TO reader")
        theirs.commit()
        theirs.execute("LOCK TABLE public.busy")
        connection.execute("SET lock_timeout = '50ms'")
        with pytest.raises(SourceUnavailable, match="55P03"), translated("reading"):
            connection.execute("SELECT * FROM public.busy")
        theirs.execute("DROP TABLE public.busy")


def test_a_read_only_look_sees_one_moment(server: PostgresServer, settings: ConnectSettings) -> None:
    with connect(settings, purpose="snapshot") as connection, read_only(connection):
        server.sql("CREATE TABLE public.late (n int)", "erp")
        assert connection.execute("SELECT count(*) FROM pg_class WHERE relname = 'late'").fetchone() == (0,)
    server.sql("DROP TABLE public.late", "erp")


def test_a_wrong_password_is_refused_and_never_told(settings: ConnectSettings) -> None:
    with pytest.raises(SourceRefused, match="authentication failed") as caught:
        connect(replace(settings, password=lambda: "hunter2"), purpose="guard")
    assert "hunter2" not in f"{caught.value}{caught.value.hint}{caught.value.__cause__}"


def test_no_password_no_entry_and_no_server_are_told_apart(settings: ConnectSettings) -> None:
    with pytest.raises(SourceRefused, match="no password supplied"):
        connect(replace(settings, password=None, passfile="/dev/null"), purpose="guard")
    with pytest.raises(SourceRefused, match=r"pg_hba\.conf"):
        connect(replace(settings, user="barred"), purpose="guard")
    with pytest.raises(SourceUnavailable, match="refused"):
        connect(replace(settings, port=1), purpose="guard")


def test_a_password_is_asked_for_at_each_connect(settings: ConnectSettings) -> None:
    """Rotation: the provider is called anew, nothing is kept."""
    passwords = iter([SECRET, "old", SECRET])
    rotating = replace(settings, password=lambda: next(passwords))
    connect(rotating, purpose="guard").close()
    with pytest.raises(SourceRefused):
        connect(rotating, purpose="guard")
    connect(rotating, purpose="guard").close()


def test_the_environment_says_what_the_configuration_does_not(
    server: PostgresServer, settings: ConnectSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"PGHOST": server.host, "PGPORT": str(server.port), "PGDATABASE": "erp", "PGUSER": "reader"}
    for name, value in {**variables, "PGPASSWORD": SECRET}.items():
        monkeypatch.setenv(name, value)
    with connect(ConnectSettings(settings.instance), purpose="guard") as connection:
        assert connection.execute("SELECT session_user::text, current_database()::text").fetchone() == ("reader", "erp")


def test_a_password_file_works(settings: ConnectSettings, tmp_path: Path) -> None:
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"{settings.host}:{settings.port}:erp:reader:{SECRET}\n")
    passfile.chmod(0o600)
    connect(replace(settings, password=None, passfile=str(passfile)), purpose="guard").close()


def test_a_service_file_works(settings: ConnectSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = tmp_path / "pg_service.conf"
    service.write_text(
        f"[erp]\nhost={settings.host}\nport={settings.port}\ndbname=erp\nuser=reader\npassword={SECRET}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    connect(ConnectSettings("acme", service="erp"), purpose="guard").close()


def test_tls_is_demanded_where_it_is_configured(settings: ConnectSettings) -> None:
    with pytest.raises(SourceRefused, match="SSL"):
        connect(replace(settings, sslmode="require"), purpose="guard")


@pytest.mark.parametrize("version", VERSIONS)
def test_tls_is_verified_and_a_client_certificate_gets_in(version: str, tmp_path: Path) -> None:
    authority, stranger = _authority(tmp_path / "ca"), _authority(tmp_path / "other")
    _issue(authority, tmp_path / "client", "reader")
    with PostgresServer.start(version=version, settings={"fsync": "off"}) as server:
        if server.sql("SELECT count(*) FROM pg_config WHERE name = 'CONFIGURE' AND setting ~ 'ssl'") == [(0,)]:
            pytest.skip("this server was built without TLS")
        _issue(authority, server.data / "server", "localhost")
        shutil.copy(authority / "ca.crt", server.data / "ca.crt")
        for name in ("server.crt", "server.key", "ca.crt"):
            os.chown(server.data / name, server.data.stat().st_uid, server.data.stat().st_gid)
        server.sql("CREATE ROLE reader LOGIN REPLICATION")
        with (server.data / "postgresql.conf").open("a") as configuration:
            configuration.write("ssl = on\nssl_ca_file = 'ca.crt'\n")
        (server.data / "pg_hba.conf").write_text("hostssl all reader all cert\nhost all postgres all trust\n")
        server.restart()
        settings = ConnectSettings(
            "acme",
            "localhost",
            server.port,
            "postgres",
            "reader",
            sslmode="verify-full",
            sslrootcert=str(authority / "ca.crt"),
            sslcert=str(tmp_path / "client.crt"),
            sslkey=str(tmp_path / "client.key"),
        )
        with connect(settings, purpose="guard") as connection:
            assert connection.execute("SELECT session_user::text").fetchone() == ("reader",)
            assert connection.pgconn.ssl_in_use
        with pytest.raises(SourceRefused, match="certificate"):
            connect(replace(settings, sslrootcert=str(stranger / "ca.crt")), purpose="guard")
        with pytest.raises(SourceRefused, match="certificate"):
            connect(replace(settings, sslcert="/dev/null", sslkey="/dev/null"), purpose="guard")


def _authority(folder: Path) -> Path:
    folder.mkdir()
    subject = ["-subj", f"/CN={folder.name}", "-days", "2"]
    _openssl("req", "-x509", *_NEW_KEY, "-keyout", folder / "ca.key", "-out", folder / "ca.crt", *subject)
    return folder


def _issue(authority: Path, place: Path, name: str) -> None:
    key, request, certificate = (place.with_suffix(suffix) for suffix in (".key", ".csr", ".crt"))
    signer: list[str | Path] = [
        "-CA",
        authority / "ca.crt",
        "-CAkey",
        authority / "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
    ]
    _openssl("req", *_NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
    _openssl("x509", "-req", "-in", request, "-out", certificate, *signer)
    key.chmod(0o600)


_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
