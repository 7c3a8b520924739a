"""Keys of a real identity provider on loopback, fetched through the guarded client."""

import asyncio
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from bridge.config.access import OidcConfig
from bridge.web.tokens import Issuer, IssuerUnavailable, fetching

KEY = RSAKey.generate_key(2048, parameters={"kid": "a"})


class Idp:
    """What a provider answers, by path, and what it was asked."""

    def __init__(self) -> None:
        idp = self
        self.asked: list[str] = []
        self.status = 200
        self.padding = ""

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                idp.asked.append(self.path)
                body = json.dumps(idp.documents()[self.path] | {"padding": idp.padding}).encode()
                self.send_response(idp.status)
                self.send_header("location", f"{idp.issuer}keys")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Silence."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}/"

    def documents(self) -> dict[str, dict[str, Any]]:
        return {
            "/.well-known/openid-configuration": {"issuer": self.issuer, "jwks_uri": f"{self.issuer}keys"},
            "/keys": {"keys": [KEY.as_dict(private=False)]},
        }

    def subject(self, network: str = "127.0.0.0/8") -> str:
        """What a fresh bridge makes of a token of this provider."""
        config = OidcConfig(issuer=self.issuer, audience="bridge", allow_networks=(network,))
        claims = {"iss": self.issuer, "aud": "bridge", "sub": "crm-7", "exp": int(time.time()) + 300}
        token = jwt.encode({"alg": "RS256", "kid": "a"}, claims, KEY)
        return asyncio.run(Issuer(config, fetching(config)).subject(token))


@pytest.fixture
def idp() -> Iterator[Idp]:
    made = Idp()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_keys_are_found_by_discovery(idp: Idp) -> None:
    assert idp.subject() == "crm-7"
    assert idp.asked == ["/.well-known/openid-configuration", "/keys"]


def test_a_provider_in_a_network_that_is_not_listed_is_not_asked(idp: Idp) -> None:
    with pytest.raises(IssuerUnavailable):
        idp.subject("10.0.0.0/8")
    assert idp.asked == []


@pytest.mark.parametrize("status", [302, 307, 404, 500])
def test_only_a_good_answer_is_believed(idp: Idp, status: int) -> None:
    """A redirect is not followed."""
    idp.status = status
    with pytest.raises(IssuerUnavailable):
        idp.subject()
    assert idp.asked == ["/.well-known/openid-configuration"]


def test_an_endless_answer_is_cut(idp: Idp) -> None:
    idp.padding = "x" * (2 << 20)
    with pytest.raises(IssuerUnavailable):
        idp.subject()
