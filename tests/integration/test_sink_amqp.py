"""The AMQP sink on a real broker: confirmed or kept, through restarts, kills, full queues and missing ones."""

import asyncio
import json
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from cloudevents.core.bindings.amqp import AMQPMessage, from_structured_event

from bridge.errors import BridgeError, SinkRefused, SinkUnavailable
from bridge.parcel import Message, Parcel
from bridge.sinks.amqp import AmqpSink
from tests.daemon import wait_for
from tests.parcels import messages
from tests.rabbit import RabbitServer

KEYS = 20
QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}


@pytest.fixture
def queue() -> str:
    """A name that no other test uses."""
    return f"q-{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def opened(rabbit: RabbitServer, **rest: Any) -> AsyncIterator[AmqpSink]:  # noqa: ANN401  those of the sink
    before = asyncio.all_tasks()
    sink = AmqpSink("mq", **{"url": lambda: rabbit.url, **rest})
    await sink.open()
    try:
        yield sink
    finally:
        await sink.close()
    if left := asyncio.all_tasks() - before:  # the library's own are in their last turn
        _, pending = await asyncio.wait(left, timeout=10)
        assert not pending, "nothing goes on behind a closed sink"


@asynccontextmanager
async def channel(rabbit: RabbitServer) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(rabbit.url) as connection, connection.channel() as made:
        yield made


async def drained(rabbit: RabbitServer, queue: str) -> list[AbstractIncomingMessage]:
    """Everything that waits in a queue, taken out in order."""
    found = []
    async with channel(rabbit) as made:
        await made.set_qos(1000)
        declared = await made.get_queue(queue)
        while (message := await declared.get(fail=False, timeout=60)) is not None:
            await message.ack()
            found.append(message)
    return found


def run(make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:  # noqa: ANN401  what it returns
    return asyncio.run(asyncio.wait_for(make(), 240))


def ids(parcel: Parcel) -> list[str]:
    return [message.id for message in parcel.messages]


def test_every_message_is_a_persistent_cloudevent_in_a_quorum_queue(rabbit: RabbitServer, queue: str) -> None:
    parcel = messages(range(1, 30))

    async def deliver() -> list[AbstractIncomingMessage]:
        async with opened(rabbit, queue=queue) as sink:
            assert await sink.send(parcel) == {}
        async with channel(rabbit) as made:  # the same declaration: it is a quorum queue
            await made.declare_queue(queue, durable=True, arguments=QUORUM)
        return await drained(rabbit, queue)

    found = run(deliver)
    assert [message.body for message in found] == [message.text for message in parcel.messages]
    first, event = found[0], json.loads(parcel.messages[0].text)
    assert first.message_id == event["id"]
    assert first.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert {name: first.headers[f"cloudEvents_{name}"] for name in ("id", "type", "source", "subject", "time")} == {
        name: event[name] for name in ("id", "type", "source", "subject", "time")
    }
    assert first.content_type == "application/cloudevents+json; charset=UTF-8"


def test_the_reference_library_reads_what_arrives(rabbit: RabbitServer, queue: str) -> None:
    async def deliver() -> AbstractIncomingMessage:
        async with opened(rabbit, queue=queue) as sink:
            await sink.send(messages([1]))
        return (await drained(rabbit, queue))[0]

    found = run(deliver)
    properties = {"content-type": found.content_type}
    event = from_structured_event(AMQPMessage(properties, dict(found.headers), found.body))
    assert event.get_type() == "com.acme.erp.orders.created.v1"
    assert event.get_data()["order_id"] == "A1"  # type: ignore[index,call-overload]


def test_routing_keys_are_made_of_stream_type_and_key(rabbit: RabbitServer, queue: str) -> None:
    async def deliver() -> list[AbstractIncomingMessage]:
        exchange = f"x-{queue}"
        async with channel(rabbit) as made:
            await made.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, durable=True)
        template = "erp.{stream}.{type}.{key}"
        async with opened(rabbit, exchange=exchange, routing_key=template, queue=queue) as sink:
            odd = messages([3], change={3: {"_key": "{type}"}})
            await asyncio.gather(sink.send(messages([1, 2])), sink.send(odd))
        return await drained(rabbit, queue)

    found = {message.routing_key for message in run(deliver)}
    start = "erp.orders.com.acme.erp.orders.created.v1"
    assert found == {f"{start}.A1", f"{start}.A2", f"{start}.{{type}}"}


