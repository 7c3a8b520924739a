"""JSON Web Tokens: which are believed, and how often the issuer is asked."""

import asyncio
import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from bridge.config.access import OidcConfig
from bridge.testing import FakeClock
from bridge.web.keyring import Unrecognised
from bridge.web.tokens import LEEWAY_S, REFETCH_S, STALE_S, Issuer, IssuerUnavailable
from tests import journal_samples as sample
from tests.gate import Gate

ISSUER = "https://id.example"
CONFIG = OidcConfig(issuer=ISSUER, audience="bridge")
RSA = RSAKey.generate_key(2048, parameters={"kid": "rsa", "use": "sig"})
KEYS: dict[str, RSAKey | ECKey | OKPKey] = {
    "RS256": RSA,
    "PS256": RSA,
    "ES256": ECKey.generate_key("P-256", parameters={"kid": "ec"}),
    "EdDSA": OKPKey.generate_key("Ed25519", parameters={"kid": "ed"}),
}
Key = RSAKey | ECKey | OKPKey | OctKey


class Signer(jws.JWSRegistry):
    """Signs with whatever is asked for."""

    def get_alg(self, name: str) -> JWSAlgModel:
        return self.algorithms[name]


SIGNER = Signer()


class Idp:
    """An issuer of tokens: its documents by address, and how often each was fetched."""

    def __init__(self) -> None:
        self.clock = FakeClock(sample.START)
        self.fetched: list[str] = []
        self.is_down = False
        self.discovery: dict[str, Any] = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}
        self.keys = [key.as_dict(private=False) for key in {id(key): key for key in KEYS.values()}.values()]
        self.issuer = Issuer(CONFIG, self.fetch, now=self.clock, monotonic=self.monotonic)

    def monotonic(self) -> float:
        return (self.clock() - sample.START).total_seconds()

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        await asyncio.sleep(0)  # others get their turn while this one waits
        if self.is_down:
            raise IssuerUnavailable("down")
        documents = {
            f"{ISSUER}/.well-known/openid-configuration": self.discovery,
            f"{ISSUER}/keys": {"keys": self.keys},
        }
        return json.dumps(documents[url]).encode()

    def claims(self, changes: Mapping[str, object] | None = None) -> dict[str, Any]:
        now = int(self.clock().timestamp())
        claims = {"iss": ISSUER, "aud": "bridge", "sub": "crm-7", "exp": now + 300, "iat": now} | dict(changes or {})
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self,
        key: Key = RSA,
        alg: str = "RS256",
        *,
        kid: str | None = None,
        claims: Mapping[str, object] | None = None,
    ) -> str:
        return jwt.encode({"alg": alg, "kid": kid or key.kid}, self.claims(claims), key, registry=SIGNER)

    def subject(self, token: str) -> str:
        return asyncio.run(self.issuer.subject(token))


@pytest.fixture
def idp() -> Idp:
    return Idp()


@pytest.mark.parametrize("alg", KEYS)
def test_a_token_of_the_issuer_names_its_principal(idp: Idp, alg: str) -> None:
    assert idp.subject(idp.token(KEYS[alg], alg)) == "crm-7"


def test_a_token_opens_the_gate_for_the_principal_of_its_subject(idp: Idp) -> None:
    gate = Gate(issuer=idp.issuer, clock=idp.clock, crm={"subject": "crm-7"}, web={})
    assert gate.one(f"Bearer {idp.token()}") == "crm"
    assert gate.one(f"Bearer {idp.token(claims={'sub': 'crm-8'})}") == "401 unauthenticated"
    assert gate.audited() == [("subject:crm-8", "GET /v1/streams", "belongs to no principal of the configuration")]


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"}, {"iss": None}, {"aud": "other"}, {"aud": None}, {"aud": ["other"]},
        {"exp": None}, {"exp": 1}, {"exp": "soon"}, {"nbf": 2**40}, {"iat": 2**40}, {"sub": None}, {"sub": 7},
        {"sub": ""},
    ],
)  # fmt: skip
def test_a_token_with_a_wrong_claim_is_refused(idp: Idp, changes: dict[str, object]) -> None:
    with pytest.raises(Unrecognised):
        idp.subject(idp.token(claims=changes))


def test_an_audience_may_be_one_of_several(idp: Idp) -> None:
    assert idp.subject(idp.token(claims={"aud": ["other", "bridge"]})) == "crm-7"


def test_clocks_may_differ_by_a_minute(idp: Idp) -> None:
    """H5: more than that is refused."""
    now = int(idp.clock().timestamp())
    assert idp.subject(idp.token(claims={"exp": now - LEEWAY_S + 1, "nbf": now + LEEWAY_S})) == "crm-7"
    for wrong in ({"exp": now - LEEWAY_S}, {"nbf": now + LEEWAY_S + 1}):
        with pytest.raises(Unrecognised):
            idp.subject(idp.token(claims=wrong))


def part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def unsigned(claims: Mapping[str, Any]) -> str:
    return f"{part(json.dumps({'alg': 'none', 'kid': 'rsa'}).encode())}.{part(json.dumps(claims).encode())}."


