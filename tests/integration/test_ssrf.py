"""FAULTS S1: no form of a private address makes the bridge connect to it, counted by a listener on every address."""

import asyncio
import errno
import socket
from asyncio.selector_events import BaseSelectorEventLoop
from collections import Counter
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bridge.client import Client, Target
from bridge.errors import BridgeError, ConfigError, SinkUnavailable
from tests import receivers
from tests.receivers import Receiver

FORMS = Path(__file__).parents[1] / "ssrf_forms.txt"
NAMES = {
    "localhost": "127.0.0.1",
    "ip6-localhost": "::1",
    "127.0.0.1.nip.example": "127.0.0.1",
    "loopback.example": "127.0.0.1",
    "mapped.example": "::ffff:127.0.0.1",
    "metadata.example": "169.254.169.254",
    "cgnat.example": "100.64.0.1",
    "xn--bcher-kva.example": "127.0.0.1",
    "crm.example": "127.0.0.1",
}


PLAIN = (
    "127.0.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "240.0.0.1",
)


def spellings(text: str) -> Iterator[str]:
    """One IPv4 address in the ways that resolvers understand."""
    address = IPv4Address(text)
    number, (a, b, c, d) = int(address), address.packed
    yield from (str(number), hex(number), f"0{number:o}", f"{a}.{number & 0xFFFFFF}", f"{a}.{b}.{number & 0xFFFF}")
    yield from (f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a:#x}.0{b:o}.{number & 0xFFFF}")
    yield from (f"[{prefix}{address}]" for prefix in ("::ffff:", "::", "64:ff9b::", "64:ff9b:1::"))
    yield from (f"[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]", f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::1]")


def forms(port: int) -> list[str]:
    written = [line for line in FORMS.read_text().splitlines() if line and not line.startswith("#")]
    whole = [form.replace("{at}", "127.0.0.1:{port}").replace("{port}", str(port)) for form in written if _is_url(form)]
    hosts = [form for form in written if not _is_url(form)] + [form for text in PLAIN for form in spellings(text)]
    return whole + [f"{scheme}://{host}:{port}/x" for host in dict.fromkeys(hosts) for scheme in ("http", "https")]


def _is_url(form: str) -> bool:
    return "/" in form or "{" in form or form.startswith(("http:", "data:", "javascript:"))


async def resolve(host: str, port: int) -> Sequence[str]:
    """Numbers as the system reads them; names as an enemy's name server would answer."""
    name = host.lower().rstrip(".")
    if name == "both.example":
        return ["93.184.216.34", "127.0.0.1"]
    if name in NAMES:
        return [NAMES[name]]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [str(address[0]) for *_, address in found]


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Addresses that a connection was tried to, the network being cut off behind the guard but for this machine."""
    tried: Counter[str] = Counter()
    connect = BaseSelectorEventLoop.sock_connect

    async def counted(self: BaseSelectorEventLoop, sock: socket.socket, address: tuple[str, int]) -> None:
        tried[address[0]] += 1
        if not address[0].startswith(("127.", "::1")):
            raise OSError(errno.ENETUNREACH, "cut off")
        await connect(self, sock, address)

    monkeypatch.setattr(BaseSelectorEventLoop, "sock_connect", counted)
    return tried


async def outcome(client: Client, url: str) -> str:
    try:
        await client.ask("POST", Target.parse(url), deadline_s=5)
    except ConfigError:
        return "refused"
    except BridgeError as error:
        return "blocked" if "is blocked" in error.detail else "unreachable"
    return "reached"


def test_none_of_200_forms_and_more_makes_a_connection(attempts: Counter[str]) -> None:
    async def run(port: int) -> Counter[str]:
        client = Client(SinkUnavailable, lookup=resolve)
        found = Counter([await outcome(client, url) for url in forms(port)])
        await client.close()
        return found

    with Receiver(host="::") as listener:  # every address of this machine, IPv4 too
        found = asyncio.run(run(listener.port))
        assert listener.connections == 0
    assert attempts == {}
    assert found["reached"] == 0
    assert found.total() >= 400
    assert found["blocked"] >= 300, "the guard itself must have seen most of them"


def test_the_listener_would_have_counted(attempts: Counter[str]) -> None:
    async def run(port: int) -> str:
        client = Client(SinkUnavailable, lookup=resolve, allow_networks=["127.0.0.0/8"])
        try:
            return await outcome(client, f"http://0x7f.1:{port}/x")
        finally:
            await client.close()

    with Receiver(host="::") as listener:
        assert asyncio.run(run(listener.port)) == "reached"
        assert listener.connections == 1
    assert attempts == {"127.0.0.1": 1}


def test_a_name_that_turns_private_between_two_answers_is_pinned_and_then_blocked(attempts: Counter[str]) -> None:
    answers = iter(["127.0.0.1", "127.9.9.9"])

    async def rebinding(_host: str, _port: int) -> Sequence[str]:
        return [next(answers)]

    async def run(port: int) -> list[str]:
        client = Client(SinkUnavailable, lookup=rebinding, allow_networks=["127.0.0.1"])  # stands for a public address
        url = f"http://rebind.example:{port}/x"
        found = [await outcome(client, url) for _ in range(2)]
        await client.close()
        return found

    with Receiver([receivers.reply(200, headers={"connection": "close"})]) as listener:
        assert asyncio.run(run(listener.port)) == ["reached", "blocked"]
        assert listener.connections == 1
    assert attempts == {"127.0.0.1": 1}, "looked up once a connection, and connected to what was checked"
