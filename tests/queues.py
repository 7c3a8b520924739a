"""A daemon that reads a broker's queues, and a publisher that waits for the broker's confirmation of each message."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import aio_pika
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import AMQPError

from tests.daemon import wait_for
from tests.inbox import InThread, SentDaemon
from tests.rabbit import RabbitServer

QUEUE = "articles"
Made = TypeVar("Made")


class QueueDaemon(SentDaemon):
    """A daemon with one stream `articles`, read from the queue of that name."""

    def __init__(self, folder: Path, rabbit: RabbitServer, **amqp: Any) -> None:  # noqa: ANN401  keys of its section
        super().__init__(folder, {"mq": {"amqp": {"url": "${env:BROKER}", **amqp}}})
        self.environment["BROKER"] = rabbit.url
        self.add_stream("articles", system="mq", queue=QUEUE)
        self.write()


def with_channel(rabbit: RabbitServer, act: Callable[[AbstractChannel], Coroutine[Any, Any, Made]]) -> Made:
    """Do something on a channel of its own."""

    async def run() -> Made:
        connection = await aio_pika.connect(rabbit.url, timeout=30)
        async with connection:
            return await act(await connection.channel(publisher_confirms=True))

    return asyncio.run(run())


def declare(rabbit: RabbitServer, kind: str = "quorum") -> None:
    """A new, empty queue."""

    async def act(channel: AbstractChannel) -> None:
        await channel.queue_delete(QUEUE)
        await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": kind})

    with_channel(rabbit, act)


def left(rabbit: RabbitServer) -> int:
    """Messages that nobody holds."""

    async def act(channel: AbstractChannel) -> int:
        queue = await channel.declare_queue(QUEUE, passive=True)
        return queue.declaration_result.message_count or 0

    return with_channel(rabbit, act)


class _NoId(str):
    """An empty message id that the client library takes for one; it would make one up otherwise."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return self


def nameless(body: Mapping[str, Any] | bytes) -> aio_pika.Message:
    """A durable message without an id."""
    return message(body, message_id=_NoId())


def message(body: Mapping[str, Any] | bytes, **properties: Any) -> aio_pika.Message:  # noqa: ANN401  of a message
    """A durable message."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return aio_pika.Message(raw, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **properties)


def row(number: int) -> dict[str, Any]:
    """A row of the stream."""
    return {"id": number, "name": "n", "amount": 1}


def publish(rabbit: RabbitServer, messages: Iterable[aio_pika.Message]) -> None:
    """Publish, each confirmed."""

    async def act(channel: AbstractChannel) -> None:
        for each in messages:
            await channel.default_exchange.publish(each, QUEUE)

    with_channel(rabbit, act)


class Publisher(InThread):
    """Publishes rows with ids counting up; repeats each until the broker confirms it."""

    def __init__(self, rabbit: RabbitServer, *, first: int = 1, pause_s: float = 0.002) -> None:
        super().__init__()
        self.confirmed: list[int] = []
        self._rabbit = rabbit
        self._next = first
        self._pause_s = pause_s

    def wait_confirmed(self, more: int) -> None:
        """Until that many more are confirmed."""
        wanted = len(self.confirmed) + more
        wait_for(lambda: len(self.confirmed) >= wanted)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with_channel(self._rabbit, self._publish)
            except (AMQPError, OSError, TimeoutError, RuntimeError):
                time.sleep(0.05)  # the broker is down

    async def _publish(self, channel: AbstractChannel) -> None:
        while not self._stop.is_set():
            number = self._next
            await channel.default_exchange.publish(message(row(number), message_id=f"m{number}"), QUEUE, timeout=10)
            self.confirmed.append(number)
            self._next += 1
            await asyncio.sleep(self._pause_s)
