"""The demo ERP and its business day: what the oracle file says is what the tables hold."""

import json
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from demo import business, oracle
from demo.erp import HOSTILE, build
from demo.oracle import TABLES, Oracle, OracleWriter, Table
from demo.server import Database, PostgresServer
from demo.session import ErpSession
from tests.daemon import wait_for

# A module of tests shares one server: building an ERP changes settings of the whole server.


@pytest.fixture(scope="module")
def erp_server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    with PostgresServer.start(version=postgres_server.version) as server:
        yield server


@pytest.fixture
def erp(erp_server: PostgresServer) -> Iterator[Database]:
    built = build(erp_server, f"erp_{uuid.uuid4().hex[:8]}")
    yield built
    built.drop()


def start(erp: Database, file: Path, *, rate: float, seconds: float) -> "subprocess.Popen[str]":
    options = ["--rate", str(rate), "--seconds", str(seconds), "--oracle", str(file), "--seed", "7"]
    command = [sys.executable, "-m", "demo.business", "--dsn", erp.dsn, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def described(noted: Oracle, table: Table) -> dict[str, Any] | Counter[Any]:
    """The table as the oracle file describes it; a keyless one as a bag of rows."""
    if not table.key:
        rows = [*noted.initial[table.name], *(each.row for each in noted.changes() if each.table == table.name)]
        return Counter(tuple(sorted((row or {}).items())) for row in rows)
    rows_by_key: dict[str, Any] = {table.key_of(row): row for row in noted.initial[table.name]}
    for change in noted.changes():
        if change.table == table.name and change.op == "delete":
            del rows_by_key[change.key]
        elif change.table == table.name:
            assert (change.op == "update") == (change.key in rows_by_key)
            rows_by_key[change.key] = change.row
    return rows_by_key


def held(erp: Database, table: Table) -> dict[str, Any] | Counter[Any]:
    """The table as a plain SELECT shows it, brought to the oracle's texts."""
    with psycopg.connect(erp.dsn, options="-c extra_float_digits=1") as connection:
        cursor = connection.execute(f"SELECT * FROM {table.name}".encode())
        names = [column.name for column in cursor.description or ()]
        rows = [{name: plain(value) for name, value in zip(names, row, strict=True)} for row in cursor]
    if not table.key:
        return Counter(tuple(sorted(row.items())) for row in rows)
    for row in rows:
        if table.long and row[table.long] is not None:
            row[table.long] = f"sha256:{sha256(str(row[table.long]).encode()).hexdigest()}"
    return {table.key_of(row): row for row in rows}


def plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat().rstrip("0").rstrip(".") if value.microsecond else value.isoformat()
    if isinstance(value, float | int | Decimal) and not isinstance(value, bool):
        text = format(Decimal(str(value)), "f")
        return text.removesuffix(".0") if isinstance(value, float) else text
    return value


def assert_equal(noted: Oracle, erp: Database) -> None:
    for table in TABLES.values():
        assert described(noted, table) == held(erp, table), table.name


def test_the_oracle_says_what_the_tables_hold(erp: Database, tmp_path: Path) -> None:
    process = start(erp, tmp_path / "oracle", rate=250, seconds=4)
    summary = json.loads(process.communicate(timeout=60)[0])
    noted = oracle.read(tmp_path / "oracle")
    assert noted.complete
    assert len(noted.transactions) == summary["committed"]
    assert summary["rolled_back"] > 0
    assert_equal(noted, erp)


def test_a_day_has_every_kind_of_business(erp: Database, tmp_path: Path) -> None:
    business.play(erp.dsn, tmp_path / "oracle", rate=1e6, seconds=60, seed=3, stop=stop_after(800))
    noted = oracle.read(tmp_path / "oracle")
    kinds = Counter((change.table.removeprefix("sales."), change.op) for change in noted.changes())
    for table in ("arcust", "oeordh", "oeordd"):
        assert kinds[table, "create"] > 0
        assert kinds[table, "delete"] > 0
    assert kinds["oeordh", "update"] > 50
    assert kinds["icitem", "update"] > 10
    assert kinds["aptrx", "create"] > 10
    assert kinds["gltrx", "update"] > 10  # the second transaction of a booking
    assert max(len(transaction.changes) for transaction in noted.transactions) > 2000


def test_contract_breaking_rows_are_written(erp: Database, tmp_path: Path) -> None:
    business.play(erp.dsn, tmp_path / "oracle", rate=1e6, seconds=60, seed=3, stop=stop_after(400))
    rows = [change.row for change in oracle.read(tmp_path / "oracle").changes() if change.row]
    broken = [
        row
        for row in rows
        if row.get("sts") == "Q"
        or row.get("ord_dt") == "1261399"
        or row.get("cr_lim") == "-1"
        or not row.get("cust_nm", 1)
    ]
    assert broken


def stop_after(count: int) -> Callable[[], bool]:
    left = iter(range(count))
    return lambda: next(left, None) is None


def test_a_day_begins_as_many_transactions_as_asked_and_never_early(
    erp: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(business, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    summary = business.play(erp.dsn, tmp_path / "oracle", rate=40, seconds=2.5, seed=1, stop=lambda: False)
    assert summary.begun == 100
    assert summary.seconds == pytest.approx(99 / 40)
    assert summary.late_s == pytest.approx(0)
    assert summary.committed + summary.rolled_back == summary.begun


def test_sessions_are_written_on_every_click_and_never_noted(erp: Database, tmp_path: Path) -> None:
    (before,) = erp.sql("SELECT count(*) FROM sales.sessions")[0]
    business.play(erp.dsn, tmp_path / "oracle", rate=1e6, seconds=60, seed=1, stop=stop_after(100))
    assert erp.sql("SELECT count(*) FROM sales.sessions WHERE token LIKE 'tok_live%'")[0][0] > 10
    assert erp.sql("SELECT count(*) FROM sales.sessions")[0][0] > before
    assert "tok_" not in (tmp_path / "oracle").read_text()


def test_a_killed_generator_leaves_only_true_lines(erp: Database, tmp_path: Path) -> None:
    process = start(erp, tmp_path / "oracle", rate=300, seconds=60)
    wait_for_lines(tmp_path / "oracle", 100)
    process.kill()
    process.communicate()
    noted = oracle.read(tmp_path / "oracle")
    assert not noted.complete
    ids = ",".join(transaction.tx for transaction in noted.transactions)
    fates = erp.sql(f"SELECT DISTINCT pg_xact_status(tx::xid8) FROM unnest('{{{ids}}}'::text[]) tx")
    assert fates == [("committed",)]


def test_a_terminated_generator_finishes_its_file(erp: Database, tmp_path: Path) -> None:
    process = start(erp, tmp_path / "oracle", rate=300, seconds=60)
    wait_for_lines(tmp_path / "oracle", 50)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0].startswith("{")
    noted = oracle.read(tmp_path / "oracle")
    assert noted.complete
    assert_equal(noted, erp)


def wait_for_lines(file: Path, count: int) -> None:
    wait_for(lambda: file.exists() and file.read_bytes().count(b"\n") >= count)


def test_the_oracle_stays_true_over_crashes_of_the_server(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """A COMMIT whose answer was lost is noted if, and only if, it took place."""
    with PostgresServer.start(version=postgres_server.version) as server:
        erp = build(server)
        done = threading.Event()
        day = threading.Thread(
            target=business.play,
            args=(erp.dsn, tmp_path / "oracle"),
            kwargs={"rate": 1e6, "seconds": 120, "seed": 5, "stop": done.is_set},
        )
        day.start()
        for round_number in range(1, 5):
            wait_for_lines(tmp_path / "oracle", 60 * round_number)
            server.restart("immediate")
        wait_for_lines(tmp_path / "oracle", 350)
        done.set()
        day.join(60)
        noted = oracle.read(tmp_path / "oracle")
        assert noted.complete
        assert_equal(noted, erp)


def test_a_commit_whose_answer_was_lost_is_noted_when_it_took_place(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """The server crashes when COMMIT is durable and its answer held back, waiting for a standby that never comes."""
    with PostgresServer.start(version=postgres_server.version) as server:
        erp = build(server)
        with ErpSession(erp.dsn) as session, OracleWriter(tmp_path / "oracle", session.rows()) as writer:
            server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            server.sql("SELECT pg_reload_conf()")
            wait_for(lambda: server.sql("SHOW synchronous_standby_names") == [("nobody",)])
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            booking = threading.Thread(target=book, args=(session, writer))
            booking.start()
            wait_for(lambda: server.sql(waiting) != [])
            server.sql("ALTER SYSTEM RESET synchronous_standby_names")
            server.restart("immediate")
            booking.join(60)
        assert [change.key for change in oracle.read(tmp_path / "oracle").changes()] == ["999999"]
        assert erp.sql("SELECT count(*) FROM sales.gltrx WHERE trx_id = 999999") == [(1,)]


def book(session: ErpSession, writer: OracleWriter) -> None:
    with session.transaction(writer):
        session.insert("sales.gltrx", {"trx_id": 999_999, "ref": "*PENDING*"})


def test_an_oracle_file_is_never_written_over(erp: Database, tmp_path: Path) -> None:
    (tmp_path / "oracle").touch()
    with pytest.raises(FileExistsError):
        business.play(erp.dsn, tmp_path / "oracle", rate=1, seconds=1, seed=1, stop=lambda: True)


def test_the_database_has_hostile_settings(erp: Database) -> None:
    shown = {name: erp.sql(f"SHOW {name}")[0][0] for name in HOSTILE}
    assert shown == {**HOSTILE, "DateStyle": "German, DMY"}


def test_the_dba_grants_reading_of_the_captured_tables_only(erp: Database) -> None:
    rights = erp.sql(
        "SELECT table_name, privilege_type FROM information_schema.role_table_grants WHERE grantee = 'bridge_ro'"
    )
    assert {(f"sales.{table}", right) for table, right in rights} == {(name, "SELECT") for name in TABLES}
    published = erp.sql("SELECT pubname, schemaname || '.' || tablename FROM pg_publication_tables")
    assert ("legacy_bridge_inserts", "sales.aptrx") in published
    assert {table for _, table in published} == set(TABLES)


def test_the_long_texts_are_kept_out_of_the_row(erp: Database, tmp_path: Path) -> None:
    """Else no update would leave one unchanged on the wire."""
    business.play(erp.dsn, tmp_path / "oracle", rate=1e6, seconds=60, seed=1, stop=stop_after(60))
    size = "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'sales.oeordh'::regclass"
    assert erp.sql(size)[0][0] > 1_000_000
