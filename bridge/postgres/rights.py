"""What the login could do besides reading: the proof behind "read-only" (I9).

The server's own catalog is asked, for the login and every role it can act as, inherited or by SET ROLE. Settings such
as default_transaction_read_only prove nothing: the session can change them. Covers what a grant, an ownership, a role
attribute or a SECURITY DEFINER function allows; not what every login may do anyway (notify, advisory locks).
"""

from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from bridge.findings import Finding, Level
from bridge.postgres.session import Connection, translated

_ANY_VERSION = 0
_PARAMETER_GRANTS_SINCE = 150000

# Every role the login can act as. Since 16 a membership may grant neither inheritance nor SET ROLE nor administration.
_REACH: LiteralString = """
WITH RECURSIVE reach(oid) AS (
    SELECT oid FROM pg_roles WHERE rolname IN (session_user, current_user)
    UNION
    SELECT m.roleid FROM pg_auth_members m JOIN reach ON m.member = reach.oid
    WHERE m.admin_option OR coalesce((to_jsonb(m) ->> 'inherit_option')::bool, true)
       OR coalesce((to_jsonb(m) ->> 'set_option')::bool, true)
), role AS (SELECT r.* FROM pg_roles r JOIN reach USING (oid))
"""


@dataclass(frozen=True, slots=True)
class _Check:
    """One kind of right: a query that lists who or what it concerns, and how it is judged."""

    code: str
    query: LiteralString  # returns (subject, detail); reads `role`
    fix: str
    waiver: str = "can_write"
    level: Level = Level.REFUSE  # without the waiver
    since: int = _ANY_VERSION  # server_version_num


_ATTRIBUTES = (
    _Check(
        "right.superuser",
        "SELECT rolname, 'is a superuser: may do everything' FROM role WHERE rolsuper",
        "Use a login of our own: run the DBA's script.",
    ),
    _Check(
        "right.createrole",
        "SELECT rolname, 'may create and change roles' FROM role WHERE rolcreaterole AND NOT rolsuper",
        "ALTER ROLE … NOCREATEROLE",
    ),
    _Check(
        "right.createdb",
        "SELECT rolname, 'may create databases' FROM role WHERE rolcreatedb AND NOT rolsuper",
        "ALTER ROLE … NOCREATEDB",
    ),
    _Check(
        "right.bypassrls",
        "SELECT rolname, 'reads past row-level security' FROM role WHERE rolbypassrls AND NOT rolsuper",
        "Needed only where a captured table has row-level security; else ALTER ROLE … NOBYPASSRLS",
        level=Level.WARN,
    ),
)

