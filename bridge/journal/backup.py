"""Copies of the journal: taken while it runs, put back while it does not."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import apsw

from bridge.errors import JournalCorrupt, JournalUnavailable
from bridge.journal.database import Database, Owner, create_private
from bridge.journal.failures import translated
from bridge.journal.verifying import verify

_SIDE_FILES = ("-wal", "-shm")


def backup(database: Database, target: Path) -> None:
    """Write a consistent copy beside a running owner; it appears under its name only when complete and synced.

    Raises: JournalUnavailable; an existing file stays as it was.
    """
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    with translated(f"backing up the journal to {target}"):
        try:
            create_private(partial)
            copy = apsw.Connection(str(partial))
            try:
                # One step: the source is one snapshot, however much its owner appends meanwhile.
                with database.reading() as source, copy.backup("main", source, "main") as steps:
                    steps.step(-1)
                copy.pragma("journal_mode", "DELETE")  # one file, without side files
            finally:
                copy.close(force=True)
            _sync(partial)
            partial.replace(target)
            _sync(target.parent)
        finally:
            partial.unlink(missing_ok=True)


def restore(backup: Path, target: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Path | None:
    """Put a backup in a journal's place; the journal itself is set aside, never deleted.

    Whoever starts on it finds its sources ahead of it (PositionLost) and re-reads what is missing. Killed halfway, it
    leaves the old journal or the new one under the name, and can be run again.

    Returns: where the old journal now is; None when there was none.
    Raises: JournalLocked while an owner lives, JournalCorrupt for a damaged backup, JournalUnavailable.
    """
    if not backup.exists():
        raise JournalUnavailable(f"there is no backup at {backup}", hint="Name a file that `backup` wrote.")
    with translated(f"restoring the journal {target} from {backup}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        owner = Owner(target)
        copy = target.with_name(f"{target.name}.restoring-{os.getpid()}")
        try:
            create_private(copy)
            shutil.copyfile(backup, copy)
            _sync(copy)
            _require_sound(copy, backup)
            aside = _set_aside(target, now()) if target.exists() else None
            copy.replace(target)
            _sync(target.parent)
        finally:
            for suffix in ("", *_SIDE_FILES):
                Path(f"{copy}{suffix}").unlink(missing_ok=True)
            owner.release()
    return aside


def _require_sound(copy: Path, backup: Path) -> None:
    database = Database(copy, owner=False)
    try:
        damage = verify(database)
    finally:
        database.close()
    if damage:
        raise JournalCorrupt(f"the backup {backup} is damaged: {damage[0]}", hint="Restore another backup.")


def _set_aside(target: Path, now: datetime) -> Path:
    """Move the side files, which must never meet another database, and give the database a second name."""
    aside = target.with_name(f"{target.name}.before-restore-{now:%Y%m%dT%H%M%S%fZ}")
    for suffix in _SIDE_FILES:
        with suppress(FileNotFoundError):
            Path(f"{target}{suffix}").rename(f"{aside}{suffix}")
    aside.hardlink_to(target)
    return aside


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
