"""S6, S8, S10, S13: requests that no honest client makes, and data that would be a log line, at a running daemon.

Whatever comes is answered 4xx or cut off; meanwhile other requests are answered, and memory stays where it was.
"""

import contextlib
import gzip
import http.client
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from tests.daemon import wait_for
from tests.inbox import InboxDaemon, signed
from tests.receivers import OK, Receiver, raw
from tests.recovery.test_daemon_kills import times

CANARY = "canary-of-a-file-nearby"
HOST = "Host: a\r\nAuthorization: Bearer {key}\r\n"
CURSOR = "/v1/streams/articles/cursors/mine"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[InboxDaemon]:
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.yaml").write_text(CANARY)
    with InboxDaemon(tmp_path / "data") as made:
        made.document["principals"] = {"shop": {"acts": ["read", "mend", "operate", "administer"]}}
        made.write()
        yield made.start()


@pytest.fixture
def key(daemon: InboxDaemon) -> str:
    return str(json.loads(daemon.ask("key", "create", "shop", "--json"))["key"])


def exchange(daemon: InboxDaemon, text: bytes) -> bytes:
    """What comes back for these bytes until the other side closes; a reset ends it too."""
    found = b""
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=30) as connection, contextlib.suppress(OSError):
        connection.sendall(text)
        while part := connection.recv(65_536):
            found += part
    return found


def statuses(answer: bytes) -> list[int]:
    """The status of every answer on a connection."""
    return [int(each.split(b" ", 1)[0]) for each in answer.split(b"HTTP/1.1 ")[1:]]


class Honest:
    """A client that asks one question after the other, in a thread; every answer must be 200."""

    def __init__(self, daemon: InboxDaemon, key: str) -> None:
        self.answers: Counter[int] = Counter()
        self._daemon, self._key = daemon, key
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        wait_for(lambda: self.answers)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._daemon.port, timeout=30)
        with contextlib.closing(connection):
            while not self._stop.is_set():
                connection.request("GET", "/livez")
                answer = connection.getresponse()
                answer.read()
                self.answers[answer.status] += 1


# -- S6

UPWARDS = (
    "../secret.yaml", "..%2fsecret.yaml", "%2e%2e/secret.yaml", "%2e%2e%2fsecret.yaml", "..%5csecret.yaml",
    "%252e%252e%252fsecret.yaml", "....//secret.yaml", "/etc/passwd", "%2fetc%2fpasswd", "articles%00",
    "..%c0%afsecret.yaml", "articles/../../secret.yaml", "articles%2f..%2f..%2fsecret.yaml", "data/journal.db",
    "file:///etc/passwd", "~root", ".", "..", "%00", "a%0d%0aX-Set: 1", "*", "con", "\\\\host\\share",
)  # fmt: skip
PLACES = (
    "/v1/streams/{}", "/v1/streams/{}/events", "/v1/streams/articles/events/{}", "/v1/streams/articles/cursors/{}",
    "/v1/streams/articles/events?cursor={}", "/v1/streams/{}/cursors/a", "/v1/sinks/{}", "/v1/sources/{}",
    "/v1/dead/{}", "/v1/runs/{}", "/problems/{}", "/v1/alarms/{}", "/v1/inbox/shop/{}", "/v1/inbox/{}/articles", "/{}",
)  # fmt: skip


def test_no_path_leads_to_a_file(daemon: InboxDaemon, key: str) -> None:
    """S6: names of streams, cursors, sinks, letters, problems and inboxes, read and written, raw on the wire."""
    before = files(daemon)
    answers: dict[str, bytes] = {}
    for place in PLACES:
        for name in UPWARDS:
            target = place.format(name).replace(" ", "%20")
            for method in ("GET", "PUT", "POST", "DELETE"):
                head = f"{method} {target} HTTP/1.1\r\nConnection: close\r\n{HOST.format(key=key)}"
                body = b'{"after": 0}' if method in {"PUT", "POST"} else b""
                head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                answers[f"{method} {target}"] = exchange(daemon, head.encode() + body)
    found = {request: statuses(answer)[:1] for request, answer in answers.items()}
    assert {request: status for request, status in found.items() if not 400 <= (status or [0])[0] < 500} == {}
    assert [request for request, answer in answers.items() if CANARY.encode() in answer or b"root:" in answer] == []
    assert files(daemon) == before


