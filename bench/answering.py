"""``python -m bench.answering [FILE]``: an HTTP server that answers 200 to everything; prints its port.

A path that begins with /slow is answered after a second. With FILE it notes when each request had come, on the
monotonic clock that all processes of a machine share, and at SIGTERM writes a line for each: the event's id and when.
"""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SLOW_S = 1.0
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_LENGTH = b"content-length:"


@contextlib.contextmanager
def answering(*arguments: str) -> Iterator[str]:
    """Such a server as a process of its own; gives its URL."""
    command = [sys.executable, "-m", "bench.answering", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            if server.stdout is None:
                raise RuntimeError("a pipe was asked for")
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.terminate()


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """The URL of a port that refuses connections: bound, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/"


class _Answering(asyncio.Protocol):
    def __init__(self, seen: list[tuple[float, bytes]] | None) -> None:
        self._got = b""
        self._seen = seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  what a TCP server is given
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head = self._got[:end].lower()
            at = head.find(_LENGTH)
            size = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._got) < end + 4 + size:
                return
            if self._seen is not None:
                self._seen.append((time.monotonic(), self._got[end + 4 : end + 4 + size]))
            self._got = self._got[end + 4 + size :]
            if head.startswith(b"post /slow"):
                asyncio.get_running_loop().call_later(SLOW_S, self._transport.write, _ANSWER)
            else:
                self._transport.write(_ANSWER)


async def _serve(seen: list[tuple[float, bytes]] | None) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    server = await loop.create_server(lambda: _Answering(seen), "127.0.0.1", 0)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


def _main(file: Path | None) -> None:
    seen: list[tuple[float, bytes]] | None = None if file is None else []
    asyncio.run(_serve(seen))
    if file is not None:
        file.write_text("".join(f"{json.loads(body)['data']['id']} {at:.6f}\n" for at, body in seen or ()))


if __name__ == "__main__":
    _main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
