"""The copybook decoder reads back exactly what GnuCOBOL programs write, for copybooks made from seeds."""

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.sources.file import layoutfile
from bridge.sources.file.layout import Format, Rows
from tests import cobol

if not cobol.is_installed() and not os.environ.get("CI"):
    pytest.skip("cobc (Debian's gnucobol) is not installed", allow_module_level=True)


def opened(folder: Path, **keys: str) -> Format:
    lines = ["copybook: rec.cpy", *(f"{key}: {value}" for key, value in keys.items())]
    path = folder / "layout.yaml"
    path.write_text("\n".join(lines) + "\n")
    return layoutfile.load(path).begin(folder / "out.dat")


def read(format_: Format, data: bytes) -> Rows:
    return format_.rows(format_.frame(data, at_end=True), [shown.name for shown in format_.shown])


def assert_read_back(rows: Rows, records: list[dict[str, cobol.Value]]) -> None:
    assert rows.faults == {}
    assert len(rows.numbers) == len(records)
    columns: dict[str, list[Any]] = {name: values.to_pylist() for name, values in rows.columns.items()}
    unreadable = {name: set(marks.rows.tolist()) for name, marks in rows.marks.items()}
    for row, record in enumerate(records):
        for name, expected in record.items():
            assert row not in unreadable.get(name, ()), (name, row)
            assert cobol.plain(columns[name][row]) == expected, (name, row)


@pytest.mark.parametrize("seed", range(10))
def test_what_a_program_writes_is_read_back(seed: int, tmp_path: Path) -> None:
    made = cobol.Maker(seed).make()
    data = cobol.write(tmp_path, made).read_bytes()
    assert_read_back(read(opened(tmp_path), data), made.records)


@pytest.mark.parametrize("seed", range(100, 103))
def test_tables_of_variable_size_are_read_back(seed: int, tmp_path: Path) -> None:
    made = cobol.Maker(seed, variable=True).make()
    data = cobol.write(tmp_path, made, varying=True).read_bytes()
    rows = read(opened(tmp_path, record="varseq"), data)
    assert_read_back(rows, made.records)
    beyond = [name for name in rows.columns if name not in made.records[0] and name.startswith("item")]
    assert all(rows.columns[name][0].as_py() is None for name in beyond if made.records[1:] and name.endswith("_9"))


def test_line_sequential_records_are_read_back(tmp_path: Path) -> None:
    copybook = (
        "       01 REC.\n          05 ITEM-1 PIC X(9).\n          05 ITEM-2 PIC 9(4).\n          05 ITEM-3 PIC X(5).\n"
    )
    made = cobol.Written(copybook)
    for number in range(30):
        made.records.append({"item_1": f"row {number}", "item_2": Decimal(number), "item_3": "x" * (number % 5)})
        made.moves.append(
            [
                f'MOVE "row {number}" TO ITEM-1',
                f"MOVE {number} TO ITEM-2",
                f'MOVE "{"x" * (number % 5) or " "}" TO ITEM-3',
            ]
        )
    data = cobol.write(tmp_path, made, organization="LINE SEQUENTIAL").read_bytes()
    assert_read_back(read(opened(tmp_path, record="lines"), data), made.records)


def test_a_record_in_pieces_is_the_record_whole(tmp_path: Path) -> None:
    made = cobol.Maker(3).make()
    data = cobol.write(tmp_path, made).read_bytes()
    format_ = opened(tmp_path)
    whole = read(format_, data)
    taken, at = [], 0
    while at < len(data):
        frames = format_.frame(data[at : at + 200 + at % 7], at_end=at + 200 + at % 7 >= len(data))
        taken.append(format_.rows(frames, list(whole.columns)))
        at += frames.end or 1
    for name, column in whole.columns.items():
        assert np.concatenate([rows.columns[name].to_pylist() for rows in taken]).tolist() == column.to_pylist()
