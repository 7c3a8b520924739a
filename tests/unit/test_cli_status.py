"""What `status` makes of a journal, on the in-memory twin."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.cli.status import overview
from bridge.config.load import load
from bridge.config.models import Config
from bridge.contract.terms import ValidityLevel
from bridge.model import Commit, Position
from bridge.testing import FakeClock, MemoryJournal

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """One stream of one system."""
    (tmp_path / "orders.odcs.yaml").touch()
    (tmp_path / "bridge.yaml").write_text(
        "bridge: {name: acme, type_prefix: com.acme}\n"
        "systems: {erp: {postgres: {}}}\n"
        "streams: {orders: {system: erp, log: sales.oeordh, contract: orders.odcs.yaml}}\n"
    )
    return load(tmp_path / "bridge.yaml", environ={})


def seen(journal: MemoryJournal, config: Config, *, percent: float) -> dict[str, Any]:
    """The one stream of the overview, under a contract that allows so many rejected rows within an hour."""
    targets = {"orders": ValidityLevel(error_percent=percent, window_s=3600)}
    (stream,) = overview(journal, config, now=NOW, targets=targets)["streams"]
    assert isinstance(stream, dict)
    return stream


def test_a_stream_that_never_ran_is_running_and_empty(config: Config) -> None:
    """Nothing is made up: no time, no ratio, no lag."""
    stream = seen(MemoryJournal(), config, percent=1)
    assert (stream["phase"], stream["events"], stream["lag_s"]) == ("running", 0, None)
    assert (stream["validity"]["ratio"], stream["validity"]["level"]) == (None, "ok")


def test_the_validity_level_is_breached_by_one_row_too_many(config: Config) -> None:
    """10 of 1,000 are 1 %: allowed; at 0.9 % they are not."""
    journal = MemoryJournal(now=FakeClock(NOW))
    journal.append(Commit(judged={"orders": (990, 10)}))
    assert seen(journal, config, percent=1)["validity"]["level"] == "ok"
    assert seen(journal, config, percent=0.9)["validity"]["level"] == "breached"


def test_rows_before_the_window_do_not_count(config: Config) -> None:
    """The level is a rolling one."""
    journal = MemoryJournal(now=FakeClock(NOW - timedelta(hours=2)))
    journal.append(Commit(judged={"orders": (0, 50)}))
    assert seen(journal, config, percent=1)["validity"]["level"] == "ok"


def test_a_source_shows_position_and_re_reads(config: Config) -> None:
    journal = MemoryJournal()
    state = {"snapshots": {"orders": {"number": 1, "rows": 5, "of": 10, "phase": "running"}}}
    journal.append(Commit(source="erp", position=Position(2, (0xAB, 3)), state=state))
    (source,) = overview(journal, config, now=NOW)["sources"]
    assert (source["epoch"], source["position"]) == (2, [0xAB, 3])
    assert source["snapshots"]["orders"]["rows"] == 5
