"""IBM Db2 (LUW) through SQLAlchemy and ibm_db. Written and reviewed; not run against a server here.

Db2 knows no read-only transaction: what stops a write are missing rights alone. The authorities and grants of the
login, its groups, its roles and PUBLIC are asked for. A database that is not RESTRICTIVE lets PUBLIC create tables and
schemas: sign for it with the waiver `public_create`, or have it revoked.
Source: IBM Documentation, "AUTH_LIST_AUTHORITIES_FOR_AUTHID", "SYSCAT.TABAUTH", "CURRENT LOCK TIMEOUT".
"""

from typing import Any

from sqlalchemy.engine import URL

from bridge.config.databases import Db2Config
from bridge.sources.view.dialects.alchemy import Check, Ways
from bridge.sources.view.paging import Grammar

_AUTHORITIES = """SELECT AUTHORITY, 'database authority' FROM
    TABLE(SYSPROC.AUTH_LIST_AUTHORITIES_FOR_AUTHID(SESSION_USER, 'U')) AS a
    WHERE 'Y' IN (D_USER, D_GROUP, D_PUBLIC, ROLE_USER, ROLE_GROUP, ROLE_PUBLIC, D_ROLE)"""
_PUBLIC = "('BINDADD', 'CREATETAB', 'IMPLICIT_SCHEMA')"


def _granted(subject: str, right: str, view: str, condition: str) -> str:
    """What a view of the catalog grants to the login, its groups, its roles and everybody."""
    return f"""SELECT {subject}, '{right}' FROM SYSCAT.{view} WHERE ({condition})
    AND (GRANTEE IN (SESSION_USER, 'PUBLIC')
    OR GRANTEETYPE = 'G' AND GRANTEE IN
        (SELECT "GROUP" FROM TABLE(SYSPROC.AUTH_LIST_GROUPS_FOR_AUTHID(SESSION_USER)) AS g)
    OR GRANTEETYPE = 'R' AND GRANTEE IN
        (SELECT ROLENAME FROM TABLE(SYSPROC.AUTH_LIST_ROLES_FOR_AUTHID(SESSION_USER, 'U')) AS r))"""  # noqa: S608  of ours


CHECKS = (
    Check(
        "right.authority",
        f"{_AUTHORITIES} AND AUTHORITY NOT IN ('CONNECT', 'EXPLAIN', 'SYSMON') AND AUTHORITY NOT IN {_PUBLIC}",
    ),
    Check("public.create", f"{_AUTHORITIES} AND AUTHORITY IN {_PUBLIC}", waiver="public_create"),
    Check(
        "right.table",
        _granted(
            "RTRIM(TABSCHEMA) || '.' || TABNAME",
            "may change it",
            "TABAUTH",
            "CONTROLAUTH <> 'N' OR ALTERAUTH <> 'N' OR DELETEAUTH <> 'N' OR INDEXAUTH <> 'N' OR INSERTAUTH <> 'N'"
            " OR UPDATEAUTH <> 'N' OR SELECTAUTH = 'G'",
        ),
    ),
    Check(
        "right.column",
        _granted("RTRIM(TABSCHEMA) || '.' || TABNAME || '.' || COLNAME", "may change it", "COLAUTH", "PRIVTYPE = 'U'"),
    ),
    Check(
        "right.routine",
        _granted(
            "RTRIM(SCHEMA) || '.' || COALESCE(SPECIFICNAME, '*')",
            "may run it",
            "ROUTINEAUTH",
            "EXECUTEAUTH <> 'N' AND SCHEMA NOT LIKE 'SYS%' AND SCHEMA NOT IN ('SQLJ', 'NULLID')",
        ),
        waiver="security_definer",
    ),
    Check(
        "right.sequence",
        _granted(
            "RTRIM(SEQSCHEMA) || '.' || SEQNAME",
            "may draw from it",
            "SEQUENCEAUTH",
            "(USAGEAUTH <> 'N' OR ALTERAUTH <> 'N') AND SEQSCHEMA NOT LIKE 'SYS%'",
        ),
    ),
    Check(
        "right.schema",
        _granted(
            "RTRIM(SCHEMANAME)",
            "may create in it",
            "SCHEMAAUTH",
            "ALTERINAUTH <> 'N' OR CREATEINAUTH <> 'N' OR DROPINAUTH <> 'N'",
        ),
    ),
)
PINS = ("SET CURRENT LOCK TIMEOUT 2", "SET CURRENT ISOLATION CS")


def _cancel(connection: Any) -> None:  # noqa: ANN401  ibm_db_dbi's
    connection.close()  # the server ends what the session ran


WAYS = Ways(
    grammar=Grammar(quote=lambda name: '"' + name.replace('"', '""') + '"', limit="fetch"),
    pins=PINS,
    clock="SELECT CURRENT TIMESTAMP - CURRENT TIMEZONE FROM SYSIBM.SYSDUMMY1",
    checks=CHECKS,
    cancel=_cancel,
    package="ibm-db-sa",
)


def url(config: Db2Config, _: str) -> URL:
    """Where and as whom."""
    password = config.password.reveal() if config.password else None
    return URL.create("db2+ibm_db", config.user, password, config.host, config.port, config.database)
