"""PostgreSQL read through views: exact values, in pages, by a session that can do no harm, on every version here."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bridge.errors import SourceRefused, SourceUnavailable
from bridge.extraction.extractor import Page, Question
from bridge.model import Mark
from bridge.postgres.session import ConnectSettings, connect
from bridge.sources.postgres.tables import Capture, Tables
from bridge.sources.view.dialects.postgres import PostgresSession
from bridge.sources.view.extractor import ViewExtractor
from bridge.sources.view.lint import require
from bridge.sources.view.viewfile import parse
from demo.server import VERSIONS, Database, PostgresServer
from tests.integration.test_postgres_types import COLUMNS, HOSTILE, INSERT
from tests.machine import require as demand

DEADLINE_S = 10.0
FULL = "-- mode: full\n-- key: id\n"
THINGS = FULL + "SELECT * FROM public.things\n"


@dataclass
class Site:
    """A database with a login of ours, and what reads it."""

    database: Database
    opened: list[ViewExtractor] = field(default_factory=list)

    @property
    def settings(self) -> ConnectSettings:
        server = self.database.server
        return ConnectSettings("test", host=server.host, port=server.port, database=self.database.name, user="reader")

    def extractor(
        self, *, page_bytes: int = 1 << 20, values: dict[str, Any] | None = None, **views: str
    ) -> ViewExtractor:
        """Reads these view files, by stream."""
        session = PostgresSession(self.settings, waivers=frozenset({"public_temp"}), page_bytes=page_bytes)
        parsed = {name: parse(text, Path(f"{name}.sql")).given(values or {}) for name, text in views.items()}
        self.opened.append(ViewExtractor("erp", session, parsed, dialect="postgres"))
        self.opened[-1].open()
        return self.opened[-1]

    def sessions(self) -> list[str]:
        """The states of our sessions on the server."""
        query = "SELECT state FROM pg_stat_activity WHERE application_name = 'legacy-bridge/test/views'"
        return [str(row[0]) for row in self.database.sql(query)]


@pytest.fixture(scope="module", params=["15", "18"])
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    demand(request.param in VERSIONS, f"no PostgreSQL {request.param} here")
    with PostgresServer.start(version=request.param) as started:
        started.sql("CREATE ROLE reader LOGIN")
        yield started


@pytest.fixture
def site(server: PostgresServer) -> Iterator[Site]:
    """A database whose own settings would change what it prints, with a table of every kind of value."""
    database = server.create_database(f"test_{time.monotonic_ns()}")
    database.sql("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN net AS numeric(8,2)")
    database.sql(f"CREATE TABLE things ({', '.join(f'{name} {of}' for name, of in COLUMNS.items())})")
    database.sql(f"{INSERT}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    for name, value in HOSTILE.items():
        database.sql(f"ALTER DATABASE {database.name} SET {name} = '{value}'")
    database.sql(f"ALTER DATABASE {database.name} SET standard_conforming_strings = off")
    found = Site(database)
    yield found
    for extractor in found.opened:
        extractor.close()
    database.drop()


def pages(extractor: ViewExtractor, question: Question) -> list[Page]:
    """A whole reading, each resume through JSON."""
    found = [extractor.page(question)]
    while (resume := found[-1].resume) is not None:
        found.append(extractor.page(replace(question, resume=json.loads(json.dumps(resume)))))
    return found


def numbers(found: list[Page]) -> list[int]:
    """The ids that were read."""
    return [number for page in found for number in page.columns.column("id").to_pylist()]


def test_a_view_gives_each_column_the_type_that_a_change_log_gives_it(site: Site) -> None:
    page = site.extractor(things=THINGS).page(Question("things", 100))
    with connect(replace(site.settings, user="postgres"), purpose="test") as connection:
        table = Tables(connection, (), ()).describe(Capture("things", "public.things"))
    given = {column.name: column.type for column in page.shape.columns}
    assert given == {column.name: column.type for column in table.shape.columns} | {"net": "numeric(8,2)"}, (
        "of a domain the server tells the type below"
    )
    assert page.columns.schema.types == [column.arrow for column in table.shape.columns]
    assert page.columns.column("note").to_pylist() == ["grüße", "", None]
    assert page.columns.column("numbers").to_pylist() == [[1, None], None, None]
    assert {name: found.kinds.tolist() for name, found in page.marks.items()} == {
        "amount": [Mark.NAN],
        "anything": [Mark.MINUS_INFINITY],
        "weight": [Mark.PLUS_INFINITY],
        "small": [Mark.NAN],
        "at": [Mark.PLUS_INFINITY],
        "seen": [Mark.MINUS_INFINITY],
        "clock": [Mark.UNREADABLE],
        "numbers": [Mark.UNREADABLE],
    }


@pytest.mark.parametrize("key", ["id", "amount", "weight", "code", "note", "flag", "data", "day", "at", "seen", "mood"])
def test_a_reading_goes_on_behind_a_key_of_any_type(site: Site, key: str) -> None:
    text = f"-- mode: full\n-- key: {', '.join(dict.fromkeys([key, 'id']))}\nSELECT * FROM public.things\n"
    assert sorted(numbers(pages(site.extractor(things=text), Question("things", 2)))) == [1, 2, 3]


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_a_composite_value_with_a_null_in_it_is_a_value(site: Site, mode: str) -> None:
    """To the server it IS NULL as little as it IS NOT NULL."""
    site.database.sql("CREATE TYPE pair AS (a int, b text); CREATE TABLE pairs (p pair, id int)")
    site.database.sql("INSERT INTO pairs VALUES ((1, 'x'), 1), ((NULL, 'x'), 2), ((2, NULL), 3), (NULL, 4)")
    site.database.sql("GRANT SELECT ON pairs TO reader")
    header = {
        "full": "-- mode: full\n-- key: p, id\n",
        "incremental": "-- mode: incremental\n-- cursor: p\n-- key: id\n",
    }
    extractor = site.extractor(pairs=f"{header[mode]}SELECT p, id FROM public.pairs\n")
    found = pages(extractor, Question("pairs", 1))
    if mode == "incremental":
        found += pages(extractor, Question("pairs", 1, is_without_cursor=True))
    assert sorted(numbers(found)) == [1, 2, 3, 4]


@pytest.mark.parametrize("of", ["amount", "weight", "note", "day", "seen", "at", "id"])
def test_a_reading_begins_with_a_cursor_that_was_read_before(site: Site, of: str) -> None:
    text = f"-- mode: incremental\n-- key: id\n-- cursor: {of}\nSELECT * FROM public.things\n"
    extractor = site.extractor(things=text)
    since = extractor.page(Question("things", 10, is_by_key=True)).columns.column(of)[0]
    assert 1 in numbers(pages(extractor, Question("things", 10, since=since)))


def test_values_of_parameters_stay_values(site: Site) -> None:
    nasty = "x' OR true; DROP TABLE things; --\\ \" $$ %s :name grüße"
    site.database.sql("CREATE TABLE notes (id int, note text); GRANT SELECT ON notes TO reader")
    with connect(replace(site.settings, user="postgres"), purpose="test") as connection:
        connection.execute("BEGIN READ WRITE")
        connection.execute("INSERT INTO public.notes VALUES (1, %s), (2, 'other')", (nasty,))
        connection.execute("COMMIT")
    text = FULL + "-- parameter: note text\nSELECT id, note FROM public.notes WHERE note = :note\n"
    found = pages(site.extractor(values={"note": nasty}, notes=text), Question("notes", 10))
    assert found[0].columns.to_pylist() == [{"id": 1, "note": nasty}]


def test_a_string_means_what_lint_read_whatever_the_database_says(site: Site) -> None:
    """Where a backslash quotes, this would be a string, a call and another string."""
    text = FULL + r"SELECT 1 AS id, 'x\' || ', pg_sleep(1), ' AS what" + "\n"
    require(parse(text, Path("v.sql")), "postgres")
    page = site.extractor(v=text).page(Question("v", 10))
    assert page.columns.to_pylist() == [{"id": 1, "what": "x\\, pg_sleep(1), "}]


def test_parameters_of_every_type_are_bound_with_it(site: Site) -> None:
    text = FULL + (
        "-- parameter: a integer = 1\n-- parameter: b number = 1234.50\n-- parameter: c boolean = true\n"
        "-- parameter: d date = 2024-02-29\n-- parameter: e timestamp = 2024-02-29T12:34:56.789\n"
        "-- parameter: f timestamp = 2024-06-01T00:00:00+02:00\n"
        "SELECT id FROM public.things\n"
        "WHERE id = :a AND amount = :b AND flag = :c AND day = :d AND at = :e AND seen = :f\n"
    )
    assert numbers(pages(site.extractor(things=text), Question("things", 10))) == [1]


def test_a_view_that_is_redefined_within_a_reading_gives_no_value_of_another_type(site: Site) -> None:
    """F-6: the page says what its columns are, as they are."""
    site.database.sql("CREATE VIEW v AS SELECT id, code AS what FROM things; GRANT SELECT ON v TO reader")
    extractor = site.extractor(v=FULL + "SELECT * FROM public.v\n")
    first = extractor.page(Question("v", 1))
    site.database.sql(
        "DROP VIEW v; CREATE VIEW v AS SELECT weight AS what, id, day FROM things; GRANT SELECT ON v TO reader"
    )
    second = extractor.page(Question("v", 5, resume=first.resume))
    assert [column.type for column in first.shape.columns] == ["integer", "character(6)"]
    assert [column.name for column in second.shape.columns] == ["what", "id", "day"]
    assert second.columns.schema.field("what").type == pa.float64()
    assert numbers([first, second]) == [1, 2, 3]


def test_a_view_that_lost_its_key_is_told(site: Site) -> None:
    site.database.sql("CREATE VIEW v AS SELECT id, code FROM things; GRANT SELECT ON v TO reader")
    extractor = site.extractor(v=FULL + "SELECT * FROM public.v\n")
    first = extractor.page(Question("v", 1))
    site.database.sql("DROP VIEW v; CREATE VIEW v AS SELECT code FROM things; GRANT SELECT ON v TO reader")
    for _ in range(2):
        with pytest.raises(SourceRefused, match="id"):
            extractor.page(Question("v", 5, resume=first.resume))


def test_an_answer_is_cut_when_it_is_larger_than_is_held_at_once_and_nothing_is_lost(site: Site) -> None:
    site.database.sql("CREATE TABLE big AS SELECT n AS id, repeat('x', 10000) AS x FROM generate_series(1, 200) n")
    site.database.sql("GRANT SELECT ON big TO reader")
    found = pages(
        site.extractor(page_bytes=100_000, big=FULL + "SELECT id, x FROM public.big\n"), Question("big", 10_000)
    )
    assert numbers(found) == list(range(1, 201))
    assert max(page.size_bytes for page in found) < 2_000_000
    assert len(found) > 2


def test_a_cancelled_page_ends_within_a_second_and_leaves_no_session(site: Site) -> None:
    """F-3: the kill switch."""
    text = FULL + "SELECT sum(a.n * b.n) AS id FROM generate_series(1, 100000) a(n), generate_series(1, 100000) b(n)\n"
    extractor = site.extractor(slow=text)
    caught: list[BaseException] = []

    def read() -> None:
        try:
            extractor.page(Question("slow", 10))
        except SourceUnavailable as error:
            caught.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    wait_for(lambda: site.sessions() == ["active"])
    extractor.cancel()
    reader.join(DEADLINE_S)
    assert caught, "the page ends as unavailable"
    wait_for(lambda: site.sessions() == [])


def test_a_cancellation_between_pages_ends_the_session_too(site: Site) -> None:
    extractor = site.extractor(things=THINGS)
    extractor.page(Question("things", 1))
    extractor.cancel()
    wait_for(lambda: site.sessions() == [])
    assert numbers(pages(extractor, Question("things", 10))) == [1, 2, 3], "and the next page connects again"


def test_a_runaway_view_ends_at_its_own_time(site: Site) -> None:
    text = FULL + (
        "-- statement_timeout: 200ms\n"
        "SELECT sum(a.n * b.n) AS id FROM generate_series(1, 100000) a(n), generate_series(1, 100000) b(n)\n"
    )
    extractor = site.extractor(slow=text)
    with pytest.raises(SourceUnavailable, match="statement timeout") as caught:
        extractor.page(Question("slow", 10))
    assert "view explain" in caught.value.hint
    assert site.sessions() == ["idle"]


def test_a_fault_of_the_view_is_its_authors_and_shows_no_value(site: Site) -> None:
    extractor = site.extractor(v=FULL + "SELECT id, note::integer AS n FROM public.things\n")
    with pytest.raises(SourceRefused) as caught:
        extractor.page(Question("v", 10))
    assert "grüße" not in str(caught.value)
    assert "view sample" in caught.value.hint


def test_what_a_function_behind_a_view_raises_is_told_as_a_fault_of_the_view(site: Site) -> None:
    site.database.sql(
        "CREATE FUNCTION price_of(integer) RETURNS integer LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'none of grüße'; END $$"
    )
    site.database.sql("CREATE VIEW v AS SELECT id, price_of(id) AS p FROM things; GRANT SELECT ON v TO reader")
    extractor = site.extractor(v=FULL + "SELECT id, p FROM public.v\n")
    with pytest.raises(SourceRefused, match="P0001") as caught:
        extractor.page(Question("v", 10))
    assert "grüße" not in str(caught.value)
    assert "view sample" in caught.value.hint


def test_a_right_that_was_taken_away_is_told_by_its_name(site: Site) -> None:
    extractor = site.extractor(things=THINGS)
    site.database.sql("REVOKE SELECT ON things FROM reader")
    with pytest.raises(SourceRefused, match="permission denied for table things") as refused:
        extractor.page(Question("things", 10))
    assert "dba-letter" in refused.value.hint
    assert site.sessions() == ["idle"]
    site.database.sql("GRANT SELECT ON things TO reader")
    assert numbers(pages(extractor, Question("things", 10))) == [1, 2, 3]


def test_a_key_that_no_range_can_be_asked_by_is_refused(site: Site) -> None:
    site.database.sql("CREATE TABLE lists AS SELECT ARRAY[n, n] AS id FROM generate_series(1, 3) n")
    site.database.sql("GRANT SELECT ON lists TO reader")
    extractor = site.extractor(lists=FULL + "SELECT id FROM public.lists\n")
    found = pages(extractor, Question("lists", 1))
    assert sum(page.columns.num_rows for page in found) == 3
    with pytest.raises(SourceRefused, match="range of keys") as caught:
        extractor.page(Question("lists", 1, after_key=(found[0].columns.column("id")[0],)))
    assert "cast it to text" in caught.value.hint


@pytest.mark.parametrize(
    "grant",
    ["ALTER ROLE reader SUPERUSER", "ALTER ROLE reader CREATEROLE", "GRANT INSERT ON things TO reader",
     "GRANT pg_write_all_data TO reader"],
)  # fmt: skip
def test_a_login_that_could_write_is_refused(site: Site, grant: str) -> None:
    """I9."""
    site.database.sql(grant)
    try:
        with pytest.raises(SourceRefused, match="not to start"):
            site.extractor(things=THINGS)
    finally:
        site.database.sql("ALTER ROLE reader NOSUPERUSER NOCREATEROLE; REVOKE pg_write_all_data FROM reader")


def test_the_session_is_in_no_transaction_between_pages_and_uses_one_core(site: Site) -> None:
    extractor = site.extractor(things=THINGS)
    extractor.page(Question("things", 1))
    assert site.sessions() == ["idle"]


def test_a_standby_that_lost_its_primary_is_behind() -> None:
    demand("18" in VERSIONS, "no PostgreSQL 18 here")
    with PostgresServer.start(version="18") as primary, PostgresServer.standby_of(primary) as standby:
        primary.sql("CREATE ROLE reader LOGIN")
        wait_for(lambda: standby.sql("SELECT 1 FROM pg_roles WHERE rolname = 'reader'"))
        settings = ConnectSettings("test", host=standby.host, port=standby.port, database="postgres", user="reader")
        session = PostgresSession(settings, waivers=frozenset({"public_temp"}))
        session.open()
        wait_for(lambda: session.probe().replica_lag_s == 0)
        primary.stop()
        wait_for(lambda: session.probe().replica_lag_s != 0)
        assert (session.probe().replica_lag_s or 0) > 0
        session.close()


def test_the_server_says_how_busy_it_is_only_where_we_may_know(site: Site) -> None:
    assert site.extractor(things=THINGS).probe().busy_sessions is None
    site.database.sql("GRANT pg_read_all_stats TO reader")
    try:
        load = site.extractor(things=THINGS).probe()
        assert load.busy_sessions is not None
        assert load.replica_lag_s == 0
    finally:
        site.database.sql("REVOKE pg_read_all_stats FROM reader")


def wait_for(question: Any) -> None:  # noqa: ANN401  any callable
    """Wait until it is so."""
    deadline = time.monotonic() + DEADLINE_S
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.01)
