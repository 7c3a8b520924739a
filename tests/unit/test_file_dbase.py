"""dBase and FoxPro tables are read as dbfread, another reader, reads them."""

import struct
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from dbfread import DBF

from bridge.sources.file.layout import FileRefused
from tests.layouts import begun, rows_of

Columns = list[tuple[str, str, int, int]]  # name, type, length, decimals


def dbf(columns: Columns, records: list[bytes], *, version: int = 3, language: int = 0x03) -> bytes:
    start = 32 + 32 * len(columns) + 1
    length = 1 + sum(size for _, _, size, _ in columns)
    head = struct.pack("<BBBBIHH17xBxx", version, 125, 1, 31, len(records), start, length, language)
    parts = [
        struct.pack("<11sc4xBB14x", name.encode(), kind.encode(), size, places) for name, kind, size, places in columns
    ]
    return head + b"".join(parts) + b"\r" + b"".join(records) + b"\x1a"


PLAIN: Columns = [("NAME", "C", 8, 0), ("AMOUNT", "N", 9, 2), ("DAY", "D", 8, 0), ("PAID", "L", 1, 0)]
RECORDS = [
    " Müller      12.50".encode("cp1252") + b"20250131T",
    b"*Gone        -1.00" + b"20250131F",
    b" " + b" " * 17 + b"        ?",
]


def by_column(folder: Path, data: bytes, layout: str = "dbf: {}\n") -> dict[str, list[Any]]:
    rows = rows_of(begun(folder, layout, data, name="t.dbf"), data)
    assert rows.marks == {}
    return {name: column.to_pylist() for name, column in rows.columns.items()}


def test_a_table_is_read_as_another_reader_reads_it(tmp_path: Path) -> None:
    found = by_column(tmp_path, dbf(PLAIN, RECORDS))
    oracle = [dict(row) for row in DBF(tmp_path / "t.dbf", lowernames=True)]
    assert [float(value) if value is not None else None for value in found.pop("amount")] == [
        row.pop("amount") for row in oracle
    ]
    assert [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)] == oracle
    assert found["day"] == [date(2025, 1, 31), None]


def test_deleted_rows_are_taken_where_they_are_asked_for(tmp_path: Path) -> None:
    found = by_column(tmp_path, dbf(PLAIN, RECORDS), "dbf: {deleted: take}\n")
    assert found["name"] == ["Müller", "Gone", ""]
    assert found["amount"] == [Decimal("12.50"), Decimal("-1.00"), None]


def test_the_types_of_visual_foxpro_are_read(tmp_path: Path) -> None:
    columns: Columns = [("I", "I", 4, 0), ("B", "B", 8, 0), ("Y", "Y", 8, 4), ("T", "T", 8, 0), ("M", "M", 4, 0)]
    row = struct.pack("<cidqiii", b" ", -7, 2.5, -12345, 2_460_707, 3_661_000, 1)
    empty = b" " + struct.pack("<idqiii", 0, 0.0, 0, 0, 0, 0)
    (tmp_path / "t.fpt").write_bytes(
        struct.pack(">IHH", 2, 0, 512).ljust(512, b"\0") + b"\0\0\0\1\0\0\0\5hello" + b" " * 20
    )
    data = dbf(columns, [row, empty], version=0x30)
    found = by_column(tmp_path, data)
    assert found["i"] == [-7, 0]
    assert found["b"] == [2.5, 0.0]
    assert found["y"] == [Decimal("-1.2345"), 0]
    assert found["t"] == [datetime(2025, 1, 31, 1, 1, 1), None]  # noqa: DTZ001  a wall clock reading
    assert found["m"] == ["hello", None]


def test_memos_of_dbase_are_read_from_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "t.dbt").write_bytes(b"\0" * 512 + "Grüße".encode("cp1252") + b"\x1a\x1a" + b"\0" * 500)
    found = by_column(tmp_path, dbf([("M", "M", 10, 0)], [b"          1", b"           "], version=0x83))
    assert found["m"] == ["Grüße", None]


def test_a_memo_at_the_end_of_its_file_is_read_and_one_that_is_not_there_is_marked(tmp_path: Path) -> None:
    (tmp_path / "t.dbt").write_bytes(b"\0" * 512 + b"end\x1a")
    data = dbf([("M", "M", 10, 0)], [b"          1", b"         99", b"        abc"], version=0x83)
    rows = rows_of(begun(tmp_path, "dbf: {}\n", data, name="t.dbf"), data)
    assert rows.columns["m"].to_pylist() == ["end", None, None]
    assert rows.marks["m"].rows.tolist() == [1, 2]
    assert rows.marks["m"].raw == (b"        99", b"       abc")


def test_a_block_of_dbase_iv_that_holds_no_memo_is_not_read_as_one(tmp_path: Path) -> None:
    memo = b"\xff\xff\x08\0" + struct.pack("<I", 13) + b"hello"
    freed = b"\x07\0\0\0" + struct.pack("<I", 12) + b"gone"
    (tmp_path / "t.dbt").write_bytes(b"\0" * 512 + memo.ljust(512, b"\0") + freed.ljust(512, b"\0"))
    data = dbf([("M", "M", 10, 0)], [b"          1", b"          2"], version=0x8B)
    rows = rows_of(begun(tmp_path, "dbf: {}\n", data, name="t.dbf"), data)
    assert rows.columns["m"].to_pylist() == ["hello", None]
    assert rows.marks["m"].rows.tolist() == [1]


def test_a_moment_that_is_none_is_marked_with_its_bytes(tmp_path: Path) -> None:
    cells = [struct.pack("<II", *each) for each in ((2_460_707, 86_400_001), (1 << 31, 0), (2_460_707, 0))]
    data = dbf([("T", "T", 8, 0)], [b" " + cell for cell in cells], version=0x30)
    rows = rows_of(begun(tmp_path, "dbf: {}\n", data, name="t.dbf"), data)
    assert rows.columns["t"].to_pylist() == [None, None, datetime(2025, 1, 31)]  # noqa: DTZ001  as above
    assert rows.marks["t"].raw == tuple(cells[:2])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        dbf(PLAIN, RECORDS)[:-10],
        dbf(PLAIN, RECORDS, version=0x04),
        dbf([("V", "V", 8, 0)], [], version=0x32),
        dbf([("I", "I", 3, 0)], []),
        dbf(PLAIN, RECORDS).replace(b"\x03\0\0\0", b"\x02\0\0\0", 1),  # counted before the last record
        dbf([("A", "C", 1, 0), ("A", "C", 1, 0)], [b" xy"]),
        dbf([("N", "N", 9, 200)], [b" " + b"12.50".rjust(9)]),
    ],
)
def test_what_cannot_be_read_whole_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(FileRefused):
        begun(tmp_path, "dbf: {}\n", data, name="t.dbf")
