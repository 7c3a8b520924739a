"""Where records begin and end: whole ones pass, what is none is told and stops nothing."""

import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bridge.sources.file import layoutfile
from bridge.sources.file.frames import Framer, Frames, blocked, fixed, lines, prefixed
from bridge.sources.file.reading import Reader
from tests.layouts import begun, rows_of, table

FIXED = "codepage: cp037\nfixed: [{name: id, at: 1, pic: '9(3)'}, {name: word, at: 4, length: 4}]\n"


def bodies(frames: Frames) -> list[bytes]:
    pairs = zip(frames.bodies.tolist(), frames.lengths.tolist(), strict=True)
    return [frames.data[at : at + length] for at, length in pairs]


def rdw(*records: bytes) -> bytes:
    return b"".join(struct.pack(">HH", len(record) + 4, 0) + record for record in records)


def block(*records: bytes) -> bytes:
    return struct.pack(">HH", len(rdw(*records)) + 4, 0) + rdw(*records)


@pytest.mark.parametrize(
    ("framer", "data", "expected"),
    [
        (fixed(2), b"aabbcc", [b"aa", b"bb", b"cc"]),
        (lines(is_ebcdic=False), b"a\r\nbb\n\nc\n\x1a", [b"a", b"bb", b"c"]),
        (lines(is_ebcdic=True), b"\xc1\x15\xc2\xc2\x25\xc3", [b"\xc1", b"\xc2\xc2", b"\xc3"]),
        (prefixed(counts_itself=True), rdw(b"a", b"", b"ccc"), [b"a", b"", b"ccc"]),
        (prefixed(counts_itself=False), b"\0\1\0\0a\0\2\0\0bb", [b"a", b"bb"]),
        (blocked(), block(b"a", b"bb") + block(b"c"), [b"a", b"bb", b"c"]),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_records_are_found_in_pieces_of_any_size(framer: Framer, data: bytes, expected: list[bytes], size: int) -> None:
    found: list[bytes] = []
    at, wanted = 0, size
    while at < len(data):
        frames = framer(data[at : at + wanted], at_end=at + wanted >= len(data))
        assert not frames.faults
        found += bodies(frames)
        at, wanted = (at + frames.end, size) if frames.end else (at, wanted + size)
    assert found == expected


@pytest.mark.parametrize(
    ("framer", "data", "fault"),
    [
        (fixed(4), b"aaaabb", (1, "the file ends after 2 of 4 bytes")),
        (prefixed(counts_itself=True), rdw(b"a") + b"\0\x09\0\0b", (1, "it ends after 1 of 5 bytes")),
        (prefixed(counts_itself=True), rdw(b"a") + b"\0\x02\0\0b", (1, "no record begins here")),
        (prefixed(counts_itself=True), rdw(b"a") + b"\0", (1, "it ends within a record's length")),
        (blocked(), block(b"a") + b"\0\x50\0\0", (1, "a block of 80 bytes")),
    ],
)
def test_what_is_no_record_is_told_and_kept(framer: Framer, data: bytes, fault: tuple[int, str]) -> None:
    frames = framer(data, at_end=True)
    assert frames.faults == dict([fault])
    assert frames.end == len(data)
    assert frames.count == 2


def test_short_and_long_records_are_faults_of_their_own(tmp_path: Path) -> None:
    data = rdw(*(text.encode("cp037") for text in ("001AAAA", "002BBB", "003CCCCC", "004DD  ")))
    rows = rows_of(begun(tmp_path, FIXED + "record: rdw\n", data), data)
    assert table(rows) == [(1, "AAAA"), (None, None), (None, None), (4, "DD")]
    assert rows.faults == {1: "it has 6 bytes, the layout 7", 2: "it has 8 bytes, the layout 7"}


def test_a_cell_that_is_no_number_is_marked_with_its_bytes(tmp_path: Path) -> None:
    data = "001AAAA0X2BBBB   CCCC".encode("cp037")
    rows = rows_of(begun(tmp_path, FIXED, data), data)
    assert rows.columns["id"].to_pylist() == [1, None, None]
    assert rows.marks["id"].raw == ("0X2".encode("cp037"), "   ".encode("cp037"))
    rows = rows_of(begun(tmp_path, FIXED + "empty_numbers: 'null'\n", data), data)
    assert rows.marks["id"].rows.tolist() == [1]


def test_types_of_record_are_taken_left_out_or_told(tmp_path: Path) -> None:
    layout = FIXED + "types: {at: 4, length: 1, take: [A, C], skip: [B]}\n"
    data = "001AAAA002BBBB003CCCC004DDDD".encode("cp037")
    rows = rows_of(begun(tmp_path, layout, data), data)
    assert rows.numbers.tolist() == [0, 2, 3]
    assert rows.columns["id"].to_pylist() == [1, 3, None]
    assert rows.faults == {2: "the layout does not name its type of record"}


@pytest.mark.parametrize("record", ["rdw", "lines"])
def test_types_that_are_left_out_may_have_other_lengths(record: str, tmp_path: Path) -> None:
    layout = (
        f"record: {record}\nfixed: [{{name: type, at: 1, length: 2}}, {{name: word, at: 3, length: 3}}]\n"
        "types: {at: 1, length: 2, take: [AA], skip: [HH, TT]}\n"
    )
    given = [b"HH of 20250131", b"AAone", b"AAtoo long", b"XX unknown", b"TT"]
    data = rdw(*given, b"T") if record == "rdw" else b"\n".join(given) + b"\n"
    rows = rows_of(begun(tmp_path, layout, data), data)
    strange = {1: "it has 10 bytes, the layout 5", 2: "the layout does not name its type of record"}
    assert rows.faults == (strange | {3: "it has 1 bytes, the layout 5"} if record == "rdw" else strange)
    assert rows.columns["word"].to_pylist()[:2] == ["one", None]


@pytest.mark.parametrize(("dialect", "expected"), [("gnucobol", 5), ("ibm", 0x0541)])
def test_a_binary_number_has_the_size_that_its_compiler_gives_it(dialect: str, expected: int, tmp_path: Path) -> None:
    layout = f"dialect: {dialect}\nlength: 2\nfixed: [{{name: a, at: 1, pic: 9(2) COMP}}]\n"
    rows = rows_of(begun(tmp_path, layout, b"\x05A"), b"\x05A")
    assert rows.columns["a"].to_pylist() == [expected]


@pytest.mark.parametrize("record", ["lines", "vb"])
def test_short_records_of_a_wide_layout_are_read_few_at_a_time(record: str, tmp_path: Path) -> None:
    given = [b"%03d" % number for number in range(60)]
    data = b"\n".join(given) + b"\n"
    if record == "vb":
        blocks = [rdw(*given[at : at + 3]) for at in range(0, 60, 3)]
        data = b"".join(struct.pack(">HH", len(block) + 4, 0) + block for block in blocks)
    (tmp_path / "r.cpy").write_text(
        "01 R.\n 05 N PIC 9.\n 05 A PIC X(2).\n 05 T PIC X(100) OCCURS 0 TO 9999 DEPENDING ON N.\n"
        if record == "vb"
        else "01 R.\n 05 N PIC 9.\n 05 A PIC X(2).\n 05 T PIC X(999900).\n"
    )
    begun(tmp_path, f"copybook: r.cpy\ndialect: ibm\nrecord: {record}\n", data)
    reader = Reader(tmp_path / "data.txt", layoutfile.load(tmp_path / "layout.yaml"))
    at, sizes, found = reader.start, [], []
    while (piece := reader.piece(at, ("n", "a"))) is not None:
        assert piece.first == at
        sizes.append(piece.rows.frames.count)
        found += [
            f"{row.frames.data[at : at + 3].decode()}" for row in [piece.rows] for at in row.frames.bodies.tolist()
        ]
        at = piece.next
    assert found == [each.decode() for each in given]
    assert max(sizes) * 1_000_000 < 20_000_000


def test_marks_of_order_and_end_are_no_text(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf0001one\r\n0002two\x1a"
    layout = "codepage: utf-8\nrecord: lines\nfixed: [{name: a, at: 1, pic: 9(4)}, {name: b, at: 5, length: 9}]\n"
    assert table(rows_of(begun(tmp_path, layout, data), data)) == [(1, "one"), (2, "two")]


TABLE = "01 R.\n 05 N PIC 9.\n 05 T PIC X(3) OCCURS 0 TO 3 DEPENDING ON N.\n"


def test_a_piece_that_holds_no_row_is_read(tmp_path: Path) -> None:
    (tmp_path / "r.cpy").write_text(TABLE)
    layout = "copybook: r.cpy\nrecord: lines\ntypes: {at: 1, length: 1, take: ['1'], skip: [H]}\n"
    for data in (b"H only\n", b"\n\n", b"\x1a"):
        rows = rows_of(begun(tmp_path, layout, data), data)
        assert (table(rows), rows.faults, rows.marks) == ([], {}, {})


def test_a_record_that_holds_more_than_its_counter_says_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "r.cpy").write_text(TABLE)
    data = rdw(b"1abc", b"1abcdef", b"2abc", b"2abcdef", b"1abcdefghi", b"4abcdefghi")
    rows = rows_of(begun(tmp_path, "copybook: r.cpy\nrecord: rdw\ndialect: ibm\n", data), data)
    assert rows.faults == {
        1: "it has 7 bytes; its tables need 4",
        2: "it has 4 bytes; its tables need 7",
        5: "a counter of its tables is out of bounds",
    }
    assert rows.columns["t_1"].to_pylist() == ["abc", None, None, "abc", "abc", None]


def test_a_line_whose_table_ends_in_blanks_is_filled_up(tmp_path: Path) -> None:
    (tmp_path / "r.cpy").write_text(TABLE)
    data = b"2abcd\n0\n3\n"
    rows = rows_of(begun(tmp_path, "copybook: r.cpy\nrecord: lines\n", data), data)
    assert rows.faults == {}
    assert table(rows) == [(2, "abc", "d", None), (0, None, None, None), (3, "", "", "")]


def test_lines_that_are_short_are_filled_up(tmp_path: Path) -> None:
    data = b"001A\n002BBBB\n003\n004TOO LONG\n"
    rows = rows_of(begun(tmp_path, FIXED.replace("cp037", "ascii") + "record: lines\n", data), data)
    assert table(rows)[:3] == [(1, "A"), (2, "BBBB"), (3, "")]
    assert rows.faults == {3: "it has 11 bytes, the layout 7"}


@pytest.mark.parametrize(
    ("layout", "what"),
    [
        ("fixed: [{name: a, at: 0, length: 1}]\n", "`at` counts bytes from 1"),
        ("fixed: [{name: a, at: 1}]\n", "either `pic` or `length`"),
        ("fixed: [{name: a, at: 1, pic: 'X(3) COMP-3'}]\n", "text takes no usage"),
        ("fixed: [{name: a, at: 1, pic: '9(3) COMP-9'}]\n", "is not a picture with a usage"),
        ("fixed: [{name: a, at: 1, length: 2}, {name: a, at: 3, length: 1}]\n", "two fields are called a"),
        ("fixed: [{name: a, at: 1, length: 2}]\nlength: 1\n", "1 bytes, and fields reach to 2"),
        ("fixed: [{name: a, at: 1, length: 2}]\ncodepage: cp9999\n", "'cp9999' is not a known code page"),
        ("fixed: [{name: a, at: 1, length: 2}]\ncodepage: cp932\n", "has not one byte a character"),
        ("fixed: [{name: a, at: 1, length: 2}]\nwidth: 3\n", "width: is not a known key"),
        ("codepage: ascii\n", "exactly one of copybook, fixed, csv, dbf"),
        (
            "fixed: [{name: a, at: 1, length: 2}]\ntypes: {at: 1, length: 2, take: [01]}\n",
            "a text in quotes, like '01'",
        ),
        ("copybook: none.cpy\n", "none.cpy is not a file"),
        ("fixed: [{name: a, at: 1, length: 2}]\nrecord_name: R\n", "record_name: means nothing beside `fixed`"),
        ("copybook: none.cpy\nlength: 90\n", "length: means nothing beside `copybook`"),
        ("dbf: {}\nheader_records: 1\n", "header_records: means nothing beside `dbf`"),
        ("fixed: [{name: a, at: 1, length: 2}]\ntrailer: {at: 0, length: 2}\n", "greater than or equal to 1"),
        ("fixed: [{name: a, at: 1, length: 2}]\ntypes: {at: 2, length: 2, take: [a]}\n", "behind the record's 2 bytes"),
        ("fixed: [{name: a, at: 1, length: 9, type: date, format: '%d%q'}]\n", "`%q` is not supported"),
        ("fixed: [{name: a, at: 1, length: 9, type: timestamp, format: '%S.%f'}]\n", "fractions of a second are `%.f`"),
    ],
)
def test_mistakes_of_a_layout_are_told_with_file_and_line(layout: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"layout\.yaml:[12]: ") as error:
        begun(tmp_path, layout)
    assert what in str(error.value)


def test_dates_and_numbers_as_people_write_them(tmp_path: Path) -> None:
    layout = (
        "codepage: ascii\nfixed:\n  - {name: day, at: 1, length: 8, type: date, format: '%Y%m%d'}\n"
        "  - {name: amount, at: 9, length: 8, type: 'decimal(7,2)', comma: true}\n"
    )
    data = b"20250131   12,50" + b"20250230 1.000- " + b"           -3,2 " + b"20240229   1.2,3"
    rows = rows_of(begun(tmp_path, layout, data), data)
    shown: list[tuple[Any, ...]] = [(str(day), str(amount)) for day, amount in table(rows)]
    assert shown == [("2025-01-31", "12.50"), ("None", "-1000.00"), ("None", "-3.20"), ("2024-02-29", "None")]
    assert rows.marks["day"].raw == (b"20250230",)
    assert rows.marks["amount"].raw == (b"   1.2,3",)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("%Y%m%d", "20251101", "2025-11-01 00:00:00"),
        ("%Y%m%d", "2025111", None),
        ("%d%m%Y", "1012025", None),
        ("%y%m%d", "25111", None),
        ("%d.%m.%Y", "1.2.2025", "2025-02-01 00:00:00"),
        ("%d.%m.%Y", " 1. 2.2025", "2025-02-01 00:00:00"),
        ("%d.%m.%Y", "1.2.25", None),
        ("%Y%j", "202532", None),
        ("%d-%b-%Y", "01-FEB-2025", "2025-02-01 00:00:00"),
        ("%F %T", "2025-02-01 23:59:60", None),
        ("%Y-%m-%d-%H.%M.%S%.f", "2025-02-01-01.02.03.000004", "2025-02-01 01:02:03.000004"),
        ("%Y-%m-%d %H:%M:%S%.f", "2025-02-01 01:02:03.0000049", None),
        ("%Y%m%d%H%M%S%6f", "20250201010203000004", "2025-02-01 01:02:03.000004"),
        ("%Y%m%d%H%M%S", "2025020101023", None),
    ],
)
def test_a_day_or_moment_that_is_not_as_its_format_says_is_none(
    pattern: str, text: str, expected: str | None, tmp_path: Path
) -> None:
    kind = "timestamp" if "S" in pattern or "T" in pattern else "date"
    column = f"{{name: at, type: {kind}, format: '{pattern}'}}"
    data = f"at\n{text}\n".encode()
    rows = rows_of(begun(tmp_path, f"csv: {{columns: [{column}]}}\n", data), data)
    [value] = rows.columns["at"].cast(pa.timestamp("us")).to_pylist()
    assert (None if value is None else str(value)) == expected
    assert ("at" in rows.marks) == (expected is None)


@pytest.mark.parametrize("text", [".", "-.", "+.", ".-"])
def test_a_point_alone_is_no_number(text: str, tmp_path: Path) -> None:
    data = text.rjust(4).encode()
    rows = rows_of(begun(tmp_path, "fixed: [{name: a, at: 1, length: 4, type: 'decimal(4,2)'}]\n", data), data)
    assert rows.marks["a"].raw == (data,)
