"""Delimited text: sound rows are read exactly, each unsound row is a fault of its own."""

import csv
import io
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import ConfigError
from bridge.sources.file import codepages
from bridge.sources.file.delimited import Column, Delimited, Table
from bridge.sources.file.layout import FileRefused
from tests.layouts import begun, rows_of, table

COLUMNS = "columns: [{name: id, type: integer}, {name: name}, {name: amount, type: 'decimal(9,2)', comma: true}]"


def test_values_are_exact_and_of_their_types(tmp_path: Path) -> None:
    data = b'id;name;amount\n1;"a;""b""";1.234,50\n2;;-0,05\n3;"";7\n'
    format_ = begun(tmp_path, f"csv: {{{COLUMNS}, delimiter: ';'}}", data)
    rows = rows_of(format_, data)
    assert table(rows) == [
        (1, 'a;"b"', Decimal("1234.50")),
        (2, None, Decimal("-0.05")),
        (3, "", Decimal("7.00")),
    ]
    assert rows.marks == {}


def test_unsound_rows_are_faults_and_the_rest_passes(tmp_path: Path) -> None:
    data = b'id,name,amount\r\n1,a,1\r\n2,b\r\n3,c"d"e,1\r\n4,"e,1\r\n5,f,1,9\r\n6,g,2\r\n'
    rows = rows_of(begun(tmp_path, f"csv: {{{COLUMNS}}}", data), data)
    assert rows.columns["id"].to_pylist() == [1, None, None, None, None, 6]
    assert rows.faults == {
        1: "it has 2 fields, expected 3",
        2: "a quote stands inside a field",
        3: "a quote is not closed",
        4: "it has 4 fields, expected 3",
    }
    assert rows.marks["id"].rows.tolist() == [1, 2, 3, 4]


def test_a_carriage_return_alone_is_a_fault_of_its_row_unless_it_stands_in_quotes(tmp_path: Path) -> None:
    data = b'id,name,amount\n1,a\rb,1\n2,"c\rd",2\n3,e,3\r\r\n4,f,4\r\n'
    rows = rows_of(begun(tmp_path, f"csv: {{{COLUMNS}}}", data), data)
    assert rows.columns["name"].to_pylist() == [None, "c\rd", None, "f"]
    assert rows.faults == dict.fromkeys((0, 2), "a carriage return stands inside it, outside of quotes")


@pytest.mark.parametrize("end", [b"", b"\n", b"\x1a", b"\n\x1a\x1a"])
def test_a_mark_of_the_end_is_no_row(end: bytes, tmp_path: Path) -> None:
    data = b"\xef\xbb\xbfname\na\nb" + end
    assert table(rows_of(begun(tmp_path, "csv: {columns: [{name: name}]}\n", data), data)) == [("a",), ("b",)]


def test_cells_that_are_no_value_are_marked_with_their_bytes(tmp_path: Path) -> None:
    data = "id,name,amount\nx,ä,1\n2,b,1,5\n".encode("latin-1").replace(b"1,5", b"\xff")
    rows = rows_of(begun(tmp_path, f"csv: {{{COLUMNS}}}", data), data)
    assert rows.marks["id"].raw == (b"x",)
    assert rows.marks["name"].raw == ("ä".encode("latin-1"),)
    assert rows.marks["amount"].raw == (b"\xff",)


def test_a_code_page_is_honoured(tmp_path: Path) -> None:
    data = "id,name,amount\n1,Müller €,1\n".encode("cp1252")
    rows = rows_of(begun(tmp_path, f"codepage: cp1252\ncsv: {{{COLUMNS}}}", data), data)
    assert rows.columns["name"].to_pylist() == ["Müller €"]


