"""`legacy-bridge view` and `dba-letter` on a real database."""

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.server import PostgresServer

COMMAND = Path(sys.executable).parent / "legacy-bridge"
CONTRACT = Path(__file__).parents[2] / "bench" / "orders.odcs.yaml"
VIEW = """\
-- mode: full
-- key: id
-- page_rows: 50
SELECT id, note FROM sales.things
"""


@pytest.fixture
def folder(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Path]:
    """A project that reads one table by a view."""
    name = f"view_{time.monotonic_ns()}"
    database = postgres_server.create_database(name)
    database.sql(f"CREATE ROLE {name} LOGIN; CREATE SCHEMA sales; GRANT USAGE ON SCHEMA sales TO {name}")
    database.sql("CREATE TABLE sales.things AS SELECT n AS id, 'note ' || n AS note FROM generate_series(1, 1000) n")
    database.sql(f"GRANT SELECT ON sales.things TO {name}; ANALYZE sales.things")
    (tmp_path / "things.sql").write_text(VIEW)
    shutil.copy(CONTRACT, tmp_path / "c.yaml")
    server = f"{{host: 127.0.0.1, port: {postgres_server.port}, database: {name}, user: {name}}}"
    (tmp_path / "bridge.yaml").write_text(
        "bridge: {name: test, type_prefix: com.acme}\n"
        f"systems: {{erp: {{postgres: {server}, budget: {{rows_per_run: 300}}, allow: [public_temp]}}}}\n"
        "streams: {things: {system: erp, view: things.sql, every: 5m, contract: c.yaml}}\n"
    )
    yield tmp_path
    database.drop()
    postgres_server.sql(f"DROP ROLE {name}")


def test_check_warns_of_a_contract_that_takes_several_rows_of_a_view_for_one(folder: Path) -> None:
    (folder / "things.sql").write_text(VIEW.replace("key: id", "key: id, note"))
    done = run(folder, "check", "--json")
    assert done.returncode == 0
    (warning,) = json.loads(done.stdout)["warnings"]
    assert "its key leaves out note" in warning
    assert "warning: " in run(folder, "check").stderr