# A superuser has all of these on everything; they are asked only of the others.
_GRANTS = (
    _Check(
        "right.role",
        """SELECT rolname, 'membership allows writing, killing sessions or running programs' FROM role
        WHERE rolname IN ('pg_write_all_data', 'pg_write_server_files', 'pg_execute_server_program', 'pg_maintain',
                          'pg_signal_backend', 'pg_signal_autovacuum_worker', 'pg_checkpoint',
                          'pg_create_subscription', 'pg_database_owner')""",
        "REVOKE the role from the login",
    ),
    _Check(
        "right.table_write",
        """SELECT format('%I.%I', nspname, relname), 'may ' || string_agg(DISTINCT privilege, ', ' ORDER BY privilege)
        FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace, role,
             unnest(string_to_array('INSERT UPDATE DELETE TRUNCATE REFERENCES TRIGGER' || CASE WHEN
                current_setting('server_version_num')::int >= 170000 THEN ' MAINTAIN' ELSE '' END, ' ')) privilege
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND has_table_privilege(role.oid, c.oid, privilege)
          AND NOT pg_is_other_temp_schema(n.oid)
          AND (nspname NOT IN ('pg_catalog', 'information_schema') OR c.oid <> 'pg_settings'::regclass
               AND EXISTS (SELECT FROM aclexplode(relacl) a  -- pg_write_all_data is a finding of its own
                           WHERE grantee IN (0, role.oid) AND privilege_type = privilege))
        GROUP BY 1 ORDER BY 1""",
        "REVOKE it from the login or from the role that has it",
    ),
    _Check(
        "right.column_write",
        """SELECT format('%I.%I (%I)', nspname, relname, attname),
               'may ' || string_agg(DISTINCT privilege, ', ' ORDER BY privilege)
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace, role,
             unnest('{INSERT,UPDATE,REFERENCES}'::text[]) privilege
        WHERE attacl IS NOT NULL AND attnum > 0 AND NOT attisdropped
          AND has_column_privilege(role.oid, c.oid, attnum, privilege)
          AND NOT has_table_privilege(role.oid, c.oid, privilege)
        GROUP BY 1 ORDER BY 1""",
        "REVOKE it from the login or from the role that has it",
    ),
    _Check(
        "right.sequence",
        """SELECT format('%I.%I', nspname, relname), 'may ' || string_agg(DISTINCT privilege, ', ' ORDER BY privilege)
        FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace, role,
             unnest('{USAGE,UPDATE}'::text[]) privilege
        WHERE relkind = 'S' AND has_sequence_privilege(role.oid, c.oid, privilege)
        GROUP BY 1 ORDER BY 1""",
        "REVOKE USAGE, UPDATE ON SEQUENCE … from the login; SELECT is enough",
    ),
    _Check(
        "right.owner",
        """SELECT CASE WHEN dbid IN (0, d.oid) THEN pg_describe_object(classid, objid, objsubid)
                    ELSE 'database ' || (SELECT datname FROM pg_database o WHERE o.oid = dbid) END,
               CASE WHEN count(*) > 1 THEN count(*) || ' objects are' ELSE 'is' END || ' owned by ' || role.rolname
        FROM pg_shdepend JOIN role ON refobjid = role.oid AND refclassid = 'pg_authid'::regclass
             JOIN pg_database d ON d.datname = current_database()
        WHERE deptype = 'o'
        GROUP BY 1, role.rolname ORDER BY 1""",
        "REASSIGN the object to the application's own role",
    ),
    _Check(
        "right.create",
        """SELECT 'database ' || datname, 'may create schemas in it' FROM pg_database, role
        WHERE datname = current_database() AND has_database_privilege(role.oid, pg_database.oid, 'CREATE')
        UNION
        SELECT 'schema ' || nspname, 'may create objects in it' FROM pg_namespace n, role
        WHERE has_schema_privilege(role.oid, n.oid, 'CREATE') AND NOT has_schema_privilege('public', n.oid, 'CREATE')
          AND NOT pg_is_other_temp_schema(n.oid) AND n.oid <> pg_my_temp_schema()
        UNION
        SELECT 'tablespace ' || spcname, 'may create objects in it' FROM pg_tablespace t, role
        WHERE has_tablespace_privilege(role.oid, t.oid, 'CREATE')""",
        "REVOKE CREATE from the login or from the role that has it",
    ),
    _Check(
        "right.large_object",
        """SELECT 'large object ' || l.oid, 'may ' || privilege_type FROM pg_largeobject_metadata l, aclexplode(lomacl)
        WHERE privilege_type = 'UPDATE' AND lomowner NOT IN (SELECT oid FROM role)
          AND (grantee = 0 OR grantee IN (SELECT oid FROM role))
        UNION
        SELECT 'lo_compat_privileges', 'is on: everybody may write every large object'
        WHERE current_setting('lo_compat_privileges')::bool""",
        "REVOKE UPDATE ON LARGE OBJECT … from the login",
    ),
    _Check(
        "right.parameter",
        """SELECT parname, 'may ' || privilege_type FROM pg_parameter_acl, aclexplode(paracl)
        WHERE grantee = 0 OR grantee IN (SELECT oid FROM role)""",
        "REVOKE … ON PARAMETER from the login",
        since=_PARAMETER_GRANTS_SINCE,
    ),
    _Check(
        "right.admin_function",
        """SELECT p.oid::regprocedure::text, 'may call it, and by default only superusers may'
        FROM pg_proc p, role
        WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'v' AND proacl IS NOT NULL
          AND has_function_privilege(role.oid, p.oid, 'EXECUTE')
          AND NOT has_function_privilege('public', p.oid, 'EXECUTE')
          AND proname !~ '^pg_(ls|get|read|stat_file|current|show|hba|ident|config)'
        GROUP BY 1 ORDER BY 1""",
        "REVOKE EXECUTE from the login or from the role that has it",
    ),
    _Check(
        "right.security_definer",
        """SELECT format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(p.oid)),
               'runs with the rights of ' || pg_get_userbyid(proowner)
        FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
        WHERE prosecdef AND provolatile = 'v'
          AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
          AND EXISTS (SELECT FROM role WHERE has_function_privilege(role.oid, p.oid, 'EXECUTE')
                                         AND has_schema_privilege(role.oid, n.oid, 'USAGE'))
        ORDER BY 1""",
        "REVOKE EXECUTE on it where the application allows, or sign for it with `allow: [security_definer]`",
        waiver="security_definer",
    ),
    _Check(
        "public.create",
        """SELECT 'schema ' || nspname, 'PUBLIC may create objects in it: the default before PostgreSQL 15'
        FROM pg_namespace n WHERE has_schema_privilege('public', n.oid, 'CREATE')""",
        "Ask the DBA whether the application needs it, or sign for it with `allow: [public_create]`",
        waiver="public_create",
        level=Level.WARN,
    ),
    _Check(
        "public.temp",
        """SELECT 'database ' || datname, 'may create temporary tables: PostgreSQL''s default for PUBLIC'
        FROM pg_database d WHERE datname = current_database()
          AND EXISTS (SELECT FROM role WHERE has_database_privilege(role.oid, d.oid, 'TEMP'))""",
        "Ask the DBA whether the application needs it, or sign for it with `allow: [public_temp]`",
        waiver="public_temp",
        level=Level.WARN,
    ),
)

