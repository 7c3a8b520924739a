"""Recognises API keys.

Promises: a key that was recognised once is recognised again by one keyed digest (microseconds) until it changes,
expires or is revoked, which takes effect within a second, whoever revoked it. The costly check of a hash runs only for
a known prefix and a key of the right fragment, never twice at once for one prefix, on few threads, with few waiting,
and not again for a sender who failed on that prefix a few times in a minute. So a flood of wrong keys costs a good key
nothing. Comparisons take constant time. No key is ever written down.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Lock

import limits
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from bridge import keys
from bridge.keys import StoredKey
from bridge.ports import Journal
from bridge.web.problems import Problem

LOOK_S = 0.5  # how often the journal is asked whether keys changed
CHECKERS = 2  # hashes checked at once
WAITING = 64  # for a check; more are turned away
TRIES = limits.RateLimitItemPerMinute(5)  # wrong keys of one prefix from one sender that are checked


class Unrecognised(Exception):
    """A key or token opens nothing. Carries why, for the audit trail only."""

    def __init__(self, who: str, why: str) -> None:
        super().__init__(why)
        self.who = who  # "key:lbk_k3v9x0ab"; "" where only the address is known
        self.why = why


class KeyRing:
    """The keys of one journal. Used on one event loop; `uses` by any thread."""

    def __init__(
        self,
        journal: Journal,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        check: Callable[[str, str], bool] = keys.matches,
    ) -> None:
        self._journal = journal
        self._now = now
        self._monotonic = monotonic
        self._check = check
        self._pepper = secrets.token_bytes(32)
        self._stored: dict[str, StoredKey] = {}
        self._proven: dict[str, tuple[str, bytes]] = {}  # prefix -> hash it was proven against, digest of the key
        self._used: dict[str, datetime] = {}  # since `uses` was asked
        self._using = Lock()  # uses are taken by another thread
        self._version: int | None = None
        self._look_at = 0.0
        self._threads = ThreadPoolExecutor(CHECKERS, thread_name_prefix="argon2")
        self._turns: dict[str, asyncio.Lock] = {}
        self._waiting = 0
        self._failures = FixedWindowRateLimiter(MemoryStorage())

    async def recognise(self, text: str, *, sender: str) -> StoredKey:
        """The key that the text is.

        Args:
            text: as sent.
            sender: where from, as far as failures are counted together.
        Raises: Unrecognised; Problem 429 or 503 when it cannot be checked now; JournalUnavailable.
        """
        prefix = keys.prefix_of(text)
        if prefix is None:
            raise Unrecognised("", "not in the form of a key")
        who = f"key:{prefix}"
        stored = self._find(prefix)
        if stored is None:
            raise Unrecognised(who, "unknown or revoked key")
        digest = hashlib.blake2b(text.encode(), key=self._pepper, digest_size=32).digest()
        if not (self._is_proven(stored, digest) or await self._prove(stored, text, digest, sender=sender)):
            raise Unrecognised(who, "wrong secret")
        if stored.is_expired(self._now()):  # told only to who holds it
            raise Unrecognised(who, "expired key")
        with self._using:
            self._used[prefix] = self._now()
        return stored

    def uses(self) -> dict[str, datetime]:
        """When each key was used last, of those used since this was asked before."""
        with self._using:
            used, self._used = self._used, {}
        return used

    def close(self) -> None:
        """Let the threads go; callable twice."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _find(self, prefix: str) -> StoredKey | None:
        if self._monotonic() >= self._look_at:
            version = self._journal.version()
            if version != self._version:
                kept = self._journal.kept(keys.KIND)
                self._stored = {name: StoredKey.from_kept(name, value) for name, value in kept.items()}
                self._proven = {name: proof for name, proof in self._proven.items() if name in self._stored}
                self._turns = {name: turn for name, turn in self._turns.items() if name in self._stored}
                self._version = version
            self._look_at = self._monotonic() + LOOK_S
        return self._stored.get(prefix)

    def _is_proven(self, stored: StoredKey, digest: bytes) -> bool:
        return self._proof(stored) is not None and hmac.compare_digest(self._proof(stored) or b"", digest)

    def _proof(self, stored: StoredKey) -> bytes | None:
        """The digest of the one key that belongs to this hash, once it was seen."""
        hash_, digest = self._proven.get(stored.prefix, ("", b""))
        return digest if hash_ == stored.hash else None

    async def _prove(self, stored: StoredKey, text: str, digest: bytes, *, sender: str) -> bool:
        """Check the hash, unless the digest or the fragment has settled already that this is another text."""
        if self._proof(stored) is not None or not hmac.compare_digest(stored.fragment, keys.fragment(text)):
            return False
        self._refuse_tries(stored, sender)
        if self._waiting >= WAITING:
            raise Problem(503, "unavailable", "Too many keys wait to be checked.", headers={"retry-after": "1"})
        self._waiting += 1
        try:
            async with self._turns.setdefault(stored.prefix, asyncio.Lock()):
                if self._proof(stored) is not None:
                    return self._is_proven(stored, digest)
                self._refuse_tries(stored, sender)
                loop = asyncio.get_running_loop()
                if not await loop.run_in_executor(self._threads, self._check, stored.hash, text):
                    self._failures.hit(TRIES, stored.prefix, sender)
                    return False
                self._proven[stored.prefix] = stored.hash, digest
                return True
        finally:
            self._waiting -= 1

    def _refuse_tries(self, stored: StoredKey, sender: str) -> None:
        if not self._failures.test(TRIES, stored.prefix, sender):
            raise Problem(
                429, "too-many-attempts", "Too many wrong keys from here. Wait a minute.", headers={"retry-after": "60"}
            )
