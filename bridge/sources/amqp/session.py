"""One connection to a broker, in a thread with an event loop of its own.

Hands every message over as it comes, acknowledges those whose fate is known in order, and keeps what is held in memory
near a number of bytes: by the prefetch count, which follows the sizes seen, and by pausing its consumers. It does not
reconnect: its owner opens another session.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, ChannelNotFoundEntity

from bridge.errors import BridgeError, InternalError, SourceUnavailable

CONNECT_S = 20.0
HEARTBEAT_S = 10
FIRST_PREFETCH = 16  # messages, before any size is known
MOST_PREFETCH = 5000
_SIZES = 64  # of the newest messages, that the prefetch count follows
_GROWTH = 2  # a count is changed when it is off by this factor

# Hands a message of a stream over: a future that settles when it may be acknowledged, None when it may be now.
Take = Callable[[str, AbstractIncomingMessage], "Future[str] | None"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a broker's queues are read."""

    name: str  # of the connection, as the broker shows it
    url: Callable[[], str]  # read again at each connection
    queues: Mapping[str, str]  # by stream
    prefetch_bytes: int


@dataclass(slots=True)
class _Delivery:
    """A message that is not acknowledged yet."""

    tag: int
    size_bytes: int
    is_settled: bool = False


@dataclass(slots=True)
class _Consumers:
    """Who reads the queues now; none while paused."""

    count: int = 0  # messages a queue, at most
    tags: dict[str, str] = field(default_factory=dict)  # consumer by stream


