"""Systems that send to us by HTTP: what is taken in, what is refused, and what is never taken twice."""

import base64
import gzip
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from bridge.inbox.cloudevents import BATCH, STRUCTURED
from tests.daemon import wait_for
from tests.inbox import InboxDaemon, reckon_inbox, signed

ROW = {"id": 1, "name": "n", "amount": 1}
BODY = json.dumps(ROW).encode()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[InboxDaemon]:
    """A daemon without any database, started."""
    with InboxDaemon(tmp_path, allowed_origins=["shop.example"]) as made:
        yield made.start()


def test_a_signed_message_is_acknowledged_once_it_is_journalled(daemon: InboxDaemon) -> None:
    assert daemon.send(ROW, of="msg_1") == 202
    assert daemon.changes("articles") == [("created", 1)]
    assert daemon.send(ROW, of="msg_1") == 200
    assert daemon.send(ROW | {"id": 2}, of="msg_2") == 202
    reckon_inbox(daemon, "articles", 1, 2)


def test_ids_are_remembered_over_a_restart_and_a_reload(daemon: InboxDaemon) -> None:
    assert daemon.send(ROW, of="msg_1") == 202
    daemon.stop()
    daemon.start()
    assert daemon.send(ROW, of="msg_1") == 200
    daemon.document["systems"]["shop"]["webhook"]["remember_hours"] = 48
    daemon.write()
    daemon.ask("reload")
    wait_for(lambda: daemon.logged("daemon.reloaded"), why=daemon.log_tail)
    wait_for(lambda: daemon.send(ROW, of="msg_1") == 200, why=daemon.log_tail)
    assert daemon.send(ROW | {"id": 2}, of="msg_2") == 202
    reckon_inbox(daemon, "articles", 1, 2)


def test_ids_are_forgotten_when_their_time_is_over(tmp_path: Path) -> None:
    with InboxDaemon(tmp_path, remember_hours=0.0001) as daemon:
        daemon.start()
        assert daemon.send(ROW, of="msg_1") == 202
        wait_for(lambda: daemon.send(ROW, of="msg_1") == 202, why=daemon.log_tail)


