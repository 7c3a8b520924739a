"""The stdout sink on real pipes: whole lines, a reader that stops, a reader that leaves."""

import asyncio
import errno
import fcntl
import json
import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from unittest.mock import Mock

import pytest

from bridge.errors import SinkGone, SinkUnavailable
from bridge.sinks.stdout import StdoutSink
from tests.daemon import wait_for
from tests.parcels import lines

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Reading and writing end of a pipe that holds one page."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, 4096)
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


async def opened(descriptor: int, *, stall_s: float = 30.0) -> StdoutSink:
    sink = StdoutSink("out", descriptor=descriptor, stall_s=stall_s)
    await sink.open()
    return sink


def ids(data: bytes) -> list[str]:
    assert data.endswith(b"\n")
    return [json.loads(line)["id"] for line in data.splitlines()]


def read_all(end: int) -> bytes:
    data = b""
    while chunk := os.read(end, 65536):
        data += chunk
    return data


def test_events_come_out_as_whole_lines_in_order(pipe: Pipe) -> None:
    first, second = lines(range(1, 60)), lines(range(60, 90))

    async def run() -> bytes:
        sink = await opened(pipe[1])
        reader = asyncio.create_task(asyncio.to_thread(read_all, pipe[0]))
        assert await sink.send(first) == {}
        assert await sink.send(second) == {}
        await sink.close()
        os.close(pipe[1])
        return await reader

    data = asyncio.run(run())
    assert data == bytes(first.lines) + bytes(second.lines)


@pytest.mark.parametrize("kind", ["file", "socket", "pipe that cannot be opened anew"])
def test_lines_come_out_of_whatever_standard_output_is(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that block are written a page at a time, and end with the sink whether or not anybody reads."""
    sent = lines(range(1, 400))

    async def run(writing: int, reading: int) -> bytes:
        sink = await opened(writing)
        if kind != "file":
            call = asyncio.create_task(sink.send(sent))
            await asyncio.to_thread(_wait_until_full, writing)
            await sink.close()
            with pytest.raises(SinkUnavailable):
                await call
            await asyncio.to_thread(_drain, reading)
            await sink.open()
        reader = asyncio.create_task(asyncio.to_thread(read_all, reading)) if kind != "file" else None
        await sink.send(sent)
        await sink.close()
        os.close(writing)
        return await reader if reader else read_all(reading)

    with ExitStack() as stack:
        if kind == "file":
            (tmp_path / "out").touch()
            ends = os.open(tmp_path / "out", os.O_WRONLY | os.O_APPEND), os.open(tmp_path / "out", os.O_RDONLY)
        elif kind == "socket":
            one, other = socket.socketpair()
            ends = one.detach(), other.detach()
        else:
            ends = os.pipe()[::-1]
            refused = OSError(errno.EACCES, "another user's pipe")
            monkeypatch.setattr(os, "open", Mock(side_effect=refused))
        stack.callback(os.close, ends[1])
        found = asyncio.run(run(*ends))
    assert found.endswith(bytes(sent.lines))


def test_a_pipe_that_others_write_to_blocks_for_them_as_before(pipe: Pipe) -> None:
    async def run() -> None:
        sink = await opened(pipe[1])
        await sink.send(lines([1]))
        assert os.get_blocking(pipe[1])
        await sink.close()

    asyncio.run(run())


def test_a_reader_that_left_switches_the_sink_off(pipe: Pipe) -> None:
    async def run() -> None:
        sink = await opened(pipe[1])
        os.close(pipe[0])
        with pytest.raises(SinkGone):
            await sink.send(lines([1]))
        await sink.close()

    asyncio.run(run())


def test_a_reader_that_stopped_makes_the_call_fail_and_lines_stay_whole(pipe: Pipe) -> None:
    async def run() -> bytes:
        sink = await opened(pipe[1], stall_s=0.2)
        with pytest.raises(SinkUnavailable, match="nobody has read"):
            await sink.send(lines(range(1, 60)))
        with pytest.raises(SinkUnavailable):  # what is left of the line that was begun stays first
            await sink.send(lines(range(1, 60)))
        reader = asyncio.create_task(asyncio.to_thread(read_all, pipe[0]))
        await asyncio.to_thread(wait_for, lambda: select.select([], [pipe[1]], [], 0)[1])  # it reads
        await sink.send(lines(range(1, 60)))
        await sink.close()
        os.close(pipe[1])
        return await reader

    found = ids(asyncio.run(run()))
    assert found[-59:] == ids(bytes(lines(range(1, 60)).lines))
    assert found[: len(found) - 59] == found[-59:][: len(found) - 59]


def test_a_call_that_is_cancelled_does_not_mix_with_the_next(pipe: Pipe) -> None:
    async def run() -> bytes:
        sink = await opened(pipe[1])
        call = asyncio.create_task(sink.send(lines(range(1, 60))))
        await asyncio.to_thread(_wait_until_full, pipe[1])
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        again = asyncio.create_task(sink.send(lines(range(60, 90))))
        reader = asyncio.create_task(asyncio.to_thread(read_all, pipe[0]))
        await again
        await sink.close()
        os.close(pipe[1])
        return await reader

    found = ids(asyncio.run(run()))
    assert found[-30:] == ids(bytes(lines(range(60, 90)).lines))


def test_a_sink_that_is_opened_again_has_one_writer_still(pipe: Pipe) -> None:
    async def open_twice() -> set[str]:
        sink = await opened(pipe[1])
        await sink.send(lines([1]))
        await sink.open()
        assert len(ids(os.read(pipe[0], 8192))) == 1
        await sink.send(lines([2]))
        await sink.close()
        return {thread.name for thread in threading.enumerate() if thread.name.startswith("sink-out")}

    assert asyncio.run(open_twice()) == set()
    assert len(ids(os.read(pipe[0], 8192))) == 1


def test_a_full_disk_is_waited_for() -> None:
    async def run() -> None:
        descriptor = os.open("/dev/full", os.O_WRONLY)
        sink = await opened(descriptor)
        with pytest.raises(SinkUnavailable, match="No space left"):
            await sink.send(lines([1]))
        await sink.close()
        os.close(descriptor)

    asyncio.run(run())


def test_a_stalled_reader_holds_up_neither_the_event_loop_nor_the_end(pipe: Pipe) -> None:
    async def run() -> None:
        sink = await opened(pipe[1], stall_s=3600)
        call = asyncio.create_task(sink.send(lines(range(1, 60))))
        await asyncio.to_thread(_wait_until_full, pipe[1])
        await sink.close()
        with pytest.raises(SinkUnavailable):
            await call

    asyncio.run(run())


def _drain(end: int) -> None:
    os.set_blocking(end, False)
    with suppress(BlockingIOError):
        while os.read(end, 65536):
            pass
    os.set_blocking(end, True)


def _wait_until_full(end: int) -> None:
    wait_for(lambda: not select.select([], [end], [], 0)[1], within_s=30)