_LOGIN = """
SELECT session_user::text, bool_or(rolreplication OR rolsuper) FILTER (WHERE rolname = session_user),
       bool_or(rolsuper) FROM role
"""


def inspect_rights(connection: Connection, waivers: frozenset[str], *, replicates: bool = True) -> list[Finding]:
    """List every right of the login beyond reading, and whether it lacks the one to replicate.

    Args:
        connection: a SQL session inside `read_only`.
        waivers: what the operator signed for; a waived right is still listed, one level down.
        replicates: the login reads the change log; else that right is not asked for.
    Raises: what `translated` says.
    """
    with translated("looking up the login's own rights"):
        login = connection.execute(sql.SQL(_REACH + _LOGIN)).fetchone()
        name, can_replicate, is_superuser = login or ("?", False, False)
        checks = _ATTRIBUTES if is_superuser else (*_ATTRIBUTES, *_GRANTS)
        found = [finding for check in checks for finding in _run(connection, check, waivers)]
    if replicates and not can_replicate:
        fix = f'ALTER ROLE "{name}" REPLICATION'
        found.append(Finding(Level.REFUSE, "right.replication", name, "may not read the change log", fix))
    if all(finding.code.startswith("public.") or finding.code == "right.bypassrls" for finding in found):
        found.append(Finding(Level.OK, "right.read_only", name, "could not change existing data"))
    return found


def _run(connection: Connection, check: _Check, waivers: frozenset[str]) -> list[Finding]:
    if connection.info.server_version < check.since:
        return []
    level, note = check.level, ""
    if check.waiver in waivers:
        level, note = (Level.WARN if level is Level.REFUSE else Level.OK), f" (waived: {check.waiver})"
    rows = connection.execute(sql.SQL(_REACH + check.query)).fetchall()
    return [Finding(level, check.code, subject, detail + note, check.fix) for subject, detail in rows]
