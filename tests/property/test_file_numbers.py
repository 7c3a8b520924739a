"""The vectorised decoder agrees with a plain one, row by row, on any bytes under any form."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import cobol_plain
from bridge.model import Mark
from bridge.sources.file import codepages
from bridge.sources.file.decode import Reading, cell
from bridge.sources.file.fields import Field, Form, Kind

PAGES = ("cp037", "cp273", "cp500", "cp1140", "ascii", "cp1252", "latin-1", "utf-8")
LIKELY = st.sampled_from([*range(0xF0, 0xFA), *range(0x30, 0x3A), 0x0C, 0x1D, 0x99, 0xC1, 0xD9, 0x70, 0x7B, 0x4E, 0x2D])


@st.composite
def forms(draw: st.DrawFn) -> tuple[Form, int]:
    kind = draw(st.sampled_from([Kind.TEXT, Kind.ZONED, Kind.PACKED, Kind.BINARY]))
    if kind is Kind.TEXT:
        return Form(kind), draw(st.integers(1, 12))
    signed, scale = draw(st.booleans()), draw(st.integers(-3, 6))
    if kind is Kind.BINARY:
        size = draw(st.sampled_from([1, 2, 4, 8]))
        return Form(kind, digits=9, scale=scale, signed=signed, little=draw(st.booleans())), size
    digits = draw(st.integers(1, 31))
    if kind is Kind.PACKED:
        return Form(kind, digits=digits, scale=scale, signed=signed), digits // 2 + 1
    separate = signed and draw(st.booleans())
    leading = signed and draw(st.booleans())
    form = Form(kind, digits=digits, scale=scale, signed=signed, separate=separate, leading=leading)
    return form, digits + separate


@given(forms(), st.sampled_from(PAGES), st.data())
@settings(max_examples=400, deadline=None)
def test_columns_agree_with_a_plain_decoder(form: tuple[Form, int], page: str, data: st.DataObject) -> None:
    field = Field("f", 0, form[1], form[0])
    byte = st.one_of(LIKELY, st.integers(0, 255))
    rows = data.draw(st.lists(st.lists(byte, min_size=form[1], max_size=form[1]), min_size=1, max_size=8))
    values, marked = cell(np.array(rows, np.uint8), field, Reading(codepages.page(page)))
    for row, found, mark in zip(rows, values.to_pylist(), marked.tolist(), strict=True):
        expected: Any
        try:
            expected = cobol_plain.value(bytes(row), field, page)
        except cobol_plain.Unreadable:
            assert (mark, found) == (Mark.UNREADABLE, None)
        else:
            assert (mark, found) == (0, expected)


@given(st.sampled_from(PAGES), st.text(alphabet=st.characters(max_codepoint=0xFF), max_size=10))
@settings(max_examples=200, deadline=None)
def test_text_survives_its_code_page(page: str, text: str) -> None:
    try:
        written = text.encode(page)
    except UnicodeEncodeError:
        return
    texts, bad = codepages.text(written, np.array([0, len(written)], np.int64), codepages.page(page))
    assert not bad.any()
    assert texts[0].as_py() == text


@given(st.integers(-(10**37), 10**37), st.integers(0, 20))
@settings(max_examples=200, deadline=None)
def test_the_longest_packed_numbers_are_exact(number: int, scale: int) -> None:
    digits = f"{abs(number):038d}" + ("d" if number < 0 else "c")
    field = Field("f", 0, 20, Form(Kind.PACKED, digits=38, scale=scale, signed=True))
    row = np.frombuffer(bytes.fromhex(digits.rjust(40, "0")), np.uint8).reshape(1, -1)
    values, marked = cell(row, field, Reading(codepages.page("cp037")))
    assert marked[0] == 0
    assert values[0].as_py() == cobol_plain.value(row.tobytes(), field, "cp037")


def test_pages_with_the_euro_are_those_without_but_for_it() -> None:
    for name, like in (("cp1141", "cp273"), ("cp1148", "cp500")):
        found, known = codepages.page(name).points, codepages.page(like).points
        assert np.flatnonzero(found != known).tolist() == [0x9F]
        assert chr(found[0x9F]) == "€"
        assert chr(codepages.page("cp1140").points[0x9F]) == "€"


def test_a_number_that_signals_that_it_is_none_is_marked_as_any_other() -> None:
    form = Form(Kind.FLOAT)
    cells = np.frombuffer(bytes.fromhex("7fa000013fc00000"), np.uint8).reshape(2, 4)
    values, marked = cell(cells, Field("a", 0, 4, form), Reading(codepages.page("ascii")))
    assert (values.to_pylist(), marked.tolist()) == ([None, 1.5], [int(Mark.NAN), 0])
