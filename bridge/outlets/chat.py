"""Tells by any service that Apprise knows: mail, chat, telephone. Needs the extra `alerts`; blocks only a thread."""

import asyncio
import importlib.util
import logging
from collections.abc import Sequence

from bridge.alarm.machine import Alarm, Notice
from bridge.alarm.wording import Words, text, title
from bridge.config.alarms import AppriseConfig
from bridge.errors import ConfigError, SinkUnavailable

_TIMEOUT_S = 60.0


class AppriseOutlet:
    """One service, named by an Apprise URL."""

    resend_s: float | None = None

    def __init__(self, config: AppriseConfig, words: Words) -> None:
        """Set up; nothing connects yet. Raises: ConfigError when Apprise is not installed."""
        if importlib.util.find_spec("apprise") is None:
            raise ConfigError("Apprise is not installed", hint="pip install 'legacy-bridge[alerts]'")
        self._config = config
        self._words = words

    async def tell(self, notice: Notice) -> None:
        """Send title and text."""
        async with asyncio.timeout(_TIMEOUT_S):
            await asyncio.to_thread(self._tell, notice)

    def _tell(self, notice: Notice) -> None:
        import apprise  # noqa: PLC0415  heavy, and an extra

        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it logs URLs and answers
        service = apprise.Apprise()
        if not service.add(self._config.url.reveal()):
            raise SinkUnavailable("Apprise does not know this URL", hint="See https://github.com/caronc/apprise/wiki")
        kinds = {"resolved": apprise.NotifyType.SUCCESS, "test": apprise.NotifyType.INFO}
        kind = kinds.get(notice.transition, apprise.NotifyType.FAILURE)
        if not service.notify(title=title(notice, self._words), body=text(notice, self._words), notify_type=kind):
            raise SinkUnavailable("the service did not take it", hint="Check the URL: `apprise -vv URL` says more.")

    async def refresh(self, firing: Sequence[Alarm]) -> None:
        """People believe what they were told."""

    async def close(self) -> None:
        """Nothing is kept open."""
