"""The gate of the HTTP door: who is there, within which quota, and what becomes of everybody else.

Promises: every refusal is one uniform answer, 401 with WWW-Authenticate, whatever was wrong, and is told to the audit
trail (`bridge.web.refusals`), never with the key or token. Who was recognised gets its principal of the configuration
in force. Nothing here blocks the event loop.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NoReturn

import limits
import structlog
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers
from starlette.types import Scope

from bridge import keys
from bridge.access import Principal, principals
from bridge.config.access import PrincipalConfig
from bridge.errors import BridgeError
from bridge.model import AuditEntry
from bridge.ports import Journal
from bridge.web.gate import Admitted
from bridge.web.keyring import KeyRing, Unrecognised
from bridge.web.problems import Problem
from bridge.web.quota import Quota
from bridge.web.refusals import Refusals
from bridge.web.tokens import Issuer

ATTEMPTS = limits.RateLimitItemPerMinute(60)  # failures of one address that are told 401; then 429
_NOBODY = "No principal is configured: add one below `principals`, then run `legacy-bridge key create NAME`."
_NO_KEY = "No key or token was sent, or more than one."
_NOT_VALID = "The key or token is not valid here."
_REALM = 'Bearer realm="legacy-bridge"'

_log = structlog.get_logger()


class Gatekeeper:
    """Lets principals of one configuration in. `admit` is used on one event loop, the rest on any thread."""

    def __init__(
        self,
        journal: Journal,
        configured: Mapping[str, PrincipalConfig],
        *,
        ring: KeyRing,
        issuer: Issuer | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self._journal = journal
        self._ring = ring
        self._issuer = issuer
        self._refusals = refusals or Refusals()
        self._quota = Quota()
        self._failures = FixedWindowRateLimiter(MemoryStorage())
        self._used: dict[str, str] = {}  # key prefix -> hour of its last use, as kept
        self._principals: Mapping[str, Principal] = {}
        self._subjects: Mapping[str, str] = {}
        self.use(configured)

    def use(self, configured: Mapping[str, PrincipalConfig]) -> None:
        """Take over the principals of a changed configuration."""
        self._principals = principals(configured)
        self._subjects = {each.subject: name for name, each in configured.items() if each.subject is not None}

    async def admit(self, scope: Scope) -> Admitted:
        """See `bridge.web.gate.Gate`."""
        sender = _sender(scope)
        try:
            principal = await self._recognise(Headers(scope=scope), sender)
        except Unrecognised as unknown:
            self._refuse(scope, unknown, sender)
        except Problem as problem:
            self._refusals.note(f"address:{_address(scope)}", _what(scope), problem.slug)
            raise
        try:
            return Admitted(principal, self._quota.spend(principal))
        except Problem as problem:
            self.refused(principal, scope, problem.slug)
            raise

    def refused(self, principal: Principal, scope: Scope, why: str) -> None:
        """See `bridge.web.gate.Gate`."""
        self._refusals.note(principal.actor, _what(scope), why)

    def step(self, *, whole: bool = False) -> None:
        """Write down what was refused and when keys were used; called every second or so."""
        for prefix, at in self._ring.uses().items():
            self._used[prefix] = _hour(at)
        try:
            self._keep_uses()
            self._refusals.write(self._audit, whole=whole)
        except BridgeError as error:  # nothing is lost: it is written with the next step
            _log.warning("access.unwritten", error=error)

    def close(self) -> None:
        """Write down what is left and let threads go; callable twice."""
        self.step(whole=True)
        self._ring.close()

    async def _recognise(self, headers: Headers, sender: str) -> Principal:
        given = headers.getlist("authorization")
        scheme, _, credentials = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not credentials:
            raise Unrecognised("", "no key or token")
        if credentials.startswith("lbk_") or self._issuer is None:
            stored = await self._ring.recognise(credentials, sender=sender)
            name: str | None = stored.principal
            who = f"key:{stored.prefix}"
        else:
            subject = await self._issuer.subject(credentials)
            name = self._subjects.get(subject)
            who = f"subject:{subject}"
        principal = self._principals.get(name or "")
        if principal is None:
            raise Unrecognised(who, "belongs to no principal of the configuration")
        return principal

    def _refuse(self, scope: Scope, unknown: Unrecognised, sender: str) -> NoReturn:
        """Raises: Problem 401, or 429 where too many came from one address."""
        self._refusals.note(unknown.who or f"address:{_address(scope)}", _what(scope), unknown.why)
        if not self._failures.hit(ATTEMPTS, sender):
            raise Problem(
                429,
                "too-many-attempts",
                "Too many requests without a valid key or token came from here.",
                headers={"retry-after": "60"},
            ) from None
        came_without = unknown.why == "no key or token"
        challenge = _REALM if came_without else f'{_REALM}, error="invalid_token"'
        detail = _NOBODY if not self._principals else _NO_KEY if came_without else _NOT_VALID
        raise Problem(401, "unauthenticated", detail, headers={"www-authenticate": challenge}) from None

    def _keep_uses(self) -> None:
        if not self._used:
            return
        kept = self._journal.kept(keys.USE_KIND)
        changed = {prefix: {"hour": hour} for prefix, hour in self._used.items() if kept.get(prefix) != {"hour": hour}}
        if changed:
            self._journal.keep(keys.USE_KIND, changed)
        self._used.clear()

    def _audit(self, entries: Sequence[AuditEntry]) -> None:
        self._journal.keep(keys.USE_KIND, {}, audit=entries)


def _hour(at: datetime) -> str:
    """Coarse on purpose: enough to find keys that nobody uses."""
    return at.replace(minute=0, second=0, microsecond=0).isoformat()


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def _sender(scope: Scope) -> str:
    """Where a request came from, as far as failures are counted together: an IPv4 address, or an IPv6 network of 64."""
    address = _address(scope)
    return ":".join(address.split(":")[:4]) if ":" in address else address


def _what(scope: Scope) -> str:
    """What was asked for, without its query, in few kinds."""
    parts = scope["path"].split("/")[:5]
    return f"{scope['method']} {'/'.join(part if part.isprintable() else '?' for part in parts)}"
