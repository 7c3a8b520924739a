"""Events as they are journalled, to any number of clients (Server-Sent Events).

One reader and renderer per stream and set of released fields feeds all its clients; a client that starts further back
reads up by itself first, and joins between two rounds, so that it misses nothing and sees nothing twice. A client that
does not take what it gets is dropped: its buffer holds at most `BUFFER_BYTES`, and one send may take `STALL_S`. It can
come back with `Last-Event-ID` and go on. All state belongs to the HTTP event loop.
"""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive, Scope, Send

from bridge import export
from bridge.access import Principal
from bridge.bell import Bell
from bridge.errors import BridgeError
from bridge.parcel import merged
from bridge.ports import Journal
from bridge.web.problems import Problem

if TYPE_CHECKING:
    from bridge.web.door import View

BUFFER_BYTES = 1 << 20
STALL_S = 30.0
HEARTBEAT_S = 15.0
ROUND_S = 0.01  # between two rounds of one feed: under load events go out together
ROUND_EVENTS = 2_000
_FAREWELL_S = 1.0
_RETRY_S = 1.0  # after a read failed
_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no")]  # fmt: skip
_GONE = "the client left"
_CLOSING = "the configuration changes or the bridge stops; connect again"
_log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class Client:
    """One live connection."""

    chunks: deque[bytes] = field(default_factory=deque)
    size_bytes: int = 0  # of the chunks
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    ended: str | None = None  # why no more comes
    sending: asyncio.Timeout | None = None

    def offer(self, chunk: bytes) -> None:
        """Give it a chunk; one that does not keep up is ended."""
        if self.size_bytes + len(chunk) > BUFFER_BYTES and self.chunks:
            self.end("too slow: the buffer is full")
            return
        self.chunks.append(chunk)
        self.size_bytes += len(chunk)
        self.woken.set()

    def end(self, why: str) -> None:
        """Let it go; what it is being sent is given up."""
        self.ended = self.ended or why
        self.chunks.clear()
        self.woken.set()
        if self.sending is not None:
            self.sending.reschedule(asyncio.get_running_loop().time())


# (number, count): frames of that many events at most after the number, and the number of the last one of them
Reader = Callable[[int, int], tuple[bytes, int]]


class Feed:
    """The events of one stream as one kind of principal sees them, rendered once."""

    def __init__(self, read: Reader, bell: Bell, *, at: int) -> None:
        self.at = at  # number of the last event that the clients were given
        self.read = read
        self.clients: set[Client] = set()
        self.everyone: set[Client] = set()  # those that are still catching up included
        self._bell = bell
        self._task = asyncio.create_task(self._run())

    def end(self, why: str) -> None:
        """Let every client go."""
        self._task.cancel()
        for client in list(self.everyone):
            client.end(why)

    async def _run(self) -> None:
        with self._bell.listening() as rung:
            while True:
                rung.clear()
                came = await self._round()
                if not came:
                    await rung.wait()
                await asyncio.sleep(ROUND_S if came else 0)

    async def _round(self) -> bool:
        """Hand on what came; False when nothing did."""
        try:
            chunk, last = await run_in_threadpool(self.read, self.at, ROUND_EVENTS)
        except BridgeError as error:
            _log.warning("live.unreadable", error=error)
            await asyncio.sleep(_RETRY_S)
            return True
        if last == self.at:
            return False
        self.at = last
        for client in list(self.clients):
            client.offer(chunk)
        return True


