"""What the journal may forget, and what it then owes to whom had not read it."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much the journal keeps; None keeps all.

    Age never passes a subscriber's cursor. Size does, since the disk is finite, and then each subscriber that had not
    read the events has a gap declared.
    """

    age: timedelta | None = None
    size_bytes: int | None = None  # of all blocks, compressed


@dataclass(frozen=True, slots=True)
class SubscriberGap:
    """Events that were forgotten before a subscriber acknowledged them."""

    subscriber: str
    stream: str
    first: int  # sequence numbers, both inclusive
    last: int
    declared_at: datetime
