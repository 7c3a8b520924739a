"""Sink `stdout`: CloudEvents as JSON lines on a file descriptor, for pipes.

Promises: whole lines, in order, handed to the kernel when `send` returns; a reader that stopped reading never blocks
the event loop or the end of the process. What it does not promise: that the reader did anything with them.
"""

import asyncio
import errno
import os
import select
import stat
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from bridge.errors import BridgeError, SinkGone, SinkUnavailable
from bridge.parcel import Form, Parcel

_CHUNK = select.PIPE_BUF  # what is writable takes this much without blocking
_LARGE = 1 << 20  # for what never blocks; a call for each page costs as much as putting the events into words
_POLL_MS = 100


class StdoutSink:
    """One descriptor; lines of several calls never mix.

    Args:
        name: as in the configuration.
        descriptor: where lines go.
        stall_s: how long nobody may read before a call fails.
    """

    wants: Form = "lines"
    is_atomic = True

    def __init__(self, name: str, *, descriptor: int = 1, stall_s: float = 30.0) -> None:
        self.name = name
        self._descriptor = descriptor
        self._way = -1  # our own descriptor for the same place
        self._chunk = _CHUNK
        self._stall_s = stall_s
        self._rest = b""  # of a line that was begun
        self._writer: ThreadPoolExecutor | None = None
        self._closing = threading.Event()

    async def open(self) -> None:
        """Take a descriptor of our own."""
        if self._writer is not None:
            return  # a test event opens what delivers already
        self._closing.clear()
        self._way, self._chunk = _way_to(self._descriptor)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sink-{self.name}")

    async def send(self, parcel: Parcel) -> Mapping[int, BridgeError]:
        """Write one line an event; see `ports.Sink`. A call that is cut off may leave lines written."""
        if self._writer is None:
            raise SinkUnavailable("standard output is not open")
        given_up = threading.Event()
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._write, parcel.lines, given_up)
        finally:
            given_up.set()
        return {}

    def stands_at(self, _stream: str) -> int | None:
        """Only the journal's cursor counts."""
        return None

    async def close(self) -> None:
        """Wait until nothing writes any more; the descriptor stays open, it is not ours."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._closing.set()
            await asyncio.to_thread(writer.shutdown)
            os.close(self._way)

    def _write(self, lines: bytes | memoryview, given_up: threading.Event) -> None:
        """Write what was begun before, then the lines; on a failure remember what is left of a begun line."""
        data, begun, done = memoryview(self._rest + lines if self._rest else lines), len(self._rest), 0
        try:
            while done < len(data):
                self._wait(given_up)
                with suppress(BlockingIOError):
                    done += os.write(self._way, data[done : done + self._chunk])
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise SinkGone("whoever read standard output has closed it") from error
            raise SinkUnavailable(f"standard output: {error.strerror}") from error
        finally:
            in_line = done < begun or bytes(data[max(0, done - 1) : done]) not in (b"", b"\n")
            self._rest = _first_line(data[done:]) if in_line else b""

    def _wait(self, given_up: threading.Event) -> None:
        """Until the descriptor takes bytes. Raises: SinkUnavailable when nobody reads, or nobody waits for us."""
        poll = select.poll()
        poll.register(self._way, select.POLLOUT)
        deadline = time.monotonic() + self._stall_s
        while not poll.poll(_POLL_MS):
            if given_up.is_set() or self._closing.is_set() or time.monotonic() > deadline:
                raise SinkUnavailable(f"nobody has read standard output for {self._stall_s:g} s")


def _way_to(descriptor: int) -> tuple[int, int]:
    """A descriptor of our own for the same place, and how many bytes to offer it at once that it never blocks on.

    A pipe is opened anew: not to block is a property of the open file, and the one we were given is shared with others
    that do not expect it (open(2), O_NONBLOCK). One that cannot be is written a page at a time.
    """
    found = os.fstat(descriptor)
    if stat.S_ISFIFO(found.st_mode):
        with suppress(OSError):
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC), _LARGE
    is_swift = stat.S_ISREG(found.st_mode) or found.st_rdev == Path(os.devnull).stat().st_rdev
    return os.dup(descriptor), _LARGE if is_swift else _CHUNK


def _first_line(data: memoryview) -> bytes:
    text = bytes(data)
    return text[: text.index(b"\n") + 1]