def test_copies_sent_at_once_become_one_event(daemon: InboxDaemon) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: daemon.send(ROW | {"id": number // 8}, of=f"m{number // 8}"), range(64)))
    assert sorted(answers) == [200] * 56 + [202] * 8
    reckon_inbox(daemon, "articles", *range(8))


@pytest.mark.parametrize("flaw", ["none", "other key", "other body", "old", "early", "other id"])
def test_what_is_not_signed_as_it_must_be_is_refused_without_saying_why(daemon: InboxDaemon, flaw: str) -> None:
    headers = signed(BODY, of="msg_1")
    if flaw == "none":
        headers = {"content-type": "application/json"}
    elif flaw == "other key":
        headers = signed(BODY, of="msg_1", secret="whsec_" + base64.b64encode(b"x" * 32).decode())
    elif flaw == "other id":
        headers["webhook-id"] = "msg_2"
    elif flaw in ("old", "early"):
        minutes = timedelta(minutes=-10 if flaw == "old" else 10)
        headers = signed(BODY, of="msg_1", at=datetime.now(UTC) + minutes)
    status, answered, problem = daemon.post(BODY + b" " if flaw == "other body" else BODY, headers)
    assert status == 401
    assert answered["content-type"] == "application/problem+json"
    assert json.loads(problem)["detail"] == "The message is not signed as it must be."
    assert daemon.changes("articles") == []
    wait_for(lambda: daemon.logged("inbox.refused"), why=daemon.log_tail)


def test_a_rotated_secret_is_taken_with_the_one_before(tmp_path: Path) -> None:
    other = "whsec_" + base64.b64encode(b"y" * 32).decode()
    with InboxDaemon(tmp_path, standard={"secrets": ["${file:new}", "${env:HOOK_SECRET}"]}) as daemon:
        (tmp_path / "new").write_text(other)
        daemon.start()
        assert daemon.post(BODY, signed(BODY, of="a"))[0] == 202
        assert daemon.post(BODY, signed(BODY, of="b", secret=other))[0] == 202
        (tmp_path / "new").write_text("whsec_" + base64.b64encode(b"z" * 32).decode())
        assert daemon.post(BODY, signed(BODY, of="c", secret=other))[0] == 401


def test_github_and_stripe_sign_in_their_own_ways(tmp_path: Path) -> None:
    (tmp_path / "github").mkdir()
    (tmp_path / "stripe").mkdir()
    with InboxDaemon(tmp_path / "github", github={"secrets": ["${env:HOOK_SECRET}"]}) as daemon:
        daemon.start()
        signature = "sha256=" + hmac.digest(daemon.environment["HOOK_SECRET"].encode(), BODY, hashlib.sha256).hex()
        headers = {"x-hub-signature-256": signature, "x-github-delivery": "d-1", "content-type": "application/json"}
        assert [daemon.post(BODY, headers)[0] for _ in range(2)] == [202, 200]
        assert daemon.post(BODY, headers | {"x-hub-signature-256": "sha256=" + "0" * 64})[0] == 401
    with InboxDaemon(tmp_path / "stripe", stripe={"secrets": ["${env:HOOK_SECRET}"]}) as daemon:
        daemon.write_contract("articles")
        daemon.start()
        body = json.dumps({"id": "7", "amount": 1}).encode()
        at = int(time.time())
        digest = hmac.digest(daemon.environment["HOOK_SECRET"].encode(), b"%d.%b" % (at, body), hashlib.sha256).hex()
        assert [daemon.post(body, {"stripe-signature": f"t={at},v1={digest}"})[0] for _ in range(2)] == [202, 200]


def test_a_login_is_asked_for_where_nothing_is_signed(tmp_path: Path) -> None:
    with InboxDaemon(tmp_path, basic={"user": "shop", "password": "${env:HOOK_SECRET}"}) as daemon:
        daemon.start()
        login = base64.b64encode(f"shop:{daemon.environment['HOOK_SECRET']}".encode()).decode()
        assert daemon.post(BODY, {"authorization": f"Basic {login}", "idempotency-key": "a"})[0] == 202
        assert daemon.post(BODY, {"authorization": f"Basic {login}", "idempotency-key": "a"})[0] == 200
        status, headers, _ = daemon.post(BODY, {"authorization": "Basic c2hvcDp4"})
        assert status == 401
        assert headers["www-authenticate"].startswith("Basic")
        assert daemon.post(BODY, {})[0] == 401


def test_what_cannot_be_read_is_acknowledged_and_kept_whole(daemon: InboxDaemon) -> None:
    bodies = [b"", b"no json", b'{"id": 1, "id": 2}', b"[" * 100_000, b'{"id": 5, "amount": 1.5}']
    for number, body in enumerate(bodies):
        assert daemon.post(body, signed(body, of=f"m{number}"))[0] == 202
    wait_for(lambda: sum(daemon.letter_keys("articles").values()) == len(bodies), why=daemon.log_tail)
    assert daemon.send(ROW, of="good") == 202
    shown = json.loads(daemon.ask("dead", "show", "2", "--json"))
    assert shown["raw"] == {
        "id": "(unreadable)",
        "name": "(unreadable)",
        "amount": "(unreadable)",
        "$headers": None,
        "$message": "no json",
    }


def test_cloudevents_are_taken_in_every_mode(daemon: InboxDaemon) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "shop.article.created", "data": ROW}
    structured = json.dumps(event).encode()
    assert daemon.post(structured, signed(structured, of="a") | {"content-type": STRUCTURED})[0] == 202
    assert daemon.post(structured, signed(structured, of="b") | {"content-type": STRUCTURED})[0] == 200, "same event"
    batch = json.dumps([event, event | {"id": "2", "type": "shop.article.updated.v1"}]).encode()
    assert daemon.post(batch, signed(batch, of="c") | {"content-type": BATCH})[0] == 202
    binary = {"ce-specversion": "1.0", "ce-id": "3", "ce-source": "/shop", "ce-type": "shop.article.deleted"}
    assert daemon.post(BODY, signed(BODY, of="d") | binary)[0] == 202
    assert daemon.changes("articles") == [("created", 1), ("updated", 1), ("deleted", 1)]


def test_a_cloudevents_sender_learns_whether_it_may_send(daemon: InboxDaemon) -> None:
    def asked(origin: str) -> tuple[int, str | None]:
        status, headers, _ = daemon.post(b"", {"webhook-request-origin": origin}, method="OPTIONS")
        return status, headers.get("webhook-allowed-origin")

    assert asked("shop.example") == (200, "shop.example")
    assert asked("other.example") == (403, None)


def test_a_request_that_no_honest_sender_makes_is_refused_in_bounds(daemon: InboxDaemon) -> None:
    process = psutil.Process(daemon.process.pid)
    before = process.memory_info().rss
    bomb = gzip.compress(b"0" * 20_000_000)
    assert daemon.post(bomb, {"content-encoding": "gzip"})[0] == 415
    assert daemon.post(b"x" * 1_000_001, {})[0] == 413
    assert daemon.post(BODY, {"x-long": "a" * 40_000})[0] in (400, 431)
    assert daemon.post(BODY, signed(BODY, of="a"), path="shop/other")[0] == 404
    assert daemon.post(BODY, signed(BODY, of="a"), path="nowhere/articles")[0] == 404
    assert daemon.post(BODY, {}, method="GET")[0] == 405
    with socket.create_connection(("127.0.0.1", daemon.port)) as chunked:
        chunked.sendall(b"POST /v1/inbox/shop/articles HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        try:
            for _ in range(200):
                chunked.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        except OSError:
            pass
    assert process.memory_info().rss - before < 50_000_000
    assert daemon.send(ROW, of="after") == 202


def test_a_contract_that_reads_more_is_taken_over_without_parking_rows(daemon: InboxDaemon) -> None:
    assert daemon.send(ROW, of="1") == 202
    more = "      - {name: colour, description: Its colour., logicalType: string}\n"
    daemon.write_contract("articles", version="1.1.0", more=more)
    daemon.ask("reload")
    wait_for(lambda: daemon.logged("daemon.reloaded"), why=daemon.log_tail)
    wait_for(lambda: daemon.send(ROW | {"id": 2, "colour": "red"}, of="2") in (200, 202), why=daemon.log_tail)
    with daemon.journal() as journal:
        assert journal.parked_counts() == {}
        assert [block.batch.schema.names[-1] for block in journal.read("articles")][-1] == "colour"


def test_a_dead_letter_is_replayed_under_a_contract_that_reads_it_otherwise(daemon: InboxDaemon) -> None:
    assert daemon.send(ROW | {"pieces": 3, "amount": "three"}, of="1") == 202
    wait_for(lambda: daemon.letter_keys("articles"), why=daemon.log_tail)
    path = daemon.folder / "articles.odcs.yaml"
    mended = path.read_text().replace("name: amount,", "name: amount, physicalName: pieces,")
    path.write_text(mended.replace("version: 1.0.0", "version: 1.0.1"))
    daemon.ask("reload")
    wait_for(lambda: daemon.logged("daemon.reloaded"), why=daemon.log_tail)
    daemon.ask("dead", "replay", "1")
    assert daemon.events("articles")["amount"].to_list() == [3]


def test_commands_have_clear_words_for_such_a_system(daemon: InboxDaemon) -> None:
    assert daemon.send(ROW, of="1") == 202
    assert "articles" in daemon.ask("status")
    assert daemon.cli("doctor").returncode == 0
    assert daemon.cli("check", "--online").returncode == 0
    for arguments in (["dba-script", "shop"], ["decommission", "shop", "--dry-run"]):
        refused = daemon.cli(*arguments)
        assert refused.returncode != 0
        assert "is no PostgreSQL server" in refused.stderr
    reread = daemon.cli("snapshot", "articles")
    assert reread.returncode != 0
    assert "cannot be read again" in reread.stdout + reread.stderr


def test_the_trace_of_a_request_comes_out_on_its_event_and_in_the_access_log(daemon: InboxDaemon) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = signed(BODY, of="msg_1") | {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    assert daemon.post(BODY, headers)[0] == 202
    shown = daemon.cli("events", "articles", "--json")
    assert shown.returncode == 0, shown.stderr
    assert [json.loads(line)["traceparent"] for line in shown.stdout.splitlines()] == [headers["traceparent"]]
    (line,) = wait_for(
        lambda: [line for line in daemon.logged("http.answered") if line["method"] == "POST"], why=daemon.log_tail
    )
    assert (line["route"], line["status"], line["trace_id"]) == ("/v1/inbox/{system}/{path}", 202, trace)
