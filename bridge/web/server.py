"""The thread that answers HTTP.

Binding is apart from serving: the composition root binds first, so that a taken port stops the start with a clear error
and the port is known, and then runs `serve` in a thread until the stop event is set.
"""

import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from bridge.errors import ConfigError

_UNREAD_LIMIT_BYTES = 64 * 1024  # of a request whose headers have not ended
_CONNECTION_LIMIT = 64
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
            listener.listen(_CONNECTION_LIMIT)
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
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTION_LIMIT,
        h11_max_incomplete_event_size=_UNREAD_LIMIT_BYTES,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=_DRAIN_S,
    )
    _Server(config, stop).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Looks at our stop event on each tick."""

    def __init__(self, config: uvicorn.Config, stop: threading.Event) -> None:
        super().__init__(config)
        self._stop = stop

    async def on_tick(self, counter: int) -> bool:
        return self._stop.is_set() or await super().on_tick(counter)
