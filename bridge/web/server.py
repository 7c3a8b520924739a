"""The thread that answers HTTP.

Binding is apart from serving: the composition root binds first, so that a taken port stops the start with a clear error
and the port is known, and then runs `serve` in a thread until the stop event is set.
"""

import asyncio
import resource
import socket
import threading

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from bridge.errors import ConfigError

_UNREAD_LIMIT_BYTES = 64 * 1024  # of a request whose headers have not ended
_CONNECTION_LIMIT = 2_200  # most of them idle: live clients
_BACKLOG = 512
_REQUEST_S = 10.0  # how long the head of a request may take
_STALL_S = 60.0  # how long an answer may lie unread
_DRAIN_S = 3


def listen(host: str, port: int) -> socket.socket:
    """Bind and listen; connections queue from here on. Port 0 takes any free one (`getsockname` tells).

    Raises: ConfigError when the address is not ours or taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"cannot listen on bridge.http {host} port {port}: {error.strerror}",
            hint="Set another bridge.http.port (0 = any free one), or stop what uses it.",
        ) from error
    return listener


def serve(app: ASGIApp, listener: socket.socket, *, stop: threading.Event) -> None:
    """Answer requests until `stop` is set, then let running ones end and close the listener.

    For a thread of its own: on the main thread it would take over the process's signals.
    """
    _allow_files()
    config = uvicorn.Config(
        app,
        http=_Patient,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTION_LIMIT,
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=_UNREAD_LIMIT_BYTES,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=_DRAIN_S,
    )
    _Server(config, stop).run(sockets=[listener])


class _Patient(H11Protocol):
    """A connection whose client must send the head of a request, and read the answer, in good time."""

    _impatience: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client came."""
        super().connection_made(transport)
        self._impatience = self.loop.call_later(_REQUEST_S, self._lose_patience)

    def data_received(self, data: bytes) -> None:
        """It sent something: a whole head ends the waiting, a part of the next one begins it anew."""
        super().data_received(data)
        waits = self.conn.their_state is h11.IDLE
        if not waits and self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None
        elif waits and self._impatience is None:
            self._impatience = self.loop.call_later(_REQUEST_S, self._lose_patience)

    def connection_lost(self, exc: Exception | None) -> None:
        """It went."""
        for timer in (self._impatience, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Its answer begins to pile up: no more of it is made, and it is cut off when it reads on too late."""
        super().pause_writing()
        self._stalled = self.loop.call_later(_STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read on."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _lose_patience(self) -> None:
        self._impatience = None
        if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
            self.transport.close()


class _Server(uvicorn.Server):
    """Looks at our stop event on each tick."""

    def __init__(self, config: uvicorn.Config, stop: threading.Event) -> None:
        super().__init__(config)
        self._stop = stop

    async def on_tick(self, counter: int) -> bool:
        return self._stop.is_set() or await super().on_tick(counter)


def _allow_files() -> None:
    """Raise the process's soft limit of open files to what its connections need, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * _CONNECTION_LIMIT
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
