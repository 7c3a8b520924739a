"""The part of the in-memory journal that operators and auditors use."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from threading import RLock
from typing import Any

from bridge import trail
from bridge.errors import InternalError
from bridge.model import AuditEntry
from bridge.ports import Request
from bridge.trail import Audited, Head


class MemoryDesk:
    """Pins, requests and the audit trail, without a disk."""

    _lock: RLock  # of the whole journal
    _version: int  # as above

    def __init__(self) -> None:
        """Start empty."""
        self._pins: dict[tuple[str, str], str] = {}
        self._requests: dict[int, Request] = {}
        self._audit: list[Audited] = []

    @abstractmethod
    def _now(self) -> datetime: ...

    def pin(self, contract_id: str, version: str, digest: str) -> str:
        """See the port."""
        return self._pins.setdefault((contract_id, version), digest)

    def request(self, kind: str, args: Mapping[str, Any], actor: str) -> int:
        """See the port."""
        with self._lock:
            number = len(self._requests) + 1
            self._requests[number] = Request(number, kind, dict(args), actor, self._now())
            self._version += 1
            return number

    def requests(self, *, open_only: bool = True, limit: int = 100) -> list[Request]:
        """See the port."""
        with self._lock:
            if open_only:
                return [one for one in self._requests.values() if one.settled_at is None][:limit]
            return list(self._requests.values())[-limit:]

    def settle(self, request_id: int, *, ok: bool, result: Mapping[str, Any]) -> None:
        """See the port. Raises: InternalError when the request is not open."""
        with self._lock:
            request = self._requests.get(request_id)
            if request is None or request.settled_at is not None:
                raise InternalError(f"request {request_id} cannot be settled: it is not open")
            self._requests[request_id] = replace(request, settled_at=self._now(), ok=ok, result=dict(result))
            self._version += 1

    def audit(self, entry: AuditEntry) -> None:
        """See the port."""
        with self._lock:
            before, at = self.audit_head(), self._now()
            number = before.number + 1
            self._audit.append(Audited(number, at, entry, trail.link(before.hash, number, at, entry)))
            self._version += 1

    def audit_trail(
        self, *, after: int | None = None, limit: int = 100, actor: str | None = None, action: str | None = None
    ) -> list[Audited]:
        """See the port."""
        with self._lock:
            found = [
                one
                for one in self._audit[after or 0 :]
                if actor in {None, one.entry.actor}
                and (action is None or f"{one.entry.action}.".startswith(f"{action}."))
            ]
        return found[-limit:] if after is None else found[:limit]

    def audit_head(self) -> Head:
        """See the port."""
        return self._audit[-1].head if self._audit else Head()

    def audit_verify(self, head: Head | None = None) -> list[str]:
        """See the port."""
        with self._lock:
            return trail.verify(self._audit, head)
