"""What the PostgreSQL source makes of the change log of a real server: each committed change once, whole, in order.

The huge transaction has 100,000 rows and the huge row 100 MB; a million and 250 MB in the long form.
"""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from bridge.model import Op
from bridge.sources.postgres import reader
from bridge.sources.postgres.tables import Capture
from demo.server import Database
from tests.reading import Change, Reading, held, publish, reading

LONG = (pytest.mark.soak, pytest.mark.timeout(1800))
HUGE_ROWS = pytest.mark.parametrize("row_count", [100_000, pytest.param(1_000_000, marks=LONG)])
HUGE_MEGABYTES = pytest.mark.parametrize("megabytes", [100, pytest.param(250, marks=LONG)])
BIG = "repeat(md5(random()::text), 400)"  # too long to stay in the row once stored EXTERNAL


def capture(table: str, *key: str, reselects: bool = False, initial: bool = False) -> Capture:
    """The stream of a table in schema public."""
    return Capture(table, f"public.{table}", key or ("id",), reads_initially=initial, reselects=reselects)


@pytest.fixture
def log(database: Database) -> Iterator[Reading]:
    """The change log of table `t`, and nothing of what it held before."""
    database.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    publish(database, "t")
    with reading(database, capture("t")) as opened:
        yield opened


def test_a_rolled_back_change_is_never_seen(log: Reading) -> None:
    """B11: three in ten transactions, and savepoints within others, are rolled back."""
    for n in range(60):
        log.database.sql(
            f"BEGIN; INSERT INTO t VALUES ({n}, 'kept'); SAVEPOINT a; UPDATE t SET v = 'phantom' WHERE id = {n};"
            f"INSERT INTO t VALUES ({n} + 1000, 'phantom'); ROLLBACK TO a; SAVEPOINT b; UPDATE t SET v = v || '!'"
            f" WHERE id = {n}; RELEASE b; {'ROLLBACK' if n % 10 < 3 else 'COMMIT'}"
        )
    log.catch_up()
    assert log.ops("t") == "cu" * 42
    assert log.replayed("t", "id") == held(log.database, "t", "id")


def test_a_prepared_transaction_is_seen_once_and_only_when_it_commits(log: Reading) -> None:
    """B12: and where its commit stands, also when the source was restarted in between."""
    log.database.sql("BEGIN; INSERT INTO t VALUES (1, 'later'); PREPARE TRANSACTION 'one'")
    log.database.sql("BEGIN; INSERT INTO t VALUES (2, 'never'); PREPARE TRANSACTION 'two'")
    log.database.sql("INSERT INTO t VALUES (3, 'now')")
    log.catch_up()
    assert [change.row["id"] for change in log.changes("t")] == [b"3"]
    log.open()
    log.database.sql("COMMIT PREPARED 'one'")
    log.database.sql("ROLLBACK PREPARED 'two'")
    log.database.sql("INSERT INTO t VALUES (4, 'after')")
    log.catch_up()
    assert [change.row["id"] for change in log.changes("t")] == [b"3", b"1", b"4"]


