"""Sink `amqp`: CloudEvents in structured mode to a RabbitMQ exchange, each confirmed by the broker.

Promises: an event counts as delivered when the broker has confirmed it, and it was routed to a queue: what no queue
takes is a failure, not a loss. Messages are persistent, and a queue that the sink declares is a quorum queue. A
connection that breaks is torn down whole; the next call makes a new one. What was sent but not confirmed comes again
with the same id.

What it does not do: declare exchanges, retry, or bind by keys that only events know.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aio_pika
import msgspec
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.connection import make_url
from aio_pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelClosed,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    ProbableAuthenticationError,
    PublishError,
)

from bridge import tracing
from bridge.errors import BridgeError, SecretUnavailable, SinkRefused, SinkUnavailable
from bridge.parcel import Form, Message, Parcel

CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"
PREFIX = "cloudEvents_"  # of headers; the binding prefers it to "cloudEvents:", which JMS selectors cannot name

_CONNECT_S = 15.0
_CLOSE_S = 5.0
_HEARTBEAT_S = 20
_FRAME = 100_000  # bytes that fit into one frame with room to spare
_SHORT = 255  # bytes of a routing key and of a message id
_TEMPLATE = re.compile(r"\{(stream|type|key)\}")
_LOST = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, RuntimeError)
_UNROUTED = "No queue is bound for it: bind one, or name `queue` and the sink declares it."
_RIGHTS = "The login needs write rights on the exchange, and configure rights on a queue that the sink declares."
_FULL = "The queue is full or its node is in trouble; delivery resumes by itself."


Addressed = dict[int, tuple[aio_pika.Message, str]]  # by index in the parcel: message and routing key


class _Attributes(msgspec.Struct):
    """The context attributes that go into headers too, so that brokers can route by them."""

    source: str
    type: str
    subject: str | None = None
    time: str | None = None


logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # it also raises what it would log

_attributes = msgspec.json.Decoder(_Attributes).decode


@dataclass(slots=True)
class _Session:
    """One connection with its channel. Not frozen: it learns which streams it has bound."""

    connection: AbstractConnection
    channel: AbstractChannel
    exchange: AbstractExchange
    bound: set[str] = field(default_factory=set)  # streams
    binding: asyncio.Lock = field(default_factory=asyncio.Lock)


class AmqpSink:
    """One exchange of one broker.

    Args:
        name: as in the configuration.
        url: gives the broker's URL, credentials included; asked at each connection, so that secrets may rotate.
        exchange: where messages go; "" for the default one, which routes by the queue's name.
        routing_key: template with {stream}, {type} and {key}; with the default exchange and a queue, its name.
        queue: declared as a quorum queue and bound; None when the broker's owner did.
        confirm_s: how long the broker may take to confirm a call.
    """

    wants: Form = "messages"
    is_atomic = False

    def __init__(
        self,
        name: str,
        *,
        url: Callable[[], str],
        exchange: str = "",
        routing_key: str = "{stream}",
        queue: str | None = None,
        confirm_s: float = 30.0,
    ) -> None:
        self.name = name
        self._url = url
        self._exchange = exchange
        self._routing_key = queue if queue and not exchange else routing_key
        self._queue = queue
        self._confirm_s = confirm_s
        self._session: _Session | None = None
        self._connecting = asyncio.Lock()

    async def open(self) -> None:
        """Connect, find the exchange, declare the queue. Raises: SinkUnavailable."""
        async with _told(self._exchange):
            await self._connected()

    async def send(self, parcel: Parcel) -> Mapping[int, BridgeError]:
        """Publish every message, then wait for all confirmations; see `ports.Sink`."""
        failures, messages = self._addressed(parcel)
        if messages:
            async with _told(self._exchange):
                session = await self._connected()
                await self._bind(session, parcel.stream)
                failures |= await self._published(session, messages)
        if len(failures) == len(parcel.messages):
            raise next(iter(failures.values()))  # nothing went: a matter of the receiver, not of events
        return failures

    def stands_at(self, _stream: str) -> int | None:
        """Only the journal's cursor counts."""
        return None

    async def close(self) -> None:
        """Say goodbye to the broker, within seconds."""
        session, self._session = self._session, None
        if session is not None:
            await _end(session.connection)

    # -- connection
    async def _connected(self) -> _Session:
        async with self._connecting:
            session = self._session
            if session is not None and not session.connection.is_closed and not session.channel.is_closed:
                return session
            await self.close()
            self._session = await self._connect()
            return self._session

    async def _connect(self) -> _Session:
        connection = aio_pika.Connection(
            make_url(self._url(), heartbeat=_HEARTBEAT_S),
            client_properties={"connection_name": f"legacy-bridge sink {self.name}"},
        )
        try:
            async with asyncio.timeout(_CONNECT_S):
                await connection.connect()
                channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                if self._queue is not None:
                    await channel.declare_queue(self._queue, durable=True, arguments={"x-queue-type": "quorum"})
                exchange = await channel.get_exchange(self._exchange) if self._exchange else channel.default_exchange
        except BaseException:
            await _end(connection)
            raise
        return _Session(connection, channel, exchange)

    async def _bind(self, session: _Session, stream: str) -> None:
        """Bind our queue for one stream; what only events know matches anything."""
        if self._queue is None or not self._exchange or stream in session.bound:
            return
        async with session.binding:
            pattern = _TEMPLATE.sub(lambda found: stream if found[1] == "stream" else "#", self._routing_key)
            queue = await session.channel.get_queue(self._queue, ensure=False)
            await queue.bind(session.exchange, pattern, timeout=_CONNECT_S)
            session.bound.add(stream)

    # -- messages
    def _addressed(self, parcel: Parcel) -> tuple[dict[int, BridgeError], Addressed]:
        """Each message with its routing key, by index; and those that have none."""
        failures: dict[int, BridgeError] = {}
        messages: Addressed = {}
        for index, message in enumerate(parcel.messages):
            about = _attributes(message.text)
            words = {"stream": parcel.stream, "type": about.type, "key": message.key or ""}
            address = _TEMPLATE.sub(lambda found, words=words: words[found[1]], self._routing_key)  # type: ignore[misc]
            if len(address.encode()) > _SHORT:
                failures[index] = SinkRefused(f"the routing key is longer than {_SHORT} bytes")
            else:
                messages[index] = (_rendered(message, about), address)
        return failures, messages

    async def _published(self, session: _Session, messages: Addressed) -> dict[int, BridgeError]:
        """Publish the messages of one frame together, then each larger one on a channel of its own.

        RabbitMQ refuses a message that is too large by closing the channel, whatever else is under way on it.
        """
        large = {index: one for index, one in messages.items() if one[0].body_size > _FRAME}
        small = {index: one for index, one in messages.items() if index not in large}
        failures = await self._publish(session.exchange, small)
        for index, one in large.items():
            channel = await session.connection.channel(publisher_confirms=True, on_return_raises=True)
            exchange = await channel.get_exchange(self._exchange, ensure=False)
            try:
                failures |= await self._publish(exchange, {index: one})
                await channel.close()
            except ChannelPreconditionFailed:
                failures[index] = SinkRefused("the message is larger than the broker takes")
        return failures

    async def _publish(self, exchange: AbstractExchange, messages: Addressed) -> dict[int, BridgeError]:
        """Send all at once and wait for what the broker says to each.

        Raises: whatever broke the channel, since then nobody knows of how many.
        """
        calls = [exchange.publish(message, address, mandatory=True) for message, address in messages.values()]
        try:
            async with asyncio.timeout(self._confirm_s):
                outcomes = await asyncio.gather(*calls, return_exceptions=True)
        except TimeoutError:
            await self.close()
            raise SinkUnavailable(f"the broker has not confirmed within {self._confirm_s:g} s") from None
        failures: dict[int, BridgeError] = {}
        for index, outcome in zip(messages, outcomes, strict=True):
            if isinstance(outcome, DeliveryError):
                failures[index] = _not_taken(outcome)
            elif isinstance(outcome, asyncio.CancelledError):  # the connection's way to say that it was closed
                raise ConnectionError("the connection was closed")
            elif isinstance(outcome, BaseException):
                raise outcome
        return failures


