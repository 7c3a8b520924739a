"""API keys: `lbk_<8 characters>_<43 characters>`, of which only an argon2 hash is stored.

What stands before the second underscore is the key's prefix: its name, shown in lists, logs and the audit trail. What
follows is 32 random bytes, shown once. Pure but for the random numbers; a check of a hash takes tens of milliseconds
and 19 MiB on purpose, so whoever calls it bounds how many run.
"""

import hashlib
import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

KIND = "key"  # of the journal's kept values: keys by prefix
USE_KIND = "key.use"  # when each was last used

_FORM = re.compile(r"(lbk_[a-z0-9]{8})_[A-Za-z0-9_-]{43}")
_PREFIX = re.compile(r"lbk_[a-z0-9]{8}")
_ALPHABET = string.ascii_lowercase + string.digits
# Argon2id with the least cost that OWASP recommends: the secret has 256 random bits, nobody guesses it.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What is kept of an API key."""

    prefix: str  # "lbk_k3v9x0ab"
    principal: str
    hash: str  # argon2id of the whole key
    fragment: str  # 32 bits of its SHA-256: what almost every wrong key fails, so that it costs no argon2
    created_at: datetime
    expires_at: datetime | None = None  # None: never
    note: str = ""

    def is_expired(self, now: datetime) -> bool:
        """Whether it opens nothing any more."""
        return self.expires_at is not None and self.expires_at <= now

    def to_kept(self) -> dict[str, Any]:
        """As the journal keeps it, under its prefix."""
        return {
            "principal": self.principal,
            "hash": self.hash,
            "fragment": self.fragment,
            "created_at": self.created_at.isoformat(),
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
            "note": self.note,
        }

    @classmethod
    def from_kept(cls, prefix: str, value: Mapping[str, Any]) -> "StoredKey":
        """The reverse of `to_kept`."""
        expires = value["expires_at"]
        return cls(
            prefix,
            value["principal"],
            value["hash"],
            value["fragment"],
            datetime.fromisoformat(value["created_at"]),
            datetime.fromisoformat(expires) if expires else None,
            value["note"],
        )


def create(
    principal: str, *, now: datetime, expires_at: datetime | None = None, note: str = ""
) -> tuple[str, StoredKey]:
    """A new key: the text that is shown once, and what is kept of it."""
    prefix = "lbk_" + "".join(secrets.choice(_ALPHABET) for _ in range(8))
    text = f"{prefix}_{secrets.token_urlsafe(32)}"
    stored = StoredKey(prefix, principal, _HASHER.hash(text), fragment(text), now.astimezone(UTC), expires_at, note)
    return text, stored


def prefix_of(text: str) -> str | None:
    """The prefix of a whole key; None for what is no key."""
    match = _FORM.fullmatch(text)
    return match[1] if match else None


def is_prefix(text: str) -> bool:
    """Whether the text is a key's prefix, and no more than that."""
    return _PREFIX.fullmatch(text) is not None


def fragment(text: str) -> str:
    """The first 32 bits of a key's SHA-256 in hexadecimal; they leave 224 to guess."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def matches(hash_: str, text: str) -> bool:
    """Whether the hash was taken of this key; in constant time for keys of the right form."""
    try:
        return _HASHER.verify(hash_, text)
    except (VerificationError, InvalidHashError):
        return False