def test_a_key_change_is_a_delete_and_a_create_that_name_each_other(log: Reading) -> None:
    """B10: the old key goes first, both halves have the place of the one change, also as a transaction's last."""
    log.database.sql("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    log.database.sql("BEGIN; UPDATE t SET v = 'c' WHERE id = 1; UPDATE t SET id = 9, v = 'd' WHERE id = 1; COMMIT")
    log.database.sql("UPDATE t SET id = 1 WHERE id = 2")
    log.catch_up()
    found = log.changes("t")[2:]
    assert [(chr(c.op), c.row["id"], c.tx_index, c.moved) for c in found] == [
        ("u", b"1", 0, False),
        ("d", b"1", 1, True),
        ("c", b"9", 1, True),
        ("d", b"2", 0, True),
        ("c", b"1", 0, True),
    ]
    assert len({change.id for change in found}) == len(found)
    assert log.replayed("t", "id") == held(log.database, "t", "id")


@pytest.mark.parametrize("of", ["int[]", "text", "numeric", "bytea"])
def test_a_key_of_any_type_is_known_when_it_changes(database: Database, of: str) -> None:
    """With the whole row before each change at hand, also where the key did not change or was equal in another text."""
    database.sql(f"CREATE TABLE t (id {of} PRIMARY KEY, v int); ALTER TABLE t REPLICA IDENTITY FULL")
    publish(database, "t")
    one, two = {"int[]": ("{1,NULL}", "{1,2}"), "bytea": ("a", r"\\x6162")}.get(of, ("1.0", "1.00"))
    with reading(database, capture("t")) as log:
        database.sql(f"INSERT INTO t VALUES ('{one}', 0); UPDATE t SET v = 1; UPDATE t SET id = '{two}'; DELETE FROM t")
        log.catch_up()
        assert log.ops("t") == "cudcd"
        assert len({change.row["id"] for change in log.changes("t")}) == 2


def test_keys_that_change_places_come_out_in_order(log: Reading) -> None:
    """A whole table's keys move up by one, through each other, in one statement."""
    log.database.sql("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id) DEFERRABLE INITIALLY IMMEDIATE")
    log.database.sql("ALTER TABLE t REPLICA IDENTITY FULL")
    log.database.sql("INSERT INTO t SELECT n, n::text FROM generate_series(1, 50) n")
    log.database.sql("UPDATE t SET id = id + 1")
    log.catch_up()
    keys = [int(c.row["id"]) for c in log.changes("t") if isinstance(c.row["id"], bytes) and c.op is Op.DELETE]
    assert sorted(keys) == list(range(1, 51))
    assert all(change.moved for change in log.changes("t")[50:])


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_an_unchanged_toast_value_is_marked_or_filled_and_never_invented(database: Database, identity: str) -> None:
    """B9: with FULL the before image holds it; without, the mark stands, and it is neither null nor a placeholder."""
    database.sql("CREATE TABLE t (id int PRIMARY KEY, v int, big text, other text)")
    database.sql("ALTER TABLE t ALTER big SET STORAGE EXTERNAL, ALTER other SET STORAGE EXTERNAL")
    database.sql(f"ALTER TABLE t REPLICA IDENTITY {identity}")
    publish(database, "t")
    with reading(database, capture("t")) as log:
        database.sql(f"INSERT INTO t SELECT n, 0, {BIG}, {BIG} FROM generate_series(1, 30) n")
        database.sql("UPDATE t SET v = 1")
        database.sql("UPDATE t SET other = NULL WHERE id % 2 = 0")
        database.sql("UPDATE t SET id = id + 100 WHERE id < 5")
        database.sql("DELETE FROM t WHERE id = 30")
        log.catch_up()
        updates = [change for change in log.changes("t") if change.op is Op.UPDATE]
        assert all((change.row["big"] is ...) == (identity == "DEFAULT") for change in updates)
        assert [change.row["other"] for change in updates[30:]] == [None] * 15
        assert log.replayed("t", "id") == held(database, "t", "id")


def test_a_reselect_fills_only_what_the_change_itself_left(database: Database) -> None:
    """A later change of the row, in the same transaction or another, keeps an earlier one's mark where it is."""
    database.sql("CREATE TABLE t (id bytea PRIMARY KEY, v int, big text)")
    database.sql("ALTER TABLE t ALTER big SET STORAGE EXTERNAL")
    publish(database, "t")
    with reading(database, capture("t", reselects=True)) as log:
        database.sql(rf"INSERT INTO t SELECT decode(to_hex(n), 'hex'), 0, {BIG} FROM generate_series(16, 20) n")
        log.catch_up()
        before = [change.row["big"] for change in log.changes("t")]
        database.sql(r"UPDATE t SET v = 1 WHERE id = '\x10'")
        database.sql(
            rf"BEGIN; UPDATE t SET v = 1 WHERE id = '\x11'; UPDATE t SET big = {BIG} WHERE id = '\x11'; COMMIT"
        )
        database.sql(r"UPDATE t SET v = 1 WHERE id = '\x12'")
        database.sql(rf"UPDATE t SET big = {BIG} WHERE id = '\x12'")
        database.sql(r"BEGIN; SAVEPOINT a; UPDATE t SET v = 1 WHERE id = '\x13'; RELEASE a; COMMIT")
        log.catch_up()
        filled = [change.row["big"] for change in log.changes("t")[5:]]
        assert filled[0] == before[0]
        assert filled[1] is ...
        assert filled[3] is ...
        assert filled[5] is ...
        assert log.replayed("t", "id") == held(database, "t", "id")


def test_truncate_is_one_event_for_each_table_it_empties(database: Database) -> None:
    """B16: several tables, CASCADE, and a partitioned table count once each, in their place."""
    database.sql(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);"
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)"
    )
    publish(database, "a", "b", "p")
    with reading(database, capture("a"), capture("b"), capture("p")) as log:
        database.sql("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1, 1); INSERT INTO p VALUES (1), (11)")
        database.sql("BEGIN; INSERT INTO a VALUES (2); TRUNCATE a CASCADE; INSERT INTO a VALUES (3); COMMIT")
        database.sql("TRUNCATE b, p")
        database.sql("INSERT INTO p VALUES (2)")
        log.catch_up()
        assert [log.ops(stream) for stream in ("a", "b", "p")] == ["cctc", "ctt", "cctc"]
        assert [len(log.replayed(stream, "id")) for stream in ("a", "b", "p")] == [1, 0, 1]


