"""Where files are left for us: a folder here, or one behind a protocol.

A place is used by one thread. It lists plain files, hands out their bytes in pieces, and puts a file away when it is
done with. Nothing is ever written into a file.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bridge.errors import SourceUnavailable
from bridge.resilience.failpoint import reach

PIECE_BYTES = 4 << 20
_MOST_COPIES = 1_000_000
_FIRST_NS, _LAST_NS = -62_135_596_800 * 10**9, 253_402_300_800 * 10**9  # from 1970 on
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
UNTOLD_NS = -(10**30)  # for a time, or the size beside it, that a server does not tell


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as its folder shows it; two looks that show the same have seen the same file."""

    name: str
    size: int  # bytes
    mtime_ns: int  # of its last change

    @property
    def shown(self) -> str:
        """Its name for people: what is no text in it is escaped."""
        return self.name.encode(errors="backslashreplace").decode()

    @property
    def oddity(self) -> str | None:
        """Why the journal could not speak of it, if so."""
        if self.shown != self.name:
            return "its name is no UTF-8; have it named otherwise"
        if self.mtime_ns == UNTOLD_NS:
            return "the server does not say how large it is or when it was changed"
        if not _FIRST_NS <= self.mtime_ns < _LAST_NS:
            return "its time of change is in none of the years 1 to 9999; have it written anew"
        return None


class Place(Protocol):
    """A folder with files. Every method raises SourceUnavailable where it cannot be reached or does not allow it."""

    def look(self) -> list[Listed]:
        """Every plain file whose name begins with no dot."""

    def stat(self, name: str) -> Listed | None:
        """One file; None where there is none."""

    def pieces(self, name: str) -> Iterator[bytes]:
        """A file's bytes, in order."""

    def archive(self, name: str, folder: str) -> str:
        """Move a file into a folder, under its name or one with a number; returns where it is."""

    def delete(self, name: str) -> None:
        """Remove a file; nothing happens where there is none."""

    def interrupt(self) -> None:
        """End what is being asked now; callable from any thread."""

    def close(self) -> None:
        """Release what is held; callable twice."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of this machine."""

    path: Path

    def look(self) -> list[Listed]:
        """See the port."""
        found = []
        with self._reached(), os.scandir(self.path) as entries:
            for entry in entries:
                if entry.name.startswith(".") or not entry.is_file(follow_symlinks=False):
                    continue
                with suppress(FileNotFoundError):  # renamed by its writer in this very moment
                    seen = entry.stat(follow_symlinks=False)
                    found.append(Listed(entry.name, seen.st_size, seen.st_mtime_ns))
        return found

    def stat(self, name: str) -> Listed | None:
        """See the port."""
        with self._reached():
            try:
                seen = (self.path / name).stat(follow_symlinks=False)
            except FileNotFoundError:
                return None
        return Listed(name, seen.st_size, seen.st_mtime_ns) if stat.S_ISREG(seen.st_mode) else None

    def pieces(self, name: str) -> Iterator[bytes]:
        """See the port."""
        with self._reached():
            opened = os.open(self.path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(opened, "rb", buffering=0) as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece

    def archive(self, name: str, folder: str) -> str:
        """See the port."""
        with self._reached():
            target = self.path / folder
            target.mkdir(parents=True, exist_ok=True)
            place = self._put(self.path / name, target)
            _sync(target)
            reach("file.linked")
            (self.path / name).unlink(missing_ok=True)
            _sync(self.path)
        return str(place)

    def _put(self, file: Path, target: Path) -> Path:
        """Link a file into a folder, never over another one; moved, where the file system has no links."""
        while True:
            place = target / free_name(file.name, str(target), lambda name: _is_other(target / name, file))
            try:
                os.link(file, place, follow_symlinks=False)
            except FileExistsError:
                if _is_other(place, file):  # somebody was quicker
                    continue
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if os.path.lexists(place):
                    continue
                file.rename(place)
            return place

    def delete(self, name: str) -> None:
        """See the port."""
        with self._reached():
            (self.path / name).unlink(missing_ok=True)

    def interrupt(self) -> None:
        """See the port; nothing takes long here."""

    def close(self) -> None:
        """See the port."""

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = error.filename2 or error.filename or self.path
            hint = "Check that the folder is there, mounted, and open to the daemon's user."
            if error.errno == errno.EXDEV:
                hint = "Give an `archive` on the file system of the folder, or set `after` to delete or leave."
            raise SourceUnavailable(f"folder {self.path}: {place}: {error.strerror or error}", hint=hint) from error


def free_name(name: str, folder: str, is_taken: Callable[[str], bool]) -> str:
    """A name that is free in an archive: the file's own, else with a number behind it.

    Numbers are given one after the other, so that a few looks find the end of many.
    Raises: SourceUnavailable where there are too many.
    """

    def named(number: int) -> str:
        return f"{name}.{number}" if number else name

    taken, free = -1, 0
    while is_taken(named(free)):
        taken, free = free, 2 * free + 1
        if free > _MOST_COPIES:
            raise SourceUnavailable(f"{folder} holds {_MOST_COPIES} files called {name}", hint="Empty the archive.")
    while free - taken > 1:
        middle = (taken + free) // 2
        taken, free = (middle, free) if is_taken(named(middle)) else (taken, middle)
    return named(free)


def _is_other(place: Path, file: Path) -> bool:
    """Whether a name leads to another file: not to this one, linked and not yet removed when we died."""
    try:
        return not os.path.samestat(place.lstat(), file.lstat())
    except FileNotFoundError:
        return False


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
