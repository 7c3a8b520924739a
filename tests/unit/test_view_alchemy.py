"""SQL Server, Oracle and Db2 without a server: what would be sent is SQL of theirs, and reads only."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from sqlalchemy.dialects.mssql.base import MSDialect
from sqlalchemy.dialects.oracle.base import OracleDialect
from sqlalchemy.exc import DataError, OperationalError, ProgrammingError
from sqlglot import exp

from bridge.config.databases import Db2Config, MssqlConfig, OracleConfig
from bridge.errors import ConfigError, SourceRefused, SourceUnavailable
from bridge.extraction.extractor import Question
from bridge.sources.view.dialects import db2, mssql, oracle
from bridge.sources.view.dialects.alchemy import AlchemySession, Ways, kind_of, translate
from bridge.sources.view.paging import Place, order_of, page_sql
from bridge.sources.view.statement import rendered
from bridge.sources.view.viewfile import parse

DIALECTS = {"tsql": mssql.WAYS, "oracle": oracle.WAYS, "": db2.WAYS}
VIEW = parse(
    "-- mode: incremental\n-- key: id, no\n-- cursor: at\nSELECT id, no, at FROM sales.orders\n", Path("v.sql")
)
QUESTIONS = (
    Question("v", 100),
    Question("v", 100, since=pa.scalar(5)),
    Question("v", 100, want="keys"),
    Question("v", 100, is_without_cursor=True),
    Question("v", 100, after_key=(pa.scalar(1), pa.scalar(2)), to_key=(pa.scalar(3), pa.scalar(4))),
)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_page_is_one_select_of_the_dialect(dialect: str, question: Question) -> None:
    grammar = DIALECTS[dialect].grammar
    width = len(order_of(VIEW.subject("v"), question))
    for place in (Place(), Place("keyed", tuple(range(width))), Place("unkeyed")):
        sql = page_sql((VIEW.sql.strip(),), VIEW.subject("v"), question, place=place, grammar=grammar)
        text, values = rendered(sql, lambda _, number: f":value_{number}")
        (tree,) = sqlglot.parse(text, read=dialect)
        assert isinstance(tree, exp.Select)
        is_limited = place.part == "keyed"
        assert ("TOP (100)" in text) == (is_limited and dialect == "tsql")
        assert ("FETCH FIRST 100 ROWS ONLY" in text) == (is_limited and dialect != "tsql")
        assert text.count(":value_") == len(values)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_checks_of_rights_only_read(dialect: str) -> None:
    for check in DIALECTS[dialect].checks:
        if dialect == "" and "TABLE(" in check.query:
            continue  # sqlglot does not know Db2's table functions
        (tree,) = sqlglot.parse(check.query, read=dialect)
        assert isinstance(tree, exp.Query)
        assert len(tree.selects) == 2
    assert {check.code.split(".")[0] for check in DIALECTS[dialect].checks} <= {"right", "public"}


def test_names_are_quoted_as_each_dialect_does() -> None:
    compiled: dict[str, Any] = {"tsql": MSDialect(), "oracle": OracleDialect()}  # type: ignore[no-untyped-call]  # theirs
    for dialect, known in compiled.items():
        for name in ("select", "Mixed Case", "semi;colon"):
            assert DIALECTS[dialect].grammar.quote(name) == known.identifier_preparer.quote_identifier(name)
    assert mssql.WAYS.grammar.quote("a]b") == "[a]]b]"
    assert db2.WAYS.grammar.quote('a"b') == '"a""b"'


def test_where_and_as_whom_is_a_url_without_a_secret_in_its_text() -> None:
    some: dict[str, Any] = {"host": "db", "database": "shop", "user": "bridge"}
    assert "mssql+pyodbc://bridge@db:1433/shop" in str(mssql.url(MssqlConfig(**some), "acme"))
    assert "service_name=shop" in str(oracle.url(OracleConfig(**some), "acme"))
    assert str(db2.url(Db2Config(**some), "acme")) == "db2+ibm_db://bridge@db:50000/shop"


def test_a_driver_that_is_not_installed_is_said() -> None:
    url = db2.url(Db2Config(host="db", database="shop", user="bridge"), "acme")
    with pytest.raises(ConfigError) as caught:
        AlchemySession(lambda: url, Ways(db2.WAYS.grammar, package="ibm-db-sa")).open()
    assert "pip install ibm-db-sa" in caught.value.hint


def test_errors_are_the_bridges_own() -> None:
    assert isinstance(translate(OperationalError("x", {}, Exception("gone")), "reading"), SourceUnavailable)
    assert isinstance(translate(ProgrammingError("x", {}, Exception("no such table")), "reading"), SourceRefused)
    secret = translate(DataError("x", {}, Exception("value 'secret'")), "reading")
    assert "secret" not in str(secret)


def test_numbers_keep_every_digit() -> None:
    assert kind_of("n", int, ("n", int, None, None, 38, 0)).column.arrow == pa.decimal128(38, 0)
    assert kind_of("n", int, ("n", int, None, None, 10, 0)).column.arrow == pa.int64()
    assert kind_of("n", None).column.arrow == pa.large_string()
