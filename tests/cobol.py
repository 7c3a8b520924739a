"""COBOL programs made from seeds: a copybook, and a GnuCOBOL program that writes records of known values under it.

GnuCOBOL is the oracle for where bytes stand and what they mean; the values it was told to move are the oracle for what
must be read back.
"""

import random
import shutil
import subprocess
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

Value = Decimal | float | str
RECORDS = 12
LAST_COLUMN = 72


def is_installed() -> bool:
    """Whether there is a compiler."""
    return shutil.which("cobc") is not None


@dataclass(slots=True)
class Written:
    """A copybook and the values of every record by column; numbers as Decimal, texts without blanks at their end."""

    copybook: str
    records: list[dict[str, Value]] = field(default_factory=list)
    moves: list[list[str]] = field(default_factory=list)  # statements of each record


class Maker:
    """Makes one copybook with all usages, groups, tables and views, from a seed."""

    def __init__(self, seed: int, *, variable: bool = False) -> None:
        self._random = random.Random(seed)  # noqa: S311  seeded, not secret
        self._lines: list[str] = []
        self._count = 0
        self._items: list[tuple[str, str, str, tuple[int, ...]]] = []  # name, kind, detail, sizes of its tables
        self._variable = variable

    def make(self) -> Written:
        """The copybook and what is moved."""
        self._line(1, "REC.")
        if self._variable:
            self._line(5, "N-ROWS PIC 9(2).")
        for _ in range(self._random.randint(6, 14)):
            self._any(5, ())
        if self._variable:
            self._line(5, "ROW-T OCCURS 0 TO 9 TIMES DEPENDING ON N-ROWS.")
            for _ in range(self._random.randint(1, 3)):
                self._elementary(10, (9,))
        made = Written("\n".join(self._lines) + "\n")
        for _ in range(RECORDS):
            self._record(made)
        return made

    def _line(self, level: int, rest: str) -> None:
        line = f"{' ' * 7}{' ' * (level // 5)}{level:02} {rest}"
        while len(line) > LAST_COLUMN:
            cut = line.rindex(" ", 0, LAST_COLUMN)
            self._lines.append(line[:cut])
            line = f"{' ' * 20}{line[cut:].strip()}"
        self._lines.append(line)

    def _name(self) -> str:
        self._count += 1
        return f"ITEM-{self._count}"

    def _any(self, level: int, sizes: tuple[int, ...]) -> None:
        choice = self._random.random()
        if choice < 0.15 and level < 15:
            times = self._random.randint(2, 3) if self._random.random() < 0.5 and len(sizes) < 2 else 0
            self._line(level, f"{self._name()}{f' OCCURS {times} TIMES INDEXED BY IX-{self._count}' if times else ''}.")
            for _ in range(self._random.randint(1, 3)):
                self._any(level + 5, (*sizes, times) if times else sizes)
        elif choice < 0.25:
            self._line(level, f"FILLER PIC X({self._random.randint(1, 5)}) VALUE SPACES.")
        elif choice < 0.32 and not sizes:
            name = self._name()
            self._line(level, f"{name} PIC X(6).")
            self._items.append((name, "text", "6", sizes))
            self._line(level, f"{self._name()} REDEFINES {name}.")
            self._line(level + 5, f"{self._name()} PIC X(2).")
            self._line(level + 5, "FILLER PIC X(4).")
        else:
            self._elementary(level, sizes)

    def _elementary(self, level: int, sizes: tuple[int, ...]) -> None:
        name = self._name()
        occurs = ""
        if self._random.random() < 0.15 and len(sizes) < 2:
            times = self._random.randint(2, 4)
            occurs, sizes = f" OCCURS {times} TIMES", (*sizes, times)
        kind, clause, detail = self._clause()
        self._line(level, f"{name}{occurs} {clause}.")
        if self._random.random() < 0.2 and kind == "text" and not sizes:
            self._line(88, f"IS-{name} VALUE 'A' 'B' THRU 'D'.")
        self._items.append((name, kind, detail, sizes))

    def _clause(self) -> tuple[str, str, str]:
        choose = self._random.choice
        if self._random.random() < 0.25:
            length = self._random.randint(1, 20)
            return "text", f"PIC X({length})", str(length)
        if self._random.random() < 0.1:
            return "float", f"{choose(['', 'USAGE '])}{choose(['COMP-1', 'COMP-2'])}", ""
        usage = choose(["", "", "COMP-3", "PACKED-DECIMAL", "COMP", "COMP-4", "BINARY", "COMP-5", "USAGE IS COMP-3"])
        is_binary = usage in ("COMP", "COMP-4", "BINARY", "COMP-5")
        signed = self._random.random() < 0.7
        whole, places = self._random.randint(1, 9 if is_binary else 16), self._random.choice([0, 0, 2, 3, 7])
        zeros = 0
        if not usage and self._random.random() < 0.2:  # GnuCOBOL 3.1 moves wrong digits into packed P pictures
            zeros, places = self._random.randint(1, 4), 0
            pic = f"9({whole}){'P' * zeros}"
        elif self._random.random() < 0.1:
            whole, places = 0, self._random.randint(1, 6)
            pic = f"V9({places})"
        else:
            pic = f"9({whole})" + (f"V9({places})" if places else "")
        sign = ""
        if signed and not usage:
            sign = choose(["", "", " SIGN LEADING", " SIGN IS TRAILING SEPARATE", " SIGN IS LEADING SEPARATE CHARACTER",
                           " TRAILING"])  # fmt: skip
        return (
            "number",
            f"PIC {'S' if signed else ''}{pic}{sign} {usage}".strip(),
            f"{signed:d} {whole} {places} {zeros}",
        )

    def _record(self, made: Written) -> None:
        values: dict[str, Value] = {}
        moves: list[str] = []
        rows = self._random.randint(0, 9) if self._variable else 9
        if self._variable:
            values["n_rows"] = Decimal(rows)
            moves.append(f"MOVE {rows} TO N-ROWS")
        for name, kind, detail, sizes in self._items:
            for index in _indexes(sizes):
                if self._variable and sizes[:1] == (9,) and index[0] > rows:
                    continue
                value, literal = self._value(kind, detail)
                place = f"{name}({' '.join(map(str, index))})" if index else name
                moves.append(f"MOVE {literal} TO {place}")
                values[name.lower().replace("-", "_") + "".join(f"_{one}" for one in index)] = value
        made.records.append(values)
        made.moves.append(moves)

    def _value(self, kind: str, detail: str) -> tuple[Value, str]:
        if kind == "text":
            letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ abcdefghijklmnopqrstuvwxyz0123456789.,-+/%"
            text = "".join(self._random.choices(letters, k=self._random.randint(1, int(detail))))
            return text.rstrip(" "), f'"{text}"'
        if kind == "float":
            number = self._random.randint(-(1 << 20), 1 << 20) / 64
            return number, f"{number:.6f}"
        signed, whole, places, zeros = map(int, detail.split())
        digits = self._random.choice([whole + places, self._random.randint(1, whole + places)])
        count = self._random.randint(0, 10**digits - 1)
        value = Decimal(count).scaleb(zeros - places)
        if signed and self._random.random() < 0.5:
            value = -value
        return value, f"{value:f}"


