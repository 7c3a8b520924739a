"""A folder with files, a source over it driven by hand, and a daemon that takes from it."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bridge.contract import document
from bridge.errors import BridgeError
from bridge.model import Commit, Position, Window
from bridge.sources.file import layoutfile
from bridge.sources.file.dumps import Comparing
from bridge.sources.file.mapping import RecordMapper
from bridge.sources.file.places import Folder, Place
from bridge.sources.file.source import FileSource
from bridge.sources.file.steps import Outcome, Settings
from bridge.testing import MemoryJournal
from tests.inbox import SentDaemon

COPYBOOK = """\
       01  ARTICLE.
           05  ID                PIC 9(9) COMP-3.
           05  NAME              PIC X(10).
           05  AMOUNT            PIC S9(7) COMP-3.
"""
LENGTH = 19
LAYOUT = "copybook: article.cpy\ncodepage: cp037\n"
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: shop-articles
version: 1.0.0
status: active
description: {purpose: What is on the shelf.}
slaProperties: [{property: errorRate, value: 1, unit: percent}]
schema:
  - name: articles
    logicalType: object
    properties:
      - {name: id, description: Its number., logicalType: integer, primaryKey: true, primaryKeyPosition: 1}
      - {name: name, description: What it is called., logicalType: string}
      - {name: amount, description: How many there are., logicalType: integer,
         customProperties: [{property: bridge.unit, value: piece}]}
"""


def record(number: int, *, name: str = "", amount: int = 1) -> bytes:
    """One article as a mainframe writes it."""
    key = bytes.fromhex(f"{number:09d}f")
    sign = "d" if amount < 0 else "c"
    return key + (name or f"N{number}").ljust(10).encode("cp037") + bytes.fromhex(f"{abs(amount):07d}{sign}")


def content(numbers: Sequence[int]) -> bytes:
    """A file of articles."""
    return b"".join(map(record, numbers))


def put(folder: Path, name: str, data: bytes) -> Path:
    """A file, there all at once."""
    folder.mkdir(exist_ok=True)
    part = folder / f".{name}.part"
    part.write_bytes(data)
    return part.rename(folder / name)


class Driven:
    """A source of articles over `drop` below a folder, with the smallest journal there is."""

    def __init__(
        self,
        folder: Path,
        *,
        layout: str = LAYOUT,
        pattern: str = "A*.DAT",
        compares: Comparing | None = None,
        place: Callable[[], Place] | None = None,
        **settings: Any,  # noqa: ANN401  keys of Settings
    ) -> None:
        self.folder = folder
        self.compares = compares
        self.drop = folder / "drop"
        self.drop.mkdir(exist_ok=True, parents=True)
        self.place = place or partial(Folder, self.drop)
        (folder / "article.cpy").write_text(COPYBOOK)
        (folder / "layout.yaml").write_text(layout)
        (folder / "contract.yaml").write_text(CONTRACT)
        self.settings = Settings(
            **{"patterns": {"articles": pattern}, "spool": folder / "spool", "settle_s": 0, "poll_s": 0.001, **settings}
        )
        self.position: Position | None = None
        self.state: dict[str, Any] = {}
        self.store = MemoryJournal()
        self.received: set[str] = set()
        self.windows: list[Window] = []
        self.outcomes: list[Outcome] = []
        self.restart()

    def restart(self) -> None:
        """A new process at the journal's position."""
        layout = layoutfile.load(self.folder / "layout.yaml")
        contract = document.load(self.folder / "contract.yaml")
        mappers = {
            stream: RecordMapper.of(stream, f"host/{pattern}", layout, contract)
            for stream, pattern in self.settings.patterns.items()
        }
        self.source = FileSource(
            "host",
            self.settings,
            mappers,
            place=self.place,
            known=lambda ids: self.received & set(ids),
            count=self.outcomes.append,
            compares={"articles": self.compares} if self.compares else {},
            images=self.store.image,
        )
        self.source.open(self.position, self.state)

    def window(self) -> Window | None:
        """The next window, not journalled; None when there is nothing to do."""
        for _ in range(50):
            window = self.source.read(0.002, is_busy=lambda: False)
            if window is not None:
                return window
        return None

    def journal(self, window: Window) -> None:
        """Store a window, and tell the source."""
        assert self.position is None or self.position <= window.position
        assert window.position != self.position or window.state != self.state
        self.windows.append(window)
        self.position, self.state = window.position, json.loads(json.dumps(window.state))
        self.received |= set(window.received)
        self.store.append(Commit("host", window.position, window.state, extracted=window.extracted))
        self.source.confirm(window.position)

    def run(self) -> None:
        """Take everything there is."""
        while (window := self.window()) is not None:
            self.journal(window)

    def renew(self, lost: BridgeError) -> None:
        """Begin a new epoch, as the pump does."""
        self.source.close()
        self.journal(self.source.renew(self.position, self.state, lost.detail))
        self.source.open(self.position, self.state)

    def rows(self) -> list[tuple[Any, ...]]:
        """Every row that was journalled."""
        return [
            row
            for window in self.windows
            for batch in window.batches
            if batch.shape.columns
            for row in zip(*(batch.columns.column(name).to_pylist() for name in ("id", "name", "amount")), strict=True)
        ]

    def told(self, *, after: int = 0) -> list[tuple[str, int | None, int | None]]:
        """What was journalled: letter of the op, number and amount, without the first `after`."""
        return [
            (chr(op), number, amount)
            for window in self.windows
            for batch in window.batches
            for op, number, amount in zip(
                batch.changes.column("_op").to_pylist(),
                *(batch.columns.column(name).to_pylist() for name in ("id", "amount")),
                strict=True,
            )
        ][after:]

    def ids(self) -> list[int]:
        """The numbers of every article that was journalled."""
        return [row[0] for row in self.rows()]

    def archived(self) -> list[str]:
        """What lies in the archive."""
        return sorted(path.name for path in (self.drop / "archive").iterdir())

    def names(self) -> list[str]:
        """What lies in the folder."""
        return sorted(path.name for path in self.drop.iterdir() if path.is_file())


class FileDaemon(SentDaemon):
    """A daemon that takes articles from files in `drop` below its folder."""

    def __init__(self, folder: Path, **file: Any) -> None:  # noqa: ANN401  keys of the system's section
        self.drop = folder / "drop"
        self.drop.mkdir()
        section = {"folder": "drop", "settle_s": 0, "poll_s": 0.05, **file}
        if "sftp" in file:
            del section["folder"]
        super().__init__(folder, {"host": {"file": section}})
        (folder / "article.cpy").write_text(COPYBOOK)
        (folder / "article.yaml").write_text(LAYOUT)
        self.add_stream("articles", system="host", file="A*.DAT", layout="article.yaml")
        self.write()

    def archived(self) -> list[str]:
        """Names in the archive."""
        archive = self.drop / "archive"
        return sorted(path.name for path in archive.iterdir()) if archive.is_dir() else []
