"""Values of MariaDB, SQLite and Firebird come out exactly, or marked with what was there; parameters are values."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from datetime import time as clock
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.errors import SourceRefused
from bridge.extraction.extractor import Extractor, Page, Question
from bridge.findings import Level
from bridge.sources.view.dialects.firebird.session import FirebirdSession
from bridge.sources.view.dialects.mysql.session import MysqlSession
from bridge.sources.view.dialects.sqlite.session import SqliteSession
from bridge.sources.view.extractor import ViewExtractor
from bridge.sources.view.viewfile import parse
from tests.legacy import FirebirdLegacy, MariaLegacy, SqliteLegacy

FULL = "-- mode: full\n-- key: id\n"


def one(extractor: Extractor) -> tuple[dict[str, Any], Page]:
    """The first row of the view `v`, and its page."""
    with contextlib.closing(extractor):
        page = extractor.page(Question("v", 1))
    return page.columns.to_pylist()[0], page


def raw(page: Page, column: str) -> bytes | None:
    """What is kept of the first row's marked cell."""
    return page.marks[column].raw[0]


def test_mariadb_gives_extremes_exactly(mariadb_legacy: MariaLegacy) -> None:
    wide = "9" * 35 + "." + "9" * 30
    mariadb_legacy.run(
        "CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, tiny TINYINT, d DECIMAL(65,30), f FLOAT, g DOUBLE, b BIT(64),"
        " y YEAR, e ENUM('a','b'), s SET('x','y'), j JSON, raw BINARY(4), vb VARBINARY(5), c CHAR(5), l DATETIME(6),"
        " ts TIMESTAMP(6) NULL, day DATE, clock TIME(6), money DOUBLE)",
        f"INSERT INTO t VALUES (18446744073709551615, -128, {wide}, 0.1, 1e-307, b'{'1' * 64}', 2155, 'b', 'x,y',"
        " '{\"n\": 9007199254740993}', x'00ff', x'00', 'ab', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07',"
        " '1000-01-01', '23:59:59.999999', 1250.50)",
    )
    row, page = one(mariadb_legacy.extractor(v=FULL + "SELECT * FROM t\n"))
    single = 0.10000000149011612  # what FLOAT holds of 0.1: the server would print six digits of it
    assert row == {
        "id": 2**64 - 1, "tiny": -128, "d": Decimal(wide), "f": single, "g": 1e-307, "b": 2**64 - 1, "y": 2155,
        "e": "b", "s": "x,y", "j": '{"n": 9007199254740993}', "raw": b"\0\xff\0\0", "vb": b"\0", "c": "ab",
        "l": datetime.fromisoformat("9999-12-31T23:59:59.999999"), "ts": datetime(2038, 1, 19, 3, 14, 7, tzinfo=UTC),
        "day": date(1000, 1, 1), "clock": clock(23, 59, 59, 999999), "money": 1250.5,
    }  # fmt: skip
    assert not page.marks


def test_mariadb_marks_what_is_no_value(mariadb_legacy: MariaLegacy) -> None:
    mariadb_legacy.run(
        "SET SESSION sql_mode = ''",
        "CREATE TABLE t (id INT PRIMARY KEY, z DATETIME, m DATE, span TIME)",
        "INSERT INTO t VALUES (1, '0000-00-00', '2026-02-00', '838:59:59')",
    )
    row, page = one(mariadb_legacy.extractor(v=FULL + "SELECT * FROM t\n"))
    assert row == {"id": 1, "z": None, "m": None, "span": None}
    kept = [raw(page, name) for name in ("z", "m", "span")]
    assert kept == [b"0000-00-00 00:00:00", b"2026-02-00", b"838:59:59"]