def test_partitions_that_come_and_go_invent_no_change(database: Database) -> None:
    """B16: an attached partition's changes count as the table's, a detached one's do not, and none is deleted."""
    database.sql(
        "CREATE TABLE p (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE p2 (v text, dropped int, id int NOT NULL, PRIMARY KEY (id)); ALTER TABLE p2 DROP COLUMN dropped"
    )
    publish(database, "p")
    with reading(database, capture("p")) as log:
        database.sql("INSERT INTO p VALUES (1, 'a')")
        database.sql("INSERT INTO p2 (id, v) VALUES (10, 'before')")
        database.sql("ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)")
        database.sql(
            "INSERT INTO p VALUES (11, 'b'); UPDATE p SET id = 12 WHERE id = 1; UPDATE p2 SET v = 'c' WHERE id = 11"
        )
        database.sql("ALTER TABLE p DETACH PARTITION p1")
        database.sql("INSERT INTO p1 VALUES (2, 'gone'); DELETE FROM p1")
        database.sql("INSERT INTO p VALUES (13, 'd')")
        log.catch_up()
        assert [(chr(c.op), c.row["id"]) for c in log.changes("p")] == [
            ("c", b"1"), ("c", b"11"), ("d", b"1"), ("c", b"12"), ("u", b"11"), ("c", b"13"),
        ]  # fmt: skip


def changed_shapes(log: Reading) -> list[tuple[tuple[str, str], ...]]:
    """The shapes met, in order, without repeats."""
    found: list[tuple[tuple[str, str], ...]] = []
    for batch in log.batches("t"):
        shape = tuple((column.name, column.type) for column in batch.shape.columns)
        if not found or found[-1] != shape:
            found.append(shape)
    return found