class Session:
    """A running session; made by `start`."""

    def __init__(self, settings: Settings, take: Take, *, acknowledged: Callable[[list[int]], None]) -> None:
        self._settings = settings
        self._take = take
        self._acknowledged = acknowledged
        self._opened: Future[None] = Future()
        self._deliveries: deque[_Delivery] = deque()  # in the order of their tags
        self._held_bytes = 0
        self._sizes: deque[int] = deque(maxlen=_SIZES)
        self._consumers = _Consumers()
        self._loop = asyncio.new_event_loop()
        self._due = asyncio.Event()  # something to acknowledge, or to tune
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"amqp-{settings.name}", daemon=True)
        self.failure: BridgeError | None = None  # why it ended by itself

    def start(self) -> None:
        """Connect and begin to read. Raises: SourceUnavailable."""
        self._thread.start()
        try:
            self._opened.result(CONNECT_S + 5)
        except TimeoutError:
            raise SourceUnavailable("the broker did not answer in time") from None

    def close(self) -> None:
        """End it; what is not acknowledged the broker sends again. Callable twice, from any thread."""
        if self._thread.is_alive():
            self._call(self._ending.set)
            self._thread.join(CONNECT_S)

    def _call(self, act: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(act)

    # -- in the session's thread

    def _run(self) -> None:
        try:
            with self._loop_closed(), _translated():
                self._loop.run_until_complete(self._serve())
        except BridgeError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001  a bug must be seen by whoever reads the source
            self._fail(InternalError(f"the session was stopped by {type(error).__name__}"))

    @contextlib.contextmanager
    def _loop_closed(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def _fail(self, error: BridgeError) -> None:
        self.failure = error
        if not self._opened.done():
            self._opened.set_exception(error)

    async def _serve(self) -> None:
        url = self._settings.url()
        connection = await aio_pika.connect(
            f"{url}{'&' if '?' in url else '?'}heartbeat={HEARTBEAT_S}",
            timeout=CONNECT_S,
            client_properties={"connection_name": self._settings.name},
        )
        try:
            connection.close_callbacks.add(self._lost)
            channel = await connection.channel(publisher_confirms=False)
            channel.close_callbacks.add(self._lost)
            queues = {stream: await channel.get_queue(name) for stream, name in self._settings.queues.items()}
            await self._consume(channel, queues, FIRST_PREFETCH)
            self._opened.set_result(None)
            ending = asyncio.ensure_future(self._ending.wait())
            while not self._ending.is_set():
                due = asyncio.ensure_future(self._due.wait())
                await asyncio.wait((due, ending), return_when=asyncio.FIRST_COMPLETED)
                due.cancel()
                self._due.clear()
                await self._acknowledge(channel)
                await self._tune(channel, queues)
        finally:
            connection.close_callbacks.discard(self._lost)
            with contextlib.suppress(AMQPError, OSError, TimeoutError, ChannelInvalidStateError):
                await asyncio.wait_for(connection.close(), 2.0)

    def _lost(self, _sender: object, _error: BaseException | None = None) -> None:
        if not self._ending.is_set():
            self.failure = SourceUnavailable("the broker closed the connection")
            self._ending.set()

    async def _on_message(self, stream: str, message: AbstractIncomingMessage) -> None:
        assert message.delivery_tag is not None  # noqa: S101  of a delivered message
        delivery = _Delivery(message.delivery_tag, len(message.body))
        self._deliveries.append(delivery)
        self._sizes.append(delivery.size_bytes)
        self._held_bytes += delivery.size_bytes
        future = self._take(stream, message)
        if future is None:
            self._settle(delivery)
        else:
            future.add_done_callback(partial(self._settled, delivery))
        if self._wanted() != self._consumers.count:
            self._due.set()

    def _settled(self, delivery: _Delivery, future: "Future[str]") -> None:
        """In whatever thread the fate became known. What was not journalled is not acknowledged."""
        if not future.cancelled() and future.exception() is None:
            self._call(partial(self._settle, delivery))

    def _settle(self, delivery: _Delivery) -> None:
        delivery.is_settled = True
        self._due.set()

    async def _acknowledge(self, channel: aio_pika.abc.AbstractChannel) -> None:
        """All that are settled up to the first that is not, at once; then make sure that the broker knows."""
        tags = []
        while self._deliveries and self._deliveries[0].is_settled:
            delivery = self._deliveries.popleft()
            self._held_bytes -= delivery.size_bytes
            tags.append(delivery.tag)
        if tags:
            underlay = await channel.get_underlay_channel()
            await underlay.basic_ack(tags[-1], multiple=True)
            await underlay.basic_qos(prefetch_count=self._consumers.count or 1)  # answered after the line before
            self._acknowledged(tags)

    # -- how much is held

    def _wanted(self) -> int:
        """Messages that each consumer may hold; none while too much is held."""
        limit = self._settings.prefetch_bytes
        if self._held_bytes >= limit or (not self._consumers.count and self._held_bytes > limit // 2):
            return 0
        if not self._sizes:
            return FIRST_PREFETCH
        mean = sum(self._sizes) / len(self._sizes) + 1
        wanted = max(1, min(MOST_PREFETCH, int(limit / mean / len(self._settings.queues))))
        now = self._consumers.count
        return now if now and wanted < now * _GROWTH and now < wanted * _GROWTH else wanted

    async def _tune(
        self, channel: aio_pika.abc.AbstractChannel, queues: Mapping[str, aio_pika.abc.AbstractQueue]
    ) -> None:
        wanted = self._wanted()
        if wanted == self._consumers.count:
            return
        for stream, tag in self._consumers.tags.items():
            await queues[stream].cancel(tag)
        self._consumers = _Consumers()
        if wanted:
            await self._consume(channel, queues, wanted)

    async def _consume(
        self, channel: aio_pika.abc.AbstractChannel, queues: Mapping[str, aio_pika.abc.AbstractQueue], count: int
    ) -> None:
        await channel.set_qos(prefetch_count=count)  # of each consumer that begins after it
        self._consumers.count = count
        for stream, queue in queues.items():
            self._consumers.tags[stream] = await queue.consume(partial(self._on_message, stream))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Faults of the wire and the broker as ours; their text may hold the address with its password, so it is left out.

    Raises: SourceUnavailable.
    """
    try:
        yield
    except ChannelNotFoundEntity as error:
        raise SourceUnavailable(
            "a queue does not exist", hint="Have the broker's owner declare the queues of the streams, durable."
        ) from error
    except (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, ValueError) as error:
        raise SourceUnavailable(f"the broker cannot be reached or refuses us: {type(error).__name__}") from error