def test_mariadb_text_comes_by_its_declared_character_set(mariadb_legacy: MariaLegacy) -> None:
    mariadb_legacy.run(
        "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20) CHARACTER SET latin1, b VARCHAR(20) CHARACTER SET utf8mb3,"
        " c VARCHAR(20) CHARACTER SET utf8mb4, d VARCHAR(20) CHARACTER SET latin1, e VARCHAR(9) CHARACTER SET ucs2)",
        "INSERT INTO t VALUES (1, 'Öl € ß', 'Öl', '🛢', CONVERT(CONVERT('Öl' USING binary) USING latin1), 'Ωß')",
    )
    row, page = one(mariadb_legacy.extractor(v=FULL + "SELECT * FROM t\n"))
    assert row == {"id": 1, "a": "Öl € ß", "b": "Öl", "c": "🛢", "d": "Ã\u2013l", "e": "Ωß"}
    assert not page.marks


def test_mariadb_keys_of_any_kind_go_on(mariadb_legacy: MariaLegacy) -> None:
    for number, (of, values) in enumerate(_KEYS.items()):
        table = f"k{number}"
        mariadb_legacy.run(f"CREATE TABLE {table} (id {of} PRIMARY KEY)")
        mariadb_legacy.run(*(f"INSERT INTO {table} VALUES ({value})" for value in values))
        with contextlib.closing(mariadb_legacy.extractor(v=FULL + f"SELECT id FROM {table}\n")) as extractor:
            resume, found = None, 0
            while True:
                page = extractor.page(Question("v", 1, resume=resume))
                found, resume = found + page.columns.num_rows, page.resume
                if resume is None:
                    break
        assert found == len(values), of


_KEYS = {
    "BIGINT UNSIGNED": ("0", "9223372036854775807", "18446744073709551614", "18446744073709551615"),
    "DECIMAL(65,30)": ("-1.5", "0", "0.000000000000000000000000000001", "9" * 35),
    "VARBINARY(9)": ("x'00'", "x''", "x'ff27'", "'a'"),
    "DATETIME(6)": ("'1000-01-01'", "'2026-01-01 00:00:00.000001'", "'2026-01-01 00:00:00.000002'"),
    "TIMESTAMP(3)": ("'2026-03-29 00:30:00.001'", "'2026-03-29 00:30:00.002'"),
    "ENUM('b','a','c')": ("'b'", "'a'", "'c'"),
    "DOUBLE": ("-1e300", "0.1", "0.2", "1e-300"),
    "VARCHAR(9) CHARACTER SET latin1": ("'a'", "'Ä'", "'ö'", "'ß'"),
}


def test_sqlite_holds_cells_to_their_declared_types(sqlite_legacy: SqliteLegacy) -> None:
    sqlite_legacy.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, d DECIMAL(12,2), r REAL, s TEXT, x BLOB, at DATETIME,"
        " day DATE, flag BOOLEAN, bad INTEGER, cents DECIMAL(12,2), broken TEXT)",
        "INSERT INTO t VALUES (9223372036854775807, -1, 1250.50, 0.1, 'ä', x'00ff', '2026-01-31 12:00:00.5',"
        " '1899-12-30', 1, 'seven', 0.1 + 0.2, CAST(x'4fd66c' AS TEXT))",
    )
    row, page = one(sqlite_legacy.extractor(v=FULL + "SELECT t.*, n + 1 AS more FROM t\n"))
    assert row == {
        "id": 2**63 - 1, "n": -1, "d": Decimal("1250.50"), "r": 0.1, "s": "ä", "x": b"\0\xff",
        "at": datetime(2026, 1, 31, 12, 0, 0, 500000), "day": date(1899, 12, 30), "flag": True, "bad": None,  # noqa: DTZ001  local
        "cents": None, "broken": None, "more": "0",
    }  # fmt: skip
    assert raw(page, "bad") == b"seven"
    assert raw(page, "cents") == b"0.30000000000000004"
    assert raw(page, "broken") == b"O\xd6l"


