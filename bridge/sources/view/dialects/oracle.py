"""Oracle through SQLAlchemy and python-oracledb. Written and reviewed; not run against a server here.

Each transaction begins with SET TRANSACTION READ ONLY, which covers that one alone and stops neither autonomous
transactions nor sequences: missing rights do. SELECT allows to lock rows (FOR UPDATE); READ, since 12.1, does not.
Source: Oracle Database SQL Language Reference, "SET TRANSACTION", "GRANT"; Database Reference, "SESSION_PRIVS".
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.engine import URL

from bridge.config.databases import OracleConfig
from bridge.findings import Level
from bridge.sources.view.dialects.alchemy import Check, Ways
from bridge.sources.view.paging import Grammar

CHECKS = (
    Check(
        "right.system",
        """SELECT privilege, 'system privilege' FROM session_privs
        WHERE privilege NOT IN ('CREATE SESSION', 'SELECT ANY TABLE', 'READ ANY TABLE', 'SELECT ANY DICTIONARY',
            'SELECT ANY TRANSACTION', 'EXEMPT ACCESS POLICY')""",
    ),
    Check(
        "right.object",
        """SELECT owner || '.' || table_name, privilege FROM user_tab_privs
        WHERE grantee = USER AND (privilege NOT IN ('SELECT', 'READ') OR grantable = 'YES')""",
    ),
    Check(
        "right.role",
        """SELECT role || ': ' || owner || '.' || table_name, privilege FROM role_tab_privs
        WHERE role IN (SELECT role FROM session_roles)
            AND (privilege NOT IN ('SELECT', 'READ') OR grantable = 'YES')""",
    ),
    Check(
        "right.public",
        """SELECT p.table_schema || '.' || p.table_name, 'PUBLIC: ' || p.privilege FROM all_tab_privs p
        WHERE p.grantee = 'PUBLIC' AND p.privilege NOT IN ('SELECT', 'READ')
            AND p.table_schema NOT IN (SELECT username FROM all_users WHERE oracle_maintained = 'Y')""",
    ),
    Check("right.owner", "SELECT object_name, 'is owned by the login: ' || object_type FROM user_objects"),
    Check(
        "right.lock",
        """SELECT owner || '.' || table_name, 'SELECT allows to lock its rows; READ would not' FROM user_tab_privs
        WHERE grantee = USER AND privilege = 'SELECT'""",
        level=Level.WARN,
    ),
)
PINS = (
    "ALTER SESSION SET TIME_ZONE = 'UTC'",
    "ALTER SESSION SET NLS_NUMERIC_CHARACTERS = '.,'",
    "ALTER SESSION SET NLS_DATE_FORMAT = 'YYYY-MM-DD HH24:MI:SS'",
    "ALTER SESSION SET NLS_TIMESTAMP_FORMAT = 'YYYY-MM-DD HH24:MI:SS.FF6'",
    "ALTER SESSION SET NLS_COMP = BINARY",
    "ALTER SESSION SET NLS_SORT = BINARY",
)


def _limit(connection: Any, timeout_s: float) -> None:  # noqa: ANN401  oracledb's
    connection.call_timeout = max(1, round(timeout_s * 1000))


def _cancel(connection: Any) -> None:  # noqa: ANN401  as above
    connection.cancel()


def _connected(connection: Any) -> None:  # noqa: ANN401  as above
    """NUMBER as it is, to the last digit: the driver would make a float of it."""

    def handle(cursor: Any, metadata: Any) -> Any:  # noqa: ANN401  as above
        is_number = metadata.type_code.name == "DB_TYPE_NUMBER"
        return cursor.var(Decimal, arraysize=cursor.arraysize) if is_number else None

    connection.outputtypehandler = handle


_TYPES: Mapping[str, type] = {
    **dict.fromkeys(("DB_TYPE_VARCHAR", "DB_TYPE_NVARCHAR", "DB_TYPE_CHAR", "DB_TYPE_NCHAR", "DB_TYPE_CLOB"), str),
    **dict.fromkeys(("DB_TYPE_NCLOB", "DB_TYPE_LONG", "DB_TYPE_ROWID"), str),
    **dict.fromkeys(("DB_TYPE_DATE", "DB_TYPE_TIMESTAMP"), datetime),
    **dict.fromkeys(("DB_TYPE_RAW", "DB_TYPE_LONG_RAW", "DB_TYPE_BLOB"), bytes),
    **dict.fromkeys(("DB_TYPE_BINARY_FLOAT", "DB_TYPE_BINARY_DOUBLE"), float),
    "DB_TYPE_NUMBER": Decimal,
}
WAYS = Ways(
    grammar=Grammar(quote=lambda name: '"' + name.replace('"', "") + '"', limit="fetch"),
    pins=PINS,
    begins=("SET TRANSACTION READ ONLY",),
    clock="SELECT SYS_EXTRACT_UTC(SYSTIMESTAMP) FROM DUAL",
    checks=CHECKS,
    limit=_limit,
    cancel=_cancel,
    package="oracledb",
    connected=_connected,
    types=_TYPES,
)


def url(config: OracleConfig, _: str) -> URL:
    """Where and as whom."""
    password = config.password.reveal() if config.password else None
    query = {"service_name": config.database}
    return URL.create("oracle+oracledb", config.user, password, config.host, config.port, query=query)
