"""A reload knows what changed and whether a running daemon may take it."""

from pathlib import Path

import pytest

from bridge.config.diff import Change, diff
from bridge.config.load import load
from bridge.config.models import Config

GOOD = """\
bridge:
  name: acme
  type_prefix: com.acme.erp
systems:
  erp:
    postgres: {host: db.acme.example, user: bridge_ro}
streams:
  orders: {system: erp, log: sales.oeordh, contract: orders.odcs.yaml}
"""
MORE = GOOD + "  lines: {system: erp, log: sales.oeordd, contract: orders.odcs.yaml}\n"


def read(folder: Path, text: str = GOOD) -> Config:
    """Write a file and load it, with a contract beside it."""
    (folder / "orders.odcs.yaml").touch()
    (folder / "bridge.yaml").write_text(text)
    return load(folder / "bridge.yaml", environ={})


def test_nothing_differs_between_two_readings_of_one_file(tmp_path: Path) -> None:
    assert diff(read(tmp_path), read(tmp_path)) == []


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ("name: acme", "name: acme\n  retain: {days: 1}", Change("bridge.retain.days", "changed", live=True)),
        ("name: acme", "name: acme\n  log: {level: debug}", Change("bridge.log.level", "changed", live=True)),
        ("name: acme", "name: acme\n  log: {format: text}", Change("bridge.log.format", "changed", live=False)),
        ("name: acme", "name: acme\n  http: {port: 1}", Change("bridge.http.port", "changed", live=False)),
        ("name: acme", "name: acme\n  journal: {sqlite: b.db}", Change("bridge.journal.sqlite", "changed", live=False)),
        ("user: bridge_ro", "user: bridge_ro, slot: b", Change("systems.erp.postgres.slot", "changed", live=False)),
        (
            "user: bridge_ro",
            "user: bridge_ro, database: b",
            Change("systems.erp.postgres.database", "changed", live=False),
        ),
        (
            "user: bridge_ro}",
            "user: bridge_ro}\n    budget: {slot_gigabytes: 1}",
            Change("systems.erp.budget.slot_gigabytes", "changed", live=True),
        ),
        (
            "contract: orders.odcs.yaml",
            "contract: bridge.yaml",
            Change("streams.orders.contract", "changed", live=True),
        ),
        (
            "log: sales.oeordh",
            "log: sales.oeordh, on_reject: hold",
            Change("streams.orders.on_reject", "changed", live=True),
        ),
        ("log: sales.oeordh", "log: sales.arcust", Change("streams.orders.log", "changed", live=False)),
    ],
)
def test_a_changed_key_says_whether_it_is_live(tmp_path: Path, old: str, new: str, change: Change) -> None:
    before = read(tmp_path)
    assert diff(before, read(tmp_path, GOOD.replace(old, new))) == [change]


def test_a_new_or_dropped_stream_is_one_change_that_needs_a_restart(tmp_path: Path) -> None:
    few, many = read(tmp_path), read(tmp_path, MORE)
    assert diff(few, many) == [Change("streams.lines", "added", live=False)]
    assert diff(many, few) == [Change("streams.lines", "removed", live=False)]


def test_another_secret_is_a_change_that_shows_no_value(tmp_path: Path) -> None:
    before = read(tmp_path, GOOD.replace("user: bridge_ro", "password: canary-1"))
    changes = diff(before, read(tmp_path, GOOD.replace("user: bridge_ro", "password: canary-2")))
    assert changes == [Change("systems.erp.postgres.password", "changed", live=False)]
    assert "canary" not in repr(changes)


def test_alarms_may_change_while_the_daemon_runs(tmp_path: Path) -> None:
    hook = "alarms: {outlets: {ops: {webhook: {url: 'https://ops.example', secrets: [canary]}}}}\n"
    rate = "alarms: {rules: {failure_rate: {percent: 2}}}\n"
    added = diff(read(tmp_path), read(tmp_path, GOOD + hook))
    assert {change.key for change in added} >= {"alarms.outlets.ops.webhook.url", "alarms.outlets.ops.least"}
    assert all(change.live for change in [*added, *diff(read(tmp_path, GOOD + hook), read(tmp_path, GOOD + rate))])


def test_another_value_of_a_views_parameter_is_a_change(tmp_path: Path) -> None:
    (tmp_path / "open.sql").touch()
    text = GOOD + "  eu: {system: erp, view: open.sql, parameters: {region: EU}, contract: orders.odcs.yaml}\n"
    before = read(tmp_path, text)
    changes = diff(before, read(tmp_path, text.replace("EU", "US")))
    assert changes == [Change("streams.eu.parameters", "changed", live=False)]