STEPS = (
    ("ALTER TABLE t ADD COLUMN n numeric(6,2) DEFAULT 1.5", "INSERT INTO t (id, v, n) VALUES ({id}, 'n', 12.50)"),
    ("ALTER TABLE t RENAME COLUMN n TO m", "UPDATE t SET m = 7 WHERE id = {id} - 1"),
    (
        "ALTER TABLE t ALTER COLUMN m DROP DEFAULT, ALTER COLUMN m TYPE date USING '2024-02-29'",
        "INSERT INTO t (id, v, m) VALUES ({id}, 'm', NULL)",
    ),
    ("ALTER TABLE t ALTER COLUMN m TYPE text", "UPDATE t SET v = v || m WHERE id < 3"),
    ("ALTER TABLE t DROP COLUMN m", "INSERT INTO t (id, v) VALUES ({id}, 'gone')"),
)


@pytest.mark.parametrize("mode", ["one transaction", "separate", "restarts"])
def test_a_change_of_shape_cuts_the_batch_and_no_value_is_mistyped(log: Reading, mode: str) -> None:
    """B15: every batch has the one shape its rows were written in, however changes of shape and of rows mix."""
    statements = ["INSERT INTO t VALUES (1, 'a'), (2, 'b')"]
    for number, (ddl, dml) in enumerate(STEPS):
        statements += [ddl, dml.format(id=10 + number)]
    if mode == "one transaction":
        log.database.sql(f"BEGIN; {'; '.join(statements)}; COMMIT")
    for statement in statements if mode != "one transaction" else []:
        log.database.sql(statement)
        if mode == "restarts":
            log.catch_up()
            log.open()
    log.catch_up()
    one = ("id", "integer"), ("v", "text")
    assert changed_shapes(log) == [
        one,
        (*one, ("n", "numeric(6,2)")),
        (*one, ("m", "numeric(6,2)")),
        (*one, ("m", "date")),
        (*one, ("m", "text")),
        one,
    ]
    values = [c.row.get("m", c.row.get("n", ...)) for c in log.changes("t")]
    assert values == [..., ..., b"12.50", b"7.00", None, b"2024-02-29", b"2024-02-29", ...]
    assert not any(batch.marks for batch in log.batches("t"))


def test_a_renamed_table_goes_on_under_its_new_name(log: Reading) -> None:
    """B15: its rows come out with the new name in their shape, which a judge takes for drift; none is dropped."""
    log.database.sql("INSERT INTO t VALUES (1, 'a')")
    log.database.sql("BEGIN; ALTER TABLE t RENAME TO u; INSERT INTO u VALUES (2, 'b'); COMMIT")
    log.catch_up()
    assert [batch.shape.table for batch in log.batches("t")] == ["public.t", "public.u"]
    assert log.ops("t") == "cc"


def test_a_type_dropped_meanwhile_is_read_as_exact_text(log: Reading) -> None:
    """B15: its name is gone from the catalogue before its last values are read."""
    log.close()
    log.database.sql("CREATE TYPE mood AS ENUM ('sad', 'ok'); ALTER TABLE t ADD COLUMN m mood")
    log.database.sql("INSERT INTO t VALUES (1, 'a', 'sad')")
    log.database.sql("ALTER TABLE t DROP COLUMN m; DROP TYPE mood")
    log.database.sql("INSERT INTO t VALUES (2, 'b')")
    log.open()
    log.catch_up()
    assert [change.row for change in log.changes("t")] == [
        {"id": b"1", "v": b"a", "m": b"sad"},
        {"id": b"2", "v": b"b"},
    ]


def test_a_table_without_a_key_gives_its_inserts(database: Database) -> None:
    """Through a publication of inserts; what it does not send is not guessed, and the application's writes succeed."""
    database.sql("CREATE TABLE k (v text); CREATE TABLE t (id int PRIMARY KEY)")
    database.sql("CREATE PUBLICATION inserts FOR TABLE k WITH (publish = 'insert')")
    publish(database, "t")
    keyless = Capture("k", "public.k", is_keyless=True)
    with reading(database, keyless, capture("t"), publications=("bridge", "inserts")) as log:
        database.sql(
            "INSERT INTO k VALUES ('a'), ('a'), (NULL); UPDATE k SET v = 'b'; DELETE FROM k; INSERT INTO t VALUES (1)"
        )
        log.catch_up()
        assert [change.row["v"] for change in log.changes("k")] == [b"a", b"a", None]
        assert log.ops("t") == "c"