def test_firebird_gives_extremes_exactly(firebird_legacy: FirebirdLegacy) -> None:
    firebird_legacy.run(
        "CREATE TABLE t (id BIGINT NOT NULL PRIMARY KEY, s SMALLINT, d NUMERIC(18,4), g DOUBLE PRECISION, c CHAR(5),"
        " v VARCHAR(20), o CHAR(3) CHARACTER SET OCTETS, born DATE, seen TIMESTAMP, clock TIME, flag BOOLEAN,"
        " note BLOB SUB_TYPE TEXT, img BLOB, n VARCHAR(9) CHARACTER SET NONE)",
        "INSERT INTO t VALUES (9223372036854775807, -32768, -99999999999999.9999, 1250.50, 'äb', '', x'00ff01',"
        " '1899-12-30', '9999-12-31 23:59:59.9999', '23:59:59.9999', TRUE, 'größe', x'00ff', x'4fd66c')",
    )
    row, page = one(firebird_legacy.extractor(v="-- mode: full\n-- key: ID\nSELECT * FROM t\n"))
    assert row == {
        "ID": 2**63 - 1, "S": -32768, "D": Decimal("-99999999999999.9999"), "G": 1250.5, "C": "äb   ", "V": "",
        "O": b"\0\xff\1", "BORN": date(1899, 12, 30), "SEEN": datetime(9999, 12, 31, 23, 59, 59, 999900),  # noqa: DTZ001  local
        "CLOCK": clock(23, 59, 59, 999900), "FLAG": True, "NOTE": "größe", "IMG": b"\0\xff", "N": None,
    }  # fmt: skip
    assert raw(page, "N") == b"O\xd6l"


def test_firebird_text_without_a_character_set_is_read_by_the_declared_one(firebird_legacy: FirebirdLegacy) -> None:
    firebird_legacy.run(
        "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, n VARCHAR(9) CHARACTER SET NONE)",
        "INSERT INTO t VALUES (1, x'4fd66c')",
    )
    view = parse("-- mode: full\n-- key: ID\nSELECT * FROM t\n", Path("v.sql"))
    session = FirebirdSession(firebird_legacy.settings(charset="WIN1252"))
    row, _ = one(ViewExtractor("crm", session, {"v": view}, dialect=""))
    assert row == {"ID": 1, "N": "OÖl"}


def test_a_row_deleted_and_made_again_between_polls_is_seen_as_it_is_now(firebird_legacy: FirebirdLegacy) -> None:
    firebird_legacy.run(
        "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(9))",
        "INSERT INTO t VALUES (1, 'old')",
        "INSERT INTO t VALUES (2, 'gone')",
    )
    with contextlib.closing(firebird_legacy.extractor(v=FULL + "SELECT id, name FROM t\n")) as extractor:
        extractor.page(Question("v", 9))
        firebird_legacy.run("DELETE FROM t", "INSERT INTO t VALUES (1, 'new')")
        found = extractor.page(Question("v", 9)).columns.to_pylist()
        assert found == [{"id": 1, "name": "new"}]
        keys = extractor.page(Question("v", 9, want="keys")).columns.to_pylist()
        assert keys == [{"id": 1}]  # what the next sweep tells the delete of row 2 by


@pytest.mark.parametrize(
    "grant",
    ["INSERT ON {db}.*", "FILE ON *.*", "EXECUTE ON {db}.*", "LOCK TABLES ON {db}.*", "SELECT ON {db}.* WITH GRANT"],
)
def test_mariadb_refuses_a_login_that_may_do_more(mariadb_legacy: MariaLegacy, grant: str) -> None:
    name = mariadb_legacy.database.name
    right = grant.format(db=name).removesuffix(" WITH GRANT")
    option = " WITH GRANT OPTION" if grant.endswith("WITH GRANT") else ""
    mariadb_legacy.run(f"GRANT {right} TO {name}@'127.0.0.1'{option}")
    with pytest.raises(SourceRefused, match="not read-only"):
        MysqlSession(mariadb_legacy.settings()).open()
    waived = MysqlSession(mariadb_legacy.settings(waivers=frozenset({"can_write"})))
    waived.open()
    assert {one.level for one in waived.inspect()} == {Level.WARN}
    waived.close()


