"""Recognises JSON Web Tokens of one issuer (OpenID Connect, RFC 7519, RFC 9068's habits).

Promises: only signatures by a public key of the issuer's own set are believed, with an algorithm of the list below;
`none` and shared secrets never. Issuer, audience and expiry must be there and right, with a minute's leeway for clocks.
Keys are fetched once and kept; a token with an unknown key has them fetched again, at most once in `REFETCH_S`, by one
request however many such tokens come; keys that are there stay good while the issuer is down.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from joserfc import jws, jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import KeySet

from bridge.client import Client, Target
from bridge.config.access import OidcConfig
from bridge.errors import BridgeError
from bridge.web.keyring import Unrecognised

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
LEEWAY_S = 60
REFETCH_S = 30.0  # between two fetches, successful or not
STALE_S = 3600.0  # age of the keys at which they are fetched anew although all are known
FETCH_S = 10.0  # for one answer of the issuer
_ANSWER_LIMIT_BYTES = 1 << 20
_KEY_LIMIT = 100  # in one set

Fetch = Callable[[str], Awaitable[bytes]]  # the body of a 200 answer to a GET; raises IssuerUnavailable

_log = structlog.get_logger()


class IssuerUnavailable(BridgeError):
    """The identity provider's keys cannot be fetched now; tokens of keys that are known stay good."""

    code = "issuer.unavailable"
    reaction = "wait"
    default_hint = "Check `bridge.http.oidc` and that the bridge can reach the issuer."
    exit_code = 69


class Issuer:
    """The tokens of one issuer. Used on one event loop."""

    def __init__(
        self,
        config: OidcConfig,
        fetch: Fetch,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._fetch = fetch
        self._now = now
        self._monotonic = monotonic
        self._keys: KeySet | None = None
        self._fetched_at = 0.0
        self._next_fetch_at = 0.0
        self._fetching = asyncio.Lock()
        self._background: asyncio.Task[None] | None = None

    async def subject(self, token: str) -> str:
        """The claim by which the token's principal is found.

        Raises: Unrecognised; IssuerUnavailable while no keys could be fetched at all.
        """
        kid = _header(token).get("kid")
        keys = await self._keys_with(kid)
        if kid is None and len(keys.keys) > 1:
            raise Unrecognised("", "token that names no key")
        try:
            decoded = jwt.decode(token, keys, registry=_REGISTRY)
            self._claims().validate(decoded.claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:  # what joserfc lets through for odd tokens
            raise Unrecognised("", f"token refused: {getattr(error, 'error', type(error).__name__)}") from error
        subject = decoded.claims.get(self._config.principal_claim)
        if not isinstance(subject, str) or not subject:
            raise Unrecognised("", f"token without the claim {self._config.principal_claim}")
        return subject

    def _claims(self) -> jwt.JWTClaimsRegistry:
        now = int(self._now().timestamp())
        return jwt.JWTClaimsRegistry(
            now=now,
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._config.issuer},
            aud={"essential": True, "value": self._config.audience},
            exp={"essential": True},
        )

    async def _keys_with(self, kid: object) -> KeySet:
        """The issuer's keys, fetched again when none has this id."""
        if self._keys is None or not _has(self._keys, kid):
            async with self._fetching:
                if (self._keys is None or not _has(self._keys, kid)) and self._monotonic() >= self._next_fetch_at:
                    await self._renew()
        elif self._monotonic() - self._fetched_at > STALE_S and self._monotonic() >= self._next_fetch_at:
            self._renew_in_background()
        if self._keys is None:
            raise IssuerUnavailable(f"the keys of {self._config.issuer} could not be fetched yet")
        return self._keys

    def _renew_in_background(self) -> None:
        """Nobody waits: every key that is asked for is known."""
        if self._background is None or self._background.done():
            self._next_fetch_at = self._monotonic() + REFETCH_S
            self._background = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        """Fetch the keys; those that are there stay when it fails."""
        self._next_fetch_at = self._monotonic() + REFETCH_S
        try:
            address = self._config.jwks_url or await self._discover()
            self._keys = _key_set(await self._fetch(address))
            self._fetched_at = self._monotonic()
        except BridgeError as error:
            _log.warning("issuer.unavailable", issuer=self._config.issuer, error=error)

    async def _discover(self) -> str:
        """Where the keys are, by OpenID Connect Discovery 1.0, section 4. Raises: IssuerUnavailable."""
        place = f"{self._config.issuer.rstrip('/')}/.well-known/openid-configuration"
        document = _json(await self._fetch(place))
        if document.get("issuer") != self._config.issuer or not isinstance(document.get("jwks_uri"), str):
            raise IssuerUnavailable(f"{place} names another issuer, or no jwks_uri")
        return str(document["jwks_uri"])


class _Registry(jws.JWSRegistry):
    """The algorithms that are accepted, and no others; EdDSA too, for which joserfc would warn at every token."""

    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in ALGORITHMS:
            raise UnsupportedAlgorithmError(name)
        return self.algorithms[name]


_REGISTRY = _Registry(algorithms=list(ALGORITHMS))


def fetching(config: OidcConfig) -> Fetch:
    """Fetch through the guarded client; a connection each time, since that is seldom."""

    async def fetch(url: str) -> bytes:
        client = Client(IssuerUnavailable, allow_networks=config.allow_networks)
        try:
            answer = await client.ask("GET", Target.parse(url), deadline_s=FETCH_S, answer_limit=_ANSWER_LIMIT_BYTES)
        finally:
            await client.close()
        if answer.status != 200:  # noqa: PLR2004
            raise IssuerUnavailable(f"the issuer answered {answer.status}")
        return answer.body

    return fetch


def _header(token: str) -> dict[str, Any]:
    """The token's header, not believed yet. Raises: Unrecognised."""
    try:
        header = jws.extract_compact(token.encode("ascii")).headers()
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise Unrecognised("", "not in the form of a token") from error
    if header.get("alg") not in ALGORITHMS:
        raise Unrecognised("", "token of an algorithm that is not accepted")
    return header


def _has(keys: KeySet, kid: object) -> bool:
    return kid is None or any(key.kid == kid for key in keys.keys)


def _key_set(body: bytes) -> KeySet:
    """The public signature keys of a JWKS; others are left out. Raises: IssuerUnavailable when none is left."""
    listed = _json(body).get("keys")
    found = []
    for each in listed[:_KEY_LIMIT] if isinstance(listed, list) else []:
        if not isinstance(each, dict) or each.get("kty") not in {"RSA", "EC", "OKP"} or each.get("use", "sig") != "sig":
            continue
        try:
            found += KeySet.import_key_set({"keys": [each]}).keys
        except (JoseError, ValueError, KeyError, TypeError):  # a curve or form that we do not know
            continue
    if not found:
        raise IssuerUnavailable("the issuer's key set holds no public key for signatures")
    return KeySet(found)


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise IssuerUnavailable("the issuer's answer is no JSON") from error
    if not isinstance(value, dict):
        raise IssuerUnavailable("the issuer's answer is no JSON object")
    return value