def files(daemon: InboxDaemon) -> set[str]:
    """Every file in and beside the daemon's folder, but for what a database makes of itself."""
    return {str(path) for path in daemon.folder.parent.rglob("*") if path.suffix not in {".db-wal", ".db-shm"}}


# -- S8


def request(line: str, key: str, headers: str = "", body: bytes = b"") -> bytes:
    """A request that asks for the connection's end, unless something follows it."""
    close = "" if b"HTTP/1.1" in body else "Connection: close\r\n"
    return f"{line} HTTP/1.1\r\n{HOST.format(key=key)}{close}{headers}\r\n".encode() + body


def hostile(key: str) -> dict[str, bytes]:
    """Requests by what is wrong with them."""
    smuggled = request("GET /v1/streams", key)
    as_json = "Content-Type: application/json\r\n"
    deep = b'{"after": ' + b"[" * 400_000 + b"]" * 400_000 + b"}"
    bomb = gzip.compress(b'{"after": ' + b" " * 50_000_000 + b"1}")
    chunked = "Transfer-Encoding: chunked\r\n"
    return {
        "deep JSON": request(f"PUT {CURSOR}", key, f"{as_json}Content-Length: {len(deep)}\r\n", deep),
        "deep JSON to the inbox": request(
            "POST /v1/inbox/shop/articles", key, f"{as_json}Content-Length: {len(deep)}\r\n", deep
        ),
        "a gzip bomb": request(
            f"PUT {CURSOR}", key, f"{as_json}Content-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n", bomb
        ),
        "a length and chunks": request(
            f"PUT {CURSOR}", key, f"{as_json}Content-Length: 4\r\n{chunked}", b"0\r\n\r\n" + smuggled
        ),
        "chunks and a length": request(
            f"PUT {CURSOR}", key, f"{as_json}{chunked}Content-Length: {5 + len(smuggled)}\r\n", b"0\r\n\r\n" + smuggled
        ),
        "two lengths": request(f"PUT {CURSOR}", key, f"{as_json}Content-Length: 0\r\nContent-Length: 12\r\n", smuggled),
        "a signed length": request(f"PUT {CURSOR}", key, f"{as_json}Content-Length: +12\r\n", b'{"after": 0}'),
        "a coding nobody knows": request(
            f"PUT {CURSOR}", key, f"{as_json}Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n" + smuggled
        ),
        "a coding in disguise": request(
            f"PUT {CURSOR}", key, f"{as_json}Transfer-Encoding : chunked\r\n", b"0\r\n\r\n" + smuggled
        ),
        "a chunk of no size": request(f"PUT {CURSOR}", key, f"{as_json}{chunked}", b"zz\r\nabc\r\n0\r\n\r\n"),
        "a chunk of endless size": request(f"PUT {CURSOR}", key, f"{as_json}{chunked}", b"f" * 40 + b"\r\nabc"),
        "a chunk with a long word": request(
            f"PUT {CURSOR}", key, f"{as_json}{chunked}", b"1;" + b"a" * 200_000 + b"\r\n"
        ),
        "a huge header": request("GET /v1/streams", key, f"X: {'y' * 60_000}\r\n"),
        "many headers": request("GET /v1/streams", key, "".join(f"X{n}: y\r\n" for n in range(4_000))),
        "a header with a NUL": request("GET /v1/streams", key, "X: a\0b\r\n"),
        "a long path": request(f"GET /v1/streams/{'a' * 60_000}", key),
        "no host": b"GET /v1/streams HTTP/1.1\r\n\r\n",
        "two hosts": request("GET /v1/streams", key, "Host: b\r\n"),
        "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    }


def test_hostile_requests_are_refused_while_others_are_answered(daemon: InboxDaemon, key: str) -> None:
    """S8: one answer a connection at most, and never a second one for what was smuggled in."""
    process = psutil.Process(daemon.process.pid)
    wait_for(lambda: statuses(exchange(daemon, request("GET /v1/streams", key))) == [200])
    before = process.memory_info().rss
    with Honest(daemon, key) as honest:
        found = {name: statuses(exchange(daemon, text)) for name, text in hostile(key).items()}
        answered = sum(honest.answers.values())
        wait_for(lambda: sum(honest.answers.values()) > answered)
    assert {name: seen for name, seen in found.items() if len(seen) > 1 or not all(400 <= n < 500 for n in seen)} == {}
    assert set(honest.answers) == {200}
    assert process.memory_info().rss - before < 50_000_000


# -- S10


def knock(daemon: InboxDaemon, texts: Sequence[str]) -> Counter[int]:
    """The statuses of one request a key, on one connection."""
    found: Counter[int] = Counter()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)) as connection:
        for text in texts:
            connection.request("GET", "/v1/streams", headers={"Authorization": f"Bearer {text}"})
            answer = connection.getresponse()
            answer.read()
            found[answer.status] += 1
    return found


