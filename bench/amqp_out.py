"""Events to a quorum queue of a real broker, persistent, mandatory, each confirmed.

Ours is the delivery loop with its sink; the limit publishes the same messages, made beforehand, by aio-pika alone with
as many under way. Both run as processes of their own against the same broker, which shares the machine with them; each
run has a queue of its own.
"""

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import aio_pika

from bench import program, waiting
from bench.claim import Claim, Measure, Readers, Sample, Target
from bench.source import scaled
from bridge.sinks.amqp import CONTENT_TYPE, PREFIX
from tests.rabbit import RabbitServer

EVENTS = 50_000
BATCH = 500  # messages that are confirmed together
CONCURRENCY = 8  # such batches under way
QUEUE = "bench"
HEADERS = ("specversion", "id", "source", "type", "subject", "time")


@contextlib.contextmanager
def prepare() -> Iterator[Readers]:
    """A full journal and a broker."""
    count = scaled(EVENTS)
    with tempfile.TemporaryDirectory(prefix="legacy-bridge-bench-") as name, serving() as broker:
        folder = Path(name)
        (folder / "broker").write_text(broker.url)
        settings = {"url": f"${{file:{folder / 'broker'}}}", "queue": QUEUE}
        waiting.configure(folder, {"amqp": {"amqp": settings, "batch": {"events": BATCH}, "concurrency": CONCURRENCY}})
        waiting.fill(folder, count)

        def measured(module: str, *arguments: str) -> Sample:
            asyncio.run(_without_queue(broker.url))
            return program.measure(module, name, *arguments)

        yield Readers(
            ours=lambda: measured("bench.delivery", "amqp"),
            limit=lambda: measured("bench.amqp_out", broker.url),
            notes=(f"{count} events; {CONCURRENCY} batches of {BATCH} under way", f"aio-pika {aio_pika.__version__}"),
        )


@contextlib.contextmanager
def serving() -> Iterator[RabbitServer]:
    """A broker of one's own."""
    broker = RabbitServer.start()
    try:
        yield broker
    finally:
        broker.close()


async def _without_queue(url: str) -> None:
    async with await aio_pika.connect(url) as connection:
        await (await connection.channel()).queue_delete(QUEUE)


def _message(text: bytes) -> aio_pika.Message:
    """What the sink sends of an event."""
    event = json.loads(text)
    return aio_pika.Message(
        text,
        headers={PREFIX + name: event[name] for name in HEADERS},
        content_type=CONTENT_TYPE,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=event["id"],
    )


async def _limit(folder: Path, url: str) -> float:
    messages = [_message(text) for text in waiting.texts(folder)]
    batches = [messages[start : start + BATCH] for start in range(0, len(messages), BATCH)]
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})

        async def lane(share: Sequence[Sequence[aio_pika.Message]]) -> None:
            exchange = channel.default_exchange
            for batch in share:
                await asyncio.gather(*(exchange.publish(message, QUEUE, mandatory=True) for message in batch))

        began_at = time.perf_counter()
        await asyncio.gather(*(lane(batches[number::CONCURRENCY]) for number in range(CONCURRENCY)))
        return len(messages) / (time.perf_counter() - began_at)


CLAIM = Claim(
    name="amqp_out",
    about="events to RabbitMQ, confirms on",
    measures=(Measure("rate", "events/s", Target(of_limit=0.7)),),
    open=prepare,
)

if __name__ == "__main__":
    print(json.dumps({"rate": asyncio.run(_limit(Path(sys.argv[1]), sys.argv[2]))}))
