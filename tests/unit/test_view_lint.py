"""A view is one SELECT in words known to be harmless; anything else is told with its line."""

from pathlib import Path

import pytest

from bridge.sources.view.harmless import FUNCTIONS
from bridge.sources.view.lint import lint
from bridge.sources.view.viewfile import View, parse

HEADER = "-- key: a\n-- mode: full\n"


def view(sql: str, header: str = HEADER) -> View:
    """A view of this SQL."""
    return parse(f"{header}{sql}\n", Path("v.sql"))


def told(sql: str, *, header: str = HEADER, dialect: str = "postgres") -> list[str]:
    """The mistakes of a view."""
    return [str(mistake) for mistake in lint(view(sql, header), dialect).mistakes]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a, trim(b) AS b, c::numeric(12,2) AS c, extract(year FROM d) AS y FROM sales.t WHERE e IN ('x', 'y')",
        "WITH w AS (SELECT a, max(b) AS b FROM s.t GROUP BY a) SELECT w.a, w.b, u.c FROM w LEFT JOIN s.u USING (a)",
        "SELECT a, rank() OVER (PARTITION BY b ORDER BY c DESC) AS n FROM s.t WHERE d >= now() - interval '3 days'",
        "SELECT a, b ->> 'x' AS x, array_agg(DISTINCT c ORDER BY c) FILTER (WHERE c > 0) AS cs FROM s.t GROUP BY a, b",
        "SELECT a, substring(b FROM 1 FOR 2) AS b, d AT TIME ZONE 'UTC' AS d, coalesce(e, '') || f AS ef FROM s.t;",
        "SELECT a, CASE WHEN b ~ '^x' THEN 1 ELSE 0 END AS b, (SELECT count(*) FROM s.u WHERE u.a = t.a) AS n FROM s.t",
        "SELECT a, b FROM s.t UNION ALL SELECT a, b FROM s.u",
        "SELECT a, pg_catalog.lower(b) AS b, x FROM s.t, LATERAL unnest(t.xs) AS x",
        "SELECT a, 'INSERT; DELETE FROM t -- SELECT lo_create(1) FOR UPDATE' AS b FROM s.t",
        'SELECT a, "update", t."set" FROM s.t',
    ],
)
def test_a_select_that_only_reads_has_no_mistake(sql: str) -> None:
    assert told(sql) == []


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("DELETE FROM s.t", "DELETE"),
        ("SELECT a FROM s.t; DROP TABLE s.t", "';'"),
        ("SELECT a FROM s.t;;SELECT 1", "';'"),
        ("WITH d AS (DELETE FROM s.t RETURNING a) SELECT a FROM d", "DELETE"),
        ("WITH i AS (INSERT INTO s.t VALUES (1) RETURNING a) SELECT a FROM i", "INSERT"),
        ("SELECT a INTO s.u FROM s.t", "INTO"),
        ("SELECT a FROM s.t FOR UPDATE", "FOR UPDATE"),
        ("SELECT a FROM s.t FOR NO KEY UPDATE", "FOR NO"),
        ("SELECT a FROM s.t FOR SHARE", "FOR SHARE"),
        ("SELECT a FROM s.t FOR KEY SHARE SKIP LOCKED", "FOR KEY"),
        ("SET transaction_read_only = off", "SET"),
        ("COPY s.t TO PROGRAM 'rm'", "COPY"),
        ("EXPLAIN ANALYZE SELECT a FROM s.t", "v"),
        ("SELECT a, lo_create(1) AS x FROM s.t", "lo_create()"),
        ("SELECT a, pg_catalog.lo_create(1) AS x FROM s.t", "pg_catalog.lo_create()"),
        ('SELECT a, "pg_catalog"."lo_create"(1) AS x FROM s.t', "pg_catalog.lo_create()"),
        ("SELECT a, Set_Config('x', 'y', false) AS x FROM s.t", "set_config()"),
        ("SELECT a, nextval('s.q') AS x FROM s.t", "nextval()"),
        ("SELECT a, pg_sleep(9) AS x FROM s.t", "pg_sleep()"),
        ("SELECT a, pg_advisory_lock(1) AS x FROM s.t", "pg_advisory_lock()"),
        ("SELECT a, pg_logical_emit_message(false, 'x', 'y') AS x FROM s.t", "pg_logical_emit_message()"),
        ("SELECT a FROM s.t WHERE EXISTS (SELECT 1 FROM s.u WHERE pg_notify('x', 'y') IS NULL)", "pg_notify()"),
        ("SELECT a FROM dblink('x', 'DELETE FROM t') AS d(a int)", "dblink()"),
        ("SELECT a FROM s.t ORDER BY set_config('x', 'y', true)", "set_config()"),
        ("SELECT a FROM ROWS FROM (lo_create(1)) AS a", "lo_create()"),
        ("SELECT a FROM s.t LIMIT (SELECT lo_create(1))", "lo_create()"),
        ("SELECT a, s.f(1) AS x FROM s.t", "s.f()"),
        ("SELECT a, public.lower(b) AS b FROM s.t", "public.lower()"),
        ("SELECT a, random() AS x FROM s.t", "rand()"),
        ("SELECT a OPERATOR(public.+) 1 AS a FROM s.t", "a OPERATOR(public.+) 1"),
        ("SELECT a, b::public.mood AS b FROM s.t", "public.mood"),
        ("SELECT a, $1 AS b FROM s.t", "$1"),
        ("SELECT a FROM t", "t"),
        ("VALUES (1)", "v"),
        ("SELECT a FROM s.t WHERE", "WHERE"),
    ],
)
def test_what_does_more_than_read_or_is_not_known_is_refused(sql: str, word: str) -> None:
    found = told(sql)
    assert any(mistake.startswith(f"v.sql:3: {word} ") for mistake in found), found


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        ("mysql", "SELECT a FROM s.t INTO OUTFILE '/tmp/x'"),
        ("mysql", "SELECT a FROM s.t LOCK IN SHARE MODE"),
        ("mysql", "SELECT a, @x := 1 AS x FROM s.t"),
        ("mysql", "SELECT /*+ SET_VAR(sql_mode='') */ a FROM s.t"),
        ("mysql", "SELECT a, GET_LOCK('x', 1) AS x FROM s.t"),
        ("mysql", "SELECT a, @@global.read_only AS x FROM s.t"),
        ("mysql", "SELECT a, SLEEP(1) AS x FROM s.t"),
        ("mysql", "SELECT a, LOAD_FILE('/etc/passwd') AS x FROM s.t"),
        ("sqlite", "SELECT a, load_extension('x') AS x FROM t"),
        ("firebird", "SELECT a, gen_id(g, 1) AS x FROM t"),
        ("firebird", "SELECT a FROM t FOR UPDATE WITH LOCK"),
        ("oracle", "SELECT a, utl_http.request('http://x') AS x FROM t"),
        ("oracle", "SELECT a FROM t FOR UPDATE"),
        ("mssql", "SELECT a INTO u FROM t"),
        ("mssql", "SELECT a FROM OPENROWSET('x', 'y', 'z') AS o"),
        ("mssql", "SELECT a, NEXT VALUE FOR q AS x FROM t"),
    ],
)
def test_every_dialect_has_its_own_ways_to_write_and_none_passes(dialect: str, sql: str) -> None:
    assert told(sql, dialect=dialect)