def flood(daemon: InboxDaemon, key: str, count: int) -> None:
    """Wrong keys by four clients, and the good one all the while, from one address."""
    found: list[Counter[int]] = []
    wrong = [f"{key[:13]}{n:043d}" for n in range(count)]
    clients = [threading.Thread(target=lambda part=wrong[n::4]: found.append(knock(daemon, part))) for n in range(4)]
    for client in clients:
        client.start()
    good = Counter[int]()
    while any(client.is_alive() for client in clients):
        good += knock(daemon, [key])
    for client in clients:
        client.join()
    seen = sum(found, Counter[int]())
    assert set(good) == {200}
    assert set(seen) == {401, 429}
    assert seen[401] <= 120, "a minute's attempts, and those of the next if one began"
    assert sum(seen.values()) == count


def test_a_flood_of_wrong_keys_is_limited_and_the_good_one_answered(daemon: InboxDaemon, key: str) -> None:
    flood(daemon, key, 1_000)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_many_thousand_wrong_keys_are_limited_and_the_good_one_answered(daemon: InboxDaemon, key: str) -> None:
    flood(daemon, key, times(100_000))


# -- S13

EVIL = 'x\r\n{"event": "forged"}\n\x1b[2J\x1b]0;owned\x07\u2028\u202e'


def test_no_key_name_or_answer_can_forge_a_line(tmp_path: Path) -> None:
    """S13: from the sender's key through the log, the delivery log, dead letters and the receiver's headers."""
    with Receiver(raw_answers()) as receiver, InboxDaemon(tmp_path) as daemon:
        text = (tmp_path / "articles.odcs.yaml").read_text()
        text = text.replace("logicalType: integer, primaryKey", "logicalType: string, primaryKey")
        (tmp_path / "articles.odcs.yaml").write_text(text)
        webhook = {"url": receiver.url, "secrets": ["${env:HOOK_SECRET}"], "allow_networks": ["127.0.0.0/8"]}
        daemon.document["sinks"] = {
            "crm": {"webhook": {**webhook, "format": "binary"}, "retry": {"refused_attempts": 1}}
        }
        daemon.write()
        daemon.start()
        body = json.dumps({"id": EVIL, "name": EVIL, "amount": 1}).encode()
        headers = signed(body, of="evil") | {"user-agent": "\x1b[2J", "traceparent": "\x1b[2J"}
        assert daemon.post(body, headers)[0] == 202
        bad = json.dumps({"id": EVIL, "name": EVIL, "amount": "\x1b[2J"}).encode()
        assert daemon.post(bad, signed(bad, of="bad"))[0] == 202
        assert daemon.post(b"{}", {}, path="shop/%1b%5b2J%0d%0a")[0] == 404
        wait_for(lambda: json.loads(daemon.ask("sink", "show", "crm", "--json"))["dead_letters"], why=daemon.log_tail)
        shown = [daemon.ask(*words) for words in SHOWING]
        lines = (tmp_path / "daemon.log").read_text().split("\n")
        assert [line for line in lines if line and not line.startswith('{"timestamp"')] == []
        assert not daemon.logged("forged")
        for seen in (*lines, *(line for each in shown for line in each.split("\n"))):
            assert seen.isprintable() or not seen, seen
        (sent,) = receiver.received
        assert all(value.isascii() and value.isprintable() for value in sent.headers.values())
        assert "%0D%0A" in sent.headers["ce-subject"]


SHOWING = (
    ("dead", "list", "--all"),
    ("dead", "show", "1"),
    ("dead", "show", "d1"),
    ("sink", "show", "crm"),
    ("status",),
    ("events", "articles"),
)


def raw_answers() -> list[Any]:
    """A receiver that refuses in colours."""
    return [
        raw(b"HTTP/1.1 422 \xe2\x80\xaeNo\x9b2J\r\ncontent-length: 9\r\nx-why: \xe2\x80\xa8\r\n\r\n\x1b[2J\r\nno!"),
        OK,
    ]
