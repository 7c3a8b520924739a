"""A gate without a network: a journal in memory, a clock that stands still, and requests made of headers."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bridge import keys
from bridge.config.access import PrincipalConfig
from bridge.testing import FakeClock, MemoryJournal
from bridge.web.authentication import Gatekeeper
from bridge.web.keyring import LOOK_S, KeyRing
from bridge.web.problems import Problem
from bridge.web.refusals import Refusals
from bridge.web.tokens import Issuer


class Gate:
    """A gatekeeper, and what is around it."""

    def __init__(
        self, *, issuer: Issuer | None = None, clock: FakeClock | None = None, **principals: Mapping[str, Any]
    ) -> None:
        self.clock = clock or FakeClock()
        self.started_at = self.clock()
        self.journal = MemoryJournal(now=self.clock)
        self.checked: list[str] = []  # keys whose hash was checked, at a cost
        self.ring = KeyRing(self.journal, now=self.clock, monotonic=self.monotonic, check=self._check)
        self.configured = {name: PrincipalConfig.model_validate(each) for name, each in principals.items()}
        self.keeper = Gatekeeper(
            self.journal, self.configured, ring=self.ring, issuer=issuer, refusals=Refusals(monotonic=self.monotonic)
        )

    def monotonic(self) -> float:
        return (self.clock() - self.started_at).total_seconds()

    def key(self, principal: str, *, expires_at: datetime | None = None) -> str:
        """A new key that is known to the gate at once."""
        text, stored = keys.create(principal, now=self.clock(), expires_at=expires_at)
        self.keep(stored)
        return text

    def keep(self, stored: keys.StoredKey) -> None:
        self.journal.keep(keys.KIND, {stored.prefix: stored.to_kept()})
        self.clock.advance(LOOK_S)

    def stored(self, text: str) -> keys.StoredKey:
        prefix = keys.prefix_of(text) or ""
        return keys.StoredKey.from_kept(prefix, self.journal.kept(keys.KIND)[prefix])

    async def ask(self, *authorization: str, address: str = "192.0.2.1", path: str = "/v1/streams") -> str:
        """The principal's name, or the problem's status and slug."""
        try:
            return (await self.keeper.admit(scope(*authorization, address=address, path=path))).principal.name
        except Problem as problem:
            return f"{problem.status} {problem.slug}"

    def one(self, *authorization: str, address: str = "192.0.2.1", path: str = "/v1/streams") -> str:
        return asyncio.run(self.ask(*authorization, address=address, path=path))

    def refusal(self, *authorization: str) -> Problem:
        """The problem that a request meets."""
        try:
            admitted = asyncio.run(self.keeper.admit(scope(*authorization)))
        except Problem as problem:
            return problem
        raise AssertionError(f"{admitted.principal.name} was let in")

    def audited(self) -> list[tuple[str, str, str]]:
        """What was refused, as it stands in the audit trail now."""
        self.keeper.step()
        entries = [one.entry for one in self.journal.audit_trail(action="access.refused", limit=10_000)]
        return [(entry.actor, entry.subject, entry.reason) for entry in entries]

    def _check(self, hash_: str, text: str) -> bool:
        self.checked.append(text)
        return keys.matches(hash_, text)


def scope(*authorization: str, address: str = "192.0.2.1", path: str = "/v1/streams") -> dict[str, Any]:
    """A request as the server hands it over."""
    headers = [(b"authorization", each.encode("latin-1")) for each in authorization]
    return {"type": "http", "method": "GET", "path": path, "headers": headers, "client": (address, 4711)}


def other_secret(text: str) -> str:
    """A key of the same prefix that is not the one."""
    return f"{text[:13]}{'A' * 43}"