def _indexes(sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = [()]
    for size in sizes:
        found = [(*one, number) for one in found for number in range(1, size + 1)]
    return found


def write(folder: Path, made: Written, *, organization: str = "SEQUENTIAL", varying: bool = False) -> Path:
    """Compile and run the program that writes the records; returns the file it wrote."""
    (folder / "rec.cpy").write_text(made.copybook)
    statements = "\n".join(
        "\n".join(f"           {move}." if len(move) < 54 else _split(move) for move in moves)
        + "\n           WRITE REC."
        for moves in made.moves
    )
    vary = "\n           RECORD IS VARYING IN SIZE FROM 1 TO 9999 DEPENDING ON RL" if varying else ""
    working = "\n       WORKING-STORAGE SECTION.\n       01 RL PIC 9(6) COMP-5." if varying else ""
    lengths = "           MOVE LENGTH OF REC TO RL.\n" if varying else ""
    statements = statements.replace("           WRITE REC.", lengths + "           WRITE REC.")
    program = f"""\
       IDENTIFICATION DIVISION.
       PROGRAM-ID. WRITER.
       ENVIRONMENT DIVISION.
       INPUT-OUTPUT SECTION.
       FILE-CONTROL.
           SELECT F ASSIGN TO "out.dat"
           ORGANIZATION IS {organization}.
       DATA DIVISION.
       FILE SECTION.
       FD F{vary}.
       COPY "rec.cpy".{working}
       PROCEDURE DIVISION.
           OPEN OUTPUT F.
           INITIALIZE REC.
{statements}
           CLOSE F.
           STOP RUN.
"""
    (folder / "writer.cob").write_text(program)
    for command in (["cobc", "-x", "-O0", "-o", "writer", "writer.cob"], ["./writer"]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{made.copybook}"
    return folder / "out.dat"


def _split(move: str) -> str:
    """A long statement over two lines."""
    literal, target = move.rsplit(" TO ", 1)
    return f"           {literal}\n             TO {target}."


def plain(value: Any) -> Any:  # noqa: ANN401  whatever a column gives
    """A value as the maker has it."""
    return Decimal(value) if isinstance(value, int) else value
