"""The look before the start: would reading this PostgreSQL keep every promise we make to its owners?

Asks the catalog only, in one read-only transaction, and returns everything it finds at once: rights (I9), server
settings, the slot, each table, each publication. Changes nothing; what must change is in the DBA's script.
"""

import re
from collections.abc import Iterable, Iterator

from bridge.findings import Finding, Level
from bridge.postgres.rights import inspect_rights
from bridge.postgres.session import Connection, read_only, translated
from bridge.sources.postgres import catalog
from bridge.sources.postgres.catalog import Member, Publication, Server, Table
from bridge.sources.postgres.setup import Capture, Setup, quoted

_OLDEST, _OLDEST_TRIED, _FAILOVER_SINCE = 100000, 130000, 170000  # server_version_num
_SCRIPT = "Have a DBA run the output of `legacy-bridge dba-script SYSTEM`."
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}

# Whole words of a name, singular or plural: "author" is not "auth".
_SECRET_TABLE = re.compile(
    r"(^|_)(sessions?|tokens?|auth|credentials?|api_?keys?|passwords?|passwd|secrets?|otps?)($|_)"
)
_SECRET_COLUMN = re.compile(
    r"(^|_)(sessions?|tokens?|credentials?|api_?keys?|private_?keys?|passwords?|passwd|pwd|passphrase|secrets?|otp|totp)($|_)"
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def inspect(connection: Connection, setup: Setup) -> list[Finding]:
    """Everything that speaks for or against reading this database, the good news included.

    Args:
        connection: a SQL session of the login the bridge will use, on the database it will read.
        setup: the captured tables, names and waivers.
    Raises: SourceUnavailable, SourceRefused when the catalog itself may not be read.
    """
    with translated("running the preflight"), read_only(connection):
        found = inspect_rights(connection, setup.waivers, replicates=bool(setup.captures))
        if not setup.captures:  # read by views alone: no slot, no publication
            return found
        server = catalog.read_server(connection, setup.slot)
        tables = catalog.read_tables(connection, setup)
        publications = catalog.read_publications(connection, setup)
    found += _judge_server(server, setup)
    found += _judge_slot(server, setup)
    for capture in setup.captures:
        found += _judge_table(capture, tables.get(capture.table), publications, setup)
    for publication in publications.values():
        found += _judge_publication(publication, tables, setup)
    return found


def looks_secret(name: str, *, column: bool = False) -> bool:
    """Whether a table's or a column's name speaks of live sessions or credentials (F8)."""
    snake = _HUMP.sub("_", name).lower()
    return bool((_SECRET_COLUMN if column else _SECRET_TABLE).search(snake))


def _judge_server(server: Server, setup: Setup) -> Iterator[Finding]:
    release = server.settings["server_version"]
    if server.version < _OLDEST:
        fix = "Upgrade it, or read it through a view."
        yield Finding(Level.REFUSE, "server.version", release, "has no logical replication protocol", fix)
    elif server.version < _OLDEST_TRIED:
        yield Finding(Level.WARN, "server.version", release, "is older than what we test against", "Plan an upgrade.")
    else:
        yield Finding(Level.OK, "server.version", release, "is supported")
    if server.settings["wal_level"] != "logical":
        detail = f"is {server.settings['wal_level']}: the change log lacks what we need"
        yield Finding(
            Level.REFUSE, "server.wal_level", "wal_level", detail, "Set it to logical and restart the server."
        )
    if setup.failover and server.version < _FAILOVER_SINCE:
        fix = "Set `failover: false` for this system."
        yield Finding(Level.REFUSE, "slot.failover", release, "failover slots need PostgreSQL 17", fix)
    if server.encoding == "SQL_ASCII":
        detail = (
            "the database does not know its own encoding; bytes that are not UTF-8 are rejected with their raw form"
        )
        yield Finding(Level.WARN, "server.encoding", server.database, detail, "Declare the charset in the contract.")
    if not server.can_emit:
        detail = "may not be called: while this database is idle, others pin WAL through our slot"
        fix = "GRANT EXECUTE on it, or set heartbeat_s: 0 and accept it."
        yield Finding(Level.WARN, "server.heartbeat", "pg_logical_emit_message", detail, fix)


def _judge_slot(server: Server, setup: Setup) -> Iterator[Finding]:
    if server.slot is None:
        for count, name in ((server.slot_count, "max_replication_slots"), (server.sender_count, "max_wal_senders")):
            limit = int(server.settings[name])
            if count >= limit:
                detail = f"all {limit} are in use"
                yield Finding(Level.REFUSE, "slot.none_free", name, detail, "Raise it, or drop a slot nobody uses.")
    elif (server.slot["plugin"], server.slot["database"]) != ("pgoutput", server.database):
        detail = f"belongs to {server.slot['plugin'] or 'a standby'} in database {server.slot['database']}"
        yield Finding(Level.REFUSE, "slot.foreign", setup.slot, detail, "Choose another name for `slot`.")
    if int(server.settings.get("max_slot_wal_keep_size", -1)) < 0:
        level = Level.WARN if "unlimited_slot" in setup.waivers else Level.REFUSE
        detail = "is unlimited: if the bridge stays away, the legacy server's disk fills and it stops"
        fix = "Set it, e.g. to 10GB, or sign for it with `allow: [unlimited_slot]`."
        yield Finding(level, "slot.unlimited", "max_slot_wal_keep_size", detail, fix)
    if timeout_s := int(server.settings.get("idle_replication_slot_timeout", 0)):
        detail = f"a bridge stopped for {timeout_s} s loses its slot"
        fix = "Keep it well above the longest planned stop."
        yield Finding(Level.WARN, "slot.idle_timeout", "idle_replication_slot_timeout", detail, fix)


def _judge_table(
    capture: Capture, table: Table | None, publications: dict[str, Publication], setup: Setup
) -> Iterator[Finding]:
    name = capture.table
    if table is None:
        yield Finding(Level.REFUSE, "table.missing", name, "does not exist here", "Mend `log` in the stream.")
        return
    if table.kind in _KINDS:
        fix = "Read it as a `view` stream."
        yield Finding(Level.REFUSE, "table.kind", name, f"is {_KINDS[table.kind]}: it has no change log", fix)
        return
    if table.persistence != "p":
        fix = "ALTER TABLE … SET LOGGED, or read it as a `view` stream."
        yield Finding(Level.REFUSE, "table.unlogged", name, "is not written to the change log", fix)
    if table.is_partition:
        yield Finding(Level.REFUSE, "table.partition", name, "is a partition", "Capture the partitioned table instead.")
    if table.hides_rows:
        fix = "GRANT the login BYPASSRLS, or a policy that shows it every row."
        yield Finding(Level.REFUSE, "table.row_security", name, "row-level security hides rows from the login", fix)
    home = setup.publication if table.has_identity else setup.insert_publication
    publication = publications.get(home)
    if publication is None:
        yield Finding(Level.REFUSE, "publication.missing", name, f"publication {home} does not exist", _SCRIPT)
    elif name not in publication.members:
        yield Finding(Level.REFUSE, "publication.missing_table", name, f"is not in publication {home}", _SCRIPT)
    member = publication.members.get(name) if publication else None
    sent = table.columns if member is None or member.columns is None else member.columns
    yield from _judge_limits(table, member, sent)
    yield from _judge_secrets(capture, sent)
    if not table.has_identity:
        detail = "has no key: its inserts are seen, its updates and deletes are NOT"
        yield Finding(Level.WARN, "table.keyless", name, detail, "Compare by a `view` stream if they matter.")
    elif member:
        yield Finding(Level.OK, "table.captured", name, "inserts, updates and deletes are seen")


def _judge_limits(table: Table, member: Member | None, sent: list[str]) -> Iterator[Finding]:
    if not table.can_enter_schema or set(sent) & set(table.unreadable):
        yield Finding(Level.REFUSE, "table.select", table.name, "may not be read for the first load", _SCRIPT)
    if member and member.has_column_list:
        detail = f"only {len(sent)} of {len(table.columns)} columns are published"
        yield Finding(Level.WARN, "table.column_list", table.name, detail, "Intended? The rest is never seen.")
    if member and member.has_row_filter:
        detail = "the publication has a row filter: other rows are never seen"
        yield Finding(Level.WARN, "table.row_filter", table.name, detail, "Intended? The first load reads all rows.")


def _judge_secrets(capture: Capture, sent: Iterable[str]) -> Iterator[Finding]:
    columns = sorted(column for column in sent if looks_secret(column, column=True))
    if not columns and not looks_secret(capture.parts[1]):
        return
    level = Level.WARN if capture.capture_secrets else Level.REFUSE
    detail = f"looks like live sessions or credentials ({', '.join(columns) or 'by its name'})"
    fix = "Leave it out, publish it without these columns, or set `capture_secrets: true` on the stream."
    yield Finding(level, "table.secrets", capture.table, detail, fix)


def _judge_publication(publication: Publication, tables: dict[str, Table], setup: Setup) -> Iterator[Finding]:
    name = publication.name
    if publication.all_tables or publication.schemas:
        scope = "ALL TABLES" if publication.all_tables else f"TABLES IN SCHEMA {', '.join(publication.schemas)}"
        detail = f"is FOR {scope}: it takes in tables nobody configured, and breaks writes to those without a key"
        fix = f"DROP PUBLICATION {quoted(name)}, then: {_SCRIPT}"
        yield Finding(Level.REFUSE, "publication.too_wide", name, detail, fix)
    else:
        for table in sorted(publication.members.keys() - {capture.table for capture in setup.captures}):
            detail = f"is in {name} but in no stream: sent for nothing"
            fix = f"ALTER PUBLICATION {quoted(name)} DROP TABLE {quoted(*table.split('.', 1))}"
            yield Finding(Level.WARN, "publication.extra_table", table, detail, fix)
    if publication.publishes & {"update", "delete"}:
        for member in publication.members.values():
            if not member.has_identity:
                detail = f"has no key, and {name} publishes updates or deletes: the application's own UPDATEs fail"
                fix = f"At once: ALTER PUBLICATION {quoted(name)} DROP TABLE {quoted(*member.table.split('.', 1))}"
                yield Finding(Level.REFUSE, "publication.breaks_writes", member.table, detail, fix)
    wanted = {"insert", "update", "delete"} if name == setup.publication else {"insert"}
    if missing := wanted - publication.publishes:
        detail = f"does not publish {', '.join(sorted(missing))}"
        yield Finding(Level.REFUSE, "publication.operations", name, detail, _SCRIPT)
    if name == setup.publication and "truncate" not in publication.publishes:
        fix = "Add truncate to its publish list if tables are ever truncated."
        yield Finding(Level.WARN, "publication.truncate", name, "does not publish truncate", fix)
    if not publication.via_root and any(table.kind == "p" for table in tables.values()):
        fix = f"ALTER PUBLICATION {quoted(name)} SET (publish_via_partition_root = true)"
        yield Finding(Level.REFUSE, "publication.partitions", name, "sends partitions under their own names", fix)
