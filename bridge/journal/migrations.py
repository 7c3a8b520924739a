"""The journal file's schema, brought forward step by step.

`schema/NNNN.sql` takes a file from version NNNN-1 to NNNN; a new file takes every step. Steps only ever go forward and
are never edited once released. A file of a newer version is refused: an older program could not keep its promises.
"""

from collections.abc import Sequence
from functools import cache
from importlib import resources

import apsw

from bridge.errors import ConfigError, JournalCorrupt, JournalUnavailable

APPLICATION_ID = 0x4C424A31  # "LBJ1" in the file's header


@cache
def steps() -> tuple[str, ...]:
    """The SQL of every step, in order."""
    folder = resources.files("bridge.journal") / "schema"
    return tuple(step.read_text() for step in sorted(folder.iterdir(), key=lambda step: step.name))


def migrate(connection: apsw.Connection, steps: Sequence[str]) -> None:
    """Bring a file up to the last of `steps`, all or nothing.

    Raises: ConfigError for a file of a newer program or one that is not a journal.
    """
    version = check(connection, steps)
    if version == len(steps):
        return
    connection.execute("BEGIN IMMEDIATE")
    for step in steps[version:]:
        connection.execute(step)
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", len(steps))
    connection.execute("COMMIT")


def require_current(connection: apsw.Connection, steps: Sequence[str]) -> None:
    """Refuse a file that its owner has not brought forward yet.

    Raises: JournalUnavailable; ConfigError as `migrate`.
    """
    version = check(connection, steps)
    if version < len(steps):
        raise JournalUnavailable(
            f"the journal {connection.filename} is of version {version}, this program reads {len(steps)}",
            hint="Start the daemon of this version once; it brings the file forward.",
        )


def check(connection: apsw.Connection, steps: Sequence[str]) -> int:
    """The file's version, 0 for an empty one."""
    version, application, tables = connection.execute(
        "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)"
        " FROM pragma_user_version, pragma_application_id"
    ).get
    name = connection.filename
    if version == 0 and tables == 0:
        return 0
    if application != APPLICATION_ID:
        raise ConfigError(f"{name} is a SQLite database but not a journal", hint="Name another file as the journal.")
    if version > len(steps):
        raise ConfigError(
            f"the journal {name} is of version {version}, this program knows versions up to {len(steps)}",
            hint="Install the newer version again, or restore a backup made by this one.",
        )
    if version == 0:
        raise JournalCorrupt(f"the journal {name} has tables but no version")
    return int(version)
