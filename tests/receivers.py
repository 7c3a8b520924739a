"""HTTP servers that misbehave on purpose: what they receive is kept, how they answer is scripted per request.

A `Receiver` runs on a thread of its own on 127.0.0.1 (or wherever asked), so that tests of one process and of several
can use it alike. Its script is a list of acts, one a request, the last for all that follow; or a function of the
request. Every request is kept before it is answered.
"""

import asyncio
import gzip
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from types import TracebackType
from typing import Self

Act = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    connection: int  # number of its connection, from 1


Script = Callable[[Received], Act]


def reply(status: int, *, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Act:
    """A complete answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    text = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    return raw(text)


def raw(text: bytes) -> Act:
    """These bytes, whatever they are."""

    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return act


OK = reply(200)


def redirect(status: int, to: str) -> Act:
    """Somewhere else."""
    return reply(status, headers={"location": to})


def retry_after(status: int, *, seconds: int, as_date: bool = False) -> Act:
    """Not now; the date, where asked for, is counted from when this is called."""
    when = formatdate(time.time() + seconds, usegmt=True) if as_date else str(seconds)
    return reply(status, headers={"retry-after": when})


async def silence(_writer: asyncio.StreamWriter) -> None:
    """Accept, never answer."""
    await asyncio.Event().wait()


async def drop(writer: asyncio.StreamWriter) -> None:
    """Close without an answer; what came was kept."""
    writer.close()


async def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def trickle(first: bytes, *, every_s: float = 0.05) -> Act:
    """These bytes at once, then one more for ever."""

    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            await writer.drain()
            await asyncio.sleep(every_s)
            writer.write(b"x")

    return act


SLOW_HEADERS = trickle(b"HTTP/1.1 200 OK\r\nx-slow: ")
SLOW_BODY = trickle(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")


async def endless(writer: asyncio.StreamWriter) -> None:
    """An answer that does not end."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await writer.drain()


def bomb(size_bytes: int = 50_000_000) -> Act:
    """A small answer that would be huge when expanded."""
    return reply(200, headers={"content-encoding": "gzip"}, body=gzip.compress(b"\0" * size_bytes))


@dataclass(slots=True)
class Receiver:
    """One server; a context manager."""

    script: list[Act] | Script = field(default_factory=lambda: [OK])
    host: str = "127.0.0.1"  # "::" is every address of this machine
    port: int = 0
    tls: ssl.SSLContext | None = None
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None
    _stopping: asyncio.Event | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _came: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        """Where it listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        """`webhook-id` of every request, in order."""
        return [one.headers.get("webhook-id", "") for one in self.received]

    @property
    def distinct(self) -> Counter[str]:
        """How often each `webhook-id` came."""
        return Counter(self.ids)

    def wait_for(self, count: int, *, timeout_s: float = 10.0) -> list[Received]:
        """The requests once there are so many. Raises: TimeoutError."""
        with self._came:
            if not self._came.wait_for(lambda: len(self.received) >= count, timeout_s):
                raise TimeoutError(f"{len(self.received)} of {count} requests came")
            return list(self.received)

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(started)), daemon=True)
        self._thread.start()
        if not started.wait(10):
            raise TimeoutError("the receiver did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close every connection and listen no more; `with` can be entered again, on the same port."""
        if self._thread is not None and self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)
        self._thread = None

    async def _run(self, started: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.create_server((self.host, self.port), family=family, dualstack_ipv6=self.host == "::")
        server = await asyncio.start_server(self._accept, sock=listener, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stopping.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while not writer.is_closing():
                    await self._act(await _request(reader, connection))(writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _act(self, request: Received) -> Act:
        with self._came:
            self.received.append(request)
            number = len(self.received) - 1
            self._came.notify_all()
        if callable(self.script):
            return self.script(request)
        return self.script[min(number, len(self.script) - 1)]


async def _request(reader: asyncio.StreamReader, connection: int) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body, connection)
