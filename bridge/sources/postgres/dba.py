"""The letter to the DBA: the SQL that lets the bridge in, and the SQL that removes every trace of it.

Only text is made here; nothing is run. The script may be run twice, is one transaction, revokes nothing from PUBLIC and
alters no table. Which tables have no key is decided by the server when the script runs, by the preflight's own rule.
"""

import textwrap
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from bridge.sources.postgres.catalog import IDENTITY
from bridge.sources.postgres.setup import Setup

_SPARE_CONNECTIONS = 2  # `status` and `doctor` beside the running bridge

_SCRIPT: LiteralString = """\
-- Lets the legacy bridge {instance_name} read database {database_name}, and nothing more.
-- Run once, by a superuser, on the primary:  psql -v ON_ERROR_STOP=1 -d {database_name} -f THIS_FILE
-- Safe to run again, e.g. after the list of tables has changed. One transaction: all of it or nothing.
--
-- It never writes to a table, never locks one for longer than 5 s, alters no table, revokes nothing from PUBLIC,
-- creates no trigger, no function, no table and no FOR ALL TABLES publication.
-- How to undo all of it: at the end of this file.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL search_path = pg_catalog;

-- 1. A login of its own. REPLICATION is what PostgreSQL asks of anybody who reads the change log.
DO $bridge$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {login_text}) THEN
        CREATE ROLE {login} LOGIN REPLICATION;
    END IF;
END $bridge$;
ALTER ROLE {login} LOGIN REPLICATION CONNECTION LIMIT {connections};
-- Not the wall (the missing grants are), but it stops accidents.
ALTER ROLE {login} SET default_transaction_read_only = on;

-- 2. SELECT on exactly the configured tables, for the first load.
GRANT CONNECT ON DATABASE {database} TO {login};
{grants}

-- 3. What the change log sends: exactly these tables. A table without a replica identity goes into a publication of
-- inserts only: in any other, PostgreSQL would refuse the application's own UPDATEs and DELETEs on it.
DO $bridge$
DECLARE
    step record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = {publication_text}) THEN
        CREATE PUBLICATION {publication} WITH (publish_via_partition_root = true);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = {inserts_text}) THEN
        CREATE PUBLICATION {inserts} WITH (publish = 'insert', publish_via_partition_root = true);
    END IF;
    FOR step IN
{identity}
        , wanted AS (
            SELECT CASE WHEN has_identity THEN {publication_text} ELSE {inserts_text} END AS publication, c.oid
            FROM (VALUES
                {tables}
            ) AS listed(nspname, relname)
            JOIN pg_namespace n USING (nspname)
            JOIN pg_class c USING (relname)
            JOIN identity ON root = c.oid
            WHERE relnamespace = n.oid
        ), present AS (
            SELECT pubname::text AS publication, prrelid AS oid
            FROM pg_publication_rel JOIN pg_publication p ON p.oid = prpubid
            WHERE pubname IN ({publication_text}, {inserts_text})
        ), changes AS (
            SELECT 'DROP' AS verb, * FROM (SELECT * FROM present EXCEPT SELECT * FROM wanted) AS gone
            UNION ALL
            SELECT 'ADD', * FROM (SELECT * FROM wanted EXCEPT SELECT * FROM present) AS new
        )
        SELECT format('ALTER PUBLICATION %I %s TABLE %I.%I', publication, verb, nspname, relname) AS statement
        FROM changes JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = relnamespace
        ORDER BY verb DESC, 1
    LOOP
        RAISE NOTICE '%', step.statement;
        EXECUTE step.statement;
    END LOOP;
END $bridge$;

COMMIT;

-- 4. A password, asked for by psql and never written down (or use certificates, or pg_hba.conf):
--      \\password {login_comment}
-- and a line in pg_hba.conf for the bridge's host; "replication" is not needed as a database:
--      hostssl  {database_comment}  {login_comment}  BRIDGE_HOST/32  scram-sha-256

-- 5. Settings of the server, to compare with your own:
--      ALTER SYSTEM SET wal_level = 'logical';  -- needs a restart
--      ALTER SYSTEM SET max_slot_wal_keep_size = '{slot_gigabytes}GB';  -- then SELECT pg_reload_conf();
-- The second is your safety: whatever becomes of the bridge, it never holds back more of your disk than this.

-- 6. The slot is created by the bridge when it first starts, so that no WAL is kept before. If you would rather do it:
--      SELECT pg_create_logical_replication_slot({slot_text}, 'pgoutput'{failover});
-- The bridge calls pg_logical_emit_message(false, …) every few seconds, which PostgreSQL allows everybody by default:
-- a message to itself in the change log, in no table, so that an idle database does not hold back WAL.

-- UNDO: stop the bridge, remove the "--" in front of the following lines, and run them.
{undo}
"""

