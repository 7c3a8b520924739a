"""RabbitMQ's queues of one system: see `ports.Source`.

A message is acknowledged after the commit that holds it. What the broker sends again is dropped by its id, and where it
has none by its content, if it was journalled and its acknowledgement may have been lost. What cannot be read becomes a
dead letter and is acknowledged, so it holds nobody up.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any

from aio_pika.abc import AbstractIncomingMessage

from bridge.inbox.incoming import InboxClosed, Incoming
from bridge.inbox.intake import Intake, Known
from bridge.inbox.mapping import Mapper
from bridge.inbox.messagesource import MessageSource
from bridge.model import Position, Window
from bridge.sources.amqp.doubts import Doubts, digest, has_id
from bridge.sources.amqp.session import Session, Settings

_PREFIXES = ("cloudEvents_", "cloudEvents:")
_UNBOUNDED = 1 << 62  # the session bounds what is held


class AmqpSource(MessageSource):
    """The queues of one system.

    Args:
        name: of the system.
        settings: how they are read.
        mappers: by stream.
        known: looks ids up in the journal.
        remember: for how long ids are remembered.
    """

    comes_as = "a queue"

    def __init__(
        self, name: str, settings: Settings, mappers: Mapping[str, Mapper], *, known: Known, remember: timedelta
    ) -> None:
        super().__init__(name, Intake(mappers, known=known, remember=remember, limit_bytes=_UNBOUNDED))
        self._settings = settings
        self._doubts = Doubts()
        self._nameless: dict[int, str] = {}  # digests of messages without an id, by delivery tag; the session's thread
        self._session: Session | None = None

    def open(self, position: Position | None, state: Mapping[str, Any]) -> None:
        """See the port. Raises: SourceUnavailable, SecretUnavailable."""
        self.close()
        self._doubts.begin(state)
        self._nameless = {}
        self._intake.open(position)
        self._session = Session(self._settings, self._take, acknowledged=self._acknowledged)
        self._session.start()

    def read(self, timeout_s: float, *, is_busy: Callable[[], bool]) -> Window | None:
        """See the port. Raises: SourceUnavailable; JournalUnavailable when ids cannot be looked up."""
        window = self._intake.pack(timeout_s, is_busy=is_busy, state=self._doubts.packed)
        if window is None and self._session is not None and self._session.failure is not None:
            raise self._session.failure
        return window

    def close(self) -> None:
        """See the port; what was handed over may still be confirmed, and is then known by its id."""
        super().close()
        if self._session is not None:
            self._session.close()

    # -- in the session's thread

    def _take(self, stream: str, message: AbstractIncomingMessage) -> "Future[str] | None":
        incoming = _incoming(message)
        if not message.redelivered:
            self._doubts.end_copies(stream)
        if not has_id(incoming):
            name = digest(stream, incoming)
            self._nameless[message.delivery_tag or 0] = name
            if message.redelivered and self._doubts.is_copy(name):
                return None
        try:
            return self._intake.submit(stream, incoming)  # type: ignore[return-value]  # a word is text
        except InboxClosed as closed:
            failed: Future[str] = Future()
            failed.set_exception(closed)
            return failed

    def _acknowledged(self, tags: list[int]) -> None:
        names = [name for tag in tags if (name := self._nameless.pop(tag, None)) is not None]
        if names:
            self._doubts.settle(names)


def _incoming(message: AbstractIncomingMessage) -> Incoming:
    headers = {
        name.removeprefix(prefix): value
        for name, value in message.headers.items()
        for prefix in _PREFIXES
        if name.startswith(prefix) and isinstance(value, str)
    }
    return Incoming(
        body=message.body,
        received_at=datetime.now(UTC),
        content_type=message.content_type or "",
        attributes=headers if "specversion" in headers else {},
        id=message.message_id or None,
        traceparent=trace if isinstance(trace := message.headers.get("traceparent"), str) else None,
    )
