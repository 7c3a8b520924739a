"""Tells waiting event loops of this process that the journal holds more. Carries no data: whoever wakes, reads."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Bell:
    """Rung by the thread that appends; callable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def ring(self) -> None:
        """Wake every listener."""
        with self._lock:
            listeners = list(self._listeners.items())
        for event, loop in listeners:
            if not event.is_set() and not loop.is_closed():  # one that is set is cleared before its listener reads
                loop.call_soon_threadsafe(event.set)

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """An event of the running loop that is set at each ring; the listener clears it before it reads."""
        event, loop = asyncio.Event(), asyncio.get_running_loop()
        with self._lock:
            self._listeners[event] = loop
        try:
            yield event
        finally:
            with self._lock:
                del self._listeners[event]
