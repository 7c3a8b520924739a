"""A mainframe beside the ERP: what the warehouse received, exported as files in EBCDIC with packed decimals.

`python -m demo.mainframe --folder FOLDER --oracle FILE --seconds S [--seed K]` delivers a file every few seconds, each
written whole under another name and then renamed. One record has blanks where a packed number belongs, and one
file comes a second time under another name. The oracle file, JSON Lines, says what was delivered: per file its name and
its records by key, null for the one that nobody can read.
"""

import argparse
import itertools
import json
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path

from demo.oracle import Row

CODEPAGE = "cp037"
EVERY_S = 2.0
FEWEST = 4  # files, however short the day
RECORDS = 50  # of a file
SPOILT = 2  # the file that has the bad record
TWICE = 3  # the file that is delivered again
VENDORS = ("CAFÉ SUPPLY", "MÜLLER & SÖHNE", "ACME TOOLS", "PEÑA HERMANOS")


@dataclass(frozen=True, slots=True)
class Goods:
    """One receipt, as texts; the names are those of goods.cpy."""

    gr_receipt: str
    gr_item: str
    gr_date: str  # CYYMMDD
    gr_qty: str
    gr_cost: str
    gr_vendor: str


def record(goods: Goods, *, is_spoilt: bool = False) -> bytes:
    """The 58 bytes of a receipt; spoilt, its quantity is blanks."""
    quantity = packed(goods.gr_qty, digits=11, places=3)
    return b"".join(
        (
            goods.gr_receipt.zfill(9).encode(CODEPAGE),
            goods.gr_item.ljust(12).encode(CODEPAGE),
            packed(goods.gr_date, digits=7, plus="F"),
            " ".encode(CODEPAGE) * len(quantity) if is_spoilt else quantity,
            packed(goods.gr_cost, digits=13, places=4),
            goods.gr_vendor.ljust(20).encode(CODEPAGE),
        )
    )


def packed(text: str, *, digits: int, places: int = 0, plus: str = "C") -> bytes:
    """A decimal with two digits to a byte and its sign in the last half; `digits` is odd."""
    number = Decimal(text)
    return bytes.fromhex(f"{int(abs(number).scaleb(places)):0{digits}}" + ("D" if number < 0 else plus))


def receive(receipt: int, chance: random.Random) -> Goods:
    """A delivery; one in ten is sent back."""
    sign = "-" if chance.random() < 0.1 else ""
    return Goods(
        gr_receipt=str(receipt),
        gr_item=f"I{chance.randrange(10_000):07}",
        gr_date=f"1{chance.randrange(20, 27)}{chance.randrange(1, 13):02}{chance.randrange(1, 29):02}",
        gr_qty=f"{sign}{chance.randrange(1, 99_999_999)}.{chance.randrange(1000):03}",
        gr_cost=f"{chance.randrange(999_999_999)}.{chance.randrange(10_000):04}",
        gr_vendor=chance.choice(VENDORS),
    )


def deliver(folder: Path, name: str, content: bytes) -> None:
    """Put a file into the folder, whole."""
    unfinished = folder / f".{name}"
    unfinished.write_bytes(content)
    unfinished.rename(folder / name)


def play(folder: Path, oracle_file: Path, *, seconds: float, seed: int) -> None:
    """Deliver a day's files.

    Args:
        folder: where they go.
        oracle_file: the new file that says what was delivered.
        seconds: how long the day is.
        seed: of the random sequence.
    """
    chance, receipts = random.Random(seed), itertools.count(1)
    count = max(FEWEST, round(seconds / EVERY_S))
    begin = time.monotonic()
    with oracle_file.open("x", encoding="utf-8") as noted:
        for number in range(1, count + 1):
            time.sleep(max(0.0, begin + seconds * number / count - time.monotonic()))
            goods = [receive(receipt, chance) for receipt in itertools.islice(receipts, RECORDS)]
            spoilt = RECORDS // 2 if number == SPOILT else None
            content = b"".join(record(each, is_spoilt=at == spoilt) for at, each in enumerate(goods))
            name = f"RCV{number:06}"
            deliver(folder, f"{name}.DAT", content)
            if number == TWICE:
                deliver(folder, f"{name}_AGAIN.DAT", content)
            records = {each.gr_receipt: None if at == spoilt else asdict(each) for at, each in enumerate(goods)}
            noted.write(json.dumps({"file": f"{name}.DAT", "records": records}) + "\n")


def delivered(oracle_file: Path) -> list[tuple[str, Row | None]]:
    """Key and row of every record that was delivered, in order; no row for one that nobody can read."""
    found: list[tuple[str, Row | None]] = []
    for line in oracle_file.read_text(encoding="utf-8").splitlines():
        records: Mapping[str, Row | None] = json.loads(line)["records"]
        found += records.items()
    return found


def main() -> int:
    """Run from the command line."""
    arguments = argparse.ArgumentParser(prog="demo.mainframe", description="Deliver files beside the demo ERP.")
    arguments.add_argument("--folder", type=Path, required=True, help="where the files go")
    arguments.add_argument("--oracle", type=Path, required=True, help="the new file to write what was delivered")
    arguments.add_argument("--seconds", type=float, default=30, help="how long (default 30)")
    arguments.add_argument("--seed", type=int, default=1, help="of the random sequence (default 1)")
    given = arguments.parse_args()
    play(given.folder, given.oracle, seconds=given.seconds, seed=given.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
