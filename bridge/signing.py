"""Signatures of webhooks: Standard Webhooks 1.0.0 both ways, GitHub's and Stripe's forms on the way in.

Promises: comparisons take constant time; a timestamp more than five minutes off is refused; headers are bounded before
they are looked at; no secret is in an error, a repr or a log. Pure: no I/O, `now` is an argument. Nothing here
remembers ids: a message that comes twice within the tolerance is genuine twice.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bridge.errors import ConfigError

TOLERANCE_S = 300

_SECRET_BYTES = range(24, 65)
_SEED_BYTES = 32
_HEADER_LIMIT = 4096  # characters of a signature header; the longest of ours with 8 keys has 800
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_PLAIN_ID = re.compile(r"[A-Za-z0-9:_+-]{1,200}")
_ESCAPED = re.compile(rb"[^A-Za-z0-9:_+-]")


class Flaw(StrEnum):
    """Why a message is not taken for genuine."""

    MISSING = "a signature header is missing"
    MALFORMED = "a signature header cannot be read"
    TOO_OLD = "the timestamp is more than five minutes old"
    TOO_NEW = "the timestamp is more than five minutes ahead"
    MISMATCH = "no signature matches"


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """One key of Standard Webhooks. Its repr shows nothing of it."""

    version: Literal["v1", "v1a"]  # HMAC-SHA256 or Ed25519
    _sign: Callable[[bytes], bytes] | None  # None for a public key
    _is_genuine: Callable[[bytes, bytes], bool]  # (signature, content)

    def sign(self, content: bytes) -> str:
        """One entry of the signature header. Raises: ConfigError for a public key."""
        if self._sign is None:
            raise ConfigError("a public key (whpk_...) cannot sign", hint="Give the secret key, whsk_...")
        return f"{self.version},{base64.b64encode(self._sign(content)).decode()}"

    def is_genuine(self, signature: bytes, content: bytes) -> bool:
        """Whether this key made the signature."""
        return self._is_genuine(signature, content)


def key(text: str) -> Key:
    """Read one secret.

    Args:
        text: ``whsec_`` and 24 to 64 bytes in base64; ``whsk_`` and an Ed25519 key as 32 bytes (seed) or 64 bytes (seed
            and public key); ``whpk_`` and the 32 bytes of a public key, which verifies only.
    Raises: ConfigError saying what is wrong, never what it holds.
    """
    prefix, _, encoded = text.partition("_")
    if prefix not in _READERS:
        raise ConfigError("a webhook secret starts with whsec_, whsk_ or whpk_", hint=_HINT)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        raise ConfigError(f"the webhook secret {prefix}_... is not base64", hint=_HINT) from None  # it would quote it
    return _READERS[prefix](raw)


def keys(texts: Iterable[str]) -> tuple[Key, ...]:
    """Read several secrets. Raises: ConfigError as `key` does, or when there is none."""
    found = tuple(map(key, texts))
    if not found:
        raise ConfigError("there is no webhook secret", hint=_HINT)
    return found


def header_id(event_id: str) -> str:
    """An event's id as `webhook-id`: printable, without the full stop that ends it in the signed text.

    What is not a letter, a digit or one of ``:_+-`` is percent-encoded as UTF-8; above 200 characters the id is told by
    its SHA-256. The same id always gives the same text.
    """
    if _PLAIN_ID.fullmatch(event_id):
        return event_id
    escaped = _ESCAPED.sub(lambda found: b"%%%02X" % found[0][0], event_id.encode()).decode()
    return escaped if len(escaped) <= 200 else f"sha256:{hashlib.sha256(event_id.encode()).hexdigest()}"  # noqa: PLR2004


def sign(with_keys: Sequence[Key], *, message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one entry a key, separated by spaces, so that keys can be rotated."""
    content = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return " ".join(one.sign(content) for one in with_keys)


def standard_flaw(with_keys: Sequence[Key], headers: Mapping[str, str], body: bytes, *, now: datetime) -> Flaw | None:
    """What speaks against a message signed by Standard Webhooks; None when it is genuine.

    Args:
        with_keys: any of them may have signed it.
        headers: names in lower case, or a mapping that does not care.
        body: the bytes as they came.
        now: an aware time.
    """
    message_id, at, signatures = (headers.get(f"webhook-{name}") for name in ("id", "timestamp", "signature"))
    if not message_id or not at or not signatures:
        return Flaw.MISSING
    if len(signatures) + len(message_id) > _HEADER_LIMIT:
        return Flaw.MALFORMED
    content = b".".join((message_id.encode(), at.encode(), body))
    given = [entry.partition(",") for entry in signatures.split(" ")]
    matches = [
        one.is_genuine(_decoded(signature), content)
        for version, _, signature in given
        for one in with_keys
        if one.version == version
    ]
    return _time_flaw(at, now) or (None if any(matches) else Flaw.MISMATCH)


