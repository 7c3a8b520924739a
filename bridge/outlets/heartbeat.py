"""A sign of life: a GET to a service outside that alarms when it stays away. Its URL is a secret and never shown."""

from bridge.client import Client, Target
from bridge.config.alarms import HeartbeatConfig
from bridge.errors import ConfigError, SinkRefused, SinkUnavailable
from bridge.outlets.answers import require_ok


class Heartbeat:
    """One service."""

    def __init__(self, config: HeartbeatConfig) -> None:
        """Set up; nothing connects yet. Raises: ConfigError for networks that cannot be."""
        self.every_s = config.every_s
        self._config = config
        self._client = Client(SinkUnavailable, allow_networks=config.allow_networks, connections=1)

    async def beat(self) -> None:
        """Ask for its page; the answer's status counts."""
        try:
            target = Target.parse(self._config.url.reveal())
            require_ok(await self._client.ask("GET", target, deadline_s=self._config.timeout_s))
        except (ConfigError, SinkRefused) as error:
            raise SinkUnavailable(error.detail, hint=error.hint) from error

    async def close(self) -> None:
        """Release connections."""
        await self._client.close()
