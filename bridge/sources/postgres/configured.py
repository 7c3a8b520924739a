"""From the operator's configuration to what the PostgreSQL adapter needs; the one place that knows both."""

import os

from bridge.config.models import Config, PostgresConfig, SystemConfig
from bridge.errors import ConfigError
from bridge.postgres.session import ConnectSettings
from bridge.sources.postgres.setup import Capture, Setup
from bridge.sources.postgres.slot import GIGABYTE, SlotLimits


def declared(config: Config, system: str) -> SystemConfig:
    """A system of the configuration. Raises: ConfigError when there is none of that name."""
    found = config.systems.get(system)
    if found is None:
        known = ", ".join(sorted(config.systems))
        raise ConfigError(f"there is no system {system!r}", hint=f"The systems of {config.path} are: {known}.")
    return found


def server(config: Config, system: str) -> PostgresConfig:
    """The server of a system. Raises: ConfigError when the system is of another kind."""
    found = declared(config, system)
    if found.postgres is None:
        raise ConfigError(f"system {system} is no PostgreSQL server", hint=f"It is of the kind `{found.kind}`.")
    return found.postgres


def connect_settings(config: Config, system: str) -> ConnectSettings:
    """How to reach a configured system."""
    postgres = server(config, system)
    return ConnectSettings(
        instance=config.bridge.name,
        host=postgres.host,
        port=postgres.port,
        database=postgres.database,
        user=postgres.user,
        password=postgres.password.reveal if postgres.password else None,
        sslmode=postgres.sslmode,
        sslrootcert=postgres.sslrootcert,
        sslcert=postgres.sslcert,
        sslkey=postgres.sslkey,
        passfile=postgres.passfile,
        service=postgres.service,
        connect_timeout_s=postgres.connect_timeout_s,
    )


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
        waivers=frozenset(declared(config, system).allow),
    )


def slot_limits(config: Config, system: str) -> SlotLimits:
    """How much the slot of a system may keep."""
    found = declared(config, system)
    return SlotLimits(
        budget_bytes=int(found.budget.slot_gigabytes * GIGABYTE), allow_unlimited="unlimited_slot" in found.allow
    )


def database_and_login(config: Config, system: str) -> tuple[str, str]:
    """The names the DBA's script speaks of, as libpq would find them."""
    postgres = server(config, system)
    database = postgres.database or os.environ.get("PGDATABASE", "postgres")
    return database, postgres.user or os.environ.get("PGUSER", "bridge_ro")
