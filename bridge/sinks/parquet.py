"""Sink `parquet`: a data set of files FOLDER/STREAM/vMAJOR/date=YYYY-MM-DD/FIRST-LAST.parquet.

Promises: under its name a file is complete and synced, so readers may read while it is written; no event is lost or
doubled, whenever the process dies. The files are the cursor: their names say how far the folder holds each stream. Rows
that files hold already (a repeated call, a replay) are left out. One parcel may need several files, one a date; a
list of them is synced first, and whoever opens the folder next brings them all under their names.

What it does not do: compact small files, delete old ones, guard against other programs that write to its folder.
"""

import asyncio
import fcntl
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bridge import export
from bridge.errors import BridgeError, InternalError, SinkRefused, SinkUnavailable
from bridge.parcel import Form, Parcel, Rows
from bridge.resilience.failpoint import reach

_DIGITS = 20  # of a sequence number in a file's name, so that names sort
_NAME = re.compile(r"(\d{20})-(\d{20})\.parquet")
_FOLDERS = re.compile(r"v\d{1,9}/date=\d{4,}-\d\d-\d\d")
_MAJOR = re.compile(r"(\d{1,9})\.\d+\.\d+([-+].*)?")
_LIST = ".list"  # of the files of one parcel that are complete under their temporary names
_LOCK = ".lock"
_ROOM = "Make room or mend the disk below the folder; delivery resumes by itself."


@dataclass(frozen=True, slots=True)
class _File:
    """One file of a parcel, complete under its temporary name."""

    folder: str  # below the stream's, "v1/date=2026-11-02"
    name: str

    @property
    def temporary(self) -> str:
        """Hidden, and not of the kind that readers look for."""
        return f".{self.name}.tmp"


class ParquetSink:
    """The data set in one folder; one sink owns it.

    Args:
        name: as in the configuration.
        folder: where the data set is; made when it is missing.
        compression: of columns.
    """

    wants: Form = "columns"
    is_atomic = True

    def __init__(self, name: str, folder: Path, *, compression: Literal["zstd", "snappy", "none"] = "zstd") -> None:
        self.name = name
        self._folder = folder
        self._compression = compression
        self._held: dict[str, int] = {}  # by stream: the last number that a file has
        self._unsure: set[str] = set()  # streams whose last call failed somewhere
        self._made: set[Path] = set()  # folders that are there for good
        self._one_by_one = threading.Lock()  # a call that was cancelled may still be writing
        self._lock: int | None = None

    async def open(self) -> None:
        """Take the folder, finish what a crash interrupted, see how far it is. Raises: SinkUnavailable."""
        await asyncio.to_thread(self._open)

    async def send(self, parcel: Parcel) -> Mapping[int, BridgeError]:
        """Write the parcel's rows; see `ports.Sink`. All or none: no row fails alone."""
        if parcel.rows is None:
            raise InternalError(f"sink {self.name}: a parcel without columns")
        await asyncio.to_thread(self._send, parcel.rows)
        return {}

    def stands_at(self, stream: str) -> int | None:
        """The last number that the folder holds; None for a stream without files."""
        return self._held.get(stream) or None

    async def close(self) -> None:
        """Give the folder free."""
        await asyncio.to_thread(self._close)

    # -- on a thread
    def _close(self) -> None:
        with self._one_by_one:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _open(self) -> None:
        with self._one_by_one, _disk(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            _sync(self._folder.parent)
            if self._lock is None:
                self._lock = _lock(self._folder)
            streams = [path.name for path in self._folder.iterdir() if path.is_dir() and path.name[0] != "."]
            self._held = {stream: _recover(self._folder / stream) for stream in streams}

    def _send(self, rows: Rows) -> None:
        with self._one_by_one, _disk(self._folder):
            if self._lock is None:
                raise SinkUnavailable(f"{self._folder} is not open")
            stream, folder, last = rows.stream, self._folder / rows.stream, int(rows.numbers[-1])
            if stream in self._unsure:
                self._held[stream] = _recover(folder)
            self._unsure.add(stream)
            held = self._held.get(stream, 0)
            if int(rows.numbers[0]) <= held:
                rows = _missing(rows, folder)
            if rows.row_count:
                self._store(rows, folder)
            self._held[stream] = max(held, last)
            self._unsure.discard(stream)

    def _store(self, rows: Rows, folder: Path) -> None:
        major, files = _major(rows), []
        for part, day in _by_date(rows):
            file = _File(f"v{major}/date={day}", _name(part))
            self._make(folder / file.folder)
            self._write(part, folder / file.folder / file.temporary)
            files.append(file)
        reach("parquet.written")
        if len(files) > 1:
            _note(folder, files)
        reach("parquet.noted")
        for file in files:
            _rename(folder, file)
            reach("parquet.named")
        if len(files) > 1:
            _forget(folder)

    def _make(self, folder: Path) -> None:
        """Make a folder of ours so that it survives power loss."""
        if folder == self._folder or (folder in self._made and folder.exists()):
            return
        self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)
        self._made.add(folder)

    def _write(self, rows: Rows, path: Path) -> None:
        """A complete file, synced, under its temporary name."""
        table = export.columns(rows)
        about = {"stream": rows.stream, "epoch": str(rows.epoch), "contract": rows.contract,
                 "withheld": ",".join(rows.withheld)}  # fmt: skip
        table = table.replace_schema_metadata({f"bridge.{key}": value for key, value in about.items()})
        try:
            with path.open("wb") as file:
                pq.write_table(table, file, compression=self._compression)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _by_date(rows: Rows) -> Iterator[tuple[Rows, date]]:
    """The rows of each UTC date of commit; those without one count by when they were journalled."""
    otherwise = (rows.journalled_at or datetime.now(UTC)).astimezone(UTC).date()
    days = pc.fill_null(rows.batch.column("_commit_at").cast(pa.date32()), pa.scalar(otherwise, pa.date32()))
    distinct = days.unique()
    if len(distinct) == 1:
        yield rows, distinct[0].as_py()
        return
    for day in distinct:
        yield rows.take(np.flatnonzero(pc.equal(days, day).to_numpy(zero_copy_only=False))), day.as_py()


