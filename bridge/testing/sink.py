"""A sink that does as it is told, and remembers what it was sent."""

import asyncio
from collections.abc import Callable, Mapping

from bridge.errors import BridgeError, SinkGone
from bridge.parcel import Form, Message, Parcel

Judge = Callable[[Message], BridgeError | None]


class ScriptedSink:
    """The Sink port in memory.

    Args:
        name: its name.
        judge: says what becomes of each message; None: it arrives.
        wants: see the port.
        is_atomic: see the port; an atomic one fails whole when one of its messages does.

    Attributes:
        received: (stream, message) in the order of arrival.
        rows: (stream, sequence number) where it wants no messages.
        text: what came as lines.
        parcels: how many events each call brought, failed ones included.
        gate: calls wait here while it is not set.
    """

    def __init__(
        self,
        name: str = "crm",
        *,
        judge: Judge = lambda _message: None,
        wants: Form = "messages",
        is_atomic: bool = False,
    ) -> None:
        self.name = name
        self.judge = judge
        self.wants = wants
        self.is_atomic = is_atomic
        self.received: list[tuple[str, Message]] = []
        self.rows: list[tuple[str, int]] = []
        self.text = b""
        self.parcels: list[int] = []
        self.under_way: set[tuple[str, str | None]] = set()
        self.overlapped: list[tuple[str, str | None]] = []  # keys that were under way twice at once
        self.gate = asyncio.Event()
        self.gate.set()
        self.stands: dict[str, int] = {}
        self.fails: list[BridgeError] = []  # what the next calls raise
        self.closed = False

    async def open(self) -> None:
        """Nothing to connect to."""

    async def send(self, parcel: Parcel) -> Mapping[int, BridgeError]:
        """See the port."""
        keys = {(parcel.stream, message.key) for message in parcel.messages}
        self.overlapped += list(keys & self.under_way)
        self.under_way |= keys
        try:
            self.parcels.append(parcel.count)
            await self.gate.wait()
            await asyncio.sleep(0)
            return self._take(parcel)
        finally:
            self.under_way -= keys

    def _take(self, parcel: Parcel) -> Mapping[int, BridgeError]:
        if self.fails:
            raise self.fails.pop(0)
        if parcel.rows is not None:
            self.rows += [(parcel.stream, int(number)) for number in parcel.rows.numbers]
            self.text += parcel.lines
            return {}
        verdicts = {index: self.judge(message) for index, message in enumerate(parcel.messages)}
        failures = {index: failure for index, failure in verdicts.items() if failure is not None}
        for failure in failures.values():
            if self.is_atomic or isinstance(failure, SinkGone) or parcel.count == 1:
                raise failure
        self.received += [
            (parcel.stream, message) for index, message in enumerate(parcel.messages) if index not in failures
        ]
        return failures

    def stands_at(self, stream: str) -> int | None:
        """See the port."""
        return self.stands.get(stream)

    async def close(self) -> None:
        """See the port."""
        self.closed = True