async def _end(connection: AbstractConnection) -> None:
    """Close a connection in whatever state it is; one that was never made tries to close itself when collected."""
    with suppress(*_LOST):
        async with asyncio.timeout(_CLOSE_S):
            await connection.close()


def _rendered(message: Message, about: _Attributes) -> aio_pika.Message:
    headers = {"specversion": "1.0", "id": message.id, "source": about.source, "type": about.type,
               "subject": about.subject, "time": about.time}  # fmt: skip
    shown: dict[str, Any] = {PREFIX + name: value for name, value in headers.items() if value is not None}
    return aio_pika.Message(
        message.text,
        headers=shown | tracing.headers(),
        content_type=CONTENT_TYPE,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=message.id if len(message.id.encode()) <= _SHORT else None,
    )


def _not_taken(error: DeliveryError) -> SinkUnavailable:
    """Events are kept until somebody makes room for them: neither answer is about the event itself."""
    if isinstance(error, PublishError):
        return SinkUnavailable("the broker has no queue for the message", hint=_UNROUTED)
    return SinkUnavailable("the broker did not take the message", hint=_FULL)


@asynccontextmanager
async def _told(exchange: str) -> AsyncIterator[None]:
    """What the client library raises, in our words. Raises: SinkUnavailable."""
    try:
        yield
    except ValueError as error:
        raise SinkUnavailable("`url` is not a broker's URL", hint="Write amqps://user:password@host/vhost.") from error
    except SecretUnavailable as error:
        raise SinkUnavailable(error.detail, hint=error.hint) from error
    except (AuthenticationError, ProbableAuthenticationError) as error:
        raise SinkUnavailable("the broker refuses the login", hint="Check user and password in `url`.") from error
    except ChannelNotFoundEntity as error:
        hint = f"Ask the broker's owner to declare the exchange `{exchange}`." if exchange else None
        raise SinkUnavailable("the broker does not have what the messages go to", hint=hint) from error
    except ChannelPreconditionFailed as error:
        hint = "If its queue exists with other properties, leave out `queue`."
        raise SinkUnavailable("the broker closed the channel", hint=hint) from error
    except ChannelClosed as error:
        raise SinkUnavailable("the broker closed the channel", hint=_RIGHTS) from error
    except _LOST as error:
        raise SinkUnavailable(f"the broker cannot be reached: {type(error).__name__}") from error
