"""SQLite's failures as the bridge's own, translated in one place."""

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from bridge.errors import BridgeError, InternalError, JournalCorrupt, JournalUnavailable

# The disk or another process says no; whoever called tries again later.
UNAVAILABLE = (
    apsw.FullError,
    apsw.IOError,
    apsw.CantOpenError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.ReadOnlyError,
    apsw.PermissionsError,
    apsw.NoMemError,
    apsw.InterruptError,
    apsw.ProtocolError,
    apsw.SchemaChangeError,
    OSError,
)
# The file is not what was written. Our statements are fixed and the schema is known, so an error in SQL or a text that
# cannot be decoded means that the schema or the text is damaged.
CORRUPT = (apsw.CorruptError, apsw.NotADBError, apsw.FormatError, apsw.SQLError, UnicodeDecodeError)


def translate(error: Exception, what: str) -> BridgeError:
    """The bridge's error for one of SQLite's or the file system's; what is not listed is a mistake of ours."""
    reason = "" if isinstance(error, UnicodeDecodeError) else f": {error}"  # its text would show stored bytes
    detail = f"{what}: {type(error).__name__}{reason}"
    if isinstance(error, CORRUPT):
        return JournalCorrupt(detail)
    if isinstance(error, UNAVAILABLE):
        return JournalUnavailable(detail)
    return InternalError(detail)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise what SQLite and the file system raise as BridgeError.

    Args:
        what: what was being done to which file, for the operator.
    """
    try:
        yield
    except (apsw.Error, OSError, UnicodeDecodeError) as error:
        raise translate(error, what) from error
