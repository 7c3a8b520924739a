"""The one HTTP client: for webhooks, alarms, keys of identity providers and whatever else asks a server outside.

Promises: a host is resolved once a connection, every address it has is checked (`bridge.addresses`), and the connection
goes to exactly a checked one, while Host and TLS keep the name; plain http goes to allow-listed networks only; a
redirect is an answer like any other and never followed; an answer is bounded in bytes and never decompressed; one
deadline holds for the whole request; proxies, cookies and passwords from URL or environment do not exist here.
It rests on httpcore2, the lower half of httpx2, which has none of that to switch off. Does not retry.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpcore2
import httpx2

import bridge
from bridge.addresses import Reach
from bridge.errors import BridgeError, ConfigError, InternalError

USER_AGENT = f"legacy-bridge/{bridge.__version__}"

Headers = Sequence[tuple[bytes, bytes]]
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]  # (host, port) -> addresses, best first

_PORTS = range(1, 65536)
_KEEP_ALIVE_S = 4.0  # below the 5 s after which common servers close an idle connection
_CONNECT_S = 5.0  # for one of several addresses
_ADDRESS_LIMIT = 4  # tried of one name
_REST_S = 1.0  # how long the rest of an unwanted answer may take before its connection is given up
_REST_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Target:
    """A checked URL."""

    url: httpcore2.URL
    host: bytes  # what Host says

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read a URL. Raises: ConfigError unless it is http or https, with a host and without user or password."""
        try:
            url = httpx2.URL(text)
        except httpx2.InvalidURL as error:
            raise ConfigError("the URL cannot be read", hint=_URL_HINT) from error
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigError("the URL is not http:// or https:// with a host", hint=_URL_HINT)
        if url.port is not None and url.port not in _PORTS:
            raise ConfigError("the URL's port is not between 1 and 65535", hint=_URL_HINT)
        if url.userinfo:
            raise ConfigError("the URL holds a user or password", hint=_URL_HINT)
        raw = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        return cls(raw, url.netloc)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    headers: Mapping[str, str]  # names in lower case; of several alike the first
    body: bytes  # as sent; empty where it was not asked for


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
        self._pools: dict[bytes, httpcore2.AsyncConnectionPool] = {}

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
            (b"content-length", str(len(body)).encode()),
            (b"user-agent", USER_AGENT.encode()),
            (b"accept-encoding", b"identity"),
        ]
        request = httpcore2.Request(method, target.url, headers=[*own, *headers], content=body)
        with self._translated(deadline_s):
            async with asyncio.timeout(deadline_s) as deadline:
                response = await self._pool(target.url.scheme).handle_async_request(request)
                if not answer_limit:
                    deadline.reschedule(None)  # the server has answered: what follows changes nothing
                try:
                    content = await _body(response, answer_limit) if answer_limit else await _rest(response)
                finally:
                    await response.aclose()
        return Answer(response.status, _by_name(response.headers), content)

    async def close(self) -> None:
        """Close every connection; callable twice."""
        for pool in self._pools.values():
            await pool.aclose()
        self._pools.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _pool(self, scheme: bytes) -> httpcore2.AsyncConnectionPool:
        if scheme not in self._pools:
            self._pools[scheme] = httpcore2.AsyncConnectionPool(
                ssl_context=_trust(self._ca_file) if scheme == b"https" else None,
                max_connections=self._connections,
                keepalive_expiry=_KEEP_ALIVE_S,
                network_backend=_Guarded(self._reach, self._lookup, listed_only=scheme != b"https"),
            )
        return self._pools[scheme]

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
        except (TimeoutError, httpcore2.TimeoutException) as error:
            raise self._failure(f"no answer within {deadline_s:g} s") from error
        except _TooLong as error:
            raise self._failure("the answer is longer than allowed") from error
        except (socket.gaierror, UnicodeError) as error:
            raise self._failure("the host's name cannot be resolved") from error
        except (
            httpcore2.NetworkError,
            httpcore2.RemoteProtocolError,
            httpcore2.ConnectionNotAvailable,
            OSError,
        ) as error:
            raise self._failure(_reason(error)) from error
        except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol, httpcore2.ProxyError) as error:
            raise InternalError(f"a request that is not HTTP: {type(error).__name__}") from error


class _Blocked(Exception):
    """The guard says no."""


class _TooLong(Exception):
    """More bytes than were allowed."""


class _Guarded(httpcore2.AsyncNetworkBackend):
    """Connects to checked addresses only."""

    def __init__(self, reach: Reach, lookup: Lookup, *, listed_only: bool) -> None:
        self._reach = reach
        self._lookup = lookup
        self._listed_only = listed_only
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(  # noqa: PLR0917  the interface's
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109  the same; one deadline holds for the whole
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve, check every address, connect to the first that answers."""
        addresses = list(dict.fromkeys(await self._lookup(host, port)))
        for address in addresses:
            self._check(address)
        *first, last = addresses[:_ADDRESS_LIMIT]
        for address in first:
            with suppress(httpcore2.ConnectError, httpcore2.ConnectTimeout):
                return await self._inner.connect_tcp(address, port, _CONNECT_S, local_address, socket_options)
        return await self._inner.connect_tcp(last, port, None, local_address, socket_options)

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore2.AsyncNetworkStream:  # noqa: ANN401  not ours
        """Never: no URL names a file."""
        raise _Blocked("a local socket is not reached over HTTP")

    def _check(self, address: str) -> None:
        reason = self._reach.why_not(address)
        if reason is not None:
            raise _Blocked(f"{address} is blocked: {reason}")
        if self._listed_only and not self._reach.is_listed(address):
            raise _Blocked(f"{address} is blocked: plain http goes to allow-listed networks only")


async def _body(response: httpcore2.Response, limit: int) -> bytes:
    """The whole body. Raises: _TooLong."""
    content = bytearray()
    async for chunk in response.aiter_stream():
        content += chunk
        if len(content) > limit:
            raise _TooLong
    return bytes(content)


async def _rest(response: httpcore2.Response) -> bytes:
    """Read what nobody wants, so that the connection can be used again; a long or slow rest costs the connection."""
    with suppress(TimeoutError, _TooLong, httpcore2.NetworkError, httpcore2.ProtocolError):
        async with asyncio.timeout(_REST_S):
            await _body(response, _REST_BYTES)
    return b""


def _by_name(headers: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in reversed(list(headers))}


@cache
def _trust(ca_file: Path | None) -> ssl.SSLContext:
    """Whom to believe; reading the system's authorities takes a while, so once."""
    return ssl.create_default_context(cafile=ca_file)


def _reason(error: BaseException) -> str:
    """What went wrong, in words that are ours, the system's or OpenSSL's, never the server's."""
    words = "the answer is not HTTP" if isinstance(error, httpcore2.RemoteProtocolError) else "the connection broke"
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"TLS: {seen.verify_message}"
        if isinstance(seen, ssl.SSLError):
            return f"TLS: {seen.reason or 'handshake failed'}"
        if isinstance(seen, OSError) and seen.errno:
            words = os.strerror(seen.errno)
        seen = seen.__cause__ or seen.__context__
    return words


_URL_HINT = "Write it like https://crm.example/hooks, without user, password or other schemes."
_BLOCKED_HINT = "If this is meant, add the network to `allow_networks` beside the URL; else mend the URL or the DNS."
