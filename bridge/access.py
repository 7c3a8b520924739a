"""Who asks, and what they may do. Values only: who somebody is gets settled in `bridge.web.authentication`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bridge.config.access import Act, PrincipalConfig

ACTS: tuple[Act, ...] = ("read", "mend", "operate", "administer")


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who was recognised."""

    name: str
    acts: frozenset[Act]  # none of them includes another
    streams: tuple[str, ...] | Literal["*"]  # what it may see and touch
    release: frozenset[str] = frozenset()  # classifications of fields that are shown to it
    requests_per_minute: int = 600
    connections: int = 20  # live ones at once

    def may(self, act: Act, stream: str | None = None) -> bool:
        """Whether it may do this, on this stream where one is meant."""
        return act in self.acts and (stream is None or self.sees(stream))

    def sees(self, stream: str) -> bool:
        """Whether the stream is one of its own."""
        return self.streams == "*" or stream in self.streams

    @property
    def actor(self) -> str:
        """Its name in requests and in the audit trail."""
        return f"api:{self.name}"


def principals(configured: Mapping[str, PrincipalConfig]) -> dict[str, Principal]:
    """The principals of a configuration by name."""
    return {
        name: Principal(
            name,
            acts=frozenset(each.acts),
            streams="*" if "*" in each.streams else each.streams,
            release=frozenset(each.release),
            requests_per_minute=each.requests_per_minute,
            connections=each.connections,
        )
        for name, each in configured.items()
    }


def cursor_of(principal: str, name: str) -> str:
    """The subscriber of the journal that a principal's named cursor is; no sink is called so."""
    return f"api:{principal}:{name}"


def reader_of(subscriber: str) -> tuple[str, str] | None:
    """The principal and the name of a cursor; None where the subscriber is a sink."""
    kind, _, rest = subscriber.partition(":")
    principal, _, name = rest.partition(":")
    return (principal, name) if kind == "api" else None
