"""Tell systemd how the daemon is: ready, reloading, alive, stopping.

One datagram a message to ``$NOTIFY_SOCKET``; without it (any other way of starting) every call does nothing. A message
that cannot be sent is dropped: a service manager that went away must not stop the bridge.

Source: sd_notify(3), sd_watchdog_enabled(3).
"""

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """The service manager that started us, if any."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address  # @: abstract namespace
        usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        watched = usec.isdigit() and int(usec) > 0 and pid in {"", str(os.getpid())}
        self.watchdog_interval_s = int(usec) / 2e6 if watched else None  # None: nobody waits for `alive`

    def ready(self, status: str) -> None:
        """Start-up or a reload is complete."""
        self._send("READY=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it, whether the new configuration was taken or not."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def alive(self) -> None:
        """Feed the watchdog; only after a real self-check, every `watchdog_interval_s`."""
        self._send("WATCHDOG=1")

    def stopping(self, status: str, *, extend_s: float = 0) -> None:
        """The daemon stops; `extend_s` asks for that much time from now for a long drain."""
        extension = (f"EXTEND_TIMEOUT_USEC={int(extend_s * 1e6)}",) if extend_s else ()
        self._send("STOPPING=1", f"STATUS={status}", *extension)

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        lines = [" ".join(assignment.splitlines()) for assignment in assignments]  # a line break would forge a message
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.setblocking(False)  # noqa: FBT003  the standard library takes it by position
            notify.sendto("\n".join(lines).encode(), self._address)