def github_flaw(secrets: Sequence[str], headers: Mapping[str, str], body: bytes) -> Flaw | None:
    """What speaks against a message signed as GitHub does (`x-hub-signature-256`); None when it is genuine.

    The form has no timestamp: whoever holds an old message can send it again, so its id must be remembered.
    """
    given = headers.get("x-hub-signature-256")
    if not given:
        return Flaw.MISSING
    if not given.startswith("sha256="):
        return Flaw.MALFORMED
    return _hex_flaw(secrets, [given.removeprefix("sha256=")], body)


def stripe_flaw(
    secrets: Sequence[str], headers: Mapping[str, str], body: bytes, *, now: datetime, name: str = "stripe-signature"
) -> Flaw | None:
    """What speaks against a message signed as Stripe does (``t=...,v1=...``); None when it is genuine.

    Args:
        secrets: each used whole, `whsec_` included.
        headers: as in `standard_flaw`.
        body: the bytes as they came.
        now: an aware time.
        name: the header, where a sender gave it another name.
    """
    given = headers.get(name)
    if not given:
        return Flaw.MISSING
    if len(given) > _HEADER_LIMIT:
        return Flaw.MALFORMED
    parts = [part.strip().partition("=") for part in given.split(",")]
    times = [value for word, _, value in parts if word == "t"]
    if len(times) != 1:
        return Flaw.MALFORMED
    signatures = [value for word, _, value in parts if word == "v1"]
    return _time_flaw(times[0], now) or _hex_flaw(secrets, signatures, b".".join((times[0].encode(), body)))


def _time_flaw(text: str, now: datetime) -> Flaw | None:
    if not _TIMESTAMP.fullmatch(text):
        return Flaw.MALFORMED
    age_s = now.timestamp() - int(text)
    if age_s > TOLERANCE_S:
        return Flaw.TOO_OLD
    return Flaw.TOO_NEW if age_s < -TOLERANCE_S else None


def _hex_flaw(secrets: Sequence[str], signatures: Sequence[str], content: bytes) -> Flaw | None:
    expected = [hmac.digest(secret.encode(), content, "sha256").hex().encode() for secret in secrets if secret]
    matches = [hmac.compare_digest(one, given.encode()) for one in expected for given in signatures]
    return None if any(matches) else Flaw.MISMATCH


def _decoded(signature: str) -> bytes:
    """The bytes of a signature; nothing where it is not base64, which matches no key."""
    try:
        return base64.b64decode(signature, validate=True)
    except ValueError:
        return b""


def _shared(raw: bytes) -> Key:
    if len(raw) not in _SECRET_BYTES:
        raise ConfigError(f"the webhook secret whsec_... has {len(raw)} bytes; 24 to 64 are asked for", hint=_HINT)

    keyed = hmac.new(raw, digestmod="sha256")

    def made(content: bytes) -> bytes:
        mac = keyed.copy()  # `hmac.digest` lets go of the interpreter lock, and waits for it longer than it reckons
        mac.update(content)
        return mac.digest()

    return Key("v1", made, lambda signature, content: hmac.compare_digest(made(content), signature))


def _private(raw: bytes) -> Key:
    if len(raw) not in (_SEED_BYTES, 2 * _SEED_BYTES):
        raise ConfigError(f"the webhook key whsk_... has {len(raw)} bytes; 32 or 64 are asked for", hint=_HINT)
    private = Ed25519PrivateKey.from_private_bytes(raw[:_SEED_BYTES])
    public = private.public_key()
    if raw[_SEED_BYTES:] not in (b"", public.public_bytes(Encoding.Raw, PublicFormat.Raw)):
        raise ConfigError("the halves of the webhook key whsk_... do not belong together", hint=_HINT)
    return Key("v1a", private.sign, _checking(public))


def _public(raw: bytes) -> Key:
    if len(raw) != _SEED_BYTES:
        raise ConfigError(f"the webhook key whpk_... has {len(raw)} bytes; 32 are asked for", hint=_HINT)
    return Key("v1a", None, _checking(Ed25519PublicKey.from_public_bytes(raw)))


def _checking(public: Ed25519PublicKey) -> Callable[[bytes, bytes], bool]:
    def is_genuine(signature: bytes, content: bytes) -> bool:
        try:
            public.verify(signature, content)
        except InvalidSignature:
            return False
        return True

    return is_genuine


_HINT = "Make one with: printf 'whsec_%s\\n' \"$(openssl rand -base64 32)\""
_READERS: Mapping[str, Callable[[bytes], Key]] = {"whsec": _shared, "whsk": _private, "whpk": _public}
