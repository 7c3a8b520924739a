"""What a DBA runs so that the bridge may read views, per kind of database: the least rights, their undoing, the stop.

Only text is made here; nothing is run. Names are quoted as each database quotes them. Where the database can say so, a
script may be run again, as when a view is added, and for a login that is there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grants:
    """For one system."""

    kind: str  # of system: "postgres", "mysql" ...
    login: str
    database: str
    connections: int
    tables: tuple[str, ...]  # schema.table, or table
    functions: tuple[str, ...] = ()  # that authors of views signed for
    sees_load: bool = False  # what others do, since the budget asks for it


@dataclass(frozen=True, slots=True)
class _Words:
    """How one kind of database says it; {login}, {database}, {connections} are filled in."""

    quote: Callable[[str], str]
    before: str
    table: str  # {table}
    function: str  # {function}
    undo: str
    stop: str
    seen: str  # where the DBA sees our sessions
    load: str = ""  # lets the login see what others do
    fold: Callable[[str], str] = str  # a login without quotes, as the catalogue spells it


def script(wanted: Grants) -> str:
    """The SQL that lets the bridge in."""
    words = _KINDS[wanted.kind]
    schemas = sorted({table.partition(".")[0] for table in wanted.tables if "." in table})
    lines = [words.before.format(**_names(wanted, words))]
    if wanted.kind == "postgres":
        login = words.quote(wanted.login)
        lines += [f"GRANT USAGE ON SCHEMA {words.quote(schema)} TO {login};" for schema in schemas]
    for template, what, names in (
        (words.table, "table", wanted.tables),
        (words.function, "function", wanted.functions),
    ):
        qualified = [".".join(map(words.quote, _whole(wanted, name))) for name in names]
        lines += [template.format(**_names(wanted, words), **{what: name}) for name in qualified]
    if wanted.sees_load and words.load:
        lines.append(words.load.format(**_names(wanted, words)))
    return "\n".join(line for line in lines if line)


def undo(wanted: Grants) -> str:
    """The SQL that takes it all back."""
    words = _KINDS[wanted.kind]
    return words.undo.format(**_names(wanted, words))


def stop(wanted: Grants) -> str:
    """What ends the bridge's sessions and keeps it out, whatever the bridge does."""
    words = _KINDS[wanted.kind]
    return words.stop.format(**_names(wanted, words))


def seen(wanted: Grants) -> str:
    """Where the bridge's sessions can be seen."""
    words = _KINDS[wanted.kind]
    return words.seen.format(**_names(wanted, words))


def _names(wanted: Grants, words: _Words) -> dict[str, object]:
    login = words.fold(wanted.login)
    plain = "".join(char for char in login if char.isprintable()).replace("'", "''")
    return {
        "login": words.quote(login),
        "login_text": f"'{plain}'",
        "database": words.quote(wanted.database),
        "connections": wanted.connections,
    }


def _whole(wanted: Grants, name: str) -> list[str]:
    """The parts of a name; MySQL's DBA may have no database of her own in which it would be looked for."""
    parts = name.split(".")
    return [wanted.database, *parts] if wanted.kind == "mysql" and len(parts) == 1 else parts