@pytest.mark.parametrize("name", ["select", "Mixed Case", 'quo"ted', "it's", "emoji 🚚 \u00e4", "per%cent\\"])
def test_names_of_any_kind_are_read(database: Database, name: str) -> None:
    """D7: reserved words, quotes and emoji as names of table, key and column, by log and by re-read."""
    quoted = '"' + name.replace('"', '""') + '"'
    database.sql(f"CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.{quoted} (v int, {quoted} text PRIMARY KEY)")
    publish(database, f"{quoted}.{quoted}")
    database.sql(f"INSERT INTO {quoted}.{quoted} SELECT n, n::text FROM generate_series(1, 5) n")
    with reading(database, Capture("s", f"{name}.{name}", (name,)), chunk_rows=2) as log:
        log.catch_up()
        database.sql(f"UPDATE {quoted}.{quoted} SET {quoted} = 'new' WHERE v = 1")
        log.catch_up()
        assert log.ops("s") == "rrrrrdc"
        assert log.replayed("s", name) == held(database, f"{quoted}.{quoted}", name)


def test_columns_left_out_of_the_publication_are_left_out_of_both_ways(database: Database) -> None:
    """A column list is the DBA's: change log and re-read have the same shape, and need no right on the rest."""
    database.sql(
        "CREATE TABLE t (secret text, id int PRIMARY KEY, v text, double int GENERATED ALWAYS AS (id * 2) STORED)"
    )
    database.sql("CREATE PUBLICATION bridge FOR TABLE t (id, v); INSERT INTO t VALUES ('x', 1, 'a')")
    with reading(database, capture("t", initial=True)) as log:
        log.catch_up()
        database.sql("INSERT INTO t VALUES ('y', 2, 'b')")
        log.catch_up()
        assert [change.row for change in log.changes("t")] == [{"id": b"1", "v": b"a"}, {"id": b"2", "v": b"b"}]
        assert len({batch.shape for batch in log.batches("t")}) == 1


def identity_of(change: Change) -> tuple[object, ...]:
    """A change by its id and what it says."""
    return (*change.id, change.op, tuple(change.row.items()))