def test_quoted_fields_may_hold_lines_where_the_layout_says_so(tmp_path: Path) -> None:
    data = b'id,name,amount\n1,"a\n\nb",1\n2,"open,1\n3,c,1\n4,"d\ne",1\n'
    rows = rows_of(begun(tmp_path, f"csv: {{{COLUMNS}, multiline: true}}", data), data)
    assert rows.columns["name"].to_pylist() == ["a\n\nb", None, "c", "d\ne"]
    assert list(rows.faults) == [1]


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"\xef\xbb\xbfa\nb\n", ["\ufeffa", "b"]),  # as where files were put together
        (b"\xef\xbb\xbf\n", ["\ufeff"]),
        (b'"a\nb"\r\r\nc\n', [None, None, "c"]),
        (b"a\0b\n\0\n", ["a\0b", "\0"]),
    ],
)
def test_a_piece_that_begins_or_ends_oddly_stops_nothing(data: bytes, rows: list[str | None], tmp_path: Path) -> None:
    layout = "csv: {multiline: true, header: false, columns: [{name: name}]}"
    assert rows_of(begun(tmp_path, layout, b"x\n" + data), data).columns["name"].to_pylist() == rows


def test_titles_that_nobody_reads_may_be_alike(tmp_path: Path) -> None:
    """As where a spreadsheet has empty columns."""
    data = b"name,,,x,x\na,1,2,3,4\n"
    format_ = begun(tmp_path, "csv: {columns: [{name: name}, {name: again, title: name}]}", data)
    assert table(rows_of(format_, data)) == [("a", "a")]
    with pytest.raises(FileRefused, match="its header names x twice"):
        begun(tmp_path, "csv: {columns: [{name: name}, {name: x}]}", data)


def test_a_delimiter_that_is_the_quote_too_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="quote: is the delimiter, too"):
        begun(tmp_path, "csv: {delimiter: '\"', columns: [{name: name}]}", b"name\n")


def test_a_header_says_in_which_order_columns_stand(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbfamount,more,name,id\n1,x,a,7\n"
    rows = rows_of(begun(tmp_path, f"csv: {{{COLUMNS}}}", data), data)
    assert {name: column.to_pylist() for name, column in rows.columns.items()} == {
        "id": [7], "name": ["a"], "amount": [Decimal(1)],
    }  # fmt: skip


@pytest.mark.parametrize("head", [
    b"", b"id,name\n", b"id,name,amount,id\n", b"\n", b"id,name,amount\r1,a,1\r", b"x" * 200_000,
])  # fmt: skip
def test_a_file_with_another_header_is_refused_whole(head: bytes, tmp_path: Path) -> None:
    with pytest.raises(FileRefused):
        begun(tmp_path, f"csv: {{{COLUMNS}}}", head)


def test_a_header_without_end_is_told_as_that(tmp_path: Path) -> None:
    head = ",".join(["id", "name", "amount", *map(str, range(200_000))]) + "\n"
    with pytest.raises(FileRefused, match="its first 1048576 bytes hold no end of a line"):
        begun(tmp_path, f"csv: {{{COLUMNS}}}", head.encode())


def test_every_mistake_of_a_layout_is_told_with_its_line(tmp_path: Path) -> None:
    layout = "codepage: cp037\ncsv:\n  delimiter: ab\n  columns:\n    - {name: a, type: money}\n    - {name: a}\n"
    with pytest.raises(ConfigError) as error:
        begun(tmp_path, layout)
    lines = [line.split(": ")[0].rsplit(":", 1)[1] for line in error.value.detail.splitlines()]
    assert lines == ["1", "3", "5"]


FIELD = st.text(st.sampled_from('ab,"\n\r é;'), max_size=6)


@given(st.lists(st.lists(FIELD, min_size=3, max_size=3), min_size=1, max_size=6), st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_what_a_writer_of_csv_writes_is_read_back_in_pieces(written: list[list[str]], piece: int) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(written)
    data = text.getvalue().encode()
    columns = tuple(Column(name, name) for name in "abc")
    format_ = Table(Delimited(columns, codepages.page("utf-8"), multiline=True), ("a", "b", "c"), 0)
    found: list[tuple[str, ...]] = []
    at, size = 0, piece
    while at < len(data):
        frames = format_.frame(data[at : at + size], at_end=at + size >= len(data))
        found += table(format_.rows(frames, "abc"))
        at, size = (at + frames.end, piece) if frames.end else (at, size * 2)
    assert found == [tuple(row) for row in written]
