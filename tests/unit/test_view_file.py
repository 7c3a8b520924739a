"""A view file says how it is read, and every mistake in it has its line and what was expected."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from bridge.config.mistakes import InvalidConfig
from bridge.errors import ConfigError
from bridge.sources.view.statement import Value, rendered, statement
from bridge.sources.view.viewfile import parse

PATH = Path("views/customers.sql")
GOOD = """\
-- Customers as sales knows them. Note: the vendor sanctions this view.
-- key: company, cust_no
-- cursor: upd_at
-- mode: incremental
-- page_rows: 5_000
-- statement_timeout: 1.5s
-- freshness: 15m
-- overlap: 90s, 2h
-- parameter: region text = 'EU'
-- parameter: least number = 1.50
-- parameter: since date
-- allow: sales.price_of

-- The old system keeps two companies in one table.
SELECT company, cust_no, name, upd_at -- all of it
FROM sales.customers WHERE region = :region AND credit >= :least AND ts::date > :since AND name <> ':region';
"""


def mistakes(text: str) -> list[str]:
    """What is wrong with a view file."""
    with pytest.raises(InvalidConfig) as caught:
        parse(text, PATH)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_the_header_says_how_a_view_is_read() -> None:
    view = parse(GOOD, PATH)
    assert (view.name, view.mode, view.key, view.cursor) == (
        "customers",
        "incremental",
        ("company", "cust_no"),
        "upd_at",
    )
    assert (view.page_rows, view.statement_timeout_s, view.freshness_s) == (5000, 1.5, 900.0)
    assert view.overlap == (90.0, 7200.0)
    assert [(one.name, one.type, one.value) for one in view.parameters] == [
        ("region", "text", "EU"),
        ("least", "number", Decimal("1.50")),
        ("since", "date", None),
    ]
    assert view.allowed == {"sales.price_of"}


def test_what_is_sent_is_the_view_without_comments_and_with_values_to_bind() -> None:
    view = parse(GOOD, PATH).given({"since": date(2026, 1, 31), "region": "US"})
    text, values = rendered(statement(view, "postgres"), lambda _value, number: f"${number + 1}")
    assert " ".join(text.split()) == (
        "SELECT company, cust_no, name, upd_at FROM sales.customers"
        " WHERE region = $1 AND credit >= $2 AND ts::date > $3 AND name <> ':region'"
    )
    assert values == [
        Value("US", type="text"),
        Value(Decimal("1.50"), type="number"),
        Value(date(2026, 1, 31), type="date"),
    ]


def test_every_mistake_of_a_header_is_told_with_its_line_and_what_was_expected() -> None:
    text = (
        GOOD.replace("cursor:", "curser:")
        .replace("5_000", "many")
        .replace("1.5s", "2h")
        .replace("since date", "since day")
    )
    assert [mistake.split("; expected")[0] for mistake in mistakes(text)] == [
        "views/customers.sql:3: curser is not a known key",
        "views/customers.sql:4: cursor is missing",
        "views/customers.sql:5: page_rows is 'many'",
        "views/customers.sql:6: statement_timeout is '2h'",
        "views/customers.sql:11: parameter since has the unknown type day",
    ]
    assert mistakes(text)[0].endswith("freshness, overlap, allow, parameter (did you mean cursor?)")
    assert mistakes(text)[3].endswith("expected a time of at most 1h, like 500ms, 30s or 2m")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("-- mode: incremental\n", "", "mode is missing; expected one of incremental, full, append"),
        ("mode: incremental", "mode: full", "cursor is set; expected no cursor"),
        ("-- key: company, cust_no\n", "", "key is missing; expected the columns that name a row"),
        ("key: company, cust_no", "key: a, a", "key is 'a, a'; expected names of columns"),
        ("-- mode: incremental", "-- mode: full\n-- mode: append", "mode was set in line 4; expected each key once"),
        ("SELECT", "-- SELECT", "the SQL is missing"),
    ],
)
def test_a_header_that_does_not_hold_together_is_refused(old: str, new: str, said: str) -> None:
    text = GOOD.replace(old, new)
    if old == "SELECT":
        text = GOOD.partition("SELECT")[0]
    assert any(said in mistake for mistake in mistakes(text))


def test_a_parameter_without_a_value_an_unknown_one_and_one_of_another_type_are_refused() -> None:
    view = parse(GOOD, PATH)
    with pytest.raises(ConfigError, match="needs a value for since"):
        view.given({})
    with pytest.raises(ConfigError, match="has no parameter 'sinse'"):
        view.given({"sinse": "2026-01-01"})
    with pytest.raises(ConfigError, match="since has a value that is not a date"):
        view.given({"since": "2026-01-01' OR true --"})


def test_a_parameter_that_is_not_declared_or_not_used_is_a_mistake() -> None:
    view = parse(GOOD.replace(":since", ":sinse"), PATH).given({"since": "2026-01-01"})
    with pytest.raises(InvalidConfig) as caught:
        statement(view, "postgres")
    assert [str(mistake).split(";")[0] for mistake in caught.value.mistakes] == [
        "views/customers.sql:16: :sinse is not declared",
        "views/customers.sql:1: parameter since is not used",
    ]


@pytest.mark.parametrize("sql", ["SELECT 'open", 'SELECT "open', "SELECT $$ open"])
def test_sql_whose_strings_do_not_end_is_refused_with_its_line(sql: str) -> None:
    view = parse(f"-- key: a\n-- mode: full\n{sql}\n", PATH)
    with pytest.raises(InvalidConfig, match=r"customers\.sql:\d+: the SQL cannot be read"):
        statement(view, "postgres")


@pytest.mark.parametrize("odd", ["\0", "\x0b", "\x1b"])
def test_a_control_character_is_refused_where_it_stands(odd: str) -> None:
    text = f"-- key: a\n-- mode: full\nSELECT a FROM s.t{odd} WHERE b\n"
    assert mistakes(text) == ["views/customers.sql:3: the file has a control character; expected plain text"]


def test_line_ends_of_every_kind_keep_the_line_numbers_and_no_other_character_ends_a_line() -> None:
    view = parse("-- key: a\r\n-- mode: full\rSELECT a,\r\n'x\u2028y' AS b FROM s.t", PATH)
    assert view.sql == "\n\nSELECT a,\n'x\u2028y' AS b FROM s.t"


def test_a_file_may_begin_with_the_mark_that_windows_puts_there() -> None:
    marked, plain = parse("\ufeff" + GOOD, PATH), parse(GOOD, PATH)
    assert marked == plain