_UNDO: LiteralString = """\
BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL search_path = pg_catalog;
DROP PUBLICATION IF EXISTS {publication}, {inserts};
DO $bridge$
DECLARE
    place text;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = {login_text}) THEN
        FOR place IN
            SELECT what FROM (
                SELECT format('TABLE %I.%I', nspname, relname) AS what, relacl AS granted
                FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
                UNION ALL SELECT format('ROUTINE %s', oid::regprocedure), proacl FROM pg_proc
                UNION ALL SELECT format('SCHEMA %I', nspname), nspacl FROM pg_namespace
            ) AS everything, aclexplode(granted) AS given
            WHERE given.grantee = (SELECT oid FROM pg_roles WHERE rolname = {login_text}) GROUP BY what
        LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %I', place, {login_text});
        END LOOP;
        REVOKE ALL ON DATABASE {database} FROM {login};
        DROP ROLE {login};
    END IF;
END $bridge$;
COMMIT;
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
WHERE slot_name = {slot_text};
"""


@dataclass(frozen=True, slots=True)
class Letter:
    """Whom the script is for, besides the tables."""

    setup: Setup
    instance: str  # the bridge's own name
    database: str
    login: str
    connections: int = 3  # budget of connections
    slot_gigabytes: int = 10  # budget of WAL kept


def dba_script(letter: Letter) -> str:
    """The SQL that lets the bridge in, with its undoing in comments. Works on PostgreSQL 13 and later."""
    login, database = sql.Identifier(letter.login), sql.Identifier(letter.database)
    schemas = sorted({capture.parts[0] for capture in letter.setup.captures})
    grants = [sql.SQL("GRANT USAGE ON SCHEMA {} TO {};").format(sql.Identifier(name), login) for name in schemas]
    grants += [
        sql.SQL("GRANT SELECT ON TABLE {} TO {};").format(sql.Identifier(*capture.parts), login)
        for capture in letter.setup.captures
    ]
    script = sql.SQL(_SCRIPT).format(
        **_names(letter),
        instance_name=sql.SQL(_comment(letter.instance)),
        database_name=sql.SQL(_comment(letter.database)),
        database_comment=sql.SQL(_comment(database.as_string())),
        login_comment=sql.SQL(_comment(login.as_string())),
        connections=sql.Literal(letter.connections + _SPARE_CONNECTIONS),
        grants=sql.SQL("\n").join(grants),
        identity=sql.SQL(textwrap.indent(IDENTITY.strip(), " " * 8)),
        slot_gigabytes=sql.Literal(letter.slot_gigabytes),
        failover=sql.SQL(", false, false, true" if letter.setup.failover else ""),
        undo=sql.SQL(textwrap.indent(undo_script(letter), "-- ", lambda _line: True).rstrip()),
    )
    return script.as_string()


def undo_script(letter: Letter) -> str:
    """The SQL that removes what `dba_script` made, the slot, and the login with every grant it has in the database."""
    return sql.SQL(_UNDO).format(**_names(letter)).as_string()


def _names(letter: Letter) -> dict[str, sql.Composable]:
    setup = letter.setup
    captured = [capture.parts for capture in setup.captures]
    rows = [sql.SQL("({}, {})").format(sql.Literal(schema), sql.Literal(name)) for schema, name in captured]
    return {
        "login": sql.Identifier(letter.login),
        "login_text": sql.Literal(letter.login),
        "database": sql.Identifier(letter.database),
        "publication": sql.Identifier(setup.publication),
        "publication_text": sql.Literal(setup.publication),
        "inserts": sql.Identifier(setup.insert_publication),
        "inserts_text": sql.Literal(setup.insert_publication),
        "slot_text": sql.Literal(setup.slot),
        "tables": sql.SQL(",\n                ").join(rows),
    }


def _comment(name: str) -> LiteralString:
    """A name that cannot break out of a comment line."""
    return " ".join(name.split())