def test_comments_are_not_sent_so_a_database_that_runs_some_runs_none() -> None:
    assert told("SELECT a FROM s.t /*!50000 INTO OUTFILE '/tmp/x' */", dialect="mysql") == []


def test_an_author_signs_for_a_function_in_the_header_but_never_for_one_that_writes() -> None:
    header = HEADER + "-- allow: sales.price_of, sales.mood, set_config\n"
    assert told("SELECT a, sales.price_of(b) AS b, c::sales.mood AS c FROM s.t", header=header) == []
    assert told("SELECT a, set_config('x', 'y', true) AS x FROM s.t", header=header) == [
        "v.sql:4: set_config() writes, waits, locks or reaches outside; expected no call of it"
    ]


def test_a_mistake_says_what_to_write_instead() -> None:
    (mistake,) = told("SELECT a,\n  s.price_of(b) AS b FROM s.t")
    assert mistake.startswith(
        "v.sql:4: s.price_of() is not known to be harmless; expected a function that only computes"
    )
    assert mistake.endswith("(sign for it in the header: -- allow: s.price_of)")
    assert told("SELECT a FROM customers") == [
        "v.sql:3: customers has no schema; expected the schema before it, like sales.customers"
    ]
    assert told("SELECT b FROM s.t")[0].startswith("v.sql:3: a is not among the columns; expected a column of the")


def test_what_works_and_is_careless_is_a_warning() -> None:
    found = lint(view("SELECT *, now() AS n, b + 1 FROM s.t ORDER BY a LIMIT 5"), "postgres")
    assert found.mistakes == ()
    assert [warning.key for warning in found.warnings] == ["*", "ORDER BY", "LIMIT", "a column", "the clock"]


def test_the_tables_that_a_view_reads_are_known() -> None:
    sql = "WITH w AS (SELECT a FROM s.t) SELECT w.a FROM w LEFT JOIN s.u USING (a) WHERE a IN (SELECT a FROM r.v)"
    found = lint(view(sql), "postgres")
    assert sorted(found.tables) == ["r.v", "s.t", "s.u"]


@pytest.mark.parametrize("dialect", sorted(FUNCTIONS))
def test_most_harmless_functions_are_read_as_such(dialect: str) -> None:
    """A few have a syntax of their own (cast, extract); all others pass with some number of arguments."""
    strange = {"cast", "convert", "extract", "date_add", "date_sub", "date_format", "json_value", "stuff", "try_cast",
               "sysdate", "systimestamp"}  # fmt: skip
    for name in sorted(FUNCTIONS[dialect] - strange):
        calls = [f"SELECT a, {name}({arguments}) AS x FROM s.t" for arguments in ("", "a", "a, b", "a, b, c")]
        assert not all(told(call, dialect=dialect) for call in calls), name
