"""Keys and cursors of every type, whatever they say: a reading goes on behind each, and each is found when asked for.

This is where a value that a legacy system holds comes back in SQL of ours (F-2): behind the last row of a page, as a
chosen key, at the ends of a range, as a cursor. PROPERTY_KEYS sets how many keys of a type `make soak` tries.
"""

import contextlib
import glob
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import strategies as st

from bridge.extraction.extractor import Page, Question
from bridge.sources.view.extractor import ViewExtractor
from bridge.sources.view.parameters import read_parameter
from demo.server import Database, PostgresServer
from tests.grounds.postgres import PostgresGround
from tests.legacy import PostgresLegacy, with_reader
from tests.typed import Given, Ground, Typed, drawn, view_of

KEYS = int(os.environ.get("PROPERTY_KEYS", "1000"))
# What somebody would write into a field to have SQL run by whoever reads it, by what it is written for.
ATTACKS = (
    "' OR '1'='1", "' OR 1=1 --", "'; DROP TABLE canary; --", "\\'; DROP TABLE canary; -- ", "\\", "\\\\'", "''",
    "'''", "'; DELETE FROM canary; --", "') OR ('a'='a", "' UNION SELECT 1, 2 --", "1; UPDATE canary SET n = 0", "/*",
    "*/", "--", '"; DROP TABLE canary; --', "` OR 1=1 #", "x' AND SLEEP(5) AND 'a'='a", "'; SELECT pg_sleep(5); --",
    "$$; DROP TABLE canary; $$", "$q$", "E'\\x27'", "U&'\\0027'", "x'27'", "0x27", "_utf8mb4'x'", "%s", "%(a)s", "%%",
    "?", ":p", ":1", "{0}", "@x", "@@version", "'||(SELECT 1)||'", "'+(SELECT 1)+'", "\ufeff'", "\u02bc OR 1=1",
    "\uff07 OR 1=1", "%27%20OR%201=1", "\t\n\r'", "NULL", "'::text; DROP TABLE canary; --", "\\.", "\\N",
    "COPY canary FROM PROGRAM 'id'", "; EXECUTE BLOCK AS BEGIN END", "ATTACH 'x' AS y",
    "' INTO OUTFILE '/tmp/legacy-bridge-injection' -- ", "load_extension('x')", "\u001a'", "\b'", "¿'",
    "縗' OR 1=1 -- ", "¥' OR 1=1 -- ",
)  # fmt: skip
HOSTILE = st.one_of(
    st.sampled_from(ATTACKS),
    st.lists(st.sampled_from([*ATTACKS, "a", " ", "ä", "日"]), max_size=4).map("".join),
    st.tuples(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8), st.sampled_from(ATTACKS)
    ).map("".join),
).map(lambda text: text[:40])


_LOOKS = {  # what a statement that got in would change
    "postgres": "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
    "mariadb": "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1",
    "sqlite": "SELECT name, sql FROM sqlite_master ORDER BY 1",
    "firebird": "SELECT RDB$RELATION_NAME FROM RDB$RELATIONS ORDER BY 1",
}


@contextlib.contextmanager
def unharmed(ground: Ground) -> Iterator[None]:
    """Nothing in the database, nor any file that the attacks name, is another in the end."""
    ground.run("CREATE TABLE canary (n INTEGER)", "INSERT INTO canary VALUES (1)")
    kind = type(ground).__module__.rpartition(".")[2]

    def look() -> object:
        left = glob.glob("/tmp/legacy-bridge-injection*")  # noqa: PTH207, S108  a pattern; where they would write
        found = [tuple(row) for row in ground.run(_LOOKS[kind])]
        return found, [tuple(row) for row in ground.run("SELECT * FROM canary")], left

    before = look()
    yield
    assert look() == before


class Keyed:
    """A table with one column of a type, whose values the database tells apart, and how its rows are read."""

    def __init__(self, ground: Ground, table: str, typed: Typed, values: Sequence[Given]) -> None:
        self.ground, self.table = ground, table
        ground.fill(table, {"k": typed}, [[value] for value in values])
        name, k = ground.quote(table), ground.quote("k")
        number = ground.quote("id")
        first = f"SELECT m FROM (SELECT MIN({number}) AS m FROM {name} GROUP BY {k}) x"
        ground.run(f"DELETE FROM {name} WHERE {number} NOT IN ({first})")
        self.ids = {int(row[0]) for row in ground.run(f"SELECT {number} FROM {name} WHERE {k} IS NOT NULL")}

    def by_key(self) -> ViewExtractor:
        return self.ground.reads(self.table, key=("k",))

    def by_cursor(self) -> ViewExtractor:
        return self.ground.reads(self.table, mode="incremental", cursor="k")


