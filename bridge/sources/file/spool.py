"""A file on its way in: copied whole, counted and hashed, unpacked, before anything of it is read.

What is read is our copy, so that nobody changes it meanwhile. Its name is the content's SHA-256, which it gets once it
is whole and on the disk: after a crash a copy that has its name is gone on with. Copying is done in steps, so that a
thread that must show signs of life can.
"""

import hashlib
import lzma
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from bridge.errors import SourceUnavailable
from bridge.sources.file.layout import FileRefused
from bridge.sources.file.places import PIECE_BYTES, Listed, Place

_GZIP = 31  # zlib's word for a gzip header with the largest window
_SYNC_BYTES = 256 << 20  # as much as a step may leave for the disk to catch up with
MEMOS = (".dbt", ".fpt")


@dataclass(frozen=True, slots=True)
class Spooled:
    """Our copy of a file."""

    path: Path  # unpacked
    digest: str  # SHA-256 of the file as it was given, with its memo file behind it
    size: int  # of the file as it was given
    came: int  # bytes that came, of the memo file too; of a copy that was found as many as were said


class Spool:
    """The folder of copies of one system.

    Args:
        folder: ours alone.
        limit_bytes: of one copy.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes

    def copy(self, place: Place, listed: Listed, beside: Listed | None) -> Iterator[Spooled | None]:
        """Copy a file, and its memo file, step by step; the last step gives the copy, the others None.

        Raises: FileRefused when it is too large, or no archive of one file; SourceUnavailable.
        """
        if listed.size > self._limit:
            raise FileRefused(f"it has {listed.size} bytes, more than may be taken")
        self._ready()
        hashed = hashlib.sha256()
        part = self._folder / "part"
        copies = {listed.name: part}
        if beside is not None:
            copies[beside.name] = part.with_suffix(Path(beside.name).suffix.lower())
        size = 0
        for name, path in copies.items():
            with _Writing(path) as file:
                for piece in place.pieces(name):
                    size += len(piece)
                    if size > self._limit:
                        it = "it" if path == part else "with its memo file it"
                        raise FileRefused(f"{it} is larger than may be taken")
                    hashed.update(piece)
                    file.write(piece)
                    yield None
        yield from self._unpack(part, listed.name)
        digest = hashed.hexdigest()
        final = self._folder / f"{digest}.data"
        for suffix in MEMOS:
            if part.with_suffix(suffix).exists():
                part.with_suffix(suffix).replace(final.with_suffix(suffix))
        part.replace(final)
        yield Spooled(final, digest, listed.size, size)

    def found(self, digest: str, size: int) -> Spooled | None:
        """The copy of a content; None where there is none any more."""
        path = self._folder / f"{digest}.data"
        return Spooled(path, digest, size, size) if path.is_file() else None

    def drop(self) -> None:
        """Remove every copy."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _ready(self) -> None:
        """An empty folder."""
        self.drop()
        try:
            self._folder.mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise _full(self._folder, error) from error

    def _unpack(self, part: Path, name: str) -> Iterator[None]:
        suffix = Path(name).suffix.lower()
        if suffix not in (".gz", ".zip"):
            return
        packed = part.with_suffix(".packed")
        part.replace(packed)
        made = 0
        with _Writing(part) as file:
            for piece in _gunzipped(packed) if suffix == ".gz" else _unzipped(packed):
                made += len(piece)
                if made > self._limit:
                    raise FileRefused("it is larger than may be taken, unpacked")
                file.write(piece)
                yield
        packed.unlink()


class _Writing:
    """A new file whose trouble is ours, not the source's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._unsynced = 0

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("wb", buffering=0)
        except OSError as error:
            raise _full(self._path, error) from error
        return self

    def write(self, piece: bytes) -> None:
        """All of a piece."""
        assert self._file is not None  # noqa: S101  entered
        view = memoryview(piece)
        try:
            while view:
                view = view[self._file.write(view) or 0 :]
            self._unsynced += len(piece)
            if self._unsynced >= _SYNC_BYTES:
                self._sync()
        except OSError as error:
            raise _full(self._path, error) from error

    def _sync(self) -> None:
        assert self._file is not None  # noqa: S101  entered
        os.fdatasync(self._file.fileno())
        self._unsynced = 0

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file is None:
            return
        try:
            if kind is None:
                self._sync()
        except OSError as error:
            raise _full(self._path, error) from error
        finally:
            self._file.close()


def _full(path: Path, error: OSError) -> SourceUnavailable:
    return SourceUnavailable(
        f"{path}: {error.strerror or error}", hint="Free disk space where the journal is: files are copied there first."
    )


def _gunzipped(path: Path) -> Iterator[bytes]:
    reader = zlib.decompressobj(_GZIP)
    with path.open("rb") as file:
        data = file.read(PIECE_BYTES)
        while data:
            try:
                yield reader.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise FileRefused("it is no gzip file, or a damaged one") from error
            data = reader.unconsumed_tail or (reader.unused_data if reader.eof else b"") or file.read(PIECE_BYTES)
            while reader.eof and data and not (data := data.lstrip(b"\0")):  # filled up, as blocks of tapes are
                data = file.read(PIECE_BYTES)
            if reader.eof and data:
                reader = zlib.decompressobj(_GZIP)  # gzip files may follow each other
    if not reader.eof:
        raise FileRefused("it is a gzip file that is cut short")


def _unzipped(path: Path) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1 or members[0].flag_bits & 1:
                raise FileRefused(f"it is a zip archive of {len(members)} files; expected one, without a password")
            with archive.open(members[0]) as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        ValueError,
        OSError,
    ) as error:
        raise FileRefused("it is no zip archive, or a damaged one") from error
