"""Build the demo ERP on a server: schema, first rows, hostile settings, and what its DBA grants the bridge."""

from pathlib import Path

import psycopg
from psycopg import sql

from demo.server import Database, PostgresServer

HERE = Path(__file__).parent
SLOT_LIMIT = "4GB"
# Settings a careless legacy database has; a reader that does not pin its own session gets German dates.
HOSTILE = {
    "DateStyle": "German",
    "IntervalStyle": "sql_standard",
    "TimeZone": "America/Chicago",
    "bytea_output": "escape",
    "extra_float_digits": "0",
}


def build(server: PostgresServer, database: str = "erp", *, scale: int = 1) -> Database:
    """Create the ERP and let the DBA do their part.

    Args:
        server: where.
        database: its name; must not exist.
        scale: multiplies the number of rows; 1 is 2,000 customers, 2,500 items and 1,500 orders.
    """
    erp = server.create_database(database)
    for name, value in HOSTILE.items():
        statement = sql.SQL("ALTER DATABASE {} SET {} = {}")
        server.sql(statement.format(sql.Identifier(database), sql.Identifier(name), value).as_string())
    with psycopg.connect(erp.dsn, options="-c TimeZone=UTC -c DateStyle=ISO") as connection:
        connection.execute(_script("schema.sql"))
        connection.execute(_script("rows.sql").replace(b":scale", str(scale).encode()))
    erp.sql("ANALYZE")
    allow_reading(erp)
    return erp


def allow_reading(erp: Database) -> None:
    """The DBA's part: login, grants, publications, and a limit to what a forgotten slot may retain."""
    erp.server.sql(f"ALTER SYSTEM SET max_slot_wal_keep_size = '{SLOT_LIMIT}'")
    erp.server.sql("SELECT pg_reload_conf()")
    with psycopg.connect(erp.dsn) as connection:
        connection.execute(_script("dba.sql"))


def _script(name: str) -> bytes:
    return (HERE / name).read_bytes()
