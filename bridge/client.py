"""The one HTTP client: for webhooks, alarms, keys of identity providers and whatever else asks a server outside.

Promises: a host is resolved once a connection, every address it has is checked (`bridge.addresses`), and the connection
goes to exactly a checked one, while Host and TLS keep the name; plain http goes to allow-listed networks only; a
redirect is an answer like any other and never followed; an answer is bounded in bytes and never decompressed; one
deadline holds for the whole request; proxies, cookies and passwords from URL or environment do not exist here.
A connection is used again only while the server keeps it open: a request is sent once, and whether to send it again is
for the caller to say. Does not retry.
"""

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path

import h11
import httpx2

import bridge
from bridge.addresses import Reach
from bridge.connection import Connection, connect
from bridge.errors import BridgeError, ConfigError, InternalError

USER_AGENT = f"legacy-bridge/{bridge.__version__}"

Headers = Sequence[tuple[bytes, bytes]]
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]  # (host, port) -> addresses, best first

_PORTS = range(1, 65536)
_STANDARD_PORTS = {"http": 80, "https": 443}
_KEEP_ALIVE_S = 4.0  # below the 5 s after which common servers close an idle connection
_ADDRESS_LIMIT = 4  # tried of one name
_REST_S = 1.0  # how long the rest of an unwanted answer may take before its connection is given up
_REST_BYTES = 64 << 10
LONGEST_WAIT_S = 86_400.0  # that a server can ask for


@dataclass(frozen=True, slots=True)
class Origin:
    """A server, as a URL names it."""

    is_tls: bool
    name: str  # in ASCII
    port: int


@dataclass(frozen=True, slots=True)
class Target:
    """A checked URL."""

    origin: Origin
    host: bytes  # what Host says
    path: bytes  # and query

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read a URL. Raises: ConfigError unless it is http or https, with a host and without user or password."""
        try:
            url = httpx2.URL(text)
        except httpx2.InvalidURL as error:
            raise ConfigError("the URL cannot be read", hint=_URL_HINT) from error
        if url.scheme not in _STANDARD_PORTS or not url.host:
            raise ConfigError("the URL is not http:// or https:// with a host", hint=_URL_HINT)
        if url.port is not None and url.port not in _PORTS:
            raise ConfigError("the URL's port is not between 1 and 65535", hint=_URL_HINT)
        if url.userinfo:
            raise ConfigError("the URL holds a user or password", hint=_URL_HINT)
        port = url.port or _STANDARD_PORTS[url.scheme]
        return cls(Origin(url.scheme == "https", url.raw_host.decode("ascii"), port), url.netloc, url.raw_path)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    headers: Mapping[str, str]  # names in lower case; of several alike the first, but every `link`
    body: bytes  # as sent; empty where it was not asked for

    def retry_after_s(self, now: float) -> float | None:
        """How long the server wants to be left alone, at most a day; None where it did not say.

        Args:
            now: seconds since 1970, for a Retry-After that is a date where the answer has none of its own.
        """
        text = self.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit():
            return min(float(text[:9]), LONGEST_WAIT_S)
        until = _moment(text)
        return None if until is None else min(max(until - self.clock(now), 0.0), LONGEST_WAIT_S)

    def clock(self, now: float) -> float:
        """What time the server says it is, in seconds since 1970; `now` where it does not say."""
        said = _moment(self.headers.get("date", ""))
        return now if said is None else said


class Client:
    """Connections to servers outside, kept and reused. Used on one event loop."""

    def __init__(
        self,
        failure: type[BridgeError],
        *,
        allow_networks: Iterable[str] = (),
        connections: int = 8,
        ca_file: Path | None = None,
        lookup: Lookup | None = None,
    ) -> None:
        """Set up; nothing connects yet.

        Args:
            failure: what is raised when a server cannot be reached or does not answer well.
            allow_networks: networks that may be connected to besides public addresses, also by plain http.
            connections: at most; further requests wait, within their deadline.
            ca_file: authorities to trust instead of the system's.
            lookup: how names are resolved; by the system in a thread of this client's own when left out.
        Raises: ConfigError for what is not a network.
        """
        self._failure = failure
        self._connections = connections
        self._ca_file = ca_file
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="lookup")  # a name server that hangs is nobody else's
        try:
            self._reach = Reach(allow_networks)
        except ValueError as error:
            raise ConfigError(f"allow_networks: {error}", hint="Write networks like 10.1.0.0/16.") from error
        self._lookup = lookup or self._ask_system
        self._turns = asyncio.Semaphore(connections)
        self._idle: deque[tuple[Origin, Connection]] = deque()  # the longest idle first
        self._connected: set[Connection] = set()  # idle ones too
        self._under_way = 0  # requests that have their turn

    async def ask(
        self,
        method: str,
        target: Target,
        *,
        deadline_s: float,
        headers: Headers = (),
        body: bytes = b"",
        answer_limit: int = 0,
    ) -> Answer:
        """Send one request and wait for its answer.

        Args:
            method: in capitals.
            target: where to.
            deadline_s: for everything, from the look-up of the name to the last byte of the answer.
            headers: besides host, content-length and user-agent.
            body: as is.
            answer_limit: bytes of the answer's body that are wanted; 0 = none, its status and headers are enough.
        Raises: what `failure` says, also for a longer answer; InternalError for a request that is not HTTP.
        """
        own = [
            (b"host", target.host),
            (b"content-length", b"%d" % len(body)),
            (b"user-agent", USER_AGENT.encode()),
            (b"accept-encoding", b"identity"),
        ]
        with self._translated(deadline_s):
            request = h11.Request(method=method, target=target.path, headers=[*own, *headers])
            async with asyncio.timeout(deadline_s) as deadline, self._connection(target.origin) as connection:
                head = await connection.exchange(request, body)
                if not answer_limit:
                    deadline.reschedule(None)  # the server has answered: what follows changes nothing
                content = await _body(connection, answer_limit) if answer_limit else await _rest(connection)
        return Answer(head.status_code, _by_name(head.headers), content)

    async def close(self) -> None:
        """Close every connection; callable twice."""
        self._idle.clear()
        for connection in self._connected:
            connection.abort()
        await asyncio.gather(*(connection.wait_closed() for connection in self._connected))
        self._connected.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- connections
    @asynccontextmanager
    async def _connection(self, origin: Origin) -> AsyncIterator[Connection]:
        """A connection for one request. Raises: _Blocked, OSError."""
        async with self._turns:
            self._under_way += 1
            try:
                connection = self._kept(origin) or await self._connect(origin)
                try:
                    yield connection
                finally:
                    self._release(origin, connection)
            finally:
                self._under_way -= 1

    def _kept(self, origin: Origin) -> Connection | None:
        """A connection that is idle and can be used; the one that was used last, so that others may expire."""
        for place in range(len(self._idle) - 1, -1, -1):
            if self._idle[place][0] == origin:
                _, connection = self._idle[place]
                del self._idle[place]
                if connection.is_usable() and connection.idle_s() <= _KEEP_ALIVE_S:
                    return connection
                self._drop(connection)
        return None

    async def _connect(self, origin: Origin) -> Connection:
        while self._idle and len(self._idle) + self._under_way > self._connections:
            self._drop(self._idle.popleft()[1])
        addresses = list(dict.fromkeys(await self._lookup(origin.name, origin.port)))
        for address in addresses:
            self._check(address, listed_only=not origin.is_tls)
        tls = _trust(self._ca_file) if origin.is_tls else None
        connection = await connect(addresses[:_ADDRESS_LIMIT], origin.port, tls=tls, name=origin.name)
        self._connected.add(connection)
        return connection

    def _release(self, origin: Origin, connection: Connection) -> None:
        if connection.reuse():
            self._idle.append((origin, connection))
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        connection.abort()
        self._connected.discard(connection)

    def _check(self, address: str, *, listed_only: bool) -> None:
        reason = self._reach.why_not(address)
        if reason is not None:
            raise _Blocked(f"{address} is blocked: {reason}")
        if listed_only and not self._reach.is_listed(address):
            raise _Blocked(f"{address} is blocked: plain http goes to allow-listed networks only")

    async def _ask_system(self, host: str, port: int) -> Sequence[str]:
        def look_up() -> list[str]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return [str(address[0]) for *_, address in found]

        return await asyncio.get_running_loop().run_in_executor(self._threads, look_up)

    @contextmanager
    def _translated(self, deadline_s: float) -> Iterator[None]:
        """Raise what goes wrong on the way as this client's failure. Never quotes what a server sent."""
        try:
            yield
        except _Blocked as error:
            raise self._failure(str(error), hint=_BLOCKED_HINT) from error
        except TimeoutError as error:
            raise self._failure(f"no answer within {deadline_s:g} s") from error
        except _TooLong as error:
            raise self._failure("the answer is longer than allowed") from error
        except (socket.gaierror, UnicodeError) as error:
            raise self._failure("the host's name cannot be resolved") from error
        except (h11.RemoteProtocolError, OSError) as error:
            raise self._failure(_reason(error)) from error
        except h11.LocalProtocolError as error:
            raise InternalError(f"a request that is not HTTP: {type(error).__name__}") from error