def test_a_change_has_the_same_id_whoever_reads_it_and_how_often(database: Database) -> None:
    """E12: after a restart, after re-opening inside a transaction, and from another slot."""
    database.sql("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE other (id int PRIMARY KEY)")
    publish(database, "t", "other")
    first = Reading(database, capture("t"))
    first.open()
    second = Reading(database, capture("t"), slot=f"second_{database.name}")
    second.open()
    second.close()
    for n in range(0, 300, 3):
        database.sql(
            f"BEGIN; INSERT INTO other VALUES ({n}); INSERT INTO t VALUES ({n}, 'a'), ({n} + 1, 'b');"
            f"UPDATE t SET id = {n} + 2 WHERE id = {n}; COMMIT"
        )
    first.catch_up()
    expected = [identity_of(change) for change in first.changes("t")]
    again = Reading(database, capture("t"))
    first.close()
    second.open()
    second.catch_up()
    assert [identity_of(change) for change in second.changes("t")] == expected
    assert len({identity[:3] for identity in expected}) == len(expected) == 400
    assert again.position is None
    second.close()


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of a few kilobytes, so that they are cut inside transactions."""
    monkeypatch.setattr(reader, "WINDOW_BYTES", 4096)


@pytest.mark.usefixtures("small_windows")
def test_a_transaction_is_resumed_at_every_boundary_of_its_windows(log: Reading) -> None:
    """B7: as after a kill behind each window, nothing but the position and the state survives; each change once."""
    log.database.sql(
        "BEGIN; INSERT INTO t SELECT n, n::text FROM generate_series(1, 400) n; UPDATE t SET id = -id WHERE id % 3 = 0;"
        "TRUNCATE t; INSERT INTO t SELECT n, n::text FROM generate_series(1, 100) n; COMMIT"
    )
    log.database.sql("INSERT INTO t VALUES (1000, 'after')")
    whole = Reading(log.database, capture("t"))
    log.close()
    whole.open()
    while not whole.changes("t") or whole.changes("t")[-1].row["id"] != b"1000":
        window = whole.read(confirm=False)
        if window is not None:
            assert window.batches
            whole.open()
    whole.close()
    cuts = [window.position.at[1] for window in whole.windows]
    assert len([cut for cut in cuts if cut]) >= 5
    assert whole.ops("t") == "c" * 400 + "dc" * 133 + "t" + "c" * 100 + "c"
    assert len({change.id for change in whole.changes("t")}) == len(whole.changes("t"))
    assert whole.replayed("t", "id") == held(log.database, "t", "id")


@HUGE_ROWS
def test_a_huge_transaction_comes_out_whole_and_in_order(log: Reading, row_count: int) -> None:
    """B7: window by window, each change with its own place in the transaction."""
    log.database.sql(f"INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, {row_count}) n")
    numbers: list[int] = []
    places: list[int] = []
    while len(numbers) < row_count:
        window = log.read()
        for batch in window.batches if window else ():
            numbers += batch.columns.column("id").to_pylist()
            places += batch.changes.column("_tx_index").to_pylist()
        log.windows.clear()
    assert numbers == list(range(1, row_count + 1))
    assert places == list(range(row_count))


MEASURED = """
import sys
from pathlib import Path
from bridge.sources.postgres.tables import Capture
from demo.server import Database, PostgresServer
from tests.reading import Reading
from types import SimpleNamespace

def peak_mb():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

server = SimpleNamespace(host="127.0.0.1", port=int(sys.argv[1]))
log = Reading(Database(server, sys.argv[2]), Capture("t", "public.t", ("id",), reads_initially=sys.argv[3] == "table"))
log.open()
print("ready", flush=True)
before_mb, count = peak_mb(), 0
while count < int(sys.argv[4]):
    window = log.read()
    for batch in window.batches if window else ():
        count += batch.row_count
    log.windows.clear()
print(peak_mb() - before_mb)
log.close()
"""


def peak_mb_of(database: Database, way: str, insert: str, row_count: int) -> float:
    """By how much the memory of a process grew that read these rows and kept none."""
    if way == "table":
        database.sql(insert)
    command = [sys.executable, "-c", MEASURED, str(database.server.port), database.name, way, str(row_count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            if way == "log":
                database.sql(insert)
            return float(process.stdout.readline())
        finally:
            process.kill()


@HUGE_MEGABYTES
@pytest.mark.parametrize("way", ["log", "table"])
def test_a_huge_row_takes_a_few_times_its_size_and_holds_up_nothing(
    database: Database, way: str, megabytes: int
) -> None:
    """B8: the rows before and behind it come out; memory is libpq's buffer, the message and what is made of it."""
    database.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    publish(database, "t")
    insert = f"INSERT INTO t VALUES (1, 'a'), (2, repeat('x', {megabytes} << 20)), (3, 'b')"
    assert peak_mb_of(database, way, insert, 3) < 4 * megabytes


@HUGE_ROWS
@pytest.mark.parametrize("way", ["log", "table"])
def test_a_huge_transaction_takes_no_more_memory_than_a_few_windows(
    database: Database, way: str, row_count: int
) -> None:
    """B7: nothing is kept until its end; of a table nothing but a chunk."""
    database.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    publish(database, "t")
    insert = f"INSERT INTO t SELECT n, repeat('x', 4000) FROM generate_series(1, {row_count}) n"
    assert peak_mb_of(database, way, insert, row_count) < 128
