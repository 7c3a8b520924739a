"""The HTTP client against servers that misbehave: bounded in time and bytes, no redirects, checked addresses only."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import h11
import pytest

from bridge.client import Answer, Client, Target
from bridge.connection import connect
from bridge.errors import BridgeError, ConfigError, InternalError, SinkUnavailable
from tests import receivers
from tests.certificates import issue, make_authority
from tests.receivers import Receiver

LOCAL = ("127.0.0.0/8", "::1")


def ask(url: str, *, deadline_s: float = 5.0, answer_limit: int = 0, **settings: object) -> Answer:
    async def run() -> Answer:
        client = Client(SinkUnavailable, **{"allow_networks": LOCAL, **settings})  # type: ignore[arg-type] # of Client
        try:
            target = Target.parse(url)
            return await client.ask("POST", target, deadline_s=deadline_s, body=b"{}", answer_limit=answer_limit)
        finally:
            await client.close()

    return asyncio.run(run())


def refusal(url: str, **settings: object) -> BridgeError:
    with pytest.raises(SinkUnavailable) as caught:
        ask(url, **settings)  # type: ignore[arg-type] # of ask
    return caught.value


def test_an_answer_comes_with_status_headers_and_the_body_that_was_asked_for() -> None:
    with Receiver([receivers.reply(202, headers={"X-One": "1"}, body=b"hello")]) as server:
        answer = ask(server.url, answer_limit=5)
        assert (answer.status, answer.headers["x-one"], answer.body) == (202, "1", b"hello")
        assert server.received[0].body == b"{}"
        assert server.received[0].headers["host"] == f"127.0.0.1:{server.port}"


def test_of_several_headers_alike_the_first_counts_but_every_link() -> None:
    headers = b"x-a: 1\r\nx-a: 2\r\nlink: <a>; rel=prev\r\nLink: <b>; rel=next\r\n"
    text = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" + headers + b"\r\n"
    with Receiver([receivers.raw(text)]) as server:
        answer = ask(server.url)
    assert (answer.headers["x-a"], answer.headers["link"]) == ("1", "<a>; rel=prev, <b>; rel=next")


def test_a_longer_answer_than_wanted_is_a_failure_where_it_is_wanted_and_not_read_where_it_is_not() -> None:
    with Receiver([receivers.endless]) as server:
        assert "longer than allowed" in refusal(server.url, answer_limit=100_000).detail
        assert ask(server.url).status == 200


def test_a_compressed_answer_is_never_expanded() -> None:
    with Receiver([receivers.bomb()]) as server:
        body = ask(server.url, answer_limit=100_000).body
        assert body.startswith(b"\x1f\x8b")
        assert len(body) < 100_000


@pytest.mark.parametrize("act", [receivers.silence, receivers.SLOW_HEADERS])
def test_one_deadline_holds_for_the_whole_request(act: receivers.Act) -> None:
    with Receiver([act]) as server:
        assert "no answer within 0.3 s" in refusal(server.url, deadline_s=0.3).detail


def test_a_slow_body_counts_only_where_it_is_wanted() -> None:
    with Receiver([receivers.SLOW_BODY]) as server:
        assert "no answer within 0.3 s" in refusal(server.url, deadline_s=0.3, answer_limit=2_000_000).detail
        assert ask(server.url, deadline_s=3).status == 200  # its head has to come in this time, on a busy machine too


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (receivers.drop, "not HTTP"),
        (receivers.reset, "reset"),
        (receivers.raw(b"SSH-2.0-secret banner\r\n\r\n"), "not HTTP"),
        (receivers.raw(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000), "not HTTP"),
    ],
)
def test_a_broken_answer_is_a_failure_that_quotes_nothing_of_it(act: receivers.Act, words: str) -> None:
    with Receiver([act]) as server:
        error = refusal(server.url)
        assert words in error.detail
        assert "banner" not in f"{error.detail} {error.hint}"


def test_a_port_where_nobody_listens_is_named_as_such() -> None:
    with socket.socket() as idle:
        idle.bind(("127.0.0.1", 0))
        assert "refused" in refusal(f"http://127.0.0.1:{idle.getsockname()[1]}/").detail


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(status: int) -> None:
    with Receiver() as secret, Receiver([receivers.redirect(status, secret.url)]) as server:
        assert ask(server.url).status == status
        assert secret.connections == 0


def test_connections_are_reused_and_bounded() -> None:
    async def run(server: Receiver) -> None:
        client = Client(SinkUnavailable, allow_networks=LOCAL, connections=3)
        target = Target.parse(server.url)
        await asyncio.gather(*(client.ask("POST", target, deadline_s=10) for _ in range(60)))
        await client.close()
        await client.close()

    with Receiver() as server:
        asyncio.run(run(server))
        assert len(server.received) == 60
        assert server.connections <= 3


def ask_in_turn(
    *servers: Receiver, connections: int = 8, between: Callable[[], object] = lambda: None
) -> list[int | str]:
    """One request to each of these, over one client, with something done before the second: statuses, or why not."""

    async def run() -> list[int | str]:
        client, found = Client(SinkUnavailable, allow_networks=LOCAL, connections=connections), list[int | str]()
        for turn, server in enumerate(servers):
            if turn == 1:
                between()
            try:
                found.append((await client.ask("POST", Target.parse(server.url), deadline_s=5, body=b"{}")).status)
            except SinkUnavailable as error:
                found.append(error.detail)
        await client.close()
        return found

    return asyncio.run(run())


def test_a_connection_that_the_server_closed_while_it_was_idle_is_not_used_again() -> None:
    server = Receiver()

    def restart() -> None:  # holds the event loop up meanwhile: it has not seen that the connection is gone
        server.stop()
        server.__enter__()

    with server:
        assert ask_in_turn(server, server, between=restart) == [200, 200]
        assert server.connections == 2


def test_what_a_server_says_unasked_is_not_taken_for_the_next_answer() -> None:
    two = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" + b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
    with Receiver([receivers.raw(two), receivers.reply(202)]) as server:
        assert ask_in_turn(server, server) == [200, 202]
        assert server.connections == 2


def test_a_request_whose_connection_breaks_is_not_sent_again() -> None:
    with Receiver([receivers.OK, receivers.drop, receivers.OK]) as server:
        assert ask_in_turn(server, server, server) == [200, "the answer is not HTTP", 200]
        assert (len(server.received), server.connections) == (3, 2)


def test_an_idle_connection_makes_room_for_another_server() -> None:
    with Receiver() as one, Receiver() as other:
        assert ask_in_turn(one, other, one, connections=1) == [200, 200, 200]
        assert (one.connections, other.connections) == (2, 1)


def test_a_connection_that_was_idle_for_too_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait() -> None:
        monkeypatch.setattr("bridge.client._KEEP_ALIVE_S", -1.0)

    with Receiver() as server:
        assert ask_in_turn(server, server, between=wait) == [200, 200]
        assert server.connections == 2


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n", b"until the end"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", b"hello"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n", b"abc" * 1_000_000),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            b"2dc6c0\r\n" + b"abc" * 1_000_000 + b"\r\n0\r\n\r\n",
        ),
    ],
)
def test_an_answer_is_read_to_its_end_however_it_says_where_that_is(head: bytes, body: bytes) -> None:
    async def act(writer: asyncio.StreamWriter) -> None:
        await receivers.raw(head + body)(writer)
        await receivers.drop(writer)

    with Receiver([act]) as server:
        found = ask(server.url, answer_limit=3_000_000)
        assert found.status == 200
        assert found.body == (body if len(body) <= 3_000_000 else b"abc" * 1_000_000)


def test_what_nobody_has_asked_for_yet_is_left_with_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(port: int) -> None:
        connection = await connect(["127.0.0.1"], port, tls=None, name="")
        transport, is_held = connection._transport, asyncio.Event()
        assert transport is not None
        hold = transport.pause_reading

        def hold_back() -> None:
            hold()
            is_held.set()

        monkeypatch.setattr(transport, "pause_reading", hold_back)
        await connection.exchange(h11.Request(method="GET", target="/", headers=[("host", "x")]), b"")
        async with asyncio.timeout(5):
            await is_held.wait()
            while not transport.is_reading():
                assert await connection.chunk()
        connection.abort()
        await connection.wait_closed()

    with Receiver([receivers.endless]) as server:
        asyncio.run(run(server.port))


def test_an_answer_that_is_cut_short_is_a_failure_where_it_is_wanted() -> None:
    async def act(writer: asyncio.StreamWriter) -> None:
        await receivers.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")(writer)
        await receivers.drop(writer)

    with Receiver([act]) as server:
        assert "not HTTP" in refusal(server.url, answer_limit=100).detail
        assert ask(server.url).status == 200


def test_a_cancelled_request_leaves_the_client_usable() -> None:
    async def run(server: Receiver) -> int:
        client = Client(SinkUnavailable, allow_networks=LOCAL, connections=1)
        target = Target.parse(server.url)
        waiting = asyncio.create_task(client.ask("POST", target, deadline_s=30))
        await asyncio.to_thread(server.wait_for, 1)
        waiting.cancel()
        await asyncio.wait([waiting])
        answer = await client.ask("POST", target, deadline_s=10)
        await client.close()
        return answer.status

    with Receiver([receivers.silence, receivers.OK]) as server:
        assert asyncio.run(run(server)) == 200


def test_a_proxy_from_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy, Receiver() as server:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert ask(server.url).status == 200
        assert (proxy.connections, server.connections) == (0, 1)


def names(*answers: str) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """A name server that gives one answer after the other; several addresses in one are separated by commas."""
    left = list(answers)

    async def lookup(_host: str, _port: int) -> Sequence[str]:
        return left.pop(0).split(",")

    return lookup


def make_trust(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """A server's side for a name, and the authority to trust."""
    authority = make_authority(folder / "authority")
    issue(authority, folder / "server", name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    return context, authority / "ca.crt"


def test_tls_and_host_keep_the_name_while_the_connection_goes_to_the_checked_address(tmp_path: Path) -> None:
    context, trusted = make_trust(tmp_path, "crm.example")
    with Receiver(tls=context) as server:
        url = f"https://crm.example:{server.port}/hook"
        assert ask(url, lookup=names("127.0.0.1"), ca_file=trusted).status == 200
        assert server.received[0].headers["host"] == f"crm.example:{server.port}"
        other = f"https://other.example:{server.port}/hook"
        assert "ostname mismatch" in refusal(other, lookup=names("127.0.0.1"), ca_file=trusted).detail
        assert "certificate" in refusal(url, lookup=names("127.0.0.1")).detail
        assert len(server.received) == 1


def test_a_name_with_one_dead_address_is_reached_at_the_next() -> None:
    with Receiver() as server:
        url = f"http://crm.example:{server.port}/hook"
        assert ask(url, lookup=names("127.0.0.9,127.0.0.1")).status == 200


def test_one_blocked_address_among_good_ones_blocks_the_name() -> None:
    with Receiver() as server:
        error = refusal(f"http://crm.example:{server.port}/hook", lookup=names("127.0.0.1,10.0.0.1"))
        assert "10.0.0.1 is blocked: private" in error.detail
        assert "allow_networks" in error.hint
        assert server.connections == 0


def test_plain_http_goes_to_allow_listed_networks_only() -> None:
    error = refusal("http://crm.example/hook", lookup=names("93.184.216.34"))
    assert "plain http" in error.detail


def test_a_name_that_is_unknown_is_said_to_be() -> None:
    async def lookup(_host: str, _port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    assert "cannot be resolved" in refusal("https://crm.example/", lookup=lookup).detail


@pytest.mark.parametrize(
    "url",
    ["", "crm.example", "ftp://crm.example/", "file:///etc/passwd", "gopher://127.0.0.1/", "http:///x", "//crm.example",
     "https://user:pw@crm.example/", "https://user@crm.example/", "http+unix://%2Fvar%2Frun/x", "https://[::1/",
     "https://crm.example:99999/", "javascript:alert(1)", "https://crm.example\r\n.evil/"],
)  # fmt: skip
def test_a_url_of_another_kind_is_refused_before_anything_is_resolved(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Target.parse(url)
    assert "pw" not in str(caught.value)


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="allow_networks"):
        Client(SinkUnavailable, allow_networks=["10.1.0.1/16"])


def test_a_name_server_that_hangs_costs_its_own_client_only(monkeypatch: pytest.MonkeyPatch) -> None:
    system, over = socket.getaddrinfo, threading.Event()

    def hanging(host: str, port: int, **rest: int) -> object:
        if host == "dead.example":
            over.wait(30)
        return system(host if host != "dead.example" else "127.0.0.1", port, **rest)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)

    async def run(server: Receiver) -> None:
        dead, good = (Client(SinkUnavailable, allow_networks=LOCAL) for _ in range(2))
        lost = Target.parse(f"http://dead.example:{server.port}/")
        waiting = [asyncio.create_task(dead.ask("POST", lost, deadline_s=1)) for _ in range(40)]
        answer = await good.ask("POST", Target.parse(server.url), deadline_s=10)
        assert answer.status == 200
        for task in waiting:
            with pytest.raises(SinkUnavailable, match="no answer within 1 s"):
                await task
        await dead.close()
        await good.close()

    with Receiver() as server:
        try:
            asyncio.run(run(server))
        finally:
            over.set()


@pytest.mark.parametrize("kind", [h11.LocalProtocolError, h11.RemoteProtocolError, OSError, ssl.SSLError])
def test_every_error_of_connection_and_protocol_is_translated(kind: type[Exception]) -> None:
    client = Client(SinkUnavailable)
    with pytest.raises((SinkUnavailable, InternalError)), client._translated(1.0):
        raise kind("text")
