"""What the handlers of the door work with, as one value; a reload puts another in its place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Protocol

import pyarrow as pa

from bridge.access import Principal
from bridge.config.models import Config
from bridge.contract.compiled import schema_of
from bridge.contract.document import ContractDocument
from bridge.errors import ConfigError
from bridge.export import Envelope
from bridge.health import HealthBoard
from bridge.model import AuditEntry, Block
from bridge.naming import envelope_of
from bridge.parcel import Attempt, Rows
from bridge.ports import Journal
from bridge.select import PUBLIC, Selection
from bridge.web.gate import Gate
from bridge.web.live import Feeds
from bridge.web.problems import Problem


@dataclass(frozen=True, slots=True)
class View:
    """A stream as one principal sees it."""

    selection: Selection
    envelope: Envelope
    classified: tuple[str, ...]  # released fields that are not public
    nothing: Rows  # no event at all, with the columns of the present contract


class Witness:
    """Writes down who read classified fields, once per principal, stream and hour. Callable from any thread."""

    def __init__(self, journal: Journal, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._journal = journal
        self._now = now
        self._lock = Lock()
        self._hours: dict[tuple[str, str], str] = {}

    def saw(self, principal: Principal, stream: str, view: View) -> None:
        """Note a read of a stream, before it is answered. Raises: JournalUnavailable; then nothing is shown."""
        if not view.classified:
            return
        hour = self._now().strftime("%Y-%m-%dT%H")
        with self._lock:
            if self._hours.get((principal.name, stream)) == hour:
                return
            fields = f"classified fields: {', '.join(view.classified)}"
            self._journal.audit(AuditEntry(principal.actor, "events.read", stream, fields))
            self._hours[principal.name, stream] = hour


class Attempts(Protocol):
    """The delivery log, to be read."""

    def find(
        self, *, sink: str | None = None, stream: str | None = None, limit: int = 100, before: int | None = None
    ) -> list[tuple[int, Attempt]]:
        """The newest attempts, newest first, each with its id; only those with lower ids than `before`."""


@dataclass(frozen=True, slots=True)
class Door:
    """One configuration's door."""

    config: Config
    documents: Mapping[str, ContractDocument]  # by stream
    journal: Journal
    board: HealthBoard
    gate: Gate
    feeds: Feeds
    witness: Witness
    attempts: Attempts
    _views: dict[tuple[frozenset[str], str], View] = field(default_factory=dict)

    def view(self, principal: Principal, stream: str) -> View:
        """The stream as the principal sees it, compiled once.

        Raises: Problem 403 where the key itself is classified and not released to the principal.
        """
        found = self._views.get((principal.release, stream))
        if found is None:
            found = self._views[principal.release, stream] = self._compile(principal, stream)
        return found

    def _compile(self, principal: Principal, stream: str) -> View:
        document = self.documents[stream]
        try:
            selection = Selection.compile(document, release=sorted(principal.release))
        except ConfigError as error:
            raise Problem(403, "forbidden", f"The key of {stream} is classified and not released to you.") from error
        classified = tuple(
            each.name
            for each in document.fields
            if each.classification not in PUBLIC and each.name in selection.open_fields
        )
        empty = pa.RecordBatch.from_pylist([], schema=schema_of(document))
        block = Block(stream, 1, 1, document.version, datetime.now(UTC), empty)
        return View(selection, self.envelope(stream), classified, selection.apply(block))

    def envelope(self, stream: str) -> Envelope:
        """What the events of a stream have in common."""
        document = self.documents[stream]
        return envelope_of(self.config, stream, contract_id=document.id, key_fields=document.key_fields)

    def seen(self, principal: Principal) -> list[str]:
        """The streams that a principal sees, in the order of the configuration."""
        return [stream for stream in self.config.streams if principal.sees(stream)]

    def close(self) -> None:
        """End every live connection of this door; callable from any thread, twice."""
        self.feeds.close()