def signed_with_the_public_key(claims: Mapping[str, Any]) -> str:
    """The attack by which a public key becomes a shared secret."""
    text = f"{part(json.dumps({'alg': 'HS256', 'kid': 'rsa'}).encode())}.{part(json.dumps(claims).encode())}"
    return f"{text}.{part(hmac.digest(RSA.as_pem(private=False), text.encode(), 'sha256'))}"


def signed_by_another(claims: Mapping[str, Any]) -> str:
    return jwt.encode({"alg": "RS256", "kid": "rsa"}, dict(claims), RSAKey.generate_key(2048))


def bringing_its_own_key(claims: Mapping[str, Any]) -> str:
    own = RSAKey.generate_key(2048)
    header = {"alg": "RS256", "kid": "own", "jwk": own.as_dict(private=False), "jku": "https://evil.example/keys"}
    return jwt.encode(header, dict(claims), own)


@pytest.mark.parametrize("forge", [unsigned, signed_with_the_public_key, signed_by_another, bringing_its_own_key])
def test_a_forged_token_is_refused(idp: Idp, forge: Any) -> None:  # noqa: ANN401 - one of the functions above
    with pytest.raises(Unrecognised):
        idp.subject(forge(idp.claims()))
    assert all(url.startswith(ISSUER) for url in idp.fetched)


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "..", "e30.e30.e30", "bnVsbA.e30.AA", "\u00e9.e30.AA", "[]"])
def test_what_is_no_token_is_refused_without_asking_the_issuer(idp: Idp, text: str) -> None:
    with pytest.raises(Unrecognised):
        idp.subject(text)
    assert idp.fetched == []


def test_a_shared_secret_in_the_key_set_is_left_out(idp: Idp) -> None:
    secret = OctKey.generate_key(256, parameters={"kid": "oct"})
    idp.keys.append(secret.as_dict())
    idp.keys.append({"kty": "EC", "crv": "no-such-curve", "kid": "odd"})
    assert idp.subject(idp.token()) == "crm-7"
    with pytest.raises(Unrecognised):
        idp.subject(idp.token(secret, "HS256"))


def test_a_key_that_is_new_is_fetched_by_one_request_for_all_who_wait(idp: Idp) -> None:
    """H5: one refresh, no stampede."""
    idp.subject(idp.token())
    new = RSAKey.generate_key(2048, parameters={"kid": "new"})
    idp.keys.append(new.as_dict(private=False))
    idp.clock.advance(REFETCH_S)
    idp.fetched.clear()

    async def together() -> list[str]:
        return await asyncio.gather(*(idp.issuer.subject(idp.token(new)) for _ in range(50)))

    assert asyncio.run(together()) == ["crm-7"] * 50
    assert idp.fetched.count(f"{ISSUER}/keys") == 1


def test_tokens_of_invented_keys_do_not_make_us_ask_again_and_again(idp: Idp) -> None:
    other = RSAKey.generate_key(2048)
    for number in range(50):
        with pytest.raises(Unrecognised):
            idp.subject(idp.token(other, kid=f"invented-{number}"))
    assert idp.fetched.count(f"{ISSUER}/keys") == 1


def test_known_keys_stay_good_while_the_issuer_is_down(idp: Idp) -> None:
    """Also when they are old: renewing them happens behind whoever asks."""
    idp.subject(idp.token())
    idp.is_down = True
    idp.clock.advance(2 * STALE_S)

    async def twice() -> list[str]:
        first = await idp.issuer.subject(idp.token())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return [first, await idp.issuer.subject(idp.token())]

    assert asyncio.run(twice()) == ["crm-7", "crm-7"]
    assert len(idp.fetched) == 3  # discovery and keys at first, then discovery once more, in vain


def test_without_any_keys_the_sender_is_asked_to_come_again(idp: Idp) -> None:
    """And the issuer is left alone for a while."""
    idp.is_down = True
    for _ in range(5):
        with pytest.raises(IssuerUnavailable):
            idp.subject(idp.token())
    assert len(idp.fetched) == 1
    idp.is_down = False
    idp.clock.advance(REFETCH_S)
    assert idp.subject(idp.token()) == "crm-7"


@pytest.mark.parametrize("discovery", [{"issuer": "https://evil.example", "jwks_uri": "x"}, {"issuer": ISSUER}, {}])
def test_a_discovery_of_another_issuer_is_not_believed(idp: Idp, discovery: dict[str, str]) -> None:
    idp.discovery = discovery
    with pytest.raises(IssuerUnavailable):
        idp.subject(idp.token())


def test_a_token_without_a_key_id_needs_a_set_of_one_key(idp: Idp) -> None:
    bare = jwt.encode({"alg": "RS256"}, idp.claims(), RSA)
    with pytest.raises(Unrecognised):
        idp.subject(bare)
    idp.keys = [RSA.as_dict(private=False)]
    idp.issuer = Issuer(CONFIG, idp.fetch, now=idp.clock)
    assert idp.subject(bare) == "crm-7"
