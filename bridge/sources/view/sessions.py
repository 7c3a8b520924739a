"""From the configuration to the guarded session of a system, whatever its kind; its driver is loaded only then."""

from collections.abc import Callable, Mapping
from functools import partial

from bridge.config.models import Config
from bridge.errors import ConfigError
from bridge.postgres.configured import connect_settings
from bridge.sources.view.session import Session


def session_of(config: Config, system: str) -> Session:
    """The session of a system, not connected. Raises: ConfigError for a system without views."""
    kind = config.system(system).kind
    if kind not in _SESSIONS:
        raise ConfigError(f"system {system} is of the kind `{kind}`, which has no views")
    return _SESSIONS[kind](config, system)


def _postgres(config: Config, system: str) -> Session:
    from bridge.sources.view.dialects.postgres import PostgresSession  # noqa: PLC0415  of this kind only

    waivers = frozenset(config.systems[system].allow)
    return PostgresSession(connect_settings(config, system), waivers=waivers)


def _mysql(config: Config, system: str) -> Session:
    from bridge.sources.view.dialects.mysql.session import MysqlSession, MysqlSettings  # noqa: PLC0415  as above

    declared = config.systems[system].mysql
    assert declared is not None  # noqa: S101  asked for by its kind
    settings = MysqlSettings(
        instance=config.bridge.name,
        host=declared.host,
        port=declared.port,
        database=declared.database,
        user=declared.user,
        password=declared.password.reveal if declared.password else None,
        sslmode=declared.sslmode,
        sslrootcert=str(declared.sslrootcert) if declared.sslrootcert else None,
        connect_timeout_s=declared.connect_timeout_s,
        waivers=frozenset(config.systems[system].allow),
    )
    return MysqlSession(settings)


def _sqlite(config: Config, system: str) -> Session:
    from bridge.sources.view.dialects.sqlite.session import SqliteSession  # noqa: PLC0415  as above

    declared = config.systems[system].sqlite
    assert declared is not None  # noqa: S101  as above
    return SqliteSession(declared.path)


def _firebird(config: Config, system: str) -> Session:
    from bridge.sources.view.dialects.firebird.session import (  # noqa: PLC0415  as above
        FirebirdSession,
        FirebirdSettings,
    )

    declared = config.systems[system].firebird
    assert declared is not None  # noqa: S101  as above
    settings = FirebirdSettings(
        host=declared.host,
        port=declared.port,
        database=declared.database,
        user=declared.user,
        password=declared.password.reveal if declared.password else None,
        role=declared.role,
        charset=declared.charset,
        waivers=frozenset(config.systems[system].allow),
    )
    return FirebirdSession(settings)


def _alchemy(config: Config, system: str) -> Session:
    from bridge.sources.view.dialects import db2, mssql, oracle  # noqa: PLC0415  as above
    from bridge.sources.view.dialects.alchemy import AlchemySession  # noqa: PLC0415  as above

    declared = config.systems[system]
    waivers, instance = frozenset[str](declared.allow), config.bridge.name
    if declared.mssql is not None:
        return AlchemySession(partial(mssql.url, declared.mssql, instance), mssql.WAYS, waivers=waivers)
    if declared.oracle is not None:
        return AlchemySession(partial(oracle.url, declared.oracle, instance), oracle.WAYS, waivers=waivers)
    assert declared.db2 is not None  # noqa: S101  as above
    return AlchemySession(partial(db2.url, declared.db2, instance), db2.WAYS, waivers=waivers)


_SESSIONS: Mapping[str, Callable[[Config, str], Session]] = {
    "postgres": _postgres,
    "mysql": _mysql,
    "sqlite": _sqlite,
    "firebird": _firebird,
    "mssql": _alchemy,
    "oracle": _alchemy,
    "db2": _alchemy,
}