def test_a_message_that_no_queue_takes_is_kept(rabbit: RabbitServer, queue: str) -> None:
    async def deliver() -> list[str | None]:
        async with opened(rabbit, routing_key=queue) as sink:
            with pytest.raises(SinkUnavailable, match="has no queue") as caught:
                await sink.send(messages([1, 2]))
            assert "bind one" in caught.value.hint
            async with channel(rabbit) as made:
                await made.declare_queue(queue, durable=True)
            assert await sink.send(messages([1, 2])) == {}
        return [message.message_id for message in await drained(rabbit, queue)]

    assert run(deliver) == ids(messages([1, 2]))


def test_what_a_full_queue_refuses_is_named_and_the_rest_is_taken(rabbit: RabbitServer, queue: str) -> None:
    limited: dict[str, Any] = {"x-max-length": 3, "x-overflow": "reject-publish"}

    async def deliver() -> tuple[Mapping[int, BridgeError], list[str | None]]:
        async with channel(rabbit) as made:
            await made.declare_queue(queue, durable=True, arguments=limited)
        async with opened(rabbit, routing_key=queue) as sink:
            failures = await sink.send(messages(range(1, 11)))
            with pytest.raises(SinkUnavailable, match="did not take"):
                await sink.send(messages([20]))
        return failures, [message.message_id for message in await drained(rabbit, queue)]

    failures, found = run(deliver)
    assert failures.keys() == set(range(3, 10))
    assert all(isinstance(failure, SinkUnavailable) for failure in failures.values())
    assert found == ids(messages([1, 2, 3]))


def huge(number: int) -> Message:
    return Message(number, f"huge-{number}", f"H{number}", messages([number]).messages[0].text + b" " * 5_000_000)


def test_a_message_that_is_too_large_is_refused_and_hurts_no_other(rabbit: RabbitServer, queue: str) -> None:
    large = Message(9, "large", "L", messages([9]).messages[0].text + b" " * 1_000_000)

    async def deliver() -> list[str | None]:
        async with opened(rabbit, queue=queue) as sink:
            failures = await sink.send(Parcel("orders", (huge(1), *messages([2]).messages, large)))
            assert [(index, type(error)) for index, error in failures.items()] == [(0, SinkRefused)]
            at_once = (Parcel("orders", (huge(1),)), messages([3]), messages([4]))
            outcomes = await asyncio.gather(*map(sink.send, at_once), return_exceptions=True)
            assert isinstance(outcomes[0], SinkRefused)
            assert outcomes[1:] == [{}, {}]
        return [message.message_id for message in await drained(rabbit, queue)]

    assert set(run(deliver)) == {"large", *ids(messages([2, 3, 4]))}


def test_a_routing_key_that_is_too_long_is_refused_alone(rabbit: RabbitServer, queue: str) -> None:
    async def deliver() -> list[str | None]:
        exchange = f"x-{queue}"
        async with channel(rabbit) as made:
            await made.declare_exchange(exchange, aio_pika.ExchangeType.FANOUT, durable=True)
        async with opened(rabbit, exchange=exchange, routing_key="{key}", queue=queue) as sink:
            failures = await sink.send(messages([1, 2, 3], change={2: {"_key": "é" * 128}}))
            assert [(index, type(error)) for index, error in failures.items()] == [(1, SinkRefused)]
        return [message.message_id for message in await drained(rabbit, queue)]

    assert run(deliver) == ids(messages([1, 3]))


