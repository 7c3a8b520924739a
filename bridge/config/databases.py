"""The keys of databases that are read by views alone: `mysql`, `sqlite`, `firebird`, `mssql`, `oracle`, `db2`."""

from typing import Annotated, Literal

from bridge.config.kit import LocalPath, Section, Whole, key, shaped
from bridge.config.secrets import Secret

DATABASES = ("mysql", "sqlite", "firebird", "mssql", "oracle", "db2")
Charset = Annotated[str, shaped(r"[A-Za-z0-9_-]{1,32}", "the name of a character set, like UTF8 or WIN1252")]
_USER = "Login; it must not be able to write."
_PASSWORD = "Its password: a reference, read again at each connection."  # noqa: S105  no password
_TIMEOUT = "Seconds until an attempt to connect is given up."


class MysqlConfig(Section):
    """A MySQL or MariaDB server."""

    host: str = key("Server name or address.", min_length=1)
    port: Whole = key("Server port.", default=3306, ge=1, le=65535)
    database: str = key("Database name.", min_length=1)
    user: str = key(_USER, min_length=1)
    password: Secret | None = key(_PASSWORD, default=None)
    sslmode: Literal["disable", "require", "verify-ca", "verify-full"] = key(
        "TLS: none, any, with a trusted certificate, with one for this host.", default="disable"
    )
    sslrootcert: LocalPath | None = key("File of trusted certificates; unset = the machine's.", default=None)
    connect_timeout_s: Whole = key(_TIMEOUT, default=10, ge=1, le=600)


class SqliteConfig(Section):
    """A SQLite database file, opened read-only."""

    path: LocalPath = key("Database file, beside the config file unless absolute.")


class FirebirdConfig(Section):
    """A Firebird server."""

    host: str = key("Server name or address.", min_length=1)
    port: Whole = key("Server port.", default=3050, ge=1, le=65535)
    database: str = key("Path of the database on the server, or its alias.", min_length=1)
    user: str = key(_USER, min_length=1)
    password: Secret | None = key(_PASSWORD, default=None)
    role: str | None = key("Role that the login takes.", default=None)
    charset: Charset = key("What text is in where the database declares no character set.", default="UTF8")


class _Server(Section):
    """A server that is reached through a SQLAlchemy dialect."""

    host: str = key("Server name or address.", min_length=1)
    database: str = key("Database name; of Oracle the service.", min_length=1)
    user: str = key(_USER, min_length=1)
    password: Secret | None = key(_PASSWORD, default=None)


class MssqlConfig(_Server):
    """A Microsoft SQL Server, through ODBC."""

    port: Whole = key("Server port.", default=1433, ge=1, le=65535)
    driver: str = key("ODBC driver by its name on this machine.", default="ODBC Driver 18 for SQL Server")
    trust_certificate: bool = key("Take any certificate of the server.", default=False)


class OracleConfig(_Server):
    """An Oracle database, through python-oracledb."""

    port: Whole = key("Server port.", default=1521, ge=1, le=65535)


class Db2Config(_Server):
    """An IBM Db2 database, through ibm_db."""

    port: Whole = key("Server port.", default=50000, ge=1, le=65535)
