"""How servers of one's own are started, for the demo and the tests: on a free port, and to die with their starter."""

import contextlib
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

START_TIMEOUT_S = 60.0
# Below the range the kernel gives to outgoing connections: nobody takes the port while the server restarts.
PORTS = range(20_000, 32_000)
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
# The kernel kills a child when the *thread* that started it ends; this one lives as long as the process.
_LAUNCHER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="launcher")

Process = subprocess.Popen[bytes]


def launch(
    command: Sequence[str],
    *,
    out: Path | int | IO[bytes] = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
    cwd: str | None = None,
    is_apart: bool = True,
) -> Process:
    """Start a program.

    Args:
        command: the program; `DIES_WITH_US` before it, unless it sees to that itself.
        out: where what it says is added, both streams.
        environment: its own; None: ours.
        cwd: its folder.
        is_apart: a terminal's interrupt is for us, not for it.
    """

    def popen(to: int | IO[bytes]) -> Process:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=to,
            stderr=to,
            env=environment,
            cwd=cwd,
            start_new_session=is_apart,
        )

    if not isinstance(out, Path):
        return _LAUNCHER.submit(popen, out).result()
    with out.open("ab") as log:
        return _LAUNCHER.submit(popen, log).result()


def wait_until_up(process: Process, answers: Callable[[], bool], *, log: Path) -> None:
    """Until a server answers. Raises: RuntimeError with the end of its log when it does not come up."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace")[-4000:] if log.exists() else "(no log)"
            raise RuntimeError(f"{log.parent.name}: the server did not come up:\n{said}")
        time.sleep(0.02)


def end(process: Process | None, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal and wait for the end; nothing happens where it does not run."""
    if process is not None:
        if process.poll() is None:
            process.send_signal(number)
        process.wait()


def free_port(ports: range = PORTS) -> int:
    """A port of the loopback that nobody listens on. Raises: RuntimeError where none was found."""
    for port in random.SystemRandom().sample(ports, 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"no free port in {ports.start}..{ports.stop - 1}")
