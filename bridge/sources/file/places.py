"""Where files are left for us: a folder here, or one behind a protocol.

A place is used by one thread. It lists plain files, hands out their bytes in pieces, and puts a file away when it is
done with. Nothing is ever written into a file.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bridge.errors import SourceUnavailable
from bridge.resilience.failpoint import reach

PIECE_BYTES = 4 << 20
_MOST_COPIES = 1000
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as its folder shows it; two looks that show the same have seen the same file."""

    name: str
    size: int  # bytes
    mtime_ns: int  # of its last change


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
        with self._reached(), os.scandir(self.path) as entries:
            found = [
                (entry.name, entry.stat(follow_symlinks=False))
                for entry in entries
                if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False)
            ]
        return [Listed(name, seen.st_size, seen.st_mtime_ns) for name, seen in found]

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
            opened = os.open(self.path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(opened, "rb", buffering=0) as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece

    def archive(self, name: str, folder: str) -> str:
        """See the port."""
        with self._reached():
            target = self.path / folder
            target.mkdir(parents=True, exist_ok=True)
            for number in range(_MOST_COPIES):
                place = target / (f"{name}.{number}" if number else name)
                try:
                    os.link(self.path / name, place, follow_symlinks=False)  # never over another file
                except FileExistsError:
                    if place.samefile(self.path / name):  # linked, and not yet removed when we died
                        break
                    continue
                except OSError as error:
                    if error.errno not in _NO_LINKS:
                        raise
                    if place.exists():
                        continue
                    (self.path / name).rename(place)  # a file system without links
                break
            else:
                raise SourceUnavailable(f"{target} holds {_MOST_COPIES} files called {name}", hint="Empty the archive.")
            _sync(target)
            reach("file.linked")
            (self.path / name).unlink(missing_ok=True)
            _sync(self.path)
        return str(place)

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
            raise SourceUnavailable(
                f"folder {self.path}: {error.strerror or error}",
                hint="Check that the folder is there, mounted, and open to the daemon's user.",
            ) from error


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
