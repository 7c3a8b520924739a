"""Tells by a signed request (Standard Webhooks 1.0.0). `webhook-id` is the notice's id, the same at each attempt."""

import json
import time
from collections.abc import Callable, Sequence

from bridge import signing
from bridge.alarm.machine import Alarm, Notice
from bridge.alarm.wording import Words, message
from bridge.client import Client, Target
from bridge.config.alarms import AlarmWebhookConfig
from bridge.errors import SinkUnavailable
from bridge.outlets.answers import require_ok


class WebhookOutlet:
    """One receiver."""

    resend_s: float | None = None

    def __init__(self, config: AlarmWebhookConfig, words: Words, *, clock: Callable[[], float] = time.time) -> None:
        """Set up; nothing connects yet. Raises: ConfigError for a URL or networks that cannot be."""
        self._config = config
        self._words = words
        self._clock = clock
        self._target = Target.parse(config.url)
        self._client = Client(SinkUnavailable, allow_networks=config.allow_networks, connections=1)

    async def tell(self, notice: Notice) -> None:
        """Send it, signed anew with the secrets as they are now."""
        body = json.dumps(message(notice, self._words), ensure_ascii=False).encode()
        keys = [signing.key(secret.reveal()) for secret in self._config.secrets]
        timestamp = int(self._clock())
        headers = [
            (b"content-type", b"application/json"),
            (b"webhook-id", notice.id.encode()),
            (b"webhook-timestamp", str(timestamp).encode()),
            (b"webhook-signature", signing.sign(keys, message_id=notice.id, timestamp=timestamp, body=body).encode()),
        ]
        deadline_s = self._config.timeout_s
        require_ok(await self._client.ask("POST", self._target, deadline_s=deadline_s, headers=headers, body=body))

    async def refresh(self, firing: Sequence[Alarm]) -> None:
        """A webhook believes what it was told."""

    async def close(self) -> None:
        """Release connections."""
        await self._client.close()
