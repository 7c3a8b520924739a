"""What a slot's state means, as pure functions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bridge.findings import Level
from bridge.sources.postgres.slot import MEGABYTE, SlotLimits, SlotState, forecast, judge

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HEALTHY = SlotState(
    name="s",
    observed_at=NOON,
    current_lsn=1000 * MEGABYTE,
    restart_lsn=990 * MEGABYTE,
    confirmed_flush_lsn=999 * MEGABYTE,
    wal_status="reserved",
    safe_wal_bytes=90 * MEGABYTE,
    active_pid=7,
    inactive_since=None,
    invalidation_reason=None,
    conflicting=False,
    failover=False,
    synced=False,
    temporary=False,
    in_recovery=False,
    server_version=180000,
    keep_limit_bytes=100 * MEGABYTE,
    idle_timeout_s=0,
    standby_count=0,
    guards_standbys=False,
)
LIMITS = SlotLimits(budget_bytes=200 * MEGABYTE)


def codes(limits: SlotLimits = LIMITS, /, **changes: Any) -> dict[str, Level]:  # noqa: ANN401  # any field
    found = judge(replace(HEALTHY, **changes), None, limits, slot="s")
    return {finding.code: finding.level for finding in found}


def test_a_healthy_slot_is_not_mentioned() -> None:
    assert codes() == {}


def test_no_slot_is_red() -> None:
    assert [finding.code for finding in judge(None, None, LIMITS, slot="s")] == ["slot.missing"]


@pytest.mark.parametrize(
    "changes",
    [{"wal_status": "lost"}, {"invalidation_reason": "idle_timeout"}, {"conflicting": True}],
    ids=["lost", "invalidated", "conflicting"],
)
def test_a_lost_slot_is_red_and_nothing_else_matters(changes: dict[str, Any]) -> None:
    assert codes(restart_lsn=None, safe_wal_bytes=None, keep_limit_bytes=None, **changes) == {"slot.lost": Level.FAIL}


def test_half_of_the_servers_limit_is_an_alarm() -> None:
    assert codes(restart_lsn=951 * MEGABYTE, safe_wal_bytes=51 * MEGABYTE) == {}
    assert codes(restart_lsn=950 * MEGABYTE, safe_wal_bytes=50 * MEGABYTE) == {"slot.filling": Level.WARN}


def test_half_of_the_budget_is_an_alarm_though_the_server_allows_more() -> None:
    limits = SlotLimits(budget_bytes=20 * MEGABYTE)
    assert codes(limits) == {"slot.filling": Level.WARN}


def test_at_the_limit_it_is_red() -> None:
    assert codes(restart_lsn=790 * MEGABYTE, safe_wal_bytes=None) == {"slot.filling": Level.FAIL}


def test_past_the_servers_limit_it_is_red() -> None:
    assert codes(wal_status="unreserved")["slot.unreserved"] is Level.FAIL


def test_an_unlimited_slot_is_named_unless_signed_for() -> None:
    assert codes(keep_limit_bytes=None) == {"slot.unlimited": Level.WARN}
    assert codes(SlotLimits(LIMITS.budget_bytes, allow_unlimited=True), keep_limit_bytes=None) == {}


def test_a_slot_that_nobody_reads_is_red_at_half_its_idle_timeout() -> None:
    idle = {"active_pid": None, "idle_timeout_s": 100}
    assert codes(inactive_since=NOON - timedelta(seconds=49), **idle) == {}
    assert codes(inactive_since=NOON - timedelta(seconds=50), **idle) == {"slot.idle": Level.FAIL}


def test_a_standby_without_a_failover_slot_is_red_before_it_matters() -> None:
    assert codes(standby_count=1) == {"slot.no_failover": Level.FAIL}
    assert codes(standby_count=1, failover=True) == {"slot.ahead_of_standby": Level.WARN}
    assert codes(standby_count=1, failover=True, guards_standbys=True) == {}


def test_on_a_standby_a_temporary_copy_is_red() -> None:
    """F10: it vanishes at promotion."""
    copied = {"in_recovery": True, "synced": True}
    assert codes(temporary=True, **copied) == {"slot.not_durable": Level.FAIL}
    assert codes(temporary=False, **copied) == {}
    assert codes(in_recovery=True, synced=False) == {"slot.not_durable": Level.FAIL}


def test_the_forecast_is_the_time_until_the_nearer_limit() -> None:
    before = replace(HEALTHY, observed_at=NOON - timedelta(hours=1), restart_lsn=995 * MEGABYTE)
    outlook = forecast(HEALTHY, before, LIMITS)
    assert outlook.limit_bytes == 100 * MEGABYTE
    assert outlook.bytes_per_s == pytest.approx(5 * MEGABYTE / 3600)
    assert outlook.hours_to_full == pytest.approx(18)


def test_a_slot_that_shrinks_is_never_full() -> None:
    before = replace(HEALTHY, observed_at=NOON - timedelta(hours=1), restart_lsn=900 * MEGABYTE)
    assert forecast(HEALTHY, before, LIMITS).hours_to_full is None