def _double(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _back(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _bracket(name: str) -> str:
    return "[" + name.replace("]", "]]") + "]"


_KINDS: Mapping[str, _Words] = {
    "postgres": _Words(
        quote=_double,
        before="""\
DO $bridge$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {login_text}) THEN CREATE ROLE {login}; END IF;
END $bridge$;
ALTER ROLE {login} LOGIN CONNECTION LIMIT {connections};  -- then, in psql: \\password {login}
ALTER ROLE {login} SET default_transaction_read_only = on;  -- not the wall (the missing grants are): stops accidents
GRANT CONNECT ON DATABASE {database} TO {login};""",
        table="GRANT SELECT ON TABLE {table} TO {login};",
        function="GRANT EXECUTE ON FUNCTION {function} TO {login};",
        undo="DROP OWNED BY {login};  -- owns nothing: takes back its grants\nDROP ROLE {login};",
        stop="""\
ALTER ROLE {login} NOLOGIN;
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {login_text};""",
        seen="SELECT * FROM pg_stat_activity WHERE usename = {login_text};",
        load="GRANT pg_read_all_stats TO {login};  -- to see how busy the server is, and how far replicas lag",
    ),
    "mysql": _Words(
        quote=_back,
        before="""\
CREATE USER IF NOT EXISTS {login}@'BRIDGE_HOST' IDENTIFIED BY '...' WITH MAX_USER_CONNECTIONS {connections};""",
        table="GRANT SELECT ON {table} TO {login}@'BRIDGE_HOST';",
        function="GRANT EXECUTE ON FUNCTION {function} TO {login}@'BRIDGE_HOST';",
        undo="DROP USER {login}@'BRIDGE_HOST';",
        stop="""\
ALTER USER {login}@'BRIDGE_HOST' ACCOUNT LOCK;
SELECT CONCAT('KILL ', id, ';') FROM information_schema.processlist WHERE user = {login_text};
-- run what it prints""",
        seen="SELECT * FROM information_schema.processlist WHERE user = {login_text};",
        load="""\
GRANT REPLICATION CLIENT ON *.* TO {login}@'BRIDGE_HOST';  -- to see how far a replica lags
-- on MariaDB: GRANT SLAVE MONITOR ON *.* TO {login}@'BRIDGE_HOST';""",
    ),
    "sqlite": _Words(
        quote=_double,
        before="""\
-- SQLite knows no logins: the file's permissions are the wall. Let the bridge's user read the file and its folder,
-- and write neither. The bridge opens it read-only.""",
        table="",
        function="",
        undo="-- Take the read permission back.",
        stop="-- Take the read permission back, and stop the daemon.",
        seen="-- fuser on the file names the process.",
    ),
    "firebird": _Words(
        quote=_double,
        before="CREATE USER {login} PASSWORD '...';",
        table="GRANT SELECT ON TABLE {table} TO USER {login};",
        function="GRANT EXECUTE ON FUNCTION {function} TO USER {login};",
        undo="REVOKE ALL ON ALL FROM USER {login};\nDROP USER {login};",
        stop="""\
ALTER USER {login} INACTIVE;
DELETE FROM MON$ATTACHMENTS WHERE TRIM(MON$USER) = {login_text};""",
        seen="SELECT * FROM MON$ATTACHMENTS WHERE TRIM(MON$USER) = {login_text};",
        fold=str.upper,
    ),
    "mssql": _Words(
        quote=_bracket,
        before="""\
CREATE LOGIN {login} WITH PASSWORD = '...';
USE {database};
CREATE USER {login} FOR LOGIN {login};
DENY INSERT, UPDATE, DELETE, ALTER, EXECUTE, CONTROL TO {login};""",
        table="GRANT SELECT ON OBJECT::{table} TO {login};",
        function="GRANT EXECUTE ON OBJECT::{function} TO {login};  -- and take EXECUTE out of the DENY above",
        undo="USE {database};\nDROP USER {login};\nDROP LOGIN {login};",
        stop="""\
ALTER LOGIN {login} DISABLE;
SELECT 'KILL ' + CAST(session_id AS varchar) FROM sys.dm_exec_sessions WHERE login_name = {login_text};
-- run what it prints""",
        seen="SELECT * FROM sys.dm_exec_sessions WHERE login_name = {login_text};",
    ),
    "oracle": _Words(
        quote=_double,
        before="""\
CREATE USER {login} IDENTIFIED BY "...";
GRANT CREATE SESSION TO {login};""",
        table="GRANT READ ON {table} TO {login};  -- not SELECT, which lets a session lock rows",
        function="GRANT EXECUTE ON {function} TO {login};",
        undo="DROP USER {login};",
        stop="""\
ALTER USER {login} ACCOUNT LOCK;
SELECT 'ALTER SYSTEM KILL SESSION ''' || sid || ',' || serial# || ''' IMMEDIATE;' FROM v$session
WHERE username = {login_text};  -- run what it prints""",
        seen="SELECT * FROM v$session WHERE username = {login_text};",
        fold=str.upper,
    ),
    "db2": _Words(
        quote=_double,
        before="GRANT CONNECT ON DATABASE TO USER {login};",
        table="GRANT SELECT ON TABLE {table} TO USER {login};",
        function="GRANT EXECUTE ON FUNCTION {function} TO USER {login};",
        undo="REVOKE CONNECT ON DATABASE FROM USER {login};  -- and SELECT on each table above",
        stop="""\
REVOKE CONNECT ON DATABASE FROM USER {login};
-- then FORCE APPLICATION (handle) for each handle that LIST APPLICATIONS shows of it""",
        seen="LIST APPLICATIONS FOR DATABASE {database};",
        fold=str.upper,
    ),
}
