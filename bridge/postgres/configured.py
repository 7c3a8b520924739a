"""From the operator's configuration to how a PostgreSQL server is reached, whoever asks it something."""

from bridge.config.models import Config, PostgresConfig
from bridge.errors import ConfigError
from bridge.postgres.session import ConnectSettings


def server(config: Config, system: str) -> PostgresConfig:
    """The server of a system. Raises: ConfigError when the system is of another kind."""
    found = config.system(system)
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