def test_mariadb_refuses_rights_that_come_by_a_role(mariadb_legacy: MariaLegacy) -> None:
    name = mariadb_legacy.database.name
    mariadb_legacy.run(
        f"CREATE ROLE r_{name}", f"GRANT DELETE ON {name}.* TO r_{name}", f"GRANT r_{name} TO {name}@'127.0.0.1'"
    )
    with pytest.raises(SourceRefused, match="DELETE"):
        MysqlSession(mariadb_legacy.settings()).open()
    mariadb_legacy.run(f"DROP ROLE r_{name}")


@pytest.mark.parametrize("grant", ["INSERT ON t", "USAGE ON SEQUENCE g", "EXECUTE ON PROCEDURE p", "ALL ON t"])
def test_firebird_refuses_a_login_that_may_do_more(firebird_legacy: FirebirdLegacy, grant: str) -> None:
    firebird_legacy.run(
        "CREATE TABLE t (id INTEGER)", "CREATE SEQUENCE g", "CREATE PROCEDURE p AS BEGIN DELETE FROM t; END"
    )
    session = FirebirdSession(firebird_legacy.settings())
    session.open()
    session.close()
    firebird_legacy.run(f"GRANT {grant} TO PUBLIC")
    with pytest.raises(SourceRefused, match="not read-only"):
        session.open()
    firebird_legacy.run(f"REVOKE {grant} FROM PUBLIC")


def test_firebird_refuses_its_owner(firebird_legacy: FirebirdLegacy) -> None:
    session = FirebirdSession(firebird_legacy.settings(user="SYSDBA", password=lambda: "masterkey"))
    with pytest.raises(SourceRefused, match="may do everything"):
        session.open()


HOSTILE = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60),
    st.lists(
        st.sampled_from(["'", '"', "\\", ";", "--", "/*", "*/", "DROP TABLE t", " OR 1=1", "x'", "%s", "?", ":p", "`"]),
        max_size=12,
    ).map("".join),
)


class Asked:
    """A view with a parameter, asked with many values in one session."""

    def __init__(self, session: Any, dialect: str, text: str) -> None:  # noqa: ANN401  any dialect's
        self.session, self.dialect, self.text = session, dialect, text

    def answer(self, value: str) -> list[dict[str, Any]]:
        view = parse(f"-- mode: full\n-- key: id\n-- parameter: p text\n{self.text}\n", Path("v.sql")).given(
            {"p": value}
        )
        extractor = ViewExtractor("any", self.session, {"v": view}, dialect=self.dialect)
        found: list[dict[str, Any]] = extractor.page(Question("v", 10)).columns.to_pylist()
        return found


@pytest.fixture(params=["mariadb", "sqlite", "firebird"])
def asked(request: pytest.FixtureRequest) -> Iterator[Asked]:
    legacy = request.getfixturevalue(f"{request.param}_legacy")
    legacy.run(
        "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY)", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"
    )
    made = {
        "mariadb": lambda: Asked(MysqlSession(legacy.settings()), "mysql", "SELECT id, :p AS p FROM t WHERE id = 1"),
        "sqlite": lambda: Asked(SqliteSession(legacy.path), "sqlite", "SELECT id, :p AS p FROM t WHERE id = 1"),
        "firebird": lambda: Asked(
            FirebirdSession(legacy.settings()), "", 'SELECT id AS "id", :p AS "p" FROM t WHERE id = 1'
        ),
    }[request.param]()
    yield made
    made.session.close()
    assert [tuple(row) for row in legacy.run("SELECT id FROM t ORDER BY id")] == [(1,), (2,)]


@settings(
    max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(value=HOSTILE)
def test_a_parameter_is_a_value_whatever_it_says(asked: Asked, value: str) -> None:
    unquoted = value[1:-1].replace("''", "'") if len(value) > 1 and value[0] == value[-1] == "'" else value
    assert asked.answer(value) == [{"id": 1, "p": unquoted}]
