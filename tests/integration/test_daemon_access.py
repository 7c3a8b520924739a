"""The daemon's door and who may pass: keys made beside it, principals reloaded, refusals audited, nothing told."""

import base64
import http.client
import json
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from demo.server import Database
from tests.daemon import Daemon, prepare, wait_for

STREAMS = "/v1/streams"


@pytest.fixture
def daemon(tmp_path: Path, database: Database) -> Iterator[Daemon]:
    """A running daemon with one principal and ways out whose receivers are not there."""
    prepare(database, "articles")
    planted = {
        "HOOK_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "INBOX_SECRET": secrets.token_hex(20),
        "BROKER_PASSWORD": secrets.token_hex(20),
    }
    with Daemon(tmp_path, database, "articles", level="debug") as made:
        made.environment |= planted | {"BROKER": f"amqp://bridge:{planted['BROKER_PASSWORD']}@127.0.0.1:9/"}
        made.document["principals"] = {"crm": {"streams": ["articles"], "acts": ["read"], "subject": "crm-7"}}
        made.document["bridge"]["http"]["oidc"] = {
            "issuer": "http://127.0.0.1:9/", "audience": "bridge", "allow_networks": ["127.0.0.0/8"]
        }  # fmt: skip
        made.document["sinks"] = {
            "hook": {
                "webhook": {
                    "url": "http://127.0.0.1:9/hook",
                    "secrets": ["${env:HOOK_SECRET}"],
                    "allow_networks": ["127.0.0.0/8"],
                }
            }
        }
        made.document["systems"]["shop"] = {"webhook": {"basic": {"user": "shop", "password": "${env:INBOX_SECRET}"}}}
        made.document["systems"]["broker"] = {"amqp": {"url": "${env:BROKER}"}}
        for stream, origin in (("orders", {"webhook": "orders"}), ("tickets", {"queue": "tickets"})):
            made.add_stream(stream, system="shop" if "webhook" in origin else "broker", **origin)
            del made.document["streams"][stream]["log"]
        made.write()
        yield made.start()


def ask(daemon: Daemon, path: str = STREAMS, *, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    """Status and body of an answer of the door."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def knock(daemon: Daemon, text: str) -> int:
    return ask(daemon, authorization=f"Bearer {text}")[0]


def new_key(daemon: Daemon) -> str:
    return str(json.loads(daemon.ask("key", "create", "crm", "--json"))["key"])


def refusals(daemon: Daemon) -> list[dict[str, str]]:
    lines = daemon.ask("audit", "show", "--action", "access.refused", "--json").splitlines()
    return [json.loads(line) for line in lines]


def test_a_key_opens_the_door_until_it_is_revoked(daemon: Daemon) -> None:
    """Made and revoked beside the running daemon; what was refused is in the audit trail."""
    text = new_key(daemon)
    wait_for(lambda: knock(daemon, text) == 200, why=daemon.log_tail)
    status, listed = ask(daemon, authorization=f"Bearer {text}")
    assert (status, "articles" in listed, "orders" in listed) == (200, True, False)
    assert ask(daemon, "/v1/streams/orders/events", authorization=f"Bearer {text}")[0] == 404
    daemon.ask("key", "revoke", text[:12])
    wait_for(lambda: knock(daemon, text) == 401, why=daemon.log_tail)
    told = wait_for(lambda: {one["actor"] for one in refusals(daemon)} >= {"api:crm", f"key:{text[:12]}"})
    assert told


def test_a_principal_that_is_taken_away_by_a_reload_stays_out(daemon: Daemon) -> None:
    text = new_key(daemon)
    wait_for(lambda: knock(daemon, text) == 200, why=daemon.log_tail)
    daemon.document["principals"] = {"other": {}}
    daemon.write()
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: knock(daemon, text) == 401, why=daemon.log_tail)


def test_the_heads_in_the_log_prove_the_audit_trail(daemon: Daemon) -> None:
    """S14: said at the start and at the stop."""
    new_key(daemon)
    daemon.stop()
    heads = daemon.logged("audit.head")
    assert heads[0]["number"] < heads[-1]["number"]
    anchor = f"{heads[-1]['number']}:{heads[-1]['hash']}"
    assert daemon.ask("audit", "verify", "--head", anchor) == f"whole: {heads[-1]['number']} entries, head {anchor}\n"


def test_no_key_token_or_secret_of_the_ways_out_is_shown(daemon: Daemon) -> None:
    """S2: good and wrong keys, tokens, signing secrets and passwords; log at debug, pages, problems, audit trail."""
    good = new_key(daemon)
    wait_for(lambda: knock(daemon, good) == 200, why=daemon.log_tail)
    wrong = f"{good[:13]}{secrets.token_urlsafe(32)}"
    key = RSAKey.generate_key(2048, parameters={"kid": "a"})
    token = jwt.encode({"alg": "RS256", "kid": "a"}, {"iss": "http://127.0.0.1:9/", "sub": "crm-7"}, key)
    answers = [ask(daemon, authorization=f"Bearer {text}") for text in (wrong, token, f"{good}x", good)]
    basic = base64.b64encode(f"shop:{wrong}".encode()).decode()
    answers += [ask(daemon, "/v1/inbox/shop/orders", body=b"{}", authorization=f"Basic {basic}")]
    answers += [ask(daemon, f"/v1/streams?key={wrong}", authorization=f"Bearer {good}")]
    assert {status for status, _ in answers} >= {200, 401, 503}
    daemon.database.sql("INSERT INTO shop.articles VALUES (1, 'n', 1)")
    wait_for(lambda: daemon.ailment("source:broker") and daemon.logged("issuer.unavailable"), why=daemon.log_tail)
    pages = {path: daemon.page(path)[1] for path in ("/metrics", "/health", "/readyz?verbose")}
    wait_for(lambda: refusals(daemon), why=daemon.log_tail)
    daemon.stop()
    planted = [value for name, value in daemon.environment.items() if name in SECRETS]
    hidden = [good[13:], wrong[13:], token.rpartition(".")[2], basic, *planted, planted[0].removeprefix("whsec_")]
    seen = {
        "log": (daemon.folder / "daemon.log").read_text(),
        "audit": daemon.ask("audit", "export"),
        "keys": daemon.ask("key", "list", "--json"),
        "answers": json.dumps(answers),
        **pages,
    }
    assert {place: [one for one in hidden if one in text] for place, text in seen.items()} == {
        place: [] for place in seen
    }


SECRETS = {"HOOK_SECRET", "INBOX_SECRET", "BROKER_PASSWORD"}