class _Blocked(Exception):
    """The guard says no."""


class _TooLong(Exception):
    """More bytes than were allowed."""


async def _body(connection: Connection, limit: int) -> bytes:
    """The whole body. Raises: _TooLong."""
    content = bytearray()
    while chunk := await connection.chunk():
        content += chunk
        if len(content) > limit:
            raise _TooLong
    return bytes(content)


async def _rest(connection: Connection) -> bytes:
    """Read what nobody wants, so that the connection can be used again; a long or slow rest costs the connection."""
    with suppress(_TooLong, h11.RemoteProtocolError, OSError):  # TimeoutError too
        async with asyncio.timeout(_REST_S):
            await _body(connection, _REST_BYTES)
    return b""


def _moment(text: str) -> float | None:
    """A date as HTTP writes it, in seconds since 1970; None for what is none."""
    try:
        said = parsedate_to_datetime(text)
        return (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _by_name(headers: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
    links = [value for name, value in pairs if name == "link"]
    return dict(reversed(pairs)) | ({"link": ", ".join(links)} if links else {})


@cache
def _trust(ca_file: Path | None) -> ssl.SSLContext:
    """Whom to believe; reading the system's authorities takes a while, so once."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reason(error: BaseException) -> str:
    """What went wrong, in words that are ours, the system's or OpenSSL's, never the server's."""
    words = "the answer is not HTTP" if isinstance(error, h11.RemoteProtocolError) else "the connection broke"
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"TLS: {seen.verify_message}"
        if isinstance(seen, ssl.SSLError):
            return f"TLS: {getattr(seen, 'reason', None) or 'handshake failed'}"
        if isinstance(seen, OSError) and seen.errno:
            words = os.strerror(seen.errno)
        seen = seen.__cause__ or seen.__context__
    return words


_URL_HINT = "Write it like https://crm.example/hooks, without user, password or other schemes."
_BLOCKED_HINT = "If this is meant, add the network to `allow_networks` beside the URL; else mend the URL or the DNS."
