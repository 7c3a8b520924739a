"""Sink `webhook`: events as signed HTTP requests (Standard Webhooks 1.0.0, CloudEvents 1.0).

Promises: the same event has the same `webhook-id` each time it is sent; every request is signed with every secret as it
is at that moment, so that one can be rotated while it runs; an event counts as delivered on a 2xx answer only; nothing
of an answer's body is kept or logged. Does not retry: the delivery loop does.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from urllib.parse import quote

from bridge import signing, tracing
from bridge.client import Answer, Client, Lookup, Target
from bridge.config.sinks import WebhookConfig
from bridge.errors import BridgeError, ConfigError, SecretUnavailable, SinkGone, SinkRefused, SinkUnavailable
from bridge.parcel import Form, Message, Parcel
from bridge.sinks import httpevents
from bridge.sinks.httpevents import Content

_GONE = 410
# What a receiver says of itself or of its URL and not of the event: tried again, never set aside at once.
_NOT_THE_EVENT = frozenset({401, 403, 404, 405, 407, 408, 421, 425, 429})


class WebhookSink:
    """One receiver of webhooks."""

    wants: Form = "messages"

    def __init__(
        self,
        name: str,
        settings: WebhookConfig,
        *,
        concurrency: int,
        public_url: str | None = None,
        lookup: Lookup | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Set up; nothing connects yet.

        Args:
            name: of the sink.
            settings: its keys.
            concurrency: requests under way at once, and so connections.
            public_url: where receivers reach this bridge's HTTP door, for links to events too large to send.
            lookup: how names are resolved; by the system when left out.
            now: seconds since 1970.
        Raises: ConfigError for a URL or a network that is none, or a secret that is none; one that cannot be read now
            is waited for.
        """
        self.name = name
        self.is_atomic = settings.format == "batch"
        self._settings = settings
        self._target = Target.parse(settings.url)
        self._client = Client(
            SinkUnavailable,
            allow_networks=settings.allow_networks,
            connections=concurrency,
            ca_file=settings.ca_file,
            lookup=lookup,
        )
        self._public_url = public_url.rstrip("/") if public_url else None
        self._now = now
        self._secrets: tuple[str, ...] = ()
        self._keys: tuple[signing.Key, ...] = ()
        with suppress(SecretUnavailable):
            self._read_keys()

    async def open(self) -> None:
        """See that there are keys to sign with. Raises: SinkUnavailable."""
        self._current_keys()

    async def send(self, parcel: Parcel) -> Mapping[int, BridgeError]:
        """Send a parcel: a batch in one request, otherwise one event after the other."""
        if self.is_atomic:
            texts = [self._fitting(message, parcel.stream) for message in parcel.messages]
            await self._post(_batch_id([message.id for message in parcel.messages]), httpevents.batch(texts))
            return {}
        failures: dict[int, BridgeError] = {}
        for index, message in enumerate(parcel.messages):
            try:
                await self._send_one(message, self._fitting(message, parcel.stream))
            except SinkRefused as error:
                failures[index] = error
            except SinkUnavailable as error:
                if index == 0:
                    raise
                return failures | dict.fromkeys(range(index, parcel.count), error)
        return failures

    def stands_at(self, stream: str) -> int | None:  # noqa: ARG002  the port's
        """Receivers keep no cursor."""
        return None

    async def close(self) -> None:
        """Close every connection; callable twice."""
        await self._client.close()

    def _fitting(self, message: Message, stream: str) -> bytes:
        """What is sent of an event: itself, or a link where it is too large. Raises: SinkRefused without a link."""
        limit = self._settings.body_limit_kilobytes * 1024
        if len(message.text) <= limit:
            return message.text
        if self._public_url is None:
            raise SinkRefused(
                f"the event has {len(message.text)} bytes, more than the body limit of {limit}",
                hint="Set `bridge.http.public_url`, so that a link can be sent instead, or `body_limit_kilobytes`.",
            )
        place = f"/v1/streams/{quote(stream, safe='')}/events/{message.number}"
        return httpevents.without_data(message.text, dataref=self._public_url + place)

    async def _send_one(self, message: Message, text: bytes) -> None:
        content = httpevents.binary(text) if self._settings.format == "binary" else httpevents.structured(text)
        await self._post(signing.header_id(message.id), content, trace=httpevents.trace(text))

    async def _post(self, message_id: str, content: Content, *, trace: httpevents.Headers = ()) -> None:
        """Send one request. Raises: SinkUnavailable, SinkRefused, SinkGone."""
        timestamp = int(self._now())
        signature = signing.sign(self._current_keys(), message_id=message_id, timestamp=timestamp, body=content.body)
        headers = (
            (b"webhook-id", message_id.encode()),
            (b"webhook-timestamp", b"%d" % timestamp),
            (b"webhook-signature", signature.encode()),
            *content.headers,
            *(_current_trace() or trace),
        )
        answer = await self._client.ask(
            "POST", self._target, deadline_s=self._settings.timeout_s, headers=headers, body=content.body
        )
        judge(answer, now=self._now())

    def _current_keys(self) -> tuple[signing.Key, ...]:
        """The keys as they are now. Raises: SinkUnavailable, so that events wait until they are right again."""
        try:
            return self._read_keys()
        except (ConfigError, SecretUnavailable) as error:
            raise SinkUnavailable(error.detail, hint=error.hint) from error

    def _read_keys(self) -> tuple[signing.Key, ...]:
        secrets = tuple(secret.reveal() for secret in self._settings.secrets)
        if secrets != self._secrets:
            keys = signing.keys(secrets)
            for one in keys:
                one.sign(b"")  # a public key cannot
            self._secrets, self._keys = secrets, keys
        return self._keys


def _current_trace() -> httpevents.Headers:
    """The headers of the span that is under way, which links to the event's own trace; none while tracing is off."""
    return tuple((name.encode(), value.encode()) for name, value in tracing.headers().items())


def judge(answer: Answer, *, now: float) -> None:
    """Decide by status.

    Args:
        answer: of a receiver.
        now: seconds since 1970, for a Retry-After that is a date.
    Raises: SinkUnavailable, SinkRefused, SinkGone; nothing for a 2xx.
    """
    status = answer.status
    detail = f"HTTP {status}"
    if status // 100 == 2:  # noqa: PLR2004  the class of success
        return
    if status // 100 == 3:  # noqa: PLR2004  the class of redirects
        raise SinkUnavailable(
            f"{detail}, redirect refused", hint="Give the sink the URL that the receiver redirects to."
        )
    if status == _GONE:
        raise SinkGone(detail)
    if status in _NOT_THE_EVENT or status // 100 != 4:  # noqa: PLR2004  the class of the sender's mistakes
        raise SinkUnavailable(detail, retry_after_s=answer.retry_after_s(now))
    raise SinkRefused(detail)


def _batch_id(ids: Sequence[str]) -> str:
    """One id for a batch, the same for the same events; that of its event where there is only one."""
    first = signing.header_id(ids[0])
    if len(ids) == 1:
        return first
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    return f"{first}+{len(ids) - 1}-{digest[:16]}"
