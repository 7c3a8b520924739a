"""One HTTP/1.1 connection to a server outside: bytes on one side, requests and answers on the other.

Promises: it goes to exactly the address it was given, while TLS asks for the name; one request is under way at a time;
an answer's head is bounded, and a body comes piece by piece with reading held back meanwhile; a connection that the
server closed, or on which it said anything unasked, is never used again. h11 reads and writes HTTP. Does not resolve
names, redirect, decompress, retry, or keep time.
"""

import asyncio
import select
import socket
import ssl
import time
from contextlib import suppress
from typing import Any

import h11

_CONNECT_S = 5.0  # for one of several addresses
_HEAD_BYTES = 100 << 10
_AHEAD_BYTES = 256 << 10  # received and not asked for yet; then reading is held back


class Connection(asyncio.Protocol):
    """Made by `connect`; for one event loop."""

    def __init__(self) -> None:
        """Use `connect`."""
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._is_busy = False
        self._ahead = 0  # bytes received since somebody last waited
        self._waiting: asyncio.Future[None] | None = None
        self._broken: Exception | None = None  # what ended it, unless the server just closed it
        self._lost = asyncio.get_running_loop().create_future()
        self._idle_since_s = 0.0

    # -- as asyncio calls it
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a connection."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  what a stream is given
        self._transport = transport
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """The server said something."""
        if not self._is_busy:
            self.abort()
            return
        self._http.receive_data(data)
        self._ahead += len(data)
        if self._ahead > _AHEAD_BYTES and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """The server says nothing more: asyncio closes the connection."""
        self._http.receive_data(b"")
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone; what came before can still be read."""
        self._broken = exc
        if exc is None:
            self._http.receive_data(b"")
        self._lost.set_result(None)
        self._wake()

    # -- as the client calls it
    async def exchange(self, request: h11.Request, body: bytes) -> h11.Response:
        """Send a request and wait for the head of its answer; then `chunk` until it is empty, then `reuse`.

        Raises: OSError, h11.RemoteProtocolError; h11.LocalProtocolError for a request that is not HTTP.
        """
        self._is_busy = True
        events: tuple[h11.Event, ...] = (request, h11.Data(body), h11.EndOfMessage())
        self._open().write(b"".join([self._http.send(event) or b"" for event in events]))
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                return event

    async def chunk(self) -> bytes:
        """The next piece of the answer's body; empty at its end. Raises: OSError, h11.RemoteProtocolError."""
        event = await self._next()
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    def reuse(self) -> bool:
        """Be ready for the next request; False, and closed, where request or answer is not complete or says so."""
        http, transport = self._http, self._transport
        is_over = http.our_state is h11.DONE and http.their_state is h11.DONE and not http.trailing_data[0]
        if not is_over or transport is None or transport.is_closing() or transport.get_write_buffer_size():
            self.abort()
            return False
        http.start_next_cycle()
        self._is_busy = False
        self._resume()
        self._idle_since_s = time.monotonic()
        return True

    def is_usable(self) -> bool:
        """Whether the server neither closed it nor said anything since it is idle, seen by the event loop or not."""
        return self._transport is not None and not self._transport.is_closing() and not self._poll.poll(0)

    def idle_s(self) -> float:
        """For how long it has been idle."""
        return time.monotonic() - self._idle_since_s

    def abort(self) -> None:
        """Close it now; callable at any time."""
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Until the socket is released, once it was aborted."""
        await self._lost

    async def _next(self) -> Any:  # noqa: ANN401  one of h11's events
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._lost.done():
                raise self._broken or ConnectionError
            self._resume()
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        return event

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _resume(self) -> None:
        self._ahead = 0
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()  # does nothing while it reads

    def _open(self) -> asyncio.Transport:
        if self._transport is None or self._transport.is_closing():
            raise self._broken or ConnectionResetError
        return self._transport


async def connect(addresses: list[str], port: int, *, tls: ssl.SSLContext | None, name: str) -> Connection:
    """Connect to the first address that answers.

    Args:
        addresses: best first, at least one; those before the last are given a few seconds each.
        port: the same at each.
        tls: whom to trust; None: plain.
        name: that the server's certificate must have.
    Raises: OSError, ssl.SSLError.
    """
    stream = await _reach(addresses, port)
    # the socket is asyncio's from here on: it closes it when anything goes wrong
    made = asyncio.get_running_loop().create_connection(
        Connection, sock=stream, ssl=tls, server_hostname=name if tls else None
    )
    _, connection = await made
    return connection


async def _reach(addresses: list[str], port: int) -> socket.socket:
    *first, last = addresses
    for address in first:
        with suppress(OSError):  # TimeoutError too
            async with asyncio.timeout(_CONNECT_S):
                return await _open_socket(address, port)
    return await _open_socket(last, port)


async def _open_socket(address: str, port: int) -> socket.socket:
    stream = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        stream.setblocking(False)  # noqa: FBT003  the only way to say it
        await asyncio.get_running_loop().sock_connect(stream, (address, port))
    except BaseException:
        stream.close()
        raise
    return stream