@pytest.mark.parametrize(
    ("change", "says", "hint"),
    [
        ({"url": lambda: "amqp://guest:wrong@127.0.0.1:{port}/"}, "refuses the login", "user and password"),
        ({"url": lambda: "amqp://guest:guest@127.0.0.1:1/"}, "cannot be reached", "resumes by itself"),
        ({"url": lambda: "amqp://guest:wrong@[127.0.0.1:x/"}, "not a broker's URL", "amqps://"),
        ({"exchange": "nowhere"}, "does not have", "declare the exchange `nowhere`"),
        ({"queue": "classic"}, "closed the channel", "leave out `queue`"),
    ],
)
def test_what_is_wrong_with_a_broker_is_said(
    rabbit: RabbitServer, change: dict[str, Any], says: str, hint: str
) -> None:
    async def deliver() -> None:
        async with channel(rabbit) as made:
            await made.declare_queue("classic", durable=True)
        if "url" in change:
            change["url"] = lambda url=change["url"]: url().replace("{port}", str(rabbit.port))
        with pytest.raises(SinkUnavailable, match=says) as caught:
            async with opened(rabbit, **change):
                pass
        assert hint in caught.value.hint
        assert "wrong" not in f"{caught.value}{caught.value.hint}"

    run(deliver)


def test_a_broker_that_answers_nothing_is_given_up_and_found_again(rabbit: RabbitServer, queue: str) -> None:
    async def deliver() -> list[str | None]:
        async with opened(rabbit, queue=queue, confirm_s=1.0) as sink:
            await reached(sink, messages([1]))
            rabbit.freeze()
            with pytest.raises(SinkUnavailable, match="has not confirmed"):
                await sink.send(messages([2]))
            rabbit.thaw()
            await reached(sink, messages([2]))
        return [message.message_id for message in await drained(rabbit, queue)]

    assert set(run(deliver)) == set(ids(messages([1, 2])))


async def reached(sink: AmqpSink, parcel: Parcel) -> None:
    """Send until it arrives, as the delivery loop does."""
    deadline = asyncio.get_running_loop().time() + 120
    while True:
        try:
            failures = await sink.send(parcel)
        except SinkUnavailable:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)
            continue
        assert not failures
        return


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_broker_that_goes_away_under_load_loses_and_reorders_nothing(
    rabbit: RabbitServer, queue: str, how: str
) -> None:
    def interrupt() -> None:
        getattr(rabbit, how)()
        rabbit.start_again()

    async def load(sink: AmqpSink, first: int, is_over: threading.Event) -> int:
        """Rounds of one event a key, a round after the other, until some came after the interruption."""
        after, rounds = 0, 0
        while after < 5:
            numbers = [first + 2 * key + rounds * KEYS for key in range(KEYS // 2)]
            change = {number: {"_key": f"K{number % KEYS}"} for number in numbers}
            await reached(sink, messages(numbers, change=change))
            rounds += 1
            after += is_over.is_set()
        return rounds

    async def deliver() -> tuple[list[int], list[str | None]]:
        async with opened(rabbit, queue=queue) as sink:
            await asyncio.to_thread(wait_for, lambda: rabbit.remembers(queue))
            over = threading.Event()
            loads = [asyncio.create_task(load(sink, half, over)) for half in (0, 1)]
            await asyncio.to_thread(interrupt)
            over.set()
            return await asyncio.gather(*loads), [message.message_id for message in await drained(rabbit, queue)]

    rounds, found = run(deliver)
    sent = [
        first + 2 * key + turn * KEYS for first in (0, 1) for turn in range(rounds[first]) for key in range(KEYS // 2)
    ]
    arrived = list(dict.fromkeys(number_of(text) for text in found))  # a receiver drops what it has seen, by id
    assert sorted(arrived) == sorted(sent)
    for key in range(KEYS):
        mine = [number for number in arrived if number % KEYS == key]
        assert mine == sorted(mine)
    assert len(found) - len(arrived) <= KEYS, "only what was under way comes twice"


def number_of(event_id: str | None) -> int:
    assert event_id is not None
    return int(event_id.split(":")[2], 16) - 1000
