"""What the door asks of whoever guards it: who is there, and note of what was refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from starlette.types import Scope

from bridge.access import Principal


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request whose sender was recognised."""

    principal: Principal
    headers: Mapping[str, str] = field(default_factory=dict)  # for its answer, whatever that is: RateLimit and the like


class Gate(Protocol):
    """Authentication and quota. Called on the HTTP event loop; must not block it."""

    async def admit(self, scope: Scope) -> Admitted:
        """Recognise the sender of a request by its headers.

        Raises: Problem 401 (unknown, expired, revoked, too many attempts), 429 (quota), each with its headers.
        """

    def refused(self, principal: Principal, scope: Scope, why: str) -> None:
        """A recognised sender asked for what it may not: for the audit trail. Never blocks, never raises."""
