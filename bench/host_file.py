"""``python -m bench.host_file columns|plain|source|read FOLDER RECORDS``: one run of one reader of a host's file."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import cobol_plain
from bridge.sources.file import layoutfile
from bridge.sources.file.layout import Flat
from bridge.sources.file.mapping import RecordMapper
from bridge.sources.file.places import Folder
from bridge.sources.file.reading import Reader
from bridge.sources.file.source import FileSource
from bridge.sources.file.steps import Settings

COPYBOOK = """\
       01  ORDER-REC.
           05  ORDER-NO          PIC 9(9)        COMP-3.
           05  CUSTOMER          PIC X(10).
           05  ORDER-DATE        PIC 9(8).
           05  STATUS-CODE       PIC X(2).
           05  AMOUNT            PIC S9(9)V99    COMP-3.
           05  TAX               PIC S9(7)V99    COMP-3.
           05  BALANCE           PIC S9(13)V9(4) COMP-3.
           05  QUANTITY          PIC S9(4)       COMP.
           05  WEIGHT            PIC S9(5)V99.
           05  WAREHOUSE         PIC 9(4).
           05  CITY              PIC X(20).
           05  NOTE              PIC X(27).
"""
FIELDS = 12
LENGTH = 5 + 10 + 8 + 2 + 6 + 5 + 9 + 2 + 7 + 4 + 20 + 27
LAYOUT = "copybook: order.cpy\ncodepage: cp037\n"
_CHUNK = 100_000


def make(folder: Path, count: int) -> None:
    """A file of so many records, with the layout beside it."""
    (folder / "order.cpy").write_text(COPYBOOK)
    (folder / "layout.yaml").write_text(LAYOUT)
    drop = folder / "drop"
    drop.mkdir()
    random = np.random.default_rng(1)
    with (drop / "ORDERS.DAT").open("wb") as file:
        for first in range(0, count, _CHUNK):
            file.write(_records(random, min(_CHUNK, count - first)))


def _records(random: np.random.Generator, count: int) -> bytes:
    made = np.full((count, LENGTH), 0x40, np.uint8)
    for offset, length in ((0, 5), (25, 6), (31, 5), (36, 9)):  # packed
        halves = random.integers(0, 10, (count, 2 * length), np.uint8)
        halves[:, -1] = 0xF if offset == 0 else random.choice(np.array([0xC, 0xD], np.uint8), count)
        made[:, offset : offset + length] = halves[:, 0::2] << 4 | halves[:, 1::2]
    for offset, length in ((15, 8), (47, 7), (54, 4)):  # zoned
        made[:, offset : offset + length] = random.integers(0xF0, 0xFA, (count, length), np.uint8)
    for offset, length in ((5, 10), (58, 20), (78, 27)):  # text
        made[:, offset : offset + length - 4] = random.integers(0xC1, 0xCA, (count, length - 4), np.uint8)
    made[:, 23:25] = np.frombuffer("OP".encode("cp037"), np.uint8)
    made[:, 45] = random.integers(0, 0x20, count, np.uint8)  # binary
    made[:, 46] = random.integers(0, 0x100, count, np.uint8)
    return made.tobytes()


def columns(folder: Path, _: int) -> dict[str, float]:
    """Every field of every record as a column."""
    started = time.perf_counter()
    reader = Reader(folder / "drop" / "ORDERS.DAT", layoutfile.load(folder / "layout.yaml"))
    wanted = tuple(shown.name for shown in reader.format.shown)
    count, at = 0, reader.start
    while (piece := reader.piece(at, wanted)) is not None:
        if piece.rows.marks or piece.rows.faults:
            raise ValueError("the bench's records are sound")
        count, at = count + piece.rows.frames.count, piece.next
    return {"rate": count / (time.perf_counter() - started)}


def plain(folder: Path, most: int) -> dict[str, float]:
    """Every field of the first records as a value of Python."""
    with (folder / "drop" / "ORDERS.DAT").open("rb") as file:
        data = file.read(most * LENGTH)
    found = layoutfile.load(folder / "layout.yaml").begin(folder)
    if not isinstance(found, Flat):
        raise TypeError("the bench's fields stand at places")
    started = time.perf_counter()
    count = sum(1 for _ in cobol_plain.records(data, LENGTH, found.record.fields, "cp037"))
    return {"rate": count / (time.perf_counter() - started)}


def source(folder: Path, _: int) -> dict[str, float]:
    """The file through the source, its windows thrown away."""
    layout = layoutfile.load(folder / "layout.yaml")
    wanted = tuple(shown.name for shown in layout.begin(folder).shown)
    taken = FileSource(
        "bench",
        Settings({"orders": "*.DAT"}, folder / "spool", settle_s=0, after="leave", poll_s=0.001),
        {"orders": RecordMapper("orders", "bench/*.DAT", layout, wanted)},
        place=lambda: Folder(folder / "drop"),
        known=lambda _ids: set(),
    )
    size = (folder / "drop" / "ORDERS.DAT").stat().st_size
    started = time.perf_counter()
    taken.open(None, {})
    done = 0
    while done < size:
        window = taken.read(0.5, is_busy=lambda: False)
        if window is not None:
            done += window.size_bytes
            taken.confirm(window.position)
    rate = size / 1e6 / (time.perf_counter() - started)
    taken.close()
    return {"rate": rate}


def read(folder: Path, _: int) -> dict[str, float]:
    """The file, thrown away."""
    path = folder / "drop" / "ORDERS.DAT"
    started = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.read(4 << 20):
            pass
    return {"rate": path.stat().st_size / 1e6 / (time.perf_counter() - started)}


READERS: dict[str, Callable[[Path, int], dict[str, float]]] = {
    "columns": columns, "plain": plain, "source": source, "read": read,
}  # fmt: skip


if __name__ == "__main__":
    kind, place, records = sys.argv[1:]
    print(json.dumps(READERS[kind](Path(place), 0 if records == "all" else int(records))))
