"""Microsoft SQL Server through SQLAlchemy and pyodbc. Written and reviewed; not run against a server here.

SQL Server knows no read-only transaction: what stops a write are missing rights alone, so everything the login may do
is asked for, at the server, the database, each schema and each object. `ApplicationIntent=ReadOnly` asks for a readable
secondary where there is one; it protects nothing.
Source: Microsoft Learn, "sys.fn_my_permissions", "SET LOCK_TIMEOUT", "Fixed server roles".
"""

from typing import Any

from sqlalchemy.engine import URL

from bridge.config.databases import MssqlConfig
from bridge.sources.view.dialects.alchemy import Check, Ways
from bridge.sources.view.paging import Grammar

CHECKS = (
    Check(
        "right.server_role",
        """SELECT name, 'the login is a member of this server role' FROM sys.server_principals
        WHERE type = 'R' AND name NOT IN ('public', '##MS_DatabaseConnector##', '##MS_DefinitionReader##',
            '##MS_SecurityDefinitionReader##', '##MS_ServerPerformanceStateReader##',
            '##MS_ServerSecurityStateReader##', '##MS_ServerStateReader##', '##MS_PerformanceDefinitionReader##')
            AND IS_SRVROLEMEMBER(name) = 1""",
    ),
    Check(
        "right.database_role",
        """SELECT name, 'the login is a member of this database role' FROM sys.database_principals
        WHERE type = 'R' AND is_fixed_role = 1 AND name NOT IN ('db_datareader', 'db_denydatawriter')
            AND IS_ROLEMEMBER(name) = 1""",
    ),
    Check(
        "right.server",
        """SELECT 'server', permission_name FROM sys.fn_my_permissions(NULL, 'SERVER')
        WHERE permission_name NOT IN ('CONNECT SQL', 'CONNECT ANY DATABASE', 'SELECT ALL USER SECURABLES')
            AND permission_name NOT LIKE 'VIEW %'""",
    ),
    Check(
        "right.database",
        """SELECT 'database', permission_name FROM sys.fn_my_permissions(NULL, 'DATABASE')
        WHERE permission_name NOT IN ('CONNECT', 'SELECT') AND permission_name NOT LIKE 'VIEW %'""",
    ),
    Check(
        "right.schema",
        """SELECT s.name, p.permission_name FROM sys.schemas AS s
        CROSS APPLY sys.fn_my_permissions(QUOTENAME(s.name), 'SCHEMA') AS p
        WHERE p.permission_name <> 'SELECT' AND p.permission_name NOT LIKE 'VIEW %'""",
    ),
    Check(
        "right.object",
        """SELECT s.name + '.' + o.name, p.permission_name FROM sys.objects AS o
        JOIN sys.schemas AS s ON s.schema_id = o.schema_id
        CROSS APPLY sys.fn_my_permissions(QUOTENAME(s.name) + '.' + QUOTENAME(o.name), 'OBJECT') AS p
        WHERE o.is_ms_shipped = 0 AND p.permission_name <> 'SELECT' AND p.permission_name NOT LIKE 'VIEW %'""",
    ),
)
PINS = (
    "SET LOCK_TIMEOUT 2000",
    "SET DEADLOCK_PRIORITY LOW",
    "SET XACT_ABORT ON",
    "SET QUOTED_IDENTIFIER ON",
    "SET DATEFORMAT ymd",
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
)


def _limit(connection: Any, timeout_s: float) -> None:  # noqa: ANN401  pyodbc's
    connection.timeout = max(1, round(timeout_s))


def _cancel(connection: Any) -> None:  # noqa: ANN401  as above
    connection.close()  # the server ends what the session ran


WAYS = Ways(
    grammar=Grammar(quote=lambda name: "[" + name.replace("]", "]]") + "]", limit="top"),
    pins=PINS,
    clock="SELECT SYSUTCDATETIME()",
    checks=CHECKS,
    limit=_limit,
    cancel=_cancel,
    package="pyodbc",
)


def url(config: MssqlConfig, instance: str) -> URL:
    """Where and as whom."""
    query = {"driver": config.driver, "APP": f"legacy-bridge/{instance}", "ApplicationIntent": "ReadOnly"}
    query |= {"TrustServerCertificate": "yes"} if config.trust_certificate else {}
    password = config.password.reveal() if config.password else None
    return URL.create("mssql+pyodbc", config.user, password, config.host, config.port, config.database, query)
