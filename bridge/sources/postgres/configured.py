"""From the operator's configuration to what reads a change log: tables, slot and names."""

import os

from bridge.config.models import Config
from bridge.postgres.configured import server
from bridge.sources.postgres.setup import Capture, Setup
from bridge.sources.postgres.slot import GIGABYTE, SlotLimits


def setup(config: Config, system: str) -> Setup:
    """The tables of a configured system, and the names of what its server keeps for us."""
    postgres = server(config, system)
    return Setup(
        captures=tuple(
            Capture(each.origin, each.capture_secrets) for each in config.streams_of(system, "log").values()
        ),
        slot=postgres.slot,
        publication=postgres.publication,
        insert_publication=postgres.insert_publication,
        failover=postgres.failover,
        waivers=frozenset(config.system(system).allow),
    )


def slot_limits(config: Config, system: str) -> SlotLimits:
    """How much the slot of a system may keep."""
    found = config.system(system)
    return SlotLimits(
        budget_bytes=int(found.budget.slot_gigabytes * GIGABYTE), allow_unlimited="unlimited_slot" in found.allow
    )


def database_and_login(config: Config, system: str) -> tuple[str, str]:
    """The names the DBA's script speaks of, as libpq would find them."""
    postgres = server(config, system)
    database = postgres.database or os.environ.get("PGDATABASE", "postgres")
    return database, postgres.user or os.environ.get("PGUSER", "bridge_ro")
