"""Tells Prometheus' Alertmanager by its API v2.

Alertmanager believes in an alert until its `endsAt`, so what fires is sent again and again; an end is sent as such.
Source: Alertmanager's OpenAPI document, api/v2/openapi.yaml, `postableAlerts`.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from bridge.alarm.machine import Alarm, Notice
from bridge.alarm.wording import Words, alert, trial_alert
from bridge.client import Client, Target
from bridge.config.alarms import AlertmanagerConfig
from bridge.errors import SinkUnavailable
from bridge.outlets.answers import require_ok

_MISSED = 4  # times that we may fail to send before Alertmanager takes an alert for over; as Prometheus does


class AlertmanagerOutlet:
    """One Alertmanager."""

    def __init__(
        self, config: AlertmanagerConfig, words: Words, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Set up; nothing connects yet. Raises: ConfigError for a URL or networks that cannot be."""
        self.resend_s: float | None = config.resend_s
        self._config = config
        self._valid_s = _MISSED * config.resend_s
        self._words = words
        self._now = now
        self._target = Target.parse(f"{config.url.rstrip('/')}/api/v2/alerts")
        self._client = Client(SinkUnavailable, allow_networks=config.allow_networks, connections=1)

    async def tell(self, notice: Notice) -> None:
        """Send its alarms; a reminder is Alertmanager's own business."""
        if notice.transition == "test":
            await self._post([trial_alert(notice, self._words, valid_s=self._valid_s)])
        elif notice.transition != "reminder":
            await self.refresh(notice.alarms)

    async def refresh(self, firing: Sequence[Alarm]) -> None:
        """Send them as they are."""
        if firing:
            now = self._now()
            await self._post([alert(alarm, self._words, now=now, valid_s=self._valid_s) for alarm in firing])

    async def _post(self, alerts: Sequence[dict[str, Any]]) -> None:
        body = json.dumps(alerts, ensure_ascii=False).encode()
        headers = [(b"content-type", b"application/json")]
        deadline_s = self._config.timeout_s
        require_ok(await self._client.ask("POST", self._target, deadline_s=deadline_s, headers=headers, body=body))

    async def close(self) -> None:
        """Release connections."""
        await self._client.close()