def test_check_names_what_of_the_budget_the_login_may_not_see(folder: Path) -> None:
    file = folder / "bridge.yaml"
    file.write_text(file.read_text().replace("rows_per_run: 300", "busy_sessions: 5"))
    found = json.loads(run(folder, "check", "--online", "--json").stdout)["findings"]
    (blind,) = [each for each in found if each["code"] == "budget.unseen"]
    assert blind["level"] == "warn"
    assert "busy_sessions" in blind["detail"]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a project's folder."""
    return subprocess.run([COMMAND, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_lint_says_what_a_view_reads_and_what_is_wrong_with_it(folder: Path) -> None:
    good = run(folder, "view", "lint")
    assert (good.returncode, good.stdout) == (0, "things: no mistakes; reads sales.things\n")
    (folder / "things.sql").write_text(VIEW.replace("note FROM", "nextval('q') AS note FROM"))
    bad = run(folder, "view", "lint", "things", "--json")
    assert bad.returncode == 78
    assert "things.sql:4: nextval() writes" in json.loads(bad.stdout)[0]["mistakes"][0]
    assert "nextval() writes" in run(folder, "check").stderr
    (folder / "things.sql").write_text(VIEW + "; DELETE FROM sales.things")
    mistakes = json.loads(run(folder, "check", "--json").stdout)["mistakes"]
    assert [each.split(": ")[0] for each in mistakes] == [f"{folder}/things.sql:5"] * 2


def test_without_a_change_log_there_is_no_script_of_it(folder: Path) -> None:
    done = run(folder, "dba-script", "erp")
    assert (done.returncode, "dba-letter erp" in done.stderr) == (78, True)


def test_explain_shows_the_plan_what_the_budget_allows_and_a_missing_index(folder: Path) -> None:
    done = run(folder, "view", "explain", "things")
    assert done.returncode == 0, done.stderr
    assert "about 1000 rows" in done.stdout
    assert "20 pages of 50 rows" in done.stdout
    assert "Seq Scan on things" in done.stdout
    assert "300 rows a run: 4 runs for everything" in done.stdout
    assert "no index gives the order of id" in done.stderr


def test_explain_is_content_with_an_index(folder: Path, postgres_server: PostgresServer) -> None:
    name = next(
        word for word in (folder / "bridge.yaml").read_text().replace("}", ",").split() if word.startswith("view_")
    )
    postgres_server.sql("CREATE UNIQUE INDEX ON sales.things (id); ANALYZE sales.things", name.rstrip(","))
    told = json.loads(run(folder, "view", "explain", "things", "--json").stdout)
    assert told["warnings"] == []
    assert any("Index Scan" in step["what"] for step in told["page"])


def test_a_sample_shows_the_first_rows_with_their_types_and_journals_nothing(folder: Path) -> None:
    told = json.loads(run(folder, "view", "sample", "things", "--rows", "2", "--json").stdout)
    assert told["rows"] == [{"id": 1, "note": "note 1"}, {"id": 2, "note": "note 2"}]
    assert told["columns"][0] == {"name": "id", "type": "integer", "arrow": "int32"}
    assert not (folder / "var").exists()


def test_a_login_for_views_alone_passes_the_check_online(folder: Path) -> None:
    done = run(folder, "check", "--online", "--json")
    assert done.returncode == 0, done.stdout
    assert {finding["code"] for finding in json.loads(done.stdout)["findings"]} >= {"right.read_only"}


def test_a_view_that_the_login_may_not_read_fails_the_check_online(
    folder: Path, postgres_server: PostgresServer
) -> None:
    name = (folder / "bridge.yaml").read_text().split("database: ")[1].split(",")[0]
    findings = {
        one["subject"]: one for one in json.loads(run(folder, "check", "--online", "--json").stdout)["findings"]
    }
    assert findings["view of things"]["level"] == "ok"
    postgres_server.sql(f"REVOKE SELECT ON sales.things FROM {name}", name)
    done = run(folder, "check", "--online")
    assert (done.returncode, "permission denied for table things" in done.stdout) == (1, True)


def test_each_mistake_is_an_entry_of_the_check_in_json(folder: Path) -> None:
    (folder / "c.yaml").write_text("apiVersion: v3.1.0\nkind: DataContract\n")
    told = run(folder, "check", "--json")
    mistakes = json.loads(told.stdout)["mistakes"]
    assert (told.returncode, len(mistakes) > 3) == (78, True)
    assert all(": " in each and "\n" not in each for each in mistakes)
    (folder / "bridge.yaml").write_text("bridge: {name: x, type_prefix: com.acme}\nstrems: {}\n")
    told = run(folder, "check", "--json")
    assert (told.returncode, json.loads(told.stdout)["ok"]) == (78, False)
    assert "strems is not a known key" in " ".join(json.loads(told.stdout)["mistakes"])


def test_the_grants_of_the_letter_are_enough_and_are_taken_back(folder: Path, postgres_server: PostgresServer) -> None:
    text = run(folder, "dba-letter", "erp").stdout
    grants, undo, *_ = [part.partition("```")[0] for part in text.split("```sql\n")[1:]]
    config = (folder / "bridge.yaml").read_text()
    name = config.split("database: ")[1].split(",")[0]
    with_login = grants.replace(f'"{name}"', '"letter"').replace(f"'{name}'", "'letter'")
    for _ in range(2):  # as when a view was added
        postgres_server.sql(with_login.replace('DATABASE "letter"', f'DATABASE "{name}"'), name)
    (folder / "bridge.yaml").write_text(config.replace(f"user: {name}", "user: letter"))
    assert run(folder, "view", "sample", "things").returncode == 0
    postgres_server.sql(undo.replace(f'"{name}"', '"letter"'), name)
    assert postgres_server.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'letter'") == [(0,)]


def test_a_sqlite_file_is_sampled_by_its_view(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "till.db")) as connection:
        connection.executescript(
            "CREATE TABLE sale (id INTEGER PRIMARY KEY, note TEXT); INSERT INTO sale VALUES (1, 'x')"
        )
    (tmp_path / "sale.sql").write_text("-- mode: full\n-- key: id\nSELECT id, note FROM sale\n")
    shutil.copy(CONTRACT, tmp_path / "c.yaml")
    (tmp_path / "bridge.yaml").write_text(
        "bridge: {name: test, type_prefix: com.acme}\nsystems: {till: {sqlite: {path: till.db}}}\n"
        "streams: {sale: {system: till, view: sale.sql, every: 5m, contract: c.yaml}}\n"
    )
    told = run(tmp_path, "view", "sample", "sale", "--json")
    assert json.loads(told.stdout)["rows"] == [{"id": 1, "note": "x"}], told.stderr
    explained = run(tmp_path, "view", "explain", "sale")
    assert (explained.returncode, "SCAN sale" in explained.stdout) == (0, True), explained.stderr
    assert "the file" in run(tmp_path, "dba-letter", "till").stdout


@pytest.mark.parametrize("words", ["view lint", "view explain things", "view sample things", "dba-letter erp"])
def test_what_is_looked_at_before_a_contract_is_drafted_needs_none(folder: Path, words: str) -> None:
    (folder / "c.yaml").unlink()
    done = run(folder, *words.split())
    assert (done.returncode, done.stdout != "") == (0, True), done.stderr


def test_a_first_contract_is_drafted_from_what_the_database_shows(folder: Path) -> None:
    (folder / "c.yaml").unlink()
    missing = run(folder, "check")
    assert "`legacy-bridge draft things` prints a first one" in missing.stderr
    drafted = run(folder, "draft", "things")
    assert drafted.returncode == 0, drafted.stderr
    assert "- name: note\n        description:  # of text\n        logicalType: string\n" in drafted.stdout
    (folder / "c.yaml").write_text(drafted.stdout)
    left = run(folder, "check")
    assert left.returncode == 78
    assert "field `id` has no description" in left.stderr
    known = drafted.stdout.replace("description:  #", "description: x  #").replace("purpose:", "purpose: x")
    (folder / "c.yaml").write_text(known.replace("value: ,", "value: 1,"))
    assert run(folder, "check").returncode == 0


def test_a_table_is_drafted_under_a_key_that_somebody_names(folder: Path) -> None:
    config = folder / "bridge.yaml"
    config.write_text(config.read_text().replace("view: things.sql, every: 5m", "log: sales.things"))
    unknown = run(folder, "draft", "things")
    assert (unknown.returncode, "--key COLUMN" in unknown.stderr) == (78, True)
    wrong = run(folder, "draft", "things", "--key", "id", "--key", "nr")
    assert wrong.returncode == 77
    assert "nr" in wrong.stderr
    drafted = run(folder, "draft", "things", "--key", "id")
    assert "- name: id\n        description:  # of integer\n" in drafted.stdout
    assert "primaryKeyPosition: 1" in drafted.stdout
