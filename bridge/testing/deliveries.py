"""The part of the in-memory journal that subscribers and sinks use."""

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from threading import RLock
from typing import Any

from bridge.errors import InternalError
from bridge.model import AuditEntry, Commit, LetterState
from bridge.parcel import Delivered, NewUndelivered, Progress, Undelivered


class MemoryDeliveries:
    """Progress, delivery letters, kept values and received ids, without a disk."""

    def __init__(self) -> None:
        """Start empty."""
        self._lock = RLock()
        self._version = 0
        self._progress: dict[tuple[str, str], Progress] = {}
        self._undelivered: dict[int, Undelivered] = {}
        self._kept: dict[tuple[str, str], str] = {}
        self._received: dict[tuple[str, str], datetime] = {}

    @abstractmethod
    def audit(self, entry: AuditEntry) -> None:
        """See the port."""

    def cursor(self, subscriber: str, stream: str) -> int:
        """See the port."""
        return self._progress.get((subscriber, stream), Progress()).cursor

    def advance(self, subscriber: str, cursors: Mapping[str, int]) -> None:
        """See the port."""
        self.record([Delivered(subscriber, {stream: Progress(cursor) for stream, cursor in cursors.items()})])

    def forget_subscriber(self, subscriber: str, streams: Collection[str] | None = None) -> None:
        """See the port."""
        with self._lock:
            for name, stream in list(self._progress):
                if name == subscriber and (streams is None or stream in streams):
                    del self._progress[name, stream]

    def subscribers(self) -> dict[str, dict[str, Progress]]:
        """See the port."""
        found: dict[str, dict[str, Progress]] = {}
        with self._lock:
            for (subscriber, stream), reached in sorted(self._progress.items()):
                found.setdefault(subscriber, {})[stream] = reached
        return found

    def record(self, delivered: Sequence[Delivered]) -> None:
        """See the port."""
        with self._lock:
            for one in delivered:
                self._refuse_delivered(one)
            for one in delivered:
                self._record(one)
            self._version += 1

    def _refuse_delivered(self, delivered: Delivered) -> None:
        for stream, new in delivered.progress.items():
            held = self._progress.get((delivered.sink, stream), Progress())
            if new.cursor < held.cursor or new.settled < held.settled:  # I2
                raise InternalError(f"the cursor of {delivered.sink} on stream {stream} would move back")

    def _record(self, delivered: Delivered) -> None:
        self._progress |= {(delivered.sink, stream): new for stream, new in delivered.progress.items()}
        for letter_id, (state, reason) in delivered.settled.items():
            letter = self._undelivered.get(letter_id)
            if letter is None or letter.state is not LetterState.OPEN:
                continue
            settled = replace(letter, state=state, reason=reason, settled_at=self._now())
            self._undelivered[letter_id] = settled
        for new_letter in delivered.undelivered:
            self._set_undelivered(delivered.sink, new_letter)
        for (kind, name), value in delivered.kept.items():
            self.keep(kind, {name: value})
        for entry in delivered.audit:
            self.audit(entry)

    def undelivered(
        self,
        *,
        sink: str | None = None,
        stream: str | None = None,
        state: LetterState | None = LetterState.OPEN,
        limit: int = 100,
        after: int = 0,
    ) -> list[Undelivered]:
        """See the port."""
        with self._lock:
            found = [
                replace(letter, block=None)
                for letter in self._undelivered.values()
                if letter.id > after
                and sink in {None, letter.sink}
                and stream in {None, letter.stream}
                and state in {None, letter.state}
            ]
        return found[:limit]

    def undelivered_one(self, letter_id: int) -> Undelivered | None:
        """See the port."""
        return self._undelivered.get(letter_id)

    def undelivered_counts(self) -> dict[str, int]:
        """See the port."""
        with self._lock:
            letters = self._undelivered.values()
            return dict(Counter(letter.sink for letter in letters if letter.state is LetterState.OPEN))

    def keep(
        self, kind: str, values: Mapping[str, Mapping[str, Any] | None], *, audit: Sequence[AuditEntry] = ()
    ) -> None:
        """See the port."""
        with self._lock:
            for name, value in values.items():
                if value is None:
                    self._kept.pop((kind, name), None)
                else:
                    self._kept[kind, name] = json.dumps(dict(value))
            for entry in audit:
                self.audit(entry)
            self._version += 1

    def kept(self, kind: str) -> dict[str, dict[str, Any]]:
        """See the port."""
        with self._lock:
            return {name: json.loads(text) for (one, name), text in sorted(self._kept.items()) if one == kind}

    def received(self, source: str, ids: Sequence[str]) -> set[str]:
        """See the port."""
        with self._lock:
            return {one for one in ids if (source, one) in self._received}

    def _receive(self, commit: Commit) -> None:
        until = commit.received_until or self._now()
        self._received |= {(commit.source or "", one): until for one in commit.received}

    def _forget_received(self, now: datetime) -> None:
        self._received = {key: until for key, until in self._received.items() if until >= now}

    def _set_undelivered(self, sink: str, new: NewUndelivered) -> None:
        number = len(self._undelivered) + 1
        self._undelivered[number] = Undelivered(
            id=number,
            sink=sink,
            stream=new.block.stream,
            number=new.block.first,
            event_id=new.event_id,
            key=new.key,
            cause=new.cause,
            attempts=new.attempts,
            state=LetterState.OPEN,
            first_failed_at=new.first_failed_at,
            created_at=self._now(),
            block=new.block,
        )

    @abstractmethod
    def _now(self) -> datetime:
        """The clock."""
