"""Schedules and budgets of bridge.yaml become plans and limits."""

from datetime import timedelta
from pathlib import Path

import pytest

from bridge.config.load import load
from bridge.config.mistakes import InvalidConfig
from bridge.config.models import Config
from bridge.extraction.budget import Limits, QuietHours
from bridge.extraction.declared import limits_of, plans_of
from bridge.extraction.plan import Plan

GOOD = """\
bridge: {name: acme, type_prefix: com.acme.erp}
systems:
  erp:
    postgres: {host: db.acme.example}
    time_zone: America/Chicago
    budget: {active_seconds_per_minute: 6, quiet_hours: ["22:00-02:00"], gigabytes_per_run: 0.5, busy_sessions: 40}
streams:
  orders: {system: erp, view: orders.sql, contract: orders.odcs.yaml, every: 5m, jitter: 20s, sweep: 0 3 * * 0}
  items: {system: erp, view: orders.sql, contract: orders.odcs.yaml, after: orders, catch_up: skip}
  stock: {system: erp, view: orders.sql, contract: orders.odcs.yaml, cron: "*/15 6-22 * * 1-5"}
  parts: {system: erp, view: orders.sql, contract: orders.odcs.yaml, most_deletes: 0.1}
  log: {system: erp, log: sales.oeordh, contract: orders.odcs.yaml}
"""


def read(folder: Path, text: str = GOOD) -> Config:
    for name in ("orders.odcs.yaml", "orders.sql"):
        (folder / name).touch()
    (folder / "bridge.yaml").write_text(text)
    return load(folder / "bridge.yaml", environ={})


def test_every_polled_stream_has_its_plan(tmp_path: Path) -> None:
    zone, jitter = "America/Chicago", timedelta(seconds=20)
    assert plans_of(read(tmp_path), "erp", ["orders", "items", "stock", "parts"]) == [
        Plan("orders", every=timedelta(minutes=5), zone=zone, jitter=jitter, most_deletes=0.5),
        Plan("orders", "sweep", cron="0 3 * * 0", zone=zone, jitter=jitter, most_deletes=0.5),
        Plan("items", after="orders", zone=zone, catch_up="skip", most_deletes=0.5),
        Plan("stock", cron="*/15 6-22 * * 1-5", zone=zone, most_deletes=0.5),
        Plan("parts", zone=zone, most_deletes=0.1),
    ]


def test_the_budget_becomes_limits(tmp_path: Path) -> None:
    assert limits_of(read(tmp_path), "erp") == Limits(
        active_seconds_per_minute=6,
        page_seconds=1,
        bytes_per_run=500_000_000,
        quiet_hours=(QuietHours.of("22:00-02:00"),),
        zone="America/Chicago",
        busy_sessions=40,
    )


@pytest.mark.parametrize(
    ("right", "wrong", "key", "expected"),
    [
        ("every: 5m", "every: 5 minutes", "streams.orders.every", "a length of time like 90s, 5m, 2h or 1d"),
        ("every: 5m", "every: 0s", "streams.orders.every", "a length of time"),
        ("every: 5m", "every: 5m, after: parts", "streams.orders", "one of `every`, `cron` and `after` at most"),
        ("*/15 6-22 * * 1-5", "*/15 6-25 * * 1-5", "streams.stock.cron", "five fields as in a crontab"),
        ("0 3 * * 0", "now and then", "streams.orders.sweep", "a length of time like 1d, or five fields"),
        ("after: orders", "after: ordres", "streams.items.after", "one of orders, stock, parts"),
        ("after: orders", "after: items", "streams.items.after", "one of orders, stock, parts"),
        ("after: orders", "after: log", "streams.items.after", "one of orders, stock, parts"),
        ("every: 5m", "after: items", "streams.orders.after", "one of stock, parts"),
        ("log: sales.oeordh", "log: sales.oeordh, every: 5m", "streams.log", "no `every`"),
        ('"22:00-02:00"', '"22:00-22:00"', "systems.erp.budget.quiet_hours", "hours like 22:00-02:00"),
        ('"22:00-02:00"', '"22-02"', "systems.erp.budget.quiet_hours", "hours like 22:00-02:00"),
    ],
)
def test_a_schedule_that_cannot_be_is_a_mistake(
    tmp_path: Path, right: str, wrong: str, *, key: str, expected: str
) -> None:
    with pytest.raises(InvalidConfig) as caught:
        read(tmp_path, GOOD.replace(right, wrong))
    found = {mistake.key: str(mistake) for mistake in caught.value.mistakes}
    assert expected in found[key]
