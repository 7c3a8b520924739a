"""The letter to the DBA says what is read, what it costs at most, the least rights, and how to stop the bridge."""

from pathlib import Path

import pytest

from bridge.config.load import load
from bridge.errors import ConfigError
from bridge.sources.view.configured import letter_of, view_of
from bridge.sources.view.grants import Grants, script, seen, stop, undo
from bridge.sources.view.harmless import FUNCTIONS
from bridge.sources.view.letter import letter

YAML = """\
bridge: {name: acme, type_prefix: com.acme.erp}
systems:
  erp:
    postgres: {host: db.acme.example, database: erp, user: bridge_ro}
    budget: {active_seconds_per_minute: 20, rows_per_run: 500000, quiet_hours: ["22:00-02:00"]}
  hook: {webhook: {basic: {user: a, password: b}}}
streams:
  orders: {system: erp, log: sales.oeordh, contract: c.yaml}
  customers: {system: erp, view: customers.sql, every: 5m, sweep: 1d, contract: c.yaml}
  said: {system: hook, webhook: said, contract: c.yaml}
"""
VIEW = """\
-- mode: incremental
-- key: id
-- cursor: seen
-- allow: sales.price_of
SELECT c.id, c.seen, sales.price_of(c.id) AS price FROM sales.Customers c JOIN "Odd"."Na""me" USING (id)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration with one view."""
    (tmp_path / "bridge.yaml").write_text(YAML)
    (tmp_path / "c.yaml").touch()
    (tmp_path / "customers.sql").write_text(VIEW)
    return tmp_path


def test_the_letter_names_tables_costs_rights_and_the_stop(folder: Path) -> None:
    text = letter(letter_of(load(folder / "bridge.yaml", environ={}), "erp"))
    assert '`sales.customers`, `Odd.Na"me`' in text
    assert "every 5m; its keys alone 1d" in text
    assert "20 seconds at work in any minute" in text
    assert "500000 rows in one run" in text
    assert "22:00-02:00" in text
    assert 'GRANT SELECT ON TABLE "Odd"."Na""me" TO "bridge_ro";' in text
    assert 'GRANT SELECT ON TABLE "sales"."oeordh" TO "bridge_ro";' in text
    assert 'GRANT EXECUTE ON FUNCTION "sales"."price_of" TO "bridge_ro";' in text
    assert "CONNECTION LIMIT 5" in text
    assert "pg_terminate_backend" in text
    assert "legacy-bridge system pause erp" in text
    assert "The slot of the change log stays" in text
    assert all(len(line) <= 120 for line in text.splitlines() if not line.startswith(("|", "GRANT", "CREATE", "ALTER")))


def test_what_the_budget_asks_the_server_about_is_granted(folder: Path) -> None:
    file = folder / "bridge.yaml"
    assert "pg_read_all_stats" not in letter(letter_of(load(file, environ={}), "erp"))
    file.write_text(
        file.read_text().replace("{active_seconds", "{busy_sessions: 80, replica_lag_s: 30, active_seconds")
    )
    text = letter(letter_of(load(file, environ={}), "erp"))
    assert 'GRANT pg_read_all_stats TO "bridge_ro";' in text
    assert "Nothing while more than 80 others are at work." in text
    assert "Nothing while a replica is 30 s behind." in text


def test_a_system_that_is_no_database_has_no_dba(folder: Path) -> None:
    with pytest.raises(ConfigError, match="is no database but `webhook`"):
        letter_of(load(folder / "bridge.yaml", environ={}), "hook")


@pytest.mark.parametrize("kind", sorted(FUNCTIONS))
def test_every_kind_of_database_has_its_script_its_undoing_and_its_stop(kind: str) -> None:
    wanted = Grants(kind, "o'x", "erp", 3, ("sales.t",), ("sales.f",))
    texts = [script(wanted), undo(wanted), stop(wanted), seen(wanted)]
    assert all(texts)
    assert not any("{" in text or "'o'x'" in text for text in texts)
    assert kind == "sqlite" or "o'x" in script(wanted).lower()


def test_a_view_that_lint_refuses_is_read_by_nobody(folder: Path) -> None:
    (folder / "customers.sql").write_text(VIEW.replace("c.seen,", "c.seen, lo_create(1) AS x,"))
    with pytest.raises(ConfigError, match=r"customers\.sql:5: lo_create\(\) writes"):
        letter_of(load(folder / "bridge.yaml", environ={}), "erp")
    with pytest.raises(ConfigError, match=r"customers\.sql:5: lo_create\(\) writes"):
        view_of(load(folder / "bridge.yaml", environ={}), "customers")