def read(extractor: ViewExtractor, question: Question) -> list[Page]:
    """A whole reading; where it goes on is kept as the journal would keep it."""
    found: list[Page] = []
    resume = None
    while True:
        page = extractor.page(replace(question, resume=resume))
        found.append(page)
        assert len(found) < 10_000
        if page.resume is None:
            return found
        resume = json.loads(json.dumps(page.resume, allow_nan=False))


def ids(pages: Sequence[Page]) -> list[int]:
    return [number for page in pages for number in page.columns.column("id").to_pylist()]


def keys_of(pages: Sequence[Page]) -> list[tuple[int, pa.Scalar]]:
    """The rows whose key was read, with it."""
    found = [
        (page.columns.column("id")[n].as_py(), page.columns.column("k")[n])
        for page in pages
        for n in range(page.columns.num_rows)
    ]
    return [(number, key) for number, key in found if key.is_valid]


def check(keyed: Keyed, limit: int, *, is_typed: bool) -> None:
    """Every way in which a key or a cursor comes back in SQL; numbers among texts have an order, but no name of it."""
    with contextlib.closing(keyed.by_key()) as extractor:
        whole = read(extractor, Question("s", limit))
        order = ids(whole)
        assert sorted(order) == sorted(keyed.ids)
        known = keys_of(whole)
        for at in range(0, len(known), 40):
            part = known[at : at + 40]
            chosen = pa.record_batch({"k": pa.array([key for _, key in part])})
            page = extractor.page(Question("s", 1000, keys=chosen))
            found, wanted = sorted(ids([page])), sorted(number for number, _ in part)
            assert found == wanted if is_typed else set(found) >= set(wanted)
        if not is_typed:
            return
        for low, high in zip(known[:: limit * 2], known[limit :: limit * 2], strict=False):
            question = Question("s", limit, after_key=(low[1],), to_key=(high[1],))
            assert ids(read(extractor, question)) == order[order.index(low[0]) + 1 : order.index(high[0]) + 1]
    with contextlib.closing(keyed.by_cursor()) as extractor:
        assert ids(read(extractor, Question("s", limit))) == order
        for number, key in known[:: limit * 3]:
            assert ids(read(extractor, Question("s", limit * 5, since=key))) == order[order.index(number) :]


_NO_KEYS = {"json", "note", "image"}  # of types that some database does not sort


def check_types(ground: Ground, count: int) -> None:
    """Every type that sorts."""
    with unharmed(ground):
        for number, (label, typed) in enumerate(ground.types.items()):
            if label in _NO_KEYS:
                continue
            values = [value for value in drawn(typed.values, count) if value.bound is not None]
            if label == "text":
                values += [Given(text, text) for text in drawn(HOSTILE, count)]
            table = f"keys{number}"
            try:
                check(Keyed(ground, table, typed, values), 7, is_typed=bool(typed.sql))
            except BaseException as error:
                error.add_note(f"keys of {typed.sql}")
                raise
            ground.run(f"DROP TABLE {ground.quote(table)}")


def test_a_reading_goes_on_behind_keys_and_cursors_of_every_type(ground: Ground) -> None:
    """F-2."""
    check_types(ground, 15)


@pytest.mark.soak
def test_a_reading_goes_on_behind_many_keys_of_every_type(ground: Ground) -> None:
    """The same over 1,000 of each type."""
    check_types(ground, KEYS)


def check_parameters(ground: Ground, count: int) -> None:
    """A parameter finds the row that says the same, and no other."""
    texts = [text for text in drawn(HOSTILE, count) if not (len(text) > 1 and text[0] == text[-1] == "'")]
    with unharmed(ground):
        keyed = Keyed(ground, "asked", ground.types["text"], [Given(text, text) for text in texts])
        sql = f"SELECT {ground.quote('id')} FROM {ground.named('asked')} WHERE {ground.quote('k')} = :p"
        with contextlib.closing(ground.session()) as session:
            for number in sorted(keyed.ids):
                given = read_parameter("p text").given(texts[number])
                view = view_of("", sql=sql, parameters=(given,))
                asked = ViewExtractor("any", session, {"s": view}, dialect=ground.dialect)
                assert ids(read(asked, Question("s", 2))) == [number], texts[number]
        ground.run(f"DROP TABLE {ground.quote('asked')}")


def test_a_parameter_finds_the_row_that_says_the_same_and_no_other(ground: Ground) -> None:
    """F-2."""
    check_parameters(ground, 25)


@pytest.mark.soak
def test_many_parameters_find_the_row_that_says_the_same_and_no_other(ground: Ground) -> None:
    """The same with 1,000 texts."""
    check_parameters(ground, KEYS)


