"""Copybooks: every clause is understood, or refused with file and line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import ConfigError
from bridge.sources.file import copybook, picture
from bridge.sources.file.fields import Field, UnreadableLayout
from bridge.sources.file.record import DIALECTS, Record


def record(folder: Path, text: str, *, dialect: str = "ibm", name: str | None = None) -> Record:
    path = folder / "rec.cpy"
    path.write_text(text)
    return Record(copybook.read(path, name), DIALECTS[dialect])


def places(found: Record) -> dict[str, tuple[int, int]]:
    return {field.name: (field.offset, field.length) for field in found.fields}


def field_of(folder: Path, clause: str, *, dialect: str = "ibm") -> Field:
    return record(folder, f"01 R.\n  05 A {clause}.\n", dialect=dialect).fields[0]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("01 R.\n   05 A PIC X(3)\n      SYNC.\n", "rec.cpy:3: SYNC is not supported"),
        ("01 R.\n   05 A PIC X.\n66 B RENAMES A.\n", "rec.cpy:3: level 66 (RENAMES) is not supported"),
        ("01 R.\n   05 A POINTER.\n", "rec.cpy:2: usage POINTER is not supported"),
        ("01 R.\n   05 A PIC 9(4) COMP-6.\n", "rec.cpy:2: usage COMP-6 is not supported"),
        ("01 R.\n   05 A PIC 9(4) WIBBLE.\n", "rec.cpy:2: `WIBBLE` is not supported"),
        ("01 R.\n   05 A PIC N(4).\n", "rec.cpy:2: PIC N(4): N is not supported"),
        ("01 R.\n   05 A.\n", "rec.cpy:2: A has neither a PIC nor entries below it"),
        ("01 R.\n   05 A PIC X.\n   07 B PIC X.\n", "rec.cpy:2: A has both a PIC and entries below it"),
        ("01 R.\n   05 A PIC X COMP-3.\n", "rec.cpy:2: A is text, and its usage is for numbers"),
        ("01 R.\n   05 A PIC X OCCURS 1 TO 5.\n", "rec.cpy:2: OCCURS ... TO ... takes DEPENDING ON"),
        ("01 R.\n   05 A PIC X OCCURS 0 TO 5 DEPENDING ON N.\n", "rec.cpy:2: A depends on N, which is not one field"),
        ("01 R.\n   05 A REDEFINES B PIC X.\n", "rec.cpy:2: A redefines B, which is not beside it"),
        ("01 R.\n   05 A PIC X", "rec.cpy:2: this entry does not end with a period"),
        ("01 R.\n   05 A PIC X.\n01 S.\n   05 B PIC X.\n", "name one of its records with `record_name`: R, S"),
        ("COPY OTHER.\n", "rec.cpy:1: COPY OTHER: there is no such member"),
        ("COPY OTHER REPLACING ==A== BY ==B==.\n", "rec.cpy:1: COPY takes a name and nothing else"),
        ("COPY '../etc/passwd'.\n", "rec.cpy:1: COPY ../etc/passwd: is not the name of a member"),
        ("01 R.\n   05 A PIC 9(39).\n", "rec.cpy:2: A: 39 digits are more than 38"),
        ("01 R.\n   05 A PIC 9(19) COMP.\n", "rec.cpy:2: A: a binary number of more than 18 digits"),
        ("01 R.\n   05 :TAG:-A PIC X.\n", "rec.cpy:2: `:TAG:-A` is not a name"),
        ("01 R.\n   05 A(3) PIC X.\n", "rec.cpy:2: `A(3)` is not a name"),
        ("01 R.\n   05 'A' PIC X.\n", "rec.cpy:2: `'A'` is not a name"),
        ("01 R.\n   05 A PIC 9 SIGN LEADING SEPARATE.\n", "rec.cpy:2: A has a SIGN, and its PIC no S"),
        ("01 R.\n   05 A PIC S9 COMP-3 SIGN LEADING SEPARATE.\n", "rec.cpy:2: A has a SIGN or BLANK WHEN ZERO, which"),
        ("01 R.\n   05 A PIC 9 COMP BLANK WHEN ZERO.\n", "rec.cpy:2: A has a SIGN or BLANK WHEN ZERO, which"),
        ("01 R.\n 02 G COMP-3.\n  05 A PIC X.\n", "rec.cpy:3: A: its PIC does not go with the usage of its group"),
        ("01 R.\n 02 G COMP-1.\n  05 A PIC 9.\n", "rec.cpy:3: A: its PIC does not go with the usage of its group"),
        ("01 R.\n   05 A PIC X.\n   05 A PIC X.\n", "rec.cpy:3: two fields are called r_a"),
    ],
)
def test_what_is_not_understood_is_refused_with_file_and_line(text: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        record(tmp_path, text)
    assert what in error.value.detail


@pytest.mark.parametrize(
    ("clause", "length", "described"),
    [
        ("PIC S9(7)V99 COMP-3", 5, "signed packed(9,2)"),
        ("PIC S9(4) COMP", 2, "signed binary(4)"),
        ("PIC 9(9) BINARY", 4, "binary(9)"),
        ("USAGE IS COMP-4 PIC 9(10)", 8, "binary(10)"),
        ("PIC S9(3) SIGN IS LEADING SEPARATE CHARACTER", 4, "signed zoned(3)"),
        ("PIC S999", 3, "signed zoned(3)"),
        ("PIC 9(3)PP", 3, "zoned(3,-2)"),
        ("PIC VPP99 DISPLAY", 2, "zoned(2,4)"),
        ("PIC Z,ZZ9.99- BLANK WHEN ZERO", 9, "text"),
        ("PIC $$,$$9.99CR VALUE ZERO", 11, "text"),
        ("COMP-1", 4, "hexfloat"),
        ("COMPUTATIONAL-2", 8, "hexfloat"),
        ("PIC A(3)X(2)9 JUST RIGHT VALUE 'A.B'", 6, "text"),
    ],
)
def test_a_clause_says_how_long_a_field_is_and_what_it_holds(
    clause: str, length: int, described: str, tmp_path: Path
) -> None:
    field = field_of(tmp_path, clause)
    assert (field.length, field.form.described()) == (length, described)


def test_views_of_the_same_bytes_stand_at_the_same_place(tmp_path: Path) -> None:
    found = record(
        tmp_path,
        "01 R.\n 05 A PIC X(4).\n 05 B REDEFINES A.\n 10 C PIC 9(2).\n 10 D PIC 9(6).\n 05 E PIC X.\n",
    )
    assert places(found) == {"a": (0, 4), "c": (0, 2), "d": (2, 6), "e": (8, 1)}


def test_names_are_qualified_where_two_are_alike_and_tables_are_numbered(tmp_path: Path) -> None:
    found = record(
        tmp_path,
        "01 R.\n 05 SHIP.\n 10 CITY PIC X.\n 05 BILL.\n 10 CITY PIC X.\n"
        " 10 LINE-T OCCURS 2.\n 15 QTY PIC 9 OCCURS 2.\n",
    )
    assert list(places(found)) == ["ship_city", "bill_city", "qty_1_1", "qty_1_2", "qty_2_1", "qty_2_2"]


def test_what_follows_a_variable_table_slides_for_ibm_and_stays_for_gnucobol(tmp_path: Path) -> None:
    text = "01 R.\n 05 N PIC 9.\n 05 T PIC X(2) OCCURS 0 TO 3 DEPENDING ON N.\n 05 Z PIC X.\n"
    for dialect, place in (("ibm", 3), ("gnucobol", 7)):
        found = record(tmp_path, text, dialect=dialect)
        placed = {field.name: field.offset for field in found.at((1,)).fields}
        assert placed == {"n": 0, "t_1": 1, "z": place}
        assert found.length == 8


def test_a_variable_record_keeps_only_the_places_that_are_wanted(tmp_path: Path) -> None:
    text = "01 R.\n 05 N PIC 9.\n 05 T PIC X(2) OCCURS 0 TO 3 DEPENDING ON N.\n 05 Z PIC X.\n"
    placed = record(tmp_path, text).at((2,), ("z", "t_2", "t_3"))
    assert [(field.name, field.offset) for field in placed.fields] == [("t_2", 3), ("z", 5)]
    assert placed.length == 6


def test_fixed_form_is_read_between_its_columns(tmp_path: Path) -> None:
    text = (
        "000100 01  R.                                                           IDENT001\n"
        "000200*    A COMMENT\n"
        "000300     05  A PIC X(2) VALUE 'TWO LINES OF A LITERAL THAT IS CONTINUED ONIDENT002\n"
        "000400-    ' THE NEXT'.                                                  IDENT003\n"
        "000450D    05  TRACE PIC X(4).\n"
        "000500     05  B PIC X. *> AND A NOTE\n"
    )
    assert places(record(tmp_path, text)) == {"a": (0, 2), "b": (2, 1)}


@pytest.mark.parametrize(
    "text",
    [
        "CR123  01 R.\n000100    05 A PIC X.\nCH-12     05 B PIC X.\n@01       05 C PIC X.\n",  # tags of changes
        "  0100 01 R.\n0200      05 A PIC X.\n           05 B PIC X.\n           05 C PIC X.\n",  # short numbers
        "       01 R.\r          05 A PIC X.\r          05 B PIC X.\r          05 C PIC X.\r",
        "       01 R.\n          05 A PIC X.\n       EJECT\n          05 B PIC X.\n  SKIP2.\n          05 C PIC X.\n",
        "       01 R.\n" + "          05 A PIC X. ".ljust(85) + "05 B PIC X.\n          05 C PIC X.\n",
        "       01 R.\n"
        + "          05 A PIC X.".ljust(72)
        + "PAY00010\n          05 B PIC X.\n          05 C PIC X.\n",
    ],
)
def test_no_entry_is_lost_whatever_stands_beside_the_code(text: str, tmp_path: Path) -> None:
    assert places(record(tmp_path, text)) == {"a": (0, 1), "b": (1, 1), "c": (2, 1)}


def test_a_picture_may_end_with_a_point_of_its_own(tmp_path: Path) -> None:
    assert places(record(tmp_path, "01 R.\n 05 A PIC ZZ9..\n 05 B PIC X, VALUE 'a'.\n")) == {"a": (0, 4), "b": (4, 1)}


def test_members_are_copied_and_their_mistakes_are_named_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "addr.cpy").write_text(" 05 CITY PIC X(3).\n 05 ZIP PIC 9(5).\n")
    assert places(record(tmp_path, "01 R.\n COPY ADDR.\n 05 Z PIC X.\n")) == {
        "city": (0, 3),
        "zip": (3, 5),
        "z": (8, 1),
    }
    (tmp_path / "addr.cpy").write_text(" 05 CITY PIC X(3).\n 05 ZIP INDEX.\n")
    with pytest.raises(ConfigError, match=r"addr\.cpy:2: usage INDEX is not supported"):
        record(tmp_path, "01 R.\n COPY ADDR.\n")


@pytest.mark.parametrize("text", ["", "9(0)", "X(", "9V9V9", "SX", "S", "9S", "E99", "P", "9(99999999999)"])
def test_what_is_no_picture_is_refused(text: str) -> None:
    with pytest.raises(UnreadableLayout):
        picture.parse(text)


def test_a_table_of_variable_size_without_a_range_may_be_empty(tmp_path: Path) -> None:
    found = record(tmp_path, "01 R.\n 05 N PIC 9.\n 05 T PIC X OCCURS 3 DEPENDING ON N.\n")
    assert [(counter.least, counter.most) for counter in found.counters] == [(0, 3)]


def test_a_copybook_cannot_make_a_record_without_end(tmp_path: Path) -> None:
    nested = "".join(f"{level:02} G{level} OCCURS 9999999.\n" for level in range(2, 40))
    with pytest.raises(ConfigError, match="a record"):
        record(tmp_path, f"01 R.\n{nested}40 A PIC X.\n")


WORDS = (
    "01 05 10 88 66 A B FILLER PIC PICTURE IS X(3) 9(4) S9(3)V99 USAGE COMP COMP-3 OCCURS 3 TIMES TO DEPENDING ON"
    " REDEFINES VALUE 'x' SIGN LEADING SEPARATE COPY SYNC . . . , == ( \" *> - \n"
)


@given(st.lists(st.sampled_from(WORDS.split(" ")), max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_record_or_a_mistake_with_its_place(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    told = "rec.cpy"
    try:
        found = record(tmp_path_factory.getbasetemp(), " ".join(words))
    except ConfigError as error:
        told = error.detail
    else:
        assert found.length > 0
    assert "rec.cpy" in told