class Feeds:
    """The feeds of one door, made when first asked for, ended with their last client."""

    def __init__(self, journal: Journal, bell: Bell, *, came: Callable[[int], None] = lambda _change: None) -> None:
        """Start without clients; `came` is told of each one that comes (1) or goes (-1)."""
        self._came = came
        self._journal = journal
        self._bell = bell
        self._feeds: dict[tuple[str, frozenset[str]], Feed] = {}
        self._counts: Counter[str] = Counter()  # live connections by principal
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def connect(self, principal: Principal) -> None:
        """Take one of the principal's live connections. Raises: Problem 429, 503."""
        if self._closed:
            raise Problem(503, "unavailable", "The configuration is being changed over.", headers={"retry-after": "1"})
        if self._counts[principal.name] >= principal.connections:
            raise Problem(
                429,
                "too-many-connections",
                f"{principal.name} has {principal.connections} live connections already.",
                headers={"retry-after": "10"},
            )
        self._counts[principal.name] += 1
        self._came(1)

    def disconnect(self, principal: Principal) -> None:
        """Give it back."""
        self._counts[principal.name] -= 1
        self._came(-1)

    def join(self, view: "View", client: Client, *, at: int) -> Feed:
        """The feed of a view, for one more client; a new one starts behind event `at`."""
        self._loop = asyncio.get_running_loop()
        key = (view.envelope.stream, view.selection.open_fields)
        found = self._feeds.get(key)
        if found is None:
            found = self._feeds[key] = Feed(self._reader(view), self._bell, at=at)
        found.everyone.add(client)
        return found

    def leave(self, feed: Feed, client: Client) -> None:
        """A connection goes; the last one ends the feed."""
        feed.clients.discard(client)
        feed.everyone.discard(client)
        if not feed.everyone:
            self._feeds = {key: other for key, other in self._feeds.items() if other is not feed}
            feed.end("no client is left")

    def close(self) -> None:
        """Let every client go; callable from any thread, twice."""
        self._closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end_all)

    def _end_all(self) -> None:
        for feed in self._feeds.values():
            feed.end(_CLOSING)
        self._feeds = {}

    def _reader(self, view: "View") -> Reader:
        stream, journal = view.envelope.stream, self._journal

        def read(after: int, count: int) -> tuple[bytes, int]:
            chunks = []
            for block in merged(journal.read(stream, after=after, limit=count), most=count):
                chunks.append(bytes(export.frames(view.selection.apply(block), view.envelope)))
                after = block.last
            return b"".join(chunks), after

        return read


class LiveAnswer:
    """The answer to one client: an ASGI application."""

    def __init__(self, feeds: Feeds, view: "View", principal: Principal, *, after: int, last: int) -> None:
        """Take a connection for it.

        Args:
            feeds: where it joins.
            view: what it sees.
            principal: whose connection it is.
            after: the last event it has.
            last: the newest event that the journal holds.
        """
        self._feeds = feeds
        self._view = view
        self._principal = principal
        self._after = after
        self._last = last

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client leaves, is too slow, or the door closes. Raises: Problem 429, 503."""
        self._feeds.connect(self._principal)
        client = Client()
        feed = self._feeds.join(self._view, client, at=self._last)
        leaving = asyncio.create_task(_watch(receive, client))
        try:
            await _give(send, client, {"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await _give(send, client, _part(b": welcome\n\n"))
            await self._catch_up(send, client, feed)
            await _pass_on(send, client)
        except TimeoutError:
            client.ended = client.ended or "a send stood still"
        finally:
            leaving.cancel()
            self._feeds.leave(feed, client)
            self._feeds.disconnect(self._principal)
        await _farewell(send, client)

    async def _catch_up(self, send: Send, client: Client, feed: Feed) -> None:
        """Read from where the client is to where the feed is, then join it: nothing is awaited in between."""
        at = self._after
        while at != feed.at and client.ended is None:
            if at > feed.at:  # it has read by pages what the feed is about to bring
                await asyncio.sleep(ROUND_S)
                continue
            chunk, at = await run_in_threadpool(feed.read, at, min(ROUND_EVENTS, feed.at - at))
            await _give(send, client, _part(chunk))
        feed.clients.add(client)


async def _watch(receive: Receive, client: Client) -> None:
    """End the client once it has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    client.end(_GONE)


async def _pass_on(send: Send, client: Client) -> None:
    """Send what the feed offers, and a heartbeat when it offers nothing for a while."""
    while client.ended is None:
        if client.chunks:
            chunk = b"".join(client.chunks)
            client.chunks.clear()
            await _give(send, client, _part(chunk))
            client.size_bytes -= len(chunk)  # it counts until it has been taken
            continue
        client.woken.clear()
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                await client.woken.wait()
        except TimeoutError:
            await _give(send, client, _part(b": heartbeat\n\n"))


async def _give(send: Send, client: Client, message: Message) -> None:
    """Send, for as long as the client may take. Raises: TimeoutError."""
    async with asyncio.timeout(STALL_S) as client.sending:
        await send(message)
    client.sending = None


async def _farewell(send: Send, client: Client) -> None:
    """Say why it ends, where the client still listens; the connection is then cut, or ended in good order."""
    if client.ended == _GONE:
        return
    event = "closing" if client.ended == _CLOSING else "dropped"
    words = f"event: {event}\ndata: {json.dumps({'reason': client.ended})}\n\n"
    with suppress(TimeoutError):
        async with asyncio.timeout(_FAREWELL_S):
            await send(_part(words.encode()))
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _part(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}