def test_names_of_tables_and_columns_stay_names(ground: Ground) -> None:
    """F-2: from the configuration, a view's header, or a contract."""
    whole = Typed("INTEGER", st.nothing())
    known = {name.casefold(): name for name in ATTACKS if name.isprintable() and len(name.encode()) <= 30}
    names = [name for name in known.values() if name == name.strip() and name not in ("", ".")]
    with unharmed(ground):
        for at in range(0, len(names), 8):
            table, *columns = names[at : at + 8]
            rows = [[Given(9 - number, 9 - number), *[Given(number, number)] * len(columns)] for number in range(5)]
            ground.fill(table, dict.fromkeys([table, *columns], whole), rows)
            for cursor in columns:
                with contextlib.closing(
                    ground.reads(table, mode="incremental", key=(table,), cursor=cursor)
                ) as extractor:
                    pages = read(extractor, Question("s", 2))
                    assert ids(pages) == list(range(5)), cursor
                    keys = pages[0].columns.select([table])
                    assert sorted(ids([extractor.page(Question("s", 9, keys=keys))])) == [0, 1], table
                    assert ids(read(extractor, Question("s", 2, since=pa.scalar(4, keys.column(0).type)))) == [4], (
                        cursor
                    )
            ground.run(f"DROP TABLE {ground.quote(table)}")


def test_names_of_types_stay_names(postgres_legacy: PostgresLegacy) -> None:
    """F-2: PostgreSQL's literals are typed, and a database may call its types what it likes."""
    ground = PostgresGround(postgres_legacy)
    names = [name for name in ATTACKS if name and len(name.encode()) <= 60]
    with unharmed(ground):
        types = [f"public.{ground.quote(name)}" for name in names]
        ground.run(*(f"CREATE TYPE {of} AS ENUM ('b', '?', 'a')" for of in types))
        columns = {f"k{number}": Typed(of, st.nothing()) for number, of in enumerate(types)}
        ground.fill("typed", columns, [[Given(value, value)] * len(types) for value in ("a", "b", "?")])
        for number, name in enumerate(names):
            with contextlib.closing(ground.reads("typed", key=(f"k{number}",))) as extractor:
                pages = read(extractor, Question("s", 1))
                assert ids(pages) == [1, 2, 0], name
                chosen = pages[1].columns.select([f"k{number}"])
                assert ids([extractor.page(Question("s", 9, keys=chosen))]) == [2], name
        ground.run("DROP TABLE typed")


@pytest.mark.parametrize(("encoding", "codec"), [("SQL_ASCII", None), ("LATIN1", "latin1"), ("WIN1252", "cp1252")])
def test_keys_go_on_in_a_database_of_any_encoding(
    postgres_server: PostgresServer, encoding: str, codec: str | None
) -> None:
    """D3: of none at all, whatever bytes there are; the rest of the reading is not lost behind them."""
    name = f"keys_{encoding.lower()}_{os.getpid()}"
    postgres_server.sql(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    database = Database(postgres_server, name)
    values = st.binary(min_size=1, max_size=9).filter(lambda raw: 0 not in raw)
    if codec is not None:
        letters = st.characters(codec=codec, exclude_characters="\0")
        values = st.text(letters, min_size=1, max_size=9).map(lambda text: text.encode(codec))
    raws = sorted(set(drawn(values, 120)))
    with_reader(database)
    database.sql("CREATE TABLE held (id integer PRIMARY KEY, k text); GRANT SELECT ON held TO legacy_reader")
    for number, raw in enumerate(raws):
        database.sql(f"INSERT INTO held VALUES ({number}, convert_from('\\x{raw.hex()}', '{encoding}'))")
    ground = PostgresGround(PostgresLegacy(database))
    with contextlib.closing(ground.reads("held", key=("k",))) as extractor:
        pages = read(extractor, Question("s", 7))
        assert sorted(ids(pages)) == list(range(len(raws)))
        found = {number: key.as_py() for number, key in keys_of(pages)}
        texts = {number: text_of(raw, codec or "utf-8") for number, raw in enumerate(raws)}
        assert found == {number: text for number, text in texts.items() if text is not None}
        chosen = pa.record_batch({"k": pa.array(list(found.values())[:40], pa.large_string())})
        assert sorted(ids([extractor.page(Question("s", 99, keys=chosen))])) == sorted(found)[:40]
    database.drop()


def text_of(raw: bytes, codec: str) -> str | None:
    """The text that these bytes are; None where they are none."""
    try:
        return raw.decode(codec)
    except UnicodeDecodeError:
        return None