def _major(rows: Rows) -> str:
    found = _MAJOR.fullmatch(rows.contract)
    if found is None:
        raise SinkRefused(f"{rows.stream}: the contract's version has no major number")
    return found[1]


def _name(rows: Rows) -> str:
    return f"{int(rows.numbers[0]):0{_DIGITS}}-{int(rows.numbers[-1]):0{_DIGITS}}.parquet"


def _missing(rows: Rows, folder: Path) -> Rows:
    """The rows that no file holds yet."""
    first, last = int(rows.numbers[0]), int(rows.numbers[-1])
    seen = [
        pq.read_table(path, columns=["_seq"], partitioning=None).column(0).to_numpy()
        for path, start, end in _files(folder)
        if start <= last and end >= first
    ]
    if not seen:
        return rows
    new = np.flatnonzero(~np.isin(rows.numbers, np.concatenate(seen)))
    return rows if new.size == rows.row_count else rows.take(new)


# -- the folder
def _files(folder: Path) -> Iterator[tuple[Path, int, int]]:
    """The files of a stream with the first and the last number of each."""
    for path in folder.glob("v*/date=*/*.parquet"):
        found = _NAME.fullmatch(path.name)
        if found is not None:
            yield path, int(found[1]), int(found[2])


def _recover(folder: Path) -> int:
    """Finish a parcel whose files were all complete, drop what is not; returns the last number that is held."""
    if noted := _noted(folder):
        for file in noted:
            with suppress(FileNotFoundError):  # it has its name already
                _rename(folder, file)
        _forget(folder)
    for path in folder.glob("v*/date=*/.*.tmp"):
        path.unlink()
    (folder / f"{_LIST}.tmp").unlink(missing_ok=True)
    return max((last for _, _, last in _files(folder)), default=0)


def _note(folder: Path, files: Sequence[_File]) -> None:
    """List complete files, so that all of them or none get their names."""
    draft = folder / f"{_LIST}.tmp"
    with draft.open("w", encoding="ascii") as out:
        json.dump([[file.folder, file.name] for file in files], out)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(folder / _LIST)
    _sync(folder)


def _noted(folder: Path) -> list[_File]:
    try:
        pairs = json.loads((folder / _LIST).read_text(encoding="ascii"))
    except FileNotFoundError:
        return []
    return [_File(where, name) for where, name in pairs if _FOLDERS.fullmatch(where) and _NAME.fullmatch(name)]


def _rename(folder: Path, file: _File) -> None:
    """Give a complete file its name, for good."""
    (folder / file.folder / file.temporary).replace(folder / file.folder / file.name)
    _sync(folder / file.folder)


def _forget(folder: Path) -> None:
    """Every file of the list has its name."""
    (folder / _LIST).unlink()
    _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> int:
    """Hold the folder against another writer until the descriptor is closed."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise SinkUnavailable(
            f"another process or sink writes to {folder}", hint="Stop it, or give this sink a folder of its own."
        ) from error
    return descriptor


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """What the file system refuses is tried again later. Raises: SinkUnavailable."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        what = error.strerror if isinstance(error, OSError) else None
        raise SinkUnavailable(f"{folder}: {what or type(error).__name__}", hint=_ROOM) from error
