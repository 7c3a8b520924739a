"""A disk that can lose power: what was written but not synced is lost, kept or torn, sector by sector.

`RecordingDisk` is a SQLite VFS over the real one. It records every write, sync, truncation and deletion in order;
`image` then says what the disk may hold when the power fails at any moment: everything synced, and of the rest
whatever chance decides, in units of 512 bytes.
"""

import random
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import apsw

SECTOR = 512
_REAL = "unix"  # SQLite's own file system


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to one file."""

    what: Literal["write", "truncate", "sync", "delete"]
    file: str
    offset: int = 0  # or the new size
    data: bytes = b""


class _RecordedFile(apsw.VFSFile):
    def __init__(self, disk: "RecordingDisk", name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(_REAL, name, flags)
        self._disk = disk
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else str(name)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  # SQLite's name
        super().xWrite(data, offset)
        self._disk.steps.append(Step("write", self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802  # SQLite's name
        super().xTruncate(newsize)
        self._disk.steps.append(Step("truncate", self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802  # SQLite's name
        super().xSync(flags)
        self._disk.steps.append(Step("sync", self._name))


class RecordingDisk(apsw.VFS):
    """SQLite's default file system for as long as the context lasts."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        super().__init__(f"recording-{id(self)}", _REAL, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  # SQLite's name
        return _RecordedFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802  # SQLite's signature
        super().xDelete(filename, syncdir)
        self.steps.append(Step("delete", filename))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unregister()


def image(steps: list[Step], chance: random.Random) -> dict[str, bytes]:
    """Names and contents of the files after a power loss right after the last step."""
    synced: dict[str, bytearray] = {}
    unsynced: dict[str, list[Step]] = {}
    for step in steps:
        if step.what == "sync":
            for waiting in unsynced.pop(step.file, []):
                _apply(synced.setdefault(step.file, bytearray()), waiting)
        elif step.what == "delete":
            synced.pop(step.file, None)
            unsynced.pop(step.file, None)
        else:
            unsynced.setdefault(step.file, []).append(step)
    for file, waiting_steps in unsynced.items():
        for waiting in waiting_steps:
            for fate in _fates(waiting, chance):
                _apply(synced.setdefault(file, bytearray()), fate)
    return {file: bytes(content) for file, content in synced.items()}


def _fates(step: Step, chance: random.Random) -> list[Step]:
    """What reaches the disk of an unsynced step: nothing, all, or some of its sectors."""
    fate = chance.choice(("lose", "keep", "tear"))
    if fate == "lose":
        return []
    if fate == "keep" or step.what == "truncate":
        return [step]
    return [
        Step("write", step.file, step.offset + at, step.data[at : at + SECTOR])
        for at in range(0, len(step.data), SECTOR)
        if chance.random() < 0.5
    ]


def _apply(content: bytearray, step: Step) -> None:
    if step.what == "truncate":
        del content[step.offset :]
        return
    end = step.offset + len(step.data)
    content.extend(bytes(max(0, end - len(content))))
    content[step.offset : end] = step.data


def lay_out(files: dict[str, bytes], folder: Path) -> None:
    """Write an image into an empty folder."""
    for name, content in files.items():
        (folder / Path(name).name).write_bytes(content)
